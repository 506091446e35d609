"""Models in files: one self-describing file (weights and options of the network), and every source that can be read.

A self-describing file is a `.safetensors` file whose metadata hold, under `gsasr`, the JSON text
`{"version": 1, "network_g": {...}}`, or a `.pth` file of `{'params': {...}, 'gsasr': <the same text>}`, which the host
can load too; the checkpoints of a training are such files, with `params_ema` beside. Nothing that a file says is run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.checkpoints.network_sections import FREE_OPTIONS, differences
from gsasr_plugin.checkpoints.official import gsasr_from_official, hub
from gsasr_plugin.checkpoints.packaged import is_packaged_name, packaged_models
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS, read_file, read_state_dict
from gsasr_plugin.whole_file import replacing

VERSION = 1
DESCRIPTION = 'gsasr'  # the key of the description
SUFFIXES = ('.safetensors', '.pth')

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class StoredModel:
    """What one or two files say of a model.

    Attributes:
        options: the `network_g` section of the network, with `type`; None where the file does not say.
        state: its state dict, under our keys.
        source: the files, for messages.
    """

    options: dict[str, Any] | None
    state: dict[str, Tensor]
    source: str

    def build(self, options: Mapping[str, Any] | None = None) -> GSASR:
        """The network, in evaluation mode.

        Args:
            options: the `network_g` section, needed where the file does not describe its network. Else it has to be the
                same, except for `FREE_OPTIONS`, which count.

        Raises:
            ValueError: no options, options that do not build a network, or one whose tensors are others; options that
                differ from the file's.
        """
        section = dict(options or {})
        if self.options is not None:
            if options:
                self.check_options(options)
            section = {**self.options, **{key: section[key] for key in FREE_OPTIONS if key in section}}
        if not section:
            raise ValueError(
                f'{self.source} does not describe its network: the section network_g of its options is needed'
            )
        type_name = section.pop('type', 'GSASR')
        if type_name != 'GSASR':
            raise ValueError(f'{self.source}: network_g has the type {type_name!r}; GSASR is accepted')
        try:
            net = GSASR(**section)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{self.source}: no network can be built with the options {section}: {error}') from error
        try:
            net.load_state_dict(self.state)
        except RuntimeError as error:
            raise ValueError(f'{self.source}: the weights do not fit the options of the network: {error}') from error
        return net.eval()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Compares a `network_g` section with the file's own description, if it has one.

        Raises:
            ValueError: they differ; the message lists the options.
        """
        if self.options is not None and (lines := differences(options, self.options)):
            listed = '\n  '.join(lines)
            raise ValueError(f'{self.source} holds another network than network_g describes:\n  {listed}')


def save_model(net: GSASR, path: PathLike, *, half: bool = False) -> None:
    """Writes a self-describing file, under a temporary name first.

    Args:
        net: the network.
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


def cpu_state(net: GSASR) -> dict[str, Tensor]:
    """The state dict, on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}


def read_model(source: PathLike | Sequence[PathLike], *, param_keys: Sequence[str] = PARAMETER_KEYS) -> StoredModel:
    """Reads a model from any source that there is.

    Args:
        source: one of

            * the name of a model that comes with this package; see `gsasr_plugin.checkpoints.packaged`;
            * the path of a self-describing file, or of a checkpoint of a training of ours;
            * the paths of the authors' two files, encoder first (also `net_g_<iter>.pth` and `net_fea2gs_<iter>.pth`),
              or the path of a folder that holds them as `encoder.pth` and `decoder.pth`;
            * the name of a released model, `official/<variant>`; see `gsasr_plugin.checkpoints.official.hub`.
        param_keys: where the weights lie in a `.pth` file; the first key that is there is taken. By default the
            average, `params_ema`, is preferred to `params`.

    Raises:
        FileNotFoundError: a file is missing, or a released model can neither be found nor fetched.
        ValueError: a file is damaged or holds something else; see `gsasr_from_official` for the authors' files. An
            unknown name.
    """
    if hub.is_name(source):
        if tuple(param_keys) != PARAMETER_KEYS:
            raise ValueError(f'{source}: of a released model the average is taken; for other weights, give its files')
        return _read_released(str(source))
    if is_packaged_name(source):
        source = packaged_models()[str(source)]
    paths = [Path(source)] if isinstance(source, str | os.PathLike) else [Path(path) for path in source]
    if len(paths) == 1 and not paths[0].suffix and not paths[0].exists():
        raise FileNotFoundError(
            f'there is no model or file {str(paths[0])!r}; packaged are {", ".join(packaged_models())}. Also accepted: '
            'a self-describing file (.safetensors, .pth), the two files of the authors or their folder, '
            f'{hub.PREFIX}NAME, or a checkpoint of a training'
        )
    if len(paths) == 1 and paths[0].is_dir():
        paths = [paths[0] / name for name in hub.FILES]
    if len(paths) == 2:
        net = gsasr_from_official(*paths, param_keys=param_keys)
        return StoredModel({'type': 'GSASR', **net.options}, net.state_dict(), f'{paths[0]} and {paths[1]}')
    if len(paths) != 1:
        raise ValueError(
            f'{len(paths)} files are given: {source}; one is accepted, or two of the authors, encoder first'
        )
    path = paths[0]
    held = read_file(path)
    description = _safetensors_metadata(path) if path.suffix == '.safetensors' else held
    text = description.get(DESCRIPTION) if isinstance(description, Mapping) else None
    state, name = read_state_dict(held, name=str(path), param_keys=param_keys)
    if not all(key.startswith(('encoder.', 'decoder.')) for key in state):
        raise ValueError(
            f'{name} is no GSASR in one file, whose keys begin with encoder. or decoder.: it has '
            f'{", ".join(list(state)[:3])}, ... If it is one of the two files of a model of the authors, give both'
        )
    return StoredModel(_options(text, path) if text is not None else None, state, name)


def _read_released(name: str) -> StoredModel:
    """A released model by its name: from files that the user has placed, or fetched and converted once."""
    placed = hub.placed_files(name)
    if placed:
        return read_model(placed)
    converted = hub.folder(name) / f'converted_v{VERSION}.safetensors'
    if not converted.is_file():
        save_model(gsasr_from_official(*hub.fetch(name)), converted)
    return read_model(converted)


def load_model(
    source: PathLike | Sequence[PathLike],
    options: Mapping[str, Any] | None = None,
    *,
    param_keys: Sequence[str] = PARAMETER_KEYS,
) -> GSASR:
    """Builds the network that files hold, in evaluation mode.

    Args:
        source: see `read_model`.
        options: the `network_g` section, needed for a checkpoint that does not describe its network; see
            `StoredModel.build`.
        param_keys: see `read_model`.

    Raises:
        FileNotFoundError, ValueError: see `read_model` and `StoredModel.build`.
    """
    return read_model(source, param_keys=param_keys).build(options)


def _safetensors_metadata(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        return file.metadata() or {}


def _options(text: Any, path: Path) -> dict[str, Any]:
    """The `network_g` section of a description."""
    try:
        description = json.loads(text)
        version, options = description['version'], description['network_g']
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f'{path}: its description of the network is damaged: {text!r}') from error
    if version != VERSION:
        raise ValueError(f'{path}: its description of the network is of version {version}; {VERSION} is accepted')
    return options
