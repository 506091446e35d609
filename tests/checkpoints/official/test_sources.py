"""Where released state dicts come from, and what is said of those that are none."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gsasr_plugin.checkpoints.official import (
    OfficialCheckpointError,
    gsasr_from_official,
)
from tests.checkpoints.official.released import (
    Layout,
    decoder_from_official,
    encoder_from_official,
    resized,
    shuffled_index,
    weights,
)

SMALL_EDSR = resized('EDSRNOUP', {64: 8}, {r'body\.(\d+)\.': 2})
DEPTHS = {
    r'window_crossattn_blocks\.\d+\.blocks\.(\d+)\.': 1,
    r'gs_selfattn_blocks\.(\d+)\.': 1,
    r'gs_selfattn_blocks\.\d+\.blocks\.(\d+)\.': 2,
}
SMALL_PAPER = resized('Fea2GS', {64: 8, 180: 8, 540: 24, 720: 32, 6: 2, 529: 25, 144: 9}, DEPTHS)
SMALL_ENHANCED = resized('Fea2GS_ROPE_AMP', {64: 8, 192: 8, 576: 24, 768: 32, 6: 2, 16: 2, 144: 9}, DEPTHS)


def released_state(small: Layout) -> dict[str, Tensor]:
    state = weights(small, 'sources')
    return state | {key: shuffled_index(3, 0) for key, (_, dtype) in small.items() if dtype == 'int64'}


@pytest.fixture
def encoder() -> dict[str, Tensor]:
    return released_state(SMALL_EDSR)


@pytest.fixture(params=['paper', 'enhanced'])
def decoder(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    return released_state(SMALL_PAPER if request.param == 'paper' else SMALL_ENHANCED)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def other(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with other weights: what must not be taken."""
    return {
        key: value + 1 if value.is_floating_point() and '.rope_t_' not in key else value for key, value in state.items()
    }


def test_the_average_is_taken_before_the_last_weights(decoder: dict[str, Tensor]) -> None:
    expected = decoder_from_official(decoder)
    for source in (
        {'params': other(decoder), 'params_ema': decoder},
        {'params': decoder},
        {'params': decoder, 'params_ema': None},
        {'params_ema': {f'module.{key}': value for key, value in decoder.items()}},
        {f'module.{key}': value for key, value in decoder.items()},
    ):
        assert same(decoder_from_official(source), expected)
    assert not same(decoder_from_official({'params': decoder, 'params_ema': other(decoder)}), expected)


def test_files(encoder: dict[str, Tensor], decoder: dict[str, Tensor], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    expected = gsasr_from_official(encoder, decoder)
    torch.save({'params': other(encoder), 'params_ema': encoder}, tmp_path / 'encoder.pth')
    torch.save(decoder, tmp_path / 'decoder.pth')
    save_file({key: value.contiguous() for key, value in decoder.items()}, tmp_path / 'decoder.safetensors')
    for name in ('decoder.pth', 'decoder.safetensors'):
        assert same(gsasr_from_official(tmp_path / 'encoder.pth', str(tmp_path / name)), expected)


def test_the_network_is_that_of_its_options(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> None:
    from gsasr_plugin.archs import GSASR

    net = gsasr_from_official(encoder, decoder)
    again = GSASR(**net.options).eval()
    again.load_state_dict(net.state_dict())
    lq = torch.rand(1, 3, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(again(lq, scale=2.5), net(lq, scale=2.5), rtol=0, atol=0)


def test_weights_are_copied(encoder: dict[str, Tensor]) -> None:
    net = encoder_from_official(encoder)
    before = encoder['conv_first.weight'].clone()
    with torch.no_grad():
        net.net.conv_first.weight.zero_()
    assert torch.equal(encoder['conv_first.weight'], before)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save({'params': Payload(tmp_path / 'ran')}, tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match=r'evil\.pth is refused.*mkdir') as raised:
        encoder_from_official(tmp_path / 'evil.pth')
    assert 'weights_only' not in str(raised.value)  # torch's advice to run it
    assert not (tmp_path / 'ran').exists()


def test_unusable_files_are_named(encoder: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        encoder_from_official(tmp_path / 'none.pth')
    torch.save(encoder, tmp_path / 'cut.pth')
    content = (tmp_path / 'cut.pth').read_bytes()
    for name, kept in (('cut.pth', len(content) // 2), ('cut.safetensors', 100), ('empty.pth', 0)):
        (tmp_path / name).write_bytes(content[:kept])
        with pytest.raises(ValueError, match=re.escape(name)):
            encoder_from_official(tmp_path / name)
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match=r'list\.pth holds list'):
        encoder_from_official(tmp_path / 'list.pth')
    with pytest.raises(ValueError, match="int under the key 'iter'"):
        encoder_from_official({'iter': 3})
    with pytest.raises(ValueError, match='is empty'):
        encoder_from_official({})


@pytest.mark.slow
def test_every_missing_key_is_listed(decoder: dict[str, Tensor]) -> None:
    """Whichever key is taken away: it is named, or the decoder does without it (and then it is redundant)."""
    from gsasr_plugin.checkpoints.official.unused_keys import unused_key

    whole = decoder_from_official(decoder)
    for key in decoder:
        state = {name: value for name, value in decoder.items() if name != key}
        entry = unused_key('decoder', key)
        if entry is not None and entry.part == 'all':
            assert same(decoder_from_official(state), whole), key
            continue
        with pytest.raises(OfficialCheckpointError) as raised:
            decoder_from_official(state)
        assert raised.value.missing == [key], key
        assert raised.value.unexpected == [], key
        assert f'missing: {key}' in str(raised.value)


@pytest.mark.slow
def test_every_missing_key_of_an_encoder_is_listed() -> None:
    rdn = resized('RDNNOUP', {64: 8}, {r'RDBs\.(\d+)\.': 2, r'RDBs\.\d+\.convs\.(\d+)\.': 2})
    for key in rdn:
        if key.startswith('RDBs.') and '.convs.1.' in key and key.endswith('weight'):
            rdn[key] = ([8, 16, 3, 3], 'float32')
        elif key.endswith('.LFF.weight'):
            rdn[key] = ([8, 24, 1, 1], 'float32')
    rdn['GFF.0.weight'] = ([8, 16, 1, 1], 'float32')
    sizes = {192: 16, 576: 48, 384: 32, 64: 8, 6: 2, 16: 4, 256: 16}
    hat = resized('HATNOUP_ROPE_AMP', sizes, {r'layers\.(\d+)\.': 1, r'.*\.blocks\.(\d+)\.': 2})
    swinir = resized(
        'SwinIRNOUP',
        {180: 12, 540: 36, 360: 24, 6: 2, 225: 49, 64: 16},
        {r'layers\.(\d+)\.': 1, r'.*\.blocks\.(\d+)\.': 2},
    )
    swinir |= {
        f'conv_before_upsample.0.{part}': shape
        for part, shape in (('weight', ([64, 12, 3, 3], 'float32')), ('bias', ([64], 'float32')))
    }
    for key in [key for key in hat if '.overlap_attn.rope_t_' in key]:
        hat[key] = ([36], 'float32')
    for small in (SMALL_EDSR, rdn, swinir, hat):
        state = weights(small, 'sources')
        state |= {key: shuffled_index(4, 0) for key in small if key.endswith('.relative_position_index')}
        encoder_from_official(state)
        for key in list(state)[:: max(1, len(state) // 12)]:
            if '.rope_t_' in key:
                continue
            with pytest.raises(OfficialCheckpointError) as raised:
                encoder_from_official({name: value for name, value in state.items() if name != key})
            assert raised.value.missing == [key], key
            assert raised.value.unexpected == [], key


def test_unexpected_keys_are_listed(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> None:
    with pytest.raises(OfficialCheckpointError, match=r'unexpected: upsample\.0\.weight') as raised:
        encoder_from_official(encoder | {'upsample.0.weight': torch.zeros(1)})
    assert (raised.value.missing, raised.value.unexpected) == ([], ['upsample.0.weight'])
    with pytest.raises(OfficialCheckpointError, match='unexpected: a, b') as raised:
        decoder_from_official(decoder | {'a': torch.zeros(1), 'b': torch.zeros(1)})
    assert (raised.value.missing, raised.value.unexpected) == ([], ['a', 'b'])


def test_a_dict_of_something_else_is_refused(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> None:
    with pytest.raises(OfficialCheckpointError, match=r'missing.*unexpected: fc\.weight') as raised:
        encoder_from_official({'fc.weight': torch.zeros(2, 2)})
    assert raised.value.unexpected == ['fc.weight']
    with pytest.raises(OfficialCheckpointError, match='the given decoder and encoder may have been exchanged'):
        gsasr_from_official(decoder, encoder)


def test_parts_of_two_models_are_refused(encoder: dict[str, Tensor]) -> None:
    other_width = resized('Fea2GS', {64: 10, 180: 8, 540: 24, 720: 32, 6: 2, 529: 25, 144: 9}, DEPTHS)
    with pytest.raises(OfficialCheckpointError, match=r'gives 8 features and .* takes 10'):
        gsasr_from_official(encoder, released_state(other_width))


@pytest.mark.parametrize(
    ('key', 'shape'), [('UPNet.2.weight', (16, 8, 3, 3)), ('mlp_block_rho.4.bias', (2,)), ('gs_embedding', (10, 8))]
)
def test_shapes_that_do_not_fit_are_named(decoder: dict[str, Tensor], key: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(OfficialCheckpointError, match=re.escape(f'{key} {shape}')):
        decoder_from_official(decoder | {key: torch.zeros(shape)})


def test_an_index_that_no_table_can_express_is_refused() -> None:
    state = released_state(SMALL_PAPER)
    key = next(key for key in state if key.endswith('.relative_position_index'))
    state[key] = torch.arange(81).view(9, 9) % 25
    with pytest.raises(OfficialCheckpointError, match=re.escape(key)):
        decoder_from_official(state)


def test_positions_out_of_order_are_warned_of() -> None:
    state = released_state(SMALL_ENHANCED)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        expected = decoder_from_official(state)
    key = next(key for key in state if key.endswith('.rope_t_x'))
    with pytest.warns(UserWarning, match=re.escape(key)):
        assert same(decoder_from_official(state | {key: state[key] * 0.1}), expected)
