"""XMP packets: the orientation in them, and what they say of pictures that are left out."""

import io
import re
from xml.etree import ElementTree

ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))([1-8])')
# What cameras and phones say of the second picture in the file, the gain map of HDR pictures.
GAIN_MAPS = ('http://ns.adobe.com/hdr-gain-map/1.0/', 'http://ns.google.com/photos/1.0/container/')
FURTHER_PARTS = 'http://ns.adobe.com/xmp/note/'  # names the extended packet, which is not read


def xmp_orientation(xmp: bytes) -> int:
    """1 to 8, 0 where it says nothing."""
    match = ORIENTATION.search(xmp)
    return int(match[2]) if match else 0


def cleaned_xmp(xmp: bytes) -> tuple[bytes | None, str | None]:
    """The packet of an upright picture without others, and what was left out, for messages."""
    xmp = ORIENTATION.sub(rb'\g<1>1', xmp)
    gain_map = any(space.encode() in xmp for space in GAIN_MAPS)
    if not gain_map and FURTHER_PARTS.encode() not in xmp:
        return xmp, None
    what = 'its gain map' if gain_map else 'the extended part of its XMP'
    try:
        return _without_spaces(xmp, (*GAIN_MAPS, FURTHER_PARTS)), f'{what} is left out'
    except (ElementTree.ParseError, ValueError, LookupError):
        return None, f'{what} is left out, and its XMP, which is damaged, with it'


def _without_spaces(xmp: bytes, spaces: tuple[str, ...]) -> bytes:
    """The packet without elements and attributes of these namespaces."""
    if b'<!DOCTYPE' in xmp:
        raise ValueError('XMP has no document type')  # entities of one can grow without end
    root = None
    for event, item in ElementTree.iterparse(io.BytesIO(xmp.strip(b'\0')), ('start-ns', 'start')):
        if event == 'start-ns' and not re.fullmatch(r'ns\d+|xml', item[0]):
            ElementTree.register_namespace(*item)
        elif event == 'start' and root is None:
            root = item
    assert root is not None
    marks = tuple(f'{{{space}' for space in spaces)
    for element in root.iter():
        for child in [child for child in element if child.tag.startswith(marks)]:
            element.remove(child)
        for name in [name for name in element.attrib if name.startswith(marks)]:
            del element.attrib[name]
    return ElementTree.tostring(root)
