"""How far tiled inference is from whole, beside the seam of two tiles, in the image's outermost windows and elsewhere,
for several overlaps.

`python tests/benchmarks/measure_tile_borders.py [MODEL ...]`, each a packaged model, a file or official/NAME. Without:
gsasr-small, and the paper's full size with each of the authors' encoders and initial weights, which takes minutes.

Differences are in levels of 8 bits, of a photograph at x2.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from skimage import data

from gsasr_plugin import load
from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.data.bicubic import resize_bicubic

HEIGHT, WIDTH = 48, 240  # LR pixels, multiples of the windows of all models
SEAM = WIDTH // 2
BESIDE = 24  # LR pixels on either side of the seam
OVERLAPS = (0, 24, 48, 96)
SCALE = 2


def models(names: list[str]) -> Iterator[tuple[str, GSASR]]:
    for name in names or ['gsasr-small']:
        yield name, load(name)
    if names:
        return
    for encoder in ('EDSR', 'RDN', 'SwinIR'):
        torch.manual_seed(0)
        yield f'{encoder}, initial weights', GSASR(encoder_opt={'type': encoder}).eval()
    torch.manual_seed(0)
    yield (
        'HAT and the enhanced decoder, initial weights',
        GSASR(
            encoder_opt={'type': 'HAT'},
            embed_dim=192,
            num_heads=6,
            window_size=16,
            position_encoding='rope',
            closing_conv=True,
        ).eval(),
    )


def photograph() -> torch.Tensor:
    image = data.coffee()[100:300].astype(np.float32) / 255
    return torch.from_numpy(resize_bicubic(image, (HEIGHT, WIDTH))).float().clamp(0, 1).permute(2, 0, 1)[None]


def report(name: str, net: GSASR) -> None:
    lq = photograph()
    with torch.inference_mode():
        whole = net(lq, scale=SCALE, tile=None)
        print(f'\n{name}, windows of {net.padding_multiple}')
        places = ('beside the seam', 'outermost windows', 'elsewhere')
        print('overlap' + ''.join(f'{place + ": largest":>28}{"mean":>10}' for place in places), flush=True)
        for overlap in OVERLAPS:
            tiled = net(lq, scale=SCALE, tile=SEAM + overlap // 2, tile_overlap=overlap)
            difference = 255 * (tiled - whole).abs()[0].amax(0)  # (H, W)
            column = (torch.arange(difference.shape[1]) + 0.5) / SCALE
            beside = (column - SEAM).abs() < BESIDE
            outermost = (column < net.options['window_size']) | (column > WIDTH - net.options['window_size'])
            parts = (difference[:, chosen] for chosen in (beside, outermost, ~(beside | outermost)))
            print(f'{overlap:>7}' + ''.join(f'{part.max():>28.4f}{part.mean():>10.5f}' for part in parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', metavar='MODEL')
    for name, net in models(parser.parse_args().models):
        report(name, for_inference(net))


if __name__ == '__main__':
    main()
