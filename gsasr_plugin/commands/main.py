"""The command line of `gsasr`: finds the subcommand, and turns its errors into messages."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from gsasr_plugin.commands.arguments import examples_of
from gsasr_plugin.host.plugins import remedy_of, with_remedy
from gsasr_plugin.run_errors import CommandError
from gsasr_plugin.stop_signals import EXIT_INTERRUPTED, left_at_once, until_nobody_reads

EXIT_FAILURE = 1
EXIT_USAGE = 2

EXAMPLE = """\
  gsasr upscale photo.jpg -o large.png --scale 3.14

'gsasr COMMAND --help' tells more. Training and testing: 'basicsr --help'."""

# Subcommand -> the line that `gsasr --help` shows. Its module, of the same name with underscores, is imported when it
# is called.
COMMANDS: dict[str, str] = {
    'upscale': 'enlarge pictures by any factor',
    'gaussians': 'write the Gaussians of a picture into a file',
    'render': 'draw Gaussians from a file at any size',
    'visualize': 'show the Gaussians of a picture',
    'demo': 'open a page in the browser to try it all',
    'check-data': 'decode every image of folders, LMDBs or option files, and name those that cannot be used',
    'convert': 'turn a model of the authors, or a checkpoint of a training, into one file that describes itself',
    'benchmark': 'measure time and memory of networks as the paper does',
    'curves': 'draw the training curves of several runs',
    'options': 'list the option files that come with this package, or write one to edit',
    'prepare': "make the images of the paper's benchmarks and training from GT images",
    'info': 'show versions, what draws and why, and what is missing',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    0: done. 1: part of the work failed, and a message says what. 2: an argument or a file is wrong, and a message says
    how. 130: interrupted. Anything else that goes wrong is raised.

    Args:
        argv: arguments without the name of the program; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    return until_nobody_reads(lambda: _main(argv))


def _main(argv: list[str]) -> int:
    # Threads that have nothing to do sleep, unless the user wants them to spin: beside other programs, spinning threads
    # wait for each other's turns, which took four times as long. OpenMP reads this when torch is imported.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'OFF')  # its lines name no file
    name = next((word for word in argv if not word.startswith('-')), '')
    with left_at_once('gsasr: interrupted'):
        arguments = _parser(name).parse_args(argv)
    try:
        return _module(arguments.command).run(arguments)
    except (CommandError, FileNotFoundError) as error:
        print(f'gsasr {arguments.command}: error: {error}', file=sys.stderr)
        return EXIT_USAGE
    except ImportError as error:
        if not remedy_of(error):
            raise
        print(f'gsasr {arguments.command}: error: {with_remedy(error)}', file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        print(f'gsasr {arguments.command}: interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED


def _module(name: str):
    return importlib.import_module(f'gsasr_plugin.commands.{name.replace("-", "_")}')


def _parser(chosen: str) -> argparse.ArgumentParser:
    """All subcommands, and the arguments of the chosen one."""
    parser = argparse.ArgumentParser(
        prog='gsasr',
        description='Arbitrary-scale super-resolution by 2D Gaussians.',
        **examples_of(EXAMPLE),
    )
    parser.add_argument('--version', action=_Version, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, summary in COMMANDS.items():
        module = _module(name) if name == chosen else None
        command = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION if module else None,
            **(examples_of(module.EXAMPLES) if module else {}),
        )
        if module:
            module.add_arguments(command)
    return parser


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import gsasr_plugin

        print(f'gsasr-plugin {gsasr_plugin.__version__}')
        parser.exit()


if __name__ == '__main__':
    sys.exit(main())
