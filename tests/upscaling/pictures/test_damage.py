"""Files of all formats with random damage: no traceback, no picture lost, what is written can be read.

GSASR_DAMAGED=5000 damages so many instead of 1,500, as .ci/run does.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin
from torch import Tensor
from torch.nn import functional

from gsasr_plugin import GSASR
from gsasr_plugin.upscaling.batch import BatchOptions, upscale_pictures
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.reading import read_picture
from gsasr_plugin.upscaling.pictures.sources import find_sources
from gsasr_plugin.upscaling.plan import destination, make_plan
from gsasr_plugin.upscaling.target import Target
from gsasr_plugin.upscaling.upscaler import Upscaler

MOST_PIXELS = 10**6
DAMAGED = int(os.environ.get('GSASR_DAMAGED', '1500'))


def whole_files() -> list[bytes]:
    """One of each kind, with metadata."""
    y, x = np.mgrid[0:24, 0:40]
    rgba = np.stack([x * 6, y * 10, 255 - x * 6, 255 - y * 5], -1).astype(np.uint8)
    data = Image.Exif()
    data.update({0x8298: 'someone', 282: 72.0, 283: 72.0, 296: 2, 274: 6})
    data.get_ifd(0x8769)[0x927C] = b'of its maker'
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt('XML:com.adobe.xmp', '<x tiff:Orientation="6"/>')
    texts.add_text('Comment', 'x', zip=True)
    files = []
    for format in (*FORMATS, 'JPEG2000', 'PPM', 'TGA', 'ICO', 'PCX', 'SGI', 'DDS'):
        for pixels in (rgba[..., :3], rgba) if format in ('PNG', 'WEBP', 'TIFF') else (rgba[..., :3],):
            file = io.BytesIO()
            image = Image.fromarray(pixels)
            image.save(file, format, **({'exif': data} if format in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'AVIF') else {}))
            files.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(rgba).quantize(8).save(file, 'PNG', pnginfo=texts, dpi=(72, 72), icc_profile=b'p' * 300)
    files.append(file.getvalue())
    if importlib.util.find_spec('pillow_jxl'):
        import pillow_jxl  # noqa: F401

        file = io.BytesIO()
        Image.fromarray(rgba[..., :3]).save(file, 'JXL')
        files.append(file.getvalue())
    deep = rgba.astype(np.uint16) * 257
    for planes in ('contig', 'separate'):
        pixels = np.moveaxis(deep[..., :3], -1, 0) if planes == 'separate' else deep[..., :3]
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric='rgb', planarconfig=planes, bigtiff=planes == 'contig')
        files.append(file.getvalue())
    return files


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Other bytes at some places, of the header more often; a part lost, or put in."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, len(data) if rng.random() < 0.5 else min(len(data), 200)))
        kind = rng.random()
        if kind < 0.7:
            data[place] = rng.choice([0, 255, 127, 1, data[place] ^ 1 << rng.integers(8), rng.integers(256)])
        elif kind < 0.8:
            del data[place : place + int(rng.integers(1, 50))]
        elif kind < 0.9:
            data[place:place] = rng.bytes(int(rng.integers(1, 20)))
        elif len(data) > 60:
            del data[max(place, 20) :]
        if not data:
            break
    return bytes(data)


@pytest.fixture
def quick(net: GSASR, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upscaler]:
    """Everything but the network, in whose place is bilinear interpolation."""

    def tensors(self: Upscaler, lq: Tensor, sizes: list[tuple[int, int]], **_: object) -> list[Tensor]:
        return [functional.interpolate(lq, size=size, mode='bilinear') for size in sizes]

    monkeypatch.setattr(Upscaler, 'tensors', tensors)
    yield Upscaler(net, device='cpu')


@pytest.mark.parametrize('count', [150, pytest.param(DAMAGED, marks=pytest.mark.slow)])
def test_damaged_files_are_named_and_the_others_written(tmp_path: Path, quick: Upscaler, count: int) -> None:
    rng = np.random.default_rng(count)
    whole = whole_files()
    paths = []
    for number in range(count):
        paths.append(tmp_path / f'{number}.bin')
        paths[-1].write_bytes(damaged(whole[number % len(whole)], rng))
    for number, content in enumerate(whole):
        paths.append(tmp_path / f'whole{number}.bin')
        paths[-1].write_bytes(content)
    sources = find_sources([str(path) for path in paths])
    outcomes = [0, 0]
    for format in (None, *FORMATS):
        part = sources if format is None else sources[list(FORMATS).index(format) :: 3 * len(FORMATS)]
        goal = destination(f'{tmp_path}/{format}/', len(part), format)
        plan = make_plan(part, [Target(scale=(1.5, 1.5))], goal, overwrite=True, max_pixels=MOST_PIXELS)
        outcome = upscale_pictures(quick, plan.jobs, BatchOptions())
        failures = plan.failures + outcome.failures
        assert len(outcome.written) + len(failures) == len(part)
        assert {name for name, _ in failures}.isdisjoint(str(p) for p in paths if format is None and 'whole' in p.name)
        for path in outcome.written:
            assert path is not None and read_picture(path).size
        outcomes[0] += len(outcome.written)
        outcomes[1] += len(failures)
        assert all(problem and '\n' not in problem and ' at 0x' not in problem for _, problem in failures)
    print(f'{outcomes[0]} written, {outcomes[1]} named')
