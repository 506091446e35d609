"""The command `basicsr`: BasicSR's training and testing, with plugins found and options checked first.

Help and wrong arguments need nothing of that: what takes seconds to import is imported by who needs it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsasr_plugin.host.plugins import PluginError, distribution, installed_plugins, load_plugins, version_of
from gsasr_plugin.run_errors import RunError
from gsasr_plugin.stop_signals import EXIT_INTERRUPTED, Stopped, until_nobody_reads

if TYPE_CHECKING:
    from gsasr_plugin.host.option_check import OptionFile, Problem

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_SIGNALLED = 128  # plus the number of the signal

_TASKS = {
    'train': (
        'train a network',
        'Writes models, training states, images and the log to experiments/NAME below the current folder.',
        """\
examples:
  basicsr train -opt train_gsasr_rdn
  basicsr train -opt options/train.yml --auto_resume
  basicsr train -opt options/train.yml --force_yml train:total_iter=1000 datasets:train:batch_size_per_gpu=4
  torchrun --nproc_per_node=2 -m gsasr_plugin train -opt options/train.yml --launcher pytorch
""",
    ),
    'test': (
        'test a network, or upscale images with it',
        'Writes images, tables and the log to results/NAME below the current folder.',
        """\
examples:
  basicsr test -opt options/test.yml
  basicsr test -opt options/test.yml --skip_absent --auto_resume
  torchrun --nproc_per_node=2 -m gsasr_plugin test -opt options/test.yml --launcher pytorch
  basicsr test -opt options/test.yml --force_yml path:pretrain_network_g=experiments/NAME/models/net_g_latest.pth
""",
    ),
}

# What each launcher has to put into the environment.
_LAUNCHER_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
}


class UsageError(ValueError):
    """A command line that cannot work in this environment."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: done. 1: a plugin cannot be imported, or a run cannot go on. 2: the command line or the options are wrong. A
    message says how. 130, 143: Ctrl-C, SIGTERM. Anything else that goes wrong is raised.

    Args:
        argv: Arguments without the name of the program; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    return until_nobody_reads(lambda: _main(argv))


def _main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        _check_launcher(arguments.launcher, os.environ)
        return _run(arguments, f'basicsr {shlex.join(argv)}')
    except UsageError as error:
        print(f'basicsr: error: {error}', file=sys.stderr)
        return EXIT_USAGE
    except (PluginError, RunError) as error:
        print(f'basicsr: error: {error}', file=sys.stderr)
        return EXIT_FAILURE
    except Stopped as stopped:
        if os.environ.get('RANK', '0') == '0':
            name = signal.Signals(stopped.signal_number).name
            print(f'basicsr: stopped by {name}: {stopped}', file=sys.stderr)
        return EXIT_SIGNALLED + stopped.signal_number
    except KeyboardInterrupt:
        print('basicsr: interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace, command: str) -> int:
    from gsasr_plugin.host.option_check import OptionError, force_options, read_option_file

    try:
        file = read_option_file(arguments.opt)
        _say_if_packaged(arguments.opt, file)
        force_options(file, arguments.force_yml or [])
        load_plugins()
        _check_and_run(arguments, file, command)
    except OptionError as error:
        count = sum(problem.is_error for problem in error.problems)
        print(f'{error}\nbasicsr: {count} error{"s" * (count > 1)} in {error.file}', file=sys.stderr)
        return EXIT_USAGE
    return 0


def _say_if_packaged(given: str, file: OptionFile) -> None:
    """Nobody's own file is to be exchanged for one of this package without a word."""
    if not os.path.exists(given) and os.environ.get('RANK', '0') == '0':
        print(f'basicsr: -opt {given}: {file.path}, which comes with this package', file=sys.stderr)


def _check_and_run(arguments: argparse.Namespace, file: OptionFile, command: str) -> None:
    from gsasr_plugin.checkpoints.kept_models import reading_once
    from gsasr_plugin.host.option_check.checker import check_options
    from gsasr_plugin.host.option_check.dataset_check import skip_absent_datasets
    from gsasr_plugin.host.pipeline import run_pipeline
    from gsasr_plugin.metrics.weights import WeightsNotFoundError

    is_train = arguments.task == 'train'
    flags = [f'--{name}' for name in ('auto_resume', 'debug') if getattr(arguments, name)]
    if arguments.launcher != 'none':
        flags += ['--launcher', arguments.launcher]
    try:
        with reading_once():
            if not is_train and arguments.skip_absent:
                _print_warnings(skip_absent_datasets(file), file.path)
            resumes = is_train and arguments.auto_resume and _has_states(file.options.get('name'), arguments.debug)
            _print_warnings(check_options(file, is_train=is_train, auto_resume=resumes), file.path)
            run_pipeline(arguments.task, file, flags, command)
    except WeightsNotFoundError as error:
        raise UsageError(str(error)) from error


def _has_states(name: Any, debug: bool) -> bool:
    """Whether a run of that name has left training states below the current folder."""
    if not isinstance(name, str):
        return False
    from gsasr_plugin.checkpoints.training_pairs import has_states

    folder = f'debug_{name}' if debug and not name.startswith('debug') else name
    return has_states(Path('experiments') / folder / 'training_states')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='basicsr',
        description='Train and test image restoration networks with BasicSR, described by option files.',
        epilog="'basicsr train --help' and 'basicsr test --help' tell more. Also as 'python -m gsasr_plugin'.",
    )
    parser.add_argument('--version', action=_Version, nargs=0, help='print versions and installed plugins, and exit')
    commands = parser.add_subparsers(dest='task', required=True, metavar='{train,test}')
    for task, (summary, description, examples) in _TASKS.items():
        command = commands.add_parser(
            task,
            help=summary,
            description=f'{summary.capitalize()}. {description}',
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_host_flags(command, task)
    commands.choices['test'].add_argument(
        '--skip_absent', action='store_true', help='leave out data sets whose folders do not exist (else an error)'
    )
    return parser


def _add_host_flags(command: argparse.ArgumentParser, task: str) -> None:
    """The flags of BasicSR's own parser."""
    command.add_argument(
        '-opt',
        '--opt',
        required=True,
        metavar='FILE',
        help="option file (YAML), or the name of one that 'gsasr options' lists",
    )
    command.add_argument(
        '--force_yml',
        nargs='+',
        action='extend',
        metavar='KEY:KEY=VALUE',
        help='options to set on top of the file, e.g. train:ema_decay=0.999; nested keys are separated by colons',
    )
    command.add_argument(
        '--auto_resume',
        action='store_true',
        help='go on from the newest training state of the run, if there is one'
        if task == 'train'
        else 'go on with a test of this name: images done with the same weights and options are left out',
    )
    command.add_argument(
        '--debug',
        action='store_true',
        help='prefix the name with debug_, log every iteration, save and validate every 8',
    )
    command.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='how several processes were started: pytorch for torchrun, slurm for srun (default: none, one process)',
    )
    command.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, metavar='N', help='accepted for old launchers and not used'
    )


class _Version(argparse.Action):
    """Prints the versions that a report of a fault needs."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        import gsasr_plugin

        print(f'gsasr-plugin {gsasr_plugin.__version__}')
        print(f'BasicSR {version_of("basicsr")}, torch {version_of("torch")}, Python {platform.python_version()}')
        for entry in installed_plugins():
            print(f'plugin {entry.name}: {entry.value} ({distribution(entry)})')
        parser.exit()


def _check_launcher(launcher: str, environment: Mapping[str, str]) -> None:
    """Refuse what would fail without a word, or train the same run once per process."""
    missing = [name for name in _LAUNCHER_VARIABLES.get(launcher, ()) if name not in environment]
    if missing:
        starter = 'torchrun --nproc_per_node=2 -m gsasr_plugin' if launcher == 'pytorch' else 'srun basicsr'
        raise UsageError(
            f'--launcher {launcher}: the environment has no {", ".join(missing)}; '
            f'start the processes with: {starter} ...'
        )
    processes = environment.get('WORLD_SIZE', '1')
    if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in environment and processes != '1':
        raise UsageError(f'--launcher none: torchrun started {processes} processes; add --launcher pytorch')


def _print_warnings(warnings: list[Problem], file: str) -> None:
    if os.environ.get('RANK', '0') == '0':
        for warning in warnings:
            print(warning.message(file), file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
