"""What a resumed run takes from its options, and what from the training state, where the two differ.

A training state says under `OPTIONS` by which options it was trained. Optimizer, schedule and the seed of the data go
on as they were; `train.restart_scheduler` takes optimizer settings and schedule from the options; all else is as the
options say.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsasr_plugin.archs.gsasr_arch import OF_DRAWING
from gsasr_plugin.checkpoints.loading import read_model
from gsasr_plugin.checkpoints.network_sections import differences
from gsasr_plugin.run_errors import RunError

OPTIONS = 'options'  # key of the state
RESTART = 'restart_scheduler'
OPTIMIZERS = ('optim_g', 'optim_d')  # in their order in a state
_KEPT = ('train.optim_g', 'train.optim_d', 'train.scheduler')  # unless they are restarted
_SAME_SCHEDULES = {'MultiStepRestartLR': 'MultiStepLR'}  # two names of BasicSR's for one class
_SAME_STATES = {'AdamW': 'Adam'}
_STATE_OPTIONS = ('amsgrad', 'momentum', 'centered')  # what an optimizer remembers depends on these
_ABSENT = 'nothing'


def options_in_force(opt: Mapping[str, Any]) -> dict[str, Any]:
    """What a training state says of its options, in plain containers: networks, `train`, `datasets.train`, seed."""
    datasets = {'train': (opt.get('datasets') or {}).get('train') or {}}
    networks = {key: opt[key] for key in ('network_g', 'network_d') if key in opt}
    held = {**networks, 'train': opt['train'], 'datasets': datasets}
    return _plain({**held, 'manual_seed': opt.get('manual_seed')})


def check_resumable(opt: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Whether a run can go on from a training state by its options.

    Args:
        opt: the options, as BasicSR's training loop has them.

    Returns:
        What the data loader needs of it: `epoch`, `iter`, `position` and `manual_seed`, None where it is not known.

    Raises:
        RunError: it is beyond `train.total_iter`, of another network, with or without a discriminator unlike this one,
            or of another type of optimizer or schedule.
    """
    total = int(opt['train']['total_iter'])
    if state['iter'] > total:
        raise RunError(
            f'train.total_iter: {total}, but the run has {state["iter"]} iterations already ({path}): raise it, or '
            'leave out --auto_resume or path.resume_state to start again'
        )
    then = state.get(OPTIONS) or {}
    optimizers, stored = ([key for key in OPTIMIZERS if key in options['train']] for options in (opt, then or opt))
    if optimizers != stored:
        raise RunError(
            f'{path} is of a training with {" and ".join(stored)}, this one has {" and ".join(optimizers)}: '
            'path.pretrain_network_g starts a new run from its network'
        )
    if 'network_g' not in (opt['path'].get('ignore_resume_networks') or ()):
        lines = _other_network(opt['network_g'], then.get('network_g') or _described(opt, state))
        if lines:
            listed = '\n  '.join(lines)
            raise RunError(f'{path} is of another network than network_g describes:\n  {listed}')
    lines = _other_discriminator(opt, then)
    if lines:
        listed = '\n  '.join(lines)
        raise RunError(f'{path} is of another discriminator than network_d describes:\n  {listed}')
    if then and not opt['train'].get(RESTART):
        for section, same in (*((name, {}) for name in optimizers), ('scheduler', _SAME_SCHEDULES)):
            now, stored = (options['train'].get(section, {}).get('type') for options in (opt, then))
            if same.get(now, now) != same.get(stored, stored):
                raise RunError(
                    f'train.{section}.type: {now}, but {path} is of {stored}; train.{RESTART}: true takes optimizer '
                    'settings and schedule from the options'
                )
    # States of an older version drew their data as seed 0 does; those of BasicSR's own models do not say.
    seed = then.get('manual_seed', 0 if 'random' in state else None)
    return {'epoch': state['epoch'], 'iter': state['iter'], 'position': state.get('position'), 'manual_seed': seed}


def _described(opt: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the network's own file says; None for one of BasicSR's."""
    if opt['network_g'].get('type') != 'GSASR':
        return None
    try:
        return read_model(Path(opt['path']['models'], f'net_g_{state["iter"]}.pth')).options
    except (FileNotFoundError, ValueError) as error:
        raise RunError(str(error)) from error


def _other_network(now: Mapping[str, Any], then: Mapping[str, Any] | None) -> list[str]:
    """The options in which two networks differ, a line each."""
    if then is None:
        return []
    if now.get('type') != then.get('type'):
        return [f'type: {now.get("type")} in network_g, {then.get("type")} in the checkpoint']
    return differences(now, then)


def _other_discriminator(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """The options of `network_d` that both have, and in which they differ; what one has by default is not known."""
    if 'network_d' in (now['path'].get('ignore_resume_networks') or ()):
        return []
    ours, theirs = (_flat(options.get('network_d') or {}) for options in (now, then))
    shared = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    return [f'{key}: {ours[key]} in network_d, {theirs[key]} in the checkpoint' for key in shared]


def merge_options(now: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The options by which a resumed run is trained, and a line on each that has changed.

    Args:
        now: what `options_in_force` says of its options.
    """
    merged, lines = _plain(now), []
    kept = () if now['train'].get(RESTART) else _KEPT
    then = state.get(OPTIONS)
    if then is None:
        rest = "optimizer settings and schedule are the state's, all else is" if kept else 'all is'
        lines.append(f'The training state does not say by which options it was trained: {rest} as the options say.')
        if 'random' in state:  # of an older version
            merged['manual_seed'] = 0
            if now['manual_seed'] != 0:
                lines.append('manual_seed: images and crops are drawn as the version of the state did, as with 0.')
            if now['datasets']['train'].get('dataset_enlarge_ratio', 1) % 1:
                lines.append('dataset_enlarge_ratio is no whole number: the order of images is another from here on.')
        return merged, lines
    for key in kept:
        section = key.split('.')[1]
        if section in then['train']:
            merged['train'][section] = _plain(then['train'][section])
    merged['manual_seed'] = then['manual_seed']
    ours, theirs = _flat(_compared(now)), _flat(_compared(then))
    for key in dict.fromkeys([*ours, *theirs]):
        found, stored = ours.get(key, _ABSENT), theirs.get(key, _ABSENT)
        if found == stored:
            continue
        if key == 'manual_seed':  # where the file has none, BasicSR has drawn one
            lines.append(f"manual_seed: the training state's, {stored}, counts, and not {found}")
            continue
        verdict = 'the options count'
        if key.startswith(tuple(f'{section}.' for section in kept)):
            verdict = f'the training state counts (with train.{RESTART}: true the options)'
        lines.append(f'{key}: {found} in the options, {stored} in the training state: {verdict}')
    return merged, lines


def remembers_alike(now: Mapping[str, Any], then: Mapping[str, Any] | None) -> bool:
    """Whether optimizers by the options `now` can go on with what those by `then` remember of the gradients."""
    if then is None:
        return True
    for name in OPTIMIZERS:
        ours, theirs = ({'type': '', **options['train'].get(name, {})} for options in (now, then))
        types = {_SAME_STATES.get(options['type'], options['type']) for options in (ours, theirs)}
        if len(types) > 1 or any(ours.get(key) != theirs.get(key) for key in _STATE_OPTIONS):
            return False
    return True


def is_other_type(now: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether what two optimizers or schedules keep is of two types; PyTorch's versions add names, or drop some."""
    return bool(now.keys() - stored.keys() and stored.keys() - now.keys())


def _compared(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is known to be the same, or changes nothing."""
    network = {key: options['network_g'][key] for key in OF_DRAWING if key in options['network_g']}
    train = {key: value for key, value in options['train'].items() if key != RESTART}
    return {**options, 'network_g': network, 'train': train}


def _plain(value: Any) -> Any:
    """A copy in dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """All options by their path: 'train.optim_g.lr'."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {f'{prefix}{key}': value}
    return flat
