"""`gsasr gaussians`: writes the Gaussians of a picture into a file."""

import argparse
import sys

from gsasr_plugin.commands.arguments import (
    add_model_arguments,
    add_one_picture_arguments,
    load_upscaler,
    new_file,
    one_input,
    one_scale,
    read_input,
)
from gsasr_plugin.sizes import enlarged_size
from gsasr_plugin.upscaling.pictures.formats import GAUSSIANS_SUFFIX

DESCRIPTION = """\
Write the Gaussians that a network predicts for a picture into a NumPy archive: centres and standard deviations in
pixels of the picture, correlations, opacities and colours. gsasr_plugin/upscaling/gaussian_file.py describes the file;
'gsasr render' draws it at any size."""
EXAMPLES = """\
  gsasr gaussians photo.png -o photo.npz
  gsasr gaussians photo.png -o photo.npz --scale 8
  python -c "import numpy; print(numpy.load('photo.npz')['means'])"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_one_picture_arguments(parser, GAUSSIANS_SUFFIX, 'the scale that the network is told')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    source, scale = one_input(arguments), one_scale(arguments)
    path = new_file(arguments, GAUSSIANS_SUFFIX)
    from gsasr_plugin.upscaling.gaussian_file import StoredGaussians, write_gaussians
    from gsasr_plugin.upscaling.upscaler import lq_tensor

    picture = read_input(source)
    if picture.alpha is not None:
        print(f'{source}: its alpha channel is left out: Gaussians have colours only', file=sys.stderr)
    upscaler = load_upscaler(arguments)
    gaussians = upscaler.gaussians(lq_tensor(picture.color, picture.alpha), enlarged_size(picture.size, scale))
    write_gaussians(StoredGaussians(gaussians, scale, upscaler.net.support, upscaler.net.raster_ratio), path)
    print(f'gsasr gaussians: {gaussians.means.shape[1]} Gaussians written to {path}', file=sys.stderr)
    return 0
