"""The one door to a trained network: `load`, and `read_model`, which it is made of."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.gsasr_arch import OF_DRAWING
from gsasr_plugin.checkpoints.kept_models import once
from gsasr_plugin.checkpoints.model_file import VERSION, PathLike, described_options, save_model
from gsasr_plugin.checkpoints.network_sections import differences
from gsasr_plugin.checkpoints.official import gsasr_from_official, hub
from gsasr_plugin.checkpoints.packaged import default_model, is_packaged_name, packaged_models
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS, check_fit, read_file, read_state_dict


def load(
    source: PathLike | Sequence[PathLike] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    param_keys: Sequence[str] = PARAMETER_KEYS,
) -> GSASR:
    """A trained network, in evaluation mode.

    Args:
        source: see `read_model`; None for the default one of the models that come with this package.
        options: the `network_g` section, needed where the source does not describe its network. Else it has to be the
            same, except for `OF_DRAWING`, which count.
        param_keys: see `read_model`.

    Raises:
        FileNotFoundError, ValueError: see `read_model`.
        ValueError: no options, options that do not build a network, or one whose tensors are others; options that
            differ from the source's; weights that are not finite.
    """
    stored = read_model(default_model() if source is None else source, param_keys=param_keys)
    section = dict(options or {})
    if stored.options is not None:
        if options:
            stored.check_options(options)
        section = {**stored.options, **{key: section[key] for key in OF_DRAWING if key in section}}
    if not section:
        raise ValueError(
            f'{stored.source} does not describe its network: the section network_g of its options is needed'
        )
    type_name = section.pop('type', 'GSASR')
    if type_name != 'GSASR':
        raise ValueError(f'{stored.source}: network_g has the type {type_name!r}; GSASR is accepted')
    try:
        net = GSASR(**section)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{stored.source}: no network can be built with the options {section}: {error}') from error
    stored.check_weights(net.state_dict())
    net.load_state_dict(stored.state)
    return net.eval()


def loaded_keys(source: PathLike | Sequence[PathLike], param_key: str | None) -> Sequence[str]:
    """What a run loads of a source: the weights under `param_key` of one file, else under `params`."""
    one_file = isinstance(source, str | os.PathLike) and os.path.isfile(source)
    return [key for key in (param_key, 'params') if key] if one_file else PARAMETER_KEYS


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

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Compares a `network_g` section with the file's own description, if it has one.

        Raises:
            ValueError: they differ; the message lists the options.
        """
        if self.options is not None and (lines := differences(options, self.options)):
            listed = '\n  '.join(lines)
            raise ValueError(f'{self.source} holds another network than network_g describes:\n  {listed}')

    def check_weights(self, expected: Mapping[str, Tensor]) -> None:
        """Compares the tensors with those of a network.

        Raises:
            ValueError: they differ in keys or sizes; the message lists them.
        """
        check_fit(self.state, self.source, expected)


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
    if len(paths) not in (1, 2):
        raise ValueError(
            f'{len(paths)} files are given: {source}; one is accepted, or two of the authors, encoder first'
        )
    return once(paths, lambda: _read_files(paths, param_keys), *param_keys)


def _read_files(paths: list[Path], param_keys: Sequence[str]) -> StoredModel:
    """One file of ours, or two of the authors."""
    if len(paths) == 2:
        net = gsasr_from_official(*paths, param_keys=param_keys)
        return StoredModel({'type': 'GSASR', **net.options}, net.state_dict(), f'{paths[0]} and {paths[1]}')
    (path,) = paths
    held = once([path], lambda: read_file(path))
    state, name = read_state_dict(held, name=str(path), param_keys=param_keys)
    if not any(key.startswith(('encoder.', 'decoder.')) for key in state):
        raise ValueError(
            f'{name} is no GSASR in one file, whose keys begin with encoder. or decoder.: it has '
            f'{", ".join(list(state)[:3])}, ... If it is one of the two files of a model of the authors, give both'
        )
    return StoredModel(described_options(path, held), state, name)


def _read_released(name: str) -> StoredModel:
    """A released model by its name: from files that the user has placed, or fetched and converted once."""
    placed = hub.placed_files(name)
    if placed:
        return read_model(placed)
    converted = hub.folder(name) / f'converted_v{VERSION}.safetensors'
    if not converted.is_file():
        save_model(gsasr_from_official(*hub.fetch(name)), converted)
    return read_model(converted)
