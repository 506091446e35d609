"""Validation at several scales: the host's metrics for each scale of a data set, beside those of bicubic images."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor
from torch.utils.data import Subset
from tqdm import tqdm

from gsasr_plugin.data import ArbitraryScalePairedDataset
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.eight_bit import to_8_bit
from gsasr_plugin.models.validation.image_values import ImageValues, ValuesFile, run_key
from gsasr_plugin.models.validation.paper_tables import PaperRow, paper_row
from gsasr_plugin.models.validation.testing_report import means, metric_tables, write_report
from gsasr_plugin.models.validation.training_table import MetricRow, add_to_tables
from gsasr_plugin.models.validation.validation_grids import GridLoader
from gsasr_plugin.processes import Processes, in_order
from gsasr_plugin.sizes import Scale, format_scale
from gsasr_plugin.whole_file import replacing

if TYPE_CHECKING:
    from gsasr_plugin.models.gsasr_model import GSASRModel

MAX_CROP_BORDER = 8  # the paper's protocol: s pixels, 8 above x8


def crop_border(scale: Scale) -> int:
    """The border that the metrics leave out: the scale, rounded up where it is not an integer, at most 8 pixels."""
    return min(MAX_CROP_BORDER, math.ceil(max(scale) - 1e-6))


def validate_scales(
    model: GSASRModel, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool
) -> None:
    """Super-resolves a data set, and reports each metric's mean over the images of each scale.

    The log gets the host's lines, under the name `<data set>_x<scale>`, and tables. In training, the experiment's
    folder gets `metrics.csv` and `metrics.md`. In testing, the results' folder gets the files of `testing_report`, for
    all data sets so far, as the log does; with --auto_resume an image whose values are known from these weights and
    options, and whose grid is drawn, is left out.

    Several processes report in the first what they make of their shares of the images (see `my_share`).

    Args:
        model: the model; its `opt['val']` holds the host's `metrics`, where `crop_border: auto` follows the scale.
        dataloader: of one image per batch; of several processes, of this one's share.
        current_iter: the iteration, or the name of the run when testing.
        tb_logger: tensorboard's, or None.
        save_img: whether to write the results as PNG files.
    """
    metrics = model.opt['val'].get('metrics') or {}
    if model.is_train:
        with Processes(f'validation of {dataloader.dataset.opt["name"]}') as processes:
            shares = processes.gather(list(_evaluate(model, dataloader, current_iter, save_img)))
        table = means(in_order(shares), metrics, None)
    else:
        values = _evaluate_or_reuse(model, dataloader, current_iter, save_img)
        row = _paper_row(model)
        table = means(values, metrics, row)
        model.tested += values
        model.means += table

    for scale in dict.fromkeys(mean.scale for mean in table):
        name = f'{dataloader.dataset.opt["name"]}_x{scale}'
        model.metric_results = {mean.metric: mean.model for mean in table if mean.scale == scale}
        if model.is_train:
            model._initialize_best_metric_results(name)
            for metric, value in model.metric_results.items():
                model._update_best_metric_result(name, metric, value, current_iter)
        model._log_validation_metric_values(current_iter, name, tb_logger)
    if table and model.is_train:
        rows = [MetricRow(str(current_iter), m.dataset, m.scale, m.images, m.metric, m.model, m.bicubic) for m in table]
        get_root_logger().info(add_to_tables(Path(model.opt['path']['experiments_root']), rows))
    elif table:
        get_root_logger().info(metric_tables(model.means))
        write_report(Path(model.opt['path']['results_root']), model.tested, model.means, model.opt['name'], row)


def _paper_row(model: GSASRModel) -> PaperRow | None:
    """The row of the paper to compare with: the option's, or the network's."""
    row = model.opt['val'].get('paper_row') or paper_row(model.opt['network_g'])
    return None if row == 'none' else row


def _evaluate_or_reuse(
    model: GSASRModel, dataloader: GridLoader, current_iter: int | str, save_img: bool
) -> list[ImageValues]:
    """The values of all images when testing, in the data set's order; each is on the disk as soon as it is known.

    In all processes but the first, nothing.
    """
    opt, dataset = model.opt, dataloader.dataset
    key = run_key(model.tested_net().state_dict(), opt['network_g'], opt['val'], dataset.opt)
    file = ValuesFile(Path(opt['path']['results_root']), key, opt['rank'])
    with Processes(f'test of {dataset.opt["name"]}') as processes:
        known, left = processes.by_first(lambda: _known_and_left(model, dataloader, file, current_iter, save_img))
        if known:
            get_root_logger().info(f'{dataset.opt["name"]}: {len(known)} images are known from an earlier run')
        share = []
        for image in _evaluate(model, dataloader if left is None else dataloader.only(left), current_iter, save_img):
            file.add(image)
            share.append(image)
        found = known | {(image.scale, image.file): image for image in in_order(processes.gather(share))}
    if opt['rank'] != 0:
        return []
    if isinstance(dataset, ArbitraryScalePairedDataset):
        return [found[_identity(item.scale, item.named.path)] for item in dataset.items]
    return list(found.values())


def _known_and_left(
    model: GSASRModel, dataloader: GridLoader, file: ValuesFile, current_iter: int | str, save_img: bool
) -> tuple[dict[tuple[str, str], ImageValues], list[int] | None]:
    """With --auto_resume, what an earlier run knew of a data set, and the positions of what is left; None: of all."""
    dataset: Any = dataloader.dataset
    name = dataset.opt['name']
    known = {}
    if model.opt.get('auto_resume'):
        known = {
            (image.scale, image.file): image
            for image in file.read(name)
            if not save_img or _image_path(model, name, image.image, image.scale, current_iter).exists()
        }
    if not isinstance(dataset, ArbitraryScalePairedDataset):
        return known, None
    scales = [item.scale for item in dataset.items]
    if not known:
        dataloader.remove_grids(scales)
        return known, None
    return known, dataloader.left(scales, [_identity(item.scale, item.named.path) in known for item in dataset.items])


def _identity(scale: Scale, file: str) -> tuple[str, str]:
    return format_scale(scale), file


def _evaluate(model: GSASRModel, dataloader: Any, current_iter: int | str, save_img: bool) -> Iterator[ImageValues]:
    """Super-resolves image by image, writes pictures, computes metrics."""
    val_opt = model.opt['val']
    metrics = val_opt.get('metrics') or {}
    dataset: Any = dataloader.dataset
    if isinstance(dataset, Subset):
        dataset = dataset.dataset
    dataset_name = dataset.opt['name']
    for data in tqdm(dataloader, desc=dataset_name, unit='image', disable=not val_opt.get('pbar', False)):
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        rows, columns = data['nominal_scale'][0].tolist()
        scale = (rows, columns)
        name = data['name'][0]
        sr = tensor2img([visuals['result']])  # (H, W, 3), BGR, 8 bit
        if save_img:
            with replacing(_image_path(model, dataset_name, name, format_scale(scale), current_iter)) as path:
                imwrite(sr, str(path))
        ours: dict[str, float] = {}
        bicubic: dict[str, float] = {}
        if 'gt' in visuals and metrics:
            gt = tensor2img([visuals['gt']])
            images = [sr]
            if val_opt.get('compare_bicubic'):
                images.append(_bicubic(visuals['lq'], gt.shape[:2]))
            for metric, options in metrics.items():
                ours[metric], *others = _values(options, images, gt, scale, str(model.device))
                if others:
                    bicubic[metric] = others[0]
        yield ImageValues(dataset_name, format_scale(scale), name, data['lq_path'][0], ours, bicubic)
        if model.device.type == 'cuda':
            torch.cuda.empty_cache()  # sizes differ: what one image left behind rarely fits the next


def _values(metric: dict[str, Any], images: list[np.ndarray], gt: np.ndarray, scale: Scale, device: str) -> list[float]:
    """A metric of several images against one."""
    arguments = dict(metric)
    if arguments.get('crop_border') == 'auto':
        arguments['crop_border'] = crop_border(scale)
    border = arguments.get('crop_border', 0)
    if 2 * border >= min(gt.shape[:2]):
        raise ValueError(
            f'{metric["type"]} leaves out a border of {border} pixels, and all of an image of {gt.shape[0]} x '
            f'{gt.shape[1]} pixels at x{format_scale(scale)}: leave that image or scale out'
        )
    if _is_network(metric):
        values = calculate_metric({'img': images, 'img2': gt}, {'device': device, **arguments})
        return [float(value) for value in values]
    return [float(calculate_metric({'img': image, 'img2': gt}, arguments)) for image in images]


def build_metrics(model: GSASRModel) -> None:
    """Builds the networks of metrics that are networks, so that what they lack is known before anything is computed."""
    image = np.zeros((64, 64, 3), np.uint8)
    for metric in (model.opt.get('val', {}).get('metrics') or {}).values():
        if _is_network(metric):
            _values({**metric, 'crop_border': 0}, [image], image, (1, 1), str(model.device))


def _is_network(metric: dict[str, Any]) -> bool:
    """Whether a metric is one of the plugin's networks, which are told the device and take several images at once."""
    return 'device' in inspect.signature(METRIC_REGISTRY.get(metric['type'])).parameters


def _bicubic(lq: Tensor, size: tuple[int, int]) -> np.ndarray:
    """LR (1, 3, h, w), RGB in 0..1, enlarged to (H, W, 3), BGR, 8 bit."""
    image = resize_bicubic(lq[0].permute(1, 2, 0).contiguous().numpy(), size)  # (H, W, 3)
    return np.ascontiguousarray(to_8_bit(image)[..., ::-1])


def _image_path(model: GSASRModel, dataset_name: str, name: str, scale: str, current_iter: int | str) -> Path:
    """As the host names results, with the scale; in training too in a folder of the data set's."""
    folder = Path(model.opt['path']['visualization']) / dataset_name
    stem = Path(name).name  # `name` may be in a sub-folder
    if model.is_train:
        return folder / name / f'{stem}_x{scale}_{current_iter}.png'
    suffix = model.opt['val'].get('suffix') or model.opt['name']
    return (folder / name).with_name(f'{stem}_x{scale}_{suffix}.png')
