"""Node that tells what the noised target contributes: models beside the same models with other δ."""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean
from typing import Any

import pandas as pd

from diffurecsys.parameters import EvaluationParameters, ModelParameters, SignificanceParameters, StudyParameters
from diffurecsys.evaluation.inference import KIND, LEVEL, STEPS
from diffurecsys.evaluation.leaderboard import METRIC, MODEL, TEST
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import first_seeds
from diffurecsys.pipelines.arrays import read_scores, records

COLUMNS = [
    "model",
    "base",
    "delta",
    "metric",
    *("mean", "low", "high", "n_users", "n_seeds"),
    *("difference", "diff_low", "diff_high", "relative_difference", "p_holm", "family_size"),
    *("overlap", "gain_steps", "gain_low", "gain_high", "training_seconds"),
]


def tabulate_sweep(
    study: StudyParameters,
    model: ModelParameters,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    *tables: Any,  # noqa: ANN401 - ranks, then probes, then results, of the swept models and of the variants
) -> pd.DataFrame:
    """Set every model of the sweep beside its variants: accuracy, spread of samples, gain from more reverse steps.

    Returns:
        One row a model or variant and metric; differences are to the model with the configured δ. Empty without sweep.
    """
    if not study.variants:
        return pd.DataFrame(columns=COLUMNS)
    settings = [(name, name, model.delta) for name in study.models if name in study.sweep.models]
    settings += [(cell.model, cell.architecture, float(cell.delta or 0)) for cell in study.variants]
    n = len(settings)
    ranks, probes, results = tables[:n], tables[n : 2 * n], tables[2 * n :]
    scores = [
        read_scores(name, table, TEST, evaluation.cutoffs) for (name, _, _), table in zip(settings, ranks, strict=True)
    ]
    paired = [first_seeds(score, study.sweep.n_seeds) for score in scores]  # a variant of one seed is no baseline
    compared = compare_models(
        paired,
        pairs=[(name, base) for name, base, _ in settings if name != base],
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        seed=significance.seed,
    )
    differences = {(row[MODEL], row[METRIC]): row for row in records(compared)}
    rows = []
    for (name, base, delta), score, probe, cells in zip(settings, scores, probes, results, strict=True):
        (overlap,) = (row["mean"] for row in probe["spread"] if row["measure"] == "rank_biased_overlap")
        gains = _most_steps(probe["probe_comparisons"])
        for metric in (metric for metric in score.values if "@" in metric):
            interval = mean_interval(score.values[metric], significance.confidence)
            rows.append(
                {
                    **{"model": name, "base": base, "delta": delta, "metric": metric},
                    **asdict(interval),
                    **(_difference(differences[name, metric]) if name != base else {}),
                    "overlap": overlap,
                    **gains.get(metric, {}),
                    "training_seconds": fmean(cell["training_seconds"] for cell in cells),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    names = {"low": "diff_low", "high": "diff_high"}
    wanted = ("difference", "low", "high", "relative_difference", "p_holm", "family_size")
    return {names.get(key, key): row[key] for key in wanted}


def _most_steps(comparisons: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the most reverse steps gain over the fewest, by metric."""
    steps = [row for row in comparisons if row[KIND] == STEPS]
    most = max((row[LEVEL] for row in steps), default=0)
    names = {"gain_steps": "relative_difference", "gain_low": "relative_low", "gain_high": "relative_high"}
    return {row[METRIC]: {new: row[old] for new, old in names.items()} for row in steps if row[LEVEL] == most}
