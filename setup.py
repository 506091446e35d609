"""Build of the native rasterizer; everything else stands in pyproject.toml.

The compiled library is optional: where it cannot be built the install succeeds without it, says why, and gsasr_ops
compiles it at first use or falls back to PyTorch. It is built when torch can be imported here, that is with
`pip install --no-build-isolation .` (pip's isolated builds have no torch: a second copy would cost 5 GB).

Environment variables:
    FORCE_CUDA=1          the CUDA kernels are compiled, or the install fails and says why
    FORCE_CUDA=0          the CUDA kernels are left out
                          (not set: compiled where an nvcc that fits torch is found, whether or not there is a GPU)
    CUDA_HOME             folder of the CUDA toolkit (not set: see ops/build.py, find_cuda_home)
    TORCH_CUDA_ARCH_LIST  architectures, such as '8.6;9.0+PTX' (not set: 7.5 to 12.0 and PTX of the newest)
    MAX_JOBS              how many files ninja compiles at once
"""

import importlib.util
import os
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


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
    import sysconfig

    found = importlib.metadata.distributions(path=[sysconfig.get_path('purelib')])  # outside of the isolated build
    versions = {distribution.metadata['Name'].lower(): distribution.version for distribution in found}
    if 'setuptools' not in versions or 'torch' in versions or 'basicsr' in versions:
        return None
    if facts.version(versions.get('pip', '23.1')) >= (23, 1):
        return None
    return f'pip {versions["pip"]} cannot install BasicSR 1.4.2, 23.1 and newer can: pip install --upgrade pip'


def extension_arguments() -> dict:
    """ext_modules and cmdclass, empty where nothing can be compiled."""
    facts = load_build_facts()
    try:
        import torch
    except ImportError as error:
        if os.environ.get('FORCE_CUDA', '0') != '0':
            raise SystemExit(
                f'FORCE_CUDA is set, but torch cannot be imported here ({error}): install torch first, then '
                'pip install --no-build-isolation .'
            ) from None
        complaint = old_pip_complaint(facts)
        if complaint:
            raise SystemExit(complaint) from None
        say(f'the rasterizer is not compiled now, but at first use: torch cannot be imported in this build ({error})')
        return {}
    plan = facts.plan_cuda(torch.version.cuda)
    facts.prepare_environment(plan)
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    def native_extension(plan):
        cuda = plan.home is not None
        kind = CUDAExtension if cuda else CppExtension
        extension = kind(
            'gsasr_ops._C',
            [os.path.relpath(file, ROOT) for file in facts.sources(cuda)],
            extra_compile_args={
                'cxx': facts.cxx_flags(torch.__version__, os.environ['TORCH_CUDA_ARCH_LIST'] if cuda else None),
                'nvcc': facts.nvcc_flags(),
            },
            extra_link_args=facts.cudart_flags(plan),
            depends=[os.path.relpath(file, ROOT) for file in facts.headers()],
            # The library is no Python module: torch.ops.load_library loads it, in any version of Python.
            py_limited_api=True,
        )
        return extension

    class OptionalBuild(BuildExtension):
        """Goes on without CUDA, then without a library, where compiling fails."""

        def build_extensions(self):
            forced = os.environ.get('FORCE_CUDA', '0') != '0'
            try:
                super().build_extensions()
            except (Exception, SystemExit) as error:
                if forced:
                    raise
                if plan.home is not None:
                    say(f'compiling the CUDA kernels failed, going on without them: {error}')
                    self.extensions = [native_extension(facts.CudaPlan(reason='compiling them failed'))]
                    try:
                        super().build_extensions()
                        return
                    except (Exception, SystemExit) as second_error:
                        error = second_error
                say(f'the rasterizer could not be compiled, going on without it: {error}')
                self.extensions = []

        def copy_extensions_to_source(self):
            # An editable install copies what was built: not what could not be built.
            self.extensions = [
                extension
                for extension in self.extensions
                if os.path.exists(os.path.join(self.build_lib, self.get_ext_filename(extension.name)))
            ]
            super().copy_extensions_to_source()

    if plan.home is None:
        say(f'CUDA kernels: left out, {plan.reason}')
    else:
        say(f'CUDA kernels: compiled with {plan.home} for {os.environ["TORCH_CUDA_ARCH_LIST"]}')
    return {'ext_modules': [native_extension(plan)], 'cmdclass': {'build_ext': OptionalBuild}}


PACKAGES = {'gsasr_ops': 'ops', 'gsasr_plugin': 'gsasr_plugin'}

setup(
    packages=[
        '.'.join((package, *file.relative_to(ROOT / folder).parts[:-1]))
        for package, folder in PACKAGES.items()
        for file in sorted((ROOT / folder).rglob('__init__.py'))
    ],
    package_dir=PACKAGES,
    # The sources travel along, for the compilation at first use.
    package_data={
        'gsasr_ops': ['py.typed', '**/*.cpp', '**/*.cu', '**/*.h', '**/*.cuh'],
        'gsasr_plugin': ['py.typed', '**/*'],
    },
    **extension_arguments(),
)
