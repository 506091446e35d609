"""CUDA graphs: what a network asks of a GPU for images of one size, recorded once and replayed for the next ones.

Of small images a GPU computes a network faster than Python asks for it, operation by operation; a recording asks once.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]

KEPT = 8  # sizes whose recordings stay, with their results' memory; that of the steps between is shared by all

_recording = threading.Lock()  # PyTorch records one graph at a time


class Recording:
    """A function as it was computed for some tensors, to be replayed for others like them.

    Args:
        function: of tensors on one CUDA device, or None; it reads no numbers from the device and changes no input.
        inputs: its arguments.
        pool: of memory that recordings share, none of which runs beside another.

    Raises:
        RuntimeError: the function does what a recording forbids, as waiting for the device.
    """

    def __init__(self, function: Function, inputs: tuple[Tensor | None, ...], pool: Any) -> None:
        self.inputs = tuple(None if x is None else x.clone() for x in inputs)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(*self.inputs)  # libraries take their memory at their first call on a stream
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        # What other threads ask of the GPU meanwhile, memory for the next images above all, is theirs.
        with _recording, torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode='thread_local'):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The results for other inputs of the same shapes, in memory of their own."""
        for own, given in zip(self.inputs, inputs, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        self.graph.replay()
        return tuple(output.clone() for output in self.outputs)


class Recorder:
    """Calls a function; for tensors of shapes that it has seen before, by a recording.

    The first call of its kind computes as ever, so that a size which comes once costs nothing; the second one records.
    Where that fails a warning says why, and all is computed as ever from then on.
    """

    def __init__(self) -> None:
        self.recordings: OrderedDict[Any, Recording | None] = OrderedDict()  # the last used ones last
        self.failed = False
        self.pool: Any = None
        self.lock = threading.Lock()  # inputs and results of a recording have one place

    def __call__(self, function: Function, weights: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """What the function makes of the inputs.

        Args:
            function: see `Recording`; the same one in every call.
            weights: one of the tensors that it computes with beside the inputs: where that has moved, so have all.
            inputs: tensors, or None.
        """
        if self.failed or not _is_cuda(weights) or torch.is_grad_enabled():
            return function(*inputs)
        key = (weights.data_ptr(), _state(), *(None if x is None else (x.shape, x.stride(), x.dtype) for x in inputs))
        with self.lock, torch.cuda.device(weights.device):
            if key not in self.recordings:
                self.recordings[key] = None
                return function(*inputs)
            recording = self.recordings[key] or self._recorded(function, inputs)
            if recording is None:
                return function(*inputs)
            self.recordings[key] = recording
            self.recordings.move_to_end(key)
            kept = [other for other, made in self.recordings.items() if made is not None]
            for other in kept[:-KEPT]:
                del self.recordings[other]
            return recording(*inputs)

    def _recorded(self, function: Function, inputs: tuple[Tensor | None, ...]) -> Recording | None:
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        try:
            return Recording(function, inputs, self.pool)
        except RuntimeError as error:  # an encoder may be anybody's
            self.failed = True
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(
                f'cuda_graph: the network cannot be recorded, and is computed as without: {reason}', stacklevel=2
            )
            return None


def _is_cuda(weights: Tensor) -> bool:
    return weights.device.type == 'cuda'


def _state() -> tuple[Any, ...]:
    """What else a computation on CUDA devices depends on."""
    half = torch.get_autocast_dtype('cuda') if torch.is_autocast_enabled('cuda') else None
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return half, *tf32, torch.is_inference_mode_enabled()
