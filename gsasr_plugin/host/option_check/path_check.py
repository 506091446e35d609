"""The section `path`, in which BasicSR takes every key that it does not know for a folder to be made."""

from typing import Any

from gsasr_plugin.host.option_check.host_sections import PATH_KEYS_PER_NETWORK, PathOptions
from gsasr_plugin.host.option_check.pretrained_check import files_exist, is_gsasr
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.option_types import Accepted, accepted_by_dataclass

_NETWORK = 'network_'
_PRETRAINED = f'pretrain_{_NETWORK}'


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
        names_file = key.startswith(_PRETRAINED) or key == 'resume_state'
        if names_file and isinstance(value, str | list) and not (auto_resume and is_train):
            network = root.get(key.removeprefix('pretrain_'))
            files_exist(report, ('path', key), value, of_gsasr=is_gsasr(network))
    if not is_train and path.get('pretrain_network_g') is None:
        report.warn(('path', 'pretrain_network_g'), 'missing: the network is tested with random weights', 'a .pth file')


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
