"""Models, networks and data sets that cannot work together are refused; what is accepted runs, and what is not fails.

The reference is BasicSR itself: its models are built and run on its own data sets, without the check.
"""

from __future__ import annotations

import copy
import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.options import parse_options
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from torch.utils.data import DataLoader

from gsasr_plugin.host.option_check import OptionError, OptionFile, read_option_file
from gsasr_plugin.host.option_check.checker import check_options
from gsasr_plugin.host.option_check.pairings import check_pairings, needed_keys
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.models import GSASRModel
from tests.host.conftest import write_options
from tests.run_options import gsasr_data

Options = dict[str, Any]

SMALL: dict[str, Options] = {
    'EDSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2},
    'MSRResNet': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2},
    'RRDBNet': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2, 'scale': 2},
    'SRVGGNetCompact': {'num_feat': 4, 'num_conv': 1, 'upscale': 2},
    'SwinIR': {
        **{'upscale': 2, 'img_size': 8, 'window_size': 8, 'img_range': 1.0, 'depths': [1], 'embed_dim': 4},
        **{'num_heads': [2], 'mlp_ratio': 1, 'upsampler': 'pixelshuffledirect', 'resi_connection': '1conv'},
    },
    'RDN': {'num_feat': 4, 'num_block': 1, 'num_layer': 1, 'num_grow_ch': 2},
    'VGGStyleDiscriminator': {'num_in_ch': 3, 'num_feat': 4},
    'TOFlow': {},
    'BasicVSR': {'num_feat': 4, 'num_block': 1},
    'StyleGAN2Generator': {'out_size': 8, 'num_style_feat': 4, 'num_mlp': 1, 'narrow': 0.02},
}
IMAGES = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
TRAINING = {'gt_size': 16, 'use_hflip': True, 'use_rot': True}
DATA: dict[str, Options] = {
    'PairedImageDataset': {**IMAGES, **TRAINING},
    'RealESRGANPairedDataset': {**IMAGES, **TRAINING},
    'SingleImageDataset': {'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}},
    'ArbitraryScalePairedDataset': {'dataroot_gt': 'gt'},
}
MODELS = ['SRModel', 'SwinIRModel', 'GSASRModel']


def section(name: str, *, train: bool) -> Options:
    """A data set of a type in the folder of the tests."""
    data = {'name': name, 'type': name, **copy.deepcopy(DATA[name])}
    if train:
        data |= {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    if name == 'ArbitraryScalePairedDataset':
        data |= {'lq_size': 8, 'scale_range': [1, 2]} if train else {'scales': [2]}
    return data


def file_of(base: Options, model: str, network: str, train: str, val: str, gsasr: Options) -> Options:
    options = {**copy.deepcopy(base), 'model_type': model}
    options['network_g'] = copy.deepcopy(gsasr if network == 'GSASR' else {'type': network, **SMALL[network]})
    options['datasets'] = {'train': section(train, train=True), 'val': section(val, train=False)}
    del options['val']['metrics']
    if 'ArbitraryScalePairedDataset' in (train, val):
        del options['scale']  # another error
    return options


def refused(options: Options, project: Path) -> list[str]:
    """The places of the errors of the check, each of which says what is accepted."""
    try:
        check_options(read_option_file(str(write_options(options, project / 'options.yml'))), is_train=True)
    except OptionError as error:
        assert all(problem.accepted for problem in error.problems), error
        return ['.'.join(map(str, problem.path)) for problem in error.problems if problem.is_error]
    return []


def fails(options: Options, project: Path, monkeypatch: pytest.MonkeyPatch) -> Exception | None:
    """What goes wrong in an iteration and a validation by BasicSR, unchecked."""
    path = write_options(options, project / 'options.yml')
    monkeypatch.setattr('sys.argv', ['basicsr', '-opt', str(path)])
    try:
        opt, _ = parse_options(str(project), is_train=True)
        model = build_model(opt)
        data = iter(DataLoader(build_dataset(opt['datasets']['train']), batch_size=2, collate_fn=None))
        model.feed_data(next(data))
        model.optimize_parameters(1)
        model.validation(DataLoader(build_dataset(opt['datasets']['val'])), 1, None, True)
    except Exception as error:
        return error
    finally:
        basicsr_logger.initialized_logger.clear()
        logging.getLogger('basicsr').handlers.clear()
    return None


@pytest.mark.slow
@pytest.mark.parametrize('model', MODELS)
def test_what_is_refused_fails_and_what_is_accepted_runs(
    project: Path,
    edsr_options: Options,
    gsasr_options: Options,
    networks_built_once: None,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    """Each model with each network on one data set, and with each pair of data sets beside one network."""
    network = 'GSASR' if model == 'GSASRModel' else 'SwinIR'
    data = 'ArbitraryScalePairedDataset' if model == 'GSASRModel' else 'PairedImageDataset'
    cases = {(network, *pair) for pair in itertools.product(DATA, DATA)}
    cases |= {(name, data, data) for name in [*SMALL, 'GSASR']}
    wrong = {}
    ran = []
    for case in sorted(cases):
        options = file_of(edsr_options, model, *case, gsasr_options['network_g'])
        places, failure = refused(options, project), fails(options, project, monkeypatch)
        if bool(places) != bool(failure):
            wrong[case] = (places, failure)
        if not failure:
            ran.append(case)
    assert not wrong
    assert len(ran) == {'SRModel': 10, 'SwinIRModel': 6, 'GSASRModel': 1}[model], ran


def problems(model: str, network: str | None, data: dict[str, str], *, is_train: bool) -> dict[str, str]:
    """What the check of one combination says is accepted, by the place of its errors."""
    report = Report(OptionFile('f', {}))
    classes = {key: dict(iter(DATASET_REGISTRY))[name] for key, name in data.items()}
    network_class = dict(iter(ARCH_REGISTRY))[network] if network else None
    root = {'network_g': {'window_size': 8}}
    check_pairings(report, root, MODEL_REGISTRY.get(model), network_class, classes, is_train=is_train)
    assert all(problem.is_error for problem in report.problems)
    return {'.'.join(map(str, problem.path)): problem.accepted for problem in report.problems}


@pytest.mark.slow
def test_every_combination_of_the_registries_is_answered() -> None:
    """No combination raises; what is said to be accepted in the place of a type is accepted there."""
    for (model, cls), (network, _) in itertools.product(MODEL_REGISTRY, ARCH_REGISTRY):
        for data, _ in DATASET_REGISTRY:
            for is_train, key in ((True, 'train'), (True, 'val'), (False, 'test_1')):
                found = problems(model, network, {key: data}, is_train=is_train)
                if issubclass(cls, GSASRModel):
                    expected = {'network_g.type'} if network != 'GSASR' else set()
                    expected |= {f'datasets.{key}.type'} if data != 'ArbitraryScalePairedDataset' else set()
                    assert set(found) == expected
                else:
                    assert network != 'GSASR' or 'network_g.type' in found
                    assert data != 'ArbitraryScalePairedDataset' or f'datasets.{key}.type' in found
                for place, accepted in found.items():
                    assert accepted, (model, network, data)
                    if place == 'network_g.type' or accepted.startswith('no data set'):
                        continue
                    for name in accepted.split(', '):
                        name = name if name in DATASET_REGISTRY else f'{name}_basicsr'
                        again = problems(model, network, {key: name}, is_train=is_train)
                        assert place not in again, (model, network, name)


# As BasicSR's own option files pair them.
KNOWN_TO_WORK = [
    ('SRModel', 'RCAN', {'train': 'PairedImageDataset', 'val': 'PairedImageDataset', 'val_2': 'SingleImageDataset'}),
    ('ESRGANModel', 'RRDBNet', {'train': 'PairedImageDataset', 'val': 'PairedImageDataset'}),
    ('HiFaceGANModel', 'HiFaceGAN', {'train': 'PairedImageDataset', 'val': 'PairedImageDataset'}),
    ('RealESRNetModel', 'RRDBNet', {'train': 'RealESRGANDataset_basicsr', 'val': 'PairedImageDataset'}),
    ('RealESRGANModel', 'RRDBNet', {'train': 'RealESRGANDataset_basicsr'}),
    ('EDVRModel', 'EDVR', {'train': 'REDSDataset', 'val': 'VideoTestDataset'}),
    ('VideoGANModel', 'EDVR', {'train': 'REDSDataset', 'val': 'VideoTestDataset'}),
    ('VideoRecurrentModel', 'BasicVSR', {'train': 'REDSRecurrentDataset', 'val': 'VideoRecurrentTestDataset'}),
    ('VideoRecurrentModel', 'IconVSR', {'train': 'Vimeo90KRecurrentDataset'}),
    ('StyleGAN2Model', 'StyleGAN2Generator', {'train': 'FFHQDataset'}),
]
TESTED_TO_WORK = [
    ('VideoBaseModel', 'DUF', {'test_1': 'VideoTestDUFDataset'}),
    ('VideoBaseModel', 'TOFlow', {'test_1': 'VideoTestVimeo90KDataset'}),
    ('RealESRGANModel', 'RRDBNet', {'test_1': 'SingleImageDataset'}),
    ('SwinIRModel', 'SwinIR', {'test_1': 'PairedImageDataset'}),
]


@pytest.mark.parametrize(('model', 'network', 'data'), KNOWN_TO_WORK)
def test_pairings_of_basicsrs_trainings_pass(model: str, network: str, data: dict[str, str]) -> None:
    model = model if model in MODEL_REGISTRY else f'{model}_basicsr'
    assert problems(model, network, data, is_train=True) == {}


@pytest.mark.parametrize(('model', 'network', 'data'), TESTED_TO_WORK)
def test_pairings_of_basicsrs_tests_pass(model: str, network: str, data: dict[str, str]) -> None:
    model = model if model in MODEL_REGISTRY else f'{model}_basicsr'
    assert problems(model, network, data, is_train=False) == {}


def test_a_model_of_another_plugin_that_handles_its_batches_takes_anything() -> None:
    class Handles(SRModel):
        def feed_data(self, data: Options) -> None:
            pass

    class Inherits(SRModel):
        pass

    data = {'train': DATASET_REGISTRY.get('ArbitraryScalePairedDataset')}
    for model, errors in ((Handles, 0), (Inherits, 2)):
        report = Report(OptionFile('f', {}))
        check_pairings(report, {}, model, ARCH_REGISTRY.get('GSASR'), data, is_train=True)
        assert len(report.problems) == errors


def test_a_test_file_of_the_wrong_data_is_refused(project: Path, gsasr_options: Options) -> None:
    options = {key: value for key, value in gsasr_options.items() if key not in ('train', 'logger')}
    options['datasets'] = {
        'test_1': gsasr_data('a', scales=[2]),
        'test_2': section('SingleImageDataset', train=False),
    }
    options['val'] = {'save_img': True}
    with pytest.raises(OptionError) as caught:
        check_options(read_option_file(str(write_options(options, project / 'test.yml'))), is_train=False)
    (problem,) = [problem for problem in caught.value.problems if problem.is_error]
    assert problem.path == ('datasets', 'test_2', 'type') and problem.accepted == 'ArbitraryScalePairedDataset'
    assert problem.line is not None


@pytest.mark.parametrize('name', ['PairedImageDataset', 'SingleImageDataset'])
def test_keys_that_basicsrs_data_sets_need(project: Path, name: str) -> None:
    """Each is missed by the data set itself, and without the others it works."""
    sound = {'name': name, 'type': name, 'phase': 'train', 'scale': 2, **copy.deepcopy(DATA[name])}
    needed = needed_keys(DATASET_REGISTRY.get(name), is_train=True)
    least = {key: value for key, value in sound.items() if key in needed | {'name', 'type'}}
    assert build_dataset(copy.deepcopy(least))[0]
    for key in needed:
        with pytest.raises(KeyError, match=key):
            build_dataset(copy.deepcopy({given: value for given, value in least.items() if given != key}))[0]


def test_pairs_need_a_scale(project: Path, edsr_options: Options) -> None:
    del edsr_options['scale']
    assert set(refused_with(edsr_options, project)) == {'scale: missing (PairedImageDataset reads it)'}


def refused_with(options: Options, project: Path) -> list[str]:
    with pytest.raises(OptionError) as caught:
        check_options(read_option_file(str(write_options(options, project / 'options.yml'))), is_train=True)
    return [f'{".".join(map(str, problem.path))}: {problem.fault}' for problem in caught.value.problems]
