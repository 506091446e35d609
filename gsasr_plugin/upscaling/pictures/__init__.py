"""The user's own pictures: finding, reading and writing them, with everything that their files hold beside pixels."""

from gsasr_plugin.upscaling.pictures.formats import FORMATS, Format, format_of_path
from gsasr_plugin.upscaling.pictures.picture import Picture, PictureError
from gsasr_plugin.upscaling.pictures.reading import from_pillow, picture_header, read_picture
from gsasr_plugin.upscaling.pictures.sources import STANDARD_STREAM, Source, find_sources
from gsasr_plugin.upscaling.pictures.writing import cannot_hold, encode_picture, to_pillow, write_picture

__all__ = [
    'FORMATS',
    'STANDARD_STREAM',
    'Format',
    'Picture',
    'PictureError',
    'Source',
    'cannot_hold',
    'encode_picture',
    'find_sources',
    'format_of_path',
    'from_pillow',
    'picture_header',
    'read_picture',
    'to_pillow',
    'write_picture',
]
