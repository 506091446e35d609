"""Encoders by option: shapes, gradients, what is worked out, what is refused."""

import copy
import inspect
import warnings

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from gsasr_plugin.archs import GSASR
from gsasr_plugin.archs.encoders import Encoder, build_encoder, encoder_class, encoder_options, encoder_types

# Small options -> (num_features, multiple).
SMALL = {
    'EDSR': ({'type': 'EDSR', 'num_feat': 8, 'num_block': 2}, (8, 1)),
    'HAT': (
        {
            **{'type': 'HAT', 'embed_dim': 16, 'depths': [2, 2], 'num_heads': [2, 4], 'window_size': 6},
            **{'compress_ratio': 2, 'squeeze_factor': 4, 'overlap_ratio': 0.4, 'num_feat': 8},
        },
        (8, 6),
    ),
    'MSRResNet': ({'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2}, (8, 1)),
    'RCAN': ({'type': 'RCAN', 'num_feat': 8, 'num_group': 2, 'num_block': 1, 'squeeze_factor': 2}, (8, 1)),
    'RDN': ({'type': 'RDN', 'num_feat': 8, 'num_block': 2, 'num_layer': 3, 'num_grow_ch': 4}, (8, 1)),
    'RDN-A': ({'type': 'RDN', 'config': 'A', 'num_feat': 8, 'num_grow_ch': 4}, (8, 1)),
    'RRDBNet': ({'type': 'RRDBNet', 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}, (8, 1)),
    'RRDBNet-x2': ({'type': 'RRDBNet', 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'scale': 2}, (8, 2)),
    'RRDBNet-x1': ({'type': 'RRDBNet', 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'scale': 1}, (8, 4)),
    'SRVGGNetCompact': ({'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2}, (8, 1)),
    'SwinIR': (
        {'type': 'SwinIR', 'embed_dim': 12, 'depths': [2, 2], 'num_heads': [2, 2], 'window_size': 6},
        (64, 6),
    ),
}


@pytest.mark.parametrize('name', SMALL)
def test_features_and_gradients(name):
    encoder_opt, (num_features, multiple) = SMALL[name]
    given = copy.deepcopy(encoder_opt)
    torch.manual_seed(0)
    encoder = build_encoder(encoder_opt)
    assert encoder_opt == given
    assert (encoder.num_features, encoder.multiple) == (num_features, multiple)
    assert encoder.training

    encoder.eval()  # without stochastic depth, which may leave out the whole branch of a block
    lq = torch.rand(2, 3, 24, 36)
    features = encoder(lq)
    assert features.shape == (2, num_features, 24, 36)
    (features * torch.randn_like(features)).sum().backward()
    for key, parameter in encoder.named_parameters():  # DistributedDataParallel needs a gradient in each
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize('name', SMALL)
def test_smallest_size(name):
    encoder_opt, (num_features, multiple) = SMALL[name]
    encoder = build_encoder(encoder_opt).eval()
    lq = torch.rand(1, 3, multiple, multiple)
    with torch.no_grad():
        assert encoder(lq).shape == (1, num_features, multiple, multiple)


def test_each_own_encoder_is_tested():
    assert {encoder_opt['type'] for encoder_opt, _ in SMALL.values()} == set(encoder_types())


@pytest.mark.parametrize('name', ['EDSR', 'MSRResNet', 'RCAN', 'RRDBNet', 'SRVGGNetCompact', 'SwinIR'])
def test_no_trace_of_the_upsampler(name):
    encoder = build_encoder(SMALL[name][0])
    parts = {key.split('.')[1] for key in encoder.state_dict()}
    assert parts <= {
        *('conv_first', 'body', 'conv_after_body', 'conv_body'),
        *('patch_embed', 'layers', 'norm', 'conv_before_upsample'),
    }
    # Nothing that belongs to an input size either, and nothing that the training process would have to carry along.
    assert not [key for key in encoder.state_dict() if 'mask' in key or 'mean' in key]


def test_swinir_in_training_keeps_its_state_dict():
    encoder = build_encoder(SMALL['SwinIR'][0])
    before = {key: value.shape for key, value in encoder.state_dict().items()}
    for size in ((12, 12), (6, 18)):
        encoder(torch.rand(1, 3, *size))
    assert {key: value.shape for key, value in encoder.state_dict().items()} == before


def test_rdn_configurations():
    def sizes(net):
        block = net.body[0]
        return len(net.body), len(block.convs), block.convs[0].out_channels

    assert sizes(build_encoder({'type': 'RDN', 'num_feat': 4}).net) == (16, 8, 64)
    assert sizes(build_encoder({'type': 'RDN', 'config': 'A', 'num_feat': 4}).net) == (20, 6, 32)
    assert sizes(build_encoder({'type': 'RDN', 'config': 'A', 'num_feat': 4, 'num_block': 2}).net) == (2, 6, 32)


def test_objects_of_python_are_left_to_the_class(register):
    class Normed(nn.Module):
        def __init__(self, norm: str = 'none', num_feat: int = 4):
            super().__init__()
            self.conv = nn.Conv2d(3, num_feat, 1)
            self.norm = norm(num_feat)

        def forward(self, x):
            return self.norm(self.conv(x))

    register(Normed)
    assert build_encoder({'type': 'Normed', 'norm': nn.BatchNorm2d}).num_features == 4
    with pytest.raises(ValueError, match='num_feat: given 0'):
        build_encoder({'type': 'Normed', 'norm': nn.BatchNorm2d, 'num_feat': 0})


def test_signature_names_the_arguments():
    parameters = inspect.signature(encoder_class('EDSR')).parameters
    assert {name: (p.annotation, p.default) for name, p in parameters.items() if name != 'rgb_mean'} == {
        'num_feat': (int, 64),
        'num_block': (int, 16),
        'res_scale': (float, 1.0),
        'img_range': (float, 1.0),
        'global_skip': (bool, False),
    }
    for name in encoder_types():
        for parameter in inspect.signature(encoder_class(name)).parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str)


@pytest.mark.parametrize(
    ('encoder_opt', 'words'),
    [
        ({'num_feat': 8}, ['encoder_opt', 'type', 'EDSR']),
        ({'type': 'EDRS'}, ["'EDRS'", 'accepted', 'SwinIR', 'closest: EDSR']),
        (
            {'type': 'EDSR', 'num_feats': 8},
            ['encoder_opt: EDSR: unknown option', "'num_feats'; did you mean 'num_feat'?"],
        ),
        ({'type': 'EDSR', 'upscaler': 4}, ["unknown option 'upscaler'", 'known are global_skip, img_range, num_block']),
        ({'type': 'EDSR', 'num_in_ch': 4}, ['encoder_opt: EDSR: num_in_ch: given 4; accepted: 3']),
        ({'type': 'SwinIR', 'in_chans': 1}, ['SwinIR: in_chans: given 1; accepted: 3']),
        ({'type': 'HAT', 'resi_connection': '3conv'}, ["HAT: resi_connection: given '3conv'", 'accepted: 1conv']),
        ({'type': 'HAT', 'img_range': 255.0}, ['HAT: img_range: given 255.0; accepted: 1']),
        ({'type': 'RRDBNet', 'num_out_ch': 1}, ['RRDBNet: num_out_ch: given 1; accepted: 3']),
        ({'type': 'EDSR', 'num_feat': '8'}, ['EDSR: num_feat: given', "'8'; accepted: a whole number, at least 1"]),
        ({'type': 'EDSR', 'rgb_mean': [0.5]}, ['rgb_mean: given [0.5]; accepted: a list of 3: a number']),
        ({'type': 'HAT', 'depths': [2, 2]}, ['depths', 'num_heads', '2', '12']),
        ({'type': 'HAT', 'embed_dim': 100}, ['num_heads', '100']),
        ({'type': 'HAT', 'embed_dim': 36}, ['embed_dim / num_heads', 'multiple of 4', '6']),
        ({'type': 'HAT', 'overlap_ratio': 0.2}, ['overlap_ratio', '0.2', 'even', '3']),
        ({'type': 'HAT', 'squeeze_factor': 200}, ['squeeze_factor', '200', '192']),
        ({'type': 'RCAN', 'num_feat': 8, 'squeeze_factor': 16}, ['squeeze_factor', '16', '8']),
        ({'type': 'RDN', 'config': 'C'}, ["given 'C'", 'A or B']),
        ({'type': 'RDN', 'num_layer': 0}, ['num_layer', '0']),
        ({'type': 'RRDBNet', 'scale': 3}, ['scale: given 3; accepted: 4 or 2 or 1']),
        ({'type': 'SRVGGNetCompact', 'act_type': 'gelu'}, ["'gelu'", 'leakyrelu']),
        ({'type': 'SwinIR', 'depths': [2, 2]}, ['depths', 'num_heads', '2', '6']),
        ({'type': 'SwinIR', 'embed_dim': 100}, ['num_heads', '100']),
        ({'type': 'VGGStyleDiscriminator', 'num_feat': 8}, ['num_in_ch: missing']),
        ({'type': 'SRVGGNetCompact_basicsr', 'num_feat': 4}, ['SRVGGNetCompact_basicsr', '(1, 3, 36, 44)', '(1, C, h']),
    ],
)
def test_errors_say_what_is_accepted(encoder_opt, words):
    with pytest.raises(ValueError) as raised:
        build_encoder(encoder_opt)
    for word in words:
        assert word in str(raised.value)


# As BasicSR's and HAT's option files have them, but small: their keys, and what of them an encoder does not use.
FILES = {
    'EDSR': (
        'num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, upscale: 2, res_scale: 1, img_range: 255.',
        'upscale',
    ),
    'MSRResNet': ('num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, upscale: 4', 'upscale'),
    'RCAN': (
        'num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_group: 1, num_block: 1, squeeze_factor: 2, upscale: 2, '
        'res_scale: 1, img_range: 255., rgb_mean: [0.4488, 0.4371, 0.4040]',
        'upscale',
    ),
    'RDN': (
        'num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, num_layer: 2, num_grow_ch: 4, upscale: 4',
        'upscale',
    ),
    'RRDBNet': ('num_in_ch: 3, num_out_ch: 3, scale: 2, num_feat: 8, num_block: 1, num_grow_ch: 4', ''),
    'SRVGGNetCompact': (
        'num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_conv: 2, upscale: 4, act_type: prelu',
        'upscale',
    ),
    'SwinIR': (
        'upscale: 2, in_chans: 3, img_size: 48, window_size: 4, img_range: 1., depths: [2], embed_dim: 12, '
        'num_heads: [2], mlp_ratio: 2, upsampler: pixelshuffle, resi_connection: 1conv',
        'upscale, img_size, upsampler',
    ),
    'HAT': (
        'upscale: 4, in_chans: 3, img_size: 64, window_size: 4, compress_ratio: 3, squeeze_factor: 4, '
        'conv_scale: 0.01, overlap_ratio: 0.5, img_range: 1., depths: [2], embed_dim: 24, num_heads: [2], '
        'mlp_ratio: 2, upsampler: pixelshuffle, resi_connection: 1conv',
        'upscale, img_size, upsampler',
    ),
}


@pytest.mark.parametrize('name', FILES)
def test_a_section_of_basicsr_is_taken_as_it_stands(name):
    """The features are those of the section without what is not the encoder's, and so are a network's options."""
    text, ignored = FILES[name]
    section = {'type': name, **yaml.safe_load('{' + text + '}')}
    own = {key: value for key, value in section.items() if key == 'type' or key in encoder_options(name).options}
    given = copy.deepcopy(section)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        torch.manual_seed(0)
        encoder = build_encoder(section).eval()
    assert section == given
    remarks = [str(one.message) for one in said if 'encoder_opt' in str(one.message)]
    assert remarks == ([f'encoder_opt: not used, for GSASR has no up-sampler: {ignored}'] if ignored else [])
    torch.manual_seed(0)
    lq = torch.rand(1, 3, 16, 16)
    torch.manual_seed(0)
    expected = build_encoder(own).eval()
    with torch.no_grad():
        assert torch.equal(encoder(lq), expected(lq))
    small = {'embed_dim': 8, 'num_heads': 2, 'window_size': 4, 'num_injection_layers': 1}
    net = GSASR(encoder_opt=section, num_interaction_blocks=1, num_interaction_layers=1, gaussian_density=1, **small)
    assert net.options['encoder_opt'] == own


def test_options_have_to_be_a_mapping():
    with pytest.raises(TypeError, match=r'encoder_opt.*EDSR'):
        build_encoder('EDSR')


@pytest.fixture
def register():
    """Register classes for one test."""
    from basicsr.utils.registry import ARCH_REGISTRY  # the plugin, imported above, has to repair the host before

    names = []

    def add(cls):
        ARCH_REGISTRY.register(cls)
        names.append(cls.__name__)
        return cls

    yield add
    for name in names:
        del ARCH_REGISTRY._obj_map[name]


class UShapedNet(nn.Module):
    """Two halvings, one batch norm, a drop-out, a frozen part: declares nothing."""

    def __init__(self, num_feat=8):
        super().__init__()
        self.first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.norm = nn.BatchNorm2d(num_feat)
        self.frozen = nn.BatchNorm2d(num_feat).eval()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(self.frozen(self.norm(self.first(x))))
        for _ in range(2):
            half = F.max_pool2d(x, 2)
            x = x + F.interpolate(half, scale_factor=2)
        return F.interpolate(F.max_pool2d(F.max_pool2d(x, 2), 2), scale_factor=4) + x


def test_a_registered_class_works_by_its_name(register):
    register(UShapedNet)
    encoder = build_encoder({'type': 'UShapedNet', 'num_feat': 5})
    assert (encoder.num_features, encoder.multiple) == (5, 4)
    assert encoder(torch.rand(1, 3, 8, 12)).shape == (1, 5, 8, 12)
    with pytest.raises(ValueError, match='num_feat'):
        build_encoder({'type': 'UShapedNet', 'num_feats': 5})


def test_construction_leaves_no_trace():
    class Noisy(UShapedNet):
        def forward(self, x):
            return super().forward(x + torch.rand_like(x))

    net = Noisy()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    generator = torch.get_rng_state()
    Encoder(net, type_name='Noisy')
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


class WindowedNet(nn.Module):
    """Needs a multiple of its window and does not keep it under the name that is looked for."""

    def __init__(self, window_size=5, stated=None):
        super().__init__()
        self.side = window_size
        self.conv = nn.Conv2d(3, 4, 1)
        if stated is not None:
            self.padding_multiple = stated

    def forward(self, x):
        windows = x.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))
        return self.conv(windows.flatten(4, 5).flatten(2, 3))


@pytest.mark.parametrize(
    ('arguments', 'multiple'), [({}, 5), ({'window_size': 3}, 3), ({'window_size': 3, 'stated': 12}, 12)]
)
def test_multiple_follows_from_the_window(register, arguments, multiple):
    register(WindowedNet)
    encoder = build_encoder({'type': 'WindowedNet', **arguments})
    assert encoder.multiple == multiple
    assert encoder(torch.rand(1, 3, multiple, 2 * multiple)).shape == (1, 4, multiple, 2 * multiple)


def test_a_class_that_states_all_is_not_run(register):
    class Stated(nn.Module):
        padding_multiple = 6
        feature_channels = 7

        def forward(self, x):
            raise RuntimeError('run')

    register(Stated)
    encoder = build_encoder({'type': 'Stated'})
    assert (encoder.multiple, encoder.num_features) == (6, 7)


def test_a_class_that_fails_or_returns_no_features_is_refused(register):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError('no such luck')

    class Coarse(nn.Module):
        def forward(self, x):
            return F.avg_pool2d(x, 2)

    for cls, words in ((Pair, 'tuple'), (Broken, 'no such luck'), (Coarse, r'\(1, 3, .*gave \(1, 3, ')):
        register(cls)
        with pytest.raises(ValueError, match=words) as raised:
            build_encoder({'type': cls.__name__})
        assert cls.__name__ in str(raised.value) and '(1, C, h, w)' in str(raised.value)


@pytest.mark.parametrize('name', ['EDSR', 'HAT', 'RCAN', 'SwinIR'])
def test_other_types_and_copies(name):
    """Float64 and bfloat16 modules, autocast, and a deep copy (as for the EMA) all work."""
    encoder = build_encoder(SMALL[name][0]).eval()
    lq = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        features = encoder(lq)
        # 8 bits of mantissa over a few layers: a few percent of the largest feature.
        tolerance = {'rtol': 0, 'atol': 0.05 * features.abs().max().item()}
        with torch.autocast('cpu', torch.bfloat16):
            torch.testing.assert_close(encoder(lq).float(), features, **tolerance)
        half = copy.deepcopy(encoder).bfloat16()(lq.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), features, **tolerance)
        assert encoder.double()(lq.double()).dtype == torch.float64


@pytest.mark.parametrize('key', ['num_feat', 'num_block'])
def test_counts_below_one_are_named(key):
    with pytest.raises(ValueError, match=rf'encoder_opt: EDSR: {key}: given 0; accepted: a whole number, at least 1'):
        build_encoder({'type': 'EDSR', key: 0})


@pytest.mark.parametrize('res_scale', [1.0, 0.1])
def test_without_gradients_sums_are_the_same_and_the_input_stays(res_scale: float) -> None:
    """Then they are made in place."""
    encoder = build_encoder(
        {'type': 'EDSR', 'num_feat': 8, 'num_block': 2, 'res_scale': res_scale, 'global_skip': True}
    )
    lq = torch.rand(1, 3, 6, 7)
    given = lq.clone()
    expected = encoder(lq).detach()
    with torch.no_grad():
        found = encoder(lq)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(lq, given, rtol=0, atol=0)
