"""The blocked feed-forward pass against the plain one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.layers import feed_forward
from diffurecsys.layers.dropout import DropoutMasks
from diffurecsys.layers.feed_forward import FeedForward


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(feed_forward, "BLOCK_BYTES", 4 * 32 * 7)  # seven rows of hidden width 32 in float32


def plain(layer, x, factors):
    return layer.outer(F.gelu(layer.inner(x), approximate="tanh") * factors)


@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_equals_the_plain_layer_with_gradients(rows, rate):
    torch.manual_seed(0)
    layer, x = FeedForward(8, rate), torch.randn(rows, 8, requires_grad=True)
    masks = DropoutMasks(rate, torch.Generator().manual_seed(1), x.device)
    kept = torch.cat([1 + masks.dropped(torch.Size([min(7, rows - begin), 32])) for begin in range(0, rows, 7)])
    blocked = layer(x, torch.Generator().manual_seed(1))
    reference = plain(layer, x, kept * masks.scale)
    torch.testing.assert_close(blocked, reference, atol=1e-6, rtol=1e-5)
    inputs, upstream = [x, *layer.parameters()], torch.randn(rows, 8)
    for grad, expected in zip(
        torch.autograd.grad(blocked, inputs, upstream), torch.autograd.grad(reference, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(grad, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, feed_forward.FEW, feed_forward.FEW + 1])
def test_equals_the_plain_layer_without_gradients(rows):
    torch.manual_seed(0)
    layer, x = FeedForward(8, 0.4).eval(), torch.randn(rows, 8)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, None), plain(layer, x, 1), atol=1e-6, rtol=1e-5)


def test_gradients_against_finite_differences():
    layer, x = FeedForward(4, 0.3).double(), torch.randn(9, 4, dtype=torch.float64, requires_grad=True)

    def run(*_):
        return layer(x, torch.Generator().manual_seed(1))

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


def test_without_gradients_the_same_numbers():
    layer, x = FeedForward(8, 0.0), torch.randn(feed_forward.FEW + 1, 8)
    with torch.inference_mode():
        without = layer(x, None)
    assert torch.equal(without, layer(x, None))
