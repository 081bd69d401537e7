"""Products of float32 matrices in bfloat16: what is rounded, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.layers import feed_forward, products
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.products import ROWS, Linear, add_product, linear, multiply, product_type, products_in, rounded
from diffurecsys.training import device
from diffurecsys.training.device import autocast, in_precision, resolve_precision

HALF = 2**-8  # a bfloat16 number's largest rounding error, of itself


@pytest.fixture(autouse=True)
def _nothing_is_small(monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)


def relative(got, expected):
    return float(((got - expected).norm() / expected.norm()).detach())


def test_outside_nothing_is_rounded():
    torch.manual_seed(0)
    x, layer = torch.randn(7, 5), Linear(5, 3)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert product_type(x, layer.weight) == torch.float32
    with products_in(torch.bfloat16):
        assert product_type(x, layer.weight) == torch.bfloat16
        assert product_type(x.double(), layer.weight) == torch.float64
    assert product_type(x, layer.weight) == torch.float32


def test_small_weights_stay_float32(monkeypatch):
    monkeypatch.setattr(products, "SMALL", 64 * 256)
    x, small, large = torch.randn(5, 64), torch.randn(255, 64), torch.randn(256, 64)
    with products_in(torch.bfloat16):
        assert torch.equal(linear(x, small), F.linear(x, small))
        assert not torch.equal(linear(x, large), F.linear(x, large))


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_factors_are_rounded_and_results_are_float32(rows, bias):
    torch.manual_seed(0)
    x, layer = torch.randn(rows, 24, requires_grad=True), Linear(24, 40, bias=bias)
    upstream = torch.randn(rows, 40)
    with products_in(torch.bfloat16):
        got = layer(x)
    gradients = torch.autograd.grad(got, [x, *layer.parameters()], upstream)
    near, weight, above = (t.detach().bfloat16().float() for t in (x, layer.weight, upstream))
    expected = [above @ weight, above.T @ near, *([upstream.sum(0)] if bias else [])]
    assert got.dtype == torch.float32
    assert relative(got, F.linear(near, weight, layer.bias)) < HALF
    for gradient, reference in zip(gradients, expected, strict=True):
        assert gradient.dtype == torch.float32
        assert gradient.shape == reference.shape
        assert relative(gradient, reference) < HALF


def test_a_row_does_not_depend_on_the_others():
    torch.manual_seed(0)
    x, weight = torch.randn(ROWS + 9, 16), torch.randn(8, 16)
    with products_in(torch.bfloat16):
        assert torch.equal(linear(x, weight)[:5], linear(x[:5], weight))


def test_rounded_rows_end_in_zeros():
    x = torch.randn(ROWS + 1, 3)
    factor = rounded(x, torch.bfloat16)
    assert factor.shape == (2 * ROWS, 3)
    assert torch.equal(factor[: ROWS + 1], x.bfloat16())
    assert not factor[ROWS + 1 :].any()
    assert rounded(x, torch.float32) is x


def test_products_into_tensors():
    torch.manual_seed(0)
    a, b, bias = torch.randn(5, 8), torch.randn(8, 4), torch.randn(4)
    for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 2 * HALF)):
        out, total = torch.full((5, 4), float("nan")), torch.ones(5, 4)
        multiply(out, a, b.to(dtype), bias=bias, scale=0.5)
        assert relative(out, bias + 0.5 * (a @ b)) < bound
        add_product(total, rounded(a, dtype), b.to(dtype), scale=2.0)
        assert relative(total, 1 + 2 * (a @ b)) < bound


@pytest.mark.parametrize("rows", [1, 300])
def test_the_feed_forward_layer_drops_the_same_units(rows, monkeypatch):
    monkeypatch.setattr(feed_forward, "BLOCK_BYTES", 4 * 64 * 140)  # blocks of 140 rows
    torch.manual_seed(0)
    layer, x, upstream = FeedForward(16, 0.4), torch.randn(rows, 16, requires_grad=True), torch.randn(rows, 16)
    inputs = [x, *layer.parameters()]
    exact = layer(x, torch.Generator().manual_seed(1))
    with products_in(torch.bfloat16):
        near = layer(x, torch.Generator().manual_seed(1))
    assert relative(near, exact) < 4 * HALF
    for gradient, reference in zip(
        torch.autograd.grad(near, inputs, upstream), torch.autograd.grad(exact, inputs, upstream), strict=True
    ):
        assert relative(gradient, reference) < 8 * HALF


@pytest.mark.parametrize(("known", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_follows_the_processor(known, expected, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda: known)
    assert resolve_precision(cpu, "auto") == expected
    assert resolve_precision(cpu, "float32") == "float32"
    assert resolve_precision(torch.device("cuda"), "auto") == "bfloat16"
    with in_precision(cpu, "auto"):
        assert product_type(torch.ones(1), torch.ones(1)) == (torch.bfloat16 if known else torch.float32)
    with autocast(cpu, "auto"):  # models are asked in float32 on every processor
        assert product_type(torch.ones(1), torch.ones(1)) == torch.float32
        assert not torch.is_autocast_enabled("cpu")
