"""The weights that `path.pretrain_network_*` names, against the networks that they are for, before a run starts.

BasicSR would find out later, when it has renamed the folders of an earlier run, and by a traceback.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.models.base_model import BaseModel
from torch import nn

from gsasr_plugin.checkpoints.kept_models import once
from gsasr_plugin.checkpoints.loading import loaded_keys, read_model
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS, check_fit, read_file, read_state_dict, weights_keys
from gsasr_plugin.host.option_check.path_check import is_gsasr
from gsasr_plugin.host.option_check.problems import KeyPath
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.type_check import built_network
from gsasr_plugin.models.resumable_model import ResumableModel

_PREFIX = 'pretrain_network_'


def check_weights(
    report: Report, root: dict[str, Any], model: type | None, networks: Mapping[str, type | None]
) -> None:
    """Read the pretrained weights of all networks of a sound file, and compare them. May fetch a released model.

    Args:
        networks: the classes of the networks, by their sections.
    """
    path = root['path']
    load_network = getattr(model, 'load_network', None)
    for key, source in path.items():
        label = str(key).removeprefix(_PREFIX)
        cls = networks.get(f'network_{label}')
        if not str(key).startswith(_PREFIX) or source is None or cls is None:
            continue
        section, place = root[f'network_{label}'], ('path', key)
        is_ours = is_gsasr(section)
        if not is_ours and load_network not in (BaseModel.load_network, ResumableModel.load_network):
            continue  # a model of another plugin, which reads weights in its own way
        strict, param_key = path.get(f'strict_load_{label}', True), path.get(f'param_key_{label}', 'params')
        if not _has_param_key(report, label, source, param_key, bare=is_ours):
            continue
        try:
            if not is_ours:
                state, name = _state(source, param_key)
                if strict:
                    check_fit(state, name, _network(cls, section).state_dict())
                continue
            looked_for = [tuple(loaded_keys(_expanded(source), param_key))]
            if (root.get('train') or {}).get('ema_decay'):
                looked_for.append(tuple(PARAMETER_KEYS))  # for the average
            for keys in dict.fromkeys(looked_for):
                if not _fits(report, place, source, keys, section, cls, strict=strict):
                    break
        except (OSError, ValueError) as error:
            report.error(place, str(error))


def _fits(
    report: Report, place: KeyPath, source: Any, keys: Any, section: dict[str, Any], cls: type, *, strict: bool
) -> bool:
    """Whether a GSASR takes the weights of a source, what it says of its network first."""
    stored = read_model(_expanded(source), param_keys=keys)
    try:
        stored.check_options(section)
    except ValueError as error:
        if not strict:
            report.warn(place, str(error))
            return False
        report.error(place, str(error), 'the same options, or network_g: {type: GSASR, from_pretrained: true}')
        return False
    if strict:
        stored.check_weights(_network(cls, section).state_dict())
    return True


def _has_param_key(report: Report, label: str, source: Any, param_key: str | None, *, bare: bool) -> bool:
    """Whether one file holds weights where they are looked for.

    Args:
        bare: Whether they are found at the top, too.
    """
    if param_key is None or not isinstance(source, str) or not os.path.isfile(_expanded(source)):
        return True
    path = Path(_expanded(source))
    try:
        held = once([path], lambda: read_file(path))
    except (OSError, ValueError):
        return True  # said by who reads it
    if not isinstance(held, Mapping) or param_key in held or 'params' in held:
        return True
    others = weights_keys(held)
    if bare and not others:
        return True
    found = f'under {" and ".join(others)} only' if others else 'at the top'
    accepted = ' or '.join(others) if others else 'null'
    report.error(('path', f'param_key_{label}'), f'{param_key}, but {source} holds its weights {found}', accepted)
    return False


def _state(source: str, param_key: str | None) -> tuple[dict[str, Any], str]:
    """The weights of a network of BasicSR's, as BasicSR looks for them."""
    path = Path(_expanded(source))
    keys = [] if param_key is None else [param_key, 'params']
    return read_state_dict(once([path], lambda: read_file(path)), name=source, param_keys=keys)


def _network(cls: type, section: dict[str, Any]) -> nn.Module:
    return built_network(cls, {key: value for key, value in section.items() if key != 'type'})


def _expanded(source: Any) -> Any:
    return [os.path.expanduser(path) for path in source] if isinstance(source, list) else os.path.expanduser(source)
