"""The pictures of one image's Gaussians: a labelled sheet, and each panel as a file of its own."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.upscaling.visuals import layers
from gsasr_plugin.upscaling.visuals.layers import Cutoff, Ellipses, Region
from gsasr_plugin.upscaling.visuals.plotting import new_figure
from gsasr_plugin.whole_file import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_INCHES, DPI = 4.2, 200
PANEL_PIXELS = round(PANEL_INCHES * DPI)  # on the longer side: what a panel can show
CLOSE_UP_CONTOURS = 400  # about, so that each can be told from the others
DENSITY_MARGIN = 0.1  # around the average: so that an even distribution looks even
ERROR_PERCENTILE = 99.5  # what the brightest colour stands for
EDGE_WIDTH = 0.7
DENSITY_COLORS, ERROR_COLORS = 'magma', 'inferno'


@dataclass(frozen=True)
class Subject:
    """What is shown.

    Attributes:
        name: for the title.
        gaussians: of the region, on the CPU.
        cutoff: how far the network draws them.
        lq: the region of the LR image, (h, w, 3), 0..1.
        sr: the region of the result, (H, W, 3), 0..1.
        density: Gaussians per LR pixel.
        gt: the region of the ground truth, (H, W, 3), 0..1; None where there is none.
        highlighted: how many Gaussians are shown in red.
        seed: chooses them.
    """

    name: str
    gaussians: Gaussians
    cutoff: Cutoff
    lq: np.ndarray
    sr: np.ndarray
    density: float
    gt: np.ndarray | None = None
    highlighted: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Panel:
    """An image (H, W, 3) or a map (H, W) with colours and a unit; and what is drawn over it.

    Attributes:
        extent: the part of the LR image that it shows.
        bottom, top: the values of a map's first and last colour; None for the largest.
    """

    title: str
    pixels: np.ndarray
    extent: Region
    colors: str | None = None
    unit: str = ''
    bottom: float = 0.0
    top: float | None = None
    contours: Ellipses | None = None
    contour_color: str = 'red'
    box: Region | None = None


def make_panels(subject: Subject) -> dict[str, Panel]:
    """All panels, by the names of their files."""
    gaussians, (h, w) = subject.gaussians, subject.gaussians.lq_size
    whole = Region(0, 0, w, h)
    sr = subject.sr
    H, W = sr.shape[:2]
    zoom = max(PANEL_PIXELS / max(h, w), H / h)
    shown = (max(1, round(h * zoom)), max(1, round(w * zoom)))

    close = layers.most_detailed(sr, (h, w), close_up_side(subject.density))
    chosen = layers.choose(gaussians, subject.highlighted, subject.seed)
    rows, columns = H / h, W / w
    scale = f'{rows:.4g}' if abs(rows - columns) < 0.01 else f'{rows:.4g} x {columns:.4g}'
    crowd = layers.density_map(gaussians, shown)
    panels = {
        'lr': Panel(f'LR, {w} x {h}', subject.lq, whole),
        'sr': Panel(f'SR, x{scale}', sr, whole, box=close),
    }
    if subject.gt is not None:
        panels['gt'] = Panel('GT', subject.gt, whole)
        error = layers.error_map(sr, subject.gt)
        panels['error'] = Panel(
            f'Error, PSNR {layers.psnr(sr, subject.gt):.2f} dB (RGB)',
            error,
            whole,
            ERROR_COLORS,
            '|SR - GT|, mean over channels (0..1)',
            top=float(np.percentile(error, ERROR_PERCENTILE)) or None,
        )
    panels |= {
        'positions': Panel(
            r'Positions ($\sigma$, $\rho$, colour fixed)', layers.positions(gaussians, shown, subject.density), whole
        ),
        'highlighted': Panel(
            f'{len(chosen)} of {gaussians.means.shape[1]} in red, contours at 1 $\\sigma$',
            layers.draw(layers.with_red(gaussians, chosen), shown, subject.cutoff),
            whole,
            contours=layers.ellipses(gaussians, chosen),
        ),
        'close_up': close_up_panel(gaussians, close, subject.cutoff),
        'density': Panel(
            'Density',
            crowd,
            whole,
            DENSITY_COLORS,
            'Gaussians per LR pixel',
            bottom=min(float(crowd.min()), (1 - DENSITY_MARGIN) * subject.density),
            top=max(float(crowd.max()), (1 + DENSITY_MARGIN) * subject.density),
        ),
    }
    return panels


def write_sheet(subject: Subject, panels: dict[str, Panel], path: Path) -> None:
    """Writes all panels as one labelled PNG file."""
    columns = 3 if len(panels) <= 6 else 4
    rows = -(-len(panels) // columns)
    h, w = subject.gaussians.lq_size
    width, height = PANEL_INCHES * w / max(h, w), PANEL_INCHES * h / max(h, w)
    figure = new_figure(columns * max(width, 2.6), rows * (max(height, 1.2) + 0.35) + 0.4)
    figure.suptitle(subject.name)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels.values()):
        axes.set_title(panel.title, fontsize=10)
        _draw_panel(axes, panel)
        if panel.colors:
            bar = figure.colorbar(axes.images[0], ax=axes, fraction=0.046, pad=0.02)
            bar.set_label(panel.unit, fontsize=8)
            bar.ax.tick_params(labelsize=8)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format='png')


def panel_png(panel: Panel) -> bytes:
    """A panel alone, as PNG, without frame or label, of the size of its pixels or as large as a panel of the sheet."""
    height, width = panel.pixels.shape[:2]
    enlarge = max(1.0, PANEL_PIXELS / max(height, width))
    figure = new_figure(width * enlarge / DPI, height * enlarge / DPI)
    figure.set_layout_engine('none')
    _draw_panel(figure.add_axes((0, 0, 1, 1)), panel)
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, format='png')
    return file.getvalue()


def close_up_panel(gaussians: Gaussians, region: Region, cutoff: Cutoff) -> Panel:
    """A small region, with the contours of all of its Gaussians."""
    near = layers.crop_gaussians(gaussians, region, cutoff.support)
    zoom = PANEL_PIXELS / max(region.width, region.height)
    return Panel(
        'Close-up: all contours at 1 $\\sigma$',
        layers.draw(near, (round(region.height * zoom), round(region.width * zoom)), cutoff),
        region,
        contours=layers.ellipses(near, np.arange(near.means.shape[1])),
        contour_color='cyan',
    )


def close_up_side(density: float) -> int:
    """LR pixels in which the contours can be told from each other."""
    return max(2, round((CLOSE_UP_CONTOURS / density) ** 0.5))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.collections import EllipseCollection
    from matplotlib.patches import Rectangle

    width, height = panel.extent.width, panel.extent.height
    axes.imshow(
        panel.pixels,
        cmap=panel.colors,
        extent=(0, width, height, 0),
        interpolation='antialiased',
        vmin=panel.bottom if panel.colors else None,
        vmax=panel.top,
    )
    if panel.contours is not None:
        centres, axes_lengths, angles = panel.contours
        axes.add_collection(
            EllipseCollection(
                axes_lengths[:, 0],
                axes_lengths[:, 1],
                angles,
                units='xy',
                offsets=centres,
                offset_transform=axes.transData,
                facecolors='none',
                edgecolors=panel.contour_color,
                linewidths=EDGE_WIDTH,
            )
        )
    if panel.box is not None:
        box = panel.box
        axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor='cyan', linewidth=1.2))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
