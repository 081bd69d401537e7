"""The sampled loss against the full one."""

from __future__ import annotations

import pytest
import torch

from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.losses.sampled import NegativeSampler, sampled_cross_entropy

N_ITEMS = 60


def sampler_of(popularity, count, power):
    sampler = NegativeSampler(len(popularity), count)
    sampler.observe(popularity, power)
    return sampler


def example(scale: float = 1.0):
    generator = torch.Generator().manual_seed(0)
    x = (scale * torch.randn(7, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    items = torch.randn(N_ITEMS, 8, generator=generator, dtype=torch.float64).requires_grad_()
    return x, items, torch.randint(N_ITEMS, (7,), generator=generator)


def test_every_item_drawn_once_is_the_full_loss_with_its_gradients():
    x, items, targets = example()
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(1))
    got = sampled_cross_entropy(x, items, targets, order, torch.zeros(N_ITEMS))
    expected = catalogue_cross_entropy(x, items, targets)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6, check_dtype=False)
    for grad, reference in zip(
        torch.autograd.grad(got, [x, items]), torch.autograd.grad(expected, [x, items]), strict=True
    ):
        torch.testing.assert_close(grad, reference, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_many_samples_of_any_popularity_come_near_the_full_loss(power):
    x, items, targets = example()
    popularity = torch.arange(N_ITEMS) ** 2  # most draws go to few items: only the correction makes up for it
    sampler = sampler_of(popularity, 400_000, power)
    drawn = sampler.draw(torch.Generator().manual_seed(2))
    with torch.no_grad():
        got = sampled_cross_entropy(x, items, targets, drawn, sampler.log_expected[drawn])
        assert abs(float(got - catalogue_cross_entropy(x, items, targets))) < 0.01
        assert abs(float(got - sampled_cross_entropy(x, items, targets, drawn, torch.zeros(len(drawn))))) > 1


def test_the_estimate_of_the_denominator_is_unbiased_from_few_samples():
    x, items, targets = example(0.5)
    sampler = sampler_of(torch.arange(N_ITEMS), 20, 0.5)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        scores = x[:1] @ items.T
        estimates = []
        for _ in range(20_000):
            drawn = sampler.draw(generator)
            loss = sampled_cross_entropy(x[:1], items, targets[:1], drawn, sampler.log_expected[drawn])
            estimates.append((loss + scores[0, targets[0]]).exp())  # loss = log(denominator) - score of the target
        found = torch.stack(estimates)
        error = found.std() / len(found) ** 0.5
        assert abs(float(found.mean() - scores.exp().sum())) < 4 * float(error)


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_items_are_drawn_as_often_as_the_correction_says(power):
    sampler = sampler_of(torch.arange(N_ITEMS), 200_000, power)
    drawn = sampler.draw(torch.Generator().manual_seed(4))
    count, expected = torch.bincount(drawn, minlength=N_ITEMS), sampler.log_expected.exp()
    assert float(expected.sum()) == pytest.approx(200_000)
    assert bool(((count - expected).abs() < 5 * expected.sqrt()).all())


def test_bad_samplers_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sampler_of(torch.ones(3), 0, 1.0)
    with pytest.raises(ValueError, match="must not be negative"):
        sampler_of(torch.ones(3), 1, -1.0)
