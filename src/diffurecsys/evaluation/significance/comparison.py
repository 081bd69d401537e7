"""Tests of differences between models that pair users, the ones to trust.

A difference d[s, u] is the model's metric less the reference's for user u under training seed s. Differences vary with
users and with seeds, and both count:

- **t-test** (`t`, `df`, `p_t`): of the mean of d, users crossed with seeds (see `crossed`). With one seed the paired
  t-test over users, which speaks of these trained models alone.
- **Bootstrap interval** (`low`, `high`): users and seeds are drawn with replacement independently (the pigeonhole
  bootstrap of Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). Percentile interval, with
  percentiles moved outwards as t with `df` degrees of freedom is wider than normal (Hesterberg, "What teachers should
  know about the bootstrap", The American Statistician 69, 2015).
- **Randomisation test over users** (`p_randomisation_users`): signs of the users' seed-averaged differences are drawn.
  It asks whether these trained models differ, and nothing about training them again.
- **Randomisation test** (`p_randomisation`): also relabels the runs of both models at random. With n seeds each it
  hardly goes below 1 / C(2n, n), 0.004 for five seeds and 0.17 for two. Against a reference without seeds the signs of
  the seeds' mean differences are drawn instead, which hardly goes below 2^-n.
- **Effect size** (`effect_size`): Cohen's d_z, mean over standard deviation of the users' seed-averaged differences.
- **Holm** (`p_holm`): `p_t` corrected for all rows of the table, `family_size` of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from diffurecsys.columns import MODEL
from diffurecsys.evaluation.leaderboard import METRIC, N_SEEDS
from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.crossed import CrossedMean, crossed_mean
from diffurecsys.evaluation.significance.holm import holm
from diffurecsys.evaluation.significance.resampling import draw_exchanges, draw_means, draw_seed_weights
from diffurecsys.evaluation.significance.scores import ModelScores, Pairs, choose_pairs

REFERENCE = "reference"
TOLERANCE = 1e-6  # of float32 sums: a draw this close to the observed difference counts as as large


def compare_models(
    scores: Sequence[ModelScores],
    *,
    pairs: Pairs | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare models pair by pair on every metric.

    Seed s of one model is paired with seed s of the other; of different numbers of seeds the first ones are taken. A
    ranker that does not train is compared with each seed of the other.

    Args:
        scores: all models, of the same users.
        pairs: (model, reference); None is all pairs.
        n_resamples: draws of the bootstrap and of the randomisation tests.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        One row a pair and metric: model, reference, metric, n_users, n_seeds, mean_model, mean_reference, difference,
        low, high, relative_difference, relative_low, relative_high (fractions of mean_reference, missing where that is
        0), effect_size, t, df, p_t, p_randomisation, p_randomisation_users, p_holm, family_size.

    Raises:
        ValueError: models that cannot be compared, or fewer than two users.
    """
    chosen = choose_pairs(scores, pairs)
    by_name = {score.model: score for score in scores}
    rng = np.random.default_rng(seed)
    resampled, signed = draw_means(scores, n_resamples, rng)
    draws = _SeedDraws(n_resamples, rng)
    rows = []
    for model, reference in chosen:
        ours, theirs = by_name[model], by_name[reference]
        n_seeds = _common_seeds(ours, theirs)
        boot = _difference(resampled[model], resampled[reference], n_seeds)
        flipped = _difference(signed[model], signed[reference], n_seeds).mean(axis=1)
        bootstrap = np.einsum("rs,rsm->rm", draws.weights(n_seeds), boot)
        for column, metric in enumerate(ours.values):
            a, b = ours.values[metric], theirs.values[metric]
            found = crossed_mean(_paired(a, n_seeds) - _paired(b, n_seeds))
            runs = draws.relabelled(a[:n_seeds].mean(axis=1), b[:n_seeds].mean(axis=1))
            rows.append(
                {
                    MODEL: model,
                    REFERENCE: reference,
                    METRIC: metric,
                    "n_users": a.shape[1],
                    N_SEEDS: n_seeds,
                    **_size(a[:n_seeds], b[:n_seeds], _interval(bootstrap[:, column], found, confidence)),
                    "t": found.t,
                    "df": found.df,
                    "p_t": found.p_value(),
                    "p_randomisation": _p_value(found.mean, flipped[:, column] + runs),
                    "p_randomisation_users": _p_value(found.mean, flipped[:, column]),
                }
            )
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_t"])
    table["family_size"] = len(table)
    return table


class _SeedDraws:
    """Draws over seeds, made once for each number of seeds."""

    def __init__(self, n_resamples: int, rng: np.random.Generator) -> None:
        self._n_resamples, self._rng = n_resamples, rng
        self._weights: dict[int, FloatArray] = {}
        self._exchanges: dict[int, FloatArray] = {}
        self._signs: dict[int, FloatArray] = {}

    def weights(self, n_seeds: int) -> FloatArray:
        """Bootstrap weights, `[draws, seeds]`."""
        if n_seeds not in self._weights:
            self._weights[n_seeds] = draw_seed_weights(n_seeds, self._n_resamples, self._rng)
        return self._weights[n_seeds]

    def relabelled(self, ours: FloatArray, theirs: FloatArray) -> FloatArray:
        """Differences of means `[draws]` after relabelling runs with these means; 0 where there is one run each."""
        n_seeds = max(len(ours), len(theirs))
        if n_seeds == 1:
            return np.zeros(self._n_resamples)
        if len(ours) == len(theirs):
            if n_seeds not in self._exchanges:
                self._exchanges[n_seeds] = draw_exchanges(n_seeds, self._n_resamples, self._rng)
            return np.asarray(self._exchanges[n_seeds] @ np.concatenate([ours, theirs]))
        if n_seeds not in self._signs:
            self._signs[n_seeds] = self._rng.choice([-1.0, 1.0], size=(self._n_resamples, n_seeds))
        return np.asarray(self._signs[n_seeds] @ (ours - theirs) / n_seeds)


def _common_seeds(ours: ModelScores, theirs: ModelScores) -> int:
    counts = [len(scores.seeds) for scores in (ours, theirs) if scores.trains]
    return min(counts, default=1)


def _paired(values: FloatArray, n_seeds: int) -> FloatArray:
    """The first seeds of `[seeds, users]`, or its only one for each of the other model's."""
    return np.broadcast_to(values[:n_seeds], (n_seeds, values.shape[1]))


def _difference(ours: FloatArray, theirs: FloatArray, n_seeds: int) -> FloatArray:
    """Differences `[draws, seeds, metrics]`."""
    difference = ours[:, :n_seeds] - theirs[:, :n_seeds]
    return np.broadcast_to(difference, (difference.shape[0], n_seeds, difference.shape[2]))


def _interval(draws: FloatArray, found: CrossedMean, confidence: float) -> tuple[float, float]:
    tail = float(stats.norm.cdf(stats.t.ppf((1 - confidence) / 2, found.df)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _size(ours: FloatArray, theirs: FloatArray, interval: tuple[float, float]) -> dict[str, float | None]:
    by_user = ours.mean(axis=0) - theirs.mean(axis=0)
    difference, spread = float(by_user.mean()), float(by_user.std(ddof=1))
    reference = float(theirs.mean())
    sizes = {"difference": difference, "low": interval[0], "high": interval[1]}
    relative = dict(zip(("relative_difference", "relative_low", "relative_high"), sizes.values(), strict=True))
    return {
        "mean_model": float(ours.mean()),
        "mean_reference": reference,
        **sizes,
        **{name: value / reference if reference else None for name, value in relative.items()},
        "effect_size": difference / spread if spread else 0.0,
    }


def _p_value(observed: float, draws: FloatArray) -> float:
    """Share of draws at least as far from 0 as the observed difference, itself counted among them."""
    extreme = np.abs(draws) >= abs(observed) * (1 - TOLERANCE) - 1e-12
    return float((1 + extreme.sum()) / (1 + len(draws)))
