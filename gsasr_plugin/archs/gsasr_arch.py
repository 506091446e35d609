"""GSASR: arbitrary-scale super-resolution by 2D Gaussians (the paper's Fig. 2), as one network.

Letters: B images, h x w LR size, H x W output size, N Gaussians per image (`gaussian_density` per LR pixel, of the
padded LR image).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gsasr_plugin.archs.base_colors import base_colors, local_contrast
from gsasr_plugin.archs.completion import Completion
from gsasr_plugin.archs.cuda_graphs import Recorder
from gsasr_plugin.archs.decoder import GaussianDecoder
from gsasr_plugin.archs.encoders import build_encoder, split_encoder_opt
from gsasr_plugin.archs.gaussians import Gaussians
from gsasr_plugin.archs.padding import pad_to_multiple, up_to_multiple
from gsasr_plugin.archs.rendering import SUPPORT, render
from gsasr_plugin.archs.tile_memory import JOINED_BYTES, network_bytes
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.archs.tiles import Part, Progress, gaussians_by_tiles
from gsasr_plugin.archs.window_attention import PositionEncoding
from gsasr_plugin.option_types import (
    Accepted,
    NonNegativeInt,
    PositiveInt,
    PositiveNumber,
    accepted_by_call,
    check_values,
)
from gsasr_plugin.sizes import Grid, OffsetsLike, ScaleLike, Size, SizesLike, output_grids

# How Gaussians are drawn, not what the weights mean: a run may choose other values than its checkpoint's.
OF_DRAWING = ('support', 'raster_ratio', 'consistency')


class GSASR(nn.Module):
    """Encoder -> condition injection -> Gaussian interaction -> primary head -> rasterization.

    The defaults are the paper's; all arguments are keys of `network_g`.

    Args:
        encoder_opt: the feature extractor: `{type: NAME, **arguments}`, see `gsasr_plugin.archs.encoders`.
        embed_dim: width d of the Gaussian embeddings.
        num_heads: heads of the window attentions; divides `embed_dim`.
        window_size: side of an attention window in LR pixels.
        num_injection_blocks: condition injection blocks. 0, which needs `num_interaction_blocks` 0 and `feature_skip`:
            no attention; the primary head reads the features and the scale. Not in the paper.
        num_injection_layers: layers of each of them.
        num_interaction_blocks: Gaussian interaction blocks, L.
        num_interaction_layers: layers of each of them.
        gaussian_density: Gaussians per LR pixel, N / (h w): 1, 4, 9 or 16.
        sigma_max: bound of the standard deviations, in LR pixels.
        use_reference_points: whether positions are offsets from a regular grid p (False: the paper's ablation).
        scale_condition: whether the decoder is told the scale s.
        position_encoding: 'bias', the paper's relative position bias in the window attentions; 'rope', the rotary
            position embedding of the authors' enhanced version, which needs heads of a multiple of 4 channels.
        closing_conv: whether each block, and the stack of interaction blocks, ends with a 3 x 3 convolution over the
            whole map, as in the authors' enhanced version.
        relative_colors: predict colours as differences, in logits, to the LR image at the reference points. Not in the
            paper: shortens short runs, for a network need not learn to copy its input.
        initial_sigma: start all Gaussians with this deviation in LR pixels, at their reference points, and opacities
            that sum to one. Not in the paper: with `relative_colors`, the first image is a bicubic enlargement.
        feature_skip: add the features to the embeddings that the primary head reads, and start with weights that pass
            them on. Not in the paper, where detail reaches the head only once the attention has learnt where to look.
        bicubic_skip: the Gaussians draw what a bicubic enlargement of the LR image lacks: their colours, of any sign
            and 0 at first, are in units of the local contrast of the LR image (nothing is added where it is flat), and
            all opacities are 1. Excludes `relative_colors`. Not in the paper: quicker to learn, and flat stays flat.
        consistency: after drawing, so many times the result is reduced to the LR size, and what the LR image has more
            is enlarged and added, both by the bicubic that makes LR images; in between clipped to 0..1. In evaluation
            the result is clipped too, and the brightness that this takes given back; in training once at most, for
            through more steps, with their clipping, networks learn worse. Not in the paper: brightness is kept, and so
            are the artefacts of a JPEG. A run may choose another number than the checkpoint's.
        joint_head: predict all properties of a Gaussian by one perceptron with one hidden layer, instead of one with
            two for each property. Not in the paper: less time.
        support: half-width of the box in which a Gaussian is drawn, in standard deviations. The default loses at most
            8e-5 of the range 0..1, 0.02 of an 8-bit level.
        raster_ratio: the paper's rasterization ratio r (Algorithm 1): a Gaussian is also cut to the square
            |dx|, |dy| < r where the image spans -1..1. None (no such cut) is exact; the authors trained with 0.5 and
            tested with 0.1.

    Attributes:
        options: all of these arguments, as they were given or defaulted.
        recorder: replays encoder and decoder on CUDA devices for images of one size; None: there is none. Only for
            networks whose weights stay as they are (`for_inference`).

    Raises:
        ValueError: a size out of its range, or options that exclude each other; the message names them.
    """

    # Of any whole number among the options: a mistyped number of layers would be built until all memory is gone.
    largest_size = 4096

    def __init__(
        self,
        *,
        encoder_opt: dict[str, Any],
        embed_dim: PositiveInt = 180,
        num_heads: PositiveInt = 6,
        window_size: PositiveInt = 12,
        num_injection_blocks: NonNegativeInt = 1,
        num_injection_layers: PositiveInt = 2,
        num_interaction_blocks: NonNegativeInt = 6,
        num_interaction_layers: PositiveInt = 6,
        gaussian_density: Literal[1, 4, 9, 16] = 16,
        sigma_max: PositiveNumber = 1 / 1.2,
        use_reference_points: bool = True,
        scale_condition: bool = True,
        position_encoding: PositionEncoding = 'bias',
        closing_conv: bool = False,
        relative_colors: bool = False,
        initial_sigma: PositiveNumber | None = None,
        feature_skip: bool = False,
        bicubic_skip: bool = False,
        consistency: NonNegativeInt = 0,
        joint_head: bool = False,
        support: PositiveNumber = SUPPORT,
        raster_ratio: PositiveNumber | None = None,
    ) -> None:
        # What self-describing checkpoints store; first of all, while nothing but the arguments is local.
        options = {name: value for name, value in locals().items() if name not in ('self', '__class__')}
        super().__init__()
        own = {name: value for name, value in options.items() if name != 'encoder_opt'}
        check_values(_accepted(), own, 'GSASR: ')
        _check_together(options)
        self.options = copy.deepcopy(options)
        self.encoder = build_encoder(encoder_opt)
        self.options['encoder_opt'], _ = split_encoder_opt(self.options['encoder_opt'])
        of_decoder = {name: value for name, value in own.items() if name not in OF_DRAWING}
        self.decoder = GaussianDecoder(num_features=self.encoder.num_features, **of_decoder)
        self.padding_multiple = math.lcm(self.encoder.multiple, self.decoder.multiple)
        self.density_per_axis = math.isqrt(gaussian_density)
        self.relative_colors = relative_colors
        self.initial_sigma = initial_sigma
        self.bicubic_skip = bicubic_skip
        self.consistency = consistency
        self.support = support
        self.raster_ratio = raster_ratio
        self.recorder: Recorder | None = None

    def forward(
        self,
        lq: Tensor,
        scale: ScaleLike | None = None,
        size: SizesLike | None = None,
        *,
        offset: OffsetsLike | None = None,
        progress: Progress | None = None,
        **tile_options: Any,
    ) -> Tensor | list[Tensor]:
        """Super-resolves a batch. Give one of `scale` and `size`, or both with `offset`.

        In evaluation without gradients, large images go through the network in overlapping tiles (see `TileOptions`),
        whose Gaussians are then drawn together, once.

        Args:
            lq: LR images, (B, 3, h, w), RGB in 0..1, any size from 1 x 1.
            scale: the factor s: a number, one per image, or (rows, columns) pairs; see `output_sizes` for the forms and
                the rounding.
            size: the output size (H, W), or one per image.
            offset: where the output begins, (rows, columns) in LR pixels from the LR image's top-left corner, or such a
                pair per image: then `size` says how many pixels there are, `scale` how many to an LR pixel. Not with
                `consistency`. None: the output shows what the LR image shows.
            progress: called after each tile with (tiles done, tiles in all).
            tile_options: `tile`, `tile_overlap` and `memory_budget`, see `TileOptions`.

        Returns:
            (B, 3, H, W), or a list of (3, H_i, W_i) where the sizes of the images differ. Not clipped to
            0..1, but with `consistency` in evaluation.

        Raises:
            ValueError: lq, scale, size or an option has another form than described, or a tile's size is given where
                there can be no tiles: in training, with gradients, or without reference points.
        """
        grids = output_grids(_lq_size(lq), lq.shape[0], scale, size, offset)
        gaussians = self._gaussians(lq, grids, TileOptions(**tile_options), progress)
        sizes = [grid.size for grid in grids]
        placed: dict[str, Any] = {} if offset is None else {'scale': [grid.scale for grid in grids], 'offset': offset}
        return self.render(gaussians, sizes if len(set(sizes)) > 1 else sizes[0], **placed)

    def gaussians(
        self, lq: Tensor, scale: ScaleLike, *, progress: Progress | None = None, **tile_options: Any
    ) -> Gaussians:
        """The Gaussians of a batch, conditioned on the factor s (the geometric mean of rows' and columns').

        Tiles give more than `gaussian_density` per LR pixel where they overlap.

        Args:
            lq: as for `forward`.
            scale: as for `forward`. Gaussians predicted for one scale may be rendered at any size.
            progress: as for `forward`.
            tile_options: as for `forward`.
        """
        grids = output_grids(_lq_size(lq), lq.shape[0], scale, None, None)
        return self._gaussians(lq, grids, TileOptions(**tile_options), progress)

    def render(
        self,
        gaussians: Gaussians,
        size: SizesLike,
        *,
        scale: ScaleLike | None = None,
        offset: OffsetsLike | None = None,
    ) -> Tensor | list[Tensor]:
        """Draws Gaussians (Eq. 4): output pixel (i, j) samples ((j + 0.5) w / W, (i + 0.5) h / H).

        Args:
            gaussians: of B images.
            size: (H, W), or a list of B pairs.
            scale, offset: both, for other places to sample, or none: see `forward`.

        Returns:
            (B, 3, H, W) for one size, a list of (3, H_i, W_i) for a list of them.
        """
        drawing: dict[str, Any] = {'support': self.support, 'raster_ratio': self.raster_ratio}
        return render(gaussians, size, scale=scale, offset=offset, **drawing)

    def _gaussians(
        self, lq: Tensor, grids: list[Grid], tile_options: TileOptions, progress: Progress | None
    ) -> Gaussians:
        h, w = _lq_size(lq)
        padded = pad_to_multiple(lq, self.padding_multiple)
        # The geometric mean of the rows' and the columns' factors, (B,).
        scale = _filled(lq, [math.sqrt(rows * columns) for _, (rows, columns), _ in grids])
        base = None
        if self.relative_colors:
            base = base_colors(padded, self.density_per_axis, self.initial_sigma)
        elif self.bicubic_skip:
            base = local_contrast(padded, self.density_per_axis)
        completion = None
        if self.bicubic_skip or self.consistency:
            steps = min(self.consistency, 1) if self.training else self.consistency
            completion = Completion(lq, self.bicubic_skip, steps, level=not self.training)

        def network(image: Tensor, base: Tensor | None) -> Gaussians:
            if self.recorder is None:
                return self.decoder(self.encoder(image), scale, base)
            fields = self.recorder(self._fields, next(self.parameters()), image, scale, base)
            means, sigmas, rhos, opacities, colors = fields
            return Gaussians(means, sigmas, rhos, opacities, colors, (image.shape[2], image.shape[3]))

        tiles = self._tiles(padded.shape, padded.device, tile_options)
        if tiles is None:
            gaussians = network(padded, base)
            if progress is not None:
                progress(1, 1)
        else:
            gaussians = gaussians_by_tiles(network, padded, base, *tiles, self.density_per_axis, progress)
        # Gaussians of the padding stay: they reach into the image. Only its own area is ever drawn.
        return dataclasses.replace(gaussians, lq_size=(h, w), completion=completion)

    def _fields(self, image: Tensor, scale: Tensor, base: Tensor | None) -> tuple[Tensor, ...]:
        """The tensors of `Gaussians`, in their order."""
        predicted = self.decoder(self.encoder(image), scale, base)
        return predicted.means, predicted.sigmas, predicted.rhos, predicted.opacities, predicted.colors

    def tiles(self, lq_size: Size, **tile_options: Any) -> list[Size] | None:
        """The sizes (h, w) of the tiles in which one image of a size would go through the network now, None if in none.

        Args:
            lq_size: (h, w) of the image.
            tile_options: as for `forward`.
        """
        h, w = (up_to_multiple(length, self.padding_multiple) for length in lq_size)
        device = next(self.parameters()).device
        tiles = self._tiles((1, 3, h, w), device, TileOptions(**tile_options))
        return None if tiles is None else [(row.length, column.length) for row in tiles[0] for column in tiles[1]]

    def _tiles(
        self, shape: Sequence[int], device: torch.device, options: TileOptions
    ) -> tuple[list[Part], list[Part]] | None:
        """The parts of the padded image's rows and columns, or None for the whole image at once."""
        obstacle = self._obstacle_to_tiles()
        if obstacle is not None:
            if isinstance(options.tile, int):
                raise ValueError(f'tile is {options.tile}, but there are no tiles {obstacle}')
            return None
        B, width, density = shape[0], self.options['embed_dim'], self.options['gaussian_density']
        return options.parts(
            shape[2:],
            multiple=self.padding_multiple,
            density_per_axis=self.density_per_axis,
            pixel_bytes=B * network_bytes(self.encoder.type_name, width, density),
            joined_bytes=B * density * JOINED_BYTES,
            device=device,
        )

    def _obstacle_to_tiles(self) -> str | None:
        if self.training:
            return 'in training: call eval() first'
        if torch.is_grad_enabled():
            return 'with gradients: call the network under torch.no_grad()'
        if not self.options['use_reference_points']:
            return 'without use_reference_points: positions are then fractions of the whole image'
        return None


@functools.cache
def _accepted() -> Accepted:
    """Types and bounds of the network's options; the encoder looks after its own."""
    return accepted_by_call(GSASR, leave_out=('encoder_opt',))


def _check_together(options: dict[str, Any]) -> None:
    if options['bicubic_skip'] and options['relative_colors']:
        raise ValueError(
            'GSASR: bicubic_skip and relative_colors exclude each other: colours are relative to one of them'
        )
    if options['num_injection_blocks'] == 0 and (options['num_interaction_blocks'] or not options['feature_skip']):
        raise ValueError(
            'GSASR: num_injection_blocks 0 needs num_interaction_blocks 0 and feature_skip true, got '
            f'num_interaction_blocks {options["num_interaction_blocks"]} and feature_skip {options["feature_skip"]}'
        )


def _filled(like: Tensor, numbers: Sequence[float]) -> Tensor:
    """Numbers where another tensor is: made there, for a copy would wait for the device."""
    if len(set(numbers)) == 1:
        return like.new_full((len(numbers),), numbers[0])
    return torch.stack([like.new_full((), number) for number in numbers])


def _lq_size(lq: Tensor) -> Size:
    if lq.ndim != 4 or lq.shape[1] != 3 or not lq.is_floating_point() or 0 in lq.shape:
        raise ValueError(f'lq must be (B, 3, h, w) floats, B, h and w at least 1; got {tuple(lq.shape)} {lq.dtype}')
    return lq.shape[2], lq.shape[3]
