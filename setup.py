"""Build of the native kernels; everything else stands in pyproject.toml.

The compiled libraries are optional: where they cannot be built the install succeeds without them, says why, and
gsasr_ops compiles at first use or falls back to PyTorch. They are built when torch can be imported here: with
`pip install --no-build-isolation .`, and in pip's isolated builds where the environment around them has torch (a second
copy in the isolated one would cost 5 GB). There are two, of which neither is a Python module: `_C`, the CPU kernels,
and, say, `_CUDA13`. A wheel with them serves every Python, and every torch from the stable ABI of ops/build.py on.

Environment variables:
    FORCE_KERNELS=1       the CPU kernels are compiled, or the build fails and says why; an isolated build without torch
                          fetches one
    FORCE_CUDA=1          the same of the CUDA kernels
    FORCE_CUDA=0          the CUDA kernels are left out
                          (not set: compiled where an nvcc that fits torch is found, whether or not there is a GPU)
    CUDA_HOME             folder of the CUDA toolkit, which is looked at first (see ops/build.py, find_toolkit)
    TORCH_CUDA_ARCH_LIST  architectures, such as '8.6;9.0+PTX' (not set: all from 7.5 to 12.0, with CUDA 12 from 5.0,
                          and PTX of the newest)
    MAX_JOBS              how many files ninja compiles at once
"""

import importlib.util
import os
import re
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
FORCE_CUDA = os.environ.get('FORCE_CUDA', '0') not in ('', '0')
FORCE_KERNELS = FORCE_CUDA or os.environ.get('FORCE_KERNELS', '0') not in ('', '0')


def load_build_facts():
    """ops/build.py, without importing gsasr_ops, which needs torch."""
    spec = importlib.util.spec_from_file_location('gsasr_ops_build', ROOT / 'ops' / 'build.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def say(message: str) -> None:
    print(f'gsasr_ops: {message}', file=sys.stderr, flush=True)


def old_pip_complaint(facts) -> str | None:
    """Why the pip that builds this cannot install BasicSR, None where it can.

    pip before 23.1 runs BasicSR's setup.py without isolation, where setuptools fetches torch as eggs and takes
    versions of CUDA's wheels that exclude each other.
    """
    import importlib.metadata

    found = importlib.metadata.distributions(path=[sysconfig.get_path('purelib')])  # outside of the isolated build
    versions = {distribution.metadata['Name'].lower(): distribution.version for distribution in found}
    if 'setuptools' not in versions or 'torch' in versions or 'basicsr' in versions:
        return None
    if facts.version(versions.get('pip', '23.1')) >= (23, 1):
        return None
    return f'pip {versions["pip"]} cannot install BasicSR 1.4.2, 23.1 and newer can: pip install --upgrade pip'


def import_torch(facts):
    """torch, if need be that of the environment around an isolated build; ImportError for one that is too old, too."""
    try:
        import torch
    except ImportError:
        sys.path.append(sysconfig.get_path('purelib'))
        import torch
    complaint = facts.torch_complaint(torch.__version__)
    if complaint:
        raise ImportError(complaint)
    return torch


def without_torch(facts, error: ImportError) -> dict:
    """Arguments of a build that compiles nothing."""
    if FORCE_KERNELS and sys.argv[1:] == ['egg_info']:  # asked what the build needs
        text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
        return {'setup_requires': re.findall(r'"(torch>=[^"]+)"', text)}
    if FORCE_KERNELS and sys.argv[1:2] != ['sdist']:
        raise SystemExit(
            f'FORCE_{"CUDA" if FORCE_CUDA else "KERNELS"} is set, but there is no torch to compile with ({error}): '
            'install torch first, then pip install --no-build-isolation .'
        )
    complaint = old_pip_complaint(facts)
    if complaint:
        raise SystemExit(complaint)
    say(f'the kernels are not compiled now, but at first use: there is no torch to compile with ({error})')
    return {}


class AnyPython(bdist_wheel):
    """The libraries use nothing of Python: their wheel is for any version of it."""

    def get_tag(self):
        return ('py3', 'none', super().get_tag()[2])


def extension_arguments(facts) -> dict:
    """ext_modules and cmdclass, empty where nothing can be compiled."""
    try:
        torch = import_torch(facts)
    except ImportError as error:
        return without_torch(facts, error)
    plan = facts.plan_cuda(torch.version.cuda, torch.version.hip)
    if plan.home is not None:
        os.environ['CUDA_HOME'] = str(plan.home)  # which torch reads when it is imported
    elif FORCE_CUDA:
        raise SystemExit(f'FORCE_CUDA is set, but the CUDA kernels cannot be compiled: {plan.reason}')
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    def library(kind, name, sources):
        return kind(
            f'gsasr_ops.{name}',
            [os.path.relpath(file, ROOT) for file in sources],
            depends=[os.path.relpath(file, ROOT) for file in facts.headers()],
            # No Python module: torch.ops.load_library loads it.
            py_limited_api=True,
        )

    class OptionalBuild(BuildExtension):
        """Goes on without a library that cannot be compiled."""

        def build_extensions(self):
            built, left_out = [], plan.reason
            for extension in self.extensions:
                self.extensions = [extension]
                cuda = '_CUDA' in extension.name
                told = facts.cuda_facts(plan) if cuda else {'cuda_left_out': left_out}
                extension.extra_compile_args = {
                    'cxx': facts.cxx_flags(torch.__version__, told, cuda=cuda),
                    'nvcc': facts.nvcc_flags(plan.architectures),
                }
                if cuda:
                    extension.extra_link_args = facts.link_flags(plan, Path(self.build_temp).resolve() / 'cudart')
                try:
                    super().build_extensions()
                except (Exception, SystemExit) as error:
                    if FORCE_CUDA if cuda else FORCE_KERNELS:
                        raise
                    say(f'{extension.name} could not be compiled, going on without it: {error}')
                    if cuda:
                        left_out = f'compiling them with {plan.home} failed ({error}; pip install -v shows more)'
                else:
                    built.append(extension)
            self.extensions = built

        def copy_extensions_to_source(self):
            # An editable install: a library that is left out now must not stay behind from another build.
            for old in (ROOT / 'ops').glob('_CUDA*.*'):
                old.unlink()
            super().copy_extensions_to_source()

    libraries = [library(CppExtension, '_C', facts.cpu_sources())]
    if plan.home is None:
        say(f'CUDA kernels: left out, {plan.reason}')
    else:
        say(f'CUDA kernels: compiled with {plan.home} ({plan.release}) for {" ".join(plan.architectures)}')
        # First, so that the other can tell why it is missing.
        libraries.insert(0, library(CUDAExtension, facts.cuda_library(torch.version.cuda), facts.cuda_sources()))
    return {'ext_modules': libraries, 'cmdclass': {'build_ext': OptionalBuild, 'bdist_wheel': AnyPython}}


PACKAGES = {'gsasr_ops': 'ops', 'gsasr_plugin': 'gsasr_plugin'}
FILES = {'gsasr_plugin.options': 'options', 'gsasr_plugin.docs': 'docs'}  # see gsasr_plugin/packaged_files.py

facts = load_build_facts()
arguments = extension_arguments(facts)
with facts.ninja_on_path():
    setup(
        packages=[
            '.'.join((package, *file.relative_to(ROOT / folder).parts[:-1]))
            for package, folder in PACKAGES.items()
            for file in sorted((ROOT / folder).rglob('__init__.py'))
        ]
        + list(FILES),
        package_dir={**PACKAGES, **FILES},
        # The sources travel along, for the compilation at first use.
        package_data={
            'gsasr_ops': ['py.typed', '**/*.cpp', '**/*.cu', '**/*.h', '**/*.cuh'],
            'gsasr_plugin': ['py.typed', '**/*'],
            'gsasr_plugin.options': ['*'],
            'gsasr_plugin.docs': ['options.md', 'photographs.sh'],
        },
        **arguments,
    )
