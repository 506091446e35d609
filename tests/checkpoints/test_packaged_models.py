"""The models that come with this package are what their cards say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import yaml
from basicsr.metrics import calculate_psnr
from safetensors.torch import load_file

from gsasr_plugin import GSASR, upscale
from gsasr_plugin.checkpoints.loading import read_model
from gsasr_plugin.checkpoints.packaged import DEFAULT_MODEL, packaged_models
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.degradation.options import DegradationOptions
from gsasr_plugin.data.degradation.process import Degradation
from gsasr_plugin.data.eight_bit import to_8_bit, to_float
from gsasr_plugin.packaged_files import packaged_files
from gsasr_plugin.sizes import Size, protocol_sizes

MODELS = packaged_models()


def card(model: Path) -> str:
    return model.with_suffix('.md').read_text()


def test_the_default_is_there() -> None:
    assert DEFAULT_MODEL in MODELS


@pytest.mark.parametrize('model', MODELS.values(), ids=MODELS)
def test_the_file_is_the_one_of_its_card(model: Path) -> None:
    text = card(model)
    assert re.findall(r'SHA-256 \| `(\w+)`', text) == [hashlib.sha256(model.read_bytes()).hexdigest()]
    described = yaml.safe_load(re.search(r'```yaml\n(.*?)```', text, re.S)[1])['network_g']
    stored = read_model(model.stem).options
    assert described == {key: stored[key] for key in described}
    defaults = GSASR(encoder_opt=described['encoder_opt']).options
    # A file that is older than an option has it as it is by default.
    assert {**defaults, **stored} == {**defaults, **described}


@pytest.mark.parametrize('model', MODELS.values(), ids=MODELS)
def test_it_is_small(model: Path) -> None:
    tensors = load_file(model)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in tensors.values()) <= 2e6
    assert model.stat().st_size <= 4e6


def chelsea_at_x3(model: Path, table: str) -> list[float]:
    """PSNR of the model and of bicubic, in the card's table whose first cell is this."""
    scales, rows = re.search(rf'\| {table} \|(.*)\|\n((?:\|.*\n)*)', card(model)).groups()
    cells = re.search(r'\| chelsea \|(.*)\|', rows)[1].split('|')
    return [float(text) for text in cells[[text.strip() for text in scales.split('|')].index('x3')].split('/')][:2]


def psnr_at_x3(model: Path, make_lq: Callable[[np.ndarray, Size], np.ndarray]) -> list[float]:
    """PSNR of the model, with float32, and of bicubic, of one photograph and the LR image that is made of it."""
    gt = skimage.data.chelsea()
    lq_size, size = protocol_sizes(gt.shape[:2], (3, 3))
    gt = gt[: size[0], : size[1]]
    lq = to_8_bit(make_lq(to_float(gt), lq_size))
    made = upscale(lq, size=size, model=model.stem, dtype='float32', device='cpu')
    bicubic = to_8_bit(resize_bicubic(to_float(lq), size))
    return [
        calculate_psnr(image[..., ::-1], gt[..., ::-1], crop_border=3, test_y_channel=True) for image in (made, bicubic)
    ]


# Processors differ in the last digits.
TOLERANCE_DB = 0.02


@pytest.mark.parametrize('model', MODELS.values(), ids=MODELS)
def test_psnr_is_what_the_card_says(model: Path) -> None:
    assert np.allclose(psnr_at_x3(model, resize_bicubic), chelsea_at_x3(model, 'photograph'), atol=TOLERANCE_DB)


def test_psnr_on_a_jpeg_is_what_the_card_says() -> None:
    """The LR image is that of options/test_gsasr_small_real.yml, whose head says how it is made."""
    model = MODELS['gsasr-small-real']
    head = packaged_files()['test_gsasr_small_real.yml'].read_text().replace('\n#', '')
    degradation = Degradation(DegradationOptions.of(yaml.safe_load(re.search(r"'(\{.*?\})'", head)[1])))
    values = psnr_at_x3(model, lambda gt, size: degradation(np.random.default_rng(0), gt, size))
    assert np.allclose(values, chelsea_at_x3(model, 'JPEG'), atol=TOLERANCE_DB)
    assert values[0] > values[1]
