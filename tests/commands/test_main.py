"""`gsasr` itself: its help, and that of every subcommand."""

from __future__ import annotations

import shlex

import pytest

from gsasr_plugin.commands import main
from gsasr_plugin.commands.main import COMMANDS, _parser

NESTED = {'benchmark': ['cost'], 'prepare': ['benchmark', 'train', 'cost']}


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
