"""The table of the host's option keys against the host's code, which is the only other place where they stand."""

import ast
import inspect
from pathlib import Path

import basicsr
import pytest
from basicsr.models import lr_scheduler

from gsasr_plugin.data.loader_options import EvalLoaderOptions, TrainLoaderOptions
from gsasr_plugin.host.option_check import host_sections
from gsasr_plugin.option_types import REQUIRED, accepted_by_dataclass

KeyPath = tuple[str, ...]

# What reads options, beside the data sets, networks and losses, which are checked against their own classes.
FILES = (
    'train.py',
    'test.py',
    'utils/options.py',
    'utils/logger.py',
    'utils/misc.py',
    'models/__init__.py',
    'models/base_model.py',
    'models/sr_model.py',
    'data/__init__.py',
)

# Variables of those files and the section that they hold; `*` stands for any data set.
VARIABLES: dict[str, KeyPath] = {
    'opt': (),
    'train_opt': ('train',),
    'path_opt': ('path',),
    'dataset': ('datasets', '*'),
    'dataset_opt': ('datasets', '*'),
}

# Put into the options by the host itself.
SET_BY_HOST: set[KeyPath] = {
    *((key,) for key in ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path')),
    *(('datasets', '*', key) for key in ('phase', 'scale')),
    *(
        ('path', key)
        for key in ('experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization')
    ),
}
# Read by data sets too.
OF_DATASETS: set[KeyPath] = {('datasets', '*', 'dataroot_gt'), ('datasets', '*', 'dataroot_lq')}
# Sections checked against what their `type` names.
OF_TYPES: set[KeyPath] = {('train', 'optim_g', 'type'), ('train', 'scheduler', 'type')}

# In the table though no code of the host names them: passed on as **kwargs, or in all of its option files.
NOT_READ_BY_NAME: set[KeyPath] = {
    ('dist_params', 'backend'),
    ('dist_params', 'port'),
    ('datasets', '*', 'use_shuffle'),
}

TABLE: dict[KeyPath, tuple[type, ...]] = {
    (): (host_sections.RootOptions,),
    ('datasets', '*'): (TrainLoaderOptions, EvalLoaderOptions),
    ('path',): (host_sections.PathOptions,),
    ('train',): (host_sections.TrainOptions,),
    ('val',): (host_sections.TrainingValOptions, host_sections.TestingValOptions),
    ('logger',): (host_sections.LoggerOptions,),
    ('logger', 'wandb'): (host_sections.WandbOptions,),
    ('dist_params',): (host_sections.DistOptions,),
}


class _OptionReads(ast.NodeVisitor):
    """Collects `opt['a']['b']`, `opt['a'].get('b')` and `'b' in opt['a']`."""

    def __init__(self) -> None:
        self.found: set[KeyPath] = set()

    def visit(self, node: ast.AST) -> None:
        path = self.path(node)
        if path:
            self.found.add(path)
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and isinstance(node.ops[0], ast.In):
            section = self.path(node.comparators[0])
            if section is not None and isinstance(node.left.value, str):
                self.found.add((*section, node.left.value))
        self.generic_visit(node)

    def path(self, node: ast.AST) -> KeyPath | None:
        if isinstance(node, ast.Name):
            return VARIABLES.get(node.id)
        if isinstance(node, ast.Attribute) and node.attr == 'opt':
            return ()
        key: ast.AST
        if isinstance(node, ast.Subscript):
            parent, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ('get', 'pop'):
            if not node.args:
                return None
            parent, key = node.func.value, node.args[0]
        else:
            return None
        section = self.path(parent)
        if section is None or not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return None
        return ('datasets', '*') if (*section, key.value) == ('datasets', 'train') else (*section, key.value)


@pytest.fixture(scope='module')
def read_by_host() -> set[KeyPath]:
    reads = _OptionReads()
    for file in FILES:
        reads.visit(ast.parse((Path(basicsr.__file__).parent / file).read_text()))
    return reads.found


def in_table() -> set[KeyPath]:
    return {
        (*section, name)
        for section, classes in TABLE.items()
        for options in classes
        for name in accepted_by_dataclass(options).options
    }


def test_every_key_that_the_host_reads_is_in_the_table(read_by_host: set[KeyPath]) -> None:
    networks = {path for path in read_by_host if path[0].startswith('network_')}
    metrics_and_types = {path for path in read_by_host if path[:2] == ('val', 'metrics')} | OF_TYPES
    not_keys = {('datasets', '*'), ('name', 'debug')}  # the section itself, and a text sought in a value
    missing = read_by_host - in_table() - SET_BY_HOST - OF_DATASETS - networks - metrics_and_types - not_keys
    assert missing == set()


def test_the_table_holds_nothing_that_the_host_does_not_read(read_by_host: set[KeyPath]) -> None:
    assert in_table() - read_by_host - NOT_READ_BY_NAME == set()


def test_the_reading_of_the_host_finds_the_keys_known_to_be_required(read_by_host: set[KeyPath]) -> None:
    assert {
        ('name',),
        ('model_type',),
        ('num_gpu',),
        ('logger', 'print_freq'),
        ('logger', 'save_checkpoint_freq'),
        ('logger', 'use_tb_logger'),
        ('train', 'total_iter'),
        ('val', 'val_freq'),
        ('val', 'save_img'),
        ('datasets', '*', 'batch_size_per_gpu'),
    } <= read_by_host


@pytest.mark.parametrize('name', sorted(host_sections.SCHEDULERS))
def test_schedulers_take_what_the_host_takes(name: str) -> None:
    cls = getattr(lr_scheduler, {'MultiStepLR': 'MultiStepRestartLR'}.get(name, name))
    parameters = dict(inspect.signature(cls).parameters)
    for of_the_host in ('optimizer', 'last_epoch'):
        del parameters[of_the_host]
    ours = accepted_by_dataclass(host_sections.SCHEDULERS[name])
    assert list(ours.options) == list(parameters)
    for key, option in ours.options.items():
        default = parameters[key].default
        if default is inspect.Parameter.empty:
            assert option.default is REQUIRED
        else:
            assert option.default == pytest.approx(list(default) if isinstance(default, tuple) else default)


def test_the_host_knows_these_schedulers() -> None:
    from basicsr.models.base_model import BaseModel

    source = inspect.getsource(BaseModel.setup_schedulers)
    named = {
        node.value for node in ast.walk(ast.parse(inspect.cleandoc('\n' + source))) if isinstance(node, ast.Constant)
    }
    assert set(host_sections.SCHEDULERS) <= named
    assert {text for text in named if isinstance(text, str) and text.endswith('LR')} == set(host_sections.SCHEDULERS)
