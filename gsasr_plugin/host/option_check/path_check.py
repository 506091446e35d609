"""The section `path`: what BasicSR would take for a folder to be made, and what a network is loaded from.

`network_g: {type: GSASR, from_pretrained: true}` takes the options of the network from `path.pretrain_network_g`.
"""

import os
from typing import Any

from gsasr_plugin.checkpoints.loading import StoredModel, read_model
from gsasr_plugin.checkpoints.official.hub import is_name
from gsasr_plugin.checkpoints.packaged import is_packaged_name
from gsasr_plugin.checkpoints.state_file import PARAMETER_KEYS
from gsasr_plugin.host.option_check.host_sections import PATH_KEYS_PER_NETWORK, PathOptions
from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.option_types import Accepted, accepted_by_dataclass

FROM_PRETRAINED = 'from_pretrained'
_NETWORK = 'network_'
_PRETRAINED = ('path', 'pretrain_network_g')


def check_path(
    report: Report, path: dict[str, Any], root: dict[str, Any], *, is_train: bool, auto_resume: bool
) -> None:
    """Check `path` for the networks of the file.

    Args:
        auto_resume: Whether an earlier run goes on, whose weights replace the pretrained ones.
    """
    report.check(path, ('path',), _accepted(root))
    for key, value in path.items():
        key = str(key)
        names_file = key.startswith(f'pretrain_{_NETWORK}') or key == 'resume_state'
        if names_file and isinstance(value, str | list) and not (auto_resume and is_train):
            network = root.get(key.removeprefix('pretrain_'))
            _files_exist(report, ('path', key), value, of_gsasr=is_gsasr(network))
    if not is_train and path.get('pretrain_network_g') is None:
        report.warn(_PRETRAINED, 'missing: the network is tested with random weights', 'a .pth file')


def _accepted(root: dict[str, Any]) -> Accepted:
    """The keys of `PathOptions`, which stand there for network_g, for every network of the file."""
    written = accepted_by_dataclass(PathOptions).options
    networks = [key.removeprefix(_NETWORK) for key in root if str(key).startswith(_NETWORK)]
    options = {}
    for name, option in written.items():
        stem = name.removesuffix('g')
        if stem in PATH_KEYS_PER_NETWORK:
            options.update({stem + network: option for network in networks or ['g']})
        else:
            options[name] = option
    return Accepted(options)


def take_pretrained_options(report: Report, file: OptionFile) -> bool:
    """Fill `network_g` from the pretrained model, where `from_pretrained` asks for it; options beside it stay.

    Args:
        file: The options, changed in place: `from_pretrained` is gone, for the network has no such option.

    Returns:
        False, with an error, where the options cannot be had.
    """
    section = file.options.get('network_g')
    if not (isinstance(section, dict) and is_gsasr(section) and FROM_PRETRAINED in section):
        return True
    key = ('network_g', FROM_PRETRAINED)
    wanted = section.pop(FROM_PRETRAINED)
    if wanted is False:
        return True
    source = _pretrained(file.options)
    if wanted is not True:
        report.wrong(key, wanted, 'true or false')
    elif source is None:
        report.error(key, 'true, but path.pretrain_network_g is missing')
    elif (
        _files_exist(report, _PRETRAINED, source, of_gsasr=True) and (stored := _read(report, file.options)) is not None
    ):
        if stored.options is not None:
            section.update({**stored.options, **section})
            return True
        known = 'the options of the network in its place, or a file that gsasr convert made'
        report.error(key, f'true, but {stored.source} does not describe its network', known)
    return False


def _files_exist(report: Report, path: tuple[str, ...], value: Any, *, of_gsasr: bool) -> bool:
    """Note files that are not there.

    Args:
        value: The option: a path, or a list of them. A GSASR may also come from a folder, or by name.
    """
    if of_gsasr and (is_name(value) or is_packaged_name(value)):
        return True
    if of_gsasr and isinstance(value, str) and os.path.isdir(os.path.expanduser(value)):
        return True
    if isinstance(value, list) and not of_gsasr:
        report.wrong(path, value, 'a path')
        return False
    for name in value if isinstance(value, list) else [value]:
        file = os.path.expanduser(str(name))
        if not os.path.isfile(file):
            where = '' if os.path.isabs(file) else f' (looked from {os.getcwd()})'
            report.error(path, f'there is no file {name!r}{where}')
            return False
    return True


def is_gsasr(section: Any) -> bool:
    """Whether a `network_*` section is one of a GSASR."""
    return isinstance(section, dict) and section.get('type') == 'GSASR'


def _pretrained(root: dict[str, Any]) -> Any:
    """`path.pretrain_network_g`, or None."""
    path = root.get('path')
    return path.get('pretrain_network_g') if isinstance(path, dict) else None


def _read(report: Report, root: dict[str, Any]) -> StoredModel | None:
    """The pretrained model, for what it says of its network, or None with an error."""
    source, param_key = _pretrained(root), root['path'].get('param_key_g')
    paths = [os.path.expanduser(path) for path in (source if isinstance(source, list) else [source])]
    param_keys = list(PARAMETER_KEYS)
    if isinstance(param_key, str) and os.path.isfile(paths[0]) and param_key not in param_keys:
        param_keys.append(param_key)
    try:
        return read_model(paths if isinstance(source, list) else paths[0], param_keys=param_keys)
    except (OSError, ValueError) as error:
        report.error(_PRETRAINED, str(error))
        return None
