"""Folders that cannot be written to, and disks that are full, as they are: no part of the operating system is replaced.

Rights are those of a process without the power to pass over them, also where the tests run as root; read-only and full
disks are mounted in a name space of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

PROGRAM = """\
import sys
from gsasr_plugin.upscaling.upscaler import Upscaler
def gaussians(*_, **__):
    print('the network ran', file=sys.stderr)
    return real(*_, **__)
real, Upscaler.gaussians = Upscaler.gaussians, gaussians
from gsasr_plugin.commands import main
sys.exit(main(sys.argv[1:]))
"""
WITHOUT_POWERS = ['setpriv', '--bounding-set=-dac_override,-dac_read_search,-fowner', '--']
MOUNTING = ['unshare', '--map-root-user', '--mount', '--']


def able(command: list[str]) -> bool:
    return (
        shutil.which(command[0]) is not None and subprocess.run([*command, 'true'], capture_output=True).returncode == 0
    )


def upscaled(before: list[str], picture: Path, model: Path, target: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        '-c',
        PROGRAM,
        'upscale',
        str(picture),
        '-o',
        target,
        '--scale',
        '2',
        '--model',
        str(model),
    ]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    return subprocess.run([*before, *command], capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / 'photo.png'
    Image.fromarray(skimage.data.astronaut()[:400, :400]).save(file)
    return file


@pytest.mark.slow
def test_a_folder_without_rights_is_found_before_the_network_runs(picture: Path, model_file: Path) -> None:
    before = WITHOUT_POWERS if os.geteuid() == 0 else []
    if before and not able(before):
        pytest.skip('setpriv cannot take powers away from root')
    folder = picture.parent / 'locked'
    folder.mkdir(mode=0o555)
    for target in (f'{folder}/x.png', f'{folder}/new/'):
        run = upscaled(before, picture, model_file, target)
        assert f'error: -o: no file can be written to {folder}: Permission denied' in run.stderr
        assert run.returncode == 2 and 'the network ran' not in run.stderr
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'fill', 'status', 'message'),
    [
        ('ro', '', 2, 'error: -o: no file can be written to {folder}: Read-only file system'),
        ('size=1m', 'head -c 2M /dev/zero > much 2> /dev/null;', 2, '{folder}: No space left on device'),
        ('size=300k', '', 1, 'failed: the result cannot be written: No space left on device'),
    ],
    ids=['read-only', 'full', 'becomes full'],
)
def test_a_disk_that_takes_nothing(
    picture: Path, model_file: Path, options: str, fill: str, status: int, message: str
) -> None:
    """What is full already is found before the network runs; what becomes full is told, and has no half file."""
    folder = picture.parent / 'disk'
    folder.mkdir()
    if not able([*MOUNTING, 'sh', '-c', f'mount -t tmpfs none {folder}']):
        pytest.skip('nothing can be mounted here')
    script = f'mount -t tmpfs -o {options} none {folder} && {{ cd {folder}; {fill} "$@"; code=$?; ls -A; exit $code; }}'
    run = upscaled([*MOUNTING, 'sh', '-c', script, 'sh'], picture, model_file, f'{folder}/x.png')
    assert message.format(folder=folder) in run.stderr
    assert run.returncode == status and ('the network ran' in run.stderr) == (status == 1)
    assert run.stdout.split() == (['much'] if fill else [])
