"""The check of a whole option file: every section against what will read it."""

from typing import Any

import torch
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY

from gsasr_plugin.host.option_check.dataset_check import check_datasets
from gsasr_plugin.host.option_check.discriminator_check import check_crops, check_discriminator
from gsasr_plugin.host.option_check.host_sections import DistOptions, RootOptions
from gsasr_plugin.host.option_check.loss_check import check_losses_build
from gsasr_plugin.host.option_check.metric_sizes import check_metric_sizes
from gsasr_plugin.host.option_check.option_file import OptionFile
from gsasr_plugin.host.option_check.pairings import check_pairings
from gsasr_plugin.host.option_check.path_check import check_path, take_pretrained_options
from gsasr_plugin.host.option_check.problems import OptionError, Problem, leaves
from gsasr_plugin.host.option_check.registered import registered, texts_in_code
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.host.option_check.training_check import check_graph, check_logger, check_train, check_val, reads_terms
from gsasr_plugin.host.option_check.type_check import check_network, metric_options, registered_type
from gsasr_plugin.host.option_check.weights_check import check_weights
from gsasr_plugin.models.model_contract import ModelContract, stated
from gsasr_plugin.option_types import Option, accepted_by_dataclass, closest

_NETWORK = 'network_'


def check_options(file: OptionFile, *, is_train: bool, auto_resume: bool = False) -> list[Problem]:
    """Check an option file before BasicSR reads it, and add what BasicSR needs but could have assumed.

    Strict about the sections of the plugin's and of every registered class; in BasicSR's sections wrong types and
    missing keys are errors too, unknown keys warnings.

    Args:
        file: The options; defaults are added in place.
        is_train: Whether they are for training; the sections `train` and `logger` are for training only.

    Returns:
        The warnings.

    Raises:
        OptionError: Something cannot be used; every problem of the file is named, warnings too.
    """
    report = Report(file)
    root = file.options
    model = registered_type(report, root, (), MODEL_REGISTRY, 'models', key='model_type')
    _check_root(report, root, model, is_train=is_train)
    if not take_pretrained_options(report, file):
        raise OptionError(file.path, report.problems)
    networks: dict[str, type | None] = {}
    for key in [key for key in root if key.startswith(_NETWORK)]:
        section = report.section(root, (key,))
        if section is not None:
            networks[key] = check_network(report, section, (key,))
    sections = {key: value for key, value in root.items() if isinstance(value, dict)}
    datasets = sections.get('datasets', {})
    classes = check_datasets(report, datasets, root, is_train=is_train) if 'datasets' in sections else {}
    if model is not None:
        check_pairings(report, root, model, networks.get('network_g'), classes, is_train=is_train)
    if 'path' in sections:
        check_path(report, sections['path'], root, is_train=is_train, auto_resume=auto_resume)
    if is_train and 'train' in sections:
        check_train(report, sections['train'], model)
        check_discriminator(report, root, model)
    if 'val' in sections:
        check_val(report, sections['val'], datasets, model, is_train=is_train)
        check_graph(report, sections, is_train=is_train)
    if is_train and 'logger' in sections:
        check_logger(report, sections['logger'], model)
    if 'dist_params' in sections:
        report.check(sections['dist_params'], ('dist_params',), accepted_by_dataclass(DistOptions), strict=False)

    if not report.has_errors:
        _check_values(report, root)
    if report.has_errors:
        raise OptionError(file.path, report.problems)
    resumes = is_train and (auto_resume or root['path'].get('resume_state') is not None)
    # Only now, for they may take long.
    check_metric_sizes(report, root)
    if is_train:
        _check_builds(report, root, model)
    if not resumes:
        check_weights(report, root, model, networks)
    if report.has_errors:
        raise OptionError(file.path, report.problems)
    _add_defaults(file, is_train=is_train)
    return report.problems


def _check_builds(report: Report, root: dict[str, Any], model: type | None) -> None:
    """Build what is trained with, beside the network."""
    check_losses_build(report, root['train'], has_terms=reads_terms(model))
    if stated(model, ModelContract, 'has_discriminator'):
        check_crops(report, root)


def _check_values(report: Report, root: dict[str, Any]) -> None:
    """What no option can be, whatever it is for: torch has no such numbers, and the system no such names."""
    for path, value in leaves(root):
        if isinstance(value, int) and abs(value) >= 2**63:
            report.wrong(path, value, 'a number of 64 bits')
        elif isinstance(value, str) and '\0' in value:
            report.wrong(path, value, 'text without the character 0')


def _check_root(report: Report, root: dict[str, Any], model: type | None, *, is_train: bool) -> None:
    # The registry knows better what model_type may be, and other checks what a network is.
    networks = {key: Option(default=None) for key in root if key.startswith(_NETWORK)}
    accepted = accepted_by_dataclass(RootOptions).with_options(model_type=Option(default=None), **networks)
    report.check(root, (), accepted, strict=False, silently=texts_in_code(model))
    if 'network_g' not in root:
        report.error(('network_g',), 'missing', 'the section of the network, with its type', closest('network_g', root))
    needed = ('train', 'logger') if is_train else ('val',)
    for key in needed:
        if root.get(key) is None:
            words = 'a section with at least save_img: true or false' if key == 'val' else 'a section'
            report.error((key,), 'missing', words)
    if is_train and root.get('val') is None:
        datasets = root.get('datasets')
        unused = [key for key in datasets if key != 'train'] if isinstance(datasets, dict) else []
        if unused:
            report.warn(
                ('val',), f'missing, so that datasets.{unused[0]} is never used', 'a section with val_freq and save_img'
            )
    num_gpu = root.get('num_gpu')
    gpus = torch.cuda.device_count()
    if isinstance(num_gpu, int) and not isinstance(num_gpu, bool) and num_gpu > gpus:
        report.error(
            ('num_gpu',), f'given {num_gpu}, but torch sees {gpus} GPUs', f'auto, or 0 to {gpus} (0: on the CPU)'
        )


def _add_defaults(file: OptionFile, *, is_train: bool) -> None:
    """Keys that BasicSR insists on, or takes for another value, although leaving them out can mean one thing only."""
    for key in ('train', 'val', 'logger'):
        if key in file.options and file.options[key] is None:  # as if it were not there; --debug writes into them
            del file.options[key]
    val = file.options.get('val') or {}
    if not is_train and val.get('save_img') and 'suffix' not in val:
        val['suffix'] = None  # BasicSR appends the name of the run
    for section in (val.get('metrics') or {}).values():
        metric = metric_options(registered(METRIC_REGISTRY, section['type']), crop_border_auto=True)
        if metric.options['better'].default == 'lower':
            section.setdefault('better', 'lower')  # else the largest value would count as the best
