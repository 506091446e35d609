"""How a network computes, with the same weights: half precision, layout in memory, compilation."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from gsasr_plugin import precision
from gsasr_plugin.archs.inference import for_training
from gsasr_plugin.precision import FLOAT32, HalfPrecision, dtype_of
from gsasr_plugin.torch_private import replace_call


@dataclass
class ComputeOptions:
    """What `train:` and `val:` accept on how to compute; each speaks for itself.

    Attributes:
        autocast: run encoder and decoder in half precision: bf16 or fp16; None: float32. Gaussians and rasterizer are
            float32 always. Training in fp16 scales the loss.
        channels_last: keep weights and images in the order (B, h, w, C), which suits some GPUs' convolutions.
        tf32: on CUDA devices products of float32 may keep 10 bits behind the point of their factors, which tensor cores
            multiply several times as fast; what the images themselves are made of, and all of the rasterizer, is
            computed in full. false: all in full.
        compile: compile encoder and decoder with torch.compile: a minute or more at the start, and again for some new
            sizes. Where it fails the log says why, and they run as they are.
    """

    autocast: HalfPrecision | None = None
    channels_last: bool = False
    tf32: bool = True
    compile: bool = False


def autocast(device: torch.device, options: dict[str, Any]) -> torch.autocast:
    """The context in which a network runs by the options of a section `train` or `val`."""
    return precision.autocast(device, dtype_of(options.get('autocast') or FLOAT32))


def tf32(options: dict[str, Any]) -> AbstractContextManager[None]:
    """The context in which products of float32 are as the options of a section ask for; gradients' too."""
    return precision.tf32(options.get('tf32', ComputeOptions.tf32))


def laid_out(image: Tensor, options: dict[str, Any]) -> Tensor:
    """An image (B, C, h, w) in the layout that the options of a section ask for."""
    return image.contiguous(memory_format=torch.channels_last) if options.get('channels_last') else image


def prepare(net: nn.Module, options: dict[str, Any], *, trains: bool = False) -> None:
    """Sets a network up to compute by the options of a section.

    Args:
        net: GSASR, on its device; or another network, which is not compiled.
        options: of `train` or `val`.
        trains: whether it is to be trained: in bfloat16 on a CPU by fused kernels, which compilers do not see through.
    """
    if options.get('channels_last'):
        net.to(memory_format=torch.channels_last)
    if options.get('compile'):
        for part in ('encoder', 'decoder'):
            _compile_or_explain(getattr(net, part), part)
    elif trains and options.get('autocast') == 'bf16' and next(net.parameters()).device.type == 'cpu':
        for_training(net)


def _compile_or_explain(module: nn.Module, name: str) -> None:
    """Has a module compiled when it is first called; keys of its state dict stay as they are.

    Args:
        module: compiled in place.
        name: what the log calls it where compiling fails.
    """

    def make(plain: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Any = torch.compile(plain)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal compiled
            if compiled is not None:
                try:
                    return compiled(*args, **kwargs)
                # Whatever the compiler raises; an error that is the module's own is raised again below.
                except Exception as error:
                    compiled = None
                    reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0]
                    get_root_logger().warning(f'compile: the {name} could not be compiled, and runs as it is: {reason}')
            return plain(*args, **kwargs)

        return call

    replace_call(module, make)
