"""The debug build of the kernels, whose scratch memory has guard zones: nothing is written into them, and whatever they
hold, the results are the bits of the ordinary build. Without a GPU: the shim's driver, whose zones AddressSanitizer
watches.
"""

import json
import os
import subprocess

from tests.gpu import tests_of
from tests.gpu.machine import ROOT, environment_of_guards, python
from tests.gpu.report import Report

OF_SHIM = ('tests/ops/rasterizer/test_cuda_faults.py::test_guard_zones_tell_what_was_written',)
BYTES = (0, 63, 255)  # of the zones: as floats 0, 0.75 and NaN; as indices 0, far outside and -1

DRAWN = """
import hashlib, json, torch
from gsasr_ops import backend, rasterize_gaussians
from tests.ops.rasterizer.test_cuda_device import SCALES, SIZES, sample_inputs

bits = []
many = [(8 + b % 5, 10 + b % 7) for b in range(70)]
for count, spread, channels, sizes, scales in (
    (300, 1.0, 3, SIZES, SCALES), (1, 1.0, 1, SIZES, SCALES), (9000, 0.01, 3, SIZES, SCALES),
    (4097, 1.0, 4, SIZES, SCALES), (257, 1.0, 2, many, [0.5] * 70),
):
    inputs = [t.detach().clone() for t in sample_inputs('cuda', batch=len(sizes), count=count)]
    inputs[0] *= spread
    inputs[4] = inputs[4][:, :, :1].expand(-1, -1, channels).contiguous()
    inputs = [t.requires_grad_() for t in inputs]
    images = rasterize_gaussians(*inputs, size=sizes, scale=scales)
    gradients = torch.autograd.grad(images, inputs, [torch.ones_like(image) for image in images])
    content = b''.join(t.detach().cpu().numpy().tobytes() for t in (*images, *gradients))
    bits.append(hashlib.sha256(content).hexdigest()[:12])
assert backend()['cuda'] == 'compiled', backend()
print(json.dumps({'bits': bits, 'library': backend()['cuda_library']}))
"""


def run(report: Report, rehearsed: bool) -> None:
    if rehearsed:
        tests_of.finish(report, 'guards', tests_of.start('guards', *OF_SHIM))
        return
    plain = _drawn(dict(os.environ))
    report.check('the ordinary build draws', 'bits' in plain, plain.get('error', ''))
    for byte in BYTES:
        guarded = _drawn(environment_of_guards(byte))
        report.check(f'zones of {byte}: nothing was written into them', 'bits' in guarded, guarded.get('error', ''))
        report.check('the debug build is another one', guarded.get('library') != plain.get('library'))
        report.check(f'zones of {byte}: the bits are the same', guarded.get('bits') == plain.get('bits'))
    report.figure('bits', plain.get('bits'))


def _drawn(environment: dict[str, str]) -> dict:
    done = subprocess.run(python('-c', DRAWN), cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stderr[-3000:], flush=True)
    if done.returncode != 0:
        return {'error': (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]}
    return json.loads(done.stdout.splitlines()[-1])
