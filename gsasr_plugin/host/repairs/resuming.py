"""Which training state a run resumes from."""

import types
from pathlib import Path
from typing import Any

from gsasr_plugin.host.repairs.repair import Repair, is_ours, mentions


def repair_load_resume_state(train: types.ModuleType) -> Repair:
    """`basicsr.train.load_resume_state` asks torch.cuda for a device, so that nothing resumes on a CPU; with
    --auto_resume it looks for states under the current folder, though runs are kept under root_path, finds none there,
    starts again at 0 and renames the folder of the run it should have resumed.
    """
    name = 'load_resume_state'
    host_function = getattr(train, name, None)
    if is_ours(host_function):
        return Repair(name, True, 'already replaced')
    if host_function is None or not mentions(host_function, 'current_device'):
        return Repair(name, False, "the host's function does not ask for a GPU")
    train.load_resume_state = _load_resume_state  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function needs a GPU and looks under the current folder")


def _load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state to resume from, or None: the newest of the run with --auto_resume, else `path.resume_state`.

    Loaded to the CPU (optimizers move their state to the device of the parameters) and without running code. What the
    data loader needs of it goes to `opt['resumed']`: see `repair_epoch_count`.

    Raises:
        RunError: the state or its networks are missing or cannot be read (the message names them), or the options do
            not go with it.
    """
    from basicsr.utils import check_resume

    from gsasr_plugin.checkpoints.resumed_options import check_resumable
    from gsasr_plugin.checkpoints.training_pairs import newest_pair, read_pair
    from gsasr_plugin.run_errors import RunError

    path = opt['path']
    models = Path(path['models'])
    ignored = path.get('ignore_resume_networks') or ()
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_') and key not in ignored]
    if opt['auto_resume']:
        pair = newest_pair(Path(path['training_states']), models, labels)
        if pair is None:
            return None
        path['resume_state'], resume_state = str(pair[0]), pair[1]
    elif path.get('resume_state') is None:
        return None
    else:
        try:
            resume_state = read_pair(Path(path['resume_state']), models, labels)
        except RunError as error:
            raise RunError(f'path.resume_state: {error}') from error
    opt['resumed'] = check_resumable(opt, resume_state, Path(path['resume_state']))
    check_resume(opt, resume_state['iter'])
    return resume_state
