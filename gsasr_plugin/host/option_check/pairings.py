"""Which networks and data sets a model class works with: what it states of itself, or, for BasicSR's, the tables here.

A class that neither states anything nor is BasicSR's goes with everything.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY

from gsasr_plugin.archs.encoders.rdn import RDN
from gsasr_plugin.host.option_check.registered import registered, registered_names
from gsasr_plugin.host.option_check.report import Report
from gsasr_plugin.models.model_contract import ModelContract, stated
from gsasr_plugin.option_types import listed

# What BasicSR's networks (and, of the plugin's, the encoder that stands among them) take and give.
_NETWORKS = {
    'image': {'ECBSR', 'EDSR', 'HiFaceGAN', 'MSRResNet', 'RCAN', 'RIDNet', 'RRDBNet', 'SRVGGNetCompact', 'SwinIR'},
    'window': {'DUF', 'EDVR', 'TOFlow'},  # some frames -> the middle one
    'clip': {'BasicVSR', 'BasicVSRPlusPlus', 'IconVSR'},  # frames -> as many
    'styles': {'StyleGAN2Generator'},
    # Parts of others, and features in place of an image.
    'part': {'DFDNet', 'HiFaceGANDiscriminator', 'RDN', 'SpyNet', 'StyleGAN2Discriminator', 'UNetDiscriminatorSN'}
    | {'VGGFeatureExtractor', 'VGGStyleDiscriminator'},
}
# What the items of BasicSR's data sets hold.
_DATASETS = {
    'pair': {'PairedImageDataset', 'RealESRGANPairedDataset'},
    'lq': {'SingleImageDataset'},
    'gt': {'FFHQDataset'},
    'gt and blur': {'RealESRGANDataset'},
    'window': {'REDSDataset', 'Vimeo90KDataset'},
    'clip': {'REDSRecurrentDataset', 'Vimeo90KRecurrentDataset'},
    'tested window': {'VideoTestDataset', 'VideoTestDUFDataset', 'VideoTestVimeo90KDataset'},
    'tested clip': {'VideoRecurrentTestDataset'},
}


@dataclass(frozen=True)
class _Work:
    """The kinds of networks that a model trains and validates, each with the kinds of its data."""

    training: Mapping[str, tuple[str, ...]]
    validation: Mapping[str, tuple[str, ...]]


_TRAINING = {'image': ('pair',), 'window': ('window',), 'clip': ('clip',)}
_IMAGES = {'image': ('pair', 'lq')}
_STILL = _Work(_TRAINING, {**_IMAGES, 'window': ('tested window',)})
_WINDOW = _Work(_TRAINING, {'window': ('tested window',)})
_CLIP = _Work(_TRAINING, {'clip': ('tested clip',)})
_PADDING = _Work(_TRAINING, _IMAGES)  # to windows, whose size it reads in network_g
_BLURRED = _Work({'image': ('gt and blur',)}, _IMAGES)
_MODELS = {
    'SRModel': _STILL,
    'SwinIRModel': _PADDING,
    'SRGANModel': _STILL,
    'ESRGANModel': _STILL,
    'HiFaceGANModel': _STILL,
    'RealESRNetModel': _BLURRED,
    'RealESRGANModel': _BLURRED,
    'VideoBaseModel': _WINDOW,
    'EDVRModel': _WINDOW,
    'VideoGANModel': _WINDOW,
    'VideoRecurrentModel': _CLIP,
    'VideoRecurrentGANModel': _CLIP,
    'StyleGAN2Model': _Work({'styles': ('gt',)}, {}),
}
# A class of another plugin that replaces one of these may take anything.
_HANDLING = {'feed_data', 'optimize_parameters', 'test', 'validation', 'dist_validation', 'nondist_validation'}


def check_pairings(
    report: Report, root: dict[str, Any], model: type, network: type | None, data: Mapping[str, type], *, is_train: bool
) -> None:
    """Note a network and data sets that the model cannot work with.

    Args:
        network: The class of `network_g`, if it is known.
        data: The classes of `datasets`, where they are known, by the names of their sections.
    """
    for registry, attribute, classes in (
        (ARCH_REGISTRY, 'network_types', {('network_g', 'type'): network}),
        (DATASET_REGISTRY, 'dataset_types', {('datasets', key, 'type'): cls for key, cls in data.items()}),
    ):
        own = stated(model, ModelContract, attribute)
        for path, cls in classes.items():
            if cls is not None and own and not issubclass(cls, own):
                accepted = [name for name in registered_names(registry) if issubclass(registered(registry, name), own)]
                report.error(path, f'given {_name(cls)!r}, which {_name(model)} does not work with', listed(accepted))
    work = _work(model, root)
    if work is not None:
        _check_basicsr(report, model, work, network, data, is_train=is_train)
        if (
            work is _PADDING
            and network is not None
            and data.keys() - {'train'}
            and 'window_size' not in root['network_g']
        ):
            report.error(('network_g', 'window_size'), f'missing ({_name(model)} reads it)', 'a network with windows')


def _check_basicsr(
    report: Report, model: type, work: _Work, network: type | None, data: Mapping[str, type], *, is_train: bool
) -> None:
    """As `check_pairings`, for a model of BasicSR's."""
    kind = _kind(network, _NETWORKS, 'network_types')
    known = work.training if is_train else work.validation
    if kind is not None and kind not in known:
        accepted = listed(name for one in known for name in _NETWORKS[one]) or 'no network that is known'
        report.error(('network_g', 'type'), f'given {_name(network)!r}, which {_name(model)} cannot run', accepted)
        kind = None
    for key, cls in data.items():
        task = work.training if is_train and key == 'train' else work.validation
        allowed = {one for taken, items in task.items() if kind in (None, taken) for one in items}
        found = _kind(cls, _DATASETS, 'dataset_types')
        if found is not None and found not in allowed:
            beside = '' if network is None else f' and a network of type {_name(network)}'
            report.error(
                ('datasets', key, 'type'),
                f'given {_name(cls)!r}, which does not go with {_name(model)}{beside} in {key}',
                listed(name for one in allowed for name in _DATASETS[one]) or 'no data set that is known',
            )


def _name(cls: type | None) -> str:
    return '' if cls is None else cls.__name__


def _work(model: type, root: Mapping[str, Any]) -> _Work | None:
    """What a model does that handles its batches as one of BasicSR's classes does."""
    if stated(model, ModelContract, 'network_types') or stated(model, ModelContract, 'dataset_types'):
        return None
    handling = next(cls for cls in model.__mro__ if _is_basicsr(cls) or vars(cls).keys() & _HANDLING or cls is object)
    work = _MODELS.get(handling.__name__) if _is_basicsr(handling) else None
    return _STILL if work is _BLURRED and root.get('high_order_degradation') is False else work


def _kind(cls: type | None, kinds: Mapping[str, set[str]], attribute: str) -> str | None:
    """The kind of a class in a table; None where nothing is known of it."""
    if cls is None:
        return None
    if any(issubclass(cls, stated(model, ModelContract, attribute)) for _, model in MODEL_REGISTRY):
        return 'of another model'
    if not (_is_basicsr(cls) or cls is RDN):
        return None
    return next((kind for kind, names in kinds.items() if cls.__name__ in names), None)


def _is_basicsr(cls: type) -> bool:
    return cls.__module__.startswith('basicsr.')


def needed_keys(cls: type, *, is_train: bool) -> set[str]:
    """Keys that the code of a data set of BasicSR's reads whatever else is given: it needs all of them."""
    functions = [vars(base)['__init__'] for base in cls.__mro__ if _is_basicsr(base) and '__init__' in vars(base)]
    needed: set[str] = set()
    for function in [*functions, getattr(cls, '__getitem__', None)] if functions else []:
        _collect_needed(ast.parse(textwrap.dedent(inspect.getsource(function))), needed, is_train)
    return needed


def _collect_needed(node: ast.AST, needed: set[str], is_train: bool) -> None:
    """Add the key of every `opt['...']` below a node that is not behind a condition."""
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key)), ctx=ast.Load()):
            if ast.unparse(value) in ('opt', 'self.opt'):
                needed.add(key)
    match node:
        case ast.If(test=test) if is_train and ast.unparse(test) == "self.opt['phase'] == 'train'":
            parts = [test, *node.body]
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.For(iter=test):
            parts = [test]
        case ast.BoolOp(values=[first, *_]):
            parts = [first]
        case _:
            parts = list(ast.iter_child_nodes(node))
    for part in parts:
        _collect_needed(part, needed, is_train)
