"""The blocked loss over the catalogue against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.layers import products
from diffurecsys.layers.products import products_in
from diffurecsys.losses.blocked_cross_entropy import ITEMS, LARGEST, ROWS
from diffurecsys.losses.cross_entropy import blocked_cross_entropy, catalogue_cross_entropy
from diffurecsys.losses.sampled import sampled_cross_entropy


def inputs(rows, n_items, width=8, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64) * scale
    items = torch.randn(n_items, width, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), items.requires_grad_(), torch.randint(n_items, (rows,), generator=generator)


@pytest.mark.parametrize("scale", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize(("rows", "n_items"), [(1, 1), (5, 3), (2 * ROWS + 7, 50), (9, 2 * ITEMS + 3)])
def test_loss_and_gradients_are_pytorchs(rows, n_items, scale):
    x, items, targets = inputs(rows, n_items, scale=scale)
    expected = F.cross_entropy(x @ items.T, targets)
    loss = blocked_cross_entropy(x, items, targets)
    torch.testing.assert_close(loss, expected)
    for got, wanted in zip(
        torch.autograd.grad(3 * loss, (x, items)), torch.autograd.grad(3 * expected, (x, items)), strict=True
    ):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("size", [LARGEST * 0.99, LARGEST * 1.01])
def test_both_sides_of_the_bound_agree_in_float32(size):
    """The largest possible score: an item and a row of opposite direction, and one of the same."""
    x, items, targets = (t.detach() for t in inputs(40, 2000))
    x, items = F.normalize(x, dim=1).float() * size, F.normalize(items, dim=1).float()
    items[0], items[1] = x[0] / size, -x[0] / size
    targets[0] = 1
    expected = F.cross_entropy(x.double() @ items.double().T, targets)
    # scores of this size are rounded to about `size` x eps
    assert float(blocked_cross_entropy(x, items, targets)) == pytest.approx(float(expected), abs=4 * size * 1.2e-7)


def test_all_items_drawn_once_give_the_whole_loss():
    x, items, targets = inputs(20, 30)
    every = torch.arange(30)
    sampled = sampled_cross_entropy(x, items, targets, every, torch.zeros(30))
    torch.testing.assert_close(blocked_cross_entropy(x, items, targets), sampled.double(), atol=1e-5, rtol=1e-5)


def test_under_autocast_the_products_are_in_its_type():
    x, items, targets = (t.detach() for t in inputs(20, 300, width=16))
    x, items = x.float(), items.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = blocked_cross_entropy(x, items, targets)
    rounded = F.cross_entropy(x.bfloat16().float() @ items.bfloat16().float().T, targets)
    # each score of size up to |x| |e| is rounded to bfloat16 once more, 2^-9 of itself
    bound = float(x.norm(dim=1).max() * items.norm(dim=1).max()) * 2**-8
    assert abs(float(loss) - float(rounded)) < bound


@pytest.mark.parametrize("loss", [blocked_cross_entropy, catalogue_cross_entropy])
@pytest.mark.parametrize("scale", [1.0, 10.0])  # below and above the bound
@pytest.mark.parametrize(("rows", "n_items"), [(5, 3), (ROWS + 7, 50), (9, ITEMS + 3)])
def test_with_products_in_bfloat16_it_is_near_the_loss_of_rounded_factors(rows, n_items, scale, loss, monkeypatch):
    monkeypatch.setattr(products, "SMALL", 0)
    x, items, targets = (t.detach() for t in inputs(rows, n_items, width=16, scale=scale))
    x, items = x.float().requires_grad_(), items.float().requires_grad_()
    with products_in(torch.bfloat16):
        got = loss(x, items, targets)
    near, offered = (t.detach().bfloat16().float().requires_grad_() for t in (x, items))
    expected = F.cross_entropy(near @ offered.T, targets)
    # scores and their exponentials are rounded once each, relatively by 2^-9
    bound = float((x.norm(dim=1).max() * items.norm(dim=1).max()).detach()) * 2**-8
    assert got.dtype == torch.float32
    assert abs(got.item() - expected.item()) < bound
    for gradient, reference in zip(
        torch.autograd.grad(got, (x, items)), torch.autograd.grad(expected, (near, offered)), strict=True
    ):
        assert float((gradient - reference).norm() / reference.norm()) < max(2**-6, bound / 2)
