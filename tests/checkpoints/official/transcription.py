"""The released Gaussian decoders written out plainly, straight from a state dict under the released keys.

Independent of the package: full scale attention, explicit softmax, biases looked up in the checkpoint's own order.
Letters: B images, C feature channels, h x w LR map, d width, T tokens of a window, N Gaussians.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def raw_gaussians(state: dict[str, Tensor], feat: Tensor, scale: Tensor) -> Tensor:
    """The raw outputs before activation, nine per Gaussian: features (B, C, h, w) and factors (B,) to (B, N, 9)."""
    return _Decoder(state).raw_gaussians(feat, scale)


class _Decoder:
    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state
        self.window = math.isqrt(len(state['gs_embedding']))
        table = next(key for key in state if key.endswith(('relative_position_bias_table', 'rope_freqs')))
        self.heads = state[table].shape[1]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def conv(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'], padding=1)

    def map_conv(self, x: Tensor, name: str) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2), name).permute(0, 2, 3, 1)

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def mlp(self, x: Tensor, name: str, layers: tuple[str, ...] = ('fc1', 'fc2')) -> Tensor:
        for i, layer in enumerate(layers):
            x = self.linear(F.relu(x) if i else x, f'{name}.{layer}')
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        """(..., T, d) each; softmax(q k^T / sqrt(d / heads) + bias) v for each head."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for x in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
        return (weights @ v).transpose(-2, -3).flatten(-2)

    def scale_attention(self, x: Tensor, scale_embed: Tensor, name: str) -> Tensor:
        """The tokens of a window attend to as many copies of the scale embedding, each projected."""
        queries = self.cut(x)
        copies = scale_embed[:, None, None, None].expand_as(queries).contiguous()
        weights, biases = self.state[f'{name}.in_proj_weight'].chunk(3), self.state[f'{name}.in_proj_bias'].chunk(3)
        q, k, v = (F.linear(y, w, b) for y, w, b in zip((queries, copies, copies), weights, biases))
        return self.join(self.linear(self.attend(q, k, v), f'{name}.out_proj'))

    def window_attention(self, queries: Tensor, context: Tensor, name: str) -> Tensor:
        queries, context = self.cut(queries), self.cut(context)
        q, k, v = (self.linear(x, f'{name}.{p}head') for x, p in ((queries, 'q'), (context, 'k'), (context, 'v')))
        bias: Tensor | float = 0.0
        if f'{name}.rope_freqs' in self.state:
            q, k = (self.turn(x, self.state[f'{name}.rope_freqs']) for x in (q, k))
        else:
            index = self.state[f'{name}.relative_position_index'].long()
            bias = self.state[f'{name}.relative_position_bias_table'][index].permute(2, 0, 1)
        return self.join(self.linear(self.attend(q, k, v, bias), f'{name}.proj'))

    def turn(self, x: Tensor, freqs: Tensor) -> Tensor:
        token = torch.arange(self.window**2, dtype=x.dtype)
        angle = token[:, None, None] % self.window * freqs[0] + token[:, None, None] // self.window * freqs[1]
        pairs = torch.view_as_complex(x.unflatten(-1, (self.heads, -1, 2)).contiguous())  # (..., T, heads, pairs)
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-3)

    def cut(self, x: Tensor) -> Tensor:
        """(B, h, w, d) to (B, rows, columns, T, d)."""
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return x.transpose(2, 3).flatten(3, 4)

    def join(self, x: Tensor) -> Tensor:
        x = x.unflatten(3, (self.window, self.window)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)

    def stack(self, x: Tensor, name: str, layer) -> Tensor:
        """The blocks of a stack; `layer(x, prefix, shift)` is one of their layers."""
        for i in range(self.count(f'{name}.')):
            y = self.norm(x, f'{name}.{i}.norm')
            for j in range(self.count(f'{name}.{i}.blocks.')):
                y = layer(y, f'{name}.{i}.blocks.{j}', j % 2 * (self.window // 2))
            y = self.mlp(y, f'{name}.{i}.mlp', ('0', '2'))
            if f'{name}.{i}.conv.weight' in self.state:
                y = self.map_conv(y, f'{name}.{i}.conv')
            x = x + y
        return x

    def count(self, prefix: str) -> int:
        return len({key.removeprefix(prefix).split('.')[0] for key in self.state if key.startswith(prefix)})

    def raw_gaussians(self, feat: Tensor, scale: Tensor) -> Tensor:
        B, _, h, w = feat.shape
        d = self.state['gs_embedding'].shape[1]

        def tile(name: str) -> Tensor:
            windows = self.state[name].view(1, self.window, self.window, d)
            return windows.repeat(B, h // self.window, w // self.window, 1)

        scale_embed = self.mlp(1 / scale[:, None], 'scale_mlp', ('0', '2'))
        features = self.conv(F.relu(self.conv(feat, 'img_feat_proj.0')), 'img_feat_proj.2').permute(0, 2, 3, 1)
        pos = tile('pos_embedding')

        def injection_layer(x: Tensor, name: str, shift: int) -> Tensor:
            query = self.norm(x, f'{name}.norm1') + pos
            x = x + self.scale_attention(query, scale_embed, f'{name}.gs_cross_attn_scale')
            x = x + self.mlp(self.norm(x, f'{name}.norm2'), f'{name}.mlp_crossattn_scale')
            rolled = features.roll((-shift, -shift), (1, 2))
            x = x + self.window_attention(self.norm(x, f'{name}.norm3') + pos, rolled, f'{name}.window_cross_attn')
            return x + self.mlp(self.norm(x, f'{name}.norm4'), f'{name}.mlp_crossattn_feature')

        def interaction_layer(x: Tensor, name: str, shift: int) -> Tensor:
            query = self.norm(x, f'{name}.norm3') + pos
            x = x + self.scale_attention(query, scale_embed, f'{name}.gs_cross_attn_scale')
            x = x + self.mlp(self.norm(x, f'{name}.norm4'), f'{name}.mlp_crossattn')
            rolled = self.norm(x, f'{name}.norm1').roll((-shift, -shift), (1, 2))
            mixed = self.window_attention(rolled, rolled, f'{name}.gs_self_attn').roll((shift, shift), (1, 2))
            x = x + mixed
            return x + self.mlp(self.norm(x, f'{name}.norm2'), f'{name}.mlp_selfattn')

        injected = self.stack(tile('gs_embedding'), 'window_crossattn_blocks', injection_layer)
        x = self.stack(injected, 'gs_selfattn_blocks', interaction_layer)
        x = self.map_conv(x, 'conv_final') if 'conv_final.weight' in self.state else x
        x = (x + injected).permute(0, 3, 1, 2)
        for name in ('UPNet.0', 'UPNet.2'):
            x = self.conv(x, name)
            x = F.pixel_shuffle(x, math.isqrt(x.shape[1] // d))
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)  # (B, N, d)
        heads = ('sigma', 'rho', 'alpha', 'rgb', 'mean')
        sigma, rho, alpha, rgb, offset = (self.mlp(x, f'mlp_block_{head}', ('0', '2', '4')) for head in heads)
        row, column = (torch.arange(n, dtype=x.dtype) + 0.5 for n in (rows, columns))
        cells = torch.stack(torch.meshgrid(column, row, indexing='xy'), -1).view(-1, 2)
        mean = (cells + offset) / torch.tensor((columns, rows), dtype=x.dtype)
        return torch.cat((sigma, rho, alpha, rgb, mean), -1)
