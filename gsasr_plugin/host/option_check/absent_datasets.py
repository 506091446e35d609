"""Leaving out data sets that are not on this machine, for those who asked for it."""

from gsasr_plugin.data.data_roots import named_paths, resolve_root
from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.problems import OptionError, Problem
from gsasr_plugin.host.option_check.report import Report

_ROOTS = ('dataroot_gt', 'dataroot_lq')


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
