"""`gsasr curves`: what runs logged, resumed ones too, in one picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from gsasr_plugin.commands import main
from gsasr_plugin.upscaling.visuals.curves import Curve, read_curve


def log(folder: Path, values: dict[int, float], wall_time: float) -> None:
    with SummaryWriter(str(folder)) as writer:
        for iteration, value in values.items():
            writer.add_scalar('losses/l_pix', value, iteration, walltime=wall_time + iteration)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    log(tmp_path / 'with', {i: 0.4 / i for i in range(1, 21)}, 1000)
    log(tmp_path / 'without', dict.fromkeys(range(1, 16), 0.4), 1000)
    log(tmp_path / 'without', dict.fromkeys(range(11, 21), 0.3), 2000)  # killed at 15, resumed from 10
    return tmp_path


def test_a_resumed_run_is_one_curve(runs: Path) -> None:
    curve = read_curve('without', runs / 'without', 'losses/l_pix')
    assert curve.iterations.tolist() == list(range(1, 21))
    assert curve.values == pytest.approx([0.4] * 10 + [0.3] * 10)


def test_means_of_successive_values() -> None:
    curve = Curve('a', np.arange(1, 8), np.array([1.0, 2, 3, 4, 5, 6, 7])).smoothed(3)
    assert curve.iterations.tolist() == [2, 5] and curve.values.tolist() == [2, 5]


def test_both_curves_are_drawn(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f'p + o={runs / "with"}', str(runs / 'without'), '--smooth', '2', '--out', str(runs / 'a' / 'c.png')]
    assert main(['curves', *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == ['p + o: 0.3 at 2, 0.02053 at 20', 'without: 0.4 at 2, 0.3 at 20']
    picture = cv2.imread(str(runs / 'a' / 'c.png')).astype(int)
    blue, orange = ((abs(picture - color).sum(2) < 30).any(0) for color in ((180, 119, 31), (14, 127, 255)))
    assert blue.sum() > 300 and orange.sum() > 300  # matplotlib's first two colours, across the picture


def test_values_as_numbers(runs: Path) -> None:
    assert (
        main(['curves', str(runs / 'with'), f'o={runs / "without"}', '--smooth', '10', '--out', str(runs / 'c.csv')])
        == 0
    )
    mean = sum(0.4 / i for i in range(1, 11)) / 10
    assert (runs / 'c.csv').read_text().splitlines() == [
        'run,tag,iteration,value',
        f'with,losses/l_pix,5.5,{mean:.6g}',
        f'with,losses/l_pix,15.5,{sum(0.4 / i for i in range(11, 21)) / 10:.6g}',
        'o,losses/l_pix,5.5,0.4',
        'o,losses/l_pix,15.5,0.3',
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere', '--out', 'a.png'], 'nowhere: no folder of tensorboard'),
        (['with', '--tag', 'losses/l_pxi', '--out', 'a.png'], "no value 'losses/l_pxi'; it has losses/l_pix"),
        (['with', '--smooth', '21', '--out', 'a.png'], '--smooth: with has 20 values, fewer than 21'),
        (['with', '--out', 'a.txt'], '--out: a.txt does not end in .png or .csv'),
    ],
)
def test_wrong_arguments_are_named(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(runs)
    assert main(['curves', *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (runs / 'a.png').exists()
