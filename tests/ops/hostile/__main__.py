"""Makes the calls, and prints how many of each operator's ended how."""

from __future__ import annotations

import random
import sys

import torch

from tests.ops.attention import hostile as attention
from tests.ops.convolutions import hostile as convolution
from tests.ops.hostile import gradients
from tests.ops.perceptrons import hostile as perceptron
from tests.ops.rasterizer import hostile as rasterizer

ROOMS = {
    'rasterizer': rasterizer,
    'attention': attention,
    'perceptron': perceptron,
    'convolution': convolution,
    'gradients': gradients,
}


def main(calls: int, seed: str) -> None:
    outcomes: dict[str, int] = {}
    for number in range(calls):
        choice = random.Random(f'{seed} {number}')
        # The rasterizer has more arguments and two directions.
        name = choice.choice(('rasterizer', *ROOMS))
        try:
            outcome = f'{name} {ROOMS[name].call(choice)}'
        except BaseException:
            print(f'call {number} of seed {seed}', file=sys.stderr)
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes)


if __name__ == '__main__':
    torch.set_num_threads(2)
    main(int(sys.argv[1]), sys.argv[2])
