"""`gsasr options`: the list, one file shown, one written to be edited; and that packaged files work from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gsasr_plugin import cli
from gsasr_plugin.commands import main
from gsasr_plugin.commands.options import SCHEMA_LINE
from gsasr_plugin.data.image_files import list_images
from gsasr_plugin.host.option_check import OptionError, read_option_file
from gsasr_plugin.host.option_check.checker import check_options

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / 'options').glob('*.yml'))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, made the current one: where a user is who has installed a wheel."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_has_one_line_for_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['options']) == 0
    *lines, empty, others = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [path.stem for path in SHIPPED]
    # A whole sentence each, in one column.
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in lines}) == 1
    assert all(line.endswith('.') for line in lines)
    assert empty == '' and 'schema.json' in others and 'options.md' in others


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_written_file_stands_for_the_same_options(folder: Path, path: Path) -> None:
    """Whatever it builds on, and from any folder; editors find its schema."""
    assert main(['options', path.stem, '-o', 'mine.yml']) == 0
    assert read_option_file('mine.yml').options == read_option_file(str(path)).options
    head, *lines = (folder / 'mine.yml').read_text().splitlines()
    assert lines == path.read_text().splitlines()[1:]
    schema = (ROOT / 'options' / 'schema.json').as_uri()
    assert head == SCHEMA_LINE.replace('schema.json', schema)


def test_one_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['options', 'photographs.py']) == 0
    assert capsys.readouterr().out == (ROOT / 'docs' / 'photographs.py').read_text()


def test_a_shown_script_takes_its_argument(folder: Path) -> None:
    """As its head says: gsasr options photographs.py | python - FOLDER."""
    done = subprocess.run(
        [sys.executable, '-'], input=(ROOT / 'docs' / 'photographs.py').read_text(), text=True, capture_output=True
    )
    assert done.returncode == 1 and done.stderr == 'usage: python docs/photographs.py FOLDER\n'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['train_gsasr_rnd'], "there is no 'train_gsasr_rnd' in this package; did you mean train_gsasr_rdn?"),
        (['../setup.py'], "there is no '../setup.py' in this package; 'gsasr options' lists them"),
        (['-o', 'new.yml'], '-o new.yml: which one? give the NAME of one of the list'),
        (['train_gsasr_rdn', '-o', 'old.yml'], '-o old.yml exists; --overwrite replaces it'),
        (['train_gsasr_rdn', '-o', '.'], '-o . is a folder; a name of a file is accepted'),
        (['train_gsasr_rdn', '-o', 'nowhere/a.yml'], '-o nowhere/a.yml: there is no folder nowhere'),
        (['train_gsasr_rdn', '-o', f'{"a" * 300}.yml'], 'File name too long'),
    ],
)
def test_refusals(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    (folder / 'old.yml').write_text('mine')
    assert main(['options', *words]) == 2
    written, told = capsys.readouterr()
    assert written == '' and told.startswith('gsasr options: error: ') and message in told
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [('old.yml', 'mine')]


def test_a_file_is_replaced_when_asked(folder: Path) -> None:
    (folder / 'old.yml').write_text('mine')
    assert main(['options', 'train_gsasr_rdn', '-o', 'old.yml', '--overwrite']) == 0
    assert read_option_file('old.yml').options['name'] == 'train_GSASR_RDN'
    assert [path.name for path in folder.iterdir()] == ['old.yml']


def test_packaged_options_hold_from_any_folder(folder: Path) -> None:
    """The lists of images that they name included."""
    check_options(read_option_file('train_gsasr_quickstart'), is_train=True)
    names = (ROOT / 'options' / 'quickstart_val.txt').read_text().split()
    images = list_images('package:skimage.data', 'disk', 'options/quickstart_val.txt')
    assert len(names) == 2 and [Path(image.path).name for image in images] == names


def test_basicsr_takes_a_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says which file that is; the data of this one are not here."""
    assert cli.main(['train', '-opt', 'train_gsasr_rdn']) == 2
    told = capsys.readouterr().err
    file = ROOT / 'options' / 'train_gsasr_rdn.yml'
    assert f'basicsr: -opt train_gsasr_rdn: {file}, which comes with this package' in told
    assert f'{file}:' in told and "dataroot 'datasets/Set5/GT' is not a folder" in told


def test_the_users_own_option_file_goes_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / 'options').mkdir()
    (folder / 'options' / 'train_gsasr_rdn.yml').write_text('name: 7\n')
    assert cli.main(['train', '-opt', 'options/train_gsasr_rdn.yml']) == 2
    told = capsys.readouterr().err
    assert 'comes with this package' not in told and 'options/train_gsasr_rdn.yml:1: ' in told


def test_an_unknown_name_is_told_where_names_are(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"No such file or directory .*; 'gsasr options' lists those of this package"):
        read_option_file('train_gsasr_nothing')


def test_gsasr_takes_names_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / 'gt').mkdir()
    Image.new('RGB', (40, 40)).save(folder / 'gt' / 'a.png')
    words = ['--gt', 'gt', '--scales', '2', '--warmup', '0', '--out', 'out']
    assert main(['check-data', '--opt', 'train_gsasr_quickstart']) == 0
    assert 'package:skimage.data: ' in capsys.readouterr().out
    assert main(['benchmark', 'cost', '--network', 'train_gsasr_small', *words]) == 0
    assert 'gsasr_small' in capsys.readouterr().out
