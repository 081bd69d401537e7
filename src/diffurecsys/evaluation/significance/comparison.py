"""Tests of differences between models that pair users, the ones to trust.

A difference d[s, u] is the model's metric less the reference's for user u under training seed s. Differences vary with
users and with seeds, and two questions are kept apart:

- **Trained again, on other users, would it be the same?** `p_t`, of the mean of d with users and seeds random (the
  Behrens-Fisher test of `two_variances`; `t` is mean over estimated standard error, `df` the degrees of freedom with
  which Student's t has the same interval). It needs three seeds of whatever trains; with fewer it is missing. `low` and
  `high` are its interval.
- **Do these trained models differ?** `p_users`, of the users' seed-averaged differences (paired t-test). Where nothing
  trains, or seeds are too few, `low` and `high` are its interval; `counts` says which.

**What decides** is `p_holm`: `p_t` corrected by Holm for all rows of the same metric that have one (`family_size`),
because it is the question that a claim about a method is about, and the only one of these tests whose error stays below
its level for three and for five seeds, whatever part of the variance is theirs
(`benchmarks/significance_simulation.py`). One metric, declared beforehand (`evaluation.leaderboard.DECLARED_METRIC`),
carries all verdicts; the others say the same again in other units, and are families of their own. Without three seeds
`p_users_holm` decides about these trained models alone. The others are checks of it:

- **Bootstrap interval** (`boot_low`, `boot_high`): users drawn with replacement, which needs no normal distribution,
  and for every draw a value of the seeds' part as in `two_variances`. A bootstrap that draws seeds, too (Owen's
  pigeonhole), covers 98 to 99.8 % in place of 95 %, because it counts the users' interaction with seeds three times.
  This one covers 95 % where seeds decide or nothing trains; where seeds hardly matter it covers up to 99 %, too, as
  the interval does: three or five seeds cannot show that they hardly matter.
- **Randomisation test** (`p_randomisation_users`): signs of the users' seed-averaged differences are drawn; it checks
  `p_users`. Relabelling seeds is no test here: with three a model it cannot go below 0.1.
- **Effect size** (`effect_size`): Cohen's d_z, mean over standard deviation of the users' seed-averaged differences.

**No difference shown** is not equality. `excluded` is the largest relative difference that the interval still holds.
`p_equivalence` is of two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) that
the difference is less than `margin` of the reference's mean, users and seeds counted; `p_equivalence_holm` corrects it.

`seeds_share` is the share of the difference's variance that training seeds make, with its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from diffurecsys.columns import MODEL
from diffurecsys.evaluation.leaderboard import METRIC, N_SEEDS
from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.crossed import CrossedMean, crossed_mean
from diffurecsys.evaluation.significance.holm import holm
from diffurecsys.evaluation.significance.resampling import draw_means
from diffurecsys.evaluation.significance.scores import ModelScores, Pairs, choose_pairs

REFERENCE = "reference"
COUNTS = "counts"  # what the interval and t count
USERS, USERS_AND_SEEDS = "users", "users and seeds"  # its values
MARGIN = 0.05  # of the reference's mean: a smaller difference is called none
TOLERANCE = 1e-6  # of float32 sums: a draw this close to the observed difference counts as as large
CORRECTED = {"p_holm": "p_t", "p_users_holm": "p_users", "p_equivalence_holm": "p_equivalence"}


def compare_models(
    scores: Sequence[ModelScores],
    *,
    pairs: Pairs | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    margin: float = MARGIN,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare models pair by pair on every metric.

    Seed s of one model is paired with seed s of the other; of different numbers of seeds the first ones are taken. A
    ranker that does not train is compared with each seed of the other.

    Args:
        scores: all models, of the same users.
        pairs: (model, reference); None is all pairs.
        n_resamples: draws of the bootstrap and of the randomisation test.
        confidence: of the intervals.
        margin: relative difference below which models are called equivalent.
        seed: of the draws.

    Returns:
        One row a pair and metric: model, reference, metric, n_users, n_seeds (0 where neither trains), counts,
        mean_model, mean_reference, difference, low, high, boot_low, boot_high, relative_difference, relative_low,
        relative_high, excluded (fractions of mean_reference, missing where that is 0), effect_size, t, df, p_t,
        p_users, p_randomisation_users, seeds_share, seeds_share_low, seeds_share_high, margin, p_equivalence, and what
        `correct` adds. Missing without three seeds of what trains: p_t, p_equivalence, the shares, their corrections.

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
        boot, flipped = (_difference(one[model], one[reference], max(1, n_seeds)) for one in (resampled, signed))
        for column, metric in enumerate(ours.values):
            a, b = (_paired(one.values[metric], max(1, n_seeds)) for one in (ours, theirs))
            found = crossed_mean(a - b)
            about_training = n_seeds == 0 or found.counts_seeds
            bootstrap = boot[:, column] + draws.of_seeds(found)
            rows.append(
                {
                    MODEL: model,
                    REFERENCE: reference,
                    METRIC: metric,
                    "n_users": a.shape[1],
                    N_SEEDS: n_seeds,
                    COUNTS: USERS_AND_SEEDS if found.counts_seeds else USERS,
                    **_sizes(a, b, found, confidence),
                    **_bootstrap_interval(bootstrap, found, confidence),
                    **_tests(found, about_training=about_training),
                    "p_randomisation_users": _p_value(found.mean, flipped[:, column]),
                    **_shares(found, confidence),
                    "margin": margin,
                    "p_equivalence": _equivalence(found, margin * float(b.mean())) if about_training else None,
                }
            )
    return correct(pd.DataFrame(rows).astype({"p_t": "float64", "p_equivalence": "float64"}))


def correct(table: pd.DataFrame) -> pd.DataFrame:
    """Correct all tests of a metric as one family.

    Returns:
        The table with p_holm, p_users_holm, p_equivalence_holm, and family_size: of how many tests the deciding one of
        a row (`p_holm`, or `p_users_holm` where that is missing) is.
    """
    by_metric = table.groupby(METRIC, sort=False)
    corrected = {name: by_metric[p].transform(holm) for name, p in CORRECTED.items()}
    known = table["p_t"].notna()
    sizes = np.where(known, by_metric["p_t"].transform("count"), by_metric[METRIC].transform("size"))
    return table.assign(**corrected, family_size=sizes.astype(np.int64))


class _SeedDraws:
    """Draws of the seeds' part of a bootstrap, made once for each number of seeds."""

    def __init__(self, n_resamples: int, rng: np.random.Generator) -> None:
        self._n_resamples, self._rng = n_resamples, rng
        self._drawn: dict[int, tuple[FloatArray, FloatArray]] = {}

    def of_seeds(self, found: CrossedMean) -> FloatArray:
        """Deviations `[draws]` that other seeds would give the mean; 0 where they do not count."""
        df = found.parts.seeds_df
        if not df:
            return np.zeros(self._n_resamples)
        if df not in self._drawn:
            normal = self._rng.normal(size=self._n_resamples)
            self._drawn[df] = df / self._rng.chisquare(df, self._n_resamples), normal
        factors, normal = self._drawn[df]
        excess = np.maximum(0.0, found.parts.seeds * factors - found.parts.interaction)
        return np.asarray(normal * np.sqrt(excess))


def _common_seeds(ours: ModelScores, theirs: ModelScores) -> int:
    counts = [len(scores.seeds) for scores in (ours, theirs) if scores.trains]
    return min(counts, default=0)


def _paired(values: FloatArray, n_seeds: int) -> FloatArray:
    """The first seeds of `[seeds, users]`, or its only one for each of the other model's."""
    return np.broadcast_to(values[:n_seeds], (n_seeds, values.shape[1]))


def _difference(ours: FloatArray, theirs: FloatArray, n_seeds: int) -> FloatArray:
    """Seed-averaged differences `[draws, metrics]`."""
    return np.asarray(ours[:, :n_seeds].mean(axis=1) - theirs[:, :n_seeds].mean(axis=1))


def _sizes(ours: FloatArray, theirs: FloatArray, found: CrossedMean, confidence: float) -> dict[str, float | None]:
    half, reference = found.half_width(confidence), float(theirs.mean())
    spread = float((ours - theirs).mean(axis=0).std(ddof=1))
    sizes = {"difference": found.mean, "low": found.mean - half, "high": found.mean + half}
    relative = dict(zip(("relative_difference", "relative_low", "relative_high"), sizes.values(), strict=True))
    return {
        "mean_model": float(ours.mean()),
        "mean_reference": reference,
        **sizes,
        **{name: value / reference if reference else None for name, value in relative.items()},
        "excluded": max(abs(sizes["low"]), abs(sizes["high"])) / reference if reference else None,
        "effect_size": found.mean / spread if spread else 0.0,
    }


def _bootstrap_interval(draws: FloatArray, found: CrossedMean, confidence: float) -> dict[str, float]:
    """Percentiles, moved outwards as Student's t over few users is wider than normal (Hesterberg 2015)."""
    tail = float(stats.norm.cdf(stats.t.ppf((1 - confidence) / 2, found.parts.users_df)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return {"boot_low": float(low), "boot_high": float(high)}


def _tests(found: CrossedMean, *, about_training: bool) -> dict[str, Any]:
    return {
        "t": found.t,
        "df": found.df,
        "p_t": found.p_value() if about_training else None,
        "p_users": found.users_alone().p_value(),
    }


def _shares(found: CrossedMean, confidence: float) -> dict[str, float]:
    return dict(
        zip(("seeds_share", "seeds_share_low", "seeds_share_high"), found.share_of_seeds(confidence), strict=True)
    )


def _equivalence(found: CrossedMean, bound: float) -> float:
    """The larger p of two one-sided tests that the mean lies within ± `bound`; 1 where it does not itself."""
    if abs(found.mean) >= bound:
        return 1.0
    return max(found.p_value(bound), found.p_value(-bound)) / 2


def _p_value(observed: float, draws: FloatArray) -> float:
    """Share of draws at least as far from 0 as the observed difference, itself counted among them."""
    extreme = np.abs(draws) >= abs(observed) * (1 - TOLERANCE) - 1e-12
    return float((1 + extreme.sum()) / (1 + len(draws)))
