"""LIIF beside GSASR, at equal encoder, data and processor time:
`python -m tests.benchmarks.bench_rival train|test|cost ...`.

train: one network by one of our option files, for so many minutes of processor time (or iterations) in all; the file's
schedule is stretched to them. A run that was stopped goes on from its folder.

    ... train -opt options/train_gsasr_small.yml --network liif-skip --minutes 60 --out results/rival/liif-skip

test: PSNR of several networks and of bicubic on the data sets of an option file, as Markdown and CSV. A network is a
folder of `train`, or whatever `gsasr_plugin.load` takes: a packaged model's name, a file.

    ... test -opt options/test_gsasr_small.yml --out results/rival results/rival/liif-skip gsasr-small

cost: processor time and memory of one photograph, each network in a process of its own with one thread.

    ... cost --out results/rival results/rival/liif-skip gsasr-small
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gsasr_plugin.host.option_check import OptionError, force_options, read_option_file
from gsasr_plugin.run_errors import RunError
from gsasr_plugin.stop_signals import Stopped
from tests.benchmarks.liif.comparison import compare_quality
from tests.benchmarks.liif.cost import add_cost_arguments, compare_costs
from tests.benchmarks.liif.training import NETWORKS, Budget, Training


def train(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    budget = Budget(minutes=arguments.minutes, iterations=arguments.iterations)
    training = Training(options, name=arguments.network, budget=budget, queries=arguments.queries, folder=arguments.out)
    parameters = sum(parameter.numel() for parameter in training.net.parameters())
    print(f'{arguments.network}: {parameters:,} parameters, from iteration {training.iteration} on', flush=True)
    training.run(arguments.val_freq or options['val']['val_freq'])


def test(arguments: argparse.Namespace) -> None:
    print(compare_quality(_options(arguments), arguments.networks, arguments.out))


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    file = read_option_file(arguments.opt)
    force_options(file, arguments.force_yml)
    return file.options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    of_file = argparse.ArgumentParser(add_help=False)
    of_file.add_argument('-opt', required=True, metavar='FILE', help='an option file that trains a GSASR, or tests one')
    of_file.add_argument('--force_yml', nargs='+', default=[], metavar='KEY=VALUE', help="in place of FILE's options")
    of_file.add_argument('--out', type=Path, required=True, help='folder of what is trained, or of the tables')

    command = commands.add_parser('train', parents=[of_file])
    command.add_argument('--network', choices=NETWORKS, required=True, help="liif-skip adds bicubic; ours is FILE's")
    length = command.add_mutually_exclusive_group(required=True)
    length.add_argument('--minutes', type=float, help='of processor time, of all sittings together')
    length.add_argument('--iterations', type=int, help='instead: so many')
    command.add_argument('--queries', type=int, default=576, help='pixels of a sample that LIIF is trained on (576)')
    command.add_argument('--val-freq', type=int, help="validate every so many iterations (FILE's)")
    command.set_defaults(run=train)

    command = commands.add_parser('test', parents=[of_file])
    command.add_argument('networks', nargs='+', help='folders of train, packaged models, files')
    command.set_defaults(run=test)

    command = commands.add_parser('cost')
    add_cost_arguments(command)
    command.set_defaults(run=compare_costs)

    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (OptionError, RunError, OSError, ValueError) as error:
        print(f'bench_rival: error: {error}', file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f'bench_rival: {stopped}', file=sys.stderr)
        return 128 + stopped.signal_number
    return 0


if __name__ == '__main__':
    sys.exit(main())
