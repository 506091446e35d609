"""What a file says of its pixels, kept from one file to the next: ICC profile, EXIF, XMP, resolution, texts."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

from PIL import Image
from PIL.ExifTags import IFD, Base

# Tags of a TIFF file that describe how its pixels are stored: true of that file only. XMP, the profile and the
# resolution are kept by themselves.
STORAGE_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289),
    *(290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337),
    *(338, 339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675),
}
XMP_ORIENTATION = (rb'(tiff:Orientation=")[1-8](")', rb'(<tiff:Orientation>)[1-8](</tiff:Orientation>)')
# Of a PNG's texts, those that are kept elsewhere.
OTHER_TEXTS = ('XML:com.adobe.xmp', 'Raw profile type')


@dataclass(frozen=True)
class Metadata:
    """Everything but pixels.

    Attributes:
        exif: as `PIL.Image.Exif.tobytes` writes it, without an orientation: pictures are upright once read.
        dpi: (x, y) in dots per inch.
        texts: keyword -> text, as PNG files have them; a JPEG file's comment is 'Comment'.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def exif_data(self) -> Image.Exif:
        """The EXIF data, empty where there are none."""
        exif = Image.Exif()
        if self.exif:
            exif.load(self.exif)
        return exif

    def of_size(self, size: tuple[int, int]) -> Metadata:
        """The same for a picture of another size (H, W), which EXIF may state."""
        exif = self.exif_data()
        details = exif.get_ifd(IFD.Exif) if IFD.Exif in exif else {}
        for tag, length in ((Base.ExifImageHeight, size[0]), (Base.ExifImageWidth, size[1])):
            if tag in details:
                details[tag] = length
        return dataclasses.replace(self, exif=exif.tobytes() if len(exif) else None)


def metadata_of(image: Image.Image) -> Metadata:
    """The metadata of an image that has been loaded (a PNG may have them after its pixels)."""
    exif = image.getexif()
    dpi = _resolution(image, exif)
    for tag in {Base.Orientation, *STORAGE_TAGS}:
        if tag in exif:
            del exif[tag]
    xmp = image.info.get('xmp') or image.info.get('XML:com.adobe.xmp')
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if xmp:
        for pattern in XMP_ORIENTATION:
            xmp = re.sub(pattern, rb'\g<1>1\g<2>', xmp)
    texts = {key: str(text) for key, text in getattr(image, 'text', {}).items() if not key.startswith(OTHER_TEXTS)}
    comment = image.info.get('comment')
    if isinstance(comment, bytes):
        texts['Comment'] = comment.decode('utf-8', errors='replace')
    return Metadata(
        icc=image.info.get('icc_profile') or None,
        exif=exif.tobytes() if len(exif) else None,
        xmp=xmp or None,
        dpi=dpi,
        texts=texts,
    )


def _resolution(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    """In dots per inch, where a file states it: Pillow gives files of some formats one of its own."""
    if image.format in ('JPEG', 'MPO', 'TIFF') and Base.XResolution not in exif and not image.info.get('jfif_unit'):
        return None
    dpi = image.info.get('dpi')
    return (float(dpi[0]), float(dpi[1])) if dpi else None
