"""`gsasr benchmark cost`: stages, means, memory, files. Time is asserted on a clock of the test's own only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main
from tests.models.test_gsasr_model import options

SECTION: dict[str, Any] = options(Path())['network_g']
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / 'gt').mkdir()
    for name in 'abc':
        image = np.random.default_rng(ord(name)).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'gt' / f'{name}.png'), image)
    for name, section in (('gsasr', SECTION), ('edsr', EDSR)):
        content = {'name': name, 'network_g': section, 'path': {'pretrain_network_g': 'nowhere.pth'}}
        (tmp_path / f'{name}.yml').write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cost(*arguments: object) -> int:
    return main(['benchmark', 'cost', '--gt', 'gt', '--device', 'cpu', '--out', 'out', *map(str, arguments)])


def test_tables_and_chart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(GSASR(**{key: value for key, value in SECTION.items() if key != 'type'}), project / 'stored.safetensors')
    networks = ['gsasr.yml', 'edsr.yml', 'stored.safetensors']
    assert cost('--network', *networks, '--scales', 2, 3.7, '--warmup', 1) == 0
    stored = json.loads((project / 'out' / 'cost.json').read_text())
    rows = {(row['name'], row['scale']): row for row in stored['costs']}
    gsasr = 'gsasr (random weights)'
    # EDSR is of scale 2 only.
    assert set(rows) == {
        *((name, scale) for name in ('bicubic (CPU)', gsasr, 'stored') for scale in ('2', '3.7')),
        ('edsr (random weights)', '2'),
    }
    for (name, _), row in rows.items():
        times = row['milliseconds']
        assert row['images'] == 2 and times['total'] > 0
        if name in (gsasr, 'stored'):
            parts = [times[stage] for stage in ('encoder', 'decoder', 'rendering')]
            assert min(parts) > 0 and sum(parts) == pytest.approx(times['total'])
        else:
            assert set(times) == {'total'}
        assert row['dtype'] == 'float32'
        assert row['peak_bytes'] > row['added_bytes'] >= 0
    text = (project / 'out' / 'cost.md').read_text()
    assert 'the first 1 dropped' in text and capsys.readouterr().out in text
    assert text.count('| x2 |') == 4 and text.count('| x3.7 |') == 3
    chart = cv2.imread(str(project / 'out' / 'cost.png'))
    assert chart.shape[0] > 300 and len(np.unique(chart)) > 10


def test_half_precision_is_used_and_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    real = GSASR.render

    def render(self: GSASR, gaussians: Any, size: Any) -> Any:
        seen.add((torch.get_autocast_dtype('cpu'), torch.is_autocast_enabled('cpu'), gaussians.means.dtype))
        return real(self, gaussians, size)

    monkeypatch.setattr(GSASR, 'render', render)
    assert cost('--network', 'gsasr.yml', '--scales', 2, '--warmup', 1, '--dtype', 'bf16') == 0
    assert seen == {(torch.bfloat16, True, torch.float32)}
    stored = json.loads((project / 'out' / 'cost.json').read_text())
    assert [row['dtype'] for row in stored['costs']] == ['float32', 'bf16'] and ', bf16; ' in stored['conditions']
    assert '| x2 | gsasr (random weights) | bf16 |' in (project / 'out' / 'cost.md').read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--network', 'gsasr.yml', '--warmup', 3], '--warmup: 3 of 3 images warm up'),
        (['--network', 'nowhere.pth'], '--network: nowhere.pth: no network can be made of it'),
        (['--network', 'nowhere.yml'], 'the option file cannot be read'),
        (['--network', 'gsasr.yml', '--gt', 'nowhere'], "--gt: dataroot 'nowhere' is not a folder"),
        (['--network', 'gsasr.yml', '--dtype', 'fp16'], '--dtype: dtype fp16 is for CUDA devices'),
        (['--network', 'gsasr.yml', '--device', 'gpu!'], 'accepted: auto, cpu, cuda'),
        (
            ['--network', 'gsasr.yml', '--scales', 2, 49],
            '--scales: too large for some images: gt/a.png (x49)',
        ),
        (['--network', 'wrong.yml'], '--network: wrong.yml: no network can be made of it'),
    ],
)
def test_wrong_arguments_are_named(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
) -> None:
    (project / 'wrong.yml').write_text('{name: a, network_g: {type: Nothing}}')
    assert cost(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not (project / 'out').exists()
