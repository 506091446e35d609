"""docs/photographs.py: what it takes out of packages, what it says where they are missing, and the lists beside it."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location('photographs', ROOT / 'docs' / 'photographs.py')
assert SPEC is not None and SPEC.loader is not None
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)

CONTENTS = {'dog.webp': b'a dog' * 20, 'cat.webp': b'a cat'}


def resource_file(version: int) -> bytes:
    """One of Qt by its format, /animals/{dog,cat}.webp: the dog compressed, with its size before, the cat as it is."""
    stamp = b'' if version == 1 else bytes(8)
    names = b''
    at_names = []
    for name in ('animals', *CONTENTS):
        at_names.append(len(names))
        names += struct.pack('>HI', len(name), 0) + name.encode('utf-16-be')
    dog = struct.pack('>I', len(CONTENTS['dog.webp'])) + zlib.compress(CONTENTS['dog.webp'])
    contents = struct.pack('>I', len(dog)) + dog + struct.pack('>I', len(CONTENTS['cat.webp'])) + CONTENTS['cat.webp']
    tree = struct.pack('>IHII', 0, 2, 1, 1) + stamp
    tree += struct.pack('>IHII', at_names[0], 2, 2, 2) + stamp
    tree += struct.pack('>IHHHI', at_names[1], 1, 0, 1, 0) + stamp
    tree += struct.pack('>IHHHI', at_names[2], 0, 0, 1, 4 + len(dog)) + stamp
    head = struct.pack('>4s4I', b'qres', version, 20, 20 + len(tree), 20 + len(tree) + len(contents))
    return head + tree + contents + names


@pytest.mark.parametrize('version', [1, 2])
def test_resource_files_of_qt(version: int) -> None:
    assert script.resources(resource_file(version)) == CONTENTS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a list of two packages, the first of them unpacked."""
    digest = hashlib.sha256(b''.join(CONTENTS.values())).hexdigest()
    (tmp_path / 'photographs.txt').write_text(
        f'[pets]\nversion = 1\nsha256 = {digest}\nfrom = /usr/nowhere/pets.rcc/*.webp\nto = train/pets_*.webp\n'
        f'names =\n  dog\n  cat\n'
        f'[plants 2]\nversion = 7-1\nsha256 = 0\nfrom = /usr/nowhere/*/1.jpg\nto = val/*.jpg\nnames = rose\n'
    )
    monkeypatch.setattr(script, 'packaged_file', lambda name: tmp_path / name)
    pets = tmp_path / 'debian' / 'usr' / 'nowhere' / 'pets.rcc'
    pets.parent.mkdir(parents=True)
    pets.write_bytes(resource_file(2))
    return tmp_path


def test_a_missing_package(folder: Path) -> None:
    """Nothing is written; the command says where to unpack which."""
    with pytest.raises(SystemExit) as stopped:
        script.main([str(folder)])
    assert f'cd {folder}/debian && apt-get download plants && ' in str(stopped.value)
    assert {path.name for path in folder.iterdir()} == {'debian', 'photographs.txt'}


def test_all_are_gathered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A release with other pictures is told."""
    rose = folder / 'debian' / 'usr' / 'nowhere' / 'rose' / '1.jpg'
    rose.parent.mkdir()
    rose.write_bytes(b'a rose')
    script.main([str(folder)])
    written = {f'{path.parent.name}/{path.name}': path.read_bytes() for path in folder.glob('*/*.*') if path.is_file()}
    assert written == {
        'train/pets_dog.webp': CONTENTS['dog.webp'],
        'train/pets_cat.webp': CONTENTS['cat.webp'],
        'val/rose.jpg': b'a rose',
    }
    out, error = capsys.readouterr()
    assert out == f'2 photographs in {folder}/train, and 1 in {folder}/val\n'
    assert error == 'plants: other pictures than those of version 7-1\n'


def test_the_two_lists_agree() -> None:
    """Each photograph gives 1 to 12 of the sub-images that are trained on, and none of them is of another's."""
    targets = [
        section['to'].replace('*', name)
        for section in script.photographs().values()
        for name in section['names'].split()
    ]
    assert len(targets) == len(set(targets))
    train = {Path(target).stem for target in targets if target.startswith('train/')}
    val = {Path(target).stem for target in targets if target.startswith('val/')}
    assert len(train) + len(val) == len(targets) and len(val) == 2 and not train & val
    sub_images = (ROOT / 'options' / 'gsasr_small_photographs.txt').read_text().split()
    assert len(sub_images) == len(set(sub_images))
    counts = Counter(re.sub(r'_r(1\.5|2|3)_s\d{3}\.png$', '', name) for name in sub_images)
    assert set(counts) == train
    assert set(counts.values()) <= set(range(1, 13))
