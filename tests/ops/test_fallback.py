"""Without its compiled library: compiled at first use, or computed by the twins with one warning that says why.

Each test runs a process on a copy of the package that has no library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import gsasr_ops
from gsasr_ops import build
from tests import forked
from tests.ops.rasterizer.scenes import sample_inputs

SCRIPT = """
import json, sys, warnings
warnings.simplefilter('always')
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import torch
    import gsasr_ops
    from tests.ops.attention import test_attention
    from tests.ops.perceptrons import test_perceptron
    from tests.ops.rasterizer.scenes import sample_inputs
    at_import = len(caught)
    inputs = sample_inputs(requires_grad=True)
    images = gsasr_ops.rasterize_gaussians(*inputs, (18, 20), 2.9)
    images.square().sum().backward()
    gsasr_ops.rasterize_gaussians(*inputs, [(3, 4), (5, 6)], 1.0)
    attention = test_attention.inputs_of((2, 3, 9, 11, 8), torch.float32, True)
    mixed = gsasr_ops.window_attention(*attention)
    numbered = test_attention.numbered_of((2, 3, 9, 11, 8), torch.float32, True)
    mixed_in_place = gsasr_ops.window_attention(**numbered)
    layers = [test_perceptron.everything_of(operands) for operands in test_perceptron.DTYPES]
    layers.append(test_perceptron.inputs_of(7, (5, 4, 3), dtype=torch.bfloat16))
    results = [gsasr_ops.perceptron(**given) for given in layers]
    compiled = images
    if 'compile' in sys.argv:
        draw = torch.compile(gsasr_ops.rasterize_gaussians, fullgraph=True, backend='aot_eager')
        compiled = draw(*inputs, (18, 20), 2.9)
    ours = [str(warning.message) for warning in caught if 'gsasr_ops' in str(warning.message)]
twin = [tensor.detach().clone().requires_grad_() for tensor in inputs]
expected = gsasr_ops.rasterize_gaussians_reference(*twin, (18, 20), 2.9)
expected.square().sum().backward()
exact = test_attention.exact
for result, given in zip(results, layers):
    test_perceptron.check(result, given)
print(json.dumps({
    'file': gsasr_ops.__file__,
    'backend': gsasr_ops.backend(),
    'at_import': at_import,
    'warnings': ours,
    'error': (images - expected).abs().max().item(),
    'compiled_error': (compiled - expected).abs().max().item(),
    'multiplied': list(map(str, gsasr_ops.MULTIPLIED)),
    'attention_error': (mixed - exact(*attention)).abs().max().item(),
    'windows_error': (mixed_in_place - test_attention.by_windows(exact, **numbered)).abs().max().item(),
    'gradient_error': max((a.grad - b.grad).abs().max().item() for a, b in zip(inputs, twin)),
}))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of gsasr_ops without its library, in a folder for PYTHONPATH."""
    source = Path(gsasr_ops.__file__).parent
    shutil.copytree(source, tmp_path / 'gsasr_ops', ignore=shutil.ignore_patterns('*.so', '*.pyd', '__pycache__'))
    return tmp_path / 'gsasr_ops'


def run(package: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(package.parent), str(root)]),
        'TORCH_EXTENSIONS_DIR': str(package.parent / 'cache'),
        **changes,
    }
    return forked.run(['-c', SCRIPT, *arguments], folder=package.parent, environment=environment, modules=forked.TORCH)


def outcome(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))


def no_compiler(package: Path) -> dict[str, str]:
    (package.parent / 'empty').mkdir()
    return {'PATH': str(package.parent / 'empty'), 'CXX': 'no-such-compiler'}


def check_twin(result: dict, package: Path) -> str:
    """The one warning of a process that had to use the twin."""
    assert Path(result['file']).parent == package
    assert result['at_import'] == 0
    assert result['backend']['cpu'] == 'reference' and result['backend']['library'] is None
    assert result['error'] == 0 and result['compiled_error'] == 0  # the very same function drew both
    assert result['multiplied'] == []
    assert max(result['attention_error'], result['windows_error']) < 1e-5
    assert result['gradient_error'] < 1e-5  # formulas against autograd, in float32
    assert len(result['warnings']) == 1
    return result['warnings'][0]


@pytest.mark.slow
def test_no_compiler_gives_one_warning_and_the_right_result(package):
    warning = check_twin(outcome(run(package, 'compile', **no_compiler(package))), package)
    assert 'installed without its compiled library' in warning
    assert 'there is no C++ compiler (looked for no-such-compiler)' in warning
    assert 'install a C++ compiler, with which it compiles itself at the next use' in warning
    assert 'pip install' not in warning  # from a wheel there is no folder to install anew


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('g++'), reason='there is no g++')
def test_a_compiler_that_fails_is_quoted(package):
    compiler = package.parent / 'c++'
    # Answers questions about its version, and fails to compile.
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *" -c "*) echo "fatal error: my disk is full" >&2; exit 1;; esac\nexec g++ "$@"\n'
    )
    compiler.chmod(0o755)
    warning = check_twin(outcome(run(package, CXX=str(compiler))), package)
    assert 'compiling it at first use failed' in warning
    assert 'my disk is full' in warning and 'install a C++ compiler' not in warning  # there is one


@pytest.mark.slow
def test_a_library_that_does_not_load_is_explained(package):
    (package / '_C.abi3.so').write_bytes(b'built for something else')
    warning = check_twin(outcome(run(package, **no_compiler(package))), package)
    assert 'does not fit this torch' in warning
    assert 'invalid ELF header' in warning or 'file too short' in warning  # what the loader says


@pytest.mark.skipif(gsasr_ops.backend()['library'] is None, reason='there is no compiled library')
@pytest.mark.parametrize('installed', ['from a checkout', 'from a wheel'])
def test_a_library_older_than_the_package_is_named(package, installed):
    shutil.copy(gsasr_ops.backend()['library'], package)
    change(
        package / 'attention' / 'attention_binding.cpp',
        '    m.def("window_attention(',
        '    m.def("operator_of_tomorrow() -> ()");\n    m.def("window_attention(',
    )
    if installed == 'from a checkout':
        (package.parent / 'build_backend.py').touch()
    stderr = run(package).stderr
    advice = 'pip install --force-reinstall --no-deps gsasr-plugin'
    if installed == 'from a checkout':
        advice = f'pip install --no-build-isolation -e "{package.parent}"'
    assert f'was compiled before operator_of_tomorrow came: {advice}\n' in stderr


@pytest.mark.skipif(gsasr_ops.backend()['library'] is None, reason='there is no compiled library')
def test_a_library_with_other_arguments_is_named(package):
    shutil.copy(gsasr_ops.backend()['library'], package)
    for room, after in (('perceptrons', 'bool in'), ('convolutions', 'int side')):
        binding = package / room / f'{room}_binding.cpp'
        change(binding, f'Tensor? residual, {after}', f'Tensor? other_residual, {after}')
    stderr = run(package).stderr
    assert 'compiled before the arguments of convolution, perceptron changed: pip install' in stderr


@pytest.mark.slow
@pytest.mark.skipif(gsasr_ops.backend()['library'] is None, reason='there is no compiled library')
@pytest.mark.skipif(torch.version.cuda is None, reason='nobody looks for CUDA kernels')
@pytest.mark.parametrize(
    ('name', 'problem'),
    [
        (f'{build.cuda_library(torch.version.cuda or "0")}.abi3.so', 'does not fit this torch'),
        ('_CUDA7.abi3.so', f'this torch is of CUDA {torch.version.cuda}, which _CUDA7.abi3.so does not fit'),
    ],
)
def test_cuda_kernels_that_do_not_load_leave_the_others(package, name, problem):
    """In a wheel that was built for another CUDA, say, or beside a torch without it."""
    shutil.copy(gsasr_ops.backend()['library'], package)
    (package / name).write_bytes(b'built for something else')
    result = outcome(run(package, **no_compiler(package)))
    assert result['backend']['cpu'] == 'compiled' and result['backend']['cuda_library'] is None
    assert len(result['backend']['problems']) == 1 and problem in result['backend']['problems'][0]
    assert result['warnings'] == [] and result['error'] < 1e-5


def test_sparse_tensors_are_refused():
    """They have no kernel, compiled or not: looking for one went round in circles once."""
    dense = {
        'perceptron': [torch.ones(3, 2), [torch.ones(1, 2)], [torch.ones(1)]],
        'convolution': [torch.ones(1, 3, 3, 1), torch.ones(1, 1, 3, 3), torch.ones(1)],
        'window_attention': [torch.ones(1, 1, 2, 2)] * 3,
    }
    for name, (x, *others) in dense.items():
        with pytest.raises(RuntimeError, match=f'{name} takes dense tensors, got one of the layout torch.sparse_coo'):
            getattr(gsasr_ops, name)(x.to_sparse(), *others)
    means, *others = sample_inputs()
    with pytest.raises(RuntimeError, match='rasterize_gaussians takes dense tensors, got one of the layout'):
        gsasr_ops.rasterize_gaussians(means.to_sparse(), *others, (18, 20), 2.9)
