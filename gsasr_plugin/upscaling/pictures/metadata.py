"""What a file says of its pixels, kept from one file to the next: profile, EXIF, XMP, IPTC, resolution, texts."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from gsasr_plugin.upscaling.pictures import png
from gsasr_plugin.upscaling.pictures.exif import EXIF_HEADER, LONG, RATIONAL, SHORT, Directory, Exif, parse_exif
from gsasr_plugin.upscaling.pictures.formats import FORMATS
from gsasr_plugin.upscaling.pictures.xmp import cleaned_xmp, xmp_orientation

XMP_TAG, ICC_TAG, IPTC_TAG, PHOTOSHOP_TAG = 700, 34675, 33723, 34377
RESOLUTION_TAGS = {Base.XResolution, Base.YResolution, Base.ResolutionUnit}
# Tags that describe how the pixels of a file are stored: true of that file only.
STORAGE_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291),
    *(292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340),
    *(341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 532, XMP_TAG, ICC_TAG),
}
# And what of a TIFF file's own directory is kept by itself, or does not hold for other files.
TIFF_TAGS = {*RESOLUTION_TAGS, Base.YCbCrPositioning, IPTC_TAG, PHOTOSHOP_TAG}
CENTIMETRES_PER_INCH = 2.54
IPTC_RESOURCE = 0x0404  # of Photoshop's
SRGB_GAMMA = 45455  # of gAMA: what everybody takes for granted


@dataclass(frozen=True)
class Metadata:
    """Everything but pixels.

    Attributes:
        icc: a profile of colours.
        exif: with the header of JPEG files, without an orientation: pictures are upright once read.
        xmp: a packet, in UTF-8.
        iptc: IPTC's records.
        comment: of a JPEG or GIF file, or that text of a PNG file.
        dpi: (x, y) in dots per inch.
        chunks: of a PNG file, what no other format holds: texts, the meaning of the colours, the time.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[png.Chunk, ...] = ()

    def parsed_exif(self) -> Exif:
        """The EXIF data, empty where there are none."""
        return parse_exif(self.exif) if self.exif else Exif()

    def of_size(self, size: tuple[int, int]) -> Metadata:
        """The same for a picture of another size (H, W), which EXIF may state."""
        exif = self.parsed_exif()
        details = exif.main.below.get(IFD.Exif, Directory()).entries
        for tag, length in ((Base.ExifImageHeight, size[0]), (Base.ExifImageWidth, size[1])):
            if tag in details:
                details[tag] = exif.entry(LONG, length)
        return dataclasses.replace(self, exif=exif.tobytes() or None)

    def stripped(self) -> Metadata:
        """What the colours depend on, and nothing else."""
        return Metadata(icc=self.icc, chunks=tuple(chunk for chunk in self.chunks if chunk.name in png.COLOR_CHUNKS))


def stored_in_png(content: Any) -> Metadata:
    """What the chunks of a PNG file hold, before and behind its pixels."""
    found: dict[str, Any] = {}
    kept: list[png.Chunk] = []
    for chunk in png.chunks_of(content):
        if chunk.name == b'eXIf':
            found['exif'] = EXIF_HEADER + chunk.data.removeprefix(EXIF_HEADER)
        elif chunk.name == b'iCCP':
            found['icc'] = png.profile_of(chunk)
        elif chunk.name == b'pHYs' and png.resolution_of(chunk):
            found['dpi'] = png.resolution_of(chunk)
        elif chunk.name in png.TEXT_CHUNKS:
            keyword = png.keyword_of(chunk)
            text = png.text_of(chunk)
            if text is not None and keyword == png.XMP_KEYWORD:
                found['xmp'] = text
            elif text is not None and keyword.startswith(png.RAW_PROFILE):
                name = {'APP1': 'exif'}.get(keyword.split()[-1], keyword.split()[-1].lower())
                if name in ('exif', 'iptc', 'xmp', 'icc'):
                    found.setdefault(name, png.raw_profile(text))
            elif text is not None:
                kept.append(chunk)
                if keyword == png.COMMENT:
                    found['comment'] = text
        elif chunk.name in (*png.COLOR_CHUNKS, b'tIME', b'pHYs'):
            kept.append(chunk)
    if found.get('iptc', b'') and found['iptc'].startswith(b'8BIM'):
        found['iptc'] = _iptc_of_resources(found['iptc'])
    return Metadata(chunks=tuple(kept), **{name: value or None for name, value in found.items()})


def stored_in_tiff(exif: Exif) -> Metadata:
    """What the first directory of a TIFF file holds."""
    entries = exif.main.entries
    data = {tag: entries[tag].data for tag in (XMP_TAG, ICC_TAG, IPTC_TAG, PHOTOSHOP_TAG) if tag in entries}
    dpi = _resolution(exif)
    kept = {tag: entry for tag, entry in entries.items() if tag not in STORAGE_TAGS | TIFF_TAGS}
    iptc = data.get(IPTC_TAG) or _iptc_of_resources(data.get(PHOTOSHOP_TAG, b''))
    return Metadata(
        icc=data.get(ICC_TAG) or None,
        exif=Exif(exif.order, Directory(kept, exif.main.below)).tobytes() or None,
        xmp=data.get(XMP_TAG, b'').rstrip(b'\0') or None,
        iptc=iptc or None,
        dpi=dpi,
    )


def stored_with(image: Image.Image) -> Metadata:
    """What Pillow has read of a file of another format, or an image in memory carries with it."""
    info = image.info
    exif = info.get('exif')
    if exif is None and image.format not in ('JPEG', 'MPO'):
        exif = _given(lambda: image.getexif().tobytes() if len(image.getexif()) else None)
    xmp = info.get('xmp') or info.get('XML:com.adobe.xmp')
    comment = info.get('comment')
    resources = info.get('photoshop')
    dpi = info.get('dpi')
    if image.format in ('JPEG', 'MPO', 'TIFF'):  # for which Pillow makes one up
        unit = {1: 1.0, 2: CENTIMETRES_PER_INCH}.get(info.get('jfif_unit', 0))
        dpi = tuple(unit * value for value in info['jfif_density']) if unit else None
    return Metadata(
        icc=info.get('icc_profile') or None,
        exif=exif if isinstance(exif, bytes) and len(exif) > len(EXIF_HEADER) else None,
        xmp=(xmp.encode() if isinstance(xmp, str) else xmp) or None,
        iptc=(resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else None) or None,
        comment=(comment.encode() if isinstance(comment, str) else comment) or None,
        dpi=_given(lambda: _sound_resolution(*map(float, dpi))) if dpi else None,
    )


def settled(stored: Metadata) -> tuple[Metadata, int, list[str]]:
    """Metadata for a picture that has been turned upright; its orientation (1 to 8); and what had to be left out."""
    remarks: list[str] = []
    exif, orientation, dpi, xmp = Exif(), 0, stored.dpi, stored.xmp
    if stored.exif:
        try:
            exif = parse_exif(stored.exif)
        except ValueError:
            remarks.append('its EXIF data are damaged, and left out')
        orientation = exif.number(Base.Orientation, 0)
        dpi = dpi or _resolution(exif)
        for tag in {Base.Orientation, *STORAGE_TAGS}:
            exif.main.entries.pop(tag, None)
        details = exif.main.below.get(IFD.Exif, Directory()).entries
        if details.pop(Base.MakerNote, None) is not None:
            remarks.append('its maker notes, which are true of the original file only, are left out')
        if exif.damaged:
            remarks.append('damaged parts of its EXIF data are left out')
    if xmp:
        orientation = orientation or xmp_orientation(xmp)
        xmp, problem = cleaned_xmp(xmp)
        remarks += [problem] if problem else []
    metadata = dataclasses.replace(stored, exif=exif.tobytes() or None, xmp=xmp, dpi=dpi)
    return metadata, orientation if 1 <= orientation <= 8 else 1, remarks


# What the parts are called for users, and the largest that a JPEG file holds.
PARTS = {
    'icc': ('profile', 255 * 65519),
    'exif': ('EXIF data', 65533),
    'xmp': ('XMP', 65533 - 29),
    'iptc': ('IPTC', 65500),
    'comment': ('comment', 65533),
    'dpi': ('resolution', None),
}
LARGEST_DPI = {'PNG': (2**31 - 1) / png.INCHES_PER_METRE, 'BMP': (2**31 - 1) / png.INCHES_PER_METRE, 'JPEG': 65535.0}


def held(metadata: Metadata, format: str, *, grey: bool) -> tuple[Metadata, list[str]]:
    """The part of the metadata that a file of the format holds, and what is left out, for messages.

    Args:
        format: a name of `FORMATS`.
        grey: whether the picture is grey; a format that knows no grey makes colours of it.
    """
    left_out: list[str] = []
    changes: dict[str, Any] = {}
    for name, (words, largest) in PARTS.items():
        value = getattr(metadata, name)
        if value is None:
            continue
        if name == 'dpi' and format in ('WEBP', 'AVIF'):
            continue  # which EXIF states
        if name not in FORMATS[format].holds:
            left_out.append(f'its {words}: {format} files hold none')
        elif name == 'icc' and value[16:20] == b'GRAY' and not (grey and FORMATS[format].grey):
            left_out.append('its grey profile: the result is in colour')
        elif format == 'JPEG' and largest is not None and len(value) > largest:
            left_out.append(f'its {words}: JPEG files hold at most {largest} bytes, not {len(value)}')
        elif name == 'dpi' and max(value) > LARGEST_DPI.get(format, 2**32 - 1):
            left_out.append(f'its resolution of {max(value):.0f} dpi: {format} files hold less')
        else:
            continue
        changes[name] = None
    if format != 'PNG' and metadata.chunks:
        left_out += _chunks_left_out(metadata, format)
        changes['chunks'] = ()
    return dataclasses.replace(metadata, **changes), [f'{part} (left out)' for part in left_out]


def _chunks_left_out(metadata: Metadata, format: str) -> list[str]:
    left_out = []
    meanings = [c for c in metadata.chunks if c.name in png.COLOR_CHUNKS and not _is_ordinary(c)]
    if meanings:
        names = ', '.join(dict.fromkeys(chunk.name.decode() for chunk in meanings))
        left_out.append(f'what it says of its colours ({names}): {format} files do not hold it')
    texts = [png.keyword_of(chunk) for chunk in metadata.chunks if chunk.name in png.TEXT_CHUNKS]
    texts = [text for text in texts if text != png.COMMENT]
    texts += ['time' for chunk in metadata.chunks if chunk.name == b'tIME']
    if texts:
        left_out.append(f'its texts ({", ".join(dict.fromkeys(texts))}): {format} files hold none')
    return left_out


def _is_ordinary(chunk: png.Chunk) -> bool:
    """Whether the colours are as of a picture that says nothing of them: sRGB."""
    if chunk.name == b'gAMA':
        return chunk.data == SRGB_GAMMA.to_bytes(4, 'big')
    srgb_primaries = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    primaries = b''.join(number.to_bytes(4, 'big') for number in srgb_primaries)
    return chunk.name == b'sRGB' or chunk.data in (primaries, bytes((1, 13, 0, 1)))


def with_resolution(exif: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """EXIF data that state the resolution, for formats that have no other place for it."""
    found = parse_exif(exif) if exif else Exif()
    if dpi is None or Base.XResolution in found.main.entries:
        return exif
    found.main.entries |= resolution_entries(found, dpi)
    return found.tobytes()


def resolution_entries(exif: Exif, dpi: tuple[float, float]) -> dict[int, Any]:
    """Entries of a directory that state (x, y) in dots per inch."""
    x, y = (exif.entry(RATIONAL, *_fraction(value)) for value in dpi)
    return {Base.XResolution: x, Base.YResolution: y, Base.ResolutionUnit: exif.entry(SHORT, 2)}


def _fraction(value: float) -> tuple[int, int]:
    denominator = 10000 if value < 400000 else 1
    numerator = round(value * denominator)
    divisor = math.gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def _resolution(exif: Exif) -> tuple[float, float] | None:
    """As EXIF data or a TIFF file state it, in dots per inch."""
    unit = {2: 1.0, 3: CENTIMETRES_PER_INCH}.get(exif.number(Base.ResolutionUnit, 2))
    x = exif.numbers(Base.XResolution)
    y = exif.numbers(Base.YResolution) or x
    return _sound_resolution(unit * x[0], unit * y[0]) if unit and x and y else None


def _sound_resolution(x: float, y: float) -> tuple[float, float] | None:
    return (x, y) if min(x, y) > 0 and math.isfinite(max(x, y)) else None


def _iptc_of_resources(resources: bytes) -> bytes:
    """IPTC's records among Photoshop's resources: '8BIM', a number, a name and data of even lengths."""
    match = re.search(rb'8BIM\x04\x04(.)', resources, re.DOTALL)
    if match is None:
        return b''
    start = match.end() + (match[1][0] | 1)
    length = int.from_bytes(resources[start : start + 4], 'big')
    return resources[start + 4 : start + 4 + length]


def _given(value: Callable[[], Any]) -> Any:
    """What Pillow gives, None where the data are damaged: each of its parsers has errors of its own."""
    try:
        return value()
    except Exception:
        return None
