"""Traces of whole networks: a forward pass by the paper's protocol, and a training step."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from torch import nn

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.inference import for_inference
from gsasr_plugin.models.compute import laid_out, prepare
from gsasr_plugin.precision import autocast, dtype_of
from tests.benchmarks.trace.meta_autocast import meta_autocast
from tests.benchmarks.trace.tracer import Trace, fake_cuda, tracing

OPTIONS = Path(__file__).resolve().parents[3] / 'options'
OUTPUT = 720
PRECISIONS = {'float32': ('float32', False), 'tf32': ('float32', True), 'bf16': ('bf16', True), 'fp16': ('fp16', True)}
BATCH, LQ_SIZE = 16, 48
# Of HAT's network: one of each kind of layer, and how often they call attention. All its layers take long to trace.
FEW_CALLS = 7
FEW_LAYERS: dict[str, Any] = {
    'encoder_opt': {'type': 'HAT', 'depths': [2], 'num_heads': [6]},
    'num_injection_blocks': 1,
    'num_injection_layers': 2,
    'num_interaction_blocks': 1,
    'num_interaction_layers': 2,
}


def networks() -> list[str]:
    """The names of the option files `test_*.yml` whose networks differ from each other's."""
    names = sorted(file.stem.removeprefix('test_') for file in OPTIONS.glob('test_*.yml'))
    return [name for name in names if 'density' not in name]


def build(name: str, **changes: Any) -> GSASR:
    """The network of an option file, on the meta device where it can be built there, else on the CPU.

    Args:
        name: see `networks`; or of a file `train_*.yml`.
        changes: other options of the network.
    """
    sections = [
        dict(yaml.safe_load(file.read_text())['network_g'])
        for file in (OPTIONS / f'test_{name}.yml', OPTIONS / f'train_{name}.yml')
        if file.exists()
    ]
    # That for tests may name weights, which have their options.
    section = next(section for section in sections if 'encoder_opt' in section) | changes
    section.pop('type')
    # Where numbers of a tensor are read.
    if section['encoder_opt']['type'] == 'SwinIR' or section.get('feature_skip'):
        return GSASR(**section)
    with torch.device('meta'):
        return GSASR(**section)


def on_cuda(net: nn.Module) -> nn.Module:
    """The network with fake tensors of a GPU in the place of its own."""
    for module in net.modules():
        for name, tensor in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(tensor, device='cuda')))
        for name, tensor in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(tensor, device='cuda'))
    return net


@contextlib.contextmanager
def _products(tf32: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def forward(name: str, scale: int, precision: str = 'float32', **tile_options: Any) -> Trace:
    """A forward pass of a network at an integer scale, by the paper's protocol."""
    side = OUTPUT // scale
    return inference(name, precision, (1, side, side), {'size': (OUTPUT, OUTPUT), **tile_options})


def inference(
    name: str,
    precision: str,
    lq_shape: tuple[int, int, int],
    arguments: dict[str, Any],
    *,
    channels_last: bool = False,
    **changes: Any,
) -> Trace:
    """The second forward pass of a network: what the first makes once is there.

    Args:
        name: see `build`.
        precision: of `PRECISIONS`.
        lq_shape: B, h, w.
        arguments: of `GSASR.forward`, but the LR images.
        channels_last: as the option of `val`.
        changes: see `build`.
    """
    dtype, tf32 = PRECISIONS[precision]
    options = {'channels_last': channels_last}
    B, h, w = lq_shape
    built = build(name, **changes).eval()
    prepare(built, options)
    with fake_cuda(), torch.no_grad(), _products(tf32):
        net = for_inference(on_cuda(built))
        lq = laid_out(torch.zeros(B, 3, h, w).to('cuda'), options)
        with autocast(lq.device, dtype_of(dtype)):
            for _ in range(2):
                with tracing(net.parameters()) as trace:
                    net(lq, **arguments)
    return trace


def training_step(
    name: str, precision: str = 'float32', *, changes: Mapping[str, Any] = MappingProxyType({}), **train: Any
) -> Trace:
    """A step of GSASRModel: forward and backward pass of a batch of mixed scales, optimizer, average of the weights.

    Args:
        name: see `networks`.
        precision: of `PRECISIONS`.
        changes: see `build`.
        train: further options of the section. With `gan_opt` it is a step of GSASRGANModel.
    """
    from gsasr_plugin.models.criterion import Criterion
    from gsasr_plugin.models.gsasr_gan_model import GSASRGANModel
    from gsasr_plugin.models.gsasr_model import GSASRModel

    dtype, tf32 = PRECISIONS[precision]
    kind = GSASRGANModel if 'gan_opt' in train else GSASRModel
    model: Any = kind.__new__(kind)
    model.net_g, model.net_g_ema = (build(name, **changes).to('meta') for _ in range(2))
    model.net_g.train()
    model.device = torch.device('meta')
    model.ema_decay, model.bad_steps, model.batches_shown = 0.999, 0, 0
    options = {'grad_clip': 1.0, 'tf32': tf32, 'autocast': None if dtype == 'float32' else dtype, **train}
    model.opt = {'train': options, 'dist': False, 'rank': 0, 'world_size': 1, 'path': {}}
    model.criterion = Criterion({'pixel_opt': {'type': 'L1Loss'}, **train}, model.device)
    model.scaler = torch.amp.GradScaler('meta', enabled=dtype == 'fp16')
    # As PyTorch chooses on CUDA.
    model.optimizer_g = torch.optim.Adam(model.net_g.parameters(), lr=1e-4, foreach=True)
    if kind is GSASRGANModel:
        _add_discriminator(model)
    model.speed = _Idle()
    scales = torch.linspace(1, 4, BATCH).tolist()
    model.batch = {}
    model.lq = torch.zeros(BATCH, 3, LQ_SIZE, LQ_SIZE, device='meta')
    model.gt = [torch.zeros(3, round(scale * LQ_SIZE), round(scale * LQ_SIZE), device='meta') for scale in scales]
    with meta_autocast(), _products(tf32):
        for iteration in range(2):  # the optimizer makes its averages in the first
            with tracing() as trace:
                model.optimize_parameters(iteration)
    assert isinstance(model.log_dict, OrderedDict)
    return trace


def _add_discriminator(model: Any) -> None:
    """As the option file for training with one has it."""
    from basicsr.archs.discriminator_arch import UNetDiscriminatorSN

    model.net_d = UNetDiscriminatorSN(3).to('meta').train()
    model.optimizer_d = torch.optim.Adam(model.net_d.parameters(), lr=1e-4, foreach=True)
    model.gan_loss, model.gan_name = model.criterion.adversarial
    model.crop_side = 64


class _Idle:
    def step(self, _: int) -> None:
        """Nothing."""
