"""RDN, the residual dense network, up to its features: BasicSR has no such network.

Y. Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018. Names of sizes there: D residual dense
blocks of C layers, growth rate G, G0 features.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsasr_plugin.option_types import PositiveInt

# Sizes (D, C, G) of the paper's two configurations.
_CONFIGS = {'A': (20, 6, 32), 'B': (16, 8, 64)}


class ResidualDenseBlock(nn.Module):
    """Residual dense block: every layer sees all earlier ones; local feature fusion; local skip."""

    def __init__(self, *, num_feat: int, num_layer: int, num_grow_ch: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(num_feat + i * num_grow_ch, num_grow_ch, 3, padding=1) for i in range(num_layer)
        )
        self.local_fusion = nn.Conv2d(num_feat + num_layer * num_grow_ch, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]  # B x num_feat x h x w, then B x num_grow_ch x h x w each
        for conv in self.convs:
            features.append(F.relu(conv(torch.cat(features, 1)), inplace=True))
        return self.local_fusion(torch.cat(features, 1)) + x


class RDN(nn.Module):
    """RDN without up-sampler: two shallow convolutions, residual dense blocks, global feature fusion, global skip.

    Args:
        config: the RDN paper's configuration: 'B' (16 blocks of 8 layers, growth 64) or 'A' (20 blocks of 6 layers,
            growth 32). The three sizes below take its value where they are None.
        num_feat: channels of the features (G0).
        num_block: residual dense blocks (D).
        num_layer: convolutions of a block, not counting its fusion (C).
        num_grow_ch: channels that each of them adds (G).
    """

    def __init__(
        self,
        *,
        config: Literal['A', 'B'] = 'B',
        num_feat: PositiveInt = 64,
        num_block: PositiveInt | None = None,
        num_layer: PositiveInt | None = None,
        num_grow_ch: PositiveInt | None = None,
    ):
        super().__init__()
        block, layer, grow_ch = _CONFIGS[config]
        num_block = block if num_block is None else num_block
        num_layer = layer if num_layer is None else num_layer
        num_grow_ch = grow_ch if num_grow_ch is None else num_grow_ch
        self.conv_first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.conv_second = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.body = nn.ModuleList(
            ResidualDenseBlock(num_feat=num_feat, num_layer=num_layer, num_grow_ch=num_grow_ch)
            for _ in range(num_block)
        )
        self.global_fusion = nn.Sequential(
            nn.Conv2d(num_block * num_feat, num_feat, 1), nn.Conv2d(num_feat, num_feat, 3, padding=1)
        )

    def forward(self, lq: Tensor) -> Tensor:
        """LR image B x 3 x h x w (0..1) -> features B x num_feat x h x w."""
        shallow = self.conv_first(lq)
        x = self.conv_second(shallow)
        block_outputs = []  # B x num_feat x h x w each
        for block in self.body:
            x = block(x)
            block_outputs.append(x)
        return self.global_fusion(torch.cat(block_outputs, 1)) + shallow
