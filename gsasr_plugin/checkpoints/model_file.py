"""The self-describing file of a model: weights, and options of the network.

It is a `.safetensors` file whose metadata hold, under `gsasr`, the JSON text `{"version": 1, "network_g": {...}}`, or a
`.pth` file of `{'params': {...}, 'gsasr': <the same text>}`, which BasicSR can load too; the checkpoints of a training
are such files, with `params_ema` beside. Nothing that a file says is run.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints import SUFFIXES
from gsasr_plugin.whole_file import replacing

VERSION = 1
DESCRIPTION = 'gsasr'  # the key of the description

PathLike = str | os.PathLike[str]


def save_model(net: GSASR, path: PathLike, *, half: bool = False) -> None:
    """Writes a self-describing file, under a temporary name first.

    Args:
        path: `.safetensors` or `.pth`; its folder is made if need be.
        half: store floating-point numbers as float16: half the size, numbers rounded to 11 bits. Whoever reads the
            file computes with them in float32.

    Raises:
        ValueError: another suffix, options that JSON cannot hold, or numbers that float16 cannot.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path}: the suffix is {path.suffix!r}; accepted: {", ".join(SUFFIXES)}')
    description, state = describe(net), cpu_state(net)
    if half:
        state = {key: _halved(value, key) for key, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        if path.suffix == '.safetensors':
            from safetensors.torch import save

            # Not save_file, whose files nobody else may read.
            unfinished.write_bytes(save(state, metadata={'format': 'pt', DESCRIPTION: description}))
        else:
            torch.save({'params': state, DESCRIPTION: description}, unfinished)


def _halved(value: Tensor, key: str) -> Tensor:
    """Floating-point numbers as float16, others as they are."""
    if not value.is_floating_point():
        return value
    half = value.half()
    if not bool((half.isfinite() == value.isfinite()).all()):
        raise ValueError(f'{key} has numbers beyond 65504, the largest of float16')
    return half


def describe(net: GSASR) -> str:
    """The text under `DESCRIPTION`.

    Raises:
        ValueError: options that JSON cannot hold.
    """
    try:
        return json.dumps({'version': VERSION, 'network_g': {'type': 'GSASR', **net.options}})
    except TypeError as error:
        raise ValueError(f'the options of the network cannot be stored as JSON: {error}') from error


def cpu_state(net: nn.Module) -> dict[str, Tensor]:
    """The state dict, on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}


def described_options(path: Path, held: Any) -> dict[str, Any] | None:
    """The `network_g` section that a file describes, None where it does not.

    Args:
        held: what it holds, see `read_file`.

    Raises:
        ValueError: the description is damaged, or of another version.
    """
    if path.suffix == '.safetensors':
        from safetensors import safe_open

        with safe_open(path, framework='pt') as file:
            held = file.metadata()
    text = held.get(DESCRIPTION) if isinstance(held, Mapping) else None
    if text is None:
        return None
    try:
        description = json.loads(text)
        version, options = description['version'], description['network_g']
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f'{path}: its description of the network is damaged: {text!r}') from error
    if version != VERSION:
        raise ValueError(f'{path}: its description of the network is of version {version}; {VERSION} is accepted')
    return options
