"""Ranking metrics with one relevant item a user, computed from ranks and nothing else.

Where other items have exactly the target's score, a metric is its expectation when ties are broken at random: the mean
of its values over the places that the target may take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffurecsys.evaluation.ranks import ALL, Ranking, Ranks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CUTOFFS = (5, 10, 20)


def hit_rate(greater: IntArray, tied: IntArray, cutoff: int) -> FloatArray:
    """HR@K of each user: the probability that the target is among the first `cutoff`.

    Args:
        greater: items ahead of the target.
        tied: other items with its score.
        cutoff: K.
    """
    return np.clip((cutoff - greater) / (tied + 1), 0.0, 1.0)


def ndcg(greater: IntArray, tied: IntArray, cutoff: int) -> FloatArray:
    """NDCG@K of each user: 1 / log2(rank + 1) within the cutoff; the ideal DCG of a single relevant item is 1."""
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, cutoff + 2)))])  # of the first 0, 1, … places
    behind = np.minimum(greater + tied + 1, cutoff)
    return np.asarray((gains[behind] - gains[np.minimum(greater, cutoff)]) / (tied + 1))


def reciprocal_rank(greater: IntArray, tied: IntArray) -> FloatArray:
    """1 / rank of each user; its mean is the MRR over the whole catalogue."""
    last = int((greater + tied).max(initial=0)) + 1
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, last + 1))])
    several = (harmonic[greater + tied + 1] - harmonic[greater]) / (tied + 1)
    return np.where(tied == 0, 1 / (greater + 1), several)  # a difference of sums would lose digits


CUTOFF_METRICS: dict[str, Callable[[IntArray, IntArray, int], FloatArray]] = {"HR": hit_rate, "NDCG": ndcg}


def metrics_per_user(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS, ranking: Ranking = ALL) -> dict[str, FloatArray]:
    """Return every metric for every user: `{"HR@5": [users], …, "NDCG@20": [users], "MRR": [users]}`.

    Args:
        ranks: where the targets stand.
        cutoffs: the K of HR@K and NDCG@K.
        ranking: among all items, or among those that the user did not have.
    """
    greater, tied = ranks.places(ranking)
    per_user = {
        f"{name}@{cutoff}": metric(greater, tied, cutoff)
        for name, metric in CUTOFF_METRICS.items()
        for cutoff in cutoffs
    }
    return {**per_user, "MRR": reciprocal_rank(greater, tied)}


def metrics_from_ranks(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS, ranking: Ranking = ALL) -> dict[str, float]:
    """Return the means over users: `{"HR@5": …, "HR@10": …, …, "NDCG@20": …, "MRR": …}`.

    Raises:
        ValueError: there is no user.
    """
    if not len(ranks.user):
        raise ValueError("there are no ranks to average: the split holds no user")
    return {name: float(values.mean()) for name, values in metrics_per_user(ranks, cutoffs, ranking).items()}
