"""Several processes on machines without a GPU."""

import os
import subprocess
import types
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from gsasr_plugin.host.repairs.repair import Repair, is_ours, mentions


def repair_init_dist(dist_util: types.ModuleType, options: types.ModuleType) -> Repair:
    """`basicsr.utils.dist_util.init_dist` divides by the number of GPUs and always selects a CUDA device, so that
    several processes cannot start on CPUs. With GPUs the host's function is called as it is.
    """
    name = 'init_dist'
    host_init_dist = getattr(dist_util, name, None)
    if is_ours(host_init_dist):
        return Repair(name, True, 'already replaced')
    starters = [getattr(dist_util, starter, None) for starter in ('_init_dist_pytorch', '_init_dist_slurm')]
    if host_init_dist is None or not any(starter and mentions(starter, 'set_device') for starter in starters):
        return Repair(name, False, "the host's function does not insist on a GPU")

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if torch.cuda.is_available():
            host_init_dist(launcher, backend, **kwargs)
        else:
            _init_dist_on_cpu(launcher, **kwargs)

    dist_util.init_dist = init_dist  # type: ignore[attr-defined]
    # The option parser imported the function by name.
    if getattr(options, name, None) is host_init_dist:
        options.init_dist = init_dist  # type: ignore[attr-defined]
    return Repair(name, True, "the host's function divides by the number of GPUs; gloo is used where there is none")


# How long a process waits for one that does not answer (one that is gone is noticed at once): as with NCCL.
_GLOO_TIMEOUT = timedelta(minutes=10)


def _init_dist_on_cpu(launcher: str, port: int | None = None, **kwargs: Any) -> None:
    """Join the process group over gloo; `launcher` is 'pytorch' (torchrun's variables) or 'slurm' (SLURM's)."""
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method('spawn')
    if launcher == 'slurm':
        os.environ.update(_slurm_environment(port))
    elif launcher != 'pytorch':
        raise ValueError(f"launcher: {launcher!r} is not known; accepted are 'none', 'pytorch' and 'slurm'")
    dist.init_process_group(backend='gloo', timeout=_GLOO_TIMEOUT, **kwargs)


def _slurm_environment(port: int | None) -> dict[str, str]:
    """What torch.distributed reads from the environment, worked out from SLURM's variables.

    The master is the first host of the node list. `port` (dist_params.port) goes before MASTER_PORT, which goes before
    torch's default.
    """
    nodes = subprocess.run(
        ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        'MASTER_ADDR': nodes[0],
        'MASTER_PORT': str(port) if port is not None else os.environ.get('MASTER_PORT', '29500'),
        'WORLD_SIZE': os.environ['SLURM_NTASKS'],
        'RANK': os.environ['SLURM_PROCID'],
        'LOCAL_RANK': os.environ.get('SLURM_LOCALID', '0'),
    }
