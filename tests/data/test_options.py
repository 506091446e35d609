"""The data set's options: what is accepted, what is refused and in which words."""

from dataclasses import fields
from typing import Any

import pydantic
import pytest

from gsasr_plugin.data.arbitrary_scale_paired_options import ArbitraryScalePairedDatasetOptions as Options
from gsasr_plugin.data.loader_options import FolderName, TrainLoaderOptions
from gsasr_plugin.option_types import accepted_by_dataclass

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
    Options.from_opt({**TRAIN, 'scale_range': [4, 4]})
    Options.from_opt({'name': 'lr', 'phase': 'test', 'dataroot_lq': ['a', 'b'], 'scales': [3.7]})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'scale_rang': [1, 4]},
            r"data set DIV2K: unknown option 'scale_rang'; did you mean 'scale_range'\?",
        ),
        ({'zzz': 1}, r"unknown option 'zzz'; known are .*dataroot_gt"),
        ({'scale': 4}, r"option 'scale' \(4\) is not known here.*'scale_range'"),
        ({'lq_size': '48'}, "lq_size: given '48'; accepted: a whole number, at least 1"),
        ({'lq_size': True}, 'lq_size: given true; accepted: a whole number'),
        ({'lq_size': 0}, 'lq_size: given 0; accepted: a whole number, at least 1'),
        ({'use_rot': 1}, 'use_rot: given 1; accepted: true or false'),
        ({'io_backend': {'type': 'memcached'}}, r'io_backend.type: given .memcached.; accepted: .*disk.*lmdb'),
        ({'io_backend': {}}, 'io_backend: given {}; accepted: a mapping {type: disk}'),
        ({'io_backend': {'typ': 'disk'}}, 'io_backend: given'),
        ({'small_images': 'ignore'}, "small_images: given 'ignore'; accepted: error or skip"),
        ({'scale_range': [4, 1]}, r'scale_range must be .* got \[4, 1\]'),
        ({'scale_range': [0.5, 4]}, r'scale_range\[0\]: given 0.5; accepted: a list of 2 \(of a number, at least 1\)'),
        ({'scale_range': [1, 2, 3]}, r'scale_range: given \[1, 2, 3\]; accepted: a list of 2'),
        ({'scale_range': [1, float('inf')]}, 'scale_range'),
        ({'scale_range': 4}, 'scale_range: given 4; accepted: a list of 2'),
        ({'scale_range': [1, 4], 'scales': [2]}, 'exclude each other'),
        ({'scales': []}, r'scales: given \[\]; accepted: a list of scales'),
        ({'scales': [2, 0.5]}, r'scales.*: given .*0.5.*; accepted: a list of scales, each a number of at least 1'),
        ({'scales': [[1, 2, 3]]}, r'scales: given \[\[1, 2, 3\]\]; accepted: a list of scales.*\[rows, columns\]'),
        ({'scales': [2], 'unequal_scales': True}, 'unequal_scales goes with scale_range'),
        ({'seed': -1}, 'seed: given -1; accepted: a whole number, at least 0'),
        ({'dataset_enlarge_ratio': 0}, 'dataset_enlarge_ratio: given 0; accepted: a number, greater than 0'),
        ({'dataroot_gt': None}, 'dataroot_gt or dataroot_lq is needed'),
        ({'meta_info_file': ['a', 'b']}, 'one file per dataroot_gt'),
        ({'phase': 'val'}, 'scales is needed'),
        ({'phase': 'val', 'scale_range': [1, 4]}, 'scale_range is for training'),
        ({'phase': 'val', 'dataroot_lq': ['a', 'b'], 'scales': [2]}, 'one scale per dataroot_lq'),
        ({'phase': 'val', 'dataroot_lq': {2: 'a'}, 'scales': [2]}, 'has the scales already'),
        ({'phase': 'val', 'dataroot_lq': {'2': 'a'}}, 'the scales of the mapping dataroot_lq must be numbers'),
        ({'phase': 'val', 'dataroot_lq': {0.5: 'a'}}, 'accepted: .* a mapping from scales, at least 1'),
        ({'phase': 'val', 'dataroot_lq': {'x2': 'a'}}, 'dataroot_lq: given .* a mapping from scales'),
        ({'phase': 'val', 'dataroot_gt': ['a', 'b'], 'dataroot_lq': 'c'}, 'pairs need one dataroot_gt'),
        ({'phase': 'test', 'dataroot_gt': None, 'dataroot_lq': {2: 'a'}, 'scales': [2]}, 'mapping'),
    ],
)
def test_faults_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Options.from_opt({**TRAIN, **changes})


def test_all_faults_are_named():
    with pytest.raises(ValueError, match=r"data set DIV2K: unknown option 'lq_sise'.*; seed: given 'x'"):
        Options.from_opt({**TRAIN, 'lq_sise': 4, 'seed': 'x'})


def test_every_option_is_documented_and_typed():
    # What the loader reads is documented with the loader's options of the phase.
    options = {**accepted_by_dataclass(Options).options, **accepted_by_dataclass(TrainLoaderOptions).options}
    assert options.keys() == {field.name for field in fields(Options)}
    assert [name for name, option in options.items() if not option.sentence or option.annotation is Any] == []


def test_names_are_those_of_folders():
    adapter = pydantic.TypeAdapter(FolderName)
    for name in ('DIV2K', 'my set', 'a.b', '...x', 'Fotos für später', 'x' * 150):
        assert adapter.validate_python(name) == name
    for name in ('', '.', '..', ' . ', 'a/b', 'a\\b', 'a\nb', 'a\0b', 'x' * 151):
        with pytest.raises(pydantic.ValidationError):
            adapter.validate_python(name)
