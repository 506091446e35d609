"""Each instruction set of this machine draws the same picture: GSASR_CPU chooses one at the start of a process."""

import json

from tests.ops import instruction_sets

SCRIPT = """
import json
import numpy as np
import torch
import gsasr_ops
from tests.ops.rasterizer.scenes import dense_sum, sample_inputs

errors = {}
for dtype in (torch.float32, torch.float64):
    for C in (1, 2, 3, 4):
        for rho in (None, 0.97):
            inputs = sample_inputs(dtype=dtype, C=C, requires_grad=True)
            if rho:
                inputs = (*inputs[:2], torch.full_like(inputs[2], rho).requires_grad_(), *inputs[3:])
            for size, scale in (((6, 7), 1.0), ((25, 29), 4.2), ((130, 31), (21.0, 4.4))):
                v = torch.randn(2, C, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
                images = gsasr_ops.rasterize_gaussians(*inputs, size, scale)
                expected = dense_sum(*inputs, size, scale, image=1, support=4.5)
                gradients = torch.autograd.grad((images * v).sum(), inputs)
                exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
                twin = gsasr_ops.rasterize_gaussians_reference(*exact, size, scale)
                errors.setdefault(f'image {dtype}', []).append(np.abs(images[1].detach().numpy() - expected).max())
                errors.setdefault(f'gradient {dtype}', []).extend(
                    ((a - b).abs().max() / b.abs().max()).item()
                    for a, b in zip(gradients, torch.autograd.grad((twin * v).sum(), exact))
                )
print(json.dumps({k: float(max(e)) for k, e in errors.items()}))
"""


@instruction_sets.each
def test_instruction_set(name):
    errors = json.loads(instruction_sets.run_with(name, SCRIPT))
    # Tolerances as in test_values.py and test_gradients.py, four times wider for rho = 0.97: 1 / sqrt(1 - rho^2) = 4.
    assert errors['image torch.float32'] < 4e-5 and errors['image torch.float64'] < 1e-12
    assert errors['gradient torch.float32'] < 8e-5 and errors['gradient torch.float64'] < 1e-11
