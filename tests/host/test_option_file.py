"""Reading option files safely, `--force_yml`, and writing what the host reads back."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gsasr_plugin.host.option_check import OptionError, OptionFile, force_options, read_option_file, write_option_file


def read(tmp_path: Path, text: str) -> OptionFile:
    path = tmp_path / 'options.yml'
    path.write_text(text)
    return read_option_file(str(path))


def host_reads(path: str) -> Any:
    """The host's own reading of a file."""
    from basicsr.utils.options import ordered_yaml

    with open(path) as file:
        return yaml.load(file, Loader=ordered_yaml()[0])


@pytest.mark.parametrize(
    'text, value',
    [
        ('1e-4', 1e-4),
        ('2E5', 2e5),
        ('-.5e+3', -500.0),
        ('1.e2', 100.0),
        ('!!float 5e3', 5000.0),
        ('0.5', 0.5),
        ('7', 7),
        ("'1e-4'", '1e-4'),
        ('1e', '1e'),
        ('e4', 'e4'),
        ('true', True),
        ('~', None),
        ('[1, 2e0]', [1, 2.0]),
        ('2024-01-01', '2024-01-01'),
        ('2024-01-01 10:00:00', '2024-01-01 10:00:00'),
    ],
)
def test_values(tmp_path: Path, text: str, value: object) -> None:
    read_value = read(tmp_path, f'key: {text}\n').options['key']
    assert repr(read_value) == repr(value)


def test_merge_keys_are_followed(tmp_path: Path) -> None:
    assert read(tmp_path, 'base: &base {a: 1}\nuse: {<<: *base, b: 2}\n').options['use'] == {'a': 1, 'b': 2}


def test_order_and_lines_are_kept(tmp_path: Path) -> None:
    file = read(tmp_path, 'b: 1\na:\n  z: 1\n  y: {x: 2}\n')
    assert list(file.options) == ['b', 'a'] and list(file.options['a']) == ['z', 'y']
    assert file.lines == {('b',): 1, ('a',): 2, ('a', 'z'): 3, ('a', 'y'): 4, ('a', 'y', 'x'): 4}


@pytest.mark.parametrize(
    'text, line, message',
    [
        ('a: 1\nb: {c: 1, d: 2, c: 3}\n', 2, "the key 'c' stands here and in line 2"),
        ('a: 1\nb: 2\na: 3\n', 3, "the key 'a' stands here and in line 1"),
        ('a: !!python/object/apply:os.mkdir [planted]\n', 1, 'plain values only'),
        ('a: 1\nb: !!python/name:os.system\n', 2, 'plain values only'),
        ('a: !mine 1\n', 1, 'plain values only'),
        ('a: !!set {b, c}\n', 1, 'plain values only'),
        ('a: !!binary aGFsbG8=\n', 1, 'plain values only'),
        ('a: [1, 2\nb: 3\n', 2, 'not valid YAML'),
        ('a: !!float\n', None, 'not valid YAML'),
        ('a: 1\nb: 0x' + 'f' * 5000 + '\n', 2, 'a number of more than 100 digits'),
        ('a: 1\n\tb: 2\n', 2, 'not valid YAML'),
        ('a: &a [*a]\n', 1, 'recursive'),
        ('[a, b]: 1\n', 1, 'a key must be a text or a number'),
        ('- a\n- b\n', None, 'found a list'),
        ('', None, 'found nothing'),
        ('name: a\n5: b\n', None, 'found the name 5, which is no text'),
        ('1: 2\n', None, 'section names'),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(tmp_path, text)
    where = 'options.yml:' if line is None else f'options.yml:{line}:'
    assert where in str(caught.value) and message in str(caught.value)
    assert not Path('planted').exists()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / 'binary.yml').write_bytes(b'\xff\xfe\x00')
    for name, message in (('none.yml', 'No such file'), ('.', 'directory'), ('binary.yml', 'UTF-8')):
        with pytest.raises(OptionError, match=message):
            read_option_file(str(tmp_path / name))


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec='ascii'), max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain_values)
def test_what_is_written_is_read_back_by_us_and_by_the_host(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = str(tmp_path_factory.mktemp('written') / 'options.yml')
    write_option_file({'key': value}, path, ['made by', 'a test\nof two lines'])
    ours, hosts = read_option_file(path).options, host_reads(path)
    assert repr(ours) == repr({'key': value})
    assert ours == hosts
    assert Path(path).read_text().startswith('# made by\n# a test\n# of two lines\n')
    assert [item.name for item in Path(path).parent.iterdir()] == ['options.yml']


# ---- --force_yml ----


@pytest.mark.parametrize(
    'text, value',
    [
        ('none', None),
        ('None', None),
        ('~', None),
        ('null', None),
        ('True', True),
        ('false', False),
        ('12', 12),
        ('-3', -3),
        ('007', 7),
        ('0.25', 0.25),
        ('1e-4', 1e-4),
        ('!!float 1e3', 1000.0),
        ('[1, 2.5, null, true]', [1, 2.5, None, True]),
        ('Nonesuch', 'Nonesuch'),
        ("['a', 'b']", ['a', 'b']),
        ('[]', []),
        ('{type: EDSR, num_feat: 8, lr: 1e-3}', {'type': 'EDSR', 'num_feat': 8, 'lr': 1e-3}),
        ("'12'", '12'),
        ('datasets/Set5', 'datasets/Set5'),
        ('a=b', 'a=b'),
        ('yes', True),  # as in an option file
        ('', None),
        ('2024-01-01', '2024-01-01'),
        ('__import__("os").mkdir("planted")', '__import__("os").mkdir("planted")'),
    ],
)
def test_forced_values(tmp_path: Path, text: str, value: object) -> None:
    assert repr(forced(tmp_path, text)) == repr(value)


def forced(tmp_path: Path, text: str) -> Any:
    file = read(tmp_path, 'key: 1\n')
    force_options(file, [f'key={text}'])
    return file.options['key']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[1, 2', 'not valid YAML'),
        ('{a: 1', 'not valid YAML'),
        ("'text", 'not valid YAML'),
        ('!!float x', 'not valid YAML'),
        ('[__import__("os").mkdir("planted")', 'not valid YAML'),
        ('[!!python/name:os.system x]', 'plain values only'),
        ('{a: 1, a: 2}', "the key 'a' stands here and in line 1"),
    ],
)
def test_forced_values_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        forced(tmp_path, text)
    assert not Path('planted').exists()


def test_a_call_in_a_forced_list_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # BasicSR evaluates this.
    monkeypatch.chdir(tmp_path)
    assert forced(tmp_path, '[__import__("os").mkdir("planted")]') == ['__import__("os").mkdir("planted")']
    assert not Path('planted').exists()


def test_forcing_sets_nested_options(tmp_path: Path) -> None:
    file = read(tmp_path, 'name: a\ntrain:\n  ema: 0.9\n  optim: {lr: 1}\n')
    force_options(file, ['name=b', 'train:ema = 0.5', 'train:new=[1, 2]', 'train:optim={lr: 2}', 'train:optim:lr=1e-3'])
    assert file.options == {'name': 'b', 'train': {'ema': 0.5, 'optim': {'lr': 1e-3}, 'new': [1, 2]}}
    # Messages about forced options must not quote a line of the file.
    assert file.forced == {('name',), ('train', 'ema'), ('train', 'new'), ('train', 'optim'), ('train', 'optim', 'lr')}


def test_all_bad_forced_options_are_named(tmp_path: Path) -> None:
    file = read(tmp_path, 'name: a\ntrain: {ema: 0.9}\n')
    with pytest.raises(OptionError) as caught:
        force_options(file, ['name', ':a=1', 'trian:ema=1', 'name:x=1', 'train:ema:x=1', 'train:ema=[1'])
    message = str(caught.value)
    assert len(caught.value.problems) == 6
    for expected in (
        '--force_yml name: written as key=value',
        '--force_yml :a=1: written as key=value',
        "--force_yml trian:ema=1: there is no section 'trian'; did you mean 'train'?",
        "--force_yml name:x=1: 'name' is not a section",
        "--force_yml train:ema:x=1: 'train.ema' is not a section",
        '--force_yml train:ema=[1: not valid YAML',
    ):
        assert expected in message
    assert file.options == {'name': 'a', 'train': {'ema': 0.9}}


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_builds_on_another(tmp_path: Path) -> None:
    write(tmp_path, 'first.yml', 'name: first\nnetwork_g: {type: GSASR, encoder_opt: {type: EDSR}}\nscales: [2, 3]\n')
    write(tmp_path, 'second.yml', 'extends: first.yml\nname: second\nnetwork_g: {gaussian_density: 4}\n')
    path = write(tmp_path, 'own/c.yml', 'extends: ../second.yml\nscales: [4]\nnetwork_g:\n  encoder_opt: {type: RDN}\n')
    file = read_option_file(path)
    assert file.options == {
        'name': 'second',
        'network_g': {'type': 'GSASR', 'encoder_opt': {'type': 'RDN'}, 'gaussian_density': 4},
        'scales': [4],
    }
    assert file.lines['network_g', 'encoder_opt'] == 4 and ('name',) not in file.lines


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name: a\nextends: a.yml\n', r'a.yml:2: error: extends: a.yml builds on this file itself'),
        ('extends: [b.yml]\n', r'a.yml:1: error: extends names the option file that this one builds on'),
        ('name: a\nextends: b.yml\n', r'a.yml:2: error: extends: .*b.yml is not there'),
    ],
)
def test_a_base_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_option_file(write(tmp_path, 'a.yml', text))
