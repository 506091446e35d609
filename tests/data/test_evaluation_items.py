"""Validation and test items: pairs, GT alone, LR alone; several scales; faults in the files."""

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gsasr_plugin.data.image_files import list_images, read_image

# isort: split
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils.matlab_functions import imresize


def make(**opt):
    return build_dataset({'name': 'set', 'type': 'ArbitraryScalePairedDataset', 'phase': 'val', **opt})


def pixels(tensor):
    """(3, H, W) in 0..1 -> (H, W, 3) of 0..255, which 8-bit images give exactly."""
    values = tensor.numpy().transpose(1, 2, 0) * 255
    assert np.abs(values - values.round()).max() < 1e-3
    return values.round().astype(np.uint8)


@pytest.fixture
def gt_root(write_images):
    return write_images('gt', {'a.png': (61, 50), 'b.png': (74, 111)})


def test_lr_is_made_by_the_protocol_at_every_scale(gt_root):
    dataset = make(dataroot_gt=gt_root, scales=[2, 3.7, [2, 3]])
    items = list(dataset)
    assert [os.path.basename(item['gt_path']) for item in items] == ['a.png', 'b.png'] * 3
    assert [item['nominal_scale'].tolist() for item in items[::2]] == [[2, 2], [3.7, 3.7], [2, 3]]
    sizes = [((30, 25), (60, 50)), ((37, 55), (74, 110))]  # x2
    sizes += [((16, 13), (59, 48)), ((20, 30), (74, 111))]  # x3.7: 16 * 3.7 = 59.2, 13 * 3.7 = 48.1
    sizes += [((30, 16), (60, 48)), ((37, 37), (74, 111))]  # x2 in rows, x3 in columns
    for item, (lq_size, gt_size) in zip(items, sizes, strict=True):
        assert tuple(item['lq'].shape) == (3, *lq_size)
        assert tuple(item['gt'].shape) == (3, *gt_size)
        assert item['size'].tolist() == list(gt_size)
        expected = torch.tensor([gt_size[0] / lq_size[0], gt_size[1] / lq_size[1]])
        assert torch.equal(item['scale'], expected)
        full = read_image(next(i for i in list_images(gt_root, 'disk') if i.path == item['gt_path']))
        assert np.array_equal(pixels(item['gt']), full[: gt_size[0], : gt_size[1]])
        assert item['lq_path'] == item['gt_path']
    for item in items[:2]:  # upright and lying: LR is the host's, stored as 8 bits
        host = imresize(item['gt'].numpy().transpose(1, 2, 0), 0.5)
        assert np.abs(pixels(item['lq']) - np.clip(host * 255, 0, 255)).max() <= 0.5 + 1e-2


def test_unquantized_lr_by_option(gt_root):
    rounded, exact = (make(dataroot_gt=gt_root, scales=[3], quantize_lq=q)[0]['lq'] for q in (None, False))
    assert not torch.equal(rounded, exact)
    assert (rounded - exact.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


def test_batches_of_one(gt_root):
    opt = {
        'name': 'set',
        'type': 'ArbitraryScalePairedDataset',
        'phase': 'val',
        'dataroot_gt': gt_root,
        'scales': [2, 3],
    }
    loader = build_dataloader(build_dataset(opt), opt, num_gpu=0)
    batch = next(iter(loader))
    assert batch['lq'].shape == (1, 3, 30, 25) and batch['gt'][0].shape == (3, 60, 50) and len(batch['gt']) == 1
    assert batch['scale'].tolist() == batch['nominal_scale'].tolist() == [[2, 2]]
    assert batch['size'].tolist() == [[60, 50]] and batch['gt_path'] == [os.path.join(gt_root, 'a.png')]
    assert len(loader) == 4


@pytest.fixture
def pairs(gt_root, tmp_path):
    """LR folders of gt_root at x2, x3.7 and x4, of the protocol's sizes but any content."""
    rng = np.random.default_rng(1)
    roots = {}
    for scale in (2, 3.7, 4):
        for name, (height, width) in {'a': (61, 50), 'b': (74, 111)}.items():
            path = tmp_path / f'X{scale}' / f'{name}.png'
            path.parent.mkdir(exist_ok=True)
            size = (int(height / scale + 1e-9), int(width / scale + 1e-9), 3)
            cv2.imwrite(str(path), rng.integers(0, 256, size, dtype=np.uint8))
        roots[scale] = str(tmp_path / f'X{scale}')
    return roots


def test_pairs_of_several_scales(gt_root, pairs):
    by_mapping = make(dataroot_gt=gt_root, dataroot_lq=pairs)
    by_list = make(dataroot_gt=gt_root, dataroot_lq=list(pairs.values()), scales=list(pairs))
    from_sizes = make(dataroot_gt=gt_root, dataroot_lq=list(pairs.values()))
    assert len(by_mapping) == 6
    for items in zip(by_mapping, by_list, from_sizes, strict=True):
        for item in items[1:]:
            assert item['lq_path'] == items[0]['lq_path'] and item['gt_path'] == items[0]['gt_path']
            assert item['nominal_scale'].tolist() == items[0]['nominal_scale'].tolist()
            assert torch.equal(item['gt'], items[0]['gt']) and torch.equal(item['scale'], items[0]['scale'])
    item = by_mapping[3]  # b.png at x3.7
    assert item['nominal_scale'].tolist() == [3.7, 3.7]
    assert np.array_equal(pixels(item['lq']), cv2.imread(f'{pairs[3.7]}/b.png')[..., ::-1])
    assert item['gt'].shape == (3, 74, 111) and item['lq'].shape == (3, 20, 30)
    assert item['scale'].tolist() == torch.tensor([74 / 20, 111 / 30]).tolist()
    # GT is cut to what LR shows.
    assert by_mapping[0]['gt'].shape == (3, 60, 50) and by_mapping[0]['size'].tolist() == [60, 50]
    assert make(dataroot_gt=gt_root, dataroot_lq=pairs[4])[0]['nominal_scale'].tolist() == [4, 4]


def test_pairs_from_lmdbs_equal_those_from_folders(gt_root, pairs, make_lmdb):
    names = ['a.png', 'b.png']
    on_disk = make(dataroot_gt=gt_root, dataroot_lq=pairs)
    lmdbs = {scale: make_lmdb(root, names) for scale, root in pairs.items()}
    in_lmdb = make(dataroot_gt=make_lmdb(gt_root, names), dataroot_lq=lmdbs, io_backend={'type': 'lmdb'})
    # A second data set on the same database of GT, as validation sets of several scales have it.
    shared = make(dataroot_gt=f'{gt_root}.lmdb', scales=[2], io_backend={'type': 'lmdb'})
    for one, other in zip(on_disk, in_lmdb, strict=True):
        assert torch.equal(one['lq'], other['lq']) and torch.equal(one['gt'], other['gt'])
        assert other['lq_path'] == other['gt_path'] == Path(one['gt_path']).stem
    assert torch.equal(shared[0]['gt'], in_lmdb[0]['gt'])


def test_names_of_lr_files_by_template_other_extension_and_selection(write_images, tmp_path):
    gt_root = write_images('gt', {'0801.png': (40, 60), '0802.png': (40, 60), 'sub/0803.png': (40, 60)})
    lq_root = write_images('lq/X2', {'0801x2.jpg': (20, 30), '0802x2.png': (20, 30)})
    with pytest.raises(ValueError, match=r"filename_tmpl '\{\}x\{scale\}' needs the scale"):
        make(dataroot_gt=gt_root, dataroot_lq=lq_root, filename_tmpl='{}x{scale}')
    for item, name in zip(
        make(dataroot_gt=gt_root, dataroot_lq={2: lq_root}, filename_tmpl='{}x{scale}'), ('0801x2.jpg', '0802x2.png')
    ):
        assert item['lq_path'] == os.path.join(lq_root, name)
    write_images('lq/X2', {'0803x2.png': (20, 30)})
    meta_info_file = tmp_path / 'meta.txt'
    meta_info_file.write_text('sub/0803.png (40,60,3)\n0801.png (40,60,3)\n')
    chosen = make(dataroot_gt=gt_root, dataroot_lq=lq_root, filename_tmpl='{}x2', meta_info_file=str(meta_info_file))
    assert [os.path.basename(item['lq_path']) for item in chosen] == ['0803x2.png', '0801x2.jpg']


def test_lr_files_lie_in_the_folders_of_their_gt_or_in_none(write_images, tmp_path):
    gt_root = write_images('gt', {'a.png': (40, 60), 'sub/b.png': (40, 60)})
    lq_root = write_images('lq', {'a.png': (20, 30), 'b.png': (20, 30), 'sub/b.png': (20, 30)})
    meta_info_file = tmp_path / 'meta.txt'
    meta_info_file.write_text('sub/b.png\na.png\n')
    chosen = make(dataroot_gt=gt_root, dataroot_lq=lq_root, meta_info_file=str(meta_info_file))
    assert [os.path.relpath(item['lq_path'], lq_root) for item in chosen] == ['sub/b.png', 'a.png']
    # Without a selection GT images of the root alone count, and so do those of LR.
    os.unlink(os.path.join(lq_root, 'b.png'))
    assert [item['name'] for item in make(dataroot_gt=gt_root, dataroot_lq=lq_root)] == ['a']


def test_faulty_images_of_pairs_are_found_by_the_check(gt_root, pairs):
    path = Path(pairs[2], 'b.png')
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    make(dataroot_gt=gt_root, dataroot_lq={2: pairs[2]})  # its header can be read
    with pytest.raises(ValueError, match=r'data set set: \S*X2/b\.png: .*(damaged|decoded)[^;]*$'):
        make(dataroot_gt=gt_root, dataroot_lq={2: pairs[2]}, check_images=True)


def test_lr_alone(pairs):
    dataset = make(phase='test', dataroot_lq=[pairs[4], pairs[2]], scales=[3.3, [2, 3]])
    items = list(dataset)
    assert len(items) == 8
    assert all('gt' not in item and 'gt_path' not in item for item in items)
    assert items[0]['lq'].shape == (3, 15, 12)
    assert items[0]['size'].tolist() == [50, 40]  # 49.5 and 39.6
    assert torch.equal(items[0]['scale'], torch.tensor([50 / 15, 40 / 12]))
    assert items[4]['size'].tolist() == [30, 36] and items[4]['nominal_scale'].tolist() == [2, 3]
    batch = next(iter(DataLoader(dataset)))
    assert batch['lq'].shape == (1, 3, 15, 12) and batch['size'].tolist() == [[50, 40]]
    assert batch['name'] == ['a'] and batch['lq_path'] == [f'{pairs[4]}/a.png']


def test_lr_alone_from_an_lmdb(pairs, make_lmdb):
    lmdb = make_lmdb(pairs[4], ['a.png', 'b.png'])
    items = list(make(phase='test', dataroot_lq=lmdb, scales=[2], io_backend={'type': 'lmdb'}))
    assert [(item['name'], item['lq_path'], item['lq'].shape) for item in items] == [
        ('a', 'a', (3, 15, 12)),
        ('b', 'b', (3, 18, 27)),
    ]


def test_sizes_of_results_are_known_beforehand(gt_root, pairs):
    """From headers, of pairs, of GT alone, and of LR alone: those that the items have when they are read."""
    scales = {'scales': [2, 3.7, [2, 3]]}
    for options in (
        {'dataroot_gt': gt_root, 'dataroot_lq': pairs},
        {'dataroot_gt': gt_root, **scales},
        {'dataroot_lq': gt_root, **scales},
    ):
        dataset = make(**options)
        assert [item.size for item in dataset.items] == [tuple(item['size'].tolist()) for item in dataset]


def test_pairs_that_do_not_match_are_named(gt_root, pairs, write_images):
    lq_root = pairs[2]
    extra = write_images('X2', {'c.png': (20, 20)})
    with pytest.raises(FileNotFoundError, match=r"LR images in '.*X2' without a GT image in '.*gt': c$"):
        make(dataroot_gt=gt_root, dataroot_lq=extra)
    os.unlink(os.path.join(extra, 'c.png'))
    write_images('X2', {'a.jpg': (30, 25)})
    with pytest.raises(ValueError, match=r'differ in the extension only: \S*X2/a\.jpg$'):
        make(dataroot_gt=gt_root, dataroot_lq=extra)
    os.unlink(os.path.join(lq_root, 'a.jpg'))
    os.unlink(os.path.join(lq_root, 'a.png'))
    with pytest.raises(FileNotFoundError, match=r"without an LR image in '.*X2': .*gt/a\.png \(LR a\)"):
        make(dataroot_gt=gt_root, dataroot_lq=lq_root)


def test_sizes_that_do_not_fit_are_named(gt_root, pairs, write_images):
    with pytest.raises(ValueError, match=r'scale 3: GT .*a\.png has 61 x 50 .*, LR .*X2/a\.png 30 x 25'):
        make(dataroot_gt=gt_root, dataroot_lq={3: pairs[2]})
    swapped = write_images('swapped', {'a.png': (37, 55), 'b.png': (30, 25)})
    with pytest.raises(ValueError, match=r'do not fit scale 2: .*gt/a\.png has 61 x 50'):
        make(dataroot_gt=gt_root, dataroot_lq={2: swapped})
    larger = write_images('larger', {'a.png': (122, 100), 'b.png': (148, 222)})
    with pytest.raises(ValueError, match=r'any scale of at least 1: GT .*a\.png'):
        make(dataroot_gt=gt_root, dataroot_lq=larger)


def test_a_folder_of_pairs_of_different_scales_keeps_each_pairs_own(gt_root, write_images):
    mixed = write_images('mixed', {'a.png': (30, 25), 'b.png': (18, 27)})
    scales = [item['nominal_scale'].tolist() for item in make(dataroot_gt=gt_root, dataroot_lq=mixed)]
    assert scales == [[2, 2], [4, 4]]


def test_an_image_smaller_than_the_scale_is_named(write_images):
    with pytest.raises(ValueError, match=r'too small for scale 6: .*tiny\.png'):
        make(dataroot_gt=write_images('gt', {'tiny.png': (5, 40)}), scales=[2, 6])


def test_an_image_that_has_become_smaller_than_the_scale_is_named(write_images):
    gt_root = write_images('gt', {'a.png': (6, 40)})
    dataset = make(dataroot_gt=gt_root, scales=[6])
    assert dataset[0]['lq'].shape == (3, 1, 6) and dataset[0]['gt'].shape == (3, 6, 36)
    write_images('gt', {'a.png': (5, 40)})
    with pytest.raises(ValueError, match=r'a\.png has 5 x 40 pixels \(rows x columns\), too few for scale 6'):
        dataset[0]


def test_a_pair_that_changed_is_named(gt_root, pairs, write_images):
    dataset = make(dataroot_gt=gt_root, dataroot_lq={2: pairs[2]})
    write_images('X2', {'a.png': (10, 10)})
    with pytest.raises(ValueError, match=r'\(61, 50\) of GT .*a\.png and \(10, 10\) of LR .*a\.png do not fit scale 2'):
        dataset[0]


def test_cached_pairs_are_the_same(gt_root, pairs):
    plain, cached = (make(dataroot_gt=gt_root, dataroot_lq=pairs, cache=cache) for cache in ('none', 'memory'))
    assert len(cached.reader._in_memory) == 2 + 6 and not plain.reader._in_memory  # GT images once for all scales
    assert not pickle.loads(pickle.dumps(cached)).reader._in_memory  # a spawned worker fills its own
    for one, other in zip(plain, cached, strict=True):
        assert torch.equal(one['lq'], other['lq']) and torch.equal(one['gt'], other['gt'])


def test_photographs(tmp_path):
    """The scales of the protocol on a real photograph: bicubic enlargement of LR is close to GT."""
    from skimage import data

    from gsasr_plugin.data.bicubic import resize_bicubic

    cv2.imwrite(str(tmp_path / 'cat.png'), data.chelsea()[..., ::-1])
    for item in make(dataroot_gt=str(tmp_path), scales=[2, 3.3, 4, 12]):
        lq, gt = (item[key].numpy().transpose(1, 2, 0) for key in ('lq', 'gt'))
        error = np.mean((resize_bicubic(lq, tuple(item['size'].tolist())) - gt) ** 2)
        shifted = np.mean((resize_bicubic(np.roll(lq, 1, axis=1), tuple(item['size'].tolist())) - gt) ** 2)
        # A shift of one LR pixel would show.
        assert error < shifted / 2
        assert -10 * np.log10(error) > 20
