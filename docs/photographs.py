"""Gathers the photographs that gsasr-small is trained on, FOLDER/train, and those that watch over it, FOLDER/val:

    python docs/photographs.py FOLDER
    gsasr options photographs.py | python - FOLDER

They come with Debian's packages, which are installed or unpacked in FOLDER/debian (the command is told where one is
missing; it needs no root). photographs.txt lists them, by package, with version, licence and SHA-256; nothing of them
is in this repository. To move them to a machine without a network, 58 MB: tar -cf photographs.tar -C FOLDER train val
"""

import configparser
import hashlib
import struct
import sys
import zlib
from pathlib import Path

from gsasr_plugin.packaged_files import packaged_file
from gsasr_plugin.whole_file import write_whole


def main(words: list[str]) -> None:
    """Writes all photographs, or none where a package is missing."""
    if len(words) != 1 or words[0].startswith('-'):
        sys.exit('usage: python docs/photographs.py FOLDER')
    folder = Path(words[0])
    found: dict[str, bytes] = {}
    missing = []
    for title, section in photographs().items():
        package = title.split()[0]
        names = section['names'].split()
        files = [_read(section['from'].replace('*', name), (folder / 'debian', Path('/'))) for name in names]
        pictures = [file for file in files if file is not None]
        if len(pictures) < len(names):
            missing.append(package)
            continue
        digest = hashlib.sha256(b''.join(pictures)).hexdigest()
        if digest != section['sha256']:
            print(f'{package}: other pictures than those of version {section["version"]}', file=sys.stderr)
        found |= {section['to'].replace('*', name): data for name, data in zip(names, pictures, strict=True)}
    if missing:
        sys.exit(f'packages are missing, or lack some photographs; do this first:\n{_unpacking(folder, missing)}')
    for name, data in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
    print(f'{sum(name.startswith("train/") for name in found)} photographs in {folder}/train, and', end=' ')
    print(f'{sum(name.startswith("val/") for name in found)} in {folder}/val')


def photographs() -> dict[str, configparser.SectionProxy]:
    """The sections of photographs.txt, by title, which starts with the package."""
    table = configparser.ConfigParser(interpolation=None)
    path = packaged_file('photographs.txt')
    assert path is not None
    table.read_string(path.read_text())
    return {title: table[title] for title in table.sections()}


def resources(data: bytes) -> dict[str, bytes]:
    """The files of a binary resource file of Qt, by name, those that it compresses with zlib or not at all.

    It starts with 'qres', a version, and where the tree, the contents and the names are; all numbers are big-endian.
    An entry of the tree has where its name is (a length, a hash, UTF-16), flags (1: zlib; 2: a folder), and either how
    many entries a folder has and the first one's number, or a language and where the contents are.
    """
    version, tree, contents, names = struct.unpack_from('>4I', data, 4)
    stride = 14 if version == 1 else 22
    files = {}
    folders = [0]
    while folders:
        count, first = struct.unpack_from('>II', data, tree + folders.pop() * stride + 6)
        for number in range(first, first + count):
            at_name, flags, _, at = struct.unpack_from('>IHII', data, tree + number * stride)
            if flags & 2:
                folders.append(number)
                continue
            (length,) = struct.unpack_from('>H', data, names + at_name)
            name = data[names + at_name + 6 :][: 2 * length].decode('utf-16-be')
            (size,) = struct.unpack_from('>I', data, contents + at)
            content = data[contents + at + 4 :][:size]
            files[name] = zlib.decompress(content[4:]) if flags & 1 else content
    return files


_opened: dict[Path, dict[str, bytes]] = {}


def _read(path: str, roots: tuple[Path, ...]) -> bytes | None:
    """A file of a package under the first root that has it, or what lies in a resource file of Qt; None if nowhere."""
    file, inside, name = path.lstrip('/').partition('.rcc/')
    for root in roots:
        whole = root / (f'{file}.rcc' if inside else file)
        if not whole.is_file():
            continue
        if not inside:
            return whole.read_bytes()
        if whole not in _opened:
            _opened[whole] = resources(whole.read_bytes())
        return _opened[whole].get(name)
    return None


def _unpacking(folder: Path, packages: list[str]) -> str:
    names = ' '.join(dict.fromkeys(packages))
    return (
        f'(mkdir -p {folder}/debian && cd {folder}/debian && apt-get download {names} &&'
        ' for deb in *.deb; do dpkg-deb -x "$deb" . && rm "$deb"; done)'
    )


if __name__ == '__main__':
    main(sys.argv[1:])
