"""`gsasr check-data` of pairs: those that do not lie upon each other are named, and left out of the list."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gsasr_plugin.commands.main import main
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit
from gsasr_plugin.data.pair_check import misplaced


def test_shifted_pairs_are_named(tmp_path: Path, photograph: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    """By how much, to a fifth of a pixel: the estimate compares different blurs."""
    gt = photograph[20:260, 30:330]
    shifts = {'a': (0, 0), 'b': (6, -9), 'c': (0, 1.5), 'alone': None}  # GT pixels, of which three are an LR pixel
    for name, shift in shifts.items():
        (tmp_path / 'gt').mkdir(exist_ok=True)
        (tmp_path / 'lq').mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / 'gt' / f'{name}.png'), to_8_bit(gt)[..., ::-1])
        if shift is not None:
            moved = cv2.warpAffine(photograph, np.array([[1, 0, shift[1]], [0, 1, shift[0]]], float), (451, 300))
            lq = resize_bicubic(cv2.GaussianBlur(moved, (0, 0), 2)[20:260, 30:330], (80, 100))
            assert cv2.imwrite(str(tmp_path / 'lq' / f'{name}.png'), to_8_bit(lq)[..., ::-1])
    roots = [str(tmp_path / 'gt'), '--lq', str(tmp_path / 'lq')]
    listing = tmp_path / 'usable.txt'
    assert main(['check-data', *roots, '--list', str(listing)]) == 1
    lines = capsys.readouterr().out.splitlines()
    (shifted,) = [line for line in lines if 'is shifted against' in line]
    assert 'lq/b.png is shifted against' in shifted
    rows, columns = (float(word) for word in shifted.split(' by ')[-1].split() if word[-1].isdigit())
    assert abs(rows - 2) <= 0.2 and abs(columns + 3) <= 0.2
    assert any('without an LR image' in line and 'alone.png' in line for line in lines)
    assert lines[-1] == f'{tmp_path / "gt"}: 2 sound pairs, 2 faults'
    assert listing.read_text() == 'a.png\nc.png\n'
    options = tmp_path / 'opt.yml'
    section = f'dataroot_gt: {roots[0]}\n    dataroot_lq: {roots[2]}\n    meta_info_file: {listing}\n'
    options.write_text(f'datasets:\n  train:\n    name: pairs\n    {section}')
    assert main(['check-data', '--opt', str(options)]) == 0
    assert 'pairs: 2 sound pairs, 0 faults' in capsys.readouterr().out


def test_small_noisy_and_flat_pairs_are_not_called_shifted(photograph: np.ndarray) -> None:
    """Sound ones: noise of five levels, of a photograph and of grey. What is compared finds shifts all the same."""
    rng = np.random.default_rng(0)
    grey = photograph.mean(-1)
    for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        for _ in range(20):
            top, left = (int(rng.integers(8, length - 2 * n - 8)) for length in grey.shape)
            gt = resize_bicubic(grey[top : top + 2 * n, left : left + 2 * n], (n, n))
            noise = rng.normal(0, 0.02, (n, n)).astype(np.float32)
            assert misplaced(gt, gt + noise) is None
            assert misplaced(np.full_like(gt, 0.5), 0.5 + noise) is None
            if n >= 48:
                moved = resize_bicubic(grey[top + 6 : top + 6 + 2 * n, left - 8 : left - 8 + 2 * n], (n, n))
                said = misplaced(gt, moved)
                assert said is not None and 'is shifted against {} by -' in said
                rows, columns = (float(word) for word in said.split() if word[-1].isdigit())
                assert abs(rows + 3) <= 0.5 and abs(columns - 4) <= 0.5  # other things come in at the edges


def test_another_picture_is_named(tmp_path: Path, photograph: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, image in (('gt', photograph[100:260, 30:190]), ('lq', photograph[::-1][100:180, 200:280])):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / 'a.png'), to_8_bit(image)[..., ::-1])
    assert main(['check-data', str(tmp_path / 'gt'), '--lq', str(tmp_path / 'lq')]) == 1
    said = capsys.readouterr().out
    assert 'a.png shows something else than' in said


def test_the_list_holds_the_pairs_that_can_be_read(
    tmp_path: Path, photograph: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the roots of --lq, whatever the data sets of option files beside them hold."""
    gt, lq, other = (tmp_path / name for name in ('gt', 'lq', 'other'))
    for folder, size in ((gt, (80, 100)), (lq, (40, 50)), (other, (40, 50))):
        folder.mkdir()
        for name in ('torn', 'whole'):
            assert cv2.imwrite(str(folder / f'{name}.png'), to_8_bit(resize_bicubic(photograph, size))[..., ::-1])
    (lq / 'torn.png').write_bytes((lq / 'torn.png').read_bytes()[:600])
    options, listing = tmp_path / 'opt.yml', tmp_path / 'usable.txt'
    options.write_text(f'datasets:\n  train:\n    name: pairs\n    dataroot_gt: {gt}\n    dataroot_lq: {other}\n')
    arguments = ['check-data', str(gt), '--lq', str(lq), '--opt', str(options), '--list', str(listing)]
    assert main(arguments) == 1
    told = capsys.readouterr().out.splitlines()[-2:]
    assert told == [f'{gt}: 1 sound pairs, 0 faults', 'pairs: 2 sound pairs, 0 faults']
    assert listing.read_text() == 'whole.png\n'


def test_arguments_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'names.txt').write_text('precious')
    for arguments, message in (
        (['a', '--lq', 'b', '--list', str(tmp_path / 'none' / 'f')], f'f: there is no folder {tmp_path / "none"}'),
        (['a', '--lq', 'b', '--list', str(tmp_path)], 'is a folder'),
        (['a', '--lq', 'b', '--list', str(tmp_path / 'names.txt')], 'names.txt exists; --overwrite replaces it'),
        (['a', 'b', '--lq', 'c'], '--lq goes with one root'),
        (['a', '--list', 'f'], '--list goes with'),
    ):
        assert main(['check-data', *arguments]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / 'names.txt').read_text() == 'precious'
