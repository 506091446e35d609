"""The released encoders written out plainly, straight from state dicts under the released keys.

SwinIR is not among them: the host has it under the same keys. Letters: B images, h x w map, d width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def count(state: State, prefix: str) -> int:
    return len({key.removeprefix(prefix).split('.')[0] for key in state if key.startswith(prefix)})


def conv(state: State, x: Tensor, name: str) -> Tensor:
    weight = state[f'{name}.weight']
    return F.conv2d(x, weight, state[f'{name}.bias'], padding=weight.shape[-1] // 2)


def edsr(state: State, image: Tensor) -> Tensor:
    x = conv(state, image, 'conv_first')
    for i in range(count(state, 'body.')):
        x = x + conv(state, F.relu(conv(state, x, f'body.{i}.conv1')), f'body.{i}.conv2')
    return conv(state, x, 'conv_after_body')


def rdn(state: State, image: Tensor) -> Tensor:
    shallow = conv(state, image, 'SFENet1')
    x = conv(state, shallow, 'SFENet2')
    outputs = []
    for i in range(count(state, 'RDBs.')):
        block = x
        for j in range(count(state, f'RDBs.{i}.convs.')):
            block = torch.cat((block, F.relu(conv(state, block, f'RDBs.{i}.convs.{j}.conv.0'))), 1)
        x = conv(state, block, f'RDBs.{i}.LFF') + x
        outputs.append(x)
    return conv(state, conv(state, torch.cat(outputs, 1), 'GFF.0'), 'GFF.1') + shallow


def hat(state: State, image: Tensor) -> Tensor:
    return _HAT(state).features(image)


class _HAT:
    def __init__(self, state: State) -> None:
        self.state = state
        self.window = math.isqrt(next(len(x) for key, x in state.items() if key.endswith('.attn.rope_t_x')))
        self.overlap = math.isqrt(next(len(x) for key, x in state.items() if key.endswith('.overlap_attn.rope_t_x')))

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f'{name}.weight'], self.state[f'{name}.bias'])

    def mlp(self, x: Tensor, name: str) -> Tensor:
        return self.linear(F.gelu(self.linear(x, f'{name}.fc1')), f'{name}.fc2')

    def map_conv(self, x: Tensor, name: str) -> Tensor:
        return conv(self.state, x.permute(0, 3, 1, 2), name).permute(0, 2, 3, 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, freqs: Tensor, side: int) -> Tensor:
        """One window: (tokens, d) each; positions are counted in a window of `side`."""
        q, k, v = (x.unflatten(1, (freqs.shape[1], -1)).transpose(0, 1) for x in (q, k, v))  # (heads, tokens, width)
        q, k = (self.turn(x, freqs, side) for x in (q, k))
        weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(-1)
        return (weights @ v).transpose(0, 1).flatten(1)

    def turn(self, x: Tensor, freqs: Tensor, side: int) -> Tensor:
        turned = x.clone()
        for token in range(x.shape[1]):
            angle = (token % side) * freqs[0] + (token // side) * freqs[1]  # (heads, width / 2)
            even, odd = x[:, token, 0::2], x[:, token, 1::2]
            turned[:, token, 0::2] = even * angle.cos() - odd * angle.sin()
            turned[:, token, 1::2] = odd * angle.cos() + even * angle.sin()
        return turned

    def windows(self, x: Tensor, name: str, overlap: int) -> Tensor:
        """Attention of each window of a map (B, h, w, d) to the window of side `overlap` about it, zeros outside."""
        d = x.shape[3]
        reach = (overlap - self.window) // 2
        qkv = F.pad(self.linear(x, f'{name}.qkv'), (0, 0, reach, reach, reach, reach))
        freqs = self.state[f'{name}.rope_freqs']
        mixed = torch.zeros_like(x)
        for b in range(x.shape[0]):
            for i in range(0, x.shape[1], self.window):
                for j in range(0, x.shape[2], self.window):
                    around = qkv[b, i : i + overlap, j : j + overlap]  # (overlap, overlap, 3 d)
                    inside = around[reach : reach + self.window, reach : reach + self.window].flatten(0, 1)
                    k, v = around.flatten(0, 1)[:, d:].chunk(2, 1)
                    y = self.attend(inside[:, :d], k, v, freqs, overlap).unflatten(0, (self.window, -1))
                    mixed[b, i : i + self.window, j : j + self.window] = y
        return self.linear(mixed, f'{name}.proj')

    def conv_branch(self, x: Tensor, name: str) -> Tensor:
        x = conv(self.state, F.gelu(conv(self.state, x.permute(0, 3, 1, 2), f'{name}.0')), f'{name}.2')
        mean = F.relu(conv(self.state, x.mean((2, 3), keepdim=True), f'{name}.3.attention.1'))
        return (x * conv(self.state, mean, f'{name}.3.attention.3').sigmoid()).permute(0, 2, 3, 1)

    def block(self, x: Tensor, name: str, shift: int) -> Tensor:
        y = self.norm(x, f'{name}.norm1')
        mixed = self.windows(y.roll((-shift, -shift), (1, 2)), f'{name}.attn', self.window).roll((shift, shift), (1, 2))
        x = x + mixed + 0.01 * self.conv_branch(y, f'{name}.conv_block.cab')
        return x + self.mlp(self.norm(x, f'{name}.norm2'), f'{name}.mlp')

    def overlapping(self, x: Tensor, name: str) -> Tensor:
        x = x + self.windows(self.norm(x, f'{name}.norm1'), name, self.overlap)
        return x + self.mlp(self.norm(x, f'{name}.norm2'), f'{name}.mlp')

    def features(self, image: Tensor) -> Tensor:
        shallow = conv(self.state, image, 'conv_first')
        x = self.norm(shallow.permute(0, 2, 3, 1), 'patch_embed.norm')
        for i in range(count(self.state, 'layers.')):
            group, y = f'layers.{i}.residual_group', x
            for j in range(count(self.state, f'{group}.blocks.')):
                y = self.block(y, f'{group}.blocks.{j}', j % 2 * (self.window // 2))
            x = x + self.map_conv(self.overlapping(y, f'{group}.overlap_attn'), f'layers.{i}.conv')
        deep = self.map_conv(self.norm(x, 'norm'), 'conv_after_body').permute(0, 3, 1, 2) + shallow
        return F.leaky_relu(conv(self.state, deep, 'conv_before_upsample.0'), 0.01)
