"""Validation at several scales: the host's metrics for each scale of a data set, beside those of bicubic images."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from torch import Tensor
from tqdm import tqdm

from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.data.scales import format_scale
from gsasr_plugin.models.metrics_table import MetricRow, add_to_tables
from gsasr_plugin.models.shares import gathered, my_share
from gsasr_plugin.whole_file import replacing

if TYPE_CHECKING:
    from gsasr_plugin.models.gsasr_model import GSASRModel

MAX_CROP_BORDER = 8  # the paper's protocol: s pixels, 8 above x8


def crop_border(scale: tuple[float, float]) -> int:
    """The border that the metrics leave out: the scale, rounded up where it is not an integer, at most 8 pixels."""
    return min(MAX_CROP_BORDER, math.ceil(max(scale) - 1e-6))


def validate_scales(
    model: GSASRModel, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool
) -> None:
    """Super-resolves a data set, and reports each metric's mean over the images of each scale.

    The log gets the host's lines, under the name `<data set>_x<scale>`, and a table; the experiment's or the results'
    folder gets `metrics.csv` and `metrics.md`. Several processes take an equal share of the images each, and the first
    one reports.

    Args:
        model: the model; its `opt['val']` holds the host's `metrics`, where `crop_border: auto` follows the scale.
        dataloader: of one image per batch.
        current_iter: the iteration, or the name of the run when testing.
        tb_logger: tensorboard's, or None.
        save_img: whether to write the results as PNG files.
    """
    val_opt = model.opt['val']
    metrics = val_opt.get('metrics') or {}
    dataset_name = dataloader.dataset.opt['name']
    sums: dict[tuple[float, float], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    bicubic_sums: dict[tuple[float, float], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: dict[tuple[float, float], int] = defaultdict(int)

    images: list[tuple[tuple[float, float], dict[str, float], dict[str, float]]] = []  # scale, our values, bicubic's
    for data in tqdm(my_share(dataloader), desc=dataset_name, unit='image', disable=not val_opt.get('pbar', False)):
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        scale = tuple(data['nominal_scale'][0].tolist())  # (rows, columns)
        ours: dict[str, float] = {}
        bicubics: dict[str, float] = {}
        sr = tensor2img([visuals['result']])  # (H, W, 3), BGR, 8 bit
        if save_img:
            name = data['name'][0]
            with replacing(_image_path(model, dataset_name, name, scale, current_iter)) as path:
                imwrite(sr, str(path))
        if 'gt' in visuals and metrics:
            gt = tensor2img([visuals['gt']])
            compared = [(sr, ours)]
            if val_opt.get('compare_bicubic'):
                compared.append((_bicubic(visuals['lq'], gt.shape[:2]), bicubics))
            for image, values in compared:
                for name, metric in metrics.items():
                    values[name] = _value(metric, image, gt, scale)
        images.append((scale, ours, bicubics))
        if model.device.type == 'cuda':
            torch.cuda.empty_cache()  # sizes differ: what one image left behind rarely fits the next

    for scale, ours, bicubics in gathered(images):
        counts[scale] += 1
        for values, totals in ((ours, sums), (bicubics, bicubic_sums)):
            for name, value in values.items():
                totals[scale][name] += value

    rows = []
    for scale in sums:
        name = f'{dataset_name}_x{format_scale(scale)}'
        model.metric_results = {metric: total / counts[scale] for metric, total in sums[scale].items()}
        if model.is_train:
            model._initialize_best_metric_results(name)
            for metric, value in model.metric_results.items():
                model._update_best_metric_result(name, metric, value, current_iter)
        model._log_validation_metric_values(current_iter, name, tb_logger)
        for metric, value in model.metric_results.items():
            bicubic = bicubic_sums[scale][metric] / counts[scale] if bicubic_sums else None
            rows.append(
                MetricRow(str(current_iter), dataset_name, format_scale(scale), counts[scale], metric, value, bicubic)
            )
    if rows:
        folder = Path(model.opt['path']['experiments_root' if model.is_train else 'results_root'])
        get_root_logger().info(add_to_tables(folder, rows))


def _value(metric: dict[str, Any], image: np.ndarray, gt: np.ndarray, scale: tuple[float, float]) -> float:
    arguments = dict(metric)
    if arguments.get('crop_border') == 'auto':
        arguments['crop_border'] = crop_border(scale)
    border = arguments.get('crop_border', 0)
    if 2 * border >= min(gt.shape[:2]):
        raise ValueError(
            f'{metric["type"]} leaves out a border of {border} pixels, and all of an image of {gt.shape[0]} x '
            f'{gt.shape[1]} pixels at x{format_scale(scale)}: leave that image or scale out'
        )
    return float(calculate_metric({'img': image, 'img2': gt}, arguments))


def _bicubic(lq: Tensor, size: tuple[int, int]) -> np.ndarray:
    image = resize_bicubic(lq[0].permute(1, 2, 0).numpy(), size)  # (H, W, 3)
    return tensor2img([torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()])


def _image_path(
    model: GSASRModel, dataset_name: str, name: str, scale: tuple[float, float], current_iter: int | str
) -> Path:
    """As the host names results, with the scale; in training too in a folder of the data set's."""
    folder = Path(model.opt['path']['visualization']) / dataset_name
    stem = Path(name).name  # `name` may be in a sub-folder
    if model.is_train:
        return folder / name / f'{stem}_x{format_scale(scale)}_{current_iter}.png'
    suffix = model.opt['val'].get('suffix') or model.opt['name']
    return (folder / name).with_name(f'{stem}_x{format_scale(scale)}_{suffix}.png')
