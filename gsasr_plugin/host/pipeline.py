"""Running the host's own train and test pipelines on options that have been checked."""

import contextlib
import importlib
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from basicsr.utils.dist_util import master_only

from gsasr_plugin.host.option_check import OptionFile, write_option_file
from gsasr_plugin.host.worker_faults import worker_faults_told
from gsasr_plugin.stop_signals import stop_signals


def run_pipeline(task: Literal['train', 'test'], file: OptionFile, host_flags: list[str], command: str) -> None:
    """Run `basicsr.train.train_pipeline` or `basicsr.test.test_pipeline` with the current folder as root path.

    Args:
        file: Checked options.
        host_flags: Flags of the host's own parser, beside `-opt` and `--force_yml`, which are settled.
        command: The command line as the user gave it, noted in the copy of the options that the run keeps.
    """
    module = importlib.import_module(f'basicsr.{task}')
    pipeline = getattr(module, f'{task}_pipeline')
    with (
        _file_for_host(file, command) as path,
        # BasicSR parses these, and later writes them into the copy of the options.
        _in_place(sys, 'argv', [f'basicsr {task}', '-opt', path, *host_flags]),
        # A spawned worker process first imports the main module of its parent, unless that is a package's `__main__`,
        # as after `python -m gsasr_plugin`. Under the name of the command line's, this package is imported, and BasicSR
        # repaired, before anything is unpickled.
        _in_place(sys.modules['__main__'], '__spec__', importlib.util.find_spec('gsasr_plugin.cli')),
        _given_file_kept(module, file) if task == 'train' else contextlib.nullcontext(),
        stop_signals() if task == 'train' else contextlib.nullcontext(),
        worker_faults_told(),
    ):
        pipeline(os.getcwd())
    # The host leaves the group to the end of the process, which then warns or hangs. After an error it must not be
    # waited for: torchrun ends the other processes.
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def _file_for_host(file: OptionFile, command: str) -> Iterator[str]:
    """A file with exactly the checked options, of the name of the user's; the host copies it into the run's folder."""
    with tempfile.TemporaryDirectory(prefix='basicsr-options-') as folder:
        path = os.path.join(folder, os.path.basename(file.path))
        write_option_file(file.options, path, [f'The options in force, from {file.path} by', command])
        yield path


@contextlib.contextmanager
def _in_place(owner: Any, name: str, value: Any) -> Iterator[None]:
    """For a while, something else under a name of an object."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _given_file_kept(train: types.ModuleType, file: OptionFile) -> Iterator[None]:
    """Beside the options in force, the folder of the run gets the user's own file, with `_as_given` in its name."""
    host_copy = train.copy_opt_file

    @master_only
    def copy_both(opt_file: str, experiments_root: str) -> None:
        host_copy(opt_file, experiments_root)
        stem, extension = os.path.splitext(os.path.basename(opt_file))
        Path(experiments_root, f'{stem}_as_given{extension}').write_text(file.text, encoding='utf-8')

    with _in_place(train, 'copy_opt_file', copy_both):
        yield
