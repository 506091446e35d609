"""What the tracer counts, on operations whose figures are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.benchmarks.trace import document
from tests.benchmarks.trace.attention import obstacles
from tests.benchmarks.trace.meta_autocast import meta_autocast
from tests.benchmarks.trace.roofline import Device
from tests.benchmarks.trace.tracer import Op, Trace, fake_cuda, tracing


def traced(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Trace:
    with fake_cuda(), torch.no_grad():
        tensors = [torch.empty(shape, device='cuda') for shape in shapes]
        with tracing() as trace:
            function(*tensors)
    return trace


def test_a_product_is_counted() -> None:
    trace = traced(F.linear, (100, 30), (20, 30), (20,))
    (op,) = trace.ops
    assert (op.name, op.launches, op.flops, op.unit) == ('addmm', 1, 2 * 100 * 30 * 20, 'fp32')
    assert op.bytes == 4 * (100 * 30 + 20 * 30 + 20 + 100 * 20)


def test_views_are_free_and_what_is_expanded_is_read_once() -> None:
    trace = traced(lambda x: x.view(4, 3).t()[None].expand(5, 3, 4) + 1, (12,))
    (op,) = trace.ops
    assert op.launches == 1 and op.bytes == 4 * (12 + 60)


@pytest.mark.parametrize(
    ('function', 'name'),
    [
        (lambda x: x.sum().item(), 'item'),
        (lambda x: bool(x.any()), '__bool__'),
        (lambda x: torch.tensor([1.0], device=x.device), 'tensor'),
        (lambda x: x.new_tensor((1, 2)), 'new_tensor'),
        (lambda x: torch.ones(2).to(x), 'to'),
        (lambda x: x.cpu(), 'cpu'),
    ],
)
def test_what_waits_is_found(function: Callable[[Tensor], Any], name: str) -> None:
    assert traced(function, (3,)).waits == [name]


def test_a_list_on_the_meta_device_waits_once() -> None:
    with tracing() as trace:
        assert torch.empty(3, device='meta').tolist() == [0.0] * 3
    assert trace.waits == ['tolist']


def test_what_does_not_wait_is_none() -> None:
    def function(x: Tensor) -> None:
        torch.ones(2).pin_memory().to(x.device, non_blocking=True)
        x.new_full((), 2.0)
        torch.stack([x, x]).to(torch.bfloat16)

    trace = traced(function, (3,))
    assert not trace.waits and trace.copies == ['to']


def test_attention_meets_the_kernel_that_takes_it() -> None:
    def attend(width: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda q, mask: F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    kernels = [traced(attend(width), (5, 6, 144, width), (1, 6, 144, 144)).attention[0]['kernel'] for width in (30, 32)]
    assert kernels == ['math', 'efficient']


def test_obstacles_to_the_fused_kernel_are_named() -> None:
    q, mask = torch.empty(5, 6, 49, 32), torch.empty(1, 6, 49, 49)
    assert obstacles(q, q, q, None) == []
    assert 'multiples of 8' in obstacles(q, q, q, mask)[0]
    assert obstacles(q, q, q, F.pad(mask, (0, 7))[..., :49]) == []
    assert 'no multiple of 8' in obstacles(*[torch.empty(5, 6, 49, 30).bfloat16()] * 3, None)[0]
    assert 'side by side' in obstacles(*[torch.empty(5, 6, 32, 49).transpose(2, 3)] * 3, None)[0]
    assert 'different dtypes' in obstacles(q, q, q, mask.bfloat16())[0]
    assert 'shape' in obstacles(q, q, q, torch.empty(1, 3, 49, 56)[..., :49])[0]
    assert 'not of 16 bytes' in obstacles(*[torch.empty(5, 6, 49, 33)[..., :32]] * 3, None)[0]


def test_autocast_on_the_meta_device_casts_a_parameter_once() -> None:
    weight = torch.empty(3, 4, device='meta', requires_grad=True)
    x = torch.empty(5, 4, device='meta')
    with meta_autocast(), tracing() as trace, torch.autocast('meta', torch.bfloat16):
        first, second = F.linear(x, weight), F.linear(x, weight)
        with torch.autocast('meta', enabled=False):
            assert F.linear(x, weight).dtype == torch.float32
    assert first.dtype == second.dtype == torch.bfloat16
    assert sum(op.name == '_to_copy' for op in trace.ops) == 3  # x twice


def test_an_estimate_is_the_longer_of_bytes_and_products() -> None:
    device = Device(bandwidth=1e9, rates={'fp32': 1e12})
    assert device.seconds(Op('', 1, 10**9, 0, '')) == pytest.approx(1 + 2e-6)
    assert device.seconds(Op('', 1, 10**9, 3 * 10**12, 'fp32')) == pytest.approx(3 + 2e-6)


def written(folder: Path, content: Any) -> Path:
    file = folder / 'traces.json'
    file.write_text(json.dumps(content), encoding='utf-8')
    return file


def test_estimates_go_into_the_page(tmp_path: Path) -> None:
    page = tmp_path / 'gpu.md'
    page.write_text(f'before\n{document.BEGIN}old\n{document.END}after\n', encoding='utf-8')
    titles = ['gsasr_edsr x2 float32', 'gsasr_edsr x2 bf16', 'gsasr_edsr x4 float32', 'other x2 float32']
    rows = [{'title': title, 'launches': 1000, 'estimated_ms': {'A100': 12.34, 'H100': 5.0}} for title in titles]
    rows[1]['launches'] = 2000
    document.write(written(tmp_path, rows), page)
    text = page.read_text(encoding='utf-8')
    assert text.startswith('before\n') and text.endswith('after\n') and 'old' not in text
    assert '| x2 | 717 → 12.3 |  | 378 → 12.3 | 308 → 5 |  | 192 → 5 | 6-12 |\n' in text
    assert '| x4 | 181 → 12.3 |  |  | 79 → 5 |  |  | 6 |\n' in text
    assert '| other, ms | A100 float32 |' in text and '| x2 | 12.3 |  |  | 5 |  |  | 6 |\n' in text


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in ({'a': 1}, [1], [{'title': 'x'}]):
        with pytest.raises(SystemExit, match=r'traces\.json'):
            document.write(written(tmp_path, content), tmp_path / 'absent.md')


def test_the_page_has_room_for_estimates() -> None:
    text = document.PAGE.read_text(encoding='utf-8')
    assert 'x12' in text[text.index(document.BEGIN) : text.index(document.END)]
