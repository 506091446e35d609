"""PSNR of several networks and of bicubic on photographs: tables by photograph and by scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gsasr_plugin.models.validation.image_values import ImageValues, ValuesFile, run_key
from gsasr_plugin.whole_file import write_table, write_whole
from tests.benchmarks.liif.quality import PSNR, psnr_values
from tests.benchmarks.liif.sources import BICUBIC, names_of, network_of

# Of the nine photographs of options/test_gsasr_small.yml the two that carry the mean, and are not what people take.
NOT_EVERYDAY = ('hubble_deep_field', 'retina')

# By network, photograph and scale.
Table = dict[str, dict[str, dict[str, float]]]


def compare_quality(options: Mapping[str, Any], sources: list[str], folder: Path) -> str:
    """Tests networks on all data sets of an option file; goes on where an earlier call was cut off.

    Args:
        options: of a file that tests.
        sources: see `network_of`.
        folder: gets `quality.csv`, `quality.md` and, in a folder for each network, the values so far.

    Returns:
        The tables, Markdown.
    """
    val_opt = options['val']
    table: Table = {}
    described = []
    for name, source in names_of(sources).items():
        net, training = network_of(source)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        described.append(f'* {name}: {", ".join(filter(None, (f"{parameters:,} parameters", training)))}\n')
        (folder / name).mkdir(parents=True, exist_ok=True)
        for section in options['datasets'].values():
            file = ValuesFile(folder / name, run_key(net.state_dict(), val_opt, section))
            enter(table, name, psnr_values(net, section, val_opt['metrics'][PSNR], val_opt, values_file=file))
    text = f'{"".join(described)}\n{markdown(table)}'
    rows = [
        (n, p, s, f'{v:.4f}') for n, images in table.items() for p, scales in images.items() for s, v in scales.items()
    ]
    write_table(folder / 'quality.csv', ('network', 'photograph', 'scale', 'psnr'), rows)
    write_whole(folder / 'quality.md', text)
    return text


def enter(table: Table, name: str, values: Sequence[ImageValues]) -> None:
    """Adds a network's values, and bicubic's, to a table."""
    for image in values:
        for column, value in ((name, image.model[PSNR]), (BICUBIC, image.bicubic[PSNR])):
            table.setdefault(column, {}).setdefault(image.image, {})[image.scale] = value


def markdown(table: Table) -> str:
    """PSNR of each photograph, and mean gains over bicubic, of all photographs and of the everyday ones."""
    networks = [name for name in table if name != BICUBIC]
    images = table[BICUBIC]
    scales = list(next(iter(images.values())))
    header = ' | '.join(['', *(f'x{scale}' for scale in scales), '']).rstrip()
    rule = '|---' * (len(scales) + 1) + '|'
    lines = [f'PSNR on Y in dB: {" / ".join([*networks, BICUBIC])}', '', f'| photograph{header}', rule]
    for image in images:
        cells = [' / '.join(f'{table[name][image][scale]:.2f}' for name in (*networks, BICUBIC)) for scale in scales]
        lines.append(_row(image, cells))
    lines += ['', 'Mean gain over bicubic in dB:', '', f'| network, photographs{header}', rule]
    everyday = [image for image in images if image not in NOT_EVERYDAY]
    for which, chosen in {'all': list(images), 'everyday': everyday}.items():
        for name in networks:
            gains = [
                sum(table[name][image][scale] - table[BICUBIC][image][scale] for image in chosen) / len(chosen)
                for scale in scales
            ]
            lines.append(_row(f'{name}, {len(chosen)} ({which})', [f'{gain:+.2f}' for gain in gains]))
    return '\n'.join(lines) + '\n'


def _row(name: str, cells: Sequence[str]) -> str:
    return f'| {name} | {" | ".join(cells)} |'
