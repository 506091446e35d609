"""Build of the native kernels; everything else stands in pyproject.toml.

The compiled libraries are optional: where they cannot be built the install succeeds without them, says why, and
gsasr_ops compiles at first use or falls back to PyTorch. They are built with the torch that can be imported here, which
build_backend.py asks for in isolated builds. There are two, of which neither is a Python module: `_C`, the CPU kernels,
and, say, `_CUDA13`. A wheel with them serves every Python, and every torch from the stable ABI of ops/build.py on.

Environment variables:
    FORCE_KERNELS=1       the CPU kernels are compiled, or the build fails and says why
    FORCE_KERNELS=0       nothing is compiled now, and no torch fetched for it
                          (not set: compiled where there is a compiler)
    FORCE_CUDA=1, =0      the same of the CUDA kernels
                          (not set: compiled where an nvcc that fits torch is found, whether or not there is a GPU)
    CUDA_HOME             folder of the CUDA toolkit, which is looked at first (see ops/build.py, find_toolkit)
    TORCH_CUDA_ARCH_LIST  architectures, such as '8.6;9.0+PTX' (not set: all from 7.5 to 12.0, with CUDA 12 from 5.0,
                          and PTX of the newest)
    MAX_JOBS              how many files ninja compiles at once
"""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

from build_backend import AROUND, FORCE_CUDA, FORCE_KERNELS, ROOT, WITHOUT_KERNELS, load_build_facts


def say(message: str) -> None:
    print(f'gsasr_ops: {message}', file=sys.stderr, flush=True)


def import_torch(facts):
    """torch, if need be that of the environment around an isolated build; ImportError for one that is too old, too."""
    try:
        import torch
    except ImportError:
        sys.path += AROUND
        import torch
    complaint = facts.torch_complaint(torch.__version__)
    if complaint:
        raise ImportError(complaint)
    return torch


def without_kernels(reason: str, remedy: str = '') -> dict:
    """Arguments of a build that compiles nothing."""
    if FORCE_KERNELS and sys.argv[1:2] != ['sdist']:
        raise SystemExit(f'FORCE_{"CUDA" if FORCE_CUDA else "KERNELS"} is set, but {reason}{remedy}')
    say(f'the kernels are not compiled now, but at first use: {reason}')
    return {}


class AnyPython(bdist_wheel):
    """The libraries use nothing of Python: their wheel is for any version of it."""

    def get_tag(self):
        return ('py3', 'none', super().get_tag()[2])


def extension_arguments(facts) -> dict:
    """ext_modules and cmdclass, empty where nothing can be compiled."""
    if WITHOUT_KERNELS:
        return without_kernels('FORCE_KERNELS=0')
    complaint = facts.compiler_complaint()
    if complaint:
        return without_kernels(complaint)
    try:
        torch = import_torch(facts)
    except ImportError as error:
        return without_kernels(
            f'there is no torch to compile with ({error})',
            remedy=': install torch first, then pip install --no-build-isolation .',
        )
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
            'gsasr_plugin.docs': ['options.md', 'photographs.py', 'photographs.txt'],
        },
        exclude_package_data={'': ['**/*.py[cod]']},
        **arguments,
    )
