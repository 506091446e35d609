"""Packs what a GPU machine without a package index lacks: wheels, into tests/gpu/wheels, which git ignores and which
travels with the tree (at most 60 MB): python -m tests.gpu.pack

`python -m tests.gpu` unpacks those whose module the machine does not have.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent / 'wheels'
COMMIT = FOLDER / 'commit'  # of the tree that they were packed for: a copy of it has no git to ask
MOST_BYTES = 60_000_000
# Of BasicSR there is no wheel: it is built here. The others are fetched for the machine's Python.
BUILT = {'basicsr': 'basicsr==1.4.2'}
# Module -> wheel. Not with what they need in turn: that is torch and NVIDIA's gigabytes.
FETCHED = {
    'torchvision': 'torchvision',
    'pydantic': 'pydantic',
    'pydantic_core': 'pydantic-core',
    'annotated_types': 'annotated-types',
    'typing_inspection': 'typing-inspection',
    'lmdb': 'lmdb',
    'yaml': 'pyyaml',
    'tqdm': 'tqdm',
    'safetensors': 'safetensors',
    'addict': 'addict',
    'requests': 'requests',
    'urllib3': 'urllib3',
    'idna': 'idna',
    'certifi': 'certifi',
    'charset_normalizer': 'charset-normalizer',
    'ninja': 'ninja',
    'packaging': 'packaging',
}
# torch 2.11 goes with torchvision 0.26.
TORCHVISION = {'2.10': '0.25', '2.11': '0.26', '2.12': '0.27', '2.13': '0.28', '2.14': '0.29'}
PLATFORMS = [f'manylinux_2_{minor}_x86_64' for minor in (28, 27, 17, 12, 5)]
PLATFORMS += [f'manylinux{year}_x86_64' for year in (2014, 2010, 1)]


def pack(python: str, torch: str) -> None:
    """Fetches and builds the wheels. Raises SystemExit where pip cannot, or where they are too large to travel."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob('*.whl'):
        old.unlink()
    _pip('wheel', '--no-deps', '--wheel-dir', str(FOLDER), *BUILT.values())
    names = [f'{name}=={TORCHVISION[torch]}.*' if name == 'torchvision' else name for name in FETCHED.values()]
    target = ['--python-version', python, '--implementation', 'cp', *(f'--platform={name}' for name in PLATFORMS)]
    _pip('download', '--no-deps', '--only-binary=:all:', *target, '--dest', str(FOLDER), *names)
    COMMIT.write_text(commit() + '\n', encoding='utf-8')
    total = sum(path.stat().st_size for path in FOLDER.glob('*.whl'))
    print(f'{len(list(FOLDER.glob("*.whl")))} wheels, {total / 1e6:.1f} MB, in {FOLDER}')
    if total > MOST_BYTES:
        raise SystemExit(f'more than {MOST_BYTES / 1e6:.0f} MB: they would not travel')


def commit() -> str:
    """The commit of this tree; of a copy without git, the one that was packed for."""
    command = ['git', '-C', str(FOLDER.parent), 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        told = f'{COMMIT.read_text(encoding="utf-8").strip()}, when it was packed' if COMMIT.exists() else 'unknown'
    return told


def _pip(*arguments: str) -> None:
    if subprocess.run([sys.executable, '-m', 'pip', '--quiet', *arguments], check=False).returncode != 0:
        raise SystemExit(f'pip {arguments[0]} failed')


def unpack(missing: list[str], target: Path) -> list[str]:
    """Unpacks the wheels of these modules, as far as there are any, with their programs in `bin`.

    Returns:
        The modules that stay missing.
    """
    names = {module: requirement.split('=')[0] for module, requirement in (BUILT | FETCHED).items()}
    stay = []
    for module in missing:
        wheels = sorted(FOLDER.glob(f'{names[module].replace("-", "_")}-*.whl'))
        if wheels:
            with zipfile.ZipFile(wheels[-1]) as wheel:
                wheel.extractall(target)
            for program in target.glob('*.data/scripts/*'):
                (target / 'bin').mkdir(exist_ok=True)
                program.chmod(0o755)
                program.rename(target / 'bin' / program.name)
        else:
            stay.append(module)
    return stay


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--python', default='3.12', help='the version of Python on the GPU machine')
    parser.add_argument('--torch', default='2.11', choices=sorted(TORCHVISION), help='the version of torch there')
    chosen = parser.parse_args()
    pack(chosen.python, chosen.torch)
