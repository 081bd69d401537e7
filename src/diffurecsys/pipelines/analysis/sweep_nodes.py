"""Node that tells what the noised target contributes: models beside the same models with other δ."""

from __future__ import annotations

from typing import Any

import pandas as pd

from diffurecsys.config import EvaluationParameters, ModelParameters, SignificanceParameters, StudyParameters
from diffurecsys.evaluation.inference import KIND, LEVEL, STEPS
from diffurecsys.evaluation.leaderboard import METRIC, MODEL, TEST
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.pipelines.tables import read_scores, records

COLUMNS = [
    "model",
    "base",
    "delta",
    "metric",
    *("mean", "low", "high", "n_users", "n_seeds"),
    *("difference", "diff_low", "diff_high", "relative_difference", "p_holm", "family_size"),
    *("overlap", "gain_steps", "gain_low", "gain_high"),
]


def tabulate_sweep(
    study: StudyParameters,
    model: ModelParameters,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    probe_comparisons: pd.DataFrame,
    spread: pd.DataFrame,
    *ranks: pd.DataFrame,
) -> pd.DataFrame:
    """Set every model of the sweep beside its variants: accuracy, spread of samples, gain from more reverse steps.

    Returns:
        One row a model or variant and metric; differences are to the model with the configured δ. Empty without sweep.
    """
    variants = study.variants
    if not variants:
        return pd.DataFrame(columns=COLUMNS)
    names = (*study.models, *(cell.model for cell in variants))
    scores = {
        name: read_scores(name, table, TEST, evaluation.cutoffs) for name, table in zip(names, ranks, strict=True)
    }
    swept = [name for name in study.models if name in study.sweep.models]
    compared = compare_models(
        [scores[name] for name in (*swept, *(cell.model for cell in variants))],
        pairs=[(cell.model, cell.architecture) for cell in variants],
        n_resamples=significance.n_resamples,
        confidence=significance.confidence,
        seed=significance.seed,
    )
    differences = {(row[MODEL], row[METRIC]): row for row in records(compared)}
    settings: list[tuple[str, str, float | None]] = [(name, name, model.delta) for name in swept]
    settings += [(cell.model, cell.architecture, cell.delta) for cell in variants]
    overlaps = spread[spread["measure"] == "rank_biased_overlap"].set_index(MODEL)["mean"]
    gains = _most_steps(probe_comparisons)
    rows = []
    for name, base, delta in settings:
        for metric in (metric for metric in scores[name].values if "@" in metric):
            interval = mean_interval(scores[name].values[metric], significance.confidence)
            gain = gains.get((name, metric), {})
            rows.append(
                {
                    **{"model": name, "base": base, "delta": delta, "metric": metric},
                    **{key: getattr(interval, key) for key in ("mean", "low", "high", "n_users", "n_seeds")},
                    **(_difference(differences[name, metric]) if name != base else {}),
                    "overlap": overlaps[name],
                    "gain_steps": gain.get("relative_difference"),
                    "gain_low": gain.get("relative_low"),
                    "gain_high": gain.get("relative_high"),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    names = {"low": "diff_low", "high": "diff_high"}
    wanted = ("difference", "low", "high", "relative_difference", "p_holm", "family_size")
    return {names.get(key, key): row[key] for key in wanted}


def _most_steps(probe_comparisons: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the most reverse steps gain over the fewest, by model and metric."""
    steps = probe_comparisons[probe_comparisons[KIND] == STEPS]
    rows = records(steps[steps[LEVEL] == steps[LEVEL].max()])
    return {(row[MODEL], row[METRIC]): row for row in rows}
