"""What is compiled where: the toolkit is found, or the reason why not is told. Toolkits are faked by scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gsasr_ops import build, extension, torch_private

ROOT = Path(__file__).resolve().parents[2]


def make_toolkit(
    home: Path, release: str = '13.0', architectures: str = '75 80 86 87 89 90 100 103 110 120 121'
) -> Path:
    (home / 'bin').mkdir(parents=True)
    (home / 'include').mkdir()
    (home / 'lib64').mkdir()
    (home / 'include' / 'cuda_runtime.h').touch()
    (home / 'lib64' / 'libcudart.so').touch()
    nvcc = home / 'bin' / 'nvcc'
    listed = '\\n'.join(f'compute_{name}' for name in architectures.split())
    nvcc.write_text(
        '#!/bin/sh\ncase "$1" in\n'
        f'--version) echo "Cuda compilation tools, release {release}, V{release}.88";;\n'
        f'--list-gpu-arch) printf "{listed}\\n";;\n'
        f'--dryrun) echo "#$ _HERE_={home}/bin" >&2;;\n'
        'esac\n'
    )
    nvcc.chmod(0o755)
    return home


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No toolkit anywhere, no variable set."""
    for name in ('CUDA_HOME', 'CUDA_PATH', 'FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PATH', f'{tmp_path / "path"}{os.pathsep}/usr/bin{os.pathsep}/bin')
    (tmp_path / 'path').mkdir()
    monkeypatch.setattr(build, 'USUAL_FOLDERS', tmp_path / 'nowhere')
    monkeypatch.setattr(sys, 'path', [])
    return tmp_path


def test_no_nvcc(bare):
    plan = build.plan_cuda('13.0')
    assert plan.home is None and 'there is no nvcc' in plan.reason


def test_all_architectures_by_default(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    plan = build.plan_cuda('13.0')
    assert plan.home == bare / 'cuda' and plan.reason is None
    assert plan.architectures == '7.5;8.0;8.6;8.9;9.0;10.0;11.0;12.0+PTX'


def test_only_architectures_that_the_toolkit_knows(bare, monkeypatch):
    home = make_toolkit(bare / 'cuda', '12.4', '50 60 70 75 80 86 87 89 90')
    monkeypatch.setenv('CUDA_HOME', str(home))
    assert build.plan_cuda('12.4').architectures == '7.5;8.0;8.6;8.9;9.0+PTX'


def test_architectures_of_the_user(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6+PTX')
    assert build.plan_cuda('13.0').architectures == '8.6+PTX'


def test_wrapper_script_on_the_path(bare):
    """nvcc on the PATH may be a script elsewhere that calls the real one."""
    home = make_toolkit(bare / 'real')
    wrapper = bare / 'path' / 'nvcc'
    wrapper.write_text(f'#!/bin/sh\nexec {home}/bin/nvcc "$@"\n')
    wrapper.chmod(0o755)
    assert build.plan_cuda('13.0').home == home


def test_wrong_cuda_home_is_told(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(bare))
    assert f'CUDA_HOME={bare} is no complete CUDA toolkit' in build.plan_cuda('13.0').reason


@pytest.mark.parametrize(
    'torch_cuda, reason',
    [('12.8', 'is of CUDA 13.0, this torch was built with CUDA 12.8'), (None, 'this torch was built without CUDA')],
)
def test_toolkit_that_does_not_fit_torch(bare, monkeypatch, torch_cuda, reason):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    assert reason in build.plan_cuda(torch_cuda).reason


def test_force_cuda(bare, monkeypatch):
    monkeypatch.setenv('FORCE_CUDA', '1')
    with pytest.raises(RuntimeError, match='FORCE_CUDA=1, but the CUDA kernels cannot be compiled: there is no nvcc'):
        build.plan_cuda('13.0')
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    assert build.plan_cuda('13.0').home is not None
    monkeypatch.setenv('FORCE_CUDA', '0')
    assert build.plan_cuda('13.0').reason == 'FORCE_CUDA=0'


def test_every_source_is_compiled_and_packaged():
    """A file that is forgotten would be missed only by users who compile at first use."""
    files = [
        path for path in build.FOLDER.rglob('*') if path.is_file() and path.suffix in ('.cpp', '.cu', '.h', '.cuh')
    ]
    assert sorted(files) == sorted([*build.sources(cuda=True), *build.headers()])
    assert set(build.sources(cuda=True)) - set(build.sources(cuda=False)) == set(build.cuda_sources())
    assert {path.parent.name for path in build.cuda_sources()} == {'cuda'}
    assert not any(path.suffix == '.cu' or path.parent.name == 'cuda' for path in build.cpu_sources())
    for listed in ((ROOT / 'setup.py').read_text(), (ROOT / 'MANIFEST.in').read_text()):
        assert all(f'*{suffix}' in listed for suffix in {path.suffix for path in files})


def test_no_two_sources_have_the_same_stem():
    """torch's compilation at first use names their objects by it: one would overwrite the other."""
    stems = [path.stem for path in build.sources(cuda=True)]
    assert len(stems) == len(set(stems)) > 10


def test_all_operators_are_defined_and_registered():
    """Once each, in a binding, whose schema Python reads where there is no library; each has a twin."""
    names = [schema.split('(')[0] for schema in build.schemas()]
    assert len(names) == len(set(names))
    assert {'rasterize_gaussians', 'window_attention', 'perceptron', 'convolution'} <= set(names)
    for name in names:
        assert torch_private.has_kernel(f'gsasr::{name}', 'CompositeExplicitAutograd'), name


SETUP_WITHOUT_TORCH = """
import runpy, sys
sys.modules['torch'] = None  # importing it fails
sys.argv = ['setup.py', '--name']
runpy.run_path('setup.py', run_name='__main__')
"""


@pytest.mark.parametrize('force, succeeds', [(None, True), ('0', True), ('1', False)])
def test_setup_without_torch(force, succeeds):
    """pip's isolated builds have no torch: the package is built without its library, unless CUDA is asked for."""
    environment = {key: value for key, value in os.environ.items() if key != 'FORCE_CUDA'}
    if force is not None:
        environment['FORCE_CUDA'] = force
    result = subprocess.run(
        [sys.executable, '-c', SETUP_WITHOUT_TORCH],
        env=environment,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode == 0) == succeeds, result.stderr
    if succeeds:
        assert 'compiled now, but at first use: torch cannot be imported' in result.stderr
    else:
        assert 'FORCE_CUDA is set, but torch cannot be imported here' in result.stderr


def test_the_ninja_of_an_environment_that_is_not_activated_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('ninja')
    monkeypatch.setenv('PATH', str(tmp_path))
    assert shutil.which('ninja') is None
    extension._put_ninja_on_path()
    assert shutil.which('ninja') is not None
