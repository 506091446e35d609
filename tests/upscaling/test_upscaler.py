"""The ready network: precision, self-ensemble, several sizes, grey and alpha; and the function `upscale`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from gsasr_plugin import GSASR, upscale
from gsasr_plugin.archs.completion import BAND_PIXELS
from gsasr_plugin.archs.tile_memory import JOINED_BYTES, network_bytes
from gsasr_plugin.data.bicubic import resize_bicubic
from gsasr_plugin.upscaling.estimate import BAND_BYTES, RESULT_BYTES, needed_bytes, result_bytes
from gsasr_plugin.upscaling.hardware import bfloat16_is_fast, choose_device, choose_dtype
from gsasr_plugin.upscaling.upscaler import Upscaler

PHOTO = skimage.data.astronaut()[100:112, 200:218]  # (12, 18, 3)
# Two float32 computations that add in another order; an 8-bit level is 4e-3.
TOLERANCE = 1e-5


def lq() -> torch.Tensor:
    return torch.from_numpy(PHOTO.astype(np.float32) / 255).permute(2, 0, 1)[None]


def upscaler(net: GSASR, **options: Any) -> Upscaler:
    return Upscaler(net, device='cpu', **({'dtype': 'float32'} | options))


def test_each_size_is_what_the_network_draws(net: GSASR) -> None:
    sizes = [(24, 36), (31, 90)]
    seen: list[float] = []
    results = upscaler(net).tensors(lq(), sizes, progress=seen.append)
    with torch.inference_mode():
        for result, size in zip(results, sizes):
            assert torch.allclose(result, net(lq(), size=size), atol=TOLERANCE)
    assert seen == [12 * 18] * 2


def test_one_encoding_is_that_of_the_largest(net: GSASR) -> None:
    seen: list[float] = []
    results = upscaler(net).tensors(lq(), [(24, 36), (31, 90)], one_encoding=True, progress=seen.append)
    with torch.inference_mode():
        gaussians = net.gaussians(lq(), (31 / 12, 90 / 18))
        assert torch.allclose(results[0], net.render(gaussians, (24, 36)), atol=TOLERANCE)
    assert len(seen) == 1


def test_self_ensemble_is_the_mean_over_flips_and_rotations(net: GSASR) -> None:
    size = (31, 50)
    (result,) = upscaler(net, self_ensemble=True).tensors(lq(), [size])
    total = np.zeros((31, 50, 3))
    image = lq()[0].permute(1, 2, 0).numpy()  # (h, w, 3)
    for k in range(4):
        for flip in (False, True):
            turned = np.rot90(np.fliplr(image) if flip else image, k).copy()
            turned_size = size[::-1] if k % 2 else size
            with torch.inference_mode():
                drawn = net(torch.from_numpy(turned).permute(2, 0, 1)[None], size=turned_size)[0]
            back = np.rot90(drawn.permute(1, 2, 0).numpy(), -k)
            total += np.fliplr(back) if flip else back
    np.testing.assert_allclose(result[0].permute(1, 2, 0).numpy(), total / 8, atol=TOLERANCE)


def test_tiles_change_little_and_report_their_progress(net: GSASR) -> None:
    image = torch.from_numpy(skimage.data.astronaut()[:40, 200:248].astype(np.float32) / 255).permute(2, 0, 1)[None]
    (whole,) = upscaler(net).tensors(image, [(100, 120)])
    tiled = upscaler(net, tile=24, tile_overlap=8)
    sizes = tiled.tiles((40, 48))
    assert len(sizes) == 6 and set(sizes) == {(24, 24)}
    seen: list[float] = []
    (found,) = tiled.tensors(image, [(100, 120)], progress=seen.append)
    assert len(seen) == 6 and sum(seen) == pytest.approx(40 * 48)
    # The network sees less around each pixel; an untrained one hardly looks around.
    assert (found - whole).abs().max() < 0.02
    assert upscaler(net).tiles((40, 48)) == [(40, 48)]


def test_half_precision_changes_little(net: GSASR) -> None:
    net = copy.deepcopy(net)
    torch.nn.init.normal_(net.decoder.primary_head.color[-1].weight, std=0.1)  # 0 at first, whatever is read from
    (exact,) = upscaler(net).tensors(lq(), [(36, 54)])
    (half,) = upscaler(net, dtype='bf16').tensors(lq(), [(36, 54)])
    difference = (exact - half).abs().max()
    assert 0 < difference < 0.05  # bfloat16 has 8 bits; it is used, and harmless


def test_opaque_stays_opaque_and_hidden_colours_stay_hidden(net: GSASR) -> None:
    color = np.zeros((12, 18, 3), np.float32)
    color[:, :9] = 0.5  # seen
    color[:, 9:] = 1.0  # hidden
    alpha = np.zeros((12, 18), np.float32)
    alpha[:, :9] = 1
    ((large, large_alpha),) = upscaler(net).pixels(color, alpha, [(36, 54)])
    assert large_alpha is not None
    assert (large_alpha[:, :20] == 1).all() and (large_alpha[:, 34:] == 0).all()
    expected = upscaler(net).pixels(np.full_like(color, 0.5), None, [(36, 54)])[0][0]
    np.testing.assert_allclose(large, expected, atol=TOLERANCE)


KINDS: dict[str, Any] = {
    'uint8': PHOTO,
    'uint16': PHOTO.astype(np.uint16) * 257,
    'float64': PHOTO / 255,
    'grey': PHOTO[..., 1],
    'rgba': np.dstack([PHOTO, PHOTO[..., 0] | 1]),
    'grey and alpha': np.dstack([PHOTO[..., 1], PHOTO[..., 0] | 1]),
    'tensor': lq(),
    'tensor without batch': lq()[0],
    'tensor of uint8': (lq() * 255).round().to(torch.uint8),
    'pillow': Image.fromarray(PHOTO),
    'pillow grey': Image.fromarray(PHOTO[..., 1]),
    'pillow alpha': Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0] | 1])),
}


def as_floats(image: Any) -> np.ndarray:
    """(H, W, channels) in 0..1."""
    if isinstance(image, torch.Tensor):
        image = image.reshape(image.shape[-3:]).permute(1, 2, 0).numpy()
    array = np.asarray(image)
    top = 1 if np.issubdtype(array.dtype, np.floating) else np.iinfo(array.dtype).max
    return (array / top).reshape(*array.shape[:2], -1)


@pytest.mark.parametrize('kind', KINDS)
def test_upscale_gives_back_what_it_got(net: GSASR, kind: str) -> None:
    """The tiny network draws a bicubic enlargement (up to a filter that loses a little): an independent reference."""
    image = KINDS[kind]
    large = upscale(image, scale=2.5, model=net, dtype='float32')
    assert type(large) is type(image)
    assert getattr(large, 'dtype', None) == getattr(image, 'dtype', None)
    if isinstance(image, Image.Image):
        assert large.mode == image.mode
    assert getattr(large, 'ndim', None) == getattr(image, 'ndim', None)
    found, before = as_floats(large), as_floats(image)
    assert found.shape == (30, 45, before.shape[2])
    expected = resize_bicubic(before, (30, 45)).clip(0, 1)
    assert np.abs(found - expected).mean() < 0.02


def test_sixteen_bits_are_kept(net: GSASR) -> None:
    ramp = (np.arange(12 * 18).reshape(12, 18) * 40 + 20000).astype(np.uint16)  # about 34 8-bit levels
    large = upscale(ramp, scale=2, model=net, dtype='float32')
    assert len(np.unique(large)) > 256
    as_pillow = upscale(Image.fromarray(ramp), scale=2, model=net, dtype='float32')
    assert as_pillow.mode == 'I;16'
    np.testing.assert_array_equal(np.asarray(as_pillow), large)


def test_size_is_rows_and_columns(net: GSASR) -> None:
    assert upscale(PHOTO, size=(20, 40), model=net).shape == (20, 40, 3)
    assert upscale(PHOTO, scale=(2, 3), model=net).shape == (24, 54, 3)


@pytest.mark.parametrize(
    ('image', 'error'),
    [
        (PHOTO.astype(np.int32), ValueError),
        (PHOTO[..., :0], ValueError),
        (torch.zeros(2, 5, 5), ValueError),
        ('photo.png', TypeError),
    ],
)
def test_other_images_are_named(net: GSASR, image: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='image must be'):
        upscale(image, scale=2, model=net)


def test_devices_and_types_are_checked() -> None:
    cpu = torch.device('cpu')
    for name in ('gpu!', 'meta', 'mps'):
        with pytest.raises(ValueError, match='accepted: auto, cpu'):
            choose_device(name)
    with pytest.raises(ValueError, match='this machine has'):
        choose_device('cuda:99')
    with pytest.raises(ValueError, match='accepted: auto, float32'):
        choose_dtype('int8', cpu)
    with pytest.raises(ValueError, match='on a CPU choose'):
        choose_dtype('fp16', cpu)
    expected = torch.bfloat16 if bfloat16_is_fast(cpu) else torch.float32
    assert choose_dtype('auto', cpu) == expected


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize('fails', [False, True])
@pytest.mark.parametrize('frozen', [False, True])
def test_a_network_in_training_goes_on_as_it_was(net: GSASR, fails: bool, frozen: bool) -> None:
    """Every module of it; some may be in evaluation mode on purpose."""
    trained = copy.deepcopy(net).train()
    trained.encoder.train(not frozen)
    before = {name: module.training for name, module in trained.named_modules()}
    during: list[bool] = []
    for part in (trained.encoder, trained.decoder):
        part.register_forward_hook(lambda module, *_: during.extend(m.training for m in module.modules()))
    if fails:
        trained.decoder.register_forward_hook(lambda *_: (_ for _ in ()).throw(Broken))
        with pytest.raises(Broken):
            upscale(PHOTO, scale=2, model=trained)
    else:
        np.testing.assert_array_equal(
            upscale(PHOTO, scale=2, model=trained, dtype='float32'), upscale(PHOTO, scale=2, model=net, dtype='float32')
        )
    assert during and not any(during)
    with pytest.raises(ValueError, match='tile_overlap must be less'):
        upscale(PHOTO, scale=2, model=trained, tile=8, tile_overlap=9)
    assert {name: module.training for name, module in trained.named_modules()} == before
    if not fails:  # nothing is left of the inference that has no gradient
        trained(lq(), scale=2).sum().backward()
        assert all(parameter.grad is not None for parameter in trained.parameters())


def test_a_network_stays_on_its_device(net: GSASR, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('gsasr_plugin.upscaling.upscaler.choose_device', torch.device)
    moved = Upscaler(net, device='meta', dtype='float32').net
    assert {parameter.device.type for parameter in moved.parameters()} == {'meta'}
    assert {parameter.device.type for parameter in net.parameters()} == {'cpu'}


def test_memory_is_of_the_largest_tile_all_gaussians_and_a_band(net: GSASR) -> None:
    """Density 4, windows of 4: an image of 12 x 18 is padded to 12 x 20."""
    pixel_bytes = network_bytes('EDSR', net.options['embed_dim'], 4)
    gaussians = 4 * 12 * 18 * JOINED_BYTES
    whole = needed_bytes(upscaler(net), (12, 18), [((24, 36), 'PNG'), ((36, 54), 'PNG')])
    assert whole == pixel_bytes * 12 * 18 + gaussians + BAND_BYTES * 36 * 54
    tiled = needed_bytes(upscaler(net, tile=8, tile_overlap=4), (12, 18), [((24, 36), 'JPEG')])
    assert tiled == pixel_bytes * 8 * 8 + gaussians + (BAND_BYTES + 4) * 24 * 36
    averaged = needed_bytes(upscaler(net, self_ensemble=True), (12, 18), [((36, 54), 'PNG')])
    assert averaged == whole + RESULT_BYTES * 36 * 54
    large = needed_bytes(upscaler(net), (12, 18), [((20000, 20000), 'TIFF')])
    assert large == pixel_bytes * 12 * 18 + gaussians + BAND_BYTES * BAND_PIXELS
    for side, lossless, held in ((8192, False, 14), (8193, False, 8), (8192, True, 40), (16383, True, 26)):
        webp = needed_bytes(upscaler(net), (12, 18), [((side, side), 'WEBP')], lossless=lossless)
        assert webp == large + held * side * side


def test_consistent_keeps_the_brightness_of_any_model(net: GSASR) -> None:
    rows, columns = np.mgrid[:24, :24]
    halftone = np.repeat(np.where((rows + columns) % 2, 255, 0).astype(np.uint8)[..., None], 3, 2)
    means = {on: upscale(halftone, scale=4, model=net, dtype='float32', consistent=on).mean() for on in (False, True)}
    assert abs(means[True] - halftone.mean()) < 1 and net.consistency == 0
    built = GSASR(**{**net.options, 'consistency': 2})
    assert Upscaler(built, device='cpu', consistent=True).net.consistency == 2


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        ({'image': np.full((4, 6, 3), np.nan, np.float32)}, ValueError, 'image must hold floats in 0..1'),
        ({'image': np.full((4, 6, 3), 200.0)}, ValueError, 'image must hold floats in 0..1'),
        ({'image': torch.full((3, 4, 6), -0.5)}, ValueError, 'image must hold floats in 0..1'),
        ({'scale': 0.5}, ValueError, 'scale must be 1 or more'),
        ({'scale': float('nan')}, ValueError, 'scale must be 1 or more'),
        ({'scale': True}, TypeError, 'scale must be a number'),
        ({'scale': 'two'}, TypeError, 'scale must be a number'),
        ({'scale': None, 'size': (2, 3)}, ValueError, 'size .* is smaller'),
        ({'scale': None, 'size': 20}, TypeError, 'size must be a tuple'),
        ({'model': 3}, TypeError, 'model must be'),
        ({'tiles': 3}, TypeError, 'no argument tiles'),
        ({'image': Image.new('RGB', (0, 0))}, ValueError, '0 x 0'),
    ],
)
def test_wrong_arguments_are_named(net: GSASR, wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {'image': np.zeros((4, 6, 3), np.float32), 'scale': 2, 'model': net, **wrong}
    with pytest.raises(error, match=message):
        upscale(arguments.pop('image'), **arguments)


def test_results_lie_in_one_piece(net: GSASR) -> None:
    """As OpenCV wants them that draws into them."""
    for shape in ((4, 6), (4, 6, 2), (4, 6, 3), (4, 6, 4)):
        assert upscale(np.full(shape, 9, np.uint8), scale=2, model=net).flags.c_contiguous
        assert upscale(np.full(shape, 0.5), scale=2, model=net).flags.c_contiguous


def test_memory_is_of_the_rows_that_consistency_waits_for(net: GSASR) -> None:
    """Of 24 LR rows it waits for all 12,000 rows; of 2,000, in 24,000, for 68 LR rows, more than a band."""
    pixels, band = 12000 * 20000, BAND_PIXELS
    found = result_bytes([((12000, 20000), 'PNG')], whole=0, lq_size=(24, 40), steps=3)
    assert found == 100 * band + (40 + 3 * 23) * pixels
    found = result_bytes([((24000, 20000), 'PNG')], whole=0, lq_size=(2000, 1667), steps=1)
    assert found == 100 * band + (40 + 23) * 68 * 12 * 20000
    assert result_bytes([((24000, 20000), 'PNG')], whole=0, lq_size=(2000, 1667), steps=0) == BAND_BYTES * band
    assert result_bytes([((96, 160), 'PNG')], whole=0, lq_size=(24, 40), steps=3) == BAND_BYTES * 96 * 160
    consistent = Upscaler(net, device='cpu', consistent=True)
    sizes = [((12000, 20000), 'PNG')]
    more = needed_bytes(consistent, (24, 40), sizes) - needed_bytes(upscaler(net), (24, 40), sizes)
    assert more == (100 - BAND_BYTES) * band + (40 + 3 * 23) * pixels


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy, Image.fromarray])
def test_results_beyond_the_memory_are_refused_with_numbers(kind: Any, net: GSASR) -> None:
    image = kind(np.zeros((24, 32, 3), np.uint8))
    image = image.permute(2, 0, 1) if isinstance(image, torch.Tensor) else image
    with pytest.raises(MemoryError, match=r'640000 x 480000 pixels: it does not fit into memory: .* GiB are free'):
        upscale(image, scale=20000, model=net, device='cpu')
