"""The chunked loss against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.losses import cross_entropy
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 50 * 7, 1 << 20])
@pytest.mark.parametrize("scale", [0.1, 10.0, 300.0])
def test_equals_pytorchs_loss_and_gradients(chunk_bytes, scale, monkeypatch):
    monkeypatch.setitem(cross_entropy.CHUNK_BYTES, "cpu", chunk_bytes)
    monkeypatch.setattr(cross_entropy, "MIN_ROWS", 1)
    generator = torch.Generator().manual_seed(0)
    x = (scale * torch.randn(33, 8, generator=generator)).requires_grad_()
    items = torch.randn(50, 8, generator=generator).requires_grad_()
    targets = torch.randint(50, (33,), generator=generator)
    got = catalogue_cross_entropy(x, items, targets)
    expected = F.cross_entropy(x @ items.T, targets)
    torch.testing.assert_close(got, expected)
    for factor in (2, 1):
        grads = torch.autograd.grad(factor * got, [x, items], retain_graph=True)
        references = torch.autograd.grad(factor * expected, [x, items], retain_graph=True)
        for grad, reference in zip(grads, references, strict=True):
            torch.testing.assert_close(grad, reference, atol=1e-5, rtol=1e-4)


def test_under_autocast_it_is_as_near_the_float32_loss_as_pytorchs_own(monkeypatch):
    monkeypatch.setitem(cross_entropy.CHUNK_BYTES, "cpu", 4 * 50 * 7)
    monkeypatch.setattr(cross_entropy, "MIN_ROWS", 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(33, 8, generator=generator)
    items = torch.randn(50, 8, generator=generator).requires_grad_()
    targets = torch.randint(50, (33,), generator=generator)
    exact = F.cross_entropy(x @ items.T, targets)
    (exact_grad,) = torch.autograd.grad(exact, items)
    errors = []
    for loss in (catalogue_cross_entropy, lambda x, items, targets: F.cross_entropy(x @ items.T, targets)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            # as a model gives it: the result of a product under autocast
            value = loss((x @ torch.eye(8)).requires_grad_(), items, targets)
        (grad,) = torch.autograd.grad(value, items)
        assert value.dtype == grad.dtype == torch.float32
        errors.append((abs(value.item() - exact.item()), float((grad - exact_grad).norm() / exact_grad.norm())))
    assert errors[0][0] < max(2 * errors[1][0], 1e-3)
    assert errors[0][1] < max(2 * errors[1][1], 1e-3)


def test_a_non_finite_prediction_gives_a_non_finite_loss():
    x = torch.full((2, 4), float("nan"))
    assert not catalogue_cross_entropy(x, torch.randn(5, 4), torch.tensor([0, 1])).isfinite()
