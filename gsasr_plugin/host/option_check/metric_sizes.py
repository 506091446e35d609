"""Metrics of images that are too small for them: known from the headers, before anything is trained."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.data.evaluation_items import EvaluationItem, list_evaluation_items
from gsasr_plugin.data.image_files import list_some
from gsasr_plugin.host.option_check.registered import registered
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.models.validation.metric_values import computed, size_fault
from gsasr_plugin.sizes import format_scale

_IMAGES_NAMED = 3


def check_metric_sizes(report: Report, root: Mapping[str, Any]) -> None:
    """Note metrics that cannot be computed of an image of a data set: a validation would leave the image out.

    Args:
        root: The whole file, without faults so far.
    """
    metrics = (root.get('val') or {}).get('metrics') or {}
    for key, section in root['datasets'].items() if metrics else ():
        faults: dict[tuple[str, str], list[str]] = defaultdict(list)
        items = _items(key, section)
        used = computed(metrics, with_gt=any(item.gt is not None for item in items))
        for item in items:
            for name, options in used.items():
                fault = size_fault(options, item.size, item.scale)
                if fault is not None:
                    faults[name, f'x{format_scale(item.scale)}: {fault}'].append(str(item.named))
        for (name, fault), images in faults.items():
            report.error(
                ('val', 'metrics', name),
                f'datasets.{key}, {list_some(images, _IMAGES_NAMED)} at {fault}',
                'larger images, smaller scales or a smaller crop_border',
            )


def _items(key: str, section: Any) -> list[EvaluationItem]:
    """The items of a data set of ours; none where its own check, or the data set itself, says what is wrong with it."""
    cls = registered(DATASET_REGISTRY, section.get('type')) if isinstance(section, dict) else None
    phase = str(key).split('_')[0]
    if cls is None or not issubclass(cls, ArbitraryScalePairedDataset) or phase == 'train':
        return []
    try:
        return list_evaluation_items(cls.options_class.from_opt({**section, 'phase': phase}))
    except (ValueError, TypeError, OSError):
        return []
