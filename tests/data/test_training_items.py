"""Training samples: sizes, scales and LR by the paper's rule, and the same bits for any number of workers."""

import itertools
import logging

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.epoch_sampler import EpochIndex, EpochSampler
from gsasr_plugin.data.image_files import list_images, read_image

# isort: split
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from basicsr.utils import get_root_logger
from basicsr.utils.matlab_functions import imresize


@pytest.fixture
def root(write_images):
    return write_images('gt', {f'{i}.png': (100 + 7 * i, 120 - 5 * i) for i in range(4)})


def options(root, **changes):
    return {
        'name': 'photographs',
        'type': 'ArbitraryScalePairedDataset',
        'phase': 'train',
        'dataroot_gt': root,
        'io_backend': {'type': 'disk'},
        'lq_size': 16,
        'num_worker_per_gpu': 0,
        'batch_size_per_gpu': 2,
        **changes,
    }


def test_a_sample_follows_the_papers_rule(root):
    dataset = ArbitraryScalePairedDataset(options(root, use_hflip=False, use_rot=False))
    image = read_image(list_images(root, 'disk')[1]).astype(np.float32) / 255
    factors = set()
    for epoch in range(40):
        item = dataset[EpochIndex(1, epoch=epoch)]
        lq, gt, (rows, columns) = item['lq'], item['gt'], item['scale'].tolist()
        assert lq.dtype == gt.dtype == item['scale'].dtype == torch.float32
        assert lq.shape == (3, 16, 16)
        # s has become crop / lq_size exactly.
        assert rows == columns == gt.shape[1] / 16 == gt.shape[2] / 16
        assert 1 <= rows <= 4
        factors.add(rows)
        crop = gt.numpy().transpose(1, 2, 0)
        # The crop is somewhere in the image, in RGB.
        corners = np.argwhere((image == crop[0, 0]).all(-1))
        assert any(np.array_equal(image[y : y + len(crop), x : x + len(crop)], crop) for y, x in corners)
        # LR is the host's down-sampling of it, unrounded; 1e-5: see test_bicubic.
        expected = imresize(crop, np.nextafter(16 / len(crop), 0) if len(crop) > 16 else 1.0)
        assert expected.shape == (16, 16, 3)
        assert np.abs(lq.numpy().transpose(1, 2, 0) - expected).max() <= 1e-5
        assert item['lq_path'] == item['gt_path'] == str(list_images(root, 'disk')[1].path)
    assert len(factors) > 15


def test_scales_are_uniform_and_round_half_up(root):
    dataset = ArbitraryScalePairedDataset(options(root, lq_size=2, scale_range=[1, 3]))
    sides = [dataset[EpochIndex(0, epoch=epoch)]['gt'].shape[1] for epoch in range(800)]
    # round(2 s) for s uniform in 1..3 gives 2, 3, 4, 5, 6 with 1/8, 1/4, 1/4, 1/4, 1/8; allowed are five standard
    # deviations of 800 draws.
    for side, probability in zip((2, 3, 4, 5, 6), (1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8)):
        assert abs(sides.count(side) / 800 - probability) < 5 * (probability * (1 - probability) / 800) ** 0.5
    half = ArbitraryScalePairedDataset(options(root, lq_size=3, scales=[1.5]))
    assert half[0]['gt'].shape == (3, 5, 5)  # 4.5 is rounded up


def test_scales_from_a_list_and_unequal_ones(root):
    listed = ArbitraryScalePairedDataset(options(root, scales=[2, [1.5, 3]], use_rot=False))
    seen = {tuple(listed[EpochIndex(0, epoch=e)]['scale'].tolist()) for e in range(30)}
    assert seen == {(2.0, 2.0), (1.5, 3.0)}
    turned = ArbitraryScalePairedDataset(options(root, scales=[[1.5, 3]]))
    for epoch in range(20):
        item = turned[EpochIndex(0, epoch=epoch)]
        assert item['scale'].tolist() == [item['gt'].shape[1] / 16, item['gt'].shape[2] / 16]
        assert sorted(item['scale'].tolist()) == [1.5, 3.0]
    unequal = ArbitraryScalePairedDataset(options(root, unequal_scales=True))
    assert all(len(set(unequal[EpochIndex(0, epoch=e)]['scale'].tolist())) == 2 for e in range(5))


def test_flips_and_rotations_give_all_eight_orientations(tmp_path):
    import cv2

    corners = np.zeros((20, 20, 3), np.uint8)
    corners[0, 0], corners[0, -1], corners[-1, 0] = 200, 100, 50
    cv2.imwrite(str(tmp_path / 'corners.png'), corners)

    def orientations(**flags):
        dataset = ArbitraryScalePairedDataset(options(str(tmp_path), lq_size=20, scales=[1], **flags))
        crops = [dataset[EpochIndex(0, epoch=epoch)]['gt'][0] for epoch in range(80)]
        return {(crop[0, 0].item(), crop[0, -1].item(), crop[-1, 0].item()) for crop in crops}

    assert len(orientations()) == 8
    assert len(orientations(use_rot=False)) == 2
    assert len(orientations(use_hflip=False)) == 4  # half of the rotations need both
    assert len(orientations(use_hflip=False, use_rot=False)) == 1


def test_quantized_lr_has_256_levels(root):
    exact = ArbitraryScalePairedDataset(options(root))[0]['lq']
    rounded = ArbitraryScalePairedDataset(options(root, quantize_lq=True))[0]['lq']
    assert torch.equal(rounded * 255, (rounded * 255).round())
    assert (exact.clamp(0, 1) - rounded).abs().max() <= 0.5 / 255 + 1e-7
    assert not torch.equal(exact, rounded)


def test_samples_depend_on_seed_epoch_repeat_and_index_alone(root):
    dataset = ArbitraryScalePairedDataset(options(root))
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]  # index, epoch, repeat
    items = [dataset[EpochIndex(index, epoch=epoch, repeat=repeat)] for index, epoch, repeat in keys]
    items.append(ArbitraryScalePairedDataset(options(root, seed=1))[0])
    for one, other in itertools.combinations(items, 2):
        assert one['lq'].shape == other['lq'].shape and not torch.equal(one['lq'], other['lq'])
    np.random.seed(3)
    torch.manual_seed(3)
    again = dataset[0]  # a plain index is epoch 0, the first time
    assert torch.equal(again['lq'], items[0]['lq']) and torch.equal(again['gt'], items[0]['gt'])
    assert torch.equal(dataset[-1]['lq'], dataset[3]['lq'])
    with pytest.raises(IndexError):
        dataset[4]


def test_the_sampler_gives_the_seed_unless_an_option_does(root):
    """The key of a sample's generator is (seed, epoch, repeat, index)."""
    drawn = [EpochIndex(1, epoch=2, repeat=1, seed=seed) for seed in (0, 1, 5)]
    followed, own = (ArbitraryScalePairedDataset(options(root, **seed)) for seed in ({}, {'seed': 1}))
    crops = [followed[index]['gt'] for index in drawn]
    for one, other in itertools.combinations(crops, 2):
        assert not torch.equal(one, other)
    assert all(torch.equal(own[index]['gt'], crops[1]) for index in drawn)
    assert torch.equal(followed[drawn[2]]['gt'], crops[2])
    image = read_image(followed.images[1].gt)
    expected = followed.crops.place(np.random.default_rng((5, 2, 1, 1)), image.shape[:2]).cut(image)  # (H, W, 3)
    assert np.array_equal(crops[2].numpy(), expected.transpose(2, 0, 1) / np.float32(255))


def epochs(dataset, workers, **arguments):
    """Two epochs of batches through a DataLoader, as the host's training loop goes through it."""
    sampler = EpochSampler(dataset, 1, 0, 3)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, drop_last=True, **arguments)
    prefetcher = CPUPrefetcher(loader)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        prefetcher.reset()
        while (batch := prefetcher.next()) is not None:
            yield batch


def assert_equal_batches(ones, others):
    ones, others = list(ones), list(others)
    assert len(ones) == len(others) == 6
    for one, other in zip(ones, others):
        assert one['gt_path'] == other['gt_path']
        assert torch.equal(one['lq'], other['lq']) and torch.equal(one['scale'], other['scale'])
        assert all(torch.equal(a, b) for a, b in zip(one['gt'], other['gt'], strict=True))


@pytest.mark.parametrize(
    ('workers', 'arguments'), [(1, {}), (2, {}), (2, {'persistent_workers': True}), (2, {'prefetch_factor': 5})]
)
def test_any_number_of_workers_gives_the_same_bits(root, workers, arguments):
    dataset = ArbitraryScalePairedDataset(options(root))
    assert_equal_batches(epochs(dataset, 0), epochs(dataset, workers, **arguments))


@pytest.mark.slow
def test_spawned_workers_give_the_same_bits(root, make_lmdb):
    lmdb = make_lmdb(root, [f'{i}.png' for i in range(4)])
    disk = ArbitraryScalePairedDataset(options(root))
    database = ArbitraryScalePairedDataset(options(lmdb, io_backend={'type': 'lmdb'}, cache='memory'))
    spawned = list(epochs(database, 1, multiprocessing_context='spawn', persistent_workers=True))
    for batch in spawned:  # the LMDB's keys are stems
        batch['gt_path'] = [f'{root}/{key}.png' for key in batch['gt_path']]
    assert_equal_batches(epochs(disk, 0), spawned)


def test_lmdb_equals_disk_in_forked_workers(root, make_lmdb):
    lmdb = make_lmdb(root, [f'{i}.png' for i in range(4)])
    disk = ArbitraryScalePairedDataset(options(root))
    database = ArbitraryScalePairedDataset(options(lmdb, io_backend={'type': 'lmdb'}))
    database[0]  # open before the fork
    batches = list(epochs(database, 2))
    for batch in batches:
        batch['gt_path'] = [f'{root}/{key}.png' for key in batch['gt_path']]
    assert_equal_batches(epochs(disk, 0), batches)


def test_the_hosts_builders_make_the_loader(root):
    opt = options(root, dataset_enlarge_ratio=2)
    dataset = build_dataset(opt)
    loader = build_dataloader(dataset, opt, num_gpu=0, sampler=EpochSampler(dataset, 1, 0, 2), seed=0)
    batches = list(loader)
    assert len(batches) == 4
    assert batches[0]['lq'].shape == (2, 3, 16, 16) and batches[0]['scale'].shape == (2, 2)
    assert [gt.shape[1] / 16 for gt in batches[0]['gt']] == batches[0]['scale'][:, 0].tolist()


def test_cached_images_are_decoded_once(root, monkeypatch):
    import gsasr_plugin.data.image_reader as module

    reads = []
    monkeypatch.setattr(module, 'read_image', lambda file: reads.append(file) or read_image(file))
    cached = ArbitraryScalePairedDataset(options(root, cache='memory'))
    plain = ArbitraryScalePairedDataset(options(root))
    assert len(reads) == 4
    assert all(torch.equal(cached[i]['lq'], plain[i]['lq']) for i in (0, 3, 0))
    assert len(reads) == 4 + 3


def test_several_roots_and_names(write_images, tmp_path):
    one = write_images('one', {'a.png': (70, 70), 'b.png': (70, 70)})
    two = write_images('two', {'c.png': (70, 70)})
    (tmp_path / 'one.txt').write_text('b.png (70,70,3)\n')
    (tmp_path / 'two.txt').write_text('c.png\n')
    assert len(ArbitraryScalePairedDataset(options([one, two]))) == 3
    chosen = ArbitraryScalePairedDataset(
        options([one, two], meta_info_file=[str(tmp_path / 'one.txt'), str(tmp_path / 'two.txt')])
    )
    assert [image.gt.stem for image in chosen.images] == ['b', 'c']


def test_small_images_are_an_error_or_skipped_and_named(write_images, caplog, monkeypatch):
    # The largest crop is 64 x 64.
    root = write_images('gt', {'large.png': (64, 64), 'low.png': (63, 90), 'narrow.png': (90, 63)})
    message = r'2 of 3 images have fewer than 64 x 64 .*low\.png \(63 x 90\), .*narrow\.png \(90 x 63\)'
    with pytest.raises(ValueError, match=message + '.*small_images: skip'):
        ArbitraryScalePairedDataset(options(root))
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    with caplog.at_level(logging.WARNING):
        dataset = ArbitraryScalePairedDataset(options(root, small_images='skip'))
    assert [image.gt.stem for image in dataset.images] == ['large']
    assert 'low.png (63 x 90)' in caplog.text and 'narrow.png' in caplog.text
    assert len(ArbitraryScalePairedDataset(options(root, scale_range=[1, 3.9]))) == 3  # 62 x 62
    with pytest.raises(ValueError, match='none is left'):
        ArbitraryScalePairedDataset(options(root, scales=[5], small_images='skip'))


def test_an_lmdb_that_has_shrunk_is_named(write_images, make_lmdb):
    lmdb = make_lmdb(write_images('gt', {'a.png': (20, 70)}), ['a.png'])
    with open(f'{lmdb}/meta_info.txt', 'w') as file:
        file.write('a.png (70,70,3) 1\n')
    dataset = ArbitraryScalePairedDataset(options(lmdb, io_backend={'type': 'lmdb'}))
    with pytest.raises(ValueError, match=r'gt\.lmdb\[a\] has 20 x 70 pixels'):
        dataset[0]


def test_the_phase_must_be_known(root):
    opt = options(root)
    del opt['phase']
    with pytest.raises(ValueError, match="'phase' is missing"):
        ArbitraryScalePairedDataset(opt)
