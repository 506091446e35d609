"""What is said where a library that BasicSR brings is absent, or lacks something of the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from gsasr_plugin.host.plugins import basicsr_command
from tests import forked

# A process that finds no BasicSR, as after the installation of a wheel on Python 3.13.
WITHOUT = """
import importlib.metadata
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == 'basicsr':
            raise ModuleNotFoundError("No module named 'basicsr'", name='basicsr')

def version_of_others(name, version=importlib.metadata.version):
    if name == 'basicsr':
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

sys.meta_path.insert(0, Absent())
importlib.metadata.version = version_of_others
"""
# One whose OpenCV is as in a container that holds no desktop's libraries.
OPENCV = """
import sys
for name in [name for name in sys.modules if name.partition('.')[0] == 'cv2']:
    del sys.modules[name]
sys.path.insert(0, 'absent')
"""
LACK = 'libxcb.so.1: cannot open shared object file: No such file or directory'
RUN = """
from gsasr_plugin import cli, commands
sys.exit((commands.main if sys.argv[1] == 'gsasr' else cli.main)(sys.argv[2:]))
"""
TRAIN = 'basicsr train -opt train_gsasr_quickstart'
PREPARE = 'gsasr prepare train --gt gt --size 16 --workers 1 --out out --lmdb'


@pytest.mark.parametrize(
    ('command', 'status', 'told'),
    [
        (TRAIN, 1, "No module named 'basicsr'; it is installed by: "),
        (PREPARE, 1, "No module named 'basicsr'; it is installed by: "),
        ('gsasr info', 0, 'BasicSR (which trains and tests) '),
    ],
)
@pytest.mark.slow
def test_without_basicsr_the_command_is_told(command: str, status: int, told: str, project: Path) -> None:
    done = forked.run(['-c', WITHOUT + RUN, *command.split()])
    # Of the package that the process finds, which may be an installed one.
    printed = forked.run(
        ['-c', f'from {basicsr_command.__module__} import basicsr_command; print(basicsr_command())']
    ).stdout
    assert 'pip install' in printed
    assert done.returncode == status and told + printed in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ('command', 'status', 'told'),
    [
        (TRAIN, 1, f'basicsr: error: BasicSR cannot be imported: {LACK}; OpenCV'),
        (PREPARE, 1, f'gsasr prepare: error: {LACK}; OpenCV'),
        ('gsasr check-data gt', 1, f'gsasr check-data: error: {LACK}; OpenCV'),
        ('gsasr info', 0, f'  OpenCV (which reads data sets) {LACK}; OpenCV'),
    ],
)
def test_an_opencv_that_wants_a_desktop_is_told(command: str, status: int, told: str, project: Path) -> None:
    (project / 'absent' / 'cv2').mkdir(parents=True)
    (project / 'absent' / 'cv2' / '__init__.py').write_text(f'raise ImportError({LACK!r})\n')
    done = forked.run(['-c', OPENCV + RUN, *command.split()])
    assert done.returncode == status and told in done.stdout + done.stderr, done.stderr
    assert 'python -m pip install opencv-python-headless\n' in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
