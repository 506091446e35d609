"""The tables of a test: means, the paper's figures, and what a killed test keeps."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.loading import read_model
from gsasr_plugin.host.option_check.option_file import read_option_file
from gsasr_plugin.models.gsasr_options import GSASRValOptions
from gsasr_plugin.models.validation.image_values import FILE, ImageValues, ValuesFile, run_key
from gsasr_plugin.models.validation.paper_tables import METRICS, PaperRow, paper_cost, paper_figure, paper_row
from gsasr_plugin.models.validation.tables import (
    Mean,
    add_to_training_tables,
    markdown,
    means,
    paper_metric,
    write_test_tables,
)
from tests.models.test_gsasr_model import make_model
from tests.models.validation.photos import photos

PROTOCOL = {
    'psnr': {'type': 'calculate_psnr', 'crop_border': 'auto', 'test_y_channel': True},
    'lpips': {'type': 'calculate_lpips', 'crop_border': 'auto'},
}


@pytest.mark.parametrize(
    ('row', 'dataset', 'scale', 'figures', 'table'),
    [
        # One row of each of the paper's tables, read off the paper by eye.
        ('EDSR', 'DIV2K', '2', (36.65, 0.9495, 0.0767, 0.0514), 'main 1'),
        ('EDSR', 'lsdir', '30', (19.82, 0.4842, 0.7368, 0.4417), 'main 1'),
        ('RDN', 'DIV2K100', '30', (22.23, 0.6032, 0.6633, 0.4213), 'main 2'),
        ('EDSR', 'Urban100', '8', (23.09, 0.6480, 0.3754, 0.2515), 'appendix 1'),
        ('RDN', 'Manga109', '3', (34.26, 0.9507, 0.0596, 0.0488), 'appendix 2'),
        ('EDSR', 'B100', '12', (23.62, 0.5512, 0.6302, 0.3419), 'appendix 3'),
        ('RDN', 'General100', '4', (32.00, 0.8735, 0.1642, 0.1367), 'appendix 4'),
        ('EDSR', 'Set14', '12', (23.24, 0.5813, 0.5306, 0.3049), 'appendix 5'),
        ('RDN', 'Set5', '6', (29.52, 0.8441, 0.2265, 0.1967), 'appendix 6'),
        ('EDSR-9', 'DIV2K', '4', (30.86, 0.8482, 0.2523, 0.1303), 'appendix 8'),
    ],
)
def test_figures_of_the_paper(row: PaperRow, dataset: str, scale: str, figures: tuple[float, ...], table: str) -> None:
    found = [paper_figure(row, dataset, scale, metric) for metric in METRICS]
    assert [(f.value, f.table) for f in found if f] == [(figure, table) for figure in figures]


def test_every_row_of_the_paper_is_there_and_sound() -> None:
    """The sets and scales of the protocol, figures that fall with the scale, RDN hardly worse than EDSR."""
    sets = ('Set5', 'Set14', 'DIV2K100', 'Urban100', 'BSDS100', 'Manga109', 'General100', 'LSDIR')
    for dataset in sets:
        scales = ['2', '3', '4', '6', '8', '12'] + ['16', '18', '24', '30'] * (dataset in ('DIV2K100', 'LSDIR'))
        for metric, better in zip(METRICS, (1, 1, -1, -1), strict=True):
            values: dict[str, list[float]] = {}
            for row in ('EDSR', 'RDN'):
                figures = [paper_figure(row, dataset, scale, metric) for scale in scales]
                values[row] = [figure.value * better for figure in figures if figure]
                assert len(values[row]) == len(scales)
                assert values[row] == sorted(values[row], reverse=True), (row, dataset, metric)
            tolerance = 0.2 if metric == 'PSNR' else 0.01
            assert all(r > e - tolerance for r, e in zip(values['RDN'], values['EDSR'])), (dataset, metric)
        assert paper_figure('RDN', dataset, '3.7', 'PSNR') is None
    cost = paper_cost('RDN', '8')
    assert cost is not None and (cost.milliseconds, cost.megabytes) == (206, 1132)
    assert paper_cost('EDSR', '8') is None


OPTIONS = Path(__file__).parents[3] / 'options'
ROWS_OF_FILES: dict[str, PaperRow] = {
    'gsasr_edsr.yml': 'EDSR',
    'gsasr_edsr_density1.yml': 'EDSR-1',
    'gsasr_edsr_density4.yml': 'EDSR-4',
    'gsasr_edsr_density9.yml': 'EDSR-9',
    'gsasr_rdn.yml': 'RDN',
    'gsasr_rdn_lmdb.yml': 'RDN',
}


@pytest.mark.parametrize('path', sorted(OPTIONS.glob('*.yml')), ids=lambda path: path.name)
def test_rows_of_the_shipped_option_files(path: Path) -> None:
    """Only the paper's networks are compared with it: neither the enhanced ones, nor other encoders or gsasr-small."""
    network = read_option_file(str(path)).options['network_g']
    if network.pop('from_pretrained', False):
        network = read_model('gsasr-small').options
        assert network is not None and network['embed_dim'] == 48
    assert paper_row(network) == ROWS_OF_FILES.get(path.name.partition('_')[2])


@pytest.mark.parametrize(
    ('change', 'row'),
    [
        ({}, 'EDSR'),
        ({'type': 'GSASR', 'raster_ratio': 0.1, 'gaussian_density': 4}, 'EDSR-4'),  # how the authors drew when testing
        ({'embed_dim': 12, 'num_heads': 2}, None),
        ({'num_interaction_blocks': 1}, None),
        ({'closing_conv': True}, None),
        ({'encoder_opt': {'type': 'EDSR', 'num_feat': 8}}, None),
        ({'encoder_opt': {'type': 'EDSR', 'num_block': 32}}, None),
        ({'encoder_opt': {'type': 'RDN', 'config': 'B'}}, 'RDN'),
        ({'encoder_opt': {'type': 'RDN', 'config': 'A'}}, None),
        ({'encoder_opt': {'type': 'RDN', 'num_layer': 6}}, None),
        ({'encoder_opt': {'type': 'RDN'}, 'gaussian_density': 4}, None),
    ],
)
def test_a_row_is_of_the_very_network(change: dict[str, Any], row: PaperRow | None) -> None:
    assert paper_row({'encoder_opt': {'type': 'EDSR'}, **change}) == row
    # As a network that is built, or the authors' files, say it: every option and its value.
    section = {'encoder_opt': {'type': 'EDSR'}, **change}
    section.pop('type', None)
    with torch.device('meta'):
        assert paper_row(GSASR(**section).options) == row


def test_no_row_for_other_networks() -> None:
    assert paper_row({'type': 'EDSR', 'num_feat': 64, 'num_block': 16}) is None


@pytest.mark.parametrize(
    ('metric', 'name'),
    [
        (PROTOCOL['psnr'], 'PSNR'),
        ({**PROTOCOL['psnr'], 'test_y_channel': False}, None),
        ({**PROTOCOL['psnr'], 'crop_border': 4}, None),
        (PROTOCOL['lpips'], 'LPIPS'),
        ({**PROTOCOL['lpips'], 'net': 'vgg'}, None),
        ({'type': 'calculate_dists', 'crop_border': 'auto'}, 'DISTS'),
        ({'type': 'calculate_ssim', 'crop_border': 'auto', 'test_y_channel': True}, 'SSIM'),
        ({'type': 'calculate_ssim', 'crop_border': 'auto'}, None),
        ({'crop_border': 'auto'}, None),
        ({'type': 'calculate_niqe', 'crop_border': 'auto'}, None),
    ],
)
def test_only_the_papers_protocol_is_compared_with_the_paper(metric: dict[str, Any], name: str | None) -> None:
    assert paper_metric(metric) == name


def values() -> list[ImageValues]:
    return [
        ImageValues(dataset, scale, image, image, {'psnr': psnr, 'lpips': 0.5}, {'psnr': psnr - 1, 'lpips': 0.75})
        for dataset, scale, image, psnr in (
            ('Set5', '2', 'baby', 38.0),
            ('Set5', '2', 'bird', 39.0),
            ('Set5', '3.7', 'baby', 30.0),
            ('photos', '2', 'cat', 33.0),
        )
    ]


def test_files_in_the_papers_layout(tmp_path: Path) -> None:
    table = means(values(), PROTOCOL, row='EDSR')
    write_test_tables(tmp_path, values(), table, 'ours', 'EDSR')
    with (tmp_path / 'metrics.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(r['dataset'], r['scale'], r['images'], r['metric'], r['model'], r['paper']) for r in rows[:3]] == [
        ('Set5', '2', '2', 'psnr', '38.5', '38.33'),
        ('Set5', '2', '2', 'lpips', '0.5', '0.0517'),
        ('Set5', '3.7', '1', 'psnr', '30.0', ''),
    ]
    assert float(rows[0]['difference']) == pytest.approx(0.17)
    stored = json.loads((tmp_path / 'metrics.json').read_text())
    assert (stored['name'], stored['paper_row'], len(rows)) == ('ours', 'EDSR', 6)
    written = [{key: '' if value is None else str(value) for key, value in mean.items()} for mean in stored['means']]
    assert written == rows
    lines = (tmp_path / 'per_image.csv').read_text().splitlines()
    assert lines[0] == 'dataset,scale,image,metric,model,bicubic' and len(lines) == 1 + 2 * len(values())
    assert b'\r' not in (tmp_path / 'per_image.csv').read_bytes()
    text = (tmp_path / 'metrics.md').read_text()
    assert text == markdown(table, 'ours', 'EDSR')
    assert '### Set5, 2 images\n\n| Scale | Metric | bicubic | ours | over bicubic | paper, EDSR (appendix 5) |' in text
    assert '| x2 | psnr | 37.5000 | 38.5000 | +1.0000 | 38.3300 | +0.1700 |\n|  | lpips | 0.7500 | 0.5000 |' in text
    assert '| Scale | Metric | bicubic | ours | over bicubic |\n' in text  # of photos, which the paper does not know


def test_a_table_to_the_letter() -> None:
    table = [
        Mean('', 'Set5', '2', 2, 1, 'psnr', 38.5, 37.5, 38.33, 0.17, 'main 1'),
        Mean('', 'Set5', '2', 3, 0, 'lpips', 0.5, None, 0.0517, 0.4483, 'appendix 6'),
        Mean('', 'photos', '3.7', 1, 0, 'psnr', 30.0),
    ]
    assert (
        markdown(table, 'ours', 'EDSR')
        == """\
### Set5, 3 images

| Scale | Metric | bicubic | ours | over bicubic | paper, EDSR (appendix 6, main 1) | difference |
|---|---|---|---|---|---|---|
| x2 | psnr | 37.5000 | 38.5000 (2 of 3 images) | +1.0000 | 38.3300 | +0.1700 |
|  | lpips |  | 0.5000 |  | 0.0517 | +0.4483 |

### photos, 1 images

| Scale | Metric | ours |
|---|---|---|
| x3.7 | psnr | 30.0000 |
"""
    )


def test_a_training_keeps_all_values_and_shows_the_last(tmp_path: Path) -> None:
    def add(iteration: str, dataset: str, model: float, bicubic: float | None) -> None:
        add_to_training_tables(tmp_path, [Mean(iteration, dataset, '2', 3, 0, 'psnr', model, bicubic)], 'run')

    # A run that an earlier version began.
    (tmp_path / 'metrics.csv').write_text(
        'iteration,dataset,scale,images,metric,model,bicubic\n10,A,2,3,psnr,30.0,29.5\n'
    )
    add('10', 'B', 20.0, None)
    add('20', 'A', 31.0, 29.5)
    assert len((tmp_path / 'metrics.csv').read_text().splitlines()) == 4
    table = (tmp_path / 'metrics.md').read_text()
    assert '### A, 3 images, iteration 20\n\n| Scale | Metric | bicubic | run | over bicubic |' in table
    assert '| x2 | psnr | 29.5000 | 31.0000 | +1.5000 |' in table
    assert '### B, 3 images, iteration 10' in table and '| x2 | psnr | 20.0000 |\n' in table and '30.0000' not in table

    add('20', 'A', 32.0, 29.5)  # validated again after a resume
    lines = (tmp_path / 'metrics.csv').read_text().splitlines()
    assert len(lines) == 4 and lines[1] == '10,A,2,3,0,psnr,30.0,29.5' and lines[-1] == '20,A,2,3,0,psnr,32.0,29.5'


def test_values_of_other_weights_or_options_are_not_reused(tmp_path: Path) -> None:
    state = {'weight': torch.arange(4.0), 'half': torch.ones((), dtype=torch.bfloat16)}
    key = run_key(state, {'a': 1, 'pbar': True}, {3.7: 'x'})
    assert key == run_key({k: v.clone() for k, v in state.items()}, {'a': 1, 'pbar': False}, {3.7: 'x'})
    others = [
        run_key({**state, 'weight': torch.arange(4.0) + 1e-6}, {'a': 1}, {3.7: 'x'}),
        run_key({**state, 'weight': torch.arange(4.0).reshape(2, 2)}, {'a': 1}, {3.7: 'x'}),
        run_key(state, {'a': 2}, {3.7: 'x'}),
        run_key(state, {'a': 1}, {3.8: 'x'}),
    ]
    assert key not in others and len(set(others)) == 4
    assert run_key(state, {'a': 1, 'b': 2}) == run_key(state, {'b': 2, 'a': 1})
    assert run_key(state, {'a': Path('x')}) != run_key(state, {'a': Path('y')})

    for image in values():
        ValuesFile(tmp_path, key).add(image)
    with (tmp_path / FILE).open('a') as file:
        file.write('{"key": "cut sho')  # killed while writing
    other = dataclasses.replace(values()[0], image='of another process')
    ValuesFile(tmp_path, key, rank=1).add(other)
    assert ValuesFile(tmp_path, key).read('Set5') == [*values()[:3], other]
    assert ValuesFile(tmp_path, others[0]).read('Set5') == []
    assert ValuesFile(tmp_path, key).read('photos') == values()[3:]  # another set's values have stayed
    assert ValuesFile(tmp_path, key).read('Set5') == []


def test_every_option_that_may_change_a_value_or_a_picture_counts() -> None:
    """Tiles too: a tiled image differs where it was cut."""
    state = {'weight': torch.arange(4.0)}
    ours = {field.name for field in dataclasses.fields(GSASRValOptions)} - {'paper_row', 'keep_best'}
    names = {*ours, 'metrics', 'save_img', 'suffix', 'scales', 'dataroot_gt', 'dataroot_lq', 'quantize_lq'}
    assert {'tile', 'tile_overlap', 'memory_budget', 'autocast'} <= names
    keys = {run_key(state, {name: 1}) for name in names} | {run_key(state, {name: 2}) for name in names}
    assert len(keys) == 2 * len(names)
    neutral = ('pbar', 'paper_row', 'val_freq', 'cache', 'cache_dir', 'pin_memory', 'num_worker_per_gpu')
    assert {run_key(state, {name: 1}) for name in neutral} == {run_key(state, {})}


def test_a_killed_test_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the third of four images: the second run computes the last two, and its tables hold all four."""
    loader = photos(tmp_path, scales=(2, 2.7), phase='test')

    def model_of(name: str, weight: float = 0.0) -> Any:
        model = make_model(tmp_path)
        model.is_train = model.opt['is_train'] = False
        next(model.tested_net().parameters()).data += weight
        model.opt |= {'name': name, 'auto_resume': True}
        model.opt['path']['results_root'] = str(tmp_path)
        model.opt['val'] = {'metrics': {'psnr': PROTOCOL['psnr']}, 'compare_bicubic': True}
        return model

    def computed(model: Any, until: int = 99) -> int:
        count = 0
        feed = model.feed_data

        def feed_data(data: Any) -> None:
            nonlocal count
            if count == until:
                raise KeyboardInterrupt
            count += 1
            feed(data)

        monkeypatch.setattr(model, 'feed_data', feed_data)
        try:
            model.validation(loader, 'run', None, save_img=True)
        except KeyboardInterrupt:
            assert until < 99
        return count

    assert computed(model_of('run'), until=2) == 2
    assert not (tmp_path / 'metrics.csv').exists()
    done = sorted((tmp_path / 'visualization').rglob('*.png'))
    assert len(done) == 2
    done[0].unlink()  # a value without its picture is of no use
    assert computed(model_of('run')) == 3
    first = (tmp_path / 'per_image.csv').read_text()
    assert len(first.splitlines()) == 5
    assert computed(model_of('run')) == 0
    assert (tmp_path / 'per_image.csv').read_text() == first
    assert computed(model_of('run', weight=1e-3)) == 4  # other weights
    loader.dataset.opt['quantize_lq'] = False
    assert computed(model_of('run', weight=1e-3)) == 4  # other images


@pytest.mark.slow
def test_a_killed_test_draws_the_grids_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two scales with three images each, two of which are shown; killed at the fifth, the second of x2.7."""
    loader = photos(tmp_path, ('a', 'b', 'c'), scales=(2, 2.7), phase='test')

    def run(folder: str, until: int = 99, weight: float = 0.0) -> list[str]:
        """The images that are computed: scale and name."""
        model = make_model(tmp_path / folder)
        model.is_train = model.opt['is_train'] = False
        next(model.tested_net().parameters()).data += weight
        model.opt |= {'name': 'run', 'auto_resume': True}
        model.opt['path']['results_root'] = str(tmp_path / folder)
        model.opt['val'] = {'metrics': {'psnr': PROTOCOL['psnr']}, 'grids': 2}
        computed: list[str] = []
        feed = model.feed_data

        def feed_data(data: Any) -> None:
            if len(computed) == until:
                raise KeyboardInterrupt
            computed.append(f'x{data["nominal_scale"][0, 0].item():g} {data["name"][0]}')
            feed(data)

        monkeypatch.setattr(model, 'feed_data', feed_data)
        with pytest.raises(KeyboardInterrupt) if until < 99 else nullcontext():
            model.validation(loader, 'run', None, save_img=False)
        return computed

    def grids(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((tmp_path / folder).rglob('grids/*.png'))}

    for folder in ('whole', 'killed'):
        (tmp_path / folder).mkdir()
    run('whole')
    expected = grids('whole')
    assert list(expected) == ['x2.7_run.png', 'x2_run.png']
    run('killed', until=4)
    assert list(grids('killed')) == ['x2_run.png']
    assert run('killed') == ['x2.7 a', 'x2.7 b', 'x2.7 c']  # a again, for its grid
    assert grids('killed') == expected
    assert run('killed') == [] and grids('killed') == expected
    (tmp_path / 'killed' / 'visualization' / 'photos' / 'grids' / 'x2_run.png').unlink()
    assert run('killed') == ['x2 a', 'x2 b'] and grids('killed') == expected
    # The grids of other weights are not taken for those of a run that is killed.
    assert len(run('killed', until=1, weight=0.1)) == 1 and grids('killed') == {}
    assert len(run('killed', weight=0.1)) == 6
    others = grids('killed')
    assert list(others) == list(expected) and others != expected


def test_a_named_row_of_the_paper_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for row, columns in ((None, None), ('RDN', 'RDN'), ('none', None)):
        model = make_model(tmp_path)
        model.is_train = model.opt['is_train'] = False
        model.opt['path']['results_root'] = str(tmp_path)
        model.opt['val'] = {'metrics': {'psnr': PROTOCOL['psnr']}, 'paper_row': row}
        caplog.clear()
        with caplog.at_level(logging.INFO, logger='basicsr'):
            model.validation(photos(tmp_path, scales=[2], name='DIV2K', phase='test'), 'run', None, save_img=False)
        assert json.loads((tmp_path / 'metrics.json').read_text())['paper_row'] == columns
        assert ('| paper, RDN (main 2) | difference |' in caplog.text) == (columns is not None)
