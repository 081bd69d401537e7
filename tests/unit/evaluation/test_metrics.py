"""Metrics computed by hand."""

from __future__ import annotations

from math import log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.evaluation.metrics import (
    hit_rate,
    metrics_from_ranks,
    metrics_per_user,
    ndcg,
    reciprocal_rank,
)
from diffurecsys.evaluation.ranks import ALL, UNSEEN, Ranks


def ranks_of(greater: list[int], tied: list[int] | None = None, unseen: list[int] | None = None) -> Ranks:
    filler = np.zeros(len(greater), dtype=np.int64)

    def array(values):
        return filler if values is None else np.array(values, dtype=np.int64)

    return Ranks(
        user=filler,
        target=filler,
        greater=array(greater),
        tied=array(tied),
        greater_unseen=array(unseen),
        tied_unseen=filler,
        history_length=filler,
        target_popularity=filler,
    )


def one(metric, greater: int, tied: int, *cutoff: int) -> float:
    return float(metric(np.array([greater]), np.array([tied]), *cutoff)[0])


def test_metrics_by_hand():
    metrics = metrics_from_ranks(ranks_of([0, 2, 10, 199]), cutoffs=(5, 20))
    assert metrics == pytest.approx(
        {
            "HR@5": 2 / 4,
            "HR@20": 3 / 4,
            "NDCG@5": (1 / log2(2) + 1 / log2(4)) / 4,
            "NDCG@20": (1 / log2(2) + 1 / log2(4) + 1 / log2(12)) / 4,
            "MRR": (1 / 1 + 1 / 3 + 1 / 11 + 1 / 200) / 4,
        }
    )


def test_the_cutoff_itself_counts_and_the_place_after_it_does_not():
    per_user = metrics_per_user(ranks_of([4, 5]), cutoffs=(5,))
    assert per_user["HR@5"].tolist() == [1.0, 0.0]
    assert per_user["NDCG@5"].tolist() == [pytest.approx(1 / log2(6)), 0.0]


def test_of_nine_equal_items_the_target_is_among_the_first_five_five_times_of_nine():
    assert one(hit_rate, 0, 8, 5) == pytest.approx(5 / 9)
    assert one(ndcg, 0, 8, 5) == pytest.approx(
        (1 / log2(2) + 1 / log2(3) + 1 / log2(4) + 1 / log2(5) + 1 / log2(6)) / 9
    )
    assert one(reciprocal_rank, 0, 8) == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6 + 1 / 7 + 1 / 8 + 1 / 9) / 9
    )


def test_ties_across_the_cutoff():
    # three ahead, two beside it: the places 4, 5 and 6
    assert one(hit_rate, 3, 2, 5) == pytest.approx(2 / 3)
    assert one(ndcg, 3, 2, 5) == pytest.approx((1 / log2(5) + 1 / log2(6)) / 3)
    assert one(reciprocal_rank, 3, 2) == pytest.approx((1 / 4 + 1 / 5 + 1 / 6) / 3)


def test_ties_beyond_the_cutoff_are_worth_nothing():
    assert one(hit_rate, 5, 3, 5) == 0
    assert one(ndcg, 5, 3, 5) == 0


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 15))
def test_under_ties_a_metric_is_the_mean_over_all_orders(greater, tied, cutoff):
    places = range(greater + 1, greater + tied + 2)
    assert one(hit_rate, greater, tied, cutoff) == pytest.approx(np.mean([p <= cutoff for p in places]))
    assert one(ndcg, greater, tied, cutoff) == pytest.approx(
        np.mean([1 / log2(p + 1) if p <= cutoff else 0 for p in places])
    )
    assert one(reciprocal_rank, greater, tied) == pytest.approx(np.mean([1 / p for p in places]))


def test_a_single_place_in_a_large_catalogue_loses_no_digit():
    assert one(reciprocal_rank, 10**7, 0) == 1 / (10**7 + 1)


def test_each_ranking_has_its_metrics():
    ranks = ranks_of([7, 7], unseen=[0, 4])
    assert metrics_from_ranks(ranks, (5,), ALL)["HR@5"] == 0
    assert metrics_from_ranks(ranks, (5,), UNSEEN) == pytest.approx(
        {"HR@5": 1.0, "NDCG@5": (1 / log2(2) + 1 / log2(6)) / 2, "MRR": (1 + 1 / 5) / 2}
    )
    assert metrics_from_ranks(ranks, (5,)) == metrics_from_ranks(ranks, (5,), ALL)


def test_no_user_is_an_error():
    with pytest.raises(ValueError, match="no ranks"):
        metrics_from_ranks(ranks_of([]))
    assert all(len(values) == 0 for values in metrics_per_user(ranks_of([])).values())


def test_agrees_with_the_published_code():
    golden = np.load(Path(__file__).parents[2] / "parity" / "metrics.npz")
    scores, labels = golden["scores"], golden["labels"].astype(int).ravel()
    of_label = scores[np.arange(len(labels)), labels][:, None]
    metrics = metrics_from_ranks(ranks_of((scores > of_label).sum(1)), cutoffs=[int(k) for k in golden["ks"]])
    for k, hr, gain in zip(golden["ks"], golden["hr"], golden["ndcg"], strict=True):
        assert metrics[f"HR@{k}"] == pytest.approx(float(hr), abs=1e-6)
        assert metrics[f"NDCG@{k}"] == pytest.approx(float(gain), abs=1e-6)
