"""Two hundred synthetic pictures whose brightness an upscaler easily loses: checks, lines, halftones, noise, text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 32
GREYS = np.linspace(8, 247, 16).round()  # of halftones
TEXT = ('The quick brown', 'fox jumps over', 'the lazy dog')

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def patterns() -> dict[str, np.ndarray]:
    """By name, (32, 32, 3), uint8."""
    found = {}
    for name, levels in _all():
        levels = np.broadcast_to(levels if levels.ndim == 3 else levels[..., None], (SIDE, SIDE, 3))
        found[name] = levels.round().clip(0, 255).astype(np.uint8)
    return found


def _all() -> Iterator[tuple[str, np.ndarray]]:
    yield from _checks()
    yield from _lines()
    for grey in GREYS:
        yield f'Bayer 4, grey {grey:.0f}', _bayer(4, grey)
        yield f'Bayer 8, grey {grey:.0f}', _bayer(8, grey)
        yield f'diffused, grey {grey:.0f}', _diffused(np.full((SIDE, SIDE), grey))
        yield (
            f'diffused in colour, grey {grey:.0f}',
            np.dstack([_diffused(np.full((SIDE, SIDE), level)) for level in (grey, 255 - grey, (grey + 96) % 256)]),
        )
    yield from _noise()
    yield from _texts()
    yield from _flat()


def _checks() -> Iterator[tuple[str, np.ndarray]]:
    for side in (1, 2, 3, 4):
        check = (ROWS // side + COLUMNS // side) % 2
        for low, high in ((0, 255), (96, 160), (200, 255), (0, 40)):
            yield f'checks of {side}, {low} and {high}', low + (high - low) * check
        yield f'checks of {side}, blue and yellow', np.where(check[..., None], (255, 255, 0), (0, 0, 255))


def _lines() -> Iterator[tuple[str, np.ndarray]]:
    for angle in range(0, 180, 15):
        at = COLUMNS * np.cos(np.radians(angle)) + ROWS * np.sin(np.radians(angle))
        for period in (2, 3, 5):
            yield f'lines at {angle}, period {period}', np.where((at + 1e-6) % period < period / 2, 255.0, 0.0)
        yield f'thin lines at {angle}', np.where((at + 1e-6) % 7 < 1, 255.0, 0.0)


def _bayer(side: int, grey: float) -> np.ndarray:
    thresholds = np.zeros((1, 1))
    while len(thresholds) < side:  # four copies, whose thresholds lie between each other's
        fine = 4 * thresholds
        thresholds = np.block([[fine, fine + 2], [fine + 3, fine + 1]])
    return np.where(grey > (thresholds[ROWS % side, COLUMNS % side] + 0.5) * 256 / side**2, 255.0, 0.0)


def _diffused(levels: np.ndarray) -> np.ndarray:
    """Floyd and Steinberg's halftone."""
    left = np.pad(levels.astype(float), 1)
    for i in range(1, SIDE + 1):
        for j in range(1, SIDE + 1):
            chosen = 255.0 if left[i, j] > 127.5 else 0.0
            error = left[i, j] - chosen
            left[i, j] = chosen
            for (y, x), part in {(0, 1): 7, (1, -1): 3, (1, 0): 5, (1, 1): 1}.items():
                left[i + y, j + x] += error * part / 16
    return left[1:-1, 1:-1]


def _noise() -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(0)
    for channels in (1, 3):
        shape = (SIDE, SIDE, channels)
        yield f'uniform noise, {channels}', random.uniform(0, 255, shape)
        for deviation in (4, 16, 64):
            yield f'noise of {deviation} around grey, {channels}', random.normal(128, deviation, shape)
        yield f'dark noise, {channels}', random.exponential(16, shape)
        for part in (2, 20, 50, 98):
            yield f'{part} % of pixels white, {channels}', 255.0 * (random.random(shape) < part / 100)


def _texts() -> Iterator[tuple[str, np.ndarray]]:
    for size in (6, 8, 10):
        for ink, paper in ((0, 255), (255, 0), (60, 200)):
            page = Image.new('L', (SIDE, SIDE), paper)
            lines = '\n'.join(TEXT)
            ImageDraw.Draw(page).multiline_text((1, 0), lines, ink, ImageFont.load_default(size), spacing=1)
            yield f'text of {size}, {ink} on {paper}', np.asarray(page).astype(float)


def _flat() -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng(1)
    plain = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 1, 1), (254, 254, 254), (128,) * 3]
    for colour in (*plain, *random.integers(0, 256, (33, 3)).tolist()):
        yield f'flat {tuple(colour)}', np.broadcast_to(np.array(colour, float), (SIDE, SIDE, 3))
