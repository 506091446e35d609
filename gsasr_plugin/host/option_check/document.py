"""`python -m gsasr_plugin.host.option_check.document` writes what the check knows of options into the current folder.

`options/schema.json` is a JSON schema for editors, named at the head of each option file; `docs/options.md` is a table
for each section. Both hold what GSASR is trained and tested with; of other plugins' classes nothing is known here.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from basicsr.archs.discriminator_arch import UNetDiscriminatorSN, VGGStyleDiscriminator
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY, Registry

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.encoders import encoder_options, encoder_types, section_options
from gsasr_plugin.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from gsasr_plugin.host.option_check import host_sections as basicsr
from gsasr_plugin.host.option_check.dataset_check import dataset_options
from gsasr_plugin.host.option_check.option_file import EXTENDS
from gsasr_plugin.host.option_check.path_check import FROM_PRETRAINED
from gsasr_plugin.host.option_check.training_check import shared_options
from gsasr_plugin.host.option_check.type_check import loss_options, metric_options
from gsasr_plugin.models.gsasr_gan_model import GSASRGANModel
from gsasr_plugin.models.gsasr_model import GSASRModel
from gsasr_plugin.option_types import REQUIRED, Accepted, Option, accepted_by_call, accepted_by_dataclass, shown, words
from gsasr_plugin.whole_file import write_whole

FILES = (Path('options/schema.json'), Path('docs/options.md'))
_DATASET, _NETWORK, _MODEL = ArbitraryScalePairedDataset.__name__, GSASR.__name__, GSASRModel.__name__
_GAN_MODEL = GSASRGANModel.__name__
_DISCRIMINATORS = (UNetDiscriminatorSN, VGGStyleDiscriminator)
# What BasicSR's docstrings do not say, or not where they say such things.
_OF_DISCRIMINATORS = {
    'num_in_ch': 'channels of the images: 3',
    'num_feat': 'channels of its first maps',
    'skip_connection': 'join the maps of equal size on the way down and up',
    'input_size': 'side of the images that it takes: 128 or 256',
}
_INNER = ArbitraryScalePairedDataset.inner_options
_EXTENDS = Option(str, None, 'option file, sought beside this one, that gives every option that does not stand here')
_TAKEN = Option(bool, False, 'take the options that do not stand here from what path.pretrain_network_g names')
_HEAD = """\
# Options

Written by `python -m gsasr_plugin.host.option_check.document`, from the classes that read them. `basicsr` checks a file
before it starts anything: an unknown key is an error (of BasicSR's own sections a warning, unless it misspells one of
these), and so is a value that is not accepted. BasicSR's other models, networks and data sets take their own options.
An editor that knows JSON schemas (`options/schema.json`, named at the head of each file) says the same while you type.
"""

Schema = dict[str, Any]


def root() -> Accepted:
    network = Option(dict[str, Any], REQUIRED, 'the network')
    return accepted_by_dataclass(basicsr.RootOptions).with_options(**{EXTENDS: _EXTENDS, 'network_g': network})


def network() -> Accepted:
    return accepted_by_call(GSASR).with_options(**{FROM_PRETRAINED: _TAKEN})


def optimizer() -> Accepted:
    return Accepted({'lr': Option(float, REQUIRED, 'the learning rate')}, open_ended=True)


def of_registry(registry: Registry) -> dict[str, Accepted]:
    """What the classes of BasicSR and of this plugin accept, by their names."""
    known = {name: cls for name, cls in registry if cls.__module__.split('.')[0] in ('basicsr', 'gsasr_plugin')}
    if registry is METRIC_REGISTRY:
        return {name: metric_options(cls, crop_border_auto=True) for name, cls in sorted(known.items())}
    return {name: loss_options(cls) for name, cls in sorted(known.items())}


def discriminators() -> dict[str, Accepted]:
    said = _OF_DISCRIMINATORS
    return {
        cls.__name__: Accepted(
            {key: replace(option, sentence=said[key]) for key, option in accepted_by_call(cls).options.items()}
        )
        for cls in _DISCRIMINATORS
    }


def _of_gan() -> Accepted:
    """What `train` accepts with a discriminator alone."""
    return shared_options('train', GSASRGANModel).without(shared_options('train', GSASRModel).options)


def schedulers() -> dict[str, Accepted]:
    return {name: accepted_by_dataclass(cls) for name, cls in basicsr.SCHEDULERS.items()}


def sections() -> dict[str, Accepted]:
    """What each section of a file accepts that trains or tests a GSASR, by its heading."""
    train_data, val = dataset_options(ArbitraryScalePairedDataset, 'train'), shared_options('val', GSASRModel)
    return {
        'Top level': root(),
        f'datasets.train, .val, .test, ...: {_DATASET}': train_data,
        **{f'datasets.train.{key}': accepted_by_dataclass(cls) for key, cls in _INNER.items()},
        f'network_g: {_NETWORK}': network(),
        **{f'network_g.encoder_opt: {name}': encoder_options(name) for name in encoder_types()},
        **{f'network_d: {name}': accepted for name, accepted in discriminators().items()},
        'path': accepted_by_dataclass(basicsr.PathOptions),
        f'train, with {_MODEL}': shared_options('train', GSASRModel),
        f'train, with {_GAN_MODEL} also': _of_gan(),
        'train.optim_g and optim_d, with further arguments of the class of torch.optim': optimizer(),
        **{f'train.scheduler: {name}': accepted for name, accepted in schedulers().items()},
        **{f'a loss of train: {name}': accepted for name, accepted in of_registry(LOSS_REGISTRY).items()},
        f'val, with {_MODEL}': val,
        **{f'val.metrics.<name>: {name}': accepted for name, accepted in of_registry(METRIC_REGISTRY).items()},
        f'logger, with {_MODEL}': shared_options('logger', GSASRModel),
        'logger.wandb': accepted_by_dataclass(basicsr.WandbOptions),
        'dist_params': accepted_by_dataclass(basicsr.DistOptions),
    }


def markdown() -> str:
    """The text of `docs/options.md`."""
    parts = [_HEAD]
    for heading, accepted in sections().items():
        parts.append(f'\n## {heading}\n\n| option | value | default | |\n|---|---|---|---|\n')
        properties = accepted.schema().get('properties', {})
        for name, option in accepted.options.items():
            cells = (f'`{name}`', words(properties[name]), _default(option.default), _sentence(option.sentence))
            parts.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |\n')
    return ''.join(parts)


def schema() -> Schema:
    """The content of `options/schema.json`."""
    train, val, logger = (shared_options(name, GSASRModel) for name in ('train', 'val', 'logger'))
    loss, metric = _defined('loss'), _by_type(of_registry(METRIC_REGISTRY))
    optim_g = _open(optimizer())
    optim_g['properties']['type'] = {'enum': list(GSASRModel.optimizer_types)}
    definitions = {
        'loss': _by_type(of_registry(LOSS_REGISTRY)),
        'train': _open(
            train,
            optim_g=optim_g,
            scheduler=_by_type(schedulers(), known_only=True),
            pixel_opt=loss,
            perceptual_opt=loss,
            losses=_or_null({'type': 'object', 'additionalProperties': {'type': 'object', **loss}}),
        ),
        'val': _closed(val, metrics=_or_null({'type': 'object', 'additionalProperties': metric})),
        'logger': _closed(logger, wandb=_or_null(_closed(accepted_by_dataclass(basicsr.WandbOptions)))),
    }
    of_gan = _open(_of_gan(), optim_d=optim_g, gan_opt=loss)['properties']
    own = {key: _defined(key) for key in ('train', 'val', 'logger')}
    models = {
        _MODEL: {**own, 'train': _known_only(own['train'], train.options)},
        _GAN_MODEL: {
            **own,
            'train': _known_only(own['train'], train.options, of_gan),
            'network_d': _by_type(discriminators()),
        },
    }
    encoders = _by_type({name: section_options(name) for name in encoder_types()})
    path = _closed(accepted_by_dataclass(basicsr.PathOptions))
    path['patternProperties'] = {f'^{key}': {} for key in basicsr.PATH_KEYS_PER_NETWORK}
    patterns = {}
    for pattern, phase in (('^train$', 'train'), ('^(val|test)(_|$)', 'val')):
        accepted = dataset_options(ArbitraryScalePairedDataset, phase)
        inner = {key: _with_section(accepted, key, cls) for key, cls in _INNER.items()}
        patterns[pattern] = _by_type({_DATASET: accepted}, known_only=False, **inner)
    datasets = {'type': 'object', 'patternProperties': patterns, 'additionalProperties': False}
    whole = _open(
        root(),
        datasets=datasets,
        network_g=_by_type({_NETWORK: network()}, encoder_opt=encoders),
        path=path,
        dist_params=_or_null(_closed(accepted_by_dataclass(basicsr.DistOptions))),
    )
    needed = [name for name, option in root().options.items() if option.default is REQUIRED]
    whole['allOf'] = [
        *({'if': _is('model_type', name), 'then': {'properties': inside}} for name, inside in models.items()),
        {'if': {'required': [EXTENDS]}, 'else': {'required': needed}},
    ]
    whole['definitions'] = {name: _or_null(one) for name, one in definitions.items()}
    whole['patternProperties'] = {'^network_': {'type': 'object'}}
    whole['additionalProperties'] = True
    return {'$schema': 'http://json-schema.org/draft-07/schema#', 'title': 'Options of BasicSR with GSASR', **whole}


def _open(accepted: Accepted, **inner: Schema) -> Schema:
    """The schema of a section, with those of sections inside it; nothing need be there, for a base file may give it."""
    properties = accepted.schema().get('properties', {})
    for name, inside in inner.items():
        said = {key: value for key, value in properties[name].items() if key in ('description', 'default')}
        properties[name] = {**said, **inside}
    for one in properties.values():
        if 'description' in one:
            one['description'] = _sentence(one['description'])
    return {'type': 'object', 'properties': _draft_7(properties)}


def _closed(accepted: Accepted, **inner: Schema) -> Schema:
    return {**_open(accepted, **inner), 'additionalProperties': accepted.open_ended}


def _defined(name: str) -> Schema:
    """What stands under `definitions`; a reference alone, for its neighbours would not count."""
    return {'allOf': [{'$ref': f'#/definitions/{name}'}]}


def _known_only(one: Schema, names: Iterable[str], more: Schema | None = None) -> Schema:
    """A section in which nothing else may stand than these names, and those of more properties."""
    return {**one, 'properties': {**{name: {} for name in names}, **(more or {})}, 'additionalProperties': False}


def _with_section(accepted: Accepted, key: str, options_class: type) -> Schema:
    """What may stand under a key, of which a mapping holds the options of a class."""
    choices = accepted.schema()['properties'][key]['anyOf']
    section = _closed(accepted_by_dataclass(options_class))
    return {'anyOf': [section if choice.get('type') == 'object' else choice for choice in choices]}


def _by_type(accepted: Mapping[str, Accepted], *, known_only: bool = False, **inner: Schema) -> Schema:
    """A section whose `type` says what it accepts; other types, unless `known_only`, are somebody else's."""
    names: Schema = {'enum': list(accepted)}
    rules = []
    for name, one in accepted.items():
        closed = _closed(one, **inner)
        closed['properties'].setdefault('type', {})
        rules.append({'if': _is('type', name), 'then': closed})
    type_name = names if known_only else {'anyOf': [names, {'type': 'string'}]}
    return {'type': 'object', 'properties': {'type': type_name}, 'allOf': rules}


def _is(key: str, value: str) -> Schema:
    return {'required': [key], 'properties': {key: {'const': value}}}


def _or_null(one: Schema) -> Schema:
    return {**one, 'type': [one['type'], 'null']}


def _draft_7(value: Any) -> Any:
    """Lists of fixed lengths as the older draft has them, which editors know."""
    if isinstance(value, list):
        return [_draft_7(item) for item in value]
    if isinstance(value, dict):
        return {'items' if key == 'prefixItems' else key: _draft_7(item) for key, item in value.items()}
    return value


def _sentence(text: str) -> str:
    """A sentence of a docstring for who writes YAML."""
    text = re.sub(r'\s*Defaults?: .*', '', text)
    return re.sub(r'\b(None|True|False)\b', lambda found: shown(ast.literal_eval(found[0])), text)


def _default(value: Any) -> str:
    if value is REQUIRED:
        return 'required'
    text = f'{value:.4g}' if isinstance(value, float) else json.dumps(value, default=str).replace('"', '')
    return f'`{"~" if value is None else text}`'


def main() -> None:
    """Write both files, below the current folder."""
    for path, text in zip(FILES, (json.dumps(schema(), indent=1) + '\n', markdown())):
        write_whole(path, text)


if __name__ == '__main__':
    main()
