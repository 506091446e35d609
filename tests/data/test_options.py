"""The data set's options: what is accepted, what is refused and in which words."""

import typing
from dataclasses import fields

import pytest

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions as Options

TRAIN = {'name': 'DIV2K', 'type': 'ArbitraryScalePairedDataset', 'phase': 'train', 'dataroot_gt': 'gt'}
VAL = {**TRAIN, 'phase': 'val'}


def test_the_papers_training_is_the_default():
    options = Options.from_opt(TRAIN)
    assert (options.lq_size, options.use_hflip, options.use_rot, options.io_backend) == (
        48,
        True,
        True,
        {'type': 'disk'},
    )
    assert options.scale_range is None and options.scales is None and not options.unequal_scales


def test_a_hosts_section_is_accepted():
    Options.from_opt(
        {
            **TRAIN,
            'dataroot_gt': ['a.lmdb', 'b.lmdb'],
            'meta_info_file': ['a.txt', 'b.txt'],
            'io_backend': {'type': 'lmdb'},
            'scale_range': [1, 4],
            'use_shuffle': True,
            'num_worker_per_gpu': 6,
            'batch_size_per_gpu': 16,
            'dataset_enlarge_ratio': 100,
            'prefetch_mode': None,
            'num_prefetch_queue': 1,
            'pin_memory': True,
            'persistent_workers': True,
        }
    )
    Options.from_opt({**VAL, 'dataroot_lq': {2: 'X2', 3.7: 'X3.7'}})
    Options.from_opt({**VAL, 'dataroot_gt': ['gt'], 'dataroot_lq': ['X2', 'X3'], 'scales': [2, 3]})
    Options.from_opt({**VAL, 'scales': [2, [2, 3.5]]})
    Options.from_opt({'name': 'lr', 'phase': 'test', 'dataroot_lq': ['a', 'b'], 'scales': [3.7]})


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        (
            {'scale_rang': [1, 4]},
            ValueError,
            r"data set DIV2K: unknown option 'scale_rang'; did you mean 'scale_range'\?",
        ),
        ({'zzz': 1}, ValueError, r"unknown option 'zzz'; known are .*dataroot_gt"),
        ({'scale': 4}, ValueError, r"option 'scale' \(4\) is not known here.*'scale_range'"),
        ({'lq_size': '48'}, TypeError, r"option 'lq_size' must be int, got '48'"),
        ({'lq_size': True}, TypeError, 'lq_size'),
        ({'lq_size': 0}, ValueError, 'lq_size must be at least 1, got 0'),
        ({'use_rot': 1}, TypeError, 'use_rot'),
        ({'io_backend': {'type': 'memcached'}}, TypeError, r'io_backend.*disk.*lmdb'),
        ({'io_backend': {}}, ValueError, 'io_backend must have a type'),
        ({'io_backend': {'typ': 'disk'}}, TypeError, 'io_backend'),
        ({'small_images': 'ignore'}, TypeError, r"small_images.*error.*skip.*got 'ignore'"),
        ({'scale_range': [4, 1]}, ValueError, r'scale_range must be .* got \[4, 1\]'),
        ({'scale_range': [0.5, 4]}, ValueError, 'scale_range must be'),
        ({'scale_range': [1, 2, 3]}, ValueError, 'scale_range must be'),
        ({'scale_range': 4}, TypeError, 'scale_range'),
        ({'scale_range': [1, 4], 'scales': [2]}, ValueError, 'exclude each other'),
        ({'scales': []}, ValueError, 'scales must have at least one'),
        ({'scales': [2, 0.5]}, ValueError, 'a scale must be .* got 0.5'),
        ({'scales': [[1, 2, 3]]}, ValueError, r'a scale must be .* got \[1, 2, 3\]'),
        ({'scales': [2], 'unequal_scales': True}, ValueError, 'unequal_scales goes with scale_range'),
        ({'seed': -1}, ValueError, 'seed must be at least 0'),
        ({'dataset_enlarge_ratio': 0}, ValueError, 'dataset_enlarge_ratio must be positive, got 0'),
        ({'dataroot_lq': 'lq'}, ValueError, 'dataroot_lq does not go with training'),
        ({'dataroot_gt': None}, ValueError, 'dataroot_gt or dataroot_lq is needed'),
        ({'meta_info_file': ['a', 'b']}, ValueError, 'one file per dataroot_gt'),
        ({'phase': 'val'}, ValueError, 'scales is needed'),
        ({'phase': 'val', 'scale_range': [1, 4]}, ValueError, 'scale_range is for training'),
        ({'phase': 'val', 'dataroot_lq': ['a', 'b'], 'scales': [2]}, ValueError, 'one scale per dataroot_lq'),
        ({'phase': 'val', 'dataroot_lq': {2: 'a'}, 'scales': [2]}, ValueError, 'has the scales already'),
        ({'phase': 'val', 'dataroot_lq': {0.5: 'a'}}, ValueError, 'a scale must be'),
        ({'phase': 'val', 'dataroot_lq': {'x2': 'a'}}, TypeError, 'dataroot_lq'),
        ({'phase': 'val', 'dataroot_gt': ['a', 'b'], 'dataroot_lq': 'c'}, ValueError, 'pairs need one dataroot_gt'),
        ({'phase': 'test', 'dataroot_gt': None, 'dataroot_lq': {2: 'a'}, 'scales': [2]}, ValueError, 'mapping'),
    ],
)
def test_faults_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        Options.from_opt({**TRAIN, **changes})


def test_every_option_is_documented_and_typed():
    assert typing.get_type_hints(Options).keys() >= {field.name for field in fields(Options)}
    undocumented = [
        field.name for field in fields(Options) if f'\n        {field.name}: ' not in (Options.__doc__ or '')
    ]
    assert undocumented == []
