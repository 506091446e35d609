"""The number formats that a network is measured in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from gsasr_plugin.precision import tf32

# The relative rounding of one number, in units of float32's: products of numbers that are rounded so are wrong by as
# much more.
COARSER = {'float32': 1.0, 'tf32': 2.0**13, 'bf16': 2.0**15}
FORMATS = tuple(COARSER)


@contextlib.contextmanager
def computed_in(name: str) -> Iterator[None]:
    """Products and convolutions in float32, in TF32, or in bfloat16 by autocast."""
    with tf32(name == 'tf32'), torch.autocast('cuda', torch.bfloat16, enabled=name == 'bf16'):
        yield
