"""Each repair of BasicSR: broken before, right after."""

import collections
import functools
import importlib
import importlib.util
import json
import logging
import os
import pkgutil
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from basicsr.models.sr_model import SRModel

from gsasr_plugin.checkpoints.training_pairs import DIGESTS, digest, prune
from gsasr_plugin.host import repairs as host_repairs
from gsasr_plugin.host import train_loop
from gsasr_plugin.host.plugins import basicsr_command
from gsasr_plugin.host.repair import is_ours
from gsasr_plugin.host.repairs import vanished_modules
from gsasr_plugin.host.train_loop import load_resume_state
from gsasr_plugin.run_errors import DataError, RunError
from tests.host.conftest import write_options


def fresh(name: str) -> ModuleType:
    """A new, unrepaired copy of a module of the host; the one in use stays as it is."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def repair(module: ModuleType) -> None:
    """Repairs a copy of a module."""
    for one in host_repairs.REPAIRS:
        owner, _, attribute = one.name.rpartition('.')
        if f'{owner}.'.startswith(f'{module.__name__}.'):
            inside = owner.split('.')[module.__name__.count('.') + 1 :]
            place = functools.reduce(getattr, inside, module)
            setattr(place, attribute, one.make(getattr(place, attribute)))


def test_every_repair_is_in_force_and_listed_with_its_reason() -> None:
    for one in host_repairs.REPAIRS:
        owner, _, attribute = one.name.rpartition('.')
        replaced = getattr(pkgutil.resolve_name(owner), attribute)
        assert is_ours(replaced), one.name
        assert all(getattr(pkgutil.resolve_name(place), attribute) is replaced for place in one.also)
    assert list(host_repairs.repairs())[:2] == list(vanished_modules.VANISHED)
    assert list(host_repairs.repairs())[2:] == [one.name for one in host_repairs.REPAIRS]
    assert all(host_repairs.repairs().values())


def test_repairing_again_in_any_order_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> list[Any]:
        places = [one.name.rpartition('.') for one in host_repairs.REPAIRS]
        return [getattr(pkgutil.resolve_name(owner), attribute) for owner, _, attribute in places]

    names = [one.name for one in host_repairs.REPAIRS]
    assert len(set(names)) == len(names)  # one replacement each: no order to keep
    before = state()
    monkeypatch.setattr(host_repairs, 'REPAIRS', host_repairs.REPAIRS[::-1])
    host_repairs.repair_basicsr()
    host_repairs.repair_basicsr()
    assert state()[::-1] == before


def test_another_version_of_basicsr_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('basicsr.__version__', '1.4.1')
    with pytest.raises(ImportError, match=rf'BasicSR 1\.4\.1 is installed.* 1\.4\.2: {re.escape(basicsr_command())}$'):
        host_repairs.repair_basicsr()


# ---- vanished modules ----


def test_a_vanished_module_is_stood_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    vanished = vanished_modules.Vanished('collections', ('Counter', 'deque'), 'gone')
    monkeypatch.setitem(vanished_modules.VANISHED, 'json.vanished', vanished)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('json.vanished')
    try:
        vanished_modules.stand_in_for_modules()
        module = importlib.import_module('json.vanished')
    finally:
        sys.modules.pop('json.vanished', None)
    assert module.Counter is collections.Counter and module.deque is collections.deque
    assert not hasattr(module, 'OrderedDict')


def test_a_module_that_exists_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = vanished_modules.Vanished('collections', ('Counter',), 'is there')
    monkeypatch.setitem(vanished_modules.VANISHED, 'json.decoder', there)
    before = importlib.import_module('json.decoder')
    vanished_modules.stand_in_for_modules()
    assert importlib.import_module('json.decoder') is before and not hasattr(before, 'Counter')


# ---- resuming ----


def resume_options(states: Path, **path: Any) -> dict[str, Any]:
    return {
        'auto_resume': not path,
        'name': 'run',
        'path': {'training_states': str(states), 'models': str(states.parent / 'models'), **path},
        'network_g': {},
        'train': {'total_iter': 100},
    }


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Training states of a run kept in one folder, while the current folder is another."""
    folder = tmp_path / 'root' / 'experiments' / 'run' / 'training_states'
    folder.mkdir(parents=True)
    models = folder.parent / 'models'
    models.mkdir()
    for iteration in (8, 9, 10):
        network = models / f'net_g_{iteration}.pth'
        torch.save({'params': {'weight': torch.full((9,), float(iteration))}}, network)
        state = {'iter': iteration, 'epoch': 1, 'position': 4, 'optimizers': [], 'schedulers': []}
        torch.save({**state, DIGESTS: {network.name: digest(network)}}, folder / f'{iteration}.state')
    (folder / 'notes.state').write_text('not a state of the host')
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    return folder


def test_auto_resume_finds_the_newest_state_of_the_run(states: Path) -> None:
    train = fresh('basicsr.train')
    assert train.load_resume_state(resume_options(states)) is None  # the defect: it looks below the current folder

    repair(train)
    opt = resume_options(states)
    assert train.load_resume_state(opt)['iter'] == 10
    assert opt['path']['resume_state'] == str(states / '10.state')
    assert opt['path']['pretrain_network_g'] == str(states.parent / 'models' / 'net_g_10.pth')
    repair(train)


@pytest.mark.skipif(torch.cuda.is_available(), reason='the defect shows without a GPU')
def test_a_named_state_resumes_without_a_gpu(states: Path) -> None:
    train = fresh('basicsr.train')
    opt = resume_options(states, resume_state=str(states / '8.state'))
    with pytest.raises(RuntimeError):
        train.load_resume_state(opt)
    repair(train)
    assert train.load_resume_state(opt)['iter'] == 8


def test_no_state_means_a_new_run(tmp_path: Path) -> None:
    train = fresh('basicsr.train')
    repair(train)
    assert train.load_resume_state(resume_options(tmp_path / 'missing')) is None
    assert train.load_resume_state(resume_options(tmp_path, resume_state=None)) is None


def spoil(damage: str, states: Path) -> str:
    """Damages the checkpoint of iteration 10, and returns what is said about it."""
    state, network = states / '10.state', states.parent / 'models' / 'net_g_10.pth'
    if damage == 'truncated state':
        state.write_bytes(state.read_bytes()[:500])
        return r'10\.state'
    if damage == 'empty state':
        state.write_bytes(b'')
        return r'10\.state'
    if damage == 'malicious state':
        torch.save({'iter': 10, 'run': _MakesFolder(str(states.parent / 'planted'))}, state)
        return r'10\.state is refused'
    if damage == 'another file':
        torch.save({'params': {}}, state)
        return r'10\.state is no training state: it has no proper iter, epoch'
    if damage == 'no network':
        network.unlink()
        return r'net_g_10\.pth, which belongs to \S*10\.state, is missing'
    if damage == 'truncated network':
        network.write_bytes(network.read_bytes()[:500])
        return r'net_g_10\.pth is damaged'
    assert damage == 'network of another attempt'
    network.write_bytes((states.parent / 'models' / 'net_g_9.pth').read_bytes())
    return r'net_g_10\.pth is damaged, or of another time than \S*10\.state'


DAMAGES = (
    'truncated state',
    'empty state',
    'malicious state',
    'another file',
    'no network',
    'truncated network',
    'network of another attempt',
)


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_pair_is_left_out_with_a_warning(
    states: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = spoil(damage, states)
    opt = resume_options(states)
    state = load_resume_state(opt)
    assert state is not None and state['iter'] == 9
    assert opt['path']['pretrain_network_g'] == str(states.parent / 'models' / 'net_g_9.pth')
    assert opt['resumed'] == {'epoch': 1, 'iter': 9, 'position': 4, 'manual_seed': None}
    assert re.search(f'warning: --auto_resume leaves out a damaged checkpoint: .*{said}', capsys.readouterr().err)
    assert not (states.parent / 'planted').exists()

    with pytest.raises(RunError, match=rf'path\.resume_state: .*{said}'):
        load_resume_state(resume_options(states, resume_state=str(states / '10.state')))
    assert not (states.parent / 'planted').exists()


def test_nothing_but_damaged_pairs_is_no_reason_to_start_again(states: Path) -> None:
    for network in (states.parent / 'models').iterdir():
        network.unlink()
    with pytest.raises(RunError, match='none of the 3 training states'):
        load_resume_state(resume_options(states))
    with pytest.raises(RunError, match=r'path\.resume_state: .*gone\.state: there is no such file'):
        load_resume_state(resume_options(states, resume_state=str(states / 'gone.state')))


def test_a_pair_that_the_host_wrote_needs_whole_files(states: Path) -> None:
    """It has no digests."""
    state = torch.load(states / '10.state', weights_only=True)
    del state[DIGESTS], state['position']
    torch.save(state, states / '10.state')
    opt = resume_options(states)
    assert load_resume_state(opt)['iter'] == 10  # type: ignore[index]
    assert opt['resumed']['position'] is None
    spoil('truncated network', states)
    assert load_resume_state(resume_options(states))['iter'] == 9  # type: ignore[index]


def test_a_network_that_is_not_resumed_is_not_needed(states: Path) -> None:
    spoil('no network', states)
    opt = resume_options(states, ignore_resume_networks=['network_g'])
    opt['auto_resume'] = True
    assert load_resume_state(opt)['iter'] == 10  # type: ignore[index]


def test_pruning_keeps_the_last_pairs_up_to_an_iteration(states: Path) -> None:
    models = states.parent / 'models'
    (models / 'net_g_latest.pth').touch()
    prune(states, models, keep_last=1, newest=9)
    assert sorted(path.name for path in states.iterdir()) == ['10.state', '9.state', 'notes.state']
    assert sorted(path.name for path in models.iterdir()) == ['net_g_10.pth', 'net_g_9.pth', 'net_g_latest.pth']


class _MakesFolder:
    """Runs code when unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (self.folder,)


# ---- several processes ----


def test_init_dist_is_basicsrs_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    dist_util = fresh('basicsr.utils.dist_util')
    dist_util.init_dist = lambda launcher, backend='nccl', **kwargs: calls.append((launcher, backend, kwargs))
    repair(dist_util)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    dist_util.init_dist('slurm', 'nccl', port=29500)
    assert calls == [('slurm', 'nccl', {'port': 29500})]


# ---- options and data ----


def test_data_roots_may_be_lists_and_mappings(
    project: Path, gsasr_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gsasr_options['datasets']['train']['dataroot_gt'] = ['~/gt', 'gt']
    gsasr_options['datasets']['train']['dataroot_lq'] = ['~/lq', None]
    gsasr_options['datasets']['val']['dataroot_lq'] = {2: '~/lq'}
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(write_options(gsasr_options, project / 'o.yml'))])
    monkeypatch.setenv('HOME', '/home/somebody')

    options = fresh('basicsr.utils.options')
    with pytest.raises(TypeError):
        options.parse_options(str(project))
    repair(options)
    opt, _ = options.parse_options(str(project))
    assert opt['datasets']['train']['dataroot_gt'] == ['/home/somebody/gt', 'gt']
    assert opt['datasets']['train']['dataroot_lq'] == ['/home/somebody/lq', None]
    assert opt['datasets']['val']['dataroot_lq'] == {2: '/home/somebody/lq'}
    assert opt['datasets']['val']['dataroot_gt'] == 'gt'


def test_options_with_scales_for_keys_can_be_logged() -> None:
    options = fresh('basicsr.utils.options')
    opt = {'datasets': {'test': {'dataroot_lq': {2: 'x2', 3.7: 'x3.7'}}}}
    with pytest.raises(TypeError):
        options.dict2str(opt)
    repair(options)
    assert '3.7: x3.7' in options.dict2str(opt)


def test_indices_of_the_training_loop_carry_the_epoch() -> None:
    train = fresh('basicsr.train')
    host_sampler = train.EnlargedSampler
    repair(train)

    arguments = ([None] * 5, 1, 0, 3)  # data set, processes, rank, enlargement
    ours, hosts = train.EnlargedSampler(*arguments), host_sampler(*arguments)
    ours.set_epoch(7)
    hosts.set_epoch(7)
    assert list(ours) == list(hosts)
    assert {index.epoch for index in ours} == {7}
    assert not any(hasattr(index, 'epoch') for index in hosts)


def loaders(
    train: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    total_iter: int,
    resumed: Any = None,
    manual_seed: int = 0,
) -> tuple:
    """What the training loop gets for batches of 4."""
    dataset = [{'lq': torch.zeros(1)}] * images
    monkeypatch.setattr(train, 'build_dataset', lambda _: dataset)
    section = {'phase': 'train', 'batch_size_per_gpu': 4, 'num_worker_per_gpu': 0}
    opt = {'datasets': {'train': section}, 'train': {'total_iter': total_iter}, 'resumed': resumed}
    opt |= {'world_size': 1, 'rank': 0, 'num_gpu': 0, 'dist': False, 'manual_seed': manual_seed}
    return train.create_train_val_dataloader(opt, logging.getLogger('test'))


def test_a_run_of_short_epochs_reaches_its_last_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    train = fresh('basicsr.train')

    def reached() -> int:  # the loop goes through one epoch more than it is told
        loader, _, _, total_epochs, _ = loaders(train, monkeypatch, images=7, total_iter=20)
        return len(loader) * (total_epochs + 1)

    assert reached() < 20
    repair(train)
    assert reached() >= 20


def test_the_seed_of_the_run_is_the_samplers(monkeypatch: pytest.MonkeyPatch) -> None:
    train = fresh('basicsr.train')
    repair(train)
    orders = []
    for seed in (0, 5):
        _, sampler, *_ = loaders(train, monkeypatch, images=50, total_iter=20, manual_seed=seed)
        assert {index.seed for index in sampler} == {seed}
        orders.append([int(index) for index in sampler])
    assert orders[0] != orders[1]


def test_fewer_samples_than_a_batch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    train = fresh('basicsr.train')
    repair(train)
    with pytest.raises(RunError, match=r'train has 3 samples .* batch_size_per_gpu, 4: raise dataset_enlarge'):
        loaders(train, monkeypatch, images=3, total_iter=20)


def test_an_error_of_the_loader_reaches_the_training() -> None:
    prefetch = fresh('basicsr.data.prefetch_dataloader')
    repair(prefetch)

    def batches() -> Iterator[int]:
        yield 1
        raise OSError('the disk is gone')

    generator = prefetch.PrefetchGenerator(batches(), 1)
    assert next(generator) == 1
    with pytest.raises(OSError, match='the disk is gone'):
        next(generator)
    assert list(prefetch.PrefetchGenerator(iter([1, 2]), 1)) == [1, 2]


def test_a_resumed_epoch_goes_on_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of 6 batches; the run left epoch 9, counted when there were fewer images, after 3 of them."""
    train = fresh('basicsr.train')
    repair(train)
    resumed = {'epoch': 9, 'iter': 21, 'position': 12, 'manual_seed': 5}
    loader, sampler, _, total_epochs, _ = loaders(train, monkeypatch, images=25, total_iter=30, resumed=resumed)
    assert sampler.seed == loader.generator.initial_seed() == 5  # that of its first start
    lengths, positions = [], []
    for epoch in range(9, total_epochs + 1):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        positions.append(drawn[0].position)
        lengths.append(len(drawn) // 4)
    assert lengths[:2] == [3, 6] and positions[:2] == [12, 0]
    assert 21 + sum(lengths) >= 30


@pytest.mark.parametrize(
    ('state', 'expected'), [({'iter': 4}, [4]), ({'iter': 4, 'validated': True}, []), ({'iter': 5}, [])]
)
def test_a_resumed_run_begins_with_the_validation_that_is_due(state: dict[str, Any], expected: list[int]) -> None:
    validated: list[int] = []
    model = built(lambda loader, iteration, tb_logger, save_img: validated.append(iteration))
    model.resume_training(state)
    assert validated == expected * 2


def built(validation: Callable[..., None], *, dist: bool = False) -> Any:
    """A model as the training loop builds it, with a validation of two data sets, 'a' and 'b'."""
    model = SRModel.__new__(SRModel)
    model.opt = {'val': {'val_freq': 2, 'save_img': False}, 'path': {}, 'dist': dist}
    model.net_g = torch.nn.Linear(1, 1)
    model.resume_training, model.validation = (lambda state: None), validation
    train = fresh('basicsr.train')
    train.build_model = lambda opt: model
    repair(train)
    loaders = [types.SimpleNamespace(dataset=types.SimpleNamespace(opt={'name': name})) for name in ('a', 'b')]
    train_loop._run.update(val_loaders=loaders, tb_logger=None)
    return train.build_model(model.opt)


@pytest.mark.parametrize(
    ('error', 'ends'),
    [
        (ValueError('too small'), False),
        (DataError('image a.png cannot be decoded'), False),
        (RunError('another process is gone'), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_a_validation_that_raises_is_logged(error: BaseException, ends: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The next data set is validated, and the network is left as it was: BasicSR's `test` puts it into eval mode."""
    validated = []

    def validation(loader: Any, iteration: int, tb_logger: Any, save_img: bool) -> None:
        validated.append((loader.dataset.opt['name'], model.net_g.training))
        model.net_g.eval()
        if len(validated) == 1:
            raise error
        model.net_g.train()

    model = built(validation)
    if ends:
        with pytest.raises(type(error)):
            model.resume_training({'iter': 4})
        assert validated == [('a', True)]
        return
    with caplog.at_level('ERROR', logger='basicsr'):
        model.resume_training({'iter': 4})
    assert validated == [('a', True), ('b', True)]
    message = f'a: the validation of iteration 4 failed, and training goes on without it: {type(error).__name__}: '
    assert message + str(error) in caplog.text


def test_a_shared_validation_that_raises_ends_the_run() -> None:
    """The other processes would wait for this one."""

    def fails(*_: Any) -> None:
        raise ValueError('too small')

    model = built(fails, dist=True)
    model.resume_training({'iter': 4})  # SRModel validates in the first process
    model.__class__ = type('Sharing', (SRModel,), {'dist_validation': lambda *_: None})
    with pytest.raises(ValueError, match='too small'):
        model.resume_training({'iter': 4})


# ---- results ----


def test_a_test_that_goes_on_keeps_its_results(tmp_path: Path) -> None:
    test = fresh('basicsr.test')
    results = tmp_path / 'results' / 'run'
    path = {'results_root': results, 'log': results, 'visualization': results / 'visualization'}
    opt: dict[str, Any] = {'is_train': False, 'path': {key: str(folder) for key, folder in path.items()}}
    opt['path']['pretrain_network_g'] = 'weights.pth'

    def left() -> list[bool]:
        (results / 'kept').touch()
        test.make_exp_dirs(opt)
        return [(results / 'kept').exists(), (results / 'visualization').is_dir(), Path('weights.pth').exists()]

    repair(test)
    test.make_exp_dirs(opt | {'auto_resume': True})  # nothing to go on with
    opt['auto_resume'] = True
    assert left() == [True, True, False]
    opt['auto_resume'] = False
    assert left() == [False, True, False]
    assert len(list((tmp_path / 'results').iterdir())) == 2


# ---- a fresh process ----

# Everything that changes a whole process: the order of imports, the start method, the process group.
FRESH_PROCESS = """
import importlib, json, os, sys, warnings
result = {}
try:
    import basicsr
    result['before'] = 'imported'
except ModuleNotFoundError as error:
    result['before'] = error.name
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import gsasr_plugin, basicsr
result['scipy warnings'] = [str(w.message) for w in caught if 'scipy.ndimage.filters' in str(w.message)]
import basicsr
from basicsr.data.degradations import rgb_to_grayscale
import torchvision
result['function'] = rgb_to_grayscale is torchvision.transforms.functional.rgb_to_grayscale

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
result['registered'] = [
    'GSASR' in ARCH_REGISTRY, 'ArbitraryScalePairedDataset' in DATASET_REGISTRY, 'GSASRModel' in MODEL_REGISTRY
]

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from basicsr.utils import options
os.environ.update(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')  # the system chooses one
options.init_dist('pytorch')
result['pytorch'] = [dist.get_backend(), dist.get_world_size(), mp.get_start_method()]
dist.destroy_process_group()
for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
    del os.environ[name]
os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST='node[1-2]', SLURM_LOCALID='0')
options.init_dist('slurm', port=0)
result['slurm'] = [dist.get_backend(), os.environ['MASTER_ADDR'], os.environ['LOCAL_RANK'], dist.get_world_size()]
dist.destroy_process_group()
print(json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU the host starts its processes itself')
def test_a_fresh_process(
    run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && printf "127.0.0.1\\nnode2\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    done = run_python(['-c', FRESH_PROCESS])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])

    assert result['before'] in ('imported', 'torchvision.transforms.functional_tensor')
    assert result['function'] and result['scipy warnings'] == []
    assert result['registered'] == [True, True, True]
    assert result['pytorch'] == ['gloo', 1, 'spawn']
    assert result['slurm'] == ['gloo', '127.0.0.1', '0', 1]
