"""The JSON schema for editors and the table of options: fresh, and of the same mind as the check itself."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from basicsr.data import build_dataset  # noqa: F401 (fills the registries)

from gsasr_plugin.host.option_check import document, read_option_file
from gsasr_plugin.host.option_check.option_file import load_yaml
from tests.host.test_option_check import FAULTS_OF_THE_PLUGIN, changed

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / 'options').glob('*.yml'))
SCHEMA = json.loads((ROOT / 'options' / 'schema.json').read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def faults(options: dict[str, Any]) -> list[str]:
    """The places at which an editor underlines something, with what it says."""
    as_json = json.loads(json.dumps(options))
    return [f'{".".join(map(str, error.absolute_path))}: {error.message}' for error in VALIDATOR.iter_errors(as_json)]


def shipped(name: str) -> dict[str, Any]:
    return read_option_file(str(ROOT / 'options' / name)).options


def test_both_are_fresh() -> None:
    """Else: python -m gsasr_plugin.host.option_check.document."""
    texts = [json.dumps(document.schema(), indent=1) + '\n', document.markdown()]
    assert [(ROOT / path).read_text() == text for path, text in zip(document.FILES, texts)] == [True, True]


def test_both_are_written_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in document.FILES:
        path.parent.mkdir()
    document.main()
    assert [path.read_text() == (ROOT / path).read_text() for path in document.FILES] == [True, True]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
def test_shipped_files_name_the_schema_and_fit_it(path: Path) -> None:
    """As they stand, for an editor sees one file, and with their bases."""
    text = path.read_text()
    named = re.match(r'# yaml-language-server: \$schema=(\S+)\n', text)
    assert named is not None and (path.parent / named[1]).samefile(ROOT / 'options' / 'schema.json')
    assert faults(load_yaml(text)) == []
    assert faults(shipped(path.name)) == []


@pytest.mark.parametrize(
    ('name', 'value', 'place'),
    [
        ('nmae', 'x', ''),  # unknown keys of the top level are somebody's
        ('name', 5, 'name'),
        ('num_gpu', 'all', 'num_gpu'),
        ('manual_seed', -1, 'manual_seed'),
        ('datasets__train__lq_sise', 8, 'datasets.train'),
        ('datasets__train__lq_size', 0, 'datasets.train.lq_size'),
        ('datasets__train__lq_size', 0.5, 'datasets.train.lq_size'),
        ('datasets__train__scale_range', [0.5, 4], 'datasets.train.scale_range'),
        ('datasets__train__scale_range', [1, 2, 4], 'datasets.train.scale_range'),
        ('datasets__train__io_backend', {}, 'datasets.train.io_backend'),
        ('datasets__train__io_backend', {'type': 'memcached'}, 'datasets.train.io_backend.type'),
        ('datasets__train__degradation', 'heavy', 'datasets.train.degradation'),
        ('datasets__train__degradation', {'jpeg_range': [50, 101]}, 'datasets.train.degradation'),
        ('datasets__train__batch_size_per_gpu', 0, 'datasets.train.batch_size_per_gpu'),
        ('datasets__val__scales', [2, [1, 2, 3]], 'datasets.val.scales'),
        ('datasets__val_2', {'type': 'ArbitraryScalePairedDataset', 'scale': 2}, 'datasets.val_2'),
        ('datasets__valid', {}, 'datasets'),
        ('network_g__embed_dim', 0, 'network_g.embed_dim'),
        ('network_g__widow_size', 12, 'network_g'),
        ('network_g__gaussian_density', 5, 'network_g.gaussian_density'),
        ('network_g__raster_ratio', 0, 'network_g.raster_ratio'),
        ('network_g__encoder_opt__num_feet', 64, 'network_g.encoder_opt'),
        ('network_g__encoder_opt__num_block', 0, 'network_g.encoder_opt.num_block'),
        ('network_g__encoder_opt', {'type': 'SwinIR', 'num_block': 3}, 'network_g.encoder_opt'),
        ('path__pretrained_network_g', 'x', 'path'),
        ('path__pretrain_network_g', ['x'], 'path.pretrain_network_g'),
        ('train__total_iter', 2.5, 'train.total_iter'),
        ('train__grad_clp', 1, 'train'),
        ('train__grad_clip', 0, 'train.grad_clip'),
        ('train__ema_decay', 1.5, 'train.ema_decay'),
        ('train__optim_g__type', 'Adagrad', 'train.optim_g.type'),
        ('train__scheduler__type', 'StepLR', 'train.scheduler.type'),
        ('train__scheduler__milestone', [1], 'train.scheduler'),
        ('train__pixel_opt__reduction', 'none', 'train.pixel_opt.reduction'),
        ('val__tile', 'automatic', 'val.tile'),
        ('val__compare_bicubik', True, 'val'),
        ('val__metrics__psnr__crop_border', 'automatic', 'val.metrics.psnr.crop_border'),
        ('logger__keep_last', 0, 'logger.keep_last'),
        ('dist_params', {'prot': 1}, 'dist_params'),
    ],
)
def test_what_the_schema_refuses(name: str, value: Any, place: str) -> None:
    options = shipped('train_gsasr_edsr.yml')
    found = faults(changed(options, **{name: value}))
    assert {fault.split(': ')[0] for fault in found} == ({place} if place else set())


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('train__total_iter', 5e3),
        ('datasets__train__degradation', 'light'),
        ('datasets__train__degradation', {'preset': 'light', 'jpeg_range2': [75, 75]}),
        ('datasets__train__degradation', None),
        ('datasets__val__scales', [2, [2, 3.5]]),
        ('datasets__val__dataroot_lq', {2: 'a', 3.7: 'b'}),
        ('datasets__val_2', {'type': 'SomebodysDataset', 'anything': 1}),
        ('datasets__val_2', {'name': 'x', 'type': 'PairedImageDataset', 'gt_size': 4}),
        ('network_g', {'type': 'GSASR', 'from_pretrained': True}),
        ('network_g', {'type': 'SomebodysNetwork', 'anything': 1}),
        ('network_g__encoder_opt', {'type': 'SomebodysEncoder', 'anything': 1}),
        ('network_d', {'type': 'UNetDiscriminatorSN'}),
        ('path__pretrain_network_d', 'x.pth'),
        ('path__pretrain_network_g', ['encoder.pth', 'decoder.pth']),
        ('train__optim_g__type', 'AdamW'),
        ('train__optim_g__amsgrad', True),
        ('val__metrics__niqe', {'type': 'calculate_niqe', 'crop_border': 4}),
        ('val__metrics__mine', {'type': 'somebodys_metric', 'anything': 1}),
        ('val', None),
        ('model_type', 'SomebodysModel'),
    ],
)
def test_what_the_schema_accepts(name: str, value: Any) -> None:
    assert faults(changed(shipped('train_gsasr_edsr.yml'), **{name: value})) == []


def test_other_models_have_options_of_their_own() -> None:
    options = changed(shipped('train_gsasr_edsr.yml'), model_type='SRGANModel', train__gan_opt={'type': 'GANLoss'})
    assert faults(options) == []
    (fault,) = faults({**options, 'model_type': 'GSASRModel'})
    assert fault.startswith('train: ') and 'gan_opt' in fault


def test_a_file_that_extends_another_may_leave_anything_out() -> None:
    assert faults({'extends': 'train_gsasr_edsr.yml', 'val': {'save_img': True}}) == []
    (fault,) = faults({'extends': 7})
    assert fault.startswith('extends: ')
    assert len(faults({'name': 'x'})) == 5  # model_type, num_gpu, datasets, path and network_g


# What only the check knows: names in registries, files, what goes together, and values that no option can have.
BEYOND_A_SCHEMA = re.compile(
    r'dataroot|meta_info|_type$|network_g$|datasets__(train|val)$|persistent|cache_dir|weight_decay|pixel_opt$|^scale$'
    r"|degradation={'jpeg_range|val__degradation"
    r'|network_g__type|train__type|num_interaction_blocks=5000|num_block=10{9}|encoder_opt__type'
)


@pytest.mark.parametrize('fault', FAULTS_OF_THE_PLUGIN, ids=lambda fault: f'{fault[0]}={fault[1]}'[:60])
def test_the_schema_is_of_one_mind_with_the_check(gsasr_options: dict[str, Any], fault: tuple[Any, ...]) -> None:
    name, value, said, *_ = fault
    assert faults(gsasr_options) == []
    if said != 'missing' and not BEYOND_A_SCHEMA.search(name) and not BEYOND_A_SCHEMA.search(f'{name}={value}'):
        assert faults(changed(gsasr_options, **{name: value}))


def test_every_option_of_ours_has_a_sentence() -> None:
    unsaid = {
        f'{heading}: {name}'
        for heading, accepted in document.sections().items()
        for name, option in accepted.options.items()
        if not option.sentence
    }
    assert unsaid == set()
    text = (ROOT / 'docs' / 'options.md').read_text()
    assert '| `lq_size` | a whole number, at least 1 | `48` | train: side of the square LR patch' in text
    assert '| `raster_ratio` | a number, greater than 0 or null | `~` |' in text and 'None' not in text


def test_a_sentence_of_a_base_class_is_kept() -> None:
    val = copy.deepcopy(document.sections()['val, with GSASRModel'])
    assert 'half precision' in val.options['autocast'].sentence and 'side of the tiles' in val.options['tile'].sentence
