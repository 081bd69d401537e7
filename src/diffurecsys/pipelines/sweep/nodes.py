"""Node that tells what one parameter does: rankers beside the same rankers with other values of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffurecsys.columns import MODEL, TEST
from diffurecsys.evaluation.inference import KIND, LEVEL, STEPS
from diffurecsys.evaluation.leaderboard import METRIC
from diffurecsys.evaluation.significance.comparison import compare_models, correct
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import first_seeds
from diffurecsys.pipelines.arrays import records
from diffurecsys.pipelines.scores import scores_of
from diffurecsys.reporting.text_table import value_text
from diffurecsys.study import Study

if TYPE_CHECKING:
    from diffurecsys.parameters import EvaluationParameters, SignificanceParameters

TESTED = (  # columns of `compare_models` under their own names
    *("counts", "relative_difference", "relative_low", "relative_high", "excluded", "boot_low", "boot_high", "t", "df"),
    *("margin", "p_t", "p_holm", "p_users", "p_users_holm", "p_equivalence_holm", "family_size"),
)
RENAMED = {  # and under others: mean, low, high and n_seeds are of the ranker itself, under all its seeds
    "n_seeds": "paired_seeds",
    "mean_model": "mean_paired",
    "mean_reference": "mean_reference",
    "difference": "difference",
    "low": "diff_low",
    "high": "diff_high",
}
COLUMNS = (
    *("sweep", "parameter", "value", "configured", MODEL, "base", METRIC),
    *("mean", "low", "high", "n_users", "n_seeds"),
    *("paired_seeds", "mean_paired", "mean_reference", "difference", "diff_low", "diff_high"),
    *TESTED,
    *("overlap", "gain_steps", "gain_low", "gain_high", "training_seconds"),
)


def tabulate_sweeps(
    study: Study,
    evaluation: EvaluationParameters,
    significance: SignificanceParameters,
    study_ranks: pd.DataFrame,
    study_cells: pd.DataFrame,
    spread: pd.DataFrame | None = None,
    probe_comparisons: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Set every varied ranker beside its variants: accuracy, spread of samples, gain from more reverse steps.

    Returns:
        One row a sweep, ranker or variant, and metric; differences are to the ranker as configured, whose row says so.
        Both means of a difference, and what it is a fraction of, are of the seeds that are paired, `paired_seeds` of
        them. Corrections are over the whole table.
    """
    settings = _settings(study)
    names = tuple(dict.fromkeys(row[MODEL] for row in settings))
    scores = {
        score.model: score
        for score in scores_of(study, study_ranks, TEST, evaluation.cutoffs, evaluation.ranking, names)
    }
    seconds = study_cells.groupby(MODEL)["seconds"].mean()
    differences = _compare(study, settings, scores, significance)
    rows = []
    for setting in settings:
        name = setting[MODEL]
        for metric, values in scores[name].values.items():
            if "@" in metric:
                rows.append(
                    {
                        **setting,
                        "value": value_text(setting["value"]),
                        METRIC: metric,
                        **asdict(mean_interval(values, significance.confidence)),
                        **differences.get((setting["sweep"], name, metric), {}),
                        "overlap": _overlap(spread, name),
                        **_most_steps(probe_comparisons, name, metric),
                        "training_seconds": float(seconds[name]),
                    }
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _settings(study: Study) -> list[dict[str, Any]]:
    """One row a sweep and ranker or variant, each ranker followed by its variants."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in study.varied:
        varies = cell.varies
        assert varies is not None
        part, _, key = varies.parameter.partition(".")
        known = {"sweep": varies.sweep, "parameter": varies.parameter, "base": varies.base}
        configured = getattr(getattr(study.spec(varies.base), part), key)
        base = {**known, MODEL: varies.base, "value": configured, "configured": True}
        rows.setdefault((varies.sweep, varies.base), base)
        variant = {**known, MODEL: cell.spec.name, "value": varies.value, "configured": False}
        rows.setdefault((varies.sweep, cell.spec.name), variant)
    return list(rows.values())


def _compare(
    study: Study, settings: list[dict[str, Any]], scores: dict[str, Any], significance: SignificanceParameters
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Compare each variant with its base under the sweep's seeds, by sweep, variant and metric."""
    tables = []
    for sweep in dict.fromkeys(row["sweep"] for row in settings):
        rows = [row for row in settings if row["sweep"] == sweep]
        table = compare_models(
            [first_seeds(scores[row[MODEL]], study.sweeps[sweep].n_seeds) for row in rows],
            pairs=[(row[MODEL], row["base"]) for row in rows if not row["configured"]],
            n_resamples=significance.n_resamples,
            confidence=significance.confidence,
            margin=significance.margin,
            seed=significance.seed,
        )
        tables.append(table.assign(sweep=sweep))
    return {
        (row["sweep"], row[MODEL], row[METRIC]): {
            **{name: row[name] for name in TESTED},
            **{name: row[key] for key, name in RENAMED.items()},
        }
        for row in records(correct(pd.concat(tables, ignore_index=True)))
    }


def _overlap(spread: pd.DataFrame | None, name: str) -> float | None:
    if spread is None:
        return None
    found = spread[(spread[MODEL] == name) & (spread["measure"] == "rank_biased_overlap")]
    return float(found["mean"].iloc[0]) if len(found) else None


def _most_steps(comparisons: pd.DataFrame | None, name: str, metric: str) -> dict[str, Any]:
    """Return what the most reverse steps gain over the fewest."""
    if comparisons is None:
        return {}
    steps = comparisons[(comparisons[MODEL] == name) & (comparisons[METRIC] == metric) & (comparisons[KIND] == STEPS)]
    names = {"gain_steps": "relative_difference", "gain_low": "relative_low", "gain_high": "relative_high"}
    last = records(steps.nlargest(1, LEVEL))
    return {new: last[0][old] for new, old in names.items()} if last else {}
