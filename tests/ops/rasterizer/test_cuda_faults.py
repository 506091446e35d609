"""Proof that the SIMT shim can fail: it notices broken copies of the real kernels, and small kernels with one fault."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.ops.rasterizer.simt.harness import (
    RASTERIZER,
    compare,
    compile_objects,
    environment,
    link,
    reference,
    run,
    shim,
)
from tests.ops.rasterizer.simt.scenes import busy, crowd, few_huge

pytestmark = pytest.mark.slow

# Fault -> file of ops/rasterizer/cuda, what stands there, what the broken copy has instead, and how it shows. A race
# shows as other bits for another order of threads, or as whatever the poison leads to.
RACE = 'gives other bits|out of bounds|heap-buffer-overflow|Not equal to tolerance'
WRITE_OUTSIDE = 'write outside a part of the scratch memory'
BROKEN = {
    'missing barrier': (
        'render.cuh',
        '            __syncthreads();\n\n            // Which candidates meet',
        '            // Which candidates meet',
        RACE,
    ),
    'missing barrier between batches': (
        'render.cuh',
        'batch < batches; ++batch) {\n            __syncthreads();',
        'batch < batches; ++batch) {\n            if (batch == 0) __syncthreads();',
        RACE,
    ),
    'missing barrier of a warp': ('render.cuh', '            __syncwarp();\n', '', RACE),
    'wrong shuffle mask': (
        'device.cuh',
        '__shfl_xor_sync(kAllLanes,',
        '__shfl_xor_sync(kAllLanes >> Lanes / 2,',
        'a lane calls a collective whose mask does not name it',
    ),
    'write outside the image': (
        'render.cuh',
        'tile_y + y + r < image.end_row) {',
        'tile_y + y + r <= image.end_row) {',
        'heap-buffer-overflow',
    ),
    'order of arrival': ('bins.cuh', 'records[first + rank] = record;', 'records[slot] = record;', 'gives other bits'),
    'large cells are left in the order of arrival': (
        'bins.cuh',
        'atomicAdd(&bins.large[0], 1)',
        'atomicAdd(&bins.large[0], 0)',
        'gives other bits',
    ),
    'a box is forgotten where two are large': (
        'backward.cuh',
        'large &= ~(((1u << Lanes % kWarp) - 1u) << group * Lanes);',
        'large = 0;',
        RACE,
    ),
    'read outside a part of the scratch memory': (
        'render.cuh',
        'run.length = cells[columns.end] - run.first;',
        'run.length = cells[columns.end] - run.first + (starts[-300] >> 31);',
        'use-after-poison',
    ),
    WRITE_OUTSIDE: (
        'bins.cuh',
        'bins.cell_of[i] = cell;',
        'bins.cell_of[i] = cell; if (i == 0) bins.cell_of[gaussians.B * gaussians.N] = 0;',
        'use-after-poison',
    ),
}


@pytest.fixture(scope='session')
def broken_drivers(tmp_path_factory) -> dict[str, Path]:
    objects = shim(tmp_path_factory.getbasetemp()).values()
    folder = tmp_path_factory.mktemp('broken')

    def build(item) -> Path:
        fault, (name, right, wrong, _) = item
        place = folder / fault.replace(' ', '_')
        shutil.copytree(RASTERIZER, place / 'rasterizer')
        source = place / 'rasterizer' / 'cuda' / name
        text = source.read_text()
        assert text.count(right) == 1, f'{name} no longer holds what "{fault}" breaks'
        source.write_text(text.replace(right, wrong))
        # Faster to compile, and what shows these faults is the shim or AddressSanitizer.
        kernels = compile_objects(place / 'rasterizer', place, ['rasterize.cu'], ['-O0', '-fno-sanitize=undefined'])
        return link([*objects, *kernels], place / 'driver')

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(BROKEN, pool.map(build, BROKEN.items())))


# What shows a fault that the busy scene does not. On the kernels themselves all pass: test_cuda_simt.py.
SCENES = {
    'large cells are left in the order of arrival': lambda: crowd([1500], others=0),
    'a box is forgotten where two are large': few_huge,
}


@pytest.mark.parametrize('fault', BROKEN)
def test_broken_kernels_are_noticed(broken_drivers, tmp_path, fault):
    problem = SCENES.get(fault, busy)()
    with pytest.raises(AssertionError, match=BROKEN[fault][3]):
        compare(run(broken_drivers[fault], problem, tmp_path, seeds=(1, 2, 3)), reference(problem))


def test_guard_zones_tell_what_was_written(broken_drivers, tmp_path, monkeypatch):
    """On a GPU no sanitizer watches them."""
    monkeypatch.setenv('SIMT_FORBIDS_NOTHING', '1')
    with pytest.raises(AssertionError, match='a kernel wrote behind its part of the memory'):
        run(broken_drivers[WRITE_OUTSIDE], busy(), tmp_path)


@pytest.fixture(scope='session')
def faults(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('faults')
    return link(
        [shim(tmp_path_factory.getbasetemp())['simt.cpp'], *compile_objects(RASTERIZER, folder, ['faults.cu'])],
        folder / 'faults',
    )


def run_fault(faults: Path, name: str, seed: int) -> subprocess.CompletedProcess:
    command = [str(faults), name, str(seed)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)


@pytest.mark.parametrize(
    ('name', 'sums'),
    [('sound_exchange', '1520 1520 1520'), ('sound_groups', '240 240 240'), ('sound_fresh_shared_memory', '0 0 0')],
)
def test_sound_kernels_pass(faults, name, sums):
    for seed in range(3):
        done = run_fault(faults, name, seed)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == sums


def test_missing_barrier_reads_poison(faults):
    done = run_fault(faults, 'missing_barrier', 1)
    assert done.returncode == 0
    assert '1520' not in done.stdout.split()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('shared_out_of_bounds', 'heap-buffer-overflow'),
        ('global_out_of_bounds', 'heap-buffer-overflow'),
        ('caller_not_in_mask', 'whose mask does not name it'),
        ('masks_differ', 'lanes of one mask meet at different collectives|deadlock'),
        ('source_not_in_mask', 'reads a lane that is not in the mask'),
        ('different_operations', 'lanes of one mask meet at different collectives'),
        ('lane_has_ended', 'a mask names a lane that has ended|deadlock'),
        ('thread_has_ended', 'a barrier waits for a thread that has ended|deadlock'),
        ('different_barriers', 'threads of a block wait at different barriers'),
        ('deadlock', 'deadlock'),
    ],
)
def test_faults_are_named(faults, name, message):
    for seed in range(3):
        done = run_fault(faults, name, seed)
        assert done.returncode != 0
        assert any(part in done.stderr for part in message.split('|')), done.stderr
