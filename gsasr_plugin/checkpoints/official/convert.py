"""The authors' released state dicts to modules of ours."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.official.decoder import DECODER
from gsasr_plugin.checkpoints.official.encoder import ENCODERS
from gsasr_plugin.checkpoints.official.released_networks import (
    OfficialCheckpointError,
    ReleasedNetwork,
    listed,
    recognise,
)
from gsasr_plugin.checkpoints.official.shapes import Shapes
from gsasr_plugin.checkpoints.official.unused_keys import unused_key
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS, StateSource, read_state_dict


class ReleasedState:
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
        """Loads the state dict into a network that was built with its options; every key must be used or redundant.

        Raises:
            OfficialCheckpointError: keys are missing, unexpected or of a wrong shape; the message lists them.
        """
        targets = net.state_dict()
        places = {key: self.kind.place(key) for key in targets}
        used = dict.fromkeys(key for place in places.values() for key in place.keys)
        missing = [key for key in used if key not in self.state]
        unexpected = [key for key in self.state if key not in used and unused_key(self.kind.name, key) is None]
        faults = []
        if missing:
            faults.append(f'missing: {listed(missing)}')
        if unexpected:
            faults.append(f'unexpected: {listed(unexpected)}')

        ours: dict[str, Tensor] = {}
        unfit = []
        for key, place in places.items():
            given = [self.state[released] for released in place.keys if released in self.state]
            if len(given) < len(place.keys):
                continue
            try:
                ours[key] = place.convert(*given)
                fits = ours[key].shape == targets[key].shape
            except (RuntimeError, IndexError):
                fits = False
            if not fits:
                shapes = ', '.join(f'{name} {tuple(tensor.shape)}' for name, tensor in zip(place.keys, given))
                unfit.append(f'{shapes} (for {tuple(targets[key].shape)})')
        if unfit:
            faults.append(f'of a shape that does not fit the other tensors: {listed(unfit)}')
        if faults:
            text = f'{self.name} is no complete {self.kind.title}; {"; ".join(faults)}'
            raise OfficialCheckpointError(text, missing=missing, unexpected=unexpected)
        net.load_state_dict(ours)
        self._warn_of_surprises()

    def _warn_of_surprises(self) -> None:
        """Says which redundant tensors are not what makes them redundant."""
        surprises: dict[str, list[str]] = {}
        for key, tensor in self.state.items():
            entry = unused_key(self.kind.name, key)
            if entry is not None and entry.follows is not None and not entry.follows(key, tensor):
                surprises.setdefault(entry.reason, []).append(key)
        for reason, keys in surprises.items():
            warnings.warn(f'{self.name}: left out are {reason}; but these are not: {listed(keys)}', stacklevel=4)


def gsasr_from_official(
    encoder: StateSource, decoder: StateSource, *, param_keys: Sequence[str] = PARAMETER_KEYS
) -> GSASR:
    """A released model: its two state dicts in one network.

    Args:
        encoder: the state dict of EDSR, RDN, SwinIR or HAT-L with RoPE under the released keys, bare or under
            `params_ema` or `params`, or the path of a file that holds it (`encoder.pth`, `net_g_<iter>.pth`, or
            safetensors).
        decoder: that of the paper's or the enhanced decoder (`decoder.pth`, `net_fea2gs_<iter>.pth`).
        param_keys: where their tensors may lie; the first key that is there is taken.

    Returns:
        The network in evaluation mode; its attribute `options` holds the `network_g` section that builds it.

    Raises:
        OfficialCheckpointError: one is not what it should be, or the two do not belong together.
        FileNotFoundError, ValueError: see `read_state_dict`.
    """
    try:
        released_encoder = ReleasedState(encoder, ENCODERS, param_keys)
        released_decoder = ReleasedState(decoder, (DECODER,), param_keys)
    except OfficialCheckpointError as error:
        _say_if_exchanged(encoder, decoder, error)
        raise
    options = dict(released_decoder.options)
    taken = options.pop('num_features')
    net = built(
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
        ReleasedState(encoder, (DECODER,))
        ReleasedState(decoder, ENCODERS)
    except ValueError:
        return
    raise OfficialCheckpointError(
        f'the given decoder and encoder may have been exchanged: {error}',
        missing=error.missing,
        unexpected=error.unexpected,
    ) from error


def built(source: str, build: Any, options: dict[str, Any]) -> Any:
    """What `build` makes of options that were read from tensors.

    Raises:
        OfficialCheckpointError: nothing.
    """
    try:
        return build(options)
    except ValueError as error:
        raise OfficialCheckpointError(f'{source} has tensors of sizes that no network has: {error}') from error
