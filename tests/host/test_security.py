"""Nothing that a file or a command line says is run: option files, --force_yml, and the code that reads files."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from gsasr_plugin import cli
from gsasr_plugin.host import pipeline
from tests.host.conftest import write_options

ROOT = Path(__file__).parents[2]
MKDIR = '__import__("os").mkdir("planted")'


@pytest.mark.parametrize(
    'text',
    [
        'name: !!python/object/apply:os.mkdir [planted]\n',
        'name: !!python/object/new:os.mkdir [planted]\n',
        '? !!python/object/apply:os.mkdir [planted]\n: 1\n',
        'a: &a !!python/name:os.mkdir\nb: *a\n',
    ],
)
def test_a_malicious_option_file_is_refused(project: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path('train.yml').write_text(text)
    assert cli.main(['train', '-opt', 'train.yml']) == 2
    assert 'train.yml:' in capsys.readouterr().err and not Path('planted').exists()


@pytest.mark.parametrize(
    'entry',
    [
        f'train:total_iter=[{MKDIR}]',  # the host evaluates lists
        f'train"]={MKDIR};opt["name',  # and executes keys
        f'name"]=1;{MKDIR};opt["name=x',
        'train:total_iter=[!!python/object/apply:os.mkdir [planted]]',
        f'train:total_iter={MKDIR}',
    ],
)
def test_a_malicious_force_yml_is_refused_or_a_plain_text(
    project: Path, gsasr_options: dict[str, Any], entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_options(gsasr_options, Path('train.yml'))
    handed_over = []
    monkeypatch.setattr(pipeline, 'run_pipeline', lambda task, file, flags, command: handed_over.append((file, flags)))
    status = cli.main(['train', '-opt', 'train.yml', '--force_yml', entry])
    assert not Path('planted').exists()
    # As the key of a section that nobody reads it may pass; the host gets options, and never the entry itself.
    assert status == 2 or (entry.startswith(('train"', 'name"')) and handed_over[0][1] == [])


def test_the_code_reads_files_safely() -> None:
    """No eval or exec; torch.load of weights only; YAML with loaders of plain values; no pickle, no shell."""
    unsafe = []
    for file in [*(ROOT / 'gsasr_plugin').rglob('*.py'), *(ROOT / 'ops').glob('*.py')]:
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if (
                name in ('eval', 'exec', 'compile', 'os.system', 'pickle.load', 'pickle.loads', 'marshal.loads')
                or (name == 'torch.load' and keywords.get('weights_only') != 'True')
                or (name in ('yaml.load', 'yaml.load_all') and keywords.get('Loader') not in SAFE_LOADERS)
                or (name.endswith(('yaml.full_load', 'yaml.unsafe_load')))
                or (name in ('np.load', 'numpy.load') and keywords.get('allow_pickle') == 'True')
                or keywords.get('shell') == 'True'
            ):
                unsafe.append(f'{file.relative_to(ROOT)}:{call.lineno}: {name}')
    assert unsafe == []


# Both are sub-classes of PyYAML's safe loader, see option_file.py.
SAFE_LOADERS = ('OptionLoader', '_HostLoader')
