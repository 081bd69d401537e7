"""The mean of values that vary with users and with seeds: its error, test and interval.

Values `[seeds, users]` are read as a crossed two-way layout with random users and random seeds (Cornfield and Tukey,
"Average values of mean squares in factorials", Annals of Mathematical Statistics 27, 1956): the variance of the mean is
(MS_users + MS_seeds - MS_interaction) / (seeds · users). How it is tested says `two_variances`.

Seeds count from three on. The variance of two values is known with one degree of freedom: a test that takes it
seriously rejects nothing, and one that does not is wrong. With fewer the users' mean is tested, which speaks of these
trained models alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, stats

from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.two_variances import Parts, half_width, seeds_share, two_sided_p

FEWEST_SEEDS = 3  # with fewer there is no test over seeds
LEVEL = 0.95  # of the interval that `df` is of


@dataclass(frozen=True)
class CrossedMean:
    """A mean over users and seeds.

    Attributes:
        mean: of all values.
        parts: of its variance, arrays without axes.
    """

    mean: float
    parts: Parts

    @property
    def counts_seeds(self) -> bool:
        """Whether error, test and interval are over seeds, too."""
        return self.parts.seeds_df > 0

    @property
    def error(self) -> float:
        """Estimated standard error."""
        return float(np.sqrt(self.parts.variance))

    @property
    def t(self) -> float:
        """Mean over standard error; 0 where both are 0."""
        if self.error == 0:
            return 0.0 if self.mean == 0 else float(np.copysign(np.inf, self.mean))
        return self.mean / self.error

    @cached_property
    def df(self) -> float:
        """Degrees of freedom with which Student's t has this 95 % interval: between the seeds' and the users'."""
        parts = self.parts
        if not parts.seeds_df or self.error == 0:
            return float(parts.users_df)
        wanted = self._usual_half_width / self.error
        if wanted <= stats.t.ppf((1 + LEVEL) / 2, parts.users_df):
            return float(parts.users_df)
        if wanted >= stats.t.ppf((1 + LEVEL) / 2, parts.seeds_df):
            return float(parts.seeds_df)
        return float(
            optimize.brentq(
                lambda df: stats.t.ppf((1 + LEVEL) / 2, df) - wanted, parts.seeds_df, parts.users_df, rtol=1e-4
            )
        )

    def p_value(self, expected: float = 0.0) -> float:
        """Two-sided p of `expected`; 1 where the mean is just that."""
        return float(two_sided_p(np.asarray(self.mean - expected), self.parts))

    def half_width(self, confidence: float) -> float:
        """Half the length of the confidence interval."""
        return self._usual_half_width if confidence == LEVEL else half_width(confidence, self.parts)

    @cached_property
    def _usual_half_width(self) -> float:
        return half_width(LEVEL, self.parts)

    def users_alone(self) -> CrossedMean:
        """Return the same mean as of these trained models: seeds taken as fixed."""
        return CrossedMean(self.mean, _of_users(float(self.parts.users), self.parts.users_df))

    def share_of_seeds(self, confidence: float) -> tuple[float, float, float]:
        """Share of the mean's variance that seeds make, and its interval; not a number where they do not count."""
        if not self.counts_seeds:
            return (float("nan"),) * 3
        share, low, high = (float(one) for one in seeds_share(confidence, self.parts))
        return share, low, high


def crossed_mean(values: FloatArray) -> CrossedMean:
    """Average values `[seeds, users]`; fewer than three seeds are taken as fixed.

    Raises:
        ValueError: there are fewer than two users.
    """
    n_seeds, n_users = values.shape
    if n_users < 2:
        raise ValueError(f"a standard error needs at least 2 users, got {n_users}")
    mean, by_user = float(values.mean()), values.mean(axis=0)
    users = float(by_user.var(ddof=1)) / n_users
    if n_seeds < FEWEST_SEEDS:
        return CrossedMean(mean, _of_users(users, n_users - 1))
    by_seed = values.mean(axis=1)
    crossed = values - by_seed[:, None] - by_user + mean
    interaction = float((crossed**2).sum()) / ((n_seeds - 1) * (n_users - 1))
    parts = Parts(
        users=np.asarray(users),
        seeds=np.asarray(float(by_seed.var(ddof=1)) / n_seeds),
        interaction=np.asarray(interaction / (n_seeds * n_users)),
        users_df=n_users - 1,
        seeds_df=n_seeds - 1,
    )
    return CrossedMean(mean, parts)


def _of_users(variance: float, df: int) -> Parts:
    return Parts(np.asarray(variance), np.asarray(0.0), np.asarray(0.0), df, 0)
