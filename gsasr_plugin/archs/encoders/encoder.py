"""``Encoder``: any feature network behind one face, with its channel count and padding multiple worked out."""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

WindowSize = Annotated[int, Field(ge=2)]

# Where a class states no multiple, its window (or 1) is doubled up to this, for U-shaped networks halve their input.
_LARGEST_MULTIPLE = 64
# The probe image has at least this many rows, so that pooling or reflection padding inside a network has room.
_SMALLEST_PROBE = 8


class Encoder(nn.Module):
    """The image encoder of GSASR (the paper's Sec. 3.2 and Fig. 2).

    A small forward pass at construction checks that the network returns features on the grid of the LR image. It
    leaves the random state, the training flags and the statistics of normalisation layers as they were. It is spared
    for a class that states both ``padding_multiple`` and ``feature_channels``: large ones need seconds for it.

    Args:
        net: network that maps B x 3 x h x w (0..1) to B x C x h x w.
        type_name: name of the network in the options, for messages.
        window_size: the network's window where it was a constructor argument (int or pair), else None.

    Attributes:
        net: the network itself.
        num_features: C. A class may state it as ``feature_channels``.
        multiple: h and w of the input have to be multiples of this number. A class may state it as
            ``padding_multiple``; else it is the smallest of n, 2n, 4n, ... that works, where n is the class's
            ``window_size`` or 1.

    Raises:
        ValueError: the network returns anything but B x C x h x w, or fails at each size tried.
    """

    def __init__(self, net: nn.Module, *, type_name: str, window_size: Any = None):
        super().__init__()
        self.net = net
        self.type_name = type_name
        multiple, channels = getattr(net, 'padding_multiple', None), getattr(net, 'feature_channels', None)
        if multiple is None or channels is None:
            multiple, channels = _probe(net, type_name, _candidate_multiples(net, window_size))
        self.multiple, self.num_features = int(multiple), int(channels)

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1; h and w multiples of ``multiple``) -> features B x C x h x w."""
        return self.net(lq)

    def extra_repr(self) -> str:
        return f'type={self.type_name}, num_features={self.num_features}, multiple={self.multiple}'


def check_heads(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    """Raises ValueError unless each group of attention blocks has a number of heads, which divides the width."""
    if len(depths) != len(num_heads):
        raise ValueError(f'depths has {len(depths)} entries and num_heads {len(num_heads)}; as many are needed')
    if any(heads < 1 or embed_dim % heads for heads in num_heads):
        raise ValueError(f'num_heads is {list(num_heads)}; each has to divide embed_dim ({embed_dim})')


def _candidate_multiples(net: nn.Module, window_size: Any) -> list[int]:
    """Padding multiples worth trying, smallest first; just one where the class states it."""
    stated = getattr(net, 'padding_multiple', None)
    if stated is not None:
        return [int(stated)]
    window = getattr(net, 'window_size', window_size)
    base = 1 if window is None else math.lcm(*window) if isinstance(window, Iterable) else int(window)
    multiples = [base]
    while multiples[-1] * 2 <= _LARGEST_MULTIPLE:
        multiples.append(multiples[-1] * 2)
    return multiples


def _probe(net: nn.Module, type_name: str, multiples: list[int]) -> tuple[int, int]:
    """Run the network on small grey images -> (padding multiple, channels of its features)."""
    tensor = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(()))
    modes = [(module, module.training) for module in net.modules()]
    problem, cause = '', None
    try:
        net.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[tensor.device] if tensor.is_cuda else []):
            for multiple in multiples:
                h, w = _probe_size(multiple)
                lq = tensor.new_full((1, 3, h, w), 0.5)
                try:
                    features = net(lq)
                except Exception as error:  # the network may be anybody's: a size it cannot take raises anything
                    problem, cause = f'an input of shape {tuple(lq.shape)} failed: {error}', error
                    continue
                shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
                if isinstance(shape, tuple) and len(shape) == 4 and (shape[0], *shape[2:]) == (1, h, w):
                    return multiple, shape[1]
                problem, cause = f'an input of shape {tuple(lq.shape)} gave {shape}', None
                if not isinstance(shape, tuple) or len(shape) != 4 or shape[2] > h or shape[3] > w:
                    break  # an up-sampler, or no feature map at all: padding cannot mend it
    finally:
        for module, training in modes:
            module.training = training
    raise ValueError(
        f'encoder_opt: type {type_name!r} is not a feature encoder: {problem}; wanted (1, C, h, w), features on the '
        f'grid of the LR image (padding multiples tried: {", ".join(map(str, multiples))})'
    ) from cause


def _probe_size(multiple: int) -> tuple[int, int]:
    """Two different odd multiples: a network that needs an even multiple of it cannot pass by chance."""
    odd = math.ceil(_SMALLEST_PROBE / multiple) // 2 * 2 + 1
    return odd * multiple, (odd + 2) * multiple
