"""The metrics of single images, kept in a file while a test runs, so that a killed test goes on where it was."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsasr_plugin.whole_file import write_whole

WHOLE_IMAGE = 'everything'
FILE = 'values.jsonl'  # of the first process; the others' have a number
# Options that do not change a value or a picture.
_NEUTRAL = {
    *('pbar', 'paper_row', 'val_freq'),
    *('num_worker_per_gpu', 'batch_size_per_gpu', 'pin_memory', 'cache', 'cache_dir'),
}


@dataclass(frozen=True)
class ImageValues:
    """The metrics of one image at one scale.

    Attributes:
        scale: the scale's name, such as '3.7'.
        file: the file that it comes from, or the key in an LMDB.
        model: each metric's value, by its name in the option file, as far as it could be computed.
        bicubic: the same of the LR image's bicubic enlargement; empty where it was not asked for.
        failed: what was raised, by the name of the metric or WHOLE_IMAGE.
    """

    dataset: str
    scale: str
    image: str
    file: str
    model: dict[str, float] = field(default_factory=dict)
    bicubic: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class ValuesFile:
    """The values of a test so far: one JSON line per image, under a key for the weights and options that made it.

    Args:
        key: what `run_key` gives. Values under other keys are of no use, and leave the file.
        rank: of the process, each of which writes to a file of its own.
    """

    def __init__(self, folder: Path, key: str, rank: int = 0) -> None:
        self.path = folder / (f'{FILE}.{rank}' if rank else FILE)
        self.key = key

    def read(self, dataset: str) -> list[ImageValues]:
        """The values of one data set that this run may use; those of others stay in the file.

        What several processes have left is brought together, while none of them adds to it.
        """
        kept, found = [], []
        for line, key, values in self._lines():
            if values.dataset != dataset:
                kept.append(line)
            elif key == self.key:
                kept.append(line)
                found.append(values)
        write_whole(self.path, ''.join(f'{line}\n' for line in kept))  # without a last line that a kill cut short
        for path in self._files():
            if path != self.path:
                path.unlink()
        return found

    def add(self, values: ImageValues) -> None:
        """Appends one image's values."""
        with self.path.open('a') as file:
            file.write(json.dumps({'key': self.key, **asdict(values)}) + '\n')

    def _lines(self) -> Iterator[tuple[str, str, ImageValues]]:
        for line in (line for path in self._files() for line in path.read_text().splitlines()):
            try:
                content = json.loads(line)
                yield line, content.pop('key'), ImageValues(**content)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # cut short by a kill

    def _files(self) -> list[Path]:
        """Of all processes."""
        return sorted(self.path.parent.glob(f'{FILE}*'))


def run_key(state: Mapping[str, Tensor], *sections: Mapping[str, Any]) -> str:
    """A digest of weights and options: two runs of the same key give the same values and pictures.

    Args:
        state: the state dict of the network that is tested.
        sections: of the options: network, validation, data set.
    """
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for section in sections:
        options = {str(key): value for key, value in section.items() if key not in _NEUTRAL}
        digest.update(json.dumps(options, sort_keys=True, default=str).encode())
    return digest.hexdigest()
