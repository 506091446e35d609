"""Values and keys of options that the host does not expect."""

import os
import types
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours, mentions


def repair_dataroot_lists(options: types.ModuleType) -> Repair:
    """`basicsr.utils.options.parse_options` calls os.path.expanduser on `dataroot_gt` and `dataroot_lq`, which fails
    with a TypeError for a list of folders or a mapping from scale to folder.
    """
    name = 'dataroot lists'
    host_paths = getattr(options, 'osp', None)
    if isinstance(host_paths, types.SimpleNamespace):
        return Repair(name, True, 'already replaced')
    if host_paths is not os.path or not mentions(options.parse_options, 'expanduser'):
        return Repair(name, False, "the host's option parser does not expand data roots with os.path")
    options.osp = types.SimpleNamespace(**{**vars(os.path), 'expanduser': _expand_users})  # type: ignore[attr-defined]
    return Repair(name, True, "the host's option parser takes one folder per data root")


def _expand_users(path: Any) -> Any:
    """os.path.expanduser for a path, every path of a list, or every value of a mapping."""
    if isinstance(path, list | tuple):
        return [_expand_users(item) for item in path]
    if isinstance(path, dict):
        return {key: _expand_users(item) for key, item in path.items()}
    return os.path.expanduser(path)


def repair_dict2str(options: types.ModuleType, *pipelines: types.ModuleType) -> Repair:
    """`basicsr.utils.options.dict2str`, which writes the options to the log, fails with a TypeError for a key that is
    not text, such as a scale of `dataroot_lq: {2: ..., 3.7: ...}`.
    """
    name = 'dict2str'
    host_function = getattr(options, name, None)
    if is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None:
        return Repair(name, False, 'the host has no such function')
    try:
        host_function({2: 'x2'})
        return Repair(name, False, "the host's function takes keys of any type")
    except TypeError:
        pass

    def dict2str(opt: dict[Any, Any], indent_level: int = 1) -> str:
        return host_function(_with_text_keys(opt), indent_level)

    for module in (options, *pipelines):
        if getattr(module, name, None) is host_function:  # the pipelines imported it by name
            module.dict2str = dict2str  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function fails for keys that are not text")


def _with_text_keys(options: Any) -> Any:
    if isinstance(options, dict):
        return {str(key): _with_text_keys(value) for key, value in options.items()}
    return options
