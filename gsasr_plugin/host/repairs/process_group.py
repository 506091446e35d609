"""Several processes on machines without a GPU."""

import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def init_dist_anywhere(original: Callable[..., None]) -> Callable[..., None]:
    """Joins the process group; where there is no GPU over gloo, while BasicSR divides by the number of GPUs."""

    def init_dist(launcher: str, backend: str = 'nccl', **kwargs: Any) -> None:
        if torch.cuda.is_available():
            original(launcher, backend, **kwargs)
        else:
            _init_dist_on_cpu(launcher, **kwargs)

    return init_dist


def model_to_any_device(original: Callable[[Any, nn.Module], nn.Module]) -> Callable[[Any, nn.Module], nn.Module]:
    """A model's network on its device, for several processes on CPUs too, where BasicSR asks for a CUDA device."""

    def model_to_device(self: Any, net: nn.Module) -> nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':
            unused = self.opt.get('find_unused_parameters', False)
            return DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)
        return original(self, net)

    return model_to_device


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
