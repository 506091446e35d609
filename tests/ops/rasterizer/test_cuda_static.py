"""What nvcc makes of the CUDA kernels for every architecture of the default build, without a GPU: registers, spills,
shared memory, and the machine code (no double precision, no atomics where results could depend on their order).
"""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gsasr_ops import build

SOURCE = build.FOLDER / 'rasterizer' / 'cuda' / 'rasterize.cu'

# At most so many registers: 64 let a multiprocessor of any architecture hold 1024 threads. The rest of the kernels have
# blocks of 256 threads, which 48 registers allow five times.
REGISTERS = {'render_kernel': 64, 'gather_kernel': 64}
REGISTERS_OF_OTHERS = 48
# Bytes: at least ten blocks of the render kernel fit into a multiprocessor of Ampere or later (100 KiB and more), six
# into Turing's 64 KiB.
SHARED_MEMORY = {'render_kernel': 9 * 1024 + 256}
SHARED_MEMORY_OF_OTHERS = 128

DOUBLE = re.compile(r'D(ADD|MUL|FMA|SETP|MNMX)\b|\w+(\.\w+)*\.(F64|RCP64H|RSQ64H)')
ATOMIC = re.compile(r'(ATOM|RED)(|G|S|AS)(\.|$)')  # and not REDUX, which stays within a warp
LOCAL_MEMORY = re.compile(r'(LDL|STL)(\.|$)')


@dataclass(frozen=True)
class Kernel:
    name: str  # without its parameters
    stack: int  # bytes
    spills: int  # bytes stored and loaded
    registers: int
    shared: int  # bytes
    opcodes: frozenset[str]  # with modifiers


def nvcc() -> Path:
    home, how = build.find_toolkit(None)
    if home is None:
        pytest.skip(how)
    return home / 'bin' / 'nvcc'


def disassembler(compiler: Path) -> str:
    """nvdisasm of the toolkit, or of the triton wheel that comes with torch."""
    places = [compiler.parent / 'nvdisasm', Path(shutil.which('nvdisasm') or '-')]
    try:
        import triton

        places.append(Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'nvdisasm')
    except ImportError:
        pass
    for place in places:
        if place.is_file():
            return str(place)
    pytest.skip('no nvdisasm: neither on the PATH, nor in the toolkit, nor in a triton wheel')


def architectures(compiler: Path) -> list[int]:
    """Those of the default build that this toolkit knows, 75 for sm_75."""
    listed = subprocess.run([compiler, '--list-gpu-code'], capture_output=True, text=True, check=True).stdout
    known = {int(number) for number in re.findall(r'sm_(\d+)\b', listed)}
    return [
        number for number in (int(text.replace('.', '')) for text in build.DEFAULT_ARCHITECTURES) if number in known
    ]


def base_name(mangled: str) -> str:
    """render_kernel of _ZN5gsasr4cuda13render_kernelILi3EEEv..."""
    found = re.search(r'\d+([a-z_]+_kernel)', mangled)
    assert found, f'an unknown kernel: {mangled}'
    return found[1]


def compile_kernels(source: Path, architecture: int, folder: Path) -> list[Kernel]:
    compiler = nvcc()
    cubin = folder / f'{source.stem}_{architecture}.cubin'
    command = [
        compiler,
        *build.nvcc_flags(),
        f'-arch=sm_{architecture}',
        '-Xptxas',
        '-v',
        '-cubin',
        source,
        '-o',
        cubin,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listing = subprocess.run([disassembler(compiler), '-c', cubin], capture_output=True, text=True, check=True).stdout
    opcodes: dict[str, set[str]] = {}
    for line in listing.splitlines():
        if section := re.match(r'//-+ \.text\.(\S+)', line):
            current = opcodes.setdefault(section[1], set())
        elif instruction := re.match(r'\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)', line):
            current.add(instruction[1])

    kernels = []
    for part in done.stderr.split('Compiling entry function ')[1:]:
        name = re.match(r"'(\S+)'", part)[1]

        def number(pattern: str, text: str = part) -> int:
            found = re.search(pattern, text)
            return int(found[1]) if found else 0

        assert re.search(r'Used \d+ registers', part), 'ptxas -v reads differently'
        kernels.append(
            Kernel(
                base_name(name),
                stack=number(r'(\d+) bytes stack frame'),
                spills=number(r'(\d+) bytes spill stores') + number(r'(\d+) bytes spill loads'),
                registers=number(r'Used (\d+) registers'),
                shared=number(r'(\d+) bytes smem'),
                opcodes=frozenset(opcodes[name]),
            )
        )
    return kernels


@pytest.fixture(scope='module')
def compiled(tmp_path_factory) -> dict[int, list[Kernel]]:
    folder = tmp_path_factory.mktemp('cubin')
    listed = architectures(nvcc())
    assert listed, f'nvcc knows none of {build.DEFAULT_ARCHITECTURES}'
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(listed, pool.map(lambda number: compile_kernels(SOURCE, number, folder), listed)))


def all_kernels(compiled: dict[int, list[Kernel]]) -> list[tuple[int, Kernel]]:
    return [(number, kernel) for number, kernels in compiled.items() for kernel in kernels]


@pytest.mark.slow
def test_every_kernel_is_compiled(compiled):
    for kernels in compiled.values():
        names = sorted(kernel.name for kernel in kernels)
        # One per number of channels; gather_kernel also per number of lanes.
        expected = ['count_kernel', 'scan_chunks_kernel', 'scatter_kernel', 'store_images_kernel', 'sum_chunks_kernel']
        expected += ['order_kernel']
        expected += ['render_kernel'] * 4 + ['pack_kernel'] * 4 + ['gather_kernel'] * 8
        assert names == sorted(expected)


@pytest.mark.slow
def test_nothing_is_spilled(compiled):
    for number, kernel in all_kernels(compiled):
        assert (kernel.stack, kernel.spills) == (0, 0), (number, kernel.name)
        assert not [opcode for opcode in kernel.opcodes if LOCAL_MEMORY.match(opcode)], (number, kernel.name)


@pytest.mark.slow
def test_registers_and_shared_memory_are_bounded(compiled):
    for number, kernel in all_kernels(compiled):
        assert 0 < kernel.registers <= REGISTERS.get(kernel.name, REGISTERS_OF_OTHERS), (number, kernel)
        assert kernel.shared <= SHARED_MEMORY.get(kernel.name, SHARED_MEMORY_OF_OTHERS), (number, kernel)
    # Newer toolkits list nothing for kernels without shared memory, but the render kernel has some.
    assert all(kernel.shared > 0 for _, kernel in all_kernels(compiled) if kernel.name == 'render_kernel')


@pytest.mark.slow
def test_no_double_precision(compiled):
    for number, kernel in all_kernels(compiled):
        assert not [opcode for opcode in kernel.opcodes if DOUBLE.match(opcode)], (number, kernel.name)


@pytest.mark.slow
def test_atomics_count_and_mark_and_do_nothing_else(compiled):
    """Sums of integers, and bits: whatever their order, the result is the same."""
    for number, kernel in all_kernels(compiled):
        atomics = [opcode for opcode in kernel.opcodes if ATOMIC.match(opcode)]
        assert bool(atomics) == (kernel.name in ('count_kernel', 'order_kernel')), (number, kernel.name, atomics)
        assert not [opcode for opcode in atomics if '.F' in opcode], (number, kernel.name, atomics)


def test_the_scans_see_what_they_look_for(tmp_path):
    """A kernel with all the vices: doubles, an atomic sum of floats, an array in local memory."""
    source = tmp_path / 'vices.cu'
    source.write_text(
        '__global__ void vices_kernel(float* sum, double* x, int n) {\n'
        '    double local[40];\n'
        '    for (int i = 0; i < 40; ++i) local[i] = x[i] * 3.0 + x[i + 1];\n'
        '    atomicAdd(sum, static_cast<float>(sqrt(local[n])));\n'
        '}\n'
    )
    (kernel,) = compile_kernels(source, architectures(nvcc())[0], tmp_path)
    assert kernel.stack > 0
    for pattern in (DOUBLE, ATOMIC, LOCAL_MEMORY):
        assert any(pattern.match(opcode) for opcode in kernel.opcodes), pattern
