"""`gsasr convert`: one self-describing file of any source of a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gsasr_plugin.checkpoints import PARAMETER_KEYS, SUFFIXES
from gsasr_plugin.commands.arguments import network_section
from gsasr_plugin.run_errors import CommandError, told_as_command_error

if TYPE_CHECKING:
    from gsasr_plugin.archs import GSASR

DESCRIPTION = """\
Writes a model as one file of its weights and the options of its network, which every command and
path.pretrain_network_g read without more ado, and prints what it found."""
EXAMPLES = """\
  gsasr convert encoder.pth decoder.pth -o gsasr.safetensors
  gsasr convert FOLDER -o gsasr.pth                    encoder.pth and decoder.pth in FOLDER
  gsasr convert official/enhanced-edsr-div2k -o gsasr.safetensors
  gsasr convert experiments/NAME/models/net_g_latest.pth -o gsasr.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'source',
        nargs='+',
        help="the authors' two files, encoder first; or one of: a folder with encoder.pth and decoder.pth, a "
        'checkpoint of a training, a converted file, the name of a released model',
    )
    parser.add_argument(
        '-o', '--output', required=True, type=Path, metavar='MODEL', help=f'the file to write: {" or ".join(SUFFIXES)}'
    )
    parser.add_argument(
        '--opt',
        metavar='FILE',
        help='option file whose network_g describes the network, for a checkpoint that does not describe it itself',
    )
    parser.add_argument(
        '--param-key',
        choices=PARAMETER_KEYS,
        help='the weights to take where a file has both (default: params_ema, the average, before params)',
    )
    parser.add_argument(
        '--half', action='store_true', help='store the weights as float16: half the size, rounded to 11 bits'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the output if it is there')


def run(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    if output.suffix not in SUFFIXES:
        raise CommandError(f'--output {output}: the suffix is {output.suffix!r}; accepted: {", ".join(SUFFIXES)}')
    if output.exists() and not arguments.overwrite:
        raise CommandError(f'--output {output} is there already; --overwrite replaces it')
    from gsasr_plugin.checkpoints.loading import load
    from gsasr_plugin.checkpoints.model_file import save_model

    sources = arguments.source
    with told_as_command_error('', ValueError):
        net = load(
            sources[0] if len(sources) == 1 else sources,
            None if arguments.opt is None else network_section(arguments.opt),
            param_keys=[arguments.param_key] if arguments.param_key else PARAMETER_KEYS,
        )
        save_model(net, output, half=arguments.half)
    _report(net, output)
    return 0


def _report(net: GSASR, output: Path) -> None:
    """Variant, number of parameters, and the section that describes the network."""
    import yaml

    options = net.options
    version = {
        ('bias', False): "the paper's",
        ('rope', True): 'the enhanced',
    }.get((options['position_encoding'], options['closing_conv']), 'another')
    if options['num_injection_blocks'] == 0:
        version = 'a plain'  # without attention
    parts = (net, net.encoder, net.decoder)
    total, encoder, decoder = (sum(p.numel() for p in part.parameters()) / 1e6 for part in parts)
    print(f'{version} decoder with the encoder {options["encoder_opt"]["type"]}')
    print(f'{total:.2f} M parameters: encoder {encoder:.2f} M, decoder {decoder:.2f} M')
    section = {'network_g': {'type': 'GSASR', **options}}
    print(yaml.safe_dump(section, sort_keys=False, default_flow_style=None), end='')
    print(f'written: {output} ({output.stat().st_size / 1e6:.1f} MB)')
