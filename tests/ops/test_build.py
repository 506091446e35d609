"""What is compiled where: the toolkit is found, or the reason why not is told. Toolkits are faked by scripts."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gsasr_ops import build, torch_private
from tests import forked

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


def put_on_path(home: Path, folder: Path) -> None:
    """A script named nvcc that calls the toolkit's."""
    folder.mkdir(exist_ok=True)
    (folder / 'nvcc').write_text(f'#!/bin/sh\nexec {home}/bin/nvcc "$@"\n')
    (folder / 'nvcc').chmod(0o755)


def test_no_nvcc(bare):
    plan = build.plan_cuda('13.0')
    assert plan.home is None and plan.reason.endswith('which this torch (CUDA 13.0) takes, was found: there is no nvcc')


def test_all_architectures_by_default(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    plan = build.plan_cuda('13.0')
    assert (plan.home, plan.release, plan.reason) == (bare / 'cuda', '13.0', None)
    assert plan.architectures == ('7.5', '8.0', '8.6', '8.9', '9.0', '10.0', '11.0', '12.0+PTX')


def test_only_architectures_that_the_toolkit_knows(bare, monkeypatch):
    """CUDA 12 knows older GPUs (V100: 7.0, GTX 10: 6.1, for which the code for 6.0 does), and no newer ones."""
    home = make_toolkit(bare / 'cuda', '12.4', '50 52 53 60 61 62 70 72 75 80 86 87 89 90')
    monkeypatch.setenv('CUDA_HOME', str(home))
    chosen = build.plan_cuda('12.4').architectures
    assert chosen == ('5.0', '6.0', '7.0', '7.5', '8.0', '8.6', '8.9', '9.0+PTX')
    assert all(build.covers(chosen, device) for device in [(6, 1), (7, 0), (7, 5), (9, 0), (12, 0)])


def test_architectures_of_the_user(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6+PTX')
    assert build.plan_cuda('13.0').architectures == ('8.6+PTX',)
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6+PXT')
    assert "TORCH_CUDA_ARCH_LIST=8.6+PXT names '8.6+PXT'; accepted are numbers" in build.plan_cuda('13.0').reason


@pytest.mark.parametrize(
    ('text', 'numbers'),
    [
        ('8.6;9.0a 12.0+PTX', ['8.6', '9.0a', '12.0+PTX']),
        (' 7.5, 8.0;', ['7.5', '8.0']),
        ('Volta;Ampere+PTX', ['7.0', '8.0', '8.6+PTX']),
        ('8.6 8.6', ['8.6']),
    ],
)
def test_lists_of_architectures(text, numbers):
    assert build.listed_architectures(text) == numbers


@pytest.mark.parametrize(
    ('devices', 'listed', 'expected'),
    [
        ([(9, 0), (8, 6), (8, 6)], '', ('8.6', '9.0')),
        ([(8, 6), (8, 0)], '', ('8.0',)),  # code for 8.0 runs on 8.6
        ([(8, 6)], '9.0', ('9.0', '8.6')),
        ([(9, 0), (12, 0)], '7.5 8.0+PTX', ('7.5', '8.0+PTX')),
        ([(12, 1), (13, 0)], '', ('12.1', '12.1+PTX')),  # newer than the toolkit: the driver compiles it
        ([(10, 0)], 'native', ('10.0',)),
    ],
)
def test_all_devices_are_compiled_for(bare, monkeypatch, devices, listed, expected):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', listed)
    plan = build.plan_cuda('13.0', devices=devices)
    assert plan.architectures == expected
    assert all(build.covers(plan.architectures, device) for device in devices)


def test_a_device_too_old_for_the_toolkit_is_told(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    reason = build.plan_cuda('13.0', devices=[(8, 0), (7, 0)]).reason
    assert 'compiles for no GPU older than 7.5, and the one here is of 7.0: from 5.0 on CUDA 12 does' in reason


def test_covering():
    assert build.covers(['8.0'], (8, 6)) and not build.covers(['8.6'], (8, 0)) and not build.covers(['8.0'], (9, 0))
    assert build.covers(['8.0+PTX'], (9, 0)) and not build.covers(['9.0+PTX'], (8, 9))
    assert build.covers(['9.0a'], (9, 0)) and not build.covers(['10.0a'], (10, 3))


def test_architectures_are_given_to_nvcc():
    flags = build.nvcc_flags(['8.6', '9.0a', '12.0+PTX'])
    assert [flag for flag in flags if 'gencode' in flag] == [
        '-gencode=arch=compute_86,code=sm_86',
        '-gencode=arch=compute_90a,code=sm_90a',
        '-gencode=arch=compute_120,code=sm_120',
        '-gencode=arch=compute_120,code=compute_120',
    ]


def test_wrapper_script_on_the_path(bare):
    """nvcc on the PATH may be a script elsewhere that calls the real one."""
    home = make_toolkit(bare / 'real')
    put_on_path(home, bare / 'path')
    assert build.plan_cuda('13.0').home == home


def test_debians_toolkit(bare):
    """Its parts lie where everything else of the system does."""
    home = make_toolkit(bare / 'usr')
    machine = build.platform.machine()
    (home / 'lib' / f'{machine}-linux-gnu').mkdir(parents=True)
    (home / 'lib64' / 'libcudart.so').rename(home / 'lib' / f'{machine}-linux-gnu' / 'libcudart.so')
    (bare / 'path' / 'nvcc').symlink_to(home / 'bin' / 'nvcc')
    plan = build.plan_cuda('13.0')
    assert plan.home == home
    assert build.link_flags(plan, bare / 'links') == [f'-L{home}/lib/{machine}-linux-gnu']


def test_wrong_cuda_home_is_told(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(bare))
    assert f'CUDA_HOME={bare} is no complete CUDA toolkit' in build.plan_cuda('13.0').reason


def test_toolkit_that_does_not_fit_torch(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    reason = build.plan_cuda('12.8').reason
    assert reason.startswith('no CUDA toolkit 12.x, which this torch (CUDA 12.8) takes, was found: CUDA_HOME=')
    assert reason.endswith('cuda is of CUDA 13.0')


def test_torch_without_cuda(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    assert build.plan_cuda(None).reason == 'this torch was built without CUDA'
    assert build.plan_cuda(None, '6.4.43482').reason.startswith('this torch was built for AMD GPUs (ROCm)')


@pytest.mark.parametrize('unfit', ['13.0', 'incomplete', 'broken'])
@pytest.mark.parametrize('first', ['CUDA_HOME', 'PATH', 'cuda'])
@pytest.mark.parametrize('then', ['PATH', 'cuda-12.8', 'wheels'])
def test_the_first_toolkit_that_fits_is_taken(bare, monkeypatch, first, then, unfit):
    """Whatever else is met on the way."""
    usual = bare / 'usual'
    monkeypatch.setattr(build, 'USUAL_FOLDERS', usual)
    wrong = make_toolkit(usual / 'cuda' if first == 'cuda' else bare / 'wrong', '13.0')
    if unfit == 'incomplete':
        (wrong / 'include' / 'cuda_runtime.h').unlink()
    if unfit == 'broken':
        (wrong / 'bin' / 'nvcc').write_text('#!/bin/sh\nexit 1\n')
    if first == 'CUDA_HOME':
        monkeypatch.setenv('CUDA_HOME', str(wrong))
    if first == 'PATH':
        put_on_path(wrong, bare / 'path')
    right = make_toolkit(
        {'PATH': bare / 'right', 'cuda-12.8': usual / 'cuda-12.8', 'wheels': bare / 'site' / 'nvidia' / 'cu12'}[then],
        '12.8',
    )
    if then == 'PATH':
        put_on_path(right, bare / 'second')
        monkeypatch.setenv('PATH', f'{bare / "path"}{os.pathsep}{bare / "second"}{os.pathsep}/usr/bin{os.pathsep}/bin')
    if then == 'wheels':
        monkeypatch.setattr(sys, 'path', [str(bare / 'site')])
    plan = build.plan_cuda('12.6')
    if first == 'cuda' and then == 'PATH':
        assert plan.home == right  # which comes before the usual folders anyway
    assert (plan.home, plan.release) == (right, '12.8'), plan.reason


def test_the_runtime_of_wheels_is_given_the_name_that_linkers_look_for(bare, monkeypatch):
    home = make_toolkit(bare / 'site' / 'nvidia' / 'cu13')
    (home / 'lib64').rename(home / 'lib')
    (home / 'lib' / 'libcudart.so').rename(home / 'lib' / 'libcudart.so.13')
    monkeypatch.setattr(sys, 'path', [str(bare / 'site')])
    plan = build.plan_cuda('13.0')
    for _ in range(2):  # where it was made before, too
        assert build.link_flags(plan, bare / 'links') == [f'-L{bare / "links"}']
        assert (bare / 'links' / 'libcudart.so').resolve() == home / 'lib' / 'libcudart.so.13'


def test_cuda_can_be_left_out(bare, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(make_toolkit(bare / 'cuda')))
    assert build.plan_cuda('13.0').home is not None
    monkeypatch.setenv('FORCE_CUDA', '0')
    assert build.plan_cuda('13.0').reason == 'FORCE_CUDA=0'


REASON = """the nvcc of "C:\\CUDA" (13.0) says: 'no'; $HOME & 100 %"""


def test_a_library_says_what_it_was_compiled_with(tmp_path):
    """Whatever characters that has, and whatever shell runs the compiler."""
    compiler = shutil.which('g++')
    if compiler is None:
        pytest.skip('there is no g++')
    library = tmp_path / 'library.so'
    flags = build.cxx_flags('2.14.1+cu130', {'cuda_left_out': REASON})
    sources = [build.FOLDER / 'common' / name for name in ('library.cpp', 'instruction_set.cpp')]
    command = ' '.join(map(str, [compiler, '-shared', '-fPIC', *flags, *sources, '-o', library]))
    subprocess.run(command, shell=True, check=True)
    facts = ctypes.CDLL(str(library)).gsasr_facts
    facts.restype = ctypes.c_char_p
    assert build.read_facts(facts().decode()) == {'cuda_left_out': REASON}


def test_old_versions_of_torch_are_not_accepted():
    """By the same number everywhere."""
    assert build.torch_complaint('2.10.0+cu128') is None and build.torch_complaint('3.0') is None
    assert build.torch_complaint('2.9.1') == 'gsasr_ops needs torch 2.10 or newer, and this one is 2.9.1'
    oldest = '.'.join(map(str, build.OLDEST_TORCH))
    assert f'"torch>={oldest},' in (ROOT / 'pyproject.toml').read_text()
    major, minor = build.OLDEST_TORCH
    assert int(build.STABLE_ABI_TARGET, 16) == (major << 56) + (minor << 48)


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
import runpy, sys, types
sys.modules['torch'] = None  # importing it fails
sys.argv = ['setup.py', '--name']
runpy.run_path('setup.py', run_name='__main__')
"""
SETUP_WITH_OLD_TORCH = SETUP_WITHOUT_TORCH.replace(
    'None  # importing it fails', "types.SimpleNamespace(__version__='2.9.1+cu128')"
)


def run_setup(script: str, force: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != 'FORCE_CUDA'}
    if force is not None:
        environment['FORCE_CUDA'] = force
    return forked.run(['-c', script], folder=ROOT, environment=environment, modules=forked.TORCH)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('script', 'reason'),
    [
        (SETUP_WITHOUT_TORCH, 'there is no torch to compile with (import of torch halted'),
        (SETUP_WITH_OLD_TORCH, 'gsasr_ops needs torch 2.10 or newer, and this one is 2.9.1+cu128'),
    ],
)
@pytest.mark.parametrize('force', [None, '0', '1'])
def test_setup_without_a_torch_to_compile_with(script, reason, force):
    """pip's isolated builds have none: the package is built without its library, unless CUDA is asked for."""
    result = run_setup(script, force)
    assert (result.returncode == 0) == (force != '1'), result.stderr
    assert reason in result.stderr
    assert (
        'FORCE_CUDA is set, but' if force == '1' else 'compiled now, but at first use: there is no torch'
    ) in result.stderr


SETUP_WITH_PLAIN_TORCH = """
import runpy, sys, torch
torch.version.cuda = None
sys.argv = ['setup.py', '--name']
runpy.run_path('setup.py', run_name='__main__')
"""


def test_setup_says_why_cuda_is_left_out():
    result = run_setup(SETUP_WITH_PLAIN_TORCH, None)
    assert result.returncode == 0
    assert 'CUDA kernels: left out, this torch was built without CUDA' in result.stderr
    result = run_setup(SETUP_WITH_PLAIN_TORCH, '1')
    assert result.returncode == 1
    assert 'FORCE_CUDA is set, but the CUDA kernels cannot be compiled: this torch was built' in result.stderr


def test_the_ninja_of_an_environment_that_is_not_activated_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('ninja')
    monkeypatch.setenv('PATH', str(tmp_path))
    with build.ninja_on_path():
        assert shutil.which('ninja') is not None
    assert os.environ['PATH'] == str(tmp_path)
