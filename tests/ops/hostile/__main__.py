"""Makes the calls, and prints how many of each operator's ended how."""

from __future__ import annotations

import random
import sys

import torch

from tests.ops.hostile import attention, convolution, perceptron, rasterizer


def main(calls: int, seed: str) -> None:
    outcomes: dict[str, int] = {}
    for number in range(calls):
        choice = random.Random(f'{seed} {number}')
        # The rasterizer has more arguments and two directions.
        module = choice.choice((rasterizer, rasterizer, attention, perceptron, convolution))
        try:
            outcome = f'{module.__name__.rsplit(".", 1)[-1]} {module.call(choice)}'
        except BaseException:
            print(f'call {number} of seed {seed}', file=sys.stderr)
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes)


if __name__ == '__main__':
    torch.set_num_threads(2)
    main(int(sys.argv[1]), sys.argv[2])
