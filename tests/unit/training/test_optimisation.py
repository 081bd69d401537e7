"""Learning rates step by step against formulas, and averages of weights against sums."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from diffurecsys.models.base import Ranker, RankerConfig
from diffurecsys.training import TrainingConfig
from diffurecsys.training.optimisation import WeightAverage, make_optimiser, make_scheduler

CONFIG = TrainingConfig(epochs=6, learning_rate=0.1, lr_schedule="constant")
STEPS = 5  # an epoch


class Tiny(Ranker):
    def __init__(self):
        super().__init__(RankerConfig(), 3)
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("counted", torch.tensor(7.0))


class TwoRates(Tiny):
    def __init__(self):
        super().__init__()
        self.other = nn.Parameter(torch.tensor([3.0]))

    def parameter_groups(self):
        return [{"params": [self.weight]}, {"params": [self.other], "lr": 0.5, "weight_decay": 0.0}]


def rates(ranker: Ranker | None = None, **changes) -> list[list[float]]:
    """Rates of every group, in force at every step of all epochs."""
    config = dataclasses.replace(CONFIG, **changes)
    optimiser = make_optimiser(ranker or Tiny(), config)
    scheduler, found = make_scheduler(optimiser, config, steps=STEPS), []
    for _ in range(config.epochs * STEPS):
        found.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        scheduler.step()
    return found


def test_a_constant_rate_stays():
    assert rates() == [[0.1]] * 30


@pytest.mark.parametrize("every", [1, 2, 4])
def test_steps_are_those_of_pytorchs_own_scheduler(every):
    reference = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(reference, step_size=every, gamma=0.3)
    expected = []
    for _ in range(CONFIG.epochs):
        expected += [[reference.param_groups[0]["lr"]]] * STEPS
        reference.step()
        scheduler.step()  # at the end of the epoch
    found = rates(lr_schedule="step", lr_decay_epoch=every, lr_decay=0.3)
    assert found == [pytest.approx(rate) for rate in expected]


def test_warm_up_rises_linearly_to_the_rate():
    found = [rate for (rate,) in rates(warmup_steps=8)]
    assert found[:8] == pytest.approx([0.1 * step / 8 for step in range(1, 9)])
    assert set(found[8:]) == {0.1}


def test_the_cosine_falls_from_the_rate_to_nothing_over_all_epochs():
    found = [rate for (rate,) in rates(lr_schedule="cosine")]
    assert found == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 30)) for step in range(30)])
    assert found[15] == pytest.approx(0.05)


def test_warm_up_multiplies_the_course():
    with_warmup = rates(lr_schedule="cosine", warmup_steps=3)
    without = rates(lr_schedule="cosine")
    expected = [[min(1, (step + 1) / 3) * rate for rate in at_step] for step, at_step in enumerate(without)]
    assert with_warmup == [pytest.approx(at_step) for at_step in expected]


def test_groups_keep_their_own_rates_and_decays():
    assert rates(TwoRates(), lr_schedule="step", lr_decay_epoch=1, lr_decay=0.5)[STEPS] == pytest.approx([0.05, 0.25])
    groups = make_optimiser(TwoRates(), dataclasses.replace(CONFIG, weight_decay=0.01)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_one_asked_for(name, kind):
    optimiser = make_optimiser(Tiny(), dataclasses.replace(CONFIG, optimiser=name, beta2=0.98, weight_decay=0.1))
    assert type(optimiser) is kind
    assert optimiser.defaults["betas"] == (0.9, 0.98)
    assert optimiser.defaults["weight_decay"] == 0.1


def averaged(average: WeightAverage, ranker: Ranker) -> list[float]:
    with average.swapped_in():
        return ranker.weight.tolist()


def test_the_average_is_the_exponential_mean_and_gives_the_weights_back():
    ranker = Tiny()
    average, expected = WeightAverage(ranker, 0.9), None
    for step in range(4):
        ranker.weight.data = torch.tensor([1.0 + step, 2.0 * step])
        average.update()
        now = [1.0 + step, 2.0 * step]
        expected = now if expected is None else [0.9 * e + 0.1 * n for e, n in zip(expected, now, strict=True)]
    assert averaged(average, ranker) == pytest.approx(expected)
    assert ranker.weight.tolist() == [4.0, 6.0]


def test_the_weights_come_back_from_a_block_that_fails():
    ranker = Tiny()
    average = WeightAverage(ranker, 0.5)
    average.update()
    ranker.weight.data = torch.tensor([9.0, 9.0])
    with pytest.raises(RuntimeError), average.swapped_in():
        raise RuntimeError
    assert ranker.weight.tolist() == [9.0, 9.0]


def test_a_loaded_average_goes_on_bit_for_bit():
    def run(ranker, average, steps):
        for step in steps:
            ranker.weight.data = torch.tensor([math.sin(step), 1 / (1 + step)])
            average.update()

    whole, first, second = Tiny(), Tiny(), Tiny()
    unbroken, before, after = WeightAverage(whole, 0.7), WeightAverage(first, 0.7), WeightAverage(second, 0.7)
    run(whole, unbroken, range(6))
    run(first, before, range(3))
    after.load_state(before.state())
    run(second, after, range(3, 6))
    assert averaged(after, second) == averaged(unbroken, whole)
