"""Learning rates step by step against formulas, and averages of weights against sums."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diffurecsys.models.base import Ranker, RankerConfig
from diffurecsys.training import TrainingConfig
from diffurecsys.training.optimisation import LazyAdam, WeightAverage, make_optimiser, make_scheduler

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


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("lazy_adam", LazyAdam)],
)
def test_the_optimiser_is_the_one_asked_for(name, kind):
    optimiser = make_optimiser(Tiny(), dataclasses.replace(CONFIG, optimiser=name, beta2=0.98, weight_decay=0.1))
    assert type(optimiser) is kind
    assert optimiser.defaults["betas"] == (0.9, 0.98)
    assert optimiser.defaults["weight_decay"] == 0.1


def looked_up(optimiser: torch.optim.Optimizer, table: nn.Parameter, steps: list[list[int]]) -> None:
    """Make steps whose losses look up rows, some of them twice."""
    draw = torch.Generator().manual_seed(3)
    for rows in steps:
        optimiser.zero_grad()
        wanted = torch.randn(len(rows), table.shape[1], generator=draw)
        F.embedding(torch.tensor(rows), table, sparse=True).sub(wanted).square().sum().backward()
        optimiser.step()


def lazy_table(decay: float = 0.0) -> tuple[LazyAdam, nn.Parameter]:
    table = nn.Parameter(torch.arange(15.0).view(5, 3))
    return LazyAdam([table], lr=0.1, betas=(0.9, 0.99), weight_decay=decay, fused=True), table


STEPS_OVER_ROWS = [[0, 3], [3, 3, 1], [4], [0, 1, 3]]


def test_lazy_adam_moves_rows_as_pytorchs_own_for_sparse_gradients_does():
    optimiser, table = lazy_table()
    reference = nn.Parameter(table.detach().clone())
    looked_up(optimiser, table, STEPS_OVER_ROWS)
    looked_up(torch.optim.SparseAdam([reference], lr=0.1, betas=(0.9, 0.99)), reference, STEPS_OVER_ROWS)
    torch.testing.assert_close(table, reference, rtol=1e-6, atol=1e-6)
    assert table[2].tolist() == [6.0, 7.0, 8.0]  # never looked up


def test_lazy_adam_is_adam_where_every_row_is_looked_up():
    optimiser, table = lazy_table(decay=0.01)
    reference = nn.Parameter(table.detach().clone())
    plain = torch.optim.Adam([reference], lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)
    draw = torch.Generator().manual_seed(3)
    for _ in range(5):
        wanted = torch.randn(5, 3, generator=draw)
        F.embedding(torch.arange(5), table, sparse=True).sub(wanted).square().sum().backward()
        reference.sub(wanted).square().sum().backward()
        for one in (optimiser, plain):
            one.step()
            one.zero_grad()
    torch.testing.assert_close(table, reference, rtol=1e-5, atol=1e-6)


def test_lazy_adam_goes_on_from_its_state_to_the_last_bit():
    whole, table = lazy_table(decay=0.01)
    looked_up(whole, table, STEPS_OVER_ROWS)
    looked_up(whole, table, STEPS_OVER_ROWS)
    first, half = lazy_table(decay=0.01)
    looked_up(first, half, STEPS_OVER_ROWS)
    second = LazyAdam([half], lr=0.1, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    second.load_state_dict(first.state_dict())
    looked_up(second, half, STEPS_OVER_ROWS)
    assert torch.equal(half, table)


def test_lazy_adam_moves_all_else_as_adam_does():
    (weight, other), moved = (nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2)), []
    for parameter, kind in ((weight, LazyAdam), (other, torch.optim.Adam)):
        optimiser = kind([parameter], lr=0.1, fused=True)
        for _ in range(3):
            optimiser.zero_grad()
            parameter.square().sum().backward()
            optimiser.step()
        moved.append(parameter.tolist())
    assert moved[0] == moved[1]


def test_lazy_adam_clips_nothing():
    with pytest.raises(ValueError, match="clip_norm must be null with optimiser lazy_adam, got 5"):
        TrainingConfig(optimiser="lazy_adam", clip_norm=5.0)


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
