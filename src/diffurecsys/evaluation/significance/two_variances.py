"""The Behrens-Fisher test of a mean whose error has two parts: one well known, one from a handful of seeds.

A difference of two rankers varies with thousands of users and with three or five training seeds. What users make of it
is known; what seeds make is estimated with two or four degrees of freedom, and an estimate near nil by luck would let a
t-test count users alone. Here the seeds' variance is not taken for its estimate: given the estimate b with ν degrees of
freedom, it is b · ν / χ²(ν), and p is the mean over that distribution (Behrens 1929; Fisher, "The fiducial argument in
statistical inference", Annals of Eugenics 6, 1935; as a generalised p: Tsui and Weerahandi, Journal of the American
Statistical Association 84, 1989). It is Student's t over users where seeds do not matter and Student's t over seeds
where users do not; in between it rejects a true null less often than said (Robinson, "Properties of Student's t and of
the Behrens-Fisher solution to the two means problem", Annals of Statistics 4, 1976). That holds at every level, so also
at those that Holm's correction asks for.

Functions take and return arrays of one shape, so that simulations run them on many studies at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special, stats

from diffurecsys.evaluation.metrics import FloatArray

NODES = 100  # of the integral over χ²
NEGLIGIBLE = 1e-16  # probability beyond either end of them


@dataclass(frozen=True)
class Parts:
    """Estimated variance of means, by source; arrays of one shape.

    Attributes:
        users: what users make of the mean, their interaction with seeds included.
        seeds: variance of the seeds' means over their number; 0 where there are no seeds to count.
        interaction: what `seeds` would be without any effect of seeds: a lower bound.
        users_df: degrees of freedom of `users`.
        seeds_df: degrees of freedom of `seeds`; 0 where there are none to count.
    """

    users: FloatArray
    seeds: FloatArray
    interaction: FloatArray
    users_df: int
    seeds_df: int

    @property
    def variance(self) -> FloatArray:
        """Estimated variance of the mean, never less than users alone make it."""
        return np.asarray(self.users + np.maximum(0.0, self.seeds - self.interaction))


@cache
def _inverse_chi_squares(df: int) -> tuple[FloatArray, FloatArray]:
    """Values of df / χ²(df) and their weights, which sum to 1: the trapezoidal rule in log χ², a smooth density."""
    low, high = np.log([stats.chi2.ppf(NEGLIGIBLE, df), stats.chi2.isf(NEGLIGIBLE, df)])
    logarithms = np.linspace(float(low), float(high), NODES)
    weights = np.exp(stats.chi2.logpdf(np.exp(logarithms), df) + logarithms)
    return df * np.exp(-logarithms), weights / weights.sum()


def two_sided_p(distance: FloatArray, parts: Parts) -> FloatArray:
    """Return the probability of a mean at least so far from its expectation.

    Given the seeds' variance the mean is taken to have Student's distribution with the users' degrees of freedom, not
    the normal one: exact where users alone count, and more careful with few users.

    Args:
        distance: of the mean from what is tested, `[…]`.
        parts: of its variance, `[…]`.
    """
    apart = np.abs(np.asarray(distance, dtype=np.float64))
    if parts.seeds_df:
        factors, weights = _inverse_chi_squares(parts.seeds_df)
        excess = np.asarray(parts.seeds)[..., None] * factors - np.asarray(parts.interaction)[..., None]
        variance = np.asarray(parts.users)[..., None] + np.maximum(0.0, excess)
    else:
        weights, variance = np.ones(1), np.asarray(parts.users)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(parts.users_df, -apart[..., None] / np.sqrt(variance)) @ weights
    return np.where(apart == 0, 1.0, p)


def half_width(confidence: float, parts: Parts) -> float:
    """Return how far from the mean `two_sided_p` falls to 1 - `confidence`: half the length of its interval.

    Args:
        confidence: of the interval.
        parts: of one mean's variance.
    """
    tail = (1 - confidence) / 2
    users = float(np.sqrt(parts.users) * stats.t.isf(tail, parts.users_df))
    if not parts.seeds_df or parts.seeds == 0:
        return users
    both = float(np.sqrt(parts.users + parts.seeds) * stats.t.isf(tail, parts.seeds_df))

    def missing(width: float) -> float:
        return float(two_sided_p(np.asarray(width), parts)) - 2 * tail

    # Student's t with the fewer degrees of freedom bounds it (Mickey and Brown 1966); doubled for the integral's error
    return float(optimize.brentq(missing, users * (1 - 1e-9), 2 * both, rtol=1e-9))


def seeds_share(confidence: float, parts: Parts) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return which share of the mean's variance seeds make: estimate, and interval of the χ² of their mean square."""

    def share(seeds: FloatArray) -> FloatArray:
        excess = np.maximum(0.0, seeds - parts.interaction)
        total = parts.users + excess
        return np.divide(excess, total, out=np.zeros_like(total), where=total > 0)

    df = parts.seeds_df
    low, high = (df / stats.chi2.ppf(tail, df) for tail in ((1 + confidence) / 2, (1 - confidence) / 2))
    return share(parts.seeds), share(parts.seeds * low), share(parts.seeds * high)
