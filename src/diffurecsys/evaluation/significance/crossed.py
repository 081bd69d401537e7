"""The mean of values that vary with users and with seeds: its variance, degrees of freedom and interval.

Values `[seeds, users]` are read as a crossed two-way layout with random users and random seeds. The variance of the
mean is (MS_users + MS_seeds - MS_error) / (seeds · users), with Satterthwaite's degrees of freedom (Cornfield and
Tukey, "Average values of mean squares in factorials", 1956; the quasi-F ratio). With one seed it is the usual variance
over users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from diffurecsys.evaluation.metrics import FloatArray


@dataclass(frozen=True)
class CrossedMean:
    """A mean over users and seeds.

    Attributes:
        mean: of all values.
        error: its standard error, which counts users and, with two or more of them, seeds.
        df: degrees of freedom of the error.
    """

    mean: float
    error: float
    df: float

    def p_value(self) -> float:
        """Two-sided p of the t-test against 0; 1 where mean and error are both 0."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean / self.error), self.df))

    @property
    def t(self) -> float:
        """Mean over standard error; 0 where both are 0."""
        if self.error == 0:
            return 0.0 if self.mean == 0 else float(np.copysign(np.inf, self.mean))
        return self.mean / self.error


def crossed_mean(values: FloatArray) -> CrossedMean:
    """Average values `[seeds, users]`.

    The variance is never taken to be less than users alone or seeds alone make it.

    Raises:
        ValueError: there are fewer than two users.
    """
    n_seeds, n_users = values.shape
    if n_users < 2:
        raise ValueError(f"a standard error needs at least 2 users, got {n_users}")
    mean = float(values.mean())
    by_user = values.mean(axis=0)
    ms_users = n_seeds * float(by_user.var(ddof=1))
    if n_seeds == 1:
        return CrossedMean(mean, float(np.sqrt(ms_users / n_users)), n_users - 1)
    by_seed = values.mean(axis=1)
    ms_seeds = n_users * float(by_seed.var(ddof=1))
    total = float(((values - mean) ** 2).sum())
    df_error = (n_seeds - 1) * (n_users - 1)
    ms_error = max(0.0, total - (n_users - 1) * ms_users - (n_seeds - 1) * ms_seeds) / df_error
    candidates = [
        (ms_users + ms_seeds - ms_error, None),
        (ms_users, float(n_users - 1)),
        (ms_seeds, float(n_seeds - 1)),
    ]
    mean_square, df = max(candidates, key=lambda candidate: candidate[0])
    if mean_square <= 0:  # nothing varies
        return CrossedMean(mean, 0.0, float(n_users - 1))
    if df is None:
        parts = ms_users**2 / (n_users - 1) + ms_seeds**2 / (n_seeds - 1) + ms_error**2 / df_error
        df = mean_square**2 / parts
    return CrossedMean(mean, float(np.sqrt(mean_square / values.size)), df)
