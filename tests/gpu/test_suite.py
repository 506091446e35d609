"""The suite for GPUs itself: time limits, failures, what is written of them. Its parts are rehearsed by
`python -m tests.gpu --rehearse`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.gpu import document, machine, pack, tests_of
from tests.gpu import runner as runner_module
from tests.gpu.__main__ import Kept, main, table
from tests.gpu.machine import python
from tests.gpu.parts import PARTS, Part, guards, rasterizer_tests, sanitizer
from tests.gpu.runner import Runner

START = """
import sys
from pathlib import Path
from tests.gpu.report import Report
report = Report(Path(sys.argv[1]))
"""
SCRIPTS = {
    'good': "report.figure('x2', {'ms': 1.5})",
    'bad': "report.figure('a', 1); report.at_most('b', float('nan'), 3); report.figure('c', 2); sys.exit(1)",
    'raises': "raise ValueError('of this')",
    'slow': "report.figure('early', 7); import time; time.sleep(60)",
    'absent': "report.not_here('two GPUs', 'there is 1')",
}


class Scripted(Runner):
    """Runs scripts in place of the parts' modules."""

    def command(self, part: Part, result: Path) -> list[str]:
        return python('-c', START + SCRIPTS[part.name], str(result))


def runner(folder: Path, seconds: float = 60.0) -> Scripted:
    return Scripted(folder, dict(os.environ), seconds, rehearsed=True)


@pytest.mark.slow
def test_no_part_stops_another(tmp_path: Path) -> None:
    # Seconds for an interpreter that starts on a busy machine.
    parts = [Part(name, f'about {name}', 4.0 if name == 'slow' else 50.0, 0, least_seconds=0) for name in SCRIPTS]
    parts.append(Part('of GPUs', 'about GPUs', 1.0, 1, not_rehearsed='it is of GPUs'))
    outcomes = runner(tmp_path).run(parts)
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        'good': 'ok',
        'bad': 'failed',
        'raises': 'failed',
        'slow': 'too long',
        'absent': 'not here',
        'of GPUs': 'not here',
    }
    assert outcomes['good'].figures == {'x2': {'ms': 1.5}}
    assert list(outcomes['bad'].figures) == ['a', 'b', 'c'] and outcomes['bad'].failures == ['b (nan, at most 3)']
    assert outcomes['raises'].told == 'ValueError: of this'
    assert 4.0 <= outcomes['slow'].seconds < 50.0
    shown = table(parts, outcomes)
    assert '! b (nan, at most 3)' in shown and '- not here: two GPUs: there is 1' in shown and 'it is of GPUs' in shown


@pytest.mark.slow
def test_the_time_of_all(tmp_path: Path) -> None:
    """The first part has what is left, and the others are not started."""
    parts = [Part('slow', '', 50.0, 0, least_seconds=1.0), Part('good', '', 50.0, 1)]
    start = time.monotonic()
    outcomes = runner(tmp_path, seconds=3.0).run(parts)
    assert time.monotonic() - start < 30
    assert {name: outcome.state for name, outcome in outcomes.items()} == {'slow': 'too long', 'good': 'no time'}


# Leaves a file, waits for another one, and tells which are there.
IN_TURN = """
import os, time
seen = Path(os.environ['SEEN_BY_PARTS'])
(seen / '{name}').touch()
while not (seen / '{awaited}').exists():
    time.sleep(0.1)
report.figure('there', sorted(os.listdir(seen)))
"""


def test_what_is_kept(tmp_path: Path) -> None:
    """After each part, in two files."""
    kept = Kept({'gpus': ['H100']}, tmp_path, {'GSASR_GPU_WORK': str(tmp_path)}, 60.0, rehearsed=True)
    (tmp_path / 'logs' / 'install.log').write_text('told')
    kept.run([Part('of GPUs', 'about GPUs', 1.0, 1, not_rehearsed='it is of GPUs')])
    found = json.loads((tmp_path / 'gpu.json').read_text(encoding='utf-8'))
    assert found['gpus'] == ['H100'] and found['parts']['of GPUs']['state'] == 'not here'
    with tarfile.open(tmp_path / 'logs.tar.gz') as archive:
        assert archive.getnames() == ['logs/install.log']


@pytest.mark.slow
def test_what_is_kept_of_parts_that_are_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stopped from outside, without a chance to say anything, leaves what its parts have found."""
    monkeypatch.setattr(runner_module, 'KEPT_SECONDS', 0.0)
    seen: list[dict[str, Any]] = []

    class Stopped(Kept):
        def command(self, part: Part, result: Path) -> list[str]:
            return python('-c', START + SCRIPTS[part.name], str(result))

        def noted(self) -> None:
            super().noted()
            seen.append(json.loads((tmp_path / 'gpu.json').read_text(encoding='utf-8'))['parts'])
            if seen[-1].get('slow', {}).get('figures'):
                raise KeyboardInterrupt

    environment = {**os.environ, 'GSASR_GPU_WORK': str(tmp_path)}
    stopped = Stopped({}, tmp_path, environment, 60.0, rehearsed=True)
    with pytest.raises(KeyboardInterrupt):
        stopped.run([Part('slow', '', 50.0, 0, least_seconds=0)])
    assert seen[-1]['slow']['state'] == 'running' and seen[-1]['slow']['figures'] == {'early': 7}
    assert all(one.process.poll() is not None for one in stopped.running)
    with tarfile.open(tmp_path / 'logs.tar.gz') as archive:
        assert {'logs/slow.json', 'logs/slow.log'} <= set(archive.getnames())


@pytest.mark.slow
def test_a_terminated_run_stops_its_parts(tmp_path: Path) -> None:
    """They are sessions of their own, which nobody else would stop."""
    command = python('-m', 'tests.gpu', '--rehearse', '--parts', 'golden_values', '--out', str(tmp_path))
    with subprocess.Popen(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any(line.startswith('golden_values ...') for line in run.stdout)
        children = Path(f'/proc/{run.pid}/task/{run.pid}/children').read_text().split()
        run.terminate()
        assert run.wait(30) == 128 + signal.SIGTERM
    assert children and not any(Path(f'/proc/{child}').exists() for child in children)


@pytest.mark.slow
def test_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part waits for those of the phase before, but for one that may last longer."""
    monkeypatch.setenv('SEEN_BY_PARTS', str(tmp_path))
    for name, awaited in {'first': 'first', 'lasting': 'second', 'second': 'lasting', 'third': 'third'}.items():
        monkeypatch.setitem(SCRIPTS, name, IN_TURN.format(name=name, awaited=awaited))
    parts = [Part('first', '', 50, 0, least_seconds=0), Part('lasting', '', 50, 0, lasts=1, least_seconds=0)]
    parts += [Part('second', '', 50, 1, least_seconds=0), Part('third', '', 50, 2, least_seconds=0)]
    outcomes = runner(tmp_path).run(parts)
    there = {name: set(outcome.figures['there']) & {part.name for part in parts} for name, outcome in outcomes.items()}
    assert 'second' not in there['first'] and not {'third'} & (there['second'] | there['lasting'])
    assert list(outcomes)[-1] == 'third' and there['third'] == {'first', 'lasting', 'second', 'third'}


def test_every_part_is_a_module() -> None:
    modules = {path.stem for path in (Path(__file__).parent / 'parts').glob('*.py')} - {'__init__'}
    assert {part.name for part in PARTS} == modules


@pytest.mark.slow
def test_what_the_parts_choose_is_there() -> None:
    """Tests of other rooms, by their names."""
    chosen = [*guards.OF_SHIM, *rasterizer_tests.OF_SHIM, *rasterizer_tests.TESTS, *sanitizer.TESTS.values()]
    files = {name.removeprefix('--deselect=').partition('::')[0] for name in chosen}
    command = python('-m', 'pytest', *tests_of.CONFIGURATION, '--collect-only', *sorted(files))
    collected = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=True).stdout.split('\n')
    assert {line.partition('::')[0] for line in collected if '::' in line} == files
    assert not {name.removeprefix('--deselect=') for name in chosen} - files - set(collected)


def run_file(folder: Path, gpu: str, ms: float, rehearsed: bool = False) -> Path:
    part = {'state': 'ok', 'told': '', 'figures': {'x2': {'ms': ms, 'GiB': 3.0}, 'x4': {'ms': 2.0, 'GiB': 1.0}, 'n': 5}}
    facts = {'gpus': [gpu], 'rehearsed': rehearsed, 'date': '2026-01-02', 'commit': 'abc', 'torch': '2.11'}
    file = folder / 'gpu.json'
    file.write_text(json.dumps({**facts, 'parts': {'training': part}}), encoding='utf-8')
    return file


def test_figures_go_into_the_page(tmp_path: Path) -> None:
    page = tmp_path / 'gpu.md'
    page.write_text(f'# Title\n{document.BEGIN}{document.NOTHING}{document.END}rest\n', encoding='utf-8')
    for gpu, ms in (('H100', 1.25), ('A100', 9.0), ('H100', 1.5)):
        document.write(run_file(tmp_path, gpu, ms), page)
    text = page.read_text(encoding='utf-8')
    assert text.startswith('# Title\n') and text.endswith('rest\n') and document.NOTHING not in text
    assert text.count('### H100') == text.count('### A100') == 1
    assert '|  | ms | GiB |\n| --- | --- | --- |\n| x2 | 1.5 | 3 |\n| x4 | 2 | 1 |\n\n- n: 5' in text
    assert '| x2 | 9 | 3 |' in text and '1.25' not in text


def test_a_rehearsal_is_not_written_of(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match='of a rehearsal on a CPU'):
        document.write(run_file(tmp_path, 'none', 1.0, rehearsed=True), tmp_path / 'absent.md')


@pytest.mark.parametrize(
    ('content', 'told'), [(None, 'cannot be read'), ('{', 'cannot be read'), ('{}', 'no gpu.json')]
)
def test_other_files_are_refused(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / 'other.json'
    if content is not None:
        file.write_text(content, encoding='utf-8')
    with pytest.raises(SystemExit, match=rf'other\.json.*{told}'):
        document.write(file, tmp_path / 'absent.md')


@pytest.mark.parametrize(
    ('given', 'told'),
    [
        (('--minutes', 'abc'), "a positive number of minutes is needed, got 'abc'"),
        (('--minutes', '-1'), "a positive number of minutes is needed, got '-1'"),
        (('--minutes', 'nan'), "a positive number of minutes is needed, got 'nan'"),
        (('--parts', 'bild'), "there is no part 'bild'; there are build, install,"),
        (('--parts', ''), "there is no part ''; there are build, install,"),
    ],
)
def test_wrong_arguments(
    given: tuple[str, str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('sys.argv', ['gpu', *given])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 2 and f'argument {given[0]}: {told}' in capsys.readouterr().err


def test_the_page_has_room_for_figures() -> None:
    text = document.PAGE.read_text(encoding='utf-8')
    assert text.index(document.BEGIN) < text.index(document.END)
    assert all(f'| `{part.name}` |' in text for part in PARTS)


def test_packed_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, 'FOLDER', tmp_path)
    with zipfile.ZipFile(tmp_path / 'pydantic_core-2.0-cp312-cp312-linux_x86_64.whl', 'w') as wheel:
        wheel.writestr('pydantic_core/__init__.py', 'found = True\n')
        wheel.writestr('pydantic_core-2.0.data/scripts/program', '#!/bin/sh\n')
    assert pack.unpack(['pydantic_core', 'yaml'], tmp_path / 'site') == ['yaml']
    assert (tmp_path / 'site' / 'pydantic_core' / '__init__.py').read_text() == 'found = True\n'
    assert os.access(tmp_path / 'site' / 'bin' / 'program', os.X_OK)


def test_a_copy_without_git_knows_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {'FOLDER': tmp_path / 'wheels', 'COMMIT': tmp_path / 'wheels' / 'commit'}.items():
        monkeypatch.setattr(pack, name, value)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert pack.commit() == 'unknown'
    (tmp_path / 'wheels').mkdir()
    (tmp_path / 'wheels' / 'commit').write_text('abc-dirty\n')
    assert pack.commit() == 'abc-dirty, when it was packed'
    monkeypatch.setenv('PATH', str(tmp_path))  # nor the program
    assert pack.commit() == 'abc-dirty, when it was packed'
