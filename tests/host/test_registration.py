"""Whoever imports BasicSR, and in whatever order, finds it repaired and our classes registered; nobody else pays."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gsasr_plugin.commands.main import COMMANDS
from tests import forked

Run = Callable[..., subprocess.CompletedProcess[str]]

# What stands in for the module that BasicSR misses, as another plugin may have it.
OTHERS_ALIAS = """
import sys, types
from torchvision.transforms import functional
module = types.ModuleType('torchvision.transforms.functional_tensor')
module.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[module.__name__] = module
"""
FAILED_IMPORT = """
try:
    import basicsr
except ModuleNotFoundError:
    pass
"""
# Ctrl-C in a notebook, whose cell is then run again.
INTERRUPTED_IMPORT = """
import sys, gsasr_plugin
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == '{}':
            sys.meta_path.remove(self)
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
try:
    from basicsr.archs import build_network
except KeyboardInterrupt:
    interrupted = True
assert interrupted
"""
ORDERS = {
    'ours first': 'import gsasr_plugin',
    'theirs first, by an alias of others': f'{OTHERS_ALIAS}\nimport basicsr, gsasr_plugin',
    'theirs first, in vain': f'{FAILED_IMPORT}\nimport gsasr_plugin',
    'interrupted in theirs': INTERRUPTED_IMPORT.format('basicsr.models'),
    'interrupted in ours': INTERRUPTED_IMPORT.format('gsasr_plugin.models.gsasr_model'),
    'twice': 'import importlib, gsasr_plugin, basicsr\nimportlib.reload(gsasr_plugin)\nimportlib.reload(basicsr)',
    'a file of models': 'import gsasr_plugin.models.resumable_model',
    'the data set': 'from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset',
    "an encoder of BasicSR's": 'import gsasr_plugin.archs.encoders.swinir',
    'the option check': 'import gsasr_plugin.host.option_check',
    'rooms': """
from gsasr_plugin.data import ArbitraryScalePairedDataset
from gsasr_plugin.models import GSASRModel
from gsasr_plugin.metrics import calculate_dists, calculate_lpips
from gsasr_plugin.archs import GSASR
""",
    'the room of models': 'from gsasr_plugin.models import GSASRModel',
    'the room of metrics': 'from gsasr_plugin.metrics import *',
    'upscaling': 'from gsasr_plugin import GSASR, load, upscale',
    'threads': """
import threading, gsasr_plugin
def registry(): import basicsr.utils.registry
def ours(): from gsasr_plugin import upscale
threads = [threading.Thread(target=target) for target in (registry, ours) * 4]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
}
CHECK = """
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
import basicsr, basicsr.train
encoder = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1}
small = {'embed_dim': 12, 'num_heads': 2, 'window_size': 4, 'num_interaction_blocks': 1}
net = build_network({'type': 'GSASR', 'encoder_opt': encoder, **small})
import gsasr_plugin
assert type(net) is gsasr_plugin.GSASR is gsasr_plugin.archs.GSASR
from gsasr_plugin.models.gsasr_model import GSASRModel
assert MODEL_REGISTRY.get('GSASRModel') is GSASRModel
names = {'GSASR', 'RDN'} - set(ARCH_REGISTRY.keys())
names |= {'ArbitraryScalePairedDataset'} - set(DATASET_REGISTRY.keys())
names |= {'calculate_lpips', 'calculate_dists'} - set(METRIC_REGISTRY.keys())
assert not names, names
assert basicsr.train.load_resume_state.__module__.startswith('gsasr_plugin.'), basicsr.train.load_resume_state
assert type(basicsr.__spec__.loader).__module__ != 'gsasr_plugin.host.registration'
"""


@pytest.mark.slow
@pytest.mark.parametrize('order', ORDERS)
def test_whoever_imports_basicsr_finds_our_classes(order: str, run_python: Run) -> None:
    # Where threads import, torch and the like are part of what could go wrong.
    run = run_python if order == 'threads' else forked.run
    done = run(['-c', ORDERS[order] + '\n' + CHECK])
    assert done.returncode == 0, done.stderr


HEAVY = {'torch', 'torchvision', 'basicsr', 'pydantic', 'numpy', 'scipy', 'cv2', 'PIL', 'lmdb', 'yaml'}


def imported(run_python: Run, code: str) -> set[str]:
    """The heavy packages that are imported when a process ends."""
    at_exit = f'import atexit, sys\natexit.register(lambda: print("\\n", *{HEAVY} & set(sys.modules)))\n'
    done = run_python(['-c', at_exit + code])
    assert 'Traceback' not in done.stderr, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ('command', 'status'),
    [
        ('gsasr --help', 0),
        ('gsasr --version', 0),
        ('gsasr', 2),
        ('gsasr no-such-command', 2),
        *((f'gsasr {name} --help', 0) for name in COMMANDS),
        ('gsasr upscale a.png -o b.png', 2),
        ('gsasr upscale a.png -o b.png --scale 0.5', 2),
        ('gsasr upscale -o b.png --scale 2', 2),
        ('gsasr upscale a.png -o b.png --scale 2 --quality 0', 2),
        ('gsasr gaussians a.png -o b.png', 2),
        ('gsasr visualize a.png -o b.jpg', 2),
        ('gsasr curves run --out a.txt', 2),
        ('gsasr check-data', 2),
        ('basicsr --help', 0),
        ('basicsr --version', 0),
        ('basicsr train --help', 0),
        ('basicsr test --help', 0),
        ('basicsr', 2),
        ('basicsr train', 2),
        ('basicsr train -opt a.yml --launcher pytorch', 2),
    ],
)
def test_help_and_wrong_arguments_import_nothing_heavy(command: str, status: int, run_python: Run) -> None:
    name, *arguments = command.split()
    module = {'gsasr': 'gsasr_plugin.commands', 'basicsr': 'gsasr_plugin.cli'}[name]
    code = f"""
import sys
from {module} import main
try:
    status = main({arguments})
except SystemExit as stop:
    status = stop.code
assert status == {status}, status
"""
    assert imported(run_python, code) == set()


def test_a_file_that_cannot_be_read_is_told_before_torch_is_imported(run_python: Run) -> None:
    code = "from gsasr_plugin import cli\nassert cli.main(['train', '-opt', 'none.yml']) == 2"
    assert not imported(run_python, code) & {'torch', 'basicsr', 'numpy'}


def test_importing_the_package_imports_nothing_heavy(run_python: Run) -> None:
    assert imported(run_python, 'import gsasr_plugin; dir(gsasr_plugin); gsasr_plugin.__version__') == set()


@pytest.mark.slow
def test_upscaling_does_without_basicsr(run_python: Run, model_file: Path, tmp_path: Path) -> None:
    """In Python and on the command line."""
    code = f"""
import sys
import numpy
from gsasr_plugin import upscale
from gsasr_plugin.commands import main
small = numpy.zeros((8, 9, 3), numpy.uint8)
assert upscale(small, scale=2, model={str(model_file)!r}).shape == (16, 18, 3)
from PIL import Image
Image.fromarray(small).save({str(tmp_path / 'a.png')!r})
assert main(['upscale', {str(tmp_path / 'a.png')!r}, '-o', {str(tmp_path / 'b.png')!r}, '--scale', '3']) == 0
"""
    assert imported(run_python, code) & {'basicsr', 'lmdb'} == set()
