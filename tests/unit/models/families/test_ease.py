"""EASE against the formula written out, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models.families import ease
from diffurecsys.models.families.ease import Ease, EaseConfig
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights

LISTS = [[0, 1, 0, 2, 4, 4], [0, 1, 3, 4, 4], [3, 3, 4, 4], [2, 1, 0, 3, 4, 3]]  # the last two are held out


def _data(lists: list[list[int]]) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items=5)
    return StudyData(store, leave_one_out(store, max_length=10))


def _weights(lists: list[list[int]], regularisation: float) -> np.ndarray:
    x = np.array([[float(item in events[:-2]) for item in range(5)] for events in lists])
    p = np.linalg.inv(x.T @ x + regularisation * np.eye(5))
    weights = -p / np.diag(p)  # B_ij = -P_ij / P_jj
    np.fill_diagonal(weights, 0)
    return weights


def _fit(**values) -> Ease:
    ranker = Ease(EaseConfig(**values), 5)
    ranker.observe(_data(LISTS))
    return ranker


@pytest.mark.parametrize("at_once", [1, 1 << 22])
def test_is_the_closed_form(at_once, monkeypatch):
    monkeypatch.setattr(ease, "PAIRS_AT_ONCE", at_once)
    weights = _weights(LISTS, 0.5)
    ranker = _fit(regularisation=0.5)
    np.testing.assert_allclose(ranker.weight.numpy(), weights, atol=1e-6)
    scores = ranker.score(pack_histories([[4], [1, 0, 1]]), torch.Generator())
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores.numpy(), [weights[4], weights[0] + weights[1]], atol=1e-6)  # 1 counts once


def test_order_and_neighbours_do_not_matter():
    ranker = _fit()
    together = ranker.score(pack_histories([[3, 1, 0], [0, 1, 3], [2]]), torch.Generator())
    assert torch.equal(together[1], together[2])
    assert torch.equal(together[1:2], ranker.score(pack_histories([[1, 3, 0]]), torch.Generator()))


def test_only_the_training_part_decides():
    changed = [[*events[:-2], 0, 2] for events in LISTS]
    other = Ease(EaseConfig(), 5)
    other.observe(_data(changed))
    assert torch.equal(other.weight, _fit().weight)


def test_saved_weights_give_the_same_scores(tmp_path):
    ranker, batch = _fit(), pack_histories([[4], [1, 0]])
    save_weights(RankerWeights("ease", 5, ranker.config, ranker.state_dict(), "id", "data", 10), tmp_path / "w")
    again = load_weights(tmp_path / "w").build()
    assert torch.equal(again.score(batch, torch.Generator()), ranker.score(batch, torch.Generator()))


def test_catalogues_beyond_the_bound_are_refused_with_what_they_would_need():
    ranker = Ease(EaseConfig(), 200_000)
    store = SequenceStore.from_lists(LISTS, n_items=200_000)
    with pytest.raises(DataError, match=r"200000 items need about 447 GiB of memory, and max_items is 20000"):
        ranker.observe(StudyData(store, leave_one_out(store, max_length=10)))  # 12 · 200000² / 2^30 = 447


@pytest.mark.parametrize("values", [{"regularisation": 0}, {"max_items": 0}])
def test_values_that_cannot_work_are_refused(values):
    with pytest.raises(ValueError, match="must be"):
        EaseConfig(**values)
