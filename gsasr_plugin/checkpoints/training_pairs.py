"""Checkpoints of a training as pairs: the networks of an iteration, and the training state that belongs to them.

The networks are `models/net_<label>_<iteration>.pth`, the state is `training_states/<iteration>.state`, which appears
last and holds the digests of its networks. A state of BasicSR's own has none: then its networks need only be whole.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gsasr_plugin.checkpoints.state_file import read_file
from gsasr_plugin.run_errors import RunError
from gsasr_plugin.whole_file import is_whole_archive, remove_left_overs, replacing_together

DIGESTS = 'networks'  # key of the state: SHA-256 of each network's file, by its name
_NEEDED = {'iter': int, 'epoch': int, 'optimizers': list, 'schedulers': list}
_STATE = re.compile(r'(\d+)\.state')
_NETWORK = re.compile(r'net_\w+_(\d+)\.pth')


class OtherTrainingError(RunError):
    """A training state is of a training that lacks one of the networks."""


class CheckpointFiles:
    """Files of `torch.save` that appear together; see `writing_checkpoint`.

    Attributes:
        digests: SHA-256 of each file that is written, by its name.
    """

    def __init__(self, unfinished: Callable[[Path], Path]) -> None:
        self._unfinished = unfinished
        self.digests: dict[str, str] = {}

    def write(self, path: Path, content: Any) -> None:
        """Writes what will be the file `path`, and reads it again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._unfinished(path)
        try:
            with unfinished.open('wb') as file:  # an archive that is written to a path holds the path's name
                torch.save(content, file)
        except (OSError, RuntimeError) as error:  # torch.save raises either when a disk is full
            raise _not_whole(path, str(error)) from error
        if not is_whole_archive(unfinished):
            raise _not_whole(path, 'is the disk full?')
        self.digests[path.name] = digest(unfinished)


@contextmanager
def writing_checkpoint(*folders: Path) -> Iterator[CheckpointFiles]:
    """Gives the writer of the files of one checkpoint, which appear in the order of writing when all are on the disk.

    Args:
        folders: cleared of what a killed process has left unfinished. One process writes to them.

    Raises:
        RunError: here and in `write`: a file could not be written whole. The files of before are untouched.
    """
    for folder in folders:
        remove_left_overs(folder)
    with replacing_together() as unfinished:
        yield CheckpointFiles(unfinished)


def _not_whole(path: Path, reason: str) -> RunError:
    return RunError(f'{path}: a checkpoint could not be written whole: {reason} Those written before are untouched.')


def has_states(states: Path) -> bool:
    """Whether a run has left a training state, sound or not."""
    return bool(_numbered(states, _STATE))


def newest_pair(states: Path, models: Path, labels: Iterable[str]) -> tuple[Path, dict[str, Any]] | None:
    """The newest complete pair, as the state's path and content; None where there are no states at all.

    Those left out are named on stderr: the log is not open yet.

    Args:
        labels: of the networks that are needed.

    Raises:
        RunError: there are states, but none of a complete pair.
    """
    candidates = sorted(_numbered(states, _STATE).items(), reverse=True)
    for _, (path,) in candidates:
        try:
            return path, read_pair(path, models, labels)
        except OtherTrainingError:
            raise
        except RunError as error:
            if os.environ.get('RANK', '0') == '0':
                print(f'warning: --auto_resume leaves out a damaged checkpoint: {error}', file=sys.stderr, flush=True)
    if candidates:
        raise RunError(
            f'--auto_resume: none of the {len(candidates)} training states in {states} can be used; '
            'without --auto_resume the run starts again, and its old folder is renamed'
        )
    return None


def read_pair(state: Path, models: Path, labels: Iterable[str]) -> dict[str, Any]:
    """The content of a training state whose networks are there and belong to it; see `newest_pair`.

    Raises:
        RunError: a file is missing, damaged, unsafe, or of another pair.
    """
    try:
        content = read_file(state)
    except (FileNotFoundError, ValueError) as error:
        raise RunError(str(error)) from error
    held = content if isinstance(content, dict) else {}
    wrong = [key for key, kind in _NEEDED.items() if not isinstance(held.get(key), kind)]
    if wrong:
        raise RunError(f'{state} is no training state: it has no proper {", ".join(wrong)}')
    wanted = held.get(DIGESTS) or {}
    for label in labels:
        network = models / f'net_{label}_{held["iter"]}.pth'
        if wanted and network.name not in wanted:
            raise OtherTrainingError(
                f'{state} is of a training without network_{label}: path.pretrain_network_g starts a new run from its '
                'network'
            )
        if not network.is_file():
            raise RunError(f'{network}, which belongs to {state}, is missing')
        if not wanted:  # of an older version
            if not is_whole_archive(network):
                raise RunError(f'{network}, which belongs to {state}, is damaged')
        elif digest(network) != wanted[network.name]:
            raise RunError(f'{network} is damaged, or of another time than {state}')
    return held


def prune(states: Path, models: Path, keep_last: int, newest: int) -> None:
    """Deletes all but the last pairs up to an iteration; those beyond it are an earlier attempt's, and stay."""
    state_files = {number: paths for number, paths in _numbered(states, _STATE).items() if number <= newest}
    kept = sorted(state_files)[-keep_last:]
    # A network without its state does no harm, a state without its network would be reported as damaged.
    for files in (state_files, _numbered(models, _NETWORK)):
        for number, paths in files.items():
            if number < kept[0]:
                for path in paths:
                    path.unlink(missing_ok=True)


def _numbered(folder: Path, pattern: re.Pattern[str]) -> dict[int, list[Path]]:
    """The files whose names match, by the number in them."""
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
