"""`gsasr options`: the option files that come with this package, listed, shown, and written into a file to edit."""

import argparse
import difflib
import sys
from pathlib import Path

from gsasr_plugin.commands.arguments import new_file
from gsasr_plugin.packaged_files import OPTION_SUFFIX, packaged_file, packaged_files
from gsasr_plugin.run_errors import CommandError, told_as_command_error
from gsasr_plugin.whole_file import write_whole

DESCRIPTION = """\
Lists the option files that come with this package, shows one, or writes one into a file to edit. 'basicsr train -opt
NAME' and 'basicsr test -opt NAME' take them as they are, where no file of that name exists."""
EXAMPLES = """\
  gsasr options
  gsasr options train_gsasr_rdn                       shows it
  gsasr options train_gsasr_rdn -o my_training.yml    then: basicsr train -opt my_training.yml
"""
SCHEMA = 'schema.json'
SCHEMA_LINE = f'# yaml-language-server: $schema={SCHEMA}'  # the first of every option file, for editors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', nargs='?', metavar='NAME', help='of the list')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='the file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace the file if it is there')


def run(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if arguments.name is None:
        if output is not None:
            raise CommandError(f'-o {output}: which one? give the NAME of one of the list')
        _list()
        return 0
    content = content_of(arguments.name)
    if output is None:
        sys.stdout.write(content)
        return 0
    with told_as_command_error(f'-o {output}: ', OSError):
        _write(arguments, content)
    return 0


def _write(arguments: argparse.Namespace, content: str) -> None:
    if arguments.output.expanduser().is_dir():
        raise CommandError(f'-o {arguments.output} is a folder; a name of a file is accepted')
    output = new_file(arguments, None)
    if not output.parent.is_dir():
        raise CommandError(f'-o {output}: there is no folder {output.parent}')
    write_whole(output, content)


def content_of(name: str) -> str:
    """The text of a packaged file; the schema that editors look for is named by its place."""
    file = packaged_file(name)
    files = packaged_files()
    if file is None:
        near = difflib.get_close_matches(name, [Path(known).stem for known in files], 1)
        hint = f'did you mean {near[0]}?' if near else "'gsasr options' lists them"
        raise CommandError(f'there is no {name!r} in this package; {hint}')
    text = file.read_text(encoding='utf-8')
    return text.replace(SCHEMA_LINE, SCHEMA_LINE.replace(SCHEMA, files[SCHEMA].absolute().as_uri()), 1)


def summary_of(file: Path) -> str:
    """The first line of an option file that is for people."""
    return file.read_text(encoding='utf-8').splitlines()[1].removeprefix('# ')


def _list() -> None:
    files = packaged_files()
    options = {path.stem: path for path in files.values() if path.suffix == OPTION_SUFFIX}
    width = max(map(len, options))
    for name, path in options.items():
        print(f'{name:<{width}}  {summary_of(path)}')
    print(f'\nbeside them: {", ".join(name for name, path in files.items() if path not in options.values())}')
