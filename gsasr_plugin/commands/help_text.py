"""How help texts end: with examples."""

from __future__ import annotations

import argparse
from typing import Any


def examples_of(examples: str, words: str = '') -> dict[str, Any]:
    """Arguments of a parser that end its help with those of the example lines that have the words in them."""
    lines = [line for line in examples.splitlines() if words in line]
    # The formatter keeps the lines of texts.
    return {'epilog': '\n'.join(['examples:', *lines]), 'formatter_class': argparse.RawDescriptionHelpFormatter}
