"""Reading weights from files without running anything that a file says: torch's weights-only loader, or safetensors."""

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsasr_plugin.checkpoints import PARAMETER_KEYS

StateDict = Mapping[str, Any]
StateSource = StateDict | str | os.PathLike[str]

WRAPPER = 'module.'  # what DistributedDataParallel puts in front of every key


def read_state_dict(
    source: StateSource, *, name: str | None = None, param_keys: Sequence[str] = PARAMETER_KEYS
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a network, by key, and a name of their source for messages.

    Args:
        source: a state dict or the path of a file (`.safetensors`, else what `torch.save` wrote). The tensors may lie
            under one of `param_keys`, and their keys begin with `module.`.
        name: what messages call it; None for the path.
        param_keys: the first of them that is there is taken.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read safely, what it holds is not a state dict, or some numbers are not finite.
    """
    if name is None:
        name = 'the given state dict' if isinstance(source, Mapping) else str(source)
    held = source if isinstance(source, Mapping) else read_file(Path(source))
    for key in param_keys:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held, name = held[key], f'{name} [{key}]'
            break
    else:
        others = weights_keys(held)
        if others:
            raise ValueError(
                f'{name} holds weights under {" and ".join(others)} only; asked for are those under '
                f'{" or ".join(dict.fromkeys(param_keys))}'
            )
    if not isinstance(held, Mapping):
        raise ValueError(f'{name} holds {type(held).__name__}; a state dict, a mapping of keys to tensors, is needed')
    if not held:
        raise ValueError(f'{name} is empty; a state dict, a mapping of keys to tensors, is needed')
    for key, value in held.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f'{name} holds {type(value).__name__} under the key {key!r}; tensors are needed, at the top or under '
                f'{" or ".join(dict.fromkeys(param_keys))}'
            )
    state = {key.removeprefix(WRAPPER): value.detach().cpu() for key, value in held.items()}
    _check_finite(state, name)
    return state, name


def weights_keys(held: Any) -> list[str]:
    """The keys of a file under which there are weights, where these do not lie at the top."""
    if not isinstance(held, Mapping):
        return []
    return [
        key
        for key, value in held.items()
        if isinstance(value, Mapping) and value and all(isinstance(tensor, Tensor) for tensor in value.values())
    ]


def check_fit(state: Mapping[str, Tensor], name: str, expected: Mapping[str, Tensor]) -> None:
    """Compares a state dict, called `name`, with that of the network which it is for.

    Args:
        expected: the network's own; of its tensors only the shapes count.

    Raises:
        ValueError: they differ in keys or sizes; the message lists them.
    """
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    sizes = [
        f'{key} {tuple(state[key].shape)} (in the network {tuple(tensor.shape)})'
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    found = (('lacks', missing), ('has what the network has not', unknown), ('is of another size in', sizes))
    lines = [f'\n  {what}: {_first(keys)}' for what, keys in found if keys]
    if lines:
        raise ValueError(f'{name} does not fit the network:{"".join(lines)}')


def _first(keys: Sequence[str], limit: int = 8) -> str:
    more = f' and {len(keys) - limit} more' if len(keys) > limit else ''
    return ', '.join(keys[:limit]) + more


def _check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """A network with one such number gives nothing but NaN, and can never be trained to give anything else."""
    bad = [
        f'{key} ({int(tensor.numel() - tensor.isfinite().sum())} of {tensor.numel()} numbers)'
        for key, tensor in state.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    if bad:
        raise ValueError(f'{name} is refused: NaN or infinity in {_first(bad)}')


def read_file(path: Path) -> Any:
    """What a file holds, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another format, or holds more than tensors and plain containers.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        # The rest of torch's message recommends to read the file without this check.
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        reason = next((line for line in lines if line and not line.startswith(('Please', 'Check'))), 'no pickle')
        raise ValueError(
            f'{path} is refused: it is damaged, or holds objects other than tensors and plain containers, which could '
            f'run code ({reason.split(" Please")[0]})'
        ) from error
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ValueError(f'{path} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error
