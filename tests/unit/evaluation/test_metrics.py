"""Metrics computed by hand."""

from __future__ import annotations

from math import log2
from pathlib import Path

import numpy as np
import pytest

from diffurecsys.evaluation.metrics import metrics_from_ranks, metrics_per_user
from diffurecsys.evaluation.ranks import Ranks


def ranks_of(*rank: float) -> Ranks:
    filler = np.zeros(len(rank), dtype=np.int64)
    return Ranks(filler, filler, np.array(rank, dtype=np.float64), filler, filler, filler)


def test_metrics_by_hand():
    metrics = metrics_from_ranks(ranks_of(1, 3, 11, 200), cutoffs=(5, 20))
    assert metrics == pytest.approx(
        {
            "HR@5": 2 / 4,
            "HR@20": 3 / 4,
            "NDCG@5": (1 / log2(2) + 1 / log2(4)) / 4,
            "NDCG@20": (1 / log2(2) + 1 / log2(4) + 1 / log2(12)) / 4,
            "MRR": (1 / 1 + 1 / 3 + 1 / 11 + 1 / 200) / 4,
        }
    )


def test_the_cutoff_itself_counts_and_half_a_rank_beyond_does_not():
    per_user = metrics_per_user(ranks_of(5, 5.5), cutoffs=(5,))
    assert per_user["HR@5"].tolist() == [1.0, 0.0]
    assert per_user["NDCG@5"].tolist() == [pytest.approx(1 / log2(6)), 0.0]


def test_no_user_is_an_error():
    with pytest.raises(ValueError, match="no ranks"):
        metrics_from_ranks(ranks_of())


def test_agrees_with_the_published_code():
    golden = np.load(Path(__file__).parents[2] / "parity" / "metrics.npz")
    scores, labels = golden["scores"], golden["labels"].astype(int).ravel()
    of_label = scores[np.arange(len(labels)), labels][:, None]
    rank = 1.0 + (scores > of_label).sum(1)
    metrics = metrics_from_ranks(ranks_of(*rank), cutoffs=[int(k) for k in golden["ks"]])
    for k, hr, ndcg in zip(golden["ks"], golden["hr"], golden["ndcg"], strict=True):
        assert metrics[f"HR@{k}"] == pytest.approx(float(hr), abs=1e-6)
        assert metrics[f"NDCG@{k}"] == pytest.approx(float(ndcg), abs=1e-6)
