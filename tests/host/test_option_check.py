"""The check of option files: every fault is named with file, line, key path, what was given and what is accepted."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from gsasr_plugin.host.option_check import OptionError, Problem, read_option_file
from gsasr_plugin.host.option_check.checker import check_options
from gsasr_plugin.option_types import REQUIRED, Accepted, Option, accepted_by_call, closest, dotted, words
from tests.host.conftest import write_options

Options = dict[str, Any]
MISSING = ...  # its name in a test's is the same in every process, as pytest-xdist wants it


def changed(options: Options, **changes: Any) -> Options:
    """A copy with options set (or removed: MISSING), their keys joined by two underscores."""
    options = copy.deepcopy(options)
    for name, value in changes.items():
        *sections, key = name.split('__')
        section = options
        for inner in sections:
            section = section[inner]
        if value is MISSING:
            del section[key]
        else:
            section[key] = value
    return options


def check(options: Options, project: Path, *, is_train: bool = True, auto_resume: bool = False) -> list[Problem]:
    path = write_options(options, project / 'options.yml')
    return check_options(read_option_file(str(path)), is_train=is_train, auto_resume=auto_resume)


def errors(options: Options, project: Path, *, is_train: bool = True) -> list[Problem]:
    with pytest.raises(OptionError) as caught:
        check(options, project, is_train=is_train)
    assert all(
        problem.message('f') in str(caught.value).replace(caught.value.file, 'f') for problem in caught.value.problems
    )
    return [problem for problem in caught.value.problems if problem.is_error]


def as_test(options: Options) -> Options:
    """The same project, tested."""
    options = changed(options, train=MISSING, logger=MISSING, val__val_freq=MISSING)
    datasets = options['datasets']
    options['datasets'] = {'test_1': datasets['val']}
    return options


def test_sound_options_of_the_host_pass(project: Path, edsr_options: Options) -> None:
    assert check(edsr_options, project) == []


def test_only_our_data_set_finds_packaged_lists(project: Path, edsr_options: Options, gsasr_options: Options) -> None:
    """BasicSR's own opens the file that is named."""
    name = 'options/quickstart_val.txt'
    (problem,) = errors(changed(edsr_options, datasets__train__meta_info_file=name), project)
    assert problem.path == ('datasets', 'train', 'meta_info_file') and f"no file or folder '{name}'" in problem.fault
    assert check(changed(gsasr_options, datasets__train__meta_info_file=name), project) == []


def test_sound_options_of_the_plugin_pass(project: Path, gsasr_options: Options) -> None:
    options = changed(
        gsasr_options,
        datasets__train__dataroot_gt=['gt', 'lq'],
        datasets__train__scale_range=[1, 2.5],
        train__grad_clip=1,
        train__ema_decay=0.999,
        val__compare_bicubic=True,
        val__tile='auto',
        val__tile_overlap=24,
        val__memory_budget=6,
        val__metrics__psnr__crop_border='auto',
        train__optim_g__type='AdamW',
        logger__save_checkpoint_freq=5e3,
    )
    assert check(options, project) == []


def test_testing_needs_no_train_section_but_weights(project: Path, edsr_options: Options) -> None:
    (warning,) = check(as_test(edsr_options), project, is_train=False)
    assert dotted(warning.path) == 'path.pretrain_network_g' and 'random weights' in warning.fault
    network = {key: value for key, value in edsr_options['network_g'].items() if key != 'type'}
    torch.save({'params': EDSR(**network).state_dict()}, project / 'net.pth')
    assert check(changed(as_test(edsr_options), path__pretrain_network_g='net.pth'), project, is_train=False) == []


def test_a_missing_suffix_is_filled_in_for_the_host(project: Path, edsr_options: Options) -> None:
    file = read_option_file(str(write_options(as_test(edsr_options), project / 'options.yml')))
    assert 'suffix' not in file.options['val']
    check_options(file, is_train=False)
    assert file.options['val']['suffix'] is None


def test_a_metric_that_says_that_less_is_better_is_believed(project: Path, gsasr_options: Options) -> None:
    """BasicSR takes the largest value for the best one, and `keep_best` would keep the worst network."""
    metrics = {name: {'type': f'calculate_{name}', 'crop_border': 0} for name in ('dists', 'niqe', 'psnr')}
    metrics['inverted'] = {**metrics['niqe'], 'better': 'higher'}
    (project / 'large').mkdir()
    cv2.imwrite('large/0.png', np.zeros((200, 200, 3), np.uint8))
    gsasr_options['datasets']['val'] |= {'dataroot_gt': 'large', 'scales': [2]}
    options = changed(gsasr_options, val__metrics=metrics, val__keep_best='dists')
    file = read_option_file(str(write_options(options, project / 'options.yml')))
    check_options(file, is_train=True)
    found = {name: section.get('better') for name, section in file.options['val']['metrics'].items()}
    assert found == {'dists': 'lower', 'niqe': 'lower', 'psnr': None, 'inverted': 'higher'}
    (problem,) = errors(changed(options, val__metrics__dists__better='higher'), project)
    assert dotted(problem.path) == 'val.metrics.dists.better' and problem.accepted == 'lower'


@pytest.mark.parametrize('key', ['train__optim_g__lr', 'train__pixel_opt__loss_weight', 'train__grad_clip'])
@pytest.mark.parametrize('value', [float('inf'), float('-inf'), float('nan')])
def test_no_number_is_infinite(gsasr_options: Options, project: Path, key: str, value: float) -> None:
    """As 1e400 is: a training by it lost its weights in the first step."""
    (problem,) = errors(changed(gsasr_options, **{key: value}), project)
    assert dotted(problem.path) == key.replace('__', '.') and problem.fault == f'given {value}'
    assert problem.accepted.startswith('a number')


# Option, its faulty value, then what the message must say: fault, accepted values, suggestion.
FAULTS_OF_THE_PLUGIN = [
    # network
    ('network_g__encoder_opt__num_feet', 64, 'unknown key (given 64)', 'num_feat', 'num_feat'),
    ('network_g__encoder_opt__num_in_ch', 4, 'given 4', '3', None),
    ('network_g__encoder_opt__num_feat', '64', "given '64'", 'a whole number', None),
    ('network_g__encoder_opt__num_feat', True, 'given true', 'a whole number', None),
    ('network_g__encoder_opt__num_block', 1.5, 'given 1.5', 'a whole number', None),
    ('network_g__encoder_opt__num_block', 10**30, 'given 1000', 'at most 4096', None),
    ('train__pixel_opt__reduction', 'maen', "given 'maen'", 'mean', 'mean'),
    ('train__pixel_opt__reduction', 'none', "given 'none'", 'mean', None),
    ('train__optim_g__weight_decay', 10**30, 'given 1000', 'a number of 64 bits', None),
    ('datasets__train__cache_dir', 'a\0b', 'given', 'text without the character 0', None),
    ('network_g__num_interaction_blocks', 5000, 'given 5000', 'at most 4096', None),
    ('network_g__encoder_opt__type', 'EDRS', "given 'EDRS'", 'RDN', 'EDSR'),
    ('network_g__encoder_opt__type', MISSING, 'missing', 'SwinIR', None),
    ('network_g__encoder_opt', 'EDSR', "given 'EDSR'", 'a mapping', None),
    ('network_g__encoder_opt', MISSING, 'missing', 'a mapping', None),
    ('network_g__window_sise', 4, 'unknown key (given 4)', 'window_size', 'window_size'),
    ('network_g__sigma_max', 'wide', "given 'wide'", 'a number', None),
    ('network_g__gaussian_density', 5, 'given 5', '1 or 4 or 9 or 16', None),
    ('network_g__embed_dim', 0, 'given 0', 'a whole number, at least 1', None),
    ('network_g__encoder_opt__num_block', 0, 'given 0', 'a whole number, at least 1', None),
    ('network_g__use_reference_points', 'yes', "given 'yes'", 'true or false', None),
    ('network_g__initial_sigma', [0.3], 'given [0.3]', 'a number, greater than 0 or null', None),
    ('network_g__type', 'GSSAR', "given 'GSSAR'", 'GSASR', 'GSASR'),
    ('network_g__type', MISSING, 'missing', 'GSASR', None),
    ('network_g', ['GSASR'], 'given', 'a section', None),
    # data set
    ('datasets__train__lq_sise', 8, 'unknown key (given 8)', 'lq_size', 'lq_size'),
    ('datasets__train__lq_size', '8', "given '8'", 'a whole number', None),
    ('datasets__train__scale_range', 'all', "given 'all'", 'a list', None),
    ('datasets__train__small_images', 'skipp', "given 'skipp'", 'error or skip', 'skip'),
    ('datasets__train__degradation', 'ligth', "given 'ligth'", 'real_esrgan or light', 'light'),
    ('datasets__train__degradation', {'preset': 'ligth'}, "given 'ligth'", 'real_esrgan or light', 'light'),
    ('datasets__train__degradation', {'jpeg_rang': [50, 95]}, 'unknown key', 'jpeg_range', 'jpeg_range'),
    ('datasets__train__degradation', {'jpeg_range': [95, 50]}, 'jpeg_range must be [lowest, highest]', '', None),
    ('datasets__val__degradation', 'light', 'degradation is for training', '', None),
    ('datasets__train__type', 'ArbitraryScaleDataset', 'given', 'PairedImageDataset', 'ArbitraryScalePairedDataset'),
    ('datasets__train__dataroot_gt', 'gtt', "'gtt'", '', None),
    ('datasets__train__dataroot_gt', ['gt', 'nowhere'], "'nowhere'", '', None),
    ('datasets__val__dataroot_lq', {2: 'nowhere'}, "'nowhere'", '', None),
    ('datasets__train__meta_info_file', 'names.txt', "'names.txt'", '', None),
    ('datasets__train__batch_size_per_gpu', 0, 'given 0', 'a whole number, at least 1', None),
    ('datasets__train__batch_size_per_gpu', MISSING, 'missing', 'a whole number, at least 1', None),
    ('datasets__train__prefetch_mode', 'gpu', "given 'gpu'", 'cpu or cuda or null', 'cpu'),
    ('datasets__train__persistent_workers', True, 'num_worker_per_gpu is 0', 'false', None),
    ('datasets__val__persistent_workers', True, 'without worker processes', 'false', None),
    ('datasets__train', MISSING, 'missing', '', None),
    ('datasets__val', None, 'given null', 'a section', None),
    # model
    ('train__grad_clp', 1, 'unknown key (given 1)', 'grad_clip', 'grad_clip'),
    ('train__grad_clip', 'strong', "given 'strong'", 'a number, greater than 0 or null', None),
    ('train__grad_clip', -1.0, 'given -1.0', 'a number, greater than 0 or null', None),
    ('train__optim_g__type', 'Adagrad', "given 'Adagrad'", 'AdamW', 'Adamax'),
    ('train__pixel_opt', None, 'no perceptual_opt and no losses either', 'L1Loss', None),
    ('network_g__raster_ratio', -0.5, 'given -0.5', 'a number, greater than 0 or null', None),
    ('val__compare_bicubik', True, 'unknown key (given true)', 'compare_bicubic', 'compare_bicubic'),
    ('val__tile', 0, 'given 0', 'a whole number, at least 1 or auto or null', None),
    ('val__tile', 'automatic', "given 'automatic'", 'or auto or null', 'auto'),
    ('val__tile_overlap', -1, 'given -1', 'a whole number, at least 0 or null', None),
    ('val__memory_budget', 0, 'given 0', 'a number, greater than 0 or null', None),
    ('model_type', 'GSARModel', "given 'GSARModel'", 'GSASRModel', 'GSASRModel'),
    ('train__optim_g__type', 'AdmW', "given 'AdmW'", 'AdamW', 'AdamW'),
    ('val__metrics__psnr__crop_border', 'automatic', "given 'automatic'", 'a whole number, at least 0 or auto', 'auto'),
    ('scale', 4, 'copies it into every data set', 'no scale', None),
]
FAULTS_OF_THE_HOST = [
    ('name', 5, 'given 5', 'a text', None),
    ('name', '../..', "given '../..' (no name of a folder)", 'without / and', None),
    ('name', 'a\0b', 'no name of a folder', 'printable', None),
    ('datasets__val__name', '..', "given '..'", 'not only dots', None),
    ('datasets__train__num_worker_per_gpu', 10**30, 'given 1000', 'at most 1024', None),
    ('datasets__train__dataset_enlarge_ratio', float('inf'), 'given inf', 'at most 1', None),
    ('name', MISSING, 'missing', 'a text', None),
    ('num_gpu', 'all', "given 'all'", 'auto or a whole number, at least 0', None),
    ('num_gpu', 64, 'given 64, but torch sees', 'auto, or 0 to', None),
    ('manual_seed', -1, 'given -1', 'at least 0', None),
    ('model_type', 'SRModell', "given 'SRModell'", 'SRModel', 'SRModel'),
    ('datasets', MISSING, 'missing', 'a mapping', None),
    ('datasets__test', {}, 'no such section', 'val_', None),
    ('datasets__train__type', 'PairedImageDatset', 'given', 'PairedImageDataset', 'PairedImageDataset'),
    ('datasets__train__num_worker_per_gpu', 'two', "given 'two'", 'a whole number, at least 0', None),
    ('datasets__train__dataroot_lq', 'lr', "'lr'", '', None),
    ('network_g', MISSING, 'missing', 'type', None),
    ('network_g__num_feet', 8, 'unknown key (given 8)', 'num_feat', 'num_feat'),
    ('network_g__num_in_ch', MISSING, 'missing', '', None),
    ('network_g__num_feat', 'many', "given 'many'", 'a number', None),
    ('path', MISSING, 'missing', 'a mapping', None),
    ('path__modls', 'x', "unknown key (given 'x')", 'pretrain_network_g', None),
    ('path__pretrain_network', None, 'unknown key', 'pretrain_network_g', 'pretrain_network_g'),
    ('path__pretrain_network_g', 'net.pth', "no file 'net.pth'", '', None),
    ('path__strict_load_g', 'false', "given 'false'", 'true or false', None),
    ('train', MISSING, 'missing', 'a section', None),
    ('train', 5, 'given 5', 'a mapping or null', None),
    ('train__total_iter', MISSING, 'missing', 'a whole number, at least 1', None),
    ('train__total_iter', 2.5, 'given 2.5', 'a whole number, at least 1', None),
    ('train__total_iter', '5k', "given '5k'", 'a whole number, at least 1', None),
    ('train__ema_decay', 1.5, 'given 1.5', 'at least 0, at most 1', None),
    ('train__optim_g__lr', 'fast', "given 'fast'", 'a number', None),
    ('train__optim_g__lr', MISSING, 'missing', 'a number', None),
    ('train__optim_g__betas', [0.9], 'given [0.9]', 'a list of 2', None),
    ('train__optim_g__betas', [-1.0, 0.9], 'Adam refuses this: Invalid beta parameter at index 0: -1', '', None),
    ('train__optim_g__betta', [0.9], 'unknown key', 'betas', 'betas'),
    ('train__optim_g__type', 'AdamW', "given 'AdamW'", 'Adam', 'Adam'),
    ('train__scheduler__type', 'MultiStep', "given 'MultiStep'", 'MultiStepLR', 'MultiStepLR'),
    ('train__scheduler__milestones', 100, 'given 100', 'a list (of a whole number', None),
    ('train__scheduler__milestone', [1], 'unknown key', 'milestones', 'milestones'),
    ('train__scheduler__restarts', [0, 2], '1 weights for 2 restarts', '', None),
    ('train__scheduler', {'type': 'CosineAnnealingRestartLR', 'periods': [2]}, 'end before iteration 4', '', None),
    ('train__pixel_opt__type', 'L1', "given 'L1'", 'L1Loss', 'L1Loss'),
    ('train__pixel_opt__loss_weigt', 1, 'unknown key', 'loss_weight', 'loss_weight'),
    ('train__pixel_opt__loss_weight', 'heavy', "given 'heavy'", 'a number', None),
    ('val__val_freq', MISSING, 'missing', 'a whole number, at least 1', None),
    ('val__save_img', 1, 'given 1', 'true or false', None),
    ('val__metrics__psnr__type', 'calculate_pnsr', 'given', 'calculate_psnr', 'calculate_psnr'),
    ('val__metrics__psnr__crop_border', MISSING, 'missing', 'a whole number, at least 0', None),
    ('val__metrics__psnr__crop_border', 'auto', "given 'auto'", 'a whole number, at least 0', None),
    ('val__metrics__psnr__better', 'more', "given 'more'", 'higher or lower', None),
    ('val__metrics__psnr', 'calculate_psnr', 'given', 'a section', None),
    ('logger__use_tb_logger', MISSING, 'missing', 'true or false', None),
    ('logger__print_freq', 0, 'given 0', 'a whole number, at least 1', None),
    ('logger__wandb', {'project': 'p'}, '', 'true', None),
    ('dist_params', {'port': 'any'}, "given 'any'", 'at least 1', None),
]


def check_fault(options: Options, project: Path, fault: tuple[str, Any, str, str, str | None]) -> None:
    name, value, said, accepted, suggestion = fault
    found = errors(changed(options, **{name: value}), project)
    path = name.replace('__', '.')
    matching = [
        problem
        for problem in found
        if dotted(problem.path).startswith(path.rpartition('.')[0]) and said in problem.fault
    ]
    assert matching, [problem.message('f') for problem in found]
    assert any(accepted in problem.accepted and suggestion == problem.suggestion for problem in matching), matching
    assert all(problem.line is not None for problem in found if len(problem.path) > 1)


@pytest.mark.parametrize('fault', FAULTS_OF_THE_PLUGIN, ids=lambda fault: f'{fault[0]}={fault[1]}'[:60])
def test_faults_in_sections_of_the_plugin(project: Path, gsasr_options: Options, fault: tuple) -> None:
    check_fault(gsasr_options, project, fault)


@pytest.mark.parametrize('fault', FAULTS_OF_THE_HOST, ids=lambda fault: f'{fault[0]}={fault[1]}'[:60])
def test_faults_in_sections_of_the_host(project: Path, edsr_options: Options, fault: tuple) -> None:
    check_fault(edsr_options, project, fault)


@pytest.mark.parametrize(
    'name, value, suggestion',
    [
        ('modle_type', 'SRModel', 'model_type'),
        ('train__warmup_itr', 4, 'warmup_iter'),
        ('train__something_else', 4, None),
        ('val__pabr', True, 'pbar'),
        ('logger__print_frq', 4, 'print_freq'),
        ('datasets__train__use_hflp', True, 'use_hflip'),
        ('val__metrics__psnr__test_y_chanel', True, 'test_y_channel'),
        ('dist_params', {'prot': 1}, 'port'),
    ],
)
def test_unknown_keys_in_sections_of_the_host_are_warnings(
    project: Path, edsr_options: Options, name: str, value: Any, suggestion: str | None
) -> None:
    (warning,) = check(changed(edsr_options, **{name: value}), project)
    assert not warning.is_error and warning.suggestion == suggestion
    assert 'not used' in warning.fault
    assert f'options.yml:{warning.line}: warning: {dotted(warning.path)}: unknown key' in warning.message('options.yml')


def test_words_of_the_models_code_are_no_keys(project: Path, gsasr_options: Options) -> None:
    """They are of what a batch, a state or the log holds: this plugin's models state what they read."""
    options = changed(gsasr_options, train__iter=5, train__params_ema=1, logger__result=True)
    warnings = check(options, project)
    assert [dotted(one.path) for one in warnings] == ['train.iter', 'train.params_ema', 'logger.result']
    assert not any(one.is_error for one in warnings)


def test_a_message_names_everything(project: Path, gsasr_options: Options) -> None:
    options = changed(gsasr_options, network_g__encoder_opt__num_feet=64)
    (problem,) = errors(options, project)
    lines = (project / 'options.yml').read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if 'num_feet' in text)
    assert problem.message('options.yml') == (
        f"options.yml:{line}: error: network_g.encoder_opt.num_feet: unknown key (given 64); did you mean 'num_feat'?\n"
        '    accepted: ' + problem.accepted
    )


def test_all_faults_are_named_at_once_in_the_order_of_the_file(project: Path, gsasr_options: Options) -> None:
    options = changed(
        gsasr_options, network_g__widow_size=4, name=5, train__total_iter='x', datasets__train__dataroot_gt='nowhere'
    )
    with pytest.raises(OptionError) as caught:
        check(options, project)
    assert len(caught.value.problems) == 4
    found = [line.split(' error: ')[1].split(':')[0] for line in str(caught.value).splitlines() if ' error: ' in line]
    assert found == ['name', 'datasets.train.dataroot_gt', 'network_g.widow_size', 'train.total_iter']


def test_options_that_exclude_each_other_are_named(project: Path, gsasr_options: Options) -> None:
    (problem,) = errors(changed(gsasr_options, datasets__train__scales=[2, 3]), project)
    assert dotted(problem.path) == 'datasets.train' and 'exclude each other' in problem.fault


def test_sizes_that_the_network_refuses_are_named(project: Path, gsasr_options: Options) -> None:
    before = torch.random.get_rng_state()
    for change in ({'network_g__num_heads': 3}, {'network_g__initial_sigma': 2.0}):
        (problem,) = errors(changed(gsasr_options, **change), project)
        assert dotted(problem.path) == 'network_g' and 'cannot be built' in problem.fault
        assert next(iter(change)).split('__')[1] in problem.fault
    assert torch.equal(torch.random.get_rng_state(), before)


def test_metrics_need_ground_truth(project: Path, edsr_options: Options, gsasr_options: Options) -> None:
    single = {'name': 'lr', 'type': 'SingleImageDataset', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
    (problem,) = errors(changed(edsr_options, datasets__val=single), project)
    assert dotted(problem.path) == 'val.metrics.psnr' and 'datasets.val has no dataroot_gt' in problem.fault
    # NIQE looks at one image only.
    niqe = {'niqe': {'type': 'calculate_niqe', 'crop_border': 2}}
    assert check(changed(edsr_options, datasets__val=single, val__metrics=niqe), project) == []
    # Our model leaves the metrics out.
    ours = {**single, 'type': 'ArbitraryScalePairedDataset', 'scales': [2]}
    (warning,) = check(changed(gsasr_options, datasets__val=ours), project)
    assert not warning.is_error and 'not computed there' in warning.fault


@pytest.mark.parametrize(
    ('metric', 'data', 'fault'),
    [
        # Images of 16 x 16 pixels: at x8 the protocol leaves out 8 at each border.
        ({'type': 'calculate_psnr', 'crop_border': 'auto'}, {'scales': [2, 5, 8]}, 'x8: a border of 8 pixels'),
        (
            {'type': 'calculate_psnr', 'crop_border': 8},
            {'scales': [2]},
            'x2: a border of 8 pixels',
        ),
        ({'type': 'calculate_psnr', 'crop_border': 7}, {'scales': [2]}, None),
        ({'type': 'calculate_ssim', 'crop_border': 3}, {'scales': [2]}, 'x2: 11 x 11 pixels are needed'),
        ({'type': 'calculate_ssim', 'crop_border': 2}, {'scales': [2]}, None),
        ({'type': 'calculate_lpips', 'crop_border': 0}, {'scales': [2]}, 'x2: 31 x 31 pixels are needed'),
        ({'type': 'calculate_lpips', 'crop_border': 0, 'net': 'vgg'}, {'scales': [2]}, None),
        # An LR image of 16 x 8 to enlarge.
        ({'type': 'calculate_niqe', 'crop_border': 0}, {'scales': [11.9, 12]}, 'x11.9: 96 x 192 pixels are needed'),
        ({'type': 'calculate_niqe', 'crop_border': 0}, {'scales': [12]}, None),
        ({'type': 'calculate_psnr', 'crop_border': 'auto'}, {'scales': [8]}, 'not computed there'),
    ],
)
def test_images_that_are_too_small_for_a_metric(
    project: Path, gsasr_options: Options, metric: Options, data: Options, fault: str | None
) -> None:
    """Known from the images' headers, before anything is trained."""
    (project / 'narrow').mkdir()
    cv2.imwrite(str(project / 'narrow' / '0.png'), np.zeros((16, 8, 3), np.uint8))
    lr_only = metric['type'] == 'calculate_niqe' or data['scales'] == [8]
    roots = {'dataroot_lq': 'narrow', 'dataroot_gt': None} if lr_only else {'dataroot_gt': 'lq'}
    section = {**gsasr_options['datasets']['val'], **roots, **data}
    found = []
    try:
        options = changed(gsasr_options, datasets__val=section, val__metrics={'metric': metric})
        found = check(options, project)
    except OptionError as error:
        found = error.problems
        assert found[0].is_error
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1 and dotted(found[0].path) == 'val.metrics.metric' and fault in found[0].fault
        assert 'datasets.val' in found[0].fault


def test_testing_needs_val_and_its_own_data_sections(project: Path, edsr_options: Options) -> None:
    paths = [
        dotted(problem.path) for problem in errors(changed(as_test(edsr_options), val=MISSING), project, is_train=False)
    ]
    assert paths == ['val']
    paths = [dotted(problem.path) for problem in errors(changed(edsr_options), project, is_train=False)]
    assert paths == ['datasets.train']


def test_a_network_section_of_basicsr_is_an_encoder(project: Path, gsasr_options: Options) -> None:
    """What is not used is a remark with its line, and does not reach the network."""
    theirs = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 4}
    path = write_options(changed(gsasr_options, network_g__encoder_opt=theirs), project / 'options.yml')
    file = read_option_file(str(path))
    (warning,) = check_options(file, is_train=True)
    assert not warning.is_error and dotted(warning.path) == 'network_g.encoder_opt.upscale' and warning.line
    assert 'not used' in warning.fault
    assert file.options['network_g']['encoder_opt'] == {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}


def test_validation_data_without_val_section_is_a_warning(project: Path, edsr_options: Options) -> None:
    (warning,) = check(changed(edsr_options, val=MISSING), project)
    assert dotted(warning.path) == 'val' and 'datasets.val is never used' in warning.fault


def test_a_graph_of_what_is_compiled_is_a_warning(project: Path, gsasr_options: Options) -> None:
    options = changed(gsasr_options, val__cuda_graph=True, train__compile=True)
    (warning,) = check(options, project)  # without an average of the weights
    assert dotted(warning.path) == 'val.cuda_graph' and 'not used while train.compile is true' in warning.fault
    options = changed(options, train__ema_decay=0.999)
    assert not check(options, project)
    (warning,) = check(changed(options, val__compile=True), project)
    assert dotted(warning.path) == 'val.cuda_graph' and 'not used while val.compile is true' in warning.fault


def test_two_sets_of_one_name_are_a_warning(project: Path, edsr_options: Options) -> None:
    options = copy.deepcopy(edsr_options)
    options['datasets']['val_2'] = dict(options['datasets']['val'])
    (warning,) = check(options, project)
    assert dotted(warning.path) == 'datasets.val_2.name' and 'datasets.val has the name' in warning.fault


def test_resuming_does_not_ask_for_the_pretrained_weights(project: Path, edsr_options: Options) -> None:
    options = changed(edsr_options, path__pretrain_network_g='gone.pth')
    assert errors(options, project)
    assert check(options, project, auto_resume=True) == []


def test_cuda_prefetching_needs_pinned_memory(project: Path, edsr_options: Options) -> None:
    found = errors(changed(edsr_options, datasets__train__prefetch_mode='cuda'), project)
    assert 'datasets.train.pin_memory' in [dotted(problem.path) for problem in found]


@pytest.mark.parametrize(('periods', 'lasts'), [([3], True), ([1, 2], True), ([2], False), ([1, 1], False)])
def test_periods_last_to_the_last_step(project: Path, edsr_options: Options, periods: list[int], lasts: bool) -> None:
    """BasicSR does not move the schedule before the first of 4 iterations: at the last one it stands at 3."""
    scheduler = {'type': 'CosineAnnealingRestartLR', 'periods': periods, 'restart_weights': [1] * len(periods)}
    options = changed(edsr_options, train__scheduler=scheduler, train__total_iter=4)
    if lasts:
        assert check(options, project) == []
    else:
        assert [dotted(problem.path) for problem in errors(options, project)] == ['train.scheduler.periods']


@pytest.mark.parametrize(('model', 'usm'), [('RealESRNetModel', 'gt_usm'), ('RealESRGANModel', 'l1_gt_usm')])
def test_root_keys_that_the_model_reads_are_not_called_unused(
    project: Path, edsr_options: Options, model: str, usm: str
) -> None:
    """Real-ESRGAN reads its degradations at the top level: who left these keys out would get a KeyError."""
    read = {usm: True, 'resize_prob': [0.2, 0.7, 0.1], 'queue_size': 180, 'gaussian_noise_prob2': 0.5}
    read['high_order_degradation'] = False  # LR images come from the data set
    (warning,) = check({**edsr_options, 'model_type': model, **read, 'resize_porb': [1, 0, 0]}, project)
    assert dotted(warning.path) == 'resize_porb' and warning.suggestion == 'resize_prob'
    warnings = check({**edsr_options, **read}, project)  # of a model that does not
    assert [dotted(warning.path) for warning in warnings] == list(read)


# ---- classes of other plugins ----


@pytest.fixture
def registered() -> Any:
    """Register classes for one test."""
    added: list[tuple[Any, str]] = []

    def register(registry: Any, cls: type) -> None:
        registry.register(cls)
        added.append((registry, cls.__name__))

    yield register
    for registry, name in added:
        del registry._obj_map[name]


def test_classes_of_other_plugins(
    project: Path, edsr_options: Options, registered: Callable[[Any, type], None]
) -> None:
    class StrictNet(torch.nn.Module):
        def __init__(self, *, depth: int = 2, mode: Literal['a', 'b'] = 'a', sizes: tuple[int, int] = (1, 2)) -> None:
            super().__init__()

    class OpenNet(torch.nn.Module):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__()

    class OtherDataset:
        def __init__(self, opt: Options) -> None:
            self.colour = opt.get('colour_space')

    @dataclass
    class OtherOptions:
        weight: float = 1.0

    class OtherModel(SRModel):
        train_options_class = OtherOptions

        def optimize_parameters(self, current_iter: int) -> None:
            self.noise = self.opt['train'].get('noise_level')

    registered(ARCH_REGISTRY, StrictNet)
    registered(ARCH_REGISTRY, OpenNet)
    registered(DATASET_REGISTRY, OtherDataset)
    registered(MODEL_REGISTRY, OtherModel)

    assert check(changed(edsr_options, network_g={'type': 'OpenNet', 'anything': 1}), project) == []
    assert check(changed(edsr_options, network_g={'type': 'StrictNet', 'sizes': [3, 4]}), project) == []
    for key, value, accepted in (('depht', 1, 'depth'), ('mode', 'c', 'a or b'), ('sizes', [1], 'a list of 2')):
        (problem,) = errors(changed(edsr_options, network_g={'type': 'StrictNet', key: value}), project)
        assert accepted in problem.accepted

    # Its keys are those that its code names.
    val = {'name': 'x', 'type': 'OtherDataset', 'colour_space': 'y', 'dataroot_gt': 'gt'}
    assert check(changed(edsr_options, datasets__val={**val}), project) == []
    (warning,) = check(changed(edsr_options, datasets__val={**val, 'color_space': 'y'}), project)
    assert warning.suggestion == 'colour_space'

    model = changed(edsr_options, model_type='OtherModel', train__noise_level=3, train__weight=2)
    assert check(model, project) == []
    (problem,) = errors(changed(model, train__weight='x'), project)
    assert dotted(problem.path) == 'train.weight'


# ---- types ----


@pytest.mark.parametrize(
    'annotation, fits, fails, said',
    [
        (int, [1, -2], [1.0, '1', True, None], 'a whole number'),
        (float, [1, 0.5], ['1', True, None], 'a number'),
        (bool, [True], [1, 'true'], 'true or false'),
        (str, ['a'], [1, None], 'a text'),
        (float | None, [None, 1], ['x'], 'a number or null'),
        (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], [1, 'x'], 1], 'a list of 2: a number, a number'),
        (tuple[int, ...], [[1, 2], []], [[1.5]], 'a list (of a whole number)'),
        (list[float] | float, [[1], 2], [['x'], 'x'], 'a list (of a number) or a number'),
        (dict[float, str], [{2: 'a', 3.7: 'b'}], [{'x2': 'a'}, {2: 1}], 'a mapping (to a text)'),
        (dict[str, Any], [{'a': 1}], [1, []], 'a mapping'),
        (Literal['a', 2], ['a', 2], ['b', 3], 'a or 2'),
        (float | torch.Tensor, [1], ['x'], 'a number'),
        (Any, [1, 'a'], [], ''),
    ],
)
def test_types(annotation: Any, fits: list, fails: list, said: str) -> None:
    accepted = Accepted({'key': Option(annotation)})
    assert [value for value in fits if accepted.faults({'key': value})] == []
    assert [value for value in fails if not accepted.faults({'key': value})] == []
    assert words(accepted.schema()['properties']['key']) == said


def test_the_part_at_fault_is_found() -> None:
    (fault,) = Accepted({'key': Option(list[float])}).faults({'key': [1, 'x']})
    assert (fault.path, fault.text) == (('key', 1), "given 'x'")
    (fault,) = Accepted({'key': Option(dict[str, list[int]])}).faults({'key': {'a': [1, 2, None]}})
    assert (fault.path, fault.text) == (('key', 'a', 2), 'given null')


def test_a_signature_without_annotations_is_guessed_from_its_defaults() -> None:
    def network(num_in_ch, num_feat=64, rgb_mean=(0.5, 0.5), act='relu', norm=None, bias=True, **rest):  # type: ignore[no-untyped-def]
        """A network.

        Args:
            num_in_ch (int): Channels
                of the input.
            num_feat, act: of the features.

        Returns:
            bias: nothing of the kind.
        """

    accepted = accepted_by_call(network)
    assert accepted.open_ended
    assert accepted.options == {
        'num_in_ch': Option(Any, REQUIRED, 'Channels of the input.'),
        'num_feat': Option(float, 64, 'of the features.'),
        'rgb_mean': Option(list, (0.5, 0.5)),
        'act': Option(str, 'relu', 'of the features.'),
        'norm': Option(Any, None),
        'bias': Option(bool, True),
    }


def test_what_is_nested_too_deeply_is_named() -> None:
    value: Any = 1
    for _ in range(300):
        value = [value]
    (fault,) = Accepted({'key': Option(Any)}).faults({'key': value})
    assert (fault.path, fault.text) == ((), 'nested too deeply to be read')


def test_keys_that_a_model_of_pydantic_has_itself() -> None:
    def network(copy: int, schema: str = 'a', model_config: bool = True, _hidden: float = 1.0) -> None:
        pass

    accepted = accepted_by_call(network)
    assert accepted.faults({'copy': 1, 'schema': 'b', 'model_config': False, '_hidden': 2}) == []
    assert [fault.path for fault in accepted.faults({'schema': 1, 'copi': 1})] == [('schema',), ('copi',), ('copy',)]


@pytest.mark.parametrize(
    'name, known, expected',
    [
        ('num_feet', ['num_feat', 'num_block'], 'num_feat'),
        ('NUM_FEAT', ['num_feat'], 'num_feat'),
        ('milestone', ['gamma', 'milestones'], 'milestones'),
        ('entirely_else', ['num_feat'], None),
        ('EDRS', ['EDVR', 'EDSR'], 'EDSR'),
        ('L1', ['MSELoss', 'L1Loss'], 'L1Loss'),
        (3, ['30'], '30'),
        ('x', [], None),
    ],
)
def test_closest(name: object, known: list[str], expected: str | None) -> None:
    assert closest(name, known) == expected


# ---- the option files of this repository ----

SHIPPED = sorted((Path(__file__).parents[2] / 'options').glob('*.yml'))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
def test_shipped_option_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parents[1])
    file = read_option_file(str(path))
    try:
        found = check_options(file, is_train=not path.name.startswith('test'))
    except OptionError as error:
        found = error.problems
    # Data and weights may be missing here; nothing else may be.
    assert [problem.message(path.name) for problem in found if not _is_about_a_file(problem)] == []


@pytest.mark.slow
def test_metrics_in_comments_can_be_switched_on(tmp_path: Path) -> None:
    for path in [path for path in SHIPPED if path.name.startswith('test')]:
        text = path.read_text().replace('    # lpips:', '    lpips:').replace('    # dists:', '    dists:')
        (tmp_path / path.name).write_text(text)
        file = read_option_file(str(tmp_path / path.name))
        assert list(file.options['val']['metrics']) == ['psnr', 'ssim', 'lpips', 'dists']
    with pytest.raises(OptionError) as caught:  # of the last; data and weights are missing
        check_options(file, is_train=False)
    assert [problem for problem in caught.value.problems if problem.path[0] == 'val'] == []


def _is_about_a_file(problem: Problem) -> bool:
    names = {'dataroot_gt', 'dataroot_lq', 'meta_info_file', 'pretrain_network_g'}
    absent = 'looked from' in problem.fault or 'there is no package' in problem.fault
    return bool(names & set(problem.path)) and absent
