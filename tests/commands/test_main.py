"""`gsasr` itself: its help, and that of every subcommand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gsasr_plugin
from gsasr_plugin.commands import main
from gsasr_plugin.commands.main import COMMANDS, _parser

NESTED = {'benchmark': ['cost'], 'prepare': ['benchmark', 'train', 'lmdb', 'cost']}


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main([*words, '--help'])
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    'words', [[], *([name] for name in COMMANDS), *([name, part] for name in NESTED for part in NESTED[name])]
)
def test_every_help_ends_with_examples_that_are_accepted(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    _, found, examples = help_of(words, capsys).partition('\nexamples:\n')
    assert found
    lines = [line.strip() for line in examples.splitlines() if line.startswith('  gsasr ')]
    assert lines
    for line in lines:
        command = line.split('    ')[0].split(' > ')[0]  # without a remark or redirection
        _, *arguments = shlex.split(command)
        assert arguments[: len(words)] == words
        _parser(arguments[0]).parse_args(arguments)


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(['--version'])
    assert left.value.code == 0 and capsys.readouterr().out.startswith('gsasr-plugin ')


def test_an_unknown_subcommand_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(['enlarge'])
    assert left.value.code == 2 and "invalid choice: 'enlarge'" in capsys.readouterr().err


# The rooms alone, without what the package's own face imports.
PARSERS_ALONE = """
import sys, types
package = sys.modules['gsasr_plugin'] = types.ModuleType('gsasr_plugin')
package.__path__ = [sys.argv[1]]
from gsasr_plugin.commands.main import COMMANDS, _parser
for name in COMMANDS:
    _parser(name).format_help()
print(*sorted(set(sys.modules) & {'torch', 'numpy', 'PIL', 'pydantic', 'cv2', 'scipy', 'yaml', 'tqdm', 'basicsr'}))
"""


def test_parsers_need_no_libraries() -> None:
    """Help texts and argument errors come at once: torch alone takes seconds."""
    folder = Path(gsasr_plugin.__file__).parent
    done = subprocess.run([sys.executable, '-c', PARSERS_ALONE, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
