"""How much memory is free for this process: on a device, or on Linux in this machine and in its control groups; and
what becomes of memory that it frees."""

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

# Where the system does not say what is free (no Linux, CUDA or Apple's GPU): 4 GiB.
UNKNOWN_FREE = 4 << 30


def free_bytes(device: torch.device, root: Path = Path('/')) -> int:
    """Memory of a device that this process may still take.

    Of a CPU: the least of what the machine has available and what the limits of the control groups around this process
    leave: its own (a container's, a batch job's, a service's) and those that it is nested in, of version 1 or 2. Files
    that the system merely keeps in memory count as free, for they make room. Swap is not counted.

    Args:
        root: below which the system's files are read.
    """
    if device.type == 'cuda':
        free, _ = torch.cuda.mem_get_info(device)
        return free + held_bytes(device)
    if device.type == 'mps':
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    if device.type != 'cpu':
        return UNKNOWN_FREE
    known = [_available(root), *(_left(folder, *files) for folder, files in _groups(root))]
    return min((free for free in known if free is not None), default=UNKNOWN_FREE)


def held_bytes(device: torch.device) -> int:
    """Memory of a device that PyTorch holds for this process without using it: the part of `free_bytes` that it knows
    without asking the driver; 0 of other devices than CUDA's."""
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) if device.type == 'cuda' else 0


def give_back(device: torch.device) -> None:
    """Give back what PyTorch keeps of a device's memory for later."""
    if device.type in ('cuda', 'mps'):
        torch.get_device_module(device).empty_cache()


def keep_freed_memory() -> None:
    """Has this process keep the memory that it frees, for its next step or picture, in whichever thread that is.

    The C library gives blocks of more than a few megabytes back to the system, which then clears each page anew: a
    tenth of a training step on CPUs, 4 % of a small picture. Of other libraries than glibc nothing is asked.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        mmap_max, trim_threshold, arena_max = -4, -1, -8  # of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(arena_max, 1)  # what threads have of their own is given back all the same


def _available(root: Path) -> int | None:
    """Of the machine."""
    match = re.search(r'^MemAvailable:\s+(\d+) kB', _text(root / 'proc/meminfo'), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


# Of each version, by the type of its file system: the files of limits, the file of use, and in memory.stat the prefix
# of the numbers that include the groups below.
_FILES = {
    'cgroup2': (('memory.max', 'memory.high'), 'memory.current', ''),
    'cgroup': (('memory.limit_in_bytes',), 'memory.usage_in_bytes', 'total_'),
}

# Of a mount: which part of its file system, where, its type and its own options; spaces are written \040.
_MOUNT = rf'^\d+ \d+ \S+ (/\S*) (/\S*) .*- ({"|".join(_FILES)}) \S+ (\S+)$'


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def _groups(root: Path) -> Iterator[tuple[Path, tuple[tuple[str, ...], str, str]]]:
    """The folders of all control groups around this process that may limit its memory, and what their files are."""
    paths = {}
    for controllers, name in re.findall(r'^\d+:([^:]*):(.+)$', _text(root / 'proc/self/cgroup'), re.MULTILINE):
        for controller in controllers.split(','):  # '' in version 2
            paths[controller] = PurePosixPath(name)
    for fields in re.findall(_MOUNT, _text(root / 'proc/self/mountinfo'), re.MULTILINE):
        top, point = (PurePosixPath(re.sub(r'\\([0-7]{3})', _character, field)) for field in fields[:2])
        kind, options = fields[2:]
        controller = '' if kind == 'cgroup2' else 'memory'
        if kind == 'cgroup' and controller not in options.split(','):
            continue
        folder = root / point.relative_to('/')
        yield folder, _FILES[kind]
        path = paths.get(controller, top)
        # What a container sees mounted is the part of the tree from `top`, and its path need not lead there.
        for part in path.relative_to(top).parts if path.is_relative_to(top) and '..' not in path.parts else ():
            folder /= part
            yield folder, _FILES[kind]


def _left(folder: Path, limits: tuple[str, ...], use: str, prefix: str) -> int | None:
    """What the limit of one control group leaves, if it has one."""
    numbers = [text for name in limits if (text := _text(folder / name).strip()).isdecimal()]  # or 'max'
    used = _text(folder / use).strip()
    if not (numbers and used.isdecimal()):
        return None
    cached = re.findall(rf'^{prefix}(?:in)?active_file (\d+)$', _text(folder / 'memory.stat'), re.MULTILINE)
    return max(0, min(map(int, numbers)) - max(0, int(used) - sum(map(int, cached))))


def _text(file: Path) -> str:
    """What a file holds; nothing where it cannot be read."""
    try:
        return file.read_text(encoding='utf-8', errors='surrogateescape')  # somebody's mount may have any name
    except OSError:
        return ''
