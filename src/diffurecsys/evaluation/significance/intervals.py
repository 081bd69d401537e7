"""Confidence intervals of means over users and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.crossed import crossed_mean


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, and how many users and seeds it is over.

    With fewer than three seeds the interval counts users alone.
    """

    mean: float
    low: float
    high: float
    n_users: int
    n_seeds: int


def mean_interval(values: FloatArray, confidence: float = 0.95) -> Interval:
    """Return the mean of values `[seeds, users]` with the interval of `crossed_mean`.

    Raises:
        ValueError: there are fewer than two users.
    """
    found = crossed_mean(values)
    half = found.half_width(confidence)
    n_seeds, n_users = values.shape
    return Interval(found.mean, found.mean - half, found.mean + half, n_users, n_seeds)
