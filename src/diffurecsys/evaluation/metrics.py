"""Ranking metrics with one relevant item a user, computed from ranks and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffurecsys.evaluation.ranks import Ranks

FloatArray = NDArray[np.float64]


def hit_rate(rank: FloatArray, cutoff: int) -> FloatArray:
    """HR@K of each user: 1 where the target is among the first `cutoff`."""
    return (rank <= cutoff).astype(np.float64)


def ndcg(rank: FloatArray, cutoff: int) -> FloatArray:
    """NDCG@K of each user: 1 / log2(rank + 1) within the cutoff; the ideal DCG of a single relevant item is 1."""
    return np.where(rank <= cutoff, 1 / np.log2(rank + 1), 0.0)


def reciprocal_rank(rank: FloatArray) -> FloatArray:
    """1 / rank of each user; its mean is the MRR over the whole catalogue."""
    return np.asarray(1 / rank)


CUTOFF_METRICS: dict[str, Callable[[FloatArray, int], FloatArray]] = {"HR": hit_rate, "NDCG": ndcg}


def metrics_per_user(ranks: Ranks, cutoffs: Sequence[int] = (5, 10, 20)) -> dict[str, FloatArray]:
    """Return every metric for every user: `{"HR@5": [users], …, "NDCG@20": [users], "MRR": [users]}`."""
    per_user = {
        f"{name}@{cutoff}": metric(ranks.rank, cutoff) for name, metric in CUTOFF_METRICS.items() for cutoff in cutoffs
    }
    return {**per_user, "MRR": reciprocal_rank(ranks.rank)}


def metrics_from_ranks(ranks: Ranks, cutoffs: Sequence[int] = (5, 10, 20)) -> dict[str, float]:
    """Return the means over users: `{"HR@5": …, "HR@10": …, …, "NDCG@20": …, "MRR": …}`.

    Raises:
        ValueError: there is no user.
    """
    if not len(ranks.rank):
        raise ValueError("there are no ranks to average: the split holds no user")
    return {name: float(values.mean()) for name, values in metrics_per_user(ranks, cutoffs).items()}
