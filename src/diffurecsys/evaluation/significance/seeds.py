"""Tests of seed means: does training again change who is ahead?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from diffurecsys.columns import MODEL
from diffurecsys.evaluation.leaderboard import METRIC
from diffurecsys.evaluation.metrics import FloatArray
from diffurecsys.evaluation.significance.comparison import REFERENCE
from diffurecsys.evaluation.significance.crossed import FEWEST_SEEDS
from diffurecsys.evaluation.significance.holm import holm
from diffurecsys.evaluation.significance.scores import ModelScores, Pairs, choose_pairs

ENOUGH_SEEDS = 5


def compare_seeds(scores: Sequence[ModelScores], *, pairs: Pairs | None = None) -> pd.DataFrame:
    """Compare the seed means of models with Welch's t-test; with a ranker that does not train, by a one-sample t-test.

    Args:
        scores: all models.
        pairs: (model, reference); None is all pairs.

    Returns:
        One row a pair and metric: model, reference, metric, n_seeds_model, n_seeds_reference, difference, t, df, p,
        p_holm (over the rows of a metric that have a p), family_size. t to p_holm are missing where a side that trains
        has fewer than three seeds.
    """
    by_name = {score.model: score for score in scores}
    rows = []
    for model, reference in choose_pairs(scores, pairs):
        ours, theirs = by_name[model], by_name[reference]
        for metric in ours.values:
            a, b = ours.values[metric].mean(axis=1), theirs.values[metric].mean(axis=1)
            t, df, p = _test(a, b) if _testable(ours, theirs) else (None, None, None)
            rows.append(
                {
                    MODEL: model,
                    REFERENCE: reference,
                    METRIC: metric,
                    "n_seeds_model": len(a),
                    "n_seeds_reference": len(b),
                    "difference": float(a.mean() - b.mean()),
                    "t": t,
                    "df": df,
                    "p": p,
                }
            )
    table = pd.DataFrame(rows).astype({"t": "Float64", "df": "Float64", "p": "Float64"})
    by_metric = table.groupby(METRIC, sort=False)["p"]
    corrected = by_metric.transform(lambda p: holm(p.to_numpy(np.float64, na_value=np.nan)))
    table["p_holm"] = corrected.astype("Float64").mask(table["p"].isna())
    table["family_size"] = by_metric.transform("count").astype("int64")
    return table


def few_seeds_warning(n_seeds: Mapping[str, int]) -> list[str]:
    """Return one sentence where trained models, by name, have too few seeds to tell training's variance."""
    few = {model: count for model, count in n_seeds.items() if count < ENOUGH_SEEDS}
    if not few:
        return []
    counts = ", ".join(f"{model} {count}" for model, count in few.items())
    return [
        f"Fewer than {ENOUGH_SEEDS} training seeds ({counts}): tests across seeds have little power, and with fewer "
        f"than {FEWEST_SEEDS} there are none: what is said then is of these trained models alone."
    ]


def _testable(ours: ModelScores, theirs: ModelScores) -> bool:
    counts = [len(scores.seeds) for scores in (ours, theirs) if scores.trains]
    return min(counts, default=1) >= FEWEST_SEEDS


def _test(a: FloatArray, b: FloatArray) -> tuple[float, float, float]:
    if min(len(a), len(b)) < 2:
        sign, several, one = (1, a, b) if len(a) > 1 else (-1, b, a)
        if np.ptp(several) == 0:
            return _constant(float(several[0] - one[0]) * sign, len(several) - 1)
        found = stats.ttest_1samp(several, float(one[0]))
        return sign * float(found.statistic), float(found.df), float(found.pvalue)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return _constant(float(a[0] - b[0]), len(a) + len(b) - 2)
    found = stats.ttest_ind(a, b, equal_var=False)
    return float(found.statistic), float(found.df), float(found.pvalue)


def _constant(difference: float, df: int) -> tuple[float, float, float]:
    """The test of means that do not vary at all."""
    if difference == 0:
        return 0.0, float(df), 1.0
    return float(np.copysign(np.inf, difference)), float(df), 0.0
