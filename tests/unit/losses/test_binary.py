"""Binary cross-entropy and its negatives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.packing import PackedBatch
from diffurecsys.losses.binary import binary_cross_entropy, sample_negatives


def batch_of(histories, targets, *, everywhere):
    """Pack histories and what follows each; asked everywhere, what follows is a label of every position."""
    ordered = sorted(zip(histories, targets, strict=True), key=lambda pair: len(pair[0]))
    labels = [[*history[1:], target] if everywhere else [target] for history, target in ordered]
    lengths = [len(history) for history, _ in ordered]
    return PackedBatch(
        items=torch.tensor([item for history, _ in ordered for item in history]),
        offsets=torch.tensor([0, *lengths]).cumsum(0).int(),
        lengths=tuple(lengths),
        targets=torch.tensor([item for label in labels for item in label]),
        everywhere=everywhere,
    ), [{*history, target} for history, target in ordered]


ITEMS = st.integers(0, 11)
PAIRS = st.lists(st.tuples(st.lists(ITEMS, min_size=1, max_size=9), ITEMS), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.booleans(), st.integers(1, 5))
def test_negatives_are_never_of_the_sequence(pairs, everywhere, count):
    batch, sequences = batch_of(*zip(*pairs, strict=True), everywhere=everywhere)
    drawn = sample_negatives(batch, 12, count, torch.Generator().manual_seed(0))
    assert drawn.shape == (len(batch.targets), count)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < 12
    rows_each = batch.lengths if everywhere else [1] * len(batch)
    for rows, sequence in zip(drawn.split(list(rows_each)), sequences, strict=True):
        assert not sequence & set(rows.flatten().tolist())


def test_negatives_are_uniform_among_the_others():
    batch, _ = batch_of([[0, 1, 2]], [3], everywhere=True)
    drawn = sample_negatives(batch, 10, 4000, torch.Generator().manual_seed(0)).flatten()
    counts = torch.bincount(drawn, minlength=10).double()
    assert counts[:4].sum() == 0
    # each of six items is binomial; five standard deviations
    expected = len(drawn) / 6
    assert (counts[4:] - expected).abs().max() < 5 * math.sqrt(expected * 5 / 6)


def test_the_same_seed_draws_the_same():
    batch, _ = batch_of([[0, 1], [5]], [2, 3], everywhere=True)
    first, second = (sample_negatives(batch, 50, 3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_history_of_the_whole_catalogue_is_refused():
    batch, _ = batch_of([[0], [0, 1, 1]], [1, 2], everywhere=False)
    with pytest.raises(ValueError, match="holds all 3 items"):
        sample_negatives(batch, 3, 1, torch.Generator())


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize("calibration", [0.0, 0.4, 1.0])
def test_equals_a_double_loop(calibration):
    generator = torch.Generator().manual_seed(0)
    x, items = torch.randn(4, 3, generator=generator), torch.randn(9, 3, generator=generator)
    targets, negatives = torch.tensor([0, 8, 3, 3]), torch.randint(9, (4, 2), generator=generator)
    alpha = 2 / 8
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    total = 0.0
    for row in range(4):
        positive = sigmoid(float(x[row] @ items[targets[row]])) ** beta
        lifted = math.log(positive / (1 - positive))  # the published code's score of the target
        total -= math.log(sigmoid(lifted))
        for negative in negatives[row]:
            total -= math.log(1 - sigmoid(float(x[row] @ items[negative])))
    loss = binary_cross_entropy(x, items, targets, negatives, calibration=calibration)
    assert float(loss) == pytest.approx(total / 4, rel=1e-5)


def test_large_scores_stay_finite():
    x, items = torch.full((1, 1), 1e4, requires_grad=True), torch.tensor([[-1.0], [1.0]])
    loss = binary_cross_entropy(x, items, torch.tensor([0]), torch.tensor([[1]]), calibration=0.5)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert bool(x.grad.isfinite().all())
