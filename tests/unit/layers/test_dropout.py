"""Dropout from an explicit generator."""

from __future__ import annotations

import pytest
import torch

from diffurecsys.layers.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.9])
def test_drops_at_its_rate_and_keeps_the_mean(rate):
    x = torch.ones(1000, 1001)  # not a multiple of the four elements of one draw
    dropped = Dropout(rate)(x, torch.Generator().manual_seed(0))
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.003)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(dropped.unique()) == 2


def test_is_the_identity_in_evaluation_and_leaves_the_generator_alone():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    x = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(x, generator), x)
    assert torch.equal(generator.get_state(), before)


def test_the_generator_decides_the_mask():
    x = torch.ones(64, 64)
    layer = Dropout(0.5)
    one, same, other = (layer(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_gradients_pass_where_values_do():
    x = torch.ones(32, 32, requires_grad=True)
    out = Dropout(0.4)(x, torch.Generator().manual_seed(0))
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_adds_a_branch_as_dropout_and_sum_do():
    x, branch = torch.randn(2, 30, 20).unbind()
    layer = Dropout(0.3)
    seeds = [torch.Generator().manual_seed(4) for _ in range(2)]
    torch.testing.assert_close(layer.add(x, branch, seeds[0]), x + layer(branch, seeds[1]))
    assert torch.equal(layer.eval().add(x, branch, None), x + branch)
