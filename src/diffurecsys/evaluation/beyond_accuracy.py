"""What recommendations are like besides hitting the target: coverage, concentration, popularity, diversity, overlap.

Top-K lists are int arrays `[users, K]`, best item first, without repetitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ItemArray = NDArray[np.integer]


def catalogue_coverage(items: ItemArray, n_items: int) -> float:
    """Return the share of the catalogue that is recommended to anybody."""
    return len(np.unique(items)) / n_items


def gini(items: ItemArray, n_items: int) -> float:
    """Return the Gini coefficient of how often items are recommended, over the whole catalogue.

    0: all items equally often; 1 - 1 / n_items: always the same one.
    """
    exposure = np.sort(np.bincount(items.ravel(), minlength=n_items)).astype(np.float64)
    place = np.arange(1, n_items + 1)
    return float(((2 * place - n_items - 1) * exposure).sum() / (n_items * exposure.sum()))


def mean_popularity(items: ItemArray, popularity: NDArray[np.integer]) -> float:
    """Return the mean number of interactions (`popularity`, `[n_items]`) with a recommended item."""
    return float(popularity[items].mean())


def intra_user_diversity(samples: ItemArray) -> FloatArray:
    """Return how much one user's lists differ from sample to sample, float64 `[users]`.

    Args:
        samples: `[samples, users, K]`, at least two samples.

    Returns:
        Mean Jaccard distance between the top-K sets over all pairs of samples: 0, always the same items; 1, never one
        in common.
    """
    distances = []
    for a, b in _pairs(samples):
        common = _overlap_by_depth(a, b)[:, -1]
        distances.append(1 - common / (2 * samples.shape[-1] - common))
    return np.asarray(np.mean(distances, axis=0))


def identical_sets(samples: ItemArray) -> NDArray[np.bool_]:
    """Tell for whom all samples `[samples, users, K]` hold the same top-K set, bool `[users]`."""
    ordered = np.sort(samples, axis=-1)
    return np.asarray((ordered == ordered[0]).all(axis=(0, 2)))


def rank_biased_overlap(a: ItemArray, b: ItemArray, p: float = 0.9) -> FloatArray:
    """Return the extrapolated rank-biased overlap of lists of equal length, float64 `[n]`.

    Source: Webber, Moffat, Zobel, "A similarity measure for indefinite rankings", TOIS 28 (2010), Eq. 32.

    Args:
        a: `[n, K]`.
        b: `[n, K]`.
        p: weight of deeper ranks; the first ten hold 86 % of it at 0.9.

    Returns:
        1 for equal lists, 0 for lists without common items.

    Raises:
        ValueError: shapes differ, or `p` is not within (0, 1).
    """
    if a.shape != b.shape:
        raise ValueError(f"lists must have one shape, got {a.shape} and {b.shape}")
    if not 0 < p < 1:
        raise ValueError(f"p must lie within (0, 1), got {p}")
    overlap = _overlap_by_depth(a, b)
    depth = np.arange(1, a.shape[1] + 1)
    agreement = overlap / depth
    return np.asarray(agreement[:, -1] * p ** depth[-1] + (1 - p) / p * (agreement * p**depth).sum(axis=1))


def pairwise_overlap(samples: ItemArray, p: float = 0.9) -> FloatArray:
    """Return the mean rank-biased overlap over all pairs of samples `[samples, users, K]`, float64 `[users]`."""
    return np.asarray(np.mean([rank_biased_overlap(a, b, p) for a, b in _pairs(samples)], axis=0))


def _pairs(samples: ItemArray) -> Iterator[tuple[ItemArray, ItemArray]]:
    if len(samples) < 2:
        raise ValueError(f"at least two samples are needed to compare them, got {len(samples)}")
    return combinations(samples, 2)


def _overlap_by_depth(a: ItemArray, b: ItemArray) -> NDArray[np.int64]:
    """Count common items among the first 1 … K of both lists, int64 `[n, K]`."""
    equal = a[:, :, None] == b[:, None, :]  # (n, K, K)
    user, in_a, in_b = np.nonzero(equal)
    counts = np.zeros(a.shape, dtype=np.int64)
    np.add.at(counts, (user, np.maximum(in_a, in_b)), 1)  # common from the deeper of the two places on
    return counts.cumsum(axis=1)
