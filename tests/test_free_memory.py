"""Free memory in machines, containers and batch jobs, from a copy of their files; and what follows from it."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path

import pytest
import torch

from gsasr_plugin.archs import GSASR, tile_memory
from gsasr_plugin.free_memory import UNKNOWN_FREE, free_bytes
from gsasr_plugin.upscaling import estimate
from tests import forked

CPU = torch.device('cpu')
GIB = 2**30
NO_LIMIT = 9223372036854771712  # as version 1 writes it
MEMINFO = {'proc/meminfo': f'MemTotal: {99 << 20} kB\nMemAvailable:   {64 << 20} kB\nSwapFree: {9 << 20} kB\n'}
VERSION_2 = '29 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n'
VERSION_1 = (
    '31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n'
    '33 31 0:30 {top} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n'
    '35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n'
    '41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n'
)


def group(folder: str, limit: object, used: float, inactive: float = 0, active: float = 0) -> dict[str, str]:
    """The files of a control group of version 2; amounts in GiB."""
    return {
        f'{folder}/memory.max': f'{limit}\n',
        f'{folder}/memory.current': f'{int(used * GIB)}\n',
        f'{folder}/memory.stat': f'anon {GIB}\ninactive_file {int(inactive * GIB)}\nactive_file {int(active * GIB)}\n',
    }


def group_1(folder: str, limit: int, used: int, cached: int) -> dict[str, str]:
    """The same of version 1; the cache is of the groups below."""
    return {
        f'{folder}/memory.limit_in_bytes': f'{limit}\n',
        f'{folder}/memory.usage_in_bytes': f'{used * GIB}\n',
        f'{folder}/memory.memsw.limit_in_bytes': f'{GIB // 2}\n',
        f'{folder}/memory.stat': f'inactive_file 0\nactive_file 0\ntotal_inactive_file {cached * GIB}\n',
    }


def process(cgroup: str, mountinfo: str, top: str = '/') -> dict[str, str]:
    return {'proc/self/cgroup': cgroup, 'proc/self/mountinfo': mountinfo.replace('{top}', top)}


# The review's container: 16 GiB, of which 1 GiB is in use, while 14.9 GiB are files that were read.
CONTAINER = {
    **process('0::/\n', VERSION_2),
    **group('sys/fs/cgroup', 16 * GIB, 15.9, inactive=13.9, active=1),
}
SLICES = 'sys/fs/cgroup/system.slice'
JOB = 'sys/fs/cgroup/memory/slurm/job_2'
LAYOUTS = {
    'nothing known': ({}, UNKNOWN_FREE / GIB),
    'machine': (MEMINFO, 64),
    'container': (MEMINFO | CONTAINER, 15),
    'a mount of another alphabet': (
        MEMINFO | CONTAINER | process('0::/\n', f'27 23 8:1 / /mnt/caf\udce9 rw - ext4 /dev/sdb rw\n{VERSION_2}'),
        15,
    ),
    'a mount with a space': (
        MEMINFO
        | process('0::/\n', VERSION_2.replace('/sys/fs/cgroup', '/sys/fs/control\\040groups'))
        | group('sys/fs/control groups', 16 * GIB, 15.9, inactive=13.9, active=1),
        15,
    ),
    'lines of another form': (MEMINFO | process('0:/\n\nx\n', '\n29 - cgroup2\n - \nx\n'), 64),
    'no limit': (MEMINFO | CONTAINER | {'sys/fs/cgroup/memory.max': 'max\n'}, 64),
    'limit above the machine': (MEMINFO | CONTAINER | {'sys/fs/cgroup/memory.max': f'{999 * GIB}\n'}, 64),
    'limit exceeded': (MEMINFO | CONTAINER | {'sys/fs/cgroup/memory.max': f'{GIB // 2}\n'}, 0),
    # A service in a slice: the limit of the slice counts, from which its reclaim starts.
    'nested': (
        MEMINFO
        | process('0::/system.slice/slurm.scope/job_7/step_0\n', VERSION_2)
        | group(SLICES, 'max', 30)
        | group(f'{SLICES}/slurm.scope', 40 * GIB, 30)
        | group(f'{SLICES}/slurm.scope/job_7', 8 * GIB, 5, inactive=3)
        | group(f'{SLICES}/slurm.scope/job_7/step_0', 'max', 2),
        6,
    ),
    'throttled': (
        MEMINFO
        | process('0::/system.slice\n', VERSION_2)
        | group(SLICES, 40 * GIB, 30)
        | {f'{SLICES}/memory.high': f'{32 * GIB}\n'},
        2,
    ),
    # Its own group is mounted, under the path that the whole machine has for it; below is a group of its own making.
    'container that is told its path': (
        MEMINFO
        | process('0::/docker/abc/worker\n', VERSION_2, '/docker/abc')
        | group('sys/fs/cgroup', 16 * GIB, 4)
        | group('sys/fs/cgroup/worker', 5 * GIB, 4, active=1),
        2,
    ),
    'path that leads nowhere': (
        MEMINFO | process('0::/../../a/b\n', VERSION_2) | group('sys/fs/cgroup', 16 * GIB, 4) | group('sys', GIB, 1),
        12,
    ),
    'version 1': (
        MEMINFO
        | process('5:cpu,cpuacct:/\n4:memory:/slurm/job_2/step_0\n0::/\n', VERSION_1)
        | group_1('sys/fs/cgroup/memory', NO_LIMIT, 60, 20)
        | group_1(JOB, 12 * GIB, 11, 7)
        | group_1(f'{JOB}/step_0', NO_LIMIT, 3, 1),
        8,
    ),
    'container of version 1': (
        MEMINFO
        | process('4:memory:/docker/abc\n0::/\n', VERSION_1, '/docker/abc')
        | group_1('sys/fs/cgroup/memory', 6 * GIB, 5, 3),
        4,
    ),
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding='utf-8', errors='surrogateescape')
    return root


@pytest.mark.parametrize('layout', LAYOUTS)
def test_free_memory_is_what_machine_and_groups_leave(layout: str, tmp_path: Path) -> None:
    files, free = LAYOUTS[layout]
    assert free_bytes(CPU, write(tmp_path, files)) == pytest.approx(free * GIB, abs=2)  # bytes, cut off above


def test_a_container_that_has_read_files_needs_no_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = partial(free_bytes, root=write(tmp_path, MEMINFO | CONTAINER))
    for module in (tile_memory, estimate):
        monkeypatch.setattr(module, 'free_bytes', free)
    # As large as gsasr-small.
    net = GSASR(encoder_opt={'type': 'EDSR'}, embed_dim=48, num_heads=4, window_size=8, gaussian_density=4).eval()
    with torch.inference_mode():
        assert net.tiles((480, 720)) is None
    assert estimate.beyond_memory([((3840, 2160), 'PNG')], whole=estimate.RESULT_BYTES) is None


def test_something_is_free_here() -> None:
    assert free_bytes(CPU) > 0
    assert free_bytes(torch.device('meta')) == UNKNOWN_FREE


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='asks nothing of other C libraries')
def test_freed_memory_is_kept() -> None:
    """Blocks of 64 MB, each in its turn: the first takes 16,384 pages, the others must not take them again.

    One of them may, where something small has meanwhile been put into the first one's place, as much is by the first
    steps of a process.
    """
    program = """
import resource, torch
from gsasr_plugin.free_memory import keep_freed_memory
keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.zeros(1 << 24).add_(1)
before = faults()
for _ in range(5):
    torch.zeros(1 << 24).add_(1)
print(faults() - before)
"""
    done = forked.run(['-c', program])
    assert int(done.stdout.split()[-1]) < 20_000, done.stderr
