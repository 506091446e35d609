"""What GSASRModel accepts in an option file beside BasicSR's keys."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from gsasr_plugin.archs.decoder import CheckpointedParts
from gsasr_plugin.archs.tile_options import TileOptions
from gsasr_plugin.models.compute import ComputeOptions
from gsasr_plugin.models.validation.paper_tables import PaperRow
from gsasr_plugin.option_types import NonNegativeInt, PositiveInt, PositiveNumber


@dataclass
class GSASRTrainOptions(ComputeOptions):
    """What GSASRModel accepts in `train:` beside BasicSR's keys; see also `ComputeOptions`.

    Attributes:
        losses: terms of the loss, beside or in place of `pixel_opt` and `perceptual_opt`: a section for each, under any
            name, with the `type` of a loss, its weight and its other arguments. The log shows each as `l_<name>`.
        grad_clip: largest norm of the gradient of all parameters of a network together, positive; None does not clip.
        gradient_checkpointing: what is computed again in the backward pass to save memory, see
            `GaussianDecoder.checkpoint_gradients`: heads, decoder, or None for nothing.
        accumulate: compute the batch_size_per_gpu samples of a step in so many parts, one after the other, to save
            memory; the step is that of the whole batch.
        max_bad_steps: stop after so many steps whose loss or gradient was not finite; such a step changes nothing, and
            its batch is written to the experiment's folder `bad_steps`.
        restart_scheduler: a resumed run takes `optim_g` and `scheduler` from the options, at the iteration that it has
            reached: the learning rate is the one that they would have led to from the start. False: both go on as in
            the training state, whatever the options say (the log tells the difference).
    """

    losses: dict[str, dict[str, Any]] | None = None
    grad_clip: PositiveNumber | None = None
    gradient_checkpointing: CheckpointedParts | None = None
    accumulate: PositiveInt = 1
    max_bad_steps: PositiveInt = 10
    restart_scheduler: bool = False


@dataclass(kw_only=True)
class GSASRGANTrainOptions(GSASRTrainOptions):
    """What GSASRGANModel accepts in `train:` beside BasicSR's keys and those of GSASRModel.

    Attributes:
        optim_d: the optimizer of `network_d`, as `optim_g`; both follow `scheduler`.
        gan_opt: the adversarial loss, of the type GANLoss; or a term of `losses` is.
        net_d_iters: GSASR takes a step with every so many of the discriminator.
        net_d_init_iters: so many iterations the discriminator trains alone.
        net_d_crop: side in pixels of the parts of each image that the discriminator sees, at the same place in result
            and ground truth; an image that is smaller is mirrored around. None: the `input_size` of `network_d`, or 64
            for one that takes any.
    """

    optim_d: dict[str, Any]
    gan_opt: dict[str, Any] | None = None
    net_d_iters: PositiveInt = 1
    net_d_init_iters: NonNegativeInt = 0
    net_d_crop: Annotated[int, Field(ge=1, le=1024)] | None = None


@dataclass(kw_only=True)
class GSASRValOptions(ComputeOptions, TileOptions):
    """What GSASRModel accepts in `val:` beside BasicSR's keys; see also `ComputeOptions` and `TileOptions`.

    Attributes:
        compare_bicubic: also compute the metrics of the LR image's bicubic enlargement, as the yardstick.
        grids: images of each scale that are shown in a grid of LR, bicubic, SR, GT and difference, on the disk
            (`visualization/<data set>/grids`) and in tensorboard.
        paper_row: testing: the row of the paper whose figures stand beside ours: the encoder, with the Gaussians per LR
            pixel in its ablation; none: no row. None: the row of the very network of `network_g`, if the paper has it.
        cuda_graph: on CUDA devices record what encoder and decoder do for LR images of one size, from the second one of
            that size on, and replay it: the results are the same, and small images take less time. Each size keeps
            memory of its own. Without `compile`.
        keep_best: training: name of one of `metrics`. The network with its best mean, over the scales and data sets of
            a validation, is kept as `models/net_g_best.pth`.
    """

    compare_bicubic: bool = False
    grids: NonNegativeInt = 0
    paper_row: PaperRow | Literal['none'] | None = None
    cuda_graph: bool = False
    keep_best: str | None = None


@dataclass(kw_only=True)
class GSASRLoggerOptions:
    """What GSASRModel accepts in `logger:` beside BasicSR's keys.

    Attributes:
        keep_last: how many checkpoints (networks and training state) stay, the newest; None: all.
        batch_grids: so many batches, the first ones after each start, are shown: LR, its bicubic enlargement and GT of
            each sample, in `visualization/batches/<iteration>.png`.
    """

    keep_last: PositiveInt | None = None
    batch_grids: NonNegativeInt = 0
