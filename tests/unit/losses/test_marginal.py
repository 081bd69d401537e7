"""The marginal likelihood against PyTorch's own operations."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.losses import marginal
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.losses.marginal import marginal_cross_entropy


def inputs(draws: int):
    generator = torch.Generator().manual_seed(0)
    x = (3 * torch.randn(draws, 11, 8, generator=generator)).requires_grad_()
    items = torch.randn(50, 8, generator=generator).requires_grad_()
    return x, items, torch.randint(50, (11,), generator=generator)


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 50 * 7, 1 << 20])
def test_equals_the_mean_of_probabilities_and_its_gradients(chunk_bytes, monkeypatch):
    monkeypatch.setitem(marginal.CHUNK_BYTES, "cpu", chunk_bytes)
    monkeypatch.setattr(marginal, "MIN_ROWS", 1)
    x, items, targets = inputs(draws=4)
    found = (x @ items.T).softmax(dim=-1)[:, torch.arange(11), targets]  # (draws, batch)
    expected = -found.mean(dim=0).log().mean()
    got = marginal_cross_entropy(x, items, targets)
    torch.testing.assert_close(got, expected)
    for factor in (1, 2):
        grads = torch.autograd.grad(factor * got, [x, items], retain_graph=True)
        references = torch.autograd.grad(factor * expected, [x, items], retain_graph=True)
        for grad, reference in zip(grads, references, strict=True):
            torch.testing.assert_close(grad, reference, atol=1e-5, rtol=1e-4)


def test_one_draw_is_the_cross_entropy():
    x, items, targets = inputs(draws=1)
    torch.testing.assert_close(marginal_cross_entropy(x, items, targets), catalogue_cross_entropy(x[0], items, targets))


def test_a_draw_that_goes_astray_costs_at_most_its_share():
    x, items, targets = inputs(draws=1)
    astray = torch.cat([x, -100 * x.detach()])
    alone, both = (marginal_cross_entropy(draws, items, targets).item() for draws in (x, astray))
    assert both <= alone + math.log(2) + 1e-5


def test_under_autocast_it_is_near_the_float32_loss():
    x, items, targets = inputs(draws=2)
    exact = marginal_cross_entropy(x, items, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = marginal_cross_entropy(x, items, targets)
        reference = F.cross_entropy((x @ items.T).float().flatten(0, 1), targets.repeat(2))
    assert rough.dtype == torch.float32
    mean = F.cross_entropy((x @ items.T).flatten(0, 1), targets.repeat(2))
    assert abs((rough - exact).item()) <= 10 * max(abs((reference - mean).item()), 2**-8)
