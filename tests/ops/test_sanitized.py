"""The CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer: their tests, random hostile calls, and proof
that the sanitizers would tell.

Compiling them takes minutes of processor time, which GSASR_HOSTILE=10000 asks for, as .ci/run does, and for so many
calls.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gsasr_ops import build
from tests.ops import instruction_sets, sanitizers

CALLS = int(os.environ.get('GSASR_HOSTILE', '0'))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CALLS, reason='takes minutes: GSASR_HOSTILE=10000 runs it')]

TESTS = Path(__file__).parent
# Tests of other things than the CPU kernels in the library that this process has loaded.
OF_OTHERS = {'aarch64', 'build', 'fallback', 'first_use', 'sanitized', 'torch_private'}
OF_OTHERS |= {f'cuda_{name}' for name in ('device', 'faults', 'simt', 'static')}
OF_THE_CPU = sorted(
    path.relative_to(TESTS).as_posix()
    for path in TESTS.rglob('test_*.py')
    if path.stem.removeprefix('test_') not in OF_OTHERS
)

OVERFLOW = 'AddressSanitizer: heap-buffer-overflow'
FAR_OUTSIDE = 'AddressSanitizer: heap-'  # an overflow, or a use of what somebody has freed there
# Fault -> file of ops, what stands there, what the broken copy has instead, what the sanitizers say, and the test
# that meets it: of which file, and part of its name.
BROKEN = {
    'one Gaussian too few': (
        'rasterizer/rasterizer_cpu.cpp',
        'new uint16_t[static_cast<size_t>(B * N)]',
        'new uint16_t[static_cast<size_t>(B * N - 1)]',
        OVERFLOW,
        ('rasterizer/test_values.py', 'equals_the_dense_sum'),
    ),
    'a sum too large': (
        'rasterizer/rasterizer_cpu.cpp',
        'int32_t total = 0;',
        'int32_t total = INT32_MAX;',
        'runtime error: signed integer overflow',
        ('rasterizer/test_values.py', 'equals_the_dense_sum'),
    ),
    'scratch of the attention too small': (
        'attention/attention_cpu.cpp',
        'attention_scratch(problem.T, problem.S, problem.D)',
        'attention_scratch(problem.T, problem.S, problem.D) - 32',
        OVERFLOW,
        ('attention/test_attention.py', 'any_strides'),
    ),
    'scratch of the perceptron too small': (
        'perceptrons/perceptrons_cpu.cpp',
        'perceptron_scratch(problem)',
        'perceptron_scratch(problem) - 32',
        OVERFLOW,
        ('perceptrons/test_perceptron.py', 'any_strides'),
    ),
    "scratch of a perceptron's gradient too small": (
        'perceptrons/perceptrons_cpu.cpp',
        'gradient_scratch(forward)',
        'gradient_scratch(forward) / 2',
        FAR_OUTSIDE,
        ('test_layer_gradients.py', 'test_perceptron'),
    ),
    "scratch of a convolution's gradient too small": (
        'convolutions/convolutions_cpu.cpp',
        'convolution_gradient_scratch(problem.forward)',
        'convolution_gradient_scratch(problem.forward) / 2',
        FAR_OUTSIDE,
        ('test_layer_gradients.py', 'test_convolution'),
    ),
    'a packed weight too short': (
        'perceptrons/perceptrons_binding.cpp',
        'empty_packed(weight, cpu::packed_floats(cpu::linear_words(ins, outs), outs))',
        'empty_packed(weight, cpu::packed_floats(cpu::linear_words(ins, outs), outs) - 16)',
        OVERFLOW,
        ('test_packed.py', 'same_bits'),
    ),
    'numbers of tokens too large': (
        'attention/attention_binding.cpp',
        'number >= 0 && number < limit',
        'number >= 0',
        OVERFLOW,
        ('attention/test_attention.py', 'test_refuses_numbers'),
    ),
}


@pytest.fixture(scope='module')
def gcc() -> str:
    return sanitizers.compiler()


@pytest.fixture(scope='module')
def objects(gcc: str) -> Path:
    return sanitizers.sanitized_objects(gcc)


@pytest.fixture(scope='module')
def environment(gcc: str, objects: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return sanitizers.package_with(gcc, sorted(objects.glob('*.o')), tmp_path_factory.mktemp('sanitized'))


def run(environment: dict[str, str], *arguments: str) -> str:
    result = sanitizers.start(environment, *arguments)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def test_the_library_in_use_is_the_sanitized_one(environment: dict[str, str]) -> None:
    script = 'import gsasr_ops; b = gsasr_ops.backend(); print(b["cpu"], b["library"])'
    assert run(environment, '-c', script).split() == [
        'compiled',
        str(Path(environment['PYTHONPATH'].split(os.pathsep)[0]) / 'gsasr_ops' / '_C.so'),
    ]


@pytest.mark.parametrize('fault', BROKEN)
def test_planted_faults_are_seen(gcc: str, objects: Path, tmp_path: Path, fault: str) -> None:
    name, before, after, report, (test, only) = BROKEN[fault]
    source = build.FOLDER / name
    text = source.read_text()
    assert text.count(before) == 1
    broken = tmp_path / source.name
    broken.write_text(text.replace(before, after).replace('#include "', f'#include "{source.parent}/'))
    sanitizers.compile_sanitized(gcc, broken, broken.with_suffix('.o'))
    others = [path for path in objects.glob('*.o') if path.stem != broken.stem]
    environment = sanitizers.package_with(gcc, [broken.with_suffix('.o'), *others], tmp_path)
    result = sanitizers.start(environment, *pytest_arguments(test), '-k', only)
    assert result.returncode != 0 and report in result.stderr, (result.stdout + result.stderr)[-4000:]


def pytest_arguments(test: str) -> list[str]:
    # Not tests/conftest.py, which imports the host. What a sanitizer prints goes straight out: it ends the process.
    options = ['-q', '--noconftest', '-p', 'no:cacheprovider', '-x', '--capture=no']
    return ['-m', 'pytest', *options, str(TESTS / test)]


@pytest.mark.parametrize('test', OF_THE_CPU)
def test_its_own_tests_pass(environment: dict[str, str], test: str) -> None:
    assert ' passed' in run(environment, *pytest_arguments(test))


@pytest.mark.parametrize('name', instruction_sets.NAMES)  # one that this machine lacks falls back to another
def test_hostile_calls_end_in_an_error_or_the_right_result(environment: dict[str, str], name: str) -> None:
    out = run(
        {**environment, 'GSASR_CPU': name},
        '-m',
        'tests.ops.hostile',
        str(CALLS // len(instruction_sets.NAMES) + 1),
        name,
    )
    for operator in ('rasterizer', 'attention', 'perceptron', 'convolution', 'gradients'):
        assert f'{operator} compared' in out and f'{operator} error' in out
    for operator in ('perceptron', 'convolution'):
        assert all(f'{operator} packed {outcome}' in out for outcome in ('compared', 'error', 'applied'))
