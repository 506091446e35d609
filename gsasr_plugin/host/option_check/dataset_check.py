"""The sections under `datasets`: names, BasicSR's loader, the options of their class, the folders named."""

import dataclasses
import os
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from gsasr_plugin.data.data_roots import named_paths, resolve_root
from gsasr_plugin.data.loader_options import EvalLoaderOptions, TrainLoaderOptions
from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.pairings import needed_keys
from gsasr_plugin.host.option_check.problems import KeyPath, OptionError, Problem, leaves
from gsasr_plugin.host.option_check.registered import texts_in_code
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.type_check import registered_type
from gsasr_plugin.models.model_contract import DatasetContract, stated
from gsasr_plugin.option_types import Accepted, Option, accepted_by_dataclass, dotted, shown
from gsasr_plugin.packaged_files import packaged_file

# Put into every section by BasicSR.
_SET_BY_BASICSR = ('phase', 'scale')
# Read in every section by BasicSR, which expands `~` in them.
_ROOTS = ('dataroot_gt', 'dataroot_lq')


def check_datasets(
    report: Report, datasets: dict[str, Any], root: dict[str, Any], *, is_train: bool
) -> dict[str, type]:
    """Check `datasets` with all of its sections.

    Returns:
        The classes of the sections, where there are such classes.
    """
    if is_train and 'train' not in datasets:
        report.error(('datasets', 'train'), 'missing', 'the section of the training data')
    if not is_train and not datasets:
        report.error(('datasets',), 'has no data set', 'sections test_1, test_2, ...')
    names: dict[str, str] = {}
    classes = {}
    for key in datasets:
        path = ('datasets', key)
        phase = str(key).split('_')[0]
        if is_train and key != 'train' and phase != 'val':
            report.error(path, 'BasicSR takes no such section in training', 'train, val, val_<anything>')
        elif not is_train and phase not in ('val', 'test'):
            report.error(path, 'BasicSR takes no such section in testing', 'test, test_<anything>, val, ...')
        section = report.section(datasets, path)
        if section is None:
            continue
        if isinstance(section.get('name'), str) and key != 'train':
            if section['name'] in names:
                fault = f'{names[section["name"]]} has the name {shown(section["name"])} too: results get mixed'
                report.warn((*path, 'name'), fault)
            names[section['name']] = f'datasets.{key}'
        cls = _check_dataset(report, section, path, root, phase)
        if cls is not None:
            classes[key] = cls
    return classes


def has_ground_truth(section: Any) -> bool:
    """Whether a data set has images to compare with."""
    return isinstance(section, dict) and section.get('dataroot_gt') is not None


def _check_dataset(
    report: Report, section: dict[str, Any], path: KeyPath, root: dict[str, Any], phase: str
) -> type | None:
    _check_loader(report, section, path, phase)
    cls = registered_type(report, section, path, DATASET_REGISTRY, 'data sets')
    _check_paths(report, section, path, cls)
    options_class = stated(cls, DatasetContract, 'options_class')
    accepted = dataset_options(cls, phase).with_options(type=Option(default=None))  # the registry has checked the type
    if options_class is None:
        accepted = dataclasses.replace(accepted, open_ended=cls is None)
        texts = [*texts_in_code(cls), *_SET_BY_BASICSR, *_ROOTS]
        report.check(section, path, accepted, strict=False, silently=texts)
        _check_needed(report, section, path, root, cls)
        return cls
    sound = report.check(section, path, accepted, silently=_SET_BY_BASICSR)
    for key, inner_class in stated(cls, DatasetContract, 'inner_options').items():
        if isinstance(section.get(key), dict):
            sound &= report.check(section[key], (*path, key), accepted_by_dataclass(inner_class))
    own = accepted_by_dataclass(options_class)
    if 'scale' in root and 'scale' not in own.options:
        report.error(
            ('scale',),
            f'given {shown(root["scale"])}: BasicSR copies it into every data set, and {section["type"]} takes its '
            f'scales from its own section ({dotted(path)})',
            'no scale at the top level',
        )
    if sound:
        values = {key: value for key, value in {**section, 'phase': phase}.items() if key in own.options}
        report.check_together(path, options_class, values)
    return cls


def dataset_options(cls: type | None, phase: str) -> Accepted:
    """What a section accepts in a phase: what BasicSR's loop and loader read, and what the data set's class states."""
    loader = accepted_by_dataclass(TrainLoaderOptions if phase == 'train' else EvalLoaderOptions)
    options_class = stated(cls, DatasetContract, 'options_class')
    own = Accepted({}) if options_class is None else accepted_by_dataclass(options_class).without(_SET_BY_BASICSR)
    return own.with_options(**loader.options)


def _check_needed(
    report: Report, section: dict[str, Any], path: KeyPath, root: dict[str, Any], cls: type | None
) -> None:
    """Note options that a data set of BasicSR's reads in any case, and that are missing."""
    given = {*section, *({'scale'} & root.keys()), 'name', 'type', 'phase'}
    for key in sorted(needed_keys(cls, is_train=path[-1] == 'train') - given) if cls is not None else ():
        if key == 'scale':
            report.error((key,), f'missing ({section["type"]} reads it)', 'a number: how much larger GT is than LR')
        else:
            report.error((*path, key), 'missing')


def _check_loader(report: Report, section: dict[str, Any], path: KeyPath, phase: str) -> None:
    """Combinations that torch's or BasicSR's loader refuses."""
    if section.get('persistent_workers') is True and (phase != 'train' or section.get('num_worker_per_gpu') == 0):
        why = 'num_worker_per_gpu is 0' if phase == 'train' else 'BasicSR validates and tests without worker processes'
        report.error((*path, 'persistent_workers'), f'given true, but {why}', 'false')
    if section.get('prefetch_mode') == 'cuda' and section.get('pin_memory') is not True and phase == 'train':
        fault = f'given {shown(section.get("pin_memory"))}, with prefetch_mode cuda'
        report.error((*path, 'pin_memory'), fault, 'true')


def _check_paths(report: Report, section: dict[str, Any], path: KeyPath, cls: type | None) -> None:
    """Folders, databases and lists of images that do not exist."""
    resolve = stated(cls, DatasetContract, 'resolve_root')
    find_root, find_list = (resolve, _existing_or_packaged) if resolve else (_existing, _existing)
    for key, option in section.items():
        is_root = str(key).startswith('dataroot_')
        if not is_root and key not in ('meta_info_file', 'meta_info'):
            continue
        for place, value in leaves(option, (*path, key)):
            try:
                if isinstance(value, str):
                    (find_root if is_root else find_list)(value)
            except FileNotFoundError as error:
                report.error(place, str(error))


def _existing(path: str) -> None:
    expanded = os.path.expanduser(path)
    if not os.path.exists(expanded):
        where = '' if os.path.isabs(expanded) else f' (looked from {os.getcwd()})'
        raise FileNotFoundError(f'there is no file or folder {path!r}{where}')


def _existing_or_packaged(path: str) -> None:
    if packaged_file(path) is None:
        _existing(path)


def skip_absent_datasets(file: OptionFile) -> list[Problem]:
    """Takes the sections of `datasets` out of the options whose folders or databases do not exist.

    Returns:
        A warning for each.

    Raises:
        OptionError: none is left.
    """
    datasets = file.options.get('datasets')
    if not isinstance(datasets, dict):
        return []  # the check says so
    report = Report(file)
    for key, section in list(datasets.items()):
        if not isinstance(section, dict):
            continue
        absent = [(root, path) for root in _ROOTS for path in named_paths(section.get(root)) if not _exists(path)]
        if absent:
            root, path = absent[0]
            report.warn(('datasets', key, root), f'there is no {path!r}: {section.get("name", key)} is skipped')
            del datasets[key]
    if report.problems and not datasets:
        report.error(('datasets',), 'none of the data sets is there')
        raise OptionError(file.path, report.problems)
    return report.problems


def _exists(path: str) -> bool:
    try:
        resolve_root(path)
    except FileNotFoundError:
        return False
    return True
