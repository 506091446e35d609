"""Measures the constants of upscaling/estimate.py and pictures/formats.py.

`python -m tests.benchmarks.measure_result_memory` prints bytes per output pixel, on Linux: of the bands in which
results are drawn, of results that are whole, and what each format holds while it is written. All are differences
between two sizes, each the peak of a process of its own less what it held before; all but the first are drawn in small
bands, whose memory would hide them. Of rows that wait on the disk those count that are mapped, which the system takes
back where others need the memory: four bytes of WebP's.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from gsasr_plugin.archs import completion
from gsasr_plugin.archs.completion import BAND_PIXELS, Completion
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.peak_memory import PeakMemory
from gsasr_plugin.upscaling.estimate import BAND_BYTES, RESULT_BYTES, WRAPPED_BYTES
from gsasr_plugin.upscaling.gaussian_file import StoredGaussians
from gsasr_plugin.upscaling.pictures import writing
from gsasr_plugin.upscaling.pictures.formats import FORMATS, WEBP_HELD
from gsasr_plugin.upscaling.pictures.picture import Picture, Pixels
from gsasr_plugin.upscaling.pictures.writing import encode_picture, write_bands
from gsasr_plugin.upscaling.upscaler import Upscaler
from tests.archs.test_gsasr import small_gsasr

SCALE = 12
SMALL_BAND = 1 << 18


def draw_bands(side: int) -> None:
    """Bands of an image with all that completes it."""
    h = side // SCALE
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(h) + 0.5, indexing='ij')
    means = torch.stack((x, y), -1).view(1, -1, 2)
    one, lq = torch.ones(1, h * h), torch.rand(1, 3, h, h)
    colors = lq.flatten(2).transpose(1, 2)
    gaussians = Gaussians(
        means, 0.3 * torch.ones_like(means), 0 * one, one, colors, (h, h), Completion(lq, True, 3, True)
    )
    for band in StoredGaussians(gaussians, (SCALE, SCALE)).bands((side, side)):
        del band


def draw_whole(side: int, **ways: bool) -> None:
    net = small_gsasr(bicubic_skip=True, consistency=3).eval()
    color = np.random.default_rng(0).random((side // SCALE, side // SCALE, 3), np.float32)
    upscaler = Upscaler(net, device='cpu', dtype='float32', **ways)
    for bands in upscaler.pixel_bands(color, None, [(side, side)]):
        for band in bands:
            del band


def draw_still(side: int) -> None:
    """As of files of several pictures."""
    net = small_gsasr(bicubic_skip=True, consistency=3).eval()
    color = np.random.default_rng(0).random((side // SCALE, side // SCALE, 3), np.float32)
    ((large, alpha),) = Upscaler(net, device='cpu', dtype='float32').pixels(color, None, [(side, side)])
    encode_picture(Picture(large, alpha, format='PNG'))


def encode(side: int, format: str, bits: int = 8, *, lossless: bool = False) -> None:
    """A photograph, as far as encoders are concerned: smooth, with noise."""

    def bands() -> Iterator[Pixels]:
        rng = np.random.default_rng(0)
        rows = completion.band_rows(side)
        for top in range(0, side, rows):
            height = min(rows, side - top)
            y, x = np.mgrid[top : top + height, :side].astype(np.float32) / np.float32(side)
            smooth = np.stack([x, y, 1 - x], -1)
            yield (smooth + 0.02 * rng.standard_normal(smooth.shape, np.float32)).clip(0, 1), None

    picture = Picture(np.zeros((1, 1, 3), np.float32), bits=bits, format=format, lossless=lossless)
    with tempfile.TemporaryDirectory() as folder:
        write_bands(picture, (side, side), bands(), Path(folder) / 'result')


KINDS: dict[str, tuple[Callable[[int], None], float]] = {
    'bands': (draw_bands, BAND_BYTES),
    'whole, self-ensemble': (lambda side: draw_whole(side, self_ensemble=True), RESULT_BYTES),
    'whole, tileable': (lambda side: draw_whole(side, tileable=True), WRAPPED_BYTES),
    'whole, of several': (draw_still, RESULT_BYTES),
    **{
        f'{format} {bits} bits': (lambda side, f=format, b=bits: encode(side, f, b), known.held_bytes)
        for format, known in FORMATS.items()
        for bits in ((8, 16) if known.deep else (8,))
    },
    'WEBP without loss': (lambda side: encode(side, 'WEBP', lossless=True), WEBP_HELD[True, False]),
    'WEBP, large': (lambda side: encode(side, 'WEBP'), WEBP_HELD[False, True]),
    'WEBP, large, without loss': (lambda side: encode(side, 'WEBP', lossless=True), WEBP_HELD[True, True]),
}


def peak(kind: str, side: int) -> int:
    """Of a process of its own."""
    command = [sys.executable, '-m', __spec__.name, '--kind', kind, '--side', str(side)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--side', type=int, default=4800, help='of the larger result, a multiple of 24')
    parser.add_argument('--kind', choices=KINDS, help='the peak of this alone')
    parser.add_argument('--only', help='kinds whose names begin so')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.kind:
        if args.kind != 'bands':
            completion.BAND_PIXELS = SMALL_BAND
        if 'large' in args.kind:
            writing.WEBP_LARGE = 0
        KINDS[args.kind][0](24)  # what is imported and allocated once
        with PeakMemory('cpu') as memory:
            KINDS[args.kind][0](args.side)
        print(memory.bytes)
        return
    print(f'{"bytes per output pixel":<28}{"measured":>9}{"estimate":>9}')
    for kind, (_, estimate) in KINDS.items():
        if not kind.startswith(args.only or ''):
            continue
        if kind == 'bands':  # one of them
            large, small = int(BAND_PIXELS**0.5) // 24 * 24, int(BAND_PIXELS**0.5) // 48 * 24
        else:
            large, small = args.side, args.side * 3 // 4 // 24 * 24  # which has several bands too
        slope = (peak(kind, large) - peak(kind, small)) / (large**2 - small**2)
        print(f'{kind:<28}{slope:>9.1f}{estimate:>9}', flush=True)


if __name__ == '__main__':
    main()
