"""The host's networks without up-sampler give what the host's own networks hand to their up-samplers."""

import pytest
import torch

from gsasr_plugin.archs.encoders import build_encoder

IN_OUT = {'num_in_ch': 3, 'num_out_ch': 3}
SWINIR = {'embed_dim': 12, 'depths': [2, 2], 'num_heads': [2, 3], 'window_size': 4, 'mlp_ratio': 3.0}
MEAN = {'rgb_mean': (0.4488, 0.4371, 0.4040)}  # fixed in the host's SwinIR


def host_features(name, host_arguments, module_name, state, lq, *, hook_output=False):
    """What a module inside the host's network receives (or gives), with the encoder's weights: B x C x ? x ?."""
    from basicsr.utils.registry import ARCH_REGISTRY  # the plugin, imported above, has to repair the host before

    host = ARCH_REGISTRY.get(name)(**host_arguments).double().eval()
    assert not host.load_state_dict(state, strict=False).unexpected_keys  # all parameters are the host's, by name
    seen = []
    module = host.get_submodule(module_name)
    if hook_output:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    else:
        module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        host(lq)
    return seen[0]


def compare(type_name, arguments, host_arguments, module_name, *, own=None, stride=1, size=(8, 12), **hook):
    """Encoder against host in float64.

    `own` holds arguments that the host lacks; `stride` undoes a nearest-neighbour enlargement between the two.
    """
    torch.manual_seed(0)
    encoder = build_encoder({'type': type_name, **arguments, **(own or {})}).double().eval()
    lq = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        features = encoder(lq)
    host_arguments = {**arguments, **host_arguments}
    name = 'SRVGGNetCompact_basicsr' if type_name == 'SRVGGNetCompact' else type_name
    expected = host_features(name, host_arguments, module_name, encoder.net.state_dict(), lq, **hook)
    expected = expected[..., ::stride, ::stride]
    assert features.shape == expected.shape == (2, encoder.num_features, *size)
    # The same operations in float64, in an order that may differ in a sum or two.
    torch.testing.assert_close(features, expected, rtol=1e-11, atol=1e-11 * expected.abs().max().item())


def test_edsr():
    arguments = {'num_feat': 8, 'num_block': 2, 'res_scale': 0.5, 'img_range': 255.0, 'rgb_mean': [0.4, 0.5, 0.6]}
    compare('EDSR', arguments, IN_OUT, 'upsample', own={'global_skip': True})


def test_edsr_starts_as_basicsrs():
    """The same weights from the same seed, under the same names in the same order: of the same initialization."""
    from basicsr.archs.edsr_arch import EDSR

    torch.manual_seed(0)
    expected = EDSR(**IN_OUT, num_feat=8, num_block=2).state_dict()
    torch.manual_seed(0)
    found = build_encoder({'type': 'EDSR', 'num_feat': 8, 'num_block': 2}).net.state_dict()
    assert list(found) == [key for key in expected if not key.startswith(('upsample', 'conv_last'))]
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_rcan():
    arguments = {'num_feat': 8, 'num_block': 2, 'res_scale': 0.5, 'img_range': 255.0, 'rgb_mean': [0.4, 0.5, 0.6]}
    compare('RCAN', {**arguments, 'num_group': 2, 'squeeze_factor': 4}, IN_OUT, 'upsample')


def test_msrresnet():
    compare('MSRResNet', {'num_feat': 8, 'num_block': 2}, IN_OUT, 'upconv1')


# The host enlarges by two in front of conv_up1 and conv_up2. From scale 4 on the LR grid is passed after 0, 1, 2 steps.
@pytest.mark.parametrize(
    ('scale', 'module_name', 'stride'), [(4, 'conv_up1', 2), (2, 'conv_up2', 2), (1, 'conv_hr', 1)]
)
def test_rrdbnet(scale, module_name, stride):
    arguments = {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'scale': scale}
    compare('RRDBNet', arguments, IN_OUT, module_name, stride=stride)


@pytest.mark.parametrize('act_type', ['relu', 'prelu', 'leakyrelu'])
def test_srvggnetcompact(act_type):
    compare('SRVGGNetCompact', {'num_feat': 8, 'num_conv': 2, 'act_type': act_type}, IN_OUT, 'body.6')


# The host keeps the mask of its img_size and makes a new one for any other size; both are right.
@pytest.mark.parametrize(('size', 'img_size'), [((4, 4), 8), ((8, 12), (8, 12)), ((20, 8), 16)])
@pytest.mark.parametrize('resi_connection', ['1conv', '3conv'])
def test_swinir_at_any_size(size, img_size, resi_connection):
    arguments = {**SWINIR, 'resi_connection': resi_connection, 'img_range': 2.0}
    host_arguments = {'upsampler': 'pixelshuffle', 'img_size': img_size}
    compare('SwinIR', arguments, host_arguments, 'conv_before_upsample', own=MEAN, size=size, hook_output=True)


def test_swinir_odd_window():
    compare(
        'SwinIR',
        {**SWINIR, 'window_size': 5},
        {'upsampler': 'pixelshuffle', 'img_size': 20},
        'conv_before_upsample',
        own=MEAN,
        size=(15, 10),
        hook_output=True,
    )
