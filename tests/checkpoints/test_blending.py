"""Weights between those of two networks, in Python and on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gsasr_plugin
from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.blending import blend
from gsasr_plugin.checkpoints.model_file import save_model
from gsasr_plugin.commands import main


@pytest.fixture
def files(tmp_path: Path, net: GSASR) -> tuple[str, str]:
    """Two networks of one architecture, of random weights."""
    paths = (str(tmp_path / 'a.safetensors'), str(tmp_path / 'b.safetensors'))
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        other = GSASR(**net.options)
        for parameter in other.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        save_model(other, path)
    return paths


@pytest.mark.parametrize('alpha', [0, 0.25, 0.5, 1])
def test_weights_are_the_mean_by_float64(files: tuple[str, str], alpha: float) -> None:
    first, second = (gsasr_plugin.load(path).state_dict() for path in files)
    net = gsasr_plugin.blend(*files, alpha=alpha)
    assert not net.training and net.options == gsasr_plugin.load(files[0]).options
    for key, found in net.state_dict().items():
        exact = (1 - alpha) * first[key].numpy().astype(np.float64) + alpha * second[key].numpy().astype(np.float64)
        assert np.array_equal(found.numpy(), exact.astype(found.numpy().dtype)), key


@pytest.mark.parametrize(('alpha', 'steps'), [(0, 3), (0.5, 3), (0.51, 0), (1, 0)])
def test_it_draws_as_the_nearer_one(files: tuple[str, str], tmp_path: Path, alpha: float, steps: int) -> None:
    """At both ends the blend is that network, images and all."""
    consistent = str(tmp_path / 'consistent.safetensors')
    first = gsasr_plugin.load(files[0])
    other = GSASR(**{**first.options, 'consistency': 3})
    other.load_state_dict(first.state_dict())
    save_model(other, consistent)
    blended = gsasr_plugin.blend(consistent, files[1], alpha=alpha)
    assert blended.consistency == blended.options['consistency'] == steps
    if alpha in (0, 1):
        pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        images = [
            gsasr_plugin.upscale(pixels, scale=2, model=model, dtype='float32', device='cpu')
            for model in (blended, (consistent, files[1])[alpha])
        ]
        assert np.array_equal(*images)


def test_what_cannot_be_blended_is_named(files: tuple[str, str], tmp_path: Path, net: GSASR) -> None:
    other = str(tmp_path / 'other.safetensors')
    save_model(GSASR(**{**net.options, 'embed_dim': 16}), other)
    with pytest.raises(ValueError, match=rf'one architecture.*\n  embed_dim: 8 in {files[0]}, 16 in {other}$'):
        blend(files[0], other)
    with pytest.raises(ValueError, match=r'alpha is a number from 0 .* got 1\.5'):
        blend(*files, alpha=1.5)
    with pytest.raises(FileNotFoundError, match='none'):
        blend(files[0], str(tmp_path / 'none.safetensors'))


def test_the_command_draws_with_the_blend(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    picture, out = tmp_path / 'in.png', tmp_path / 'out.png'
    Image.fromarray(pixels).save(picture)
    command = ['upscale', str(picture), '-o', str(out), '--scale', '2', '--dtype', 'float32', '--device', 'cpu']
    assert main([*command, '--blend', *files, '--alpha', '0.25', '--alpha', 'keep']) == 0
    expected = gsasr_plugin.upscale(pixels, scale=2, model=blend(*files, 0.25), dtype='float32', device='cpu')
    assert np.array_equal(np.asarray(Image.open(out)), expected)
    for wrong, said in (
        (['--blend', *files, '--alpha', '2'], '--blend: alpha is a number from 0'),
        (['--blend', *files, '--model', files[0]], 'give one of --model and --blend'),
        (['--alpha', '0.5'], '--alpha 0.5 is the share of B'),
    ):
        out.unlink(missing_ok=True)
        assert main([*command, *wrong]) == 2
        assert said in capsys.readouterr().err and not out.exists()
