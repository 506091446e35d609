"""The line that tells how far a command is."""

from __future__ import annotations

import sys
from typing import Any

DELAY_S = 2
LINE = '{percentage:3.0f}%|{bar}| {postfix[0]} of {postfix[1]} pictures, {elapsed}, {remaining} left'


class ProgressLine:
    """Pictures and pixels done, on the standard error output: one line, which goes away when the work is done.

    Nothing is shown in the first seconds, nor where that output is no terminal.

    Args:
        pictures: how many there are.
        pixels: how many LR pixels the network is to see.
        quiet: whether nothing is shown.
    """

    def __init__(self, *, pictures: int, pixels: int, quiet: bool) -> None:
        from tqdm import tqdm

        self.done = 0.0
        self.counts: Any = [0, pictures]  # which the line shows as they are
        self.bar = tqdm(
            total=pixels,
            disable=quiet or not sys.stderr.isatty(),
            delay=DELAY_S,
            bar_format=LINE,
            postfix=self.counts,
            leave=False,
        )

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def pixels(self, count: float) -> None:
        """So many LR pixels were done since the last call."""
        self.done += count
        # Sums of parts end a little beside the total, which tqdm would call beyond it.
        self.bar.update(min(int(self.done + 0.5), self.bar.total or 0) - self.bar.n)

    def picture(self) -> None:
        """One more picture is done."""
        self.counts[0] += 1
