"""The authors' released state dicts to modules of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.encoders import Encoder, build_encoder
from gsasr_plugin.checkpoints.official.decoder import DECODER
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.official.released_networks import (
    OfficialCheckpointError,
    ReleasedNetwork,
    fill,
    recognise,
)
from gsasr_plugin.checkpoints.official.shapes import Shapes
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS, StateSource, read_state_dict


class _Released:
    """A state dict that was read and recognised.

    Attributes:
        options: our options for its network.
    """

    def __init__(
        self, source: StateSource, kinds: tuple[ReleasedNetwork, ...], param_keys: Sequence[str] = PARAMETER_KEYS
    ) -> None:
        self.state, self.name = read_state_dict(source, param_keys=param_keys)
        self.kind = recognise(self.state, kinds, self.name)
        options = self.kind.options(Shapes(self.state))
        self.options: dict[str, Any] = options if self.kind is DECODER else {'type': self.kind.name, **options}

    def fill(self, net: nn.Module) -> None:
        fill(net, self.kind, self.state, self.name)


def encoder_from_official(state_dict: StateSource) -> Encoder:
    """A released encoder: EDSR, RDN, SwinIR or HAT-L with RoPE, of the sizes that its tensors have.

    Args:
        state_dict: the state dict under the released keys, bare or under `params_ema` or `params`, or the path of a
            file that holds it (`encoder.pth`, `net_g_<iter>.pth`, or safetensors).

    Returns:
        A module in evaluation mode that maps images B x 3 x h x w (RGB in 0..1, h and w multiples of its `multiple`) to
        features B x C x h x w.

    Raises:
        OfficialCheckpointError: the dict is none of the four, or not complete; the message lists what is missing and
            unexpected.
        FileNotFoundError, ValueError: see `read_state_dict`.
    """
    released = _Released(state_dict, ENCODERS)
    encoder = _build(released.name, build_encoder, released.options)
    released.fill(encoder.net)
    return encoder.eval()


def decoder_from_official(state_dict: StateSource) -> GaussianDecoder:
    """A released Gaussian decoder, of the paper or enhanced, of the sizes that its tensors have.

    Args:
        state_dict: as for `encoder_from_official` (`decoder.pth`, `net_fea2gs_<iter>.pth`).

    Returns:
        A module in evaluation mode that maps features (B, C, h, w), h and w multiples of its `window_size`, and the
        factors s (B,) to `Gaussians` in LR pixels.

    Raises:
        OfficialCheckpointError: the dict is no decoder, or not complete; the message lists what is missing and
            unexpected.
        FileNotFoundError, ValueError: see `read_state_dict`.
    """
    released = _Released(state_dict, (DECODER,))
    decoder = _build(released.name, lambda options: GaussianDecoder(**options), released.options)
    released.fill(decoder)
    return decoder.eval()


def gsasr_from_official(
    encoder: StateSource, decoder: StateSource, *, param_keys: Sequence[str] = PARAMETER_KEYS
) -> GSASR:
    """A released model: its two state dicts in one network.

    Args:
        encoder: as for `encoder_from_official`.
        decoder: as for `decoder_from_official`.
        param_keys: where their tensors may lie; the first key that is there is taken.

    Returns:
        The network in evaluation mode; its attribute `options` holds the `network_g` section that builds it.

    Raises:
        OfficialCheckpointError: one is not what it should be, or the two do not belong together.
        FileNotFoundError, ValueError: see `read_state_dict`.
    """
    try:
        released_encoder = _Released(encoder, ENCODERS, param_keys)
        released_decoder = _Released(decoder, (DECODER,), param_keys)
    except OfficialCheckpointError as error:
        _say_if_exchanged(encoder, decoder, error)
        raise
    options = dict(released_decoder.options)
    taken = options.pop('num_features')
    net = _build(
        f'{released_encoder.name} and {released_decoder.name}',
        lambda options: GSASR(**options),
        {'encoder_opt': released_encoder.options, **options},
    )
    released_encoder.fill(net.encoder.net)
    if net.encoder.num_features != taken:
        raise OfficialCheckpointError(
            f'{released_encoder.name} gives {net.encoder.num_features} features and {released_decoder.name} takes '
            f'{taken}: the two do not belong together'
        )
    released_decoder.fill(net.decoder)
    return net.eval()


def _say_if_exchanged(encoder: StateSource, decoder: StateSource, error: OfficialCheckpointError) -> None:
    """Raises another error where each of the two files is what the other should be."""
    try:
        _Released(encoder, (DECODER,))
        _Released(decoder, ENCODERS)
    except ValueError:
        return
    raise OfficialCheckpointError(
        f'the given decoder and encoder may have been exchanged: {error}',
        missing=error.missing,
        unexpected=error.unexpected,
    ) from error


def _build(source: str, build: Any, options: dict[str, Any]) -> Any:
    try:
        return build(options)
    except ValueError as error:
        raise OfficialCheckpointError(f'{source} has tensors of sizes that no network has: {error}') from error
