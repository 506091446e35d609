"""The figures that the paper prints for GSASR, copied from its tables: quality (Tables 1, 2; appendix 1-6, 8) and cost
(appendix 7, on an A100).

A row of the paper is named by the encoder, `EDSR` or `RDN` (16 Gaussians per LR pixel), or, in the ablation of the
appendix's Table 8, by encoder and Gaussians per LR pixel: `EDSR-1`, `EDSR-4`, `EDSR-9`, `EDSR-16`.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

from gsasr_plugin.checkpoints.network_sections import differences

PaperRow = Literal['EDSR', 'RDN', 'EDSR-1', 'EDSR-4', 'EDSR-9', 'EDSR-16']

METRICS = ('PSNR', 'SSIM', 'LPIPS', 'DISTS')
# The paper's networks, where their sections `network_g` say anything: GSASR's defaults are the paper's.
_EDSR = {'encoder_opt': {'type': 'EDSR', 'num_feat': 64, 'num_block': 16}}
_NETWORKS: dict[PaperRow, dict[str, Any]] = {
    'EDSR': _EDSR,
    'RDN': {'encoder_opt': {'type': 'RDN', 'num_feat': 64, 'num_block': 16, 'num_layer': 8, 'num_grow_ch': 64}},
    'EDSR-1': {**_EDSR, 'gaussian_density': 1},
    'EDSR-4': {**_EDSR, 'gaussian_density': 4},
    'EDSR-9': {**_EDSR, 'gaussian_density': 9},
}
# Names under which the paper's sets go elsewhere.
_ALIASES = {'div2k100': 'div2k', 'div2kvalid': 'div2k', 'b100': 'bsds100', 'bsd100': 'bsds100'}


class PaperFigure(NamedTuple):
    """One figure and the table that it stands in, such as 'main 1' or 'appendix 5'."""

    value: float
    table: str


class PaperCost(NamedTuple):
    """Time and memory of a 720 x 720 image on one A100, in milliseconds and MB."""

    milliseconds: float
    megabytes: float


def paper_figure(row: PaperRow, dataset: str, scale: str, metric: str) -> PaperFigure | None:
    """What the paper prints, or None where it prints nothing.

    Args:
        dataset: the data set's name, in any capitals, such as 'DIV2K100' (the paper's DIV2K) or 'BSDS100'.
        scale: the scale's name, such as '4'.
        metric: one of `METRICS`.
    """
    return _quality().get((row, _plain(dataset), scale, metric))


def paper_cost(row: PaperRow, scale: str) -> PaperCost | None:
    """The paper's cost at a scale, known for RDN."""
    return _cost().get((row, scale))


def paper_row(network: Mapping[str, Any]) -> PaperRow | None:
    """The row of the paper that has the very network of a section `network_g`, encoder and decoder, if any."""
    return next((row for row, section in _NETWORKS.items() if not differences(network, section)), None)


def _plain(dataset: str) -> str:
    name = ''.join(letter for letter in dataset.lower() if letter.isalnum())
    return _ALIASES.get(name, name)


@cache
def _quality() -> dict[tuple[str, str, str, str], PaperFigure]:
    return {
        (line['row'], _plain(line['dataset']), line['scale'], metric): PaperFigure(float(line[metric]), line['table'])
        for line in _lines('quality.csv')
        for metric in METRICS
    }


@cache
def _cost() -> dict[tuple[str, str], PaperCost]:
    return {
        (line['row'], line['scale']): PaperCost(float(line['milliseconds']), float(line['megabytes']))
        for line in _lines('cost.csv')
    }


def _lines(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(resources.files(__name__).joinpath(name).read_text(encoding='utf-8').splitlines()))
