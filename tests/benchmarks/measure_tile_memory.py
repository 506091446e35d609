"""Measures the constants of archs/tile_memory.py, on Linux: `python tests/benchmarks/measure_tile_memory.py`.

For each encoder, width and density: the peak of the process while encoder and decoder ran on 96 x 96 LR pixels, less
what it held before, per LR pixel, beside the estimate. With `--photograph`, a photograph of 960 x 540 pixels is
enlarged to 3840 x 2160 in tiles by the paper's model (EDSR, random weights), and the peak of the process printed.
"""

import argparse
import ctypes
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.archs.tile_memory import ENCODER_BYTES, decoder_bytes
from gsasr_plugin.data.bicubic import resize_bicubic

SIDE = 96  # a multiple of all windows below
MODELS: list[dict[str, Any]] = [
    {'encoder_opt': {'type': 'EDSR'}},
    {'encoder_opt': {'type': 'EDSR'}, 'embed_dim': 60},
    {'encoder_opt': {'type': 'EDSR'}, 'gaussian_density': 4},
    {'encoder_opt': {'type': 'EDSR'}, 'gaussian_density': 1},
    {'encoder_opt': {'type': 'RDN'}},
    {'encoder_opt': {'type': 'SwinIR'}, 'embed_dim': 192, 'window_size': 16},
    {'encoder_opt': {'type': 'HAT'}, 'embed_dim': 192, 'window_size': 16},
]


def status(name: str) -> int:
    """VmRSS or VmHWM (the peak of VmRSS) of this process, in bytes."""
    match = re.search(rf'{name}:\s+(\d+) kB', Path('/proc/self/status').read_text())
    assert match is not None
    return int(match[1]) * 1024


def peak(network: Callable[..., Any], *inputs: torch.Tensor) -> int:
    """Bytes that the process took on top of what it held."""
    with torch.inference_mode():
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')  # the peak starts anew
        before = status('VmRSS')
        network(*inputs)
        return status('VmHWM') - before


def measure_models() -> None:
    print(f'{"bytes per LR pixel":<58}{"encoder":>9}{"estimate":>9}{"decoder":>9}{"estimate":>9}')
    for model in MODELS:
        # The layers of a block and the blocks follow each other: one tells the peak.
        net = for_inference(GSASR(**model, num_interaction_blocks=1))
        width, density = net.options['embed_dim'], net.options['gaussian_density']
        encoder = peak(net.encoder, torch.rand(1, 3, SIDE, SIDE)) / SIDE**2
        features = torch.rand(1, net.encoder.num_features, SIDE, SIDE)
        decoder = peak(net.decoder, features, torch.tensor([2.0])) / SIDE**2
        print(
            f'{model!s:<58}{encoder:>9.0f}{ENCODER_BYTES[net.encoder.type_name]:>9}'
            f'{decoder:>9.0f}{decoder_bytes(width, density):>9}'
        )


def enlarge_photograph(interaction_blocks: int, tile_options: dict[str, Any]) -> None:
    image = resize_bicubic(data.rocket().astype(np.float32) / 255, (540, 960))
    lq = torch.from_numpy(np.ascontiguousarray(image)).float().clamp(0, 1).permute(2, 0, 1)[None]
    net = for_inference(GSASR(encoder_opt={'type': 'EDSR'}, num_interaction_blocks=interaction_blocks))
    start = time.perf_counter()

    def progress(done: int, total: int) -> None:
        seconds = time.perf_counter() - start
        print(f'{done} of {total} tiles, {seconds:.0f} s, peak {status("VmHWM") / 2**30:.2f} GiB', flush=True)

    with torch.inference_mode():
        result = net(lq, scale=4, progress=progress, **tile_options)
    assert isinstance(result, torch.Tensor) and result.isfinite().all()
    seconds = time.perf_counter() - start
    print(f'{tuple(result.shape)}: {seconds:.0f} s, peak {status("VmHWM") / 2**30:.2f} GiB')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photograph', action='store_true', help='enlarge one instead')
    parser.add_argument('--memory-budget', type=float, default=4.5, help='of the network, for the photograph (GiB)')
    parser.add_argument('--interaction-blocks', type=int, default=6, help='fewer are faster and take as much')
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.photograph:
        enlarge_photograph(args.interaction_blocks, {'memory_budget': args.memory_budget})
    else:
        measure_models()


if __name__ == '__main__':
    main()
