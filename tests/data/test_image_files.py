"""Listing, measuring and reading the images of folders and LMDBs."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsasr_plugin.data.image_files import image_sizes, list_images, list_some, read_image
from gsasr_plugin.run_errors import DataError


def test_folders_are_listed_by_name_without_other_files(write_images):
    root = write_images('gt', {'b.png': (8, 9), 'a.JPG': (10, 11), 'c/d.png': (4, 4)})
    Path(root, 'notes.txt').write_text('not an image')
    Path(root, '.hidden.png').write_text('')
    images = list_images(root, 'disk')
    assert [(image.stem, os.path.relpath(image.path, root)) for image in images] == [('a', 'a.JPG'), ('b', 'b.png')]
    assert image_sizes(images) == [(10, 11), (8, 9)]
    assert [image.stem for image in list_images(root, 'disk', recursive=True)] == ['a', 'b', 'c/d']


def test_meta_info_file_selects_in_its_order(write_images, tmp_path):
    root = write_images('gt', {'b.png': (8, 9), 'a b.v2.png': (10, 11), 'c/d.png': (4, 4), 'x.png': (4, 4)})
    meta_info_file = tmp_path / 'meta.txt'
    meta_info_file.write_text('c/d.png (4,4,3)\na b.v2.png (10,11,3)\n\nb.png\n')
    images = list_images(root, 'disk', str(meta_info_file))
    assert [image.stem for image in images] == ['c/d', 'a b.v2', 'b']
    meta_info_file.write_text('b.png (8,9,3)\nmissing.png (8,9,3)\n')
    with pytest.raises(FileNotFoundError, match=r'lacks: missing\.png$'):
        list_images(root, 'disk', str(meta_info_file))


def test_meta_info_file_tells_extensions_apart_where_they_matter(write_images, tmp_path):
    root = write_images('gt', {'x.jpg': (8, 9), 'x.png': (8, 9), 'sub/x.png': (8, 9)})
    meta_info_file = tmp_path / 'meta.txt'
    meta_info_file.write_text('x.png\nx.jpg\nsub/x.bmp\n')
    paths = [os.path.relpath(image.path, root) for image in list_images(root, 'disk', str(meta_info_file))]
    assert paths == ['x.png', 'x.jpg', 'sub/x.png']


def test_messages_list_twenty_names():
    names = [f'{number}' for number in range(21)]
    assert list_some(names[:20]) == ', '.join(names[:20])
    assert list_some(iter(names)) == ', '.join(names[:20]) + ' and 1 more'


def test_lmdb_equals_disk(write_images, make_lmdb, tmp_path):
    names = {'b.png': (8, 9), 'a.v2.png': (10, 11)}
    root = write_images('gt', names)
    lmdb = make_lmdb(root, list(names))
    on_disk, in_lmdb = list_images(root, 'disk'), list_images(lmdb, 'lmdb')
    assert [image.path for image in in_lmdb] == ['a.v2', 'b']
    assert [image.stem for image in in_lmdb] == [image.stem for image in on_disk]
    assert image_sizes(in_lmdb) == image_sizes(on_disk) == [(10, 11), (8, 9)]
    for one, other in zip(on_disk, in_lmdb):
        assert np.array_equal(read_image(one), read_image(other))
    meta_info_file = tmp_path / 'meta.txt'
    meta_info_file.write_text('b.png (8,9,3)\n')
    assert [image.path for image in list_images(lmdb, 'lmdb', str(meta_info_file))] == ['b']


def _read_in_child(image, queue):
    queue.put(read_image(image).sum())


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork')
def test_a_forked_worker_reads_an_lmdb_that_its_parent_has_open(write_images, make_lmdb):
    image = list_images(make_lmdb(write_images('gt', {'a.png': (8, 9)}), ['a.png']), 'lmdb')[0]
    expected = read_image(image).sum()
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(image, queue))
    child.start()
    assert queue.get(timeout=30) == expected
    child.join(30)
    assert child.exitcode == 0
    assert read_image(image).sum() == expected


def test_colours_are_rgb_whatever_the_file_holds(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    grey = rgb[..., 0]
    files = {
        'rgb.png': (Image.fromarray(rgb), rgb),
        'rgba.png': (Image.fromarray(np.dstack([rgb, grey])), rgb),
        'grey.png': (Image.fromarray(grey), np.dstack([grey] * 3)),
    }
    for name, (image, _) in files.items():
        image.save(tmp_path / name)
    for image in list_images(str(tmp_path), 'disk'):
        assert np.array_equal(read_image(image), files[os.path.basename(image.path)][1]), image


def test_the_size_of_a_sideways_photograph_is_that_of_its_pixels(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / 'sideways.jpg', exif=exif)
    image = list_images(str(tmp_path), 'disk')[0]
    assert image_sizes([image]) == [(30, 20)]
    assert read_image(image).shape == (30, 20, 3)


def test_unreadable_images_are_named(write_images, make_lmdb, tmp_path):
    root = write_images('gt', {'good.png': (8, 9)})
    Path(root, 'empty.png').write_bytes(b'')
    Path(root, 'text.jpg').write_text('hello')
    Path(root, 'cut.png').write_bytes(Path(root, 'good.png').read_bytes()[:20])
    images = list_images(root, 'disk')
    with pytest.raises(ValueError, match=r'not readable as images: .*cut\.png, .*empty\.png, .*text\.jpg'):
        image_sizes(images)
    for image in images:
        if image.stem != 'good':
            with pytest.raises(ValueError, match=rf'{image.stem}.* cannot be decoded'):
                read_image(image)
    os.unlink(images[0].path)
    with pytest.raises(ValueError, match=r'cut\.png cannot be read: No such file'):
        read_image(images[0])

    lmdb = make_lmdb(write_images('other', {'a.png': (8, 9)}), ['a.png'])
    with open(os.path.join(lmdb, 'meta_info.txt'), 'a') as file:
        file.write('stale.png (8,9,3) 1\n')
    with pytest.raises(ValueError, match=r'other\.lmdb\[stale\].*no such key'):
        read_image(list_images(lmdb, 'lmdb')[1])


def test_wrong_roots_are_named(write_images, make_lmdb, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'nowhere' is not a folder \(looked from"):
        list_images('nowhere', 'disk')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='has no images'):
        list_images(str(tmp_path / 'empty'), 'disk')
    root = write_images('gt', {'a.png': (8, 9)})
    with pytest.raises(ValueError, match=r"gt' does not fit io_backend type 'lmdb'"):
        list_images(root, 'lmdb')
    with pytest.raises(ValueError, match=r"gt.lmdb' does not fit io_backend type 'disk'"):
        list_images(make_lmdb(root, ['a.png']), 'disk')
    with pytest.raises(FileNotFoundError, match=r"meta information file 'absent.txt' does not exist"):
        list_images(root, 'disk', 'absent.txt')


def test_an_lmdb_that_cannot_be_read_is_named(write_images, make_lmdb, tmp_path):
    root = Path(make_lmdb(write_images('gt', {'a.png': (8, 9)}), ['a.png']))
    (root / 'data.mdb').write_bytes(b'no database')
    (image,) = list_images(str(root), 'lmdb')
    with pytest.raises(DataError, match=r'LMDB \S*gt.lmdb cannot be read: .*not an LMDB file'):
        read_image(image)
    (root / 'meta_info.txt').write_text('\u00e4.png (8,9,3) 1\n', encoding='utf-8')
    (image,) = list_images(str(root), 'lmdb')
    with pytest.raises(DataError, match='the LMDB has no such key'):
        read_image(image)


def test_large_images_have_sizes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pixels than Pillow allows by itself, which is as before afterwards."""
    Image.new('L', (40, 30)).save(tmp_path / 'large.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    assert image_sizes(list_images(str(tmp_path), 'disk')) == [(30, 40)]
    assert Image.MAX_IMAGE_PIXELS == 500
