"""STOSA's distances, its attention and the two ways of its mean stream."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.schemes import windows
from diffurecsys.data.split import leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.segments import Segments
from diffurecsys.layers.stochastic_attention import (
    StochasticLayer,
    to_covariance,
    wasserstein_distance,
    wasserstein_weights,
)
from diffurecsys.models import build_ranker
from diffurecsys.models.families.stosa import STOSAConfig

N_ITEMS = 20
CONFIG = STOSAConfig(width=8, heads=2, max_length=10, dropout=0.0, blocks=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**changes):
    return build_ranker("stosa", dataclasses.replace(CONFIG, **changes), N_ITEMS, generator())


def batch_of():
    store = SequenceStore.from_lists([[u % N_ITEMS, 3, 4, (u * 7) % N_ITEMS, 5, 6, 7] for u in range(9)], N_ITEMS)
    packer = Packer(store, windows(leave_one_out(store, max_length=10).train, 10), everywhere=True)
    return packer.pack(torch.arange(len(packer)))[0]


def test_the_distance_of_points_is_euclidean_and_of_equal_means_that_of_deviations():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0])
    nothing = torch.zeros(2)
    assert float(wasserstein_distance(a, nothing, b, nothing)) == pytest.approx(9 + 16)
    assert float(wasserstein_distance(a, torch.tensor([4.0, 9.0]), a, torch.ones(2))) == pytest.approx(1 + 4)


def test_products_of_vectors_are_distances_up_to_a_number_of_the_user():
    model = make().double().eval()
    batch = pack_histories([[1, 2, 3], [4]])
    mean, covariance = model._encode(batch, generator())
    last = Segments.of(batch).last
    item_covariance = to_covariance(model.covariance.weight)
    for row, token in enumerate(last):
        distances = wasserstein_distance(mean[token], covariance[token], model.mean.weight, item_covariance)
        own = mean[token].square().sum() + covariance[token].sum()
        scores = model.users(batch, generator()).double()[row] @ model.items().T
        torch.testing.assert_close(scores, own - distances, atol=1e-5, rtol=1e-5)


def test_weights_equal_a_double_loop():
    query, key = torch.randn(2, 4, 3, generator=generator(), dtype=torch.float64).unbind()
    root_query, root_key = torch.rand(2, 4, 3, generator=generator(1), dtype=torch.float64).unbind()
    weights = wasserstein_weights(query, root_query, key, root_key)
    for t in range(4):
        scores = [
            math.exp(-float((query[t] - key[s]).square().sum() + (root_query[t] - root_key[s]).square().sum()) / 3**0.5)
            for s in range(t + 1)
        ]
        expected = [score / sum(scores) for score in scores] + [0.0] * (3 - t)
        assert weights[t].tolist() == pytest.approx(expected)


def test_of_one_item_attention_returns_its_values():
    layer = StochasticLayer(4, 2, 0.0, changes_mean=True)
    streams = torch.randn(3, 6 * 4, generator=generator())
    covariance, mean = layer._attend(streams, 6, Segments.of(pack_histories([[1], [2], [3]])))
    assert torch.equal(covariance, streams[:, 16:20])
    assert torch.equal(mean, streams[:, 20:])


def test_as_released_the_mean_is_the_last_embedded_item():
    batch = pack_histories([[1, 2, 3], [9, 8, 3]])
    for propagate, equal in ((False, True), (True, False)):
        mean, covariance = make(propagate_mean=propagate).eval()._encode(batch, generator())
        last = Segments.of(batch).last
        assert torch.equal(mean[last[0]], mean[last[1]]) == equal
        assert not torch.equal(covariance[last[0]], covariance[last[1]])


def test_no_position_sees_a_later_one():
    model, batch = make().eval(), batch_of()
    changed = dataclasses.replace(batch, items=batch.items.clone())
    changed.items[-2] = (changed.items[-2] + 1) % N_ITEMS
    for one, other in zip(model._encode(batch, generator()), model._encode(changed, generator()), strict=True):
        same = (one == other).all(1)
        assert same[:-2].all()
        assert not same[-2:].any()


def test_equal_items_lose_log_two_a_position():
    model, batch = make(margin=0.0), batch_of()
    with torch.no_grad():
        model.mean.weight.fill_(0.3)
        model.covariance.weight.fill_(0.3)
    assert float(model.loss(batch, generator()).detach()) == pytest.approx(math.log(2))


def test_cross_entropy_is_a_softmax_of_negative_distances():
    model, batch = make(loss="cross_entropy"), batch_of()
    mean, covariance = model._encode(batch, generator())
    item_covariance = to_covariance(model.covariance.weight)
    scores = -wasserstein_distance(mean[:, None], covariance[:, None], model.mean.weight, item_covariance)
    expected = F.cross_entropy(scores, batch.targets)
    torch.testing.assert_close(model.loss(batch, generator()), expected, atol=1e-5, rtol=1e-5)
