"""Plain sentences from tests' numbers; none claims more than its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffurecsys.evaluation.inference import ENSEMBLE, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.significance.seeds import ENOUGH_SEEDS
from diffurecsys.reporting.text_table import interval, p_value, percent, seeds

ALPHA = 0.05
BETTER, WORSE, OPEN = "better", "worse", "no difference shown"

Row = Mapping[str, Any]


def conclude(row: Row) -> str:
    """Say `better` or `worse` where the Holm-corrected p and the interval agree on it, else `no difference shown`."""
    if row["p_holm"] >= ALPHA or row["relative_low"] <= 0 <= row["relative_high"]:
        return OPEN
    return BETTER if row["difference"] > 0 else WORSE


def describe(row: Row) -> str:
    """Write `+4.1 % [2.0, 6.3], Holm p = 0.002, 5 seeds: better`, with what limits it.

    Args:
        row: of `compare_models`.
    """
    p = p_value(row["p_holm"])
    found = (
        f"{percent(row['relative_difference'])} % {interval(row['relative_low'], row['relative_high'])}, "
        f"Holm p {p if p.startswith('<') else f'= {p}'}, {seeds(row['n_seeds'])}: {conclude(row)}"
    )
    if row["n_seeds"] == 1:
        return f"{found} (of these trained models alone; training again may turn it)"
    if row["n_seeds"] < ENOUGH_SEEDS:
        return f"{found} (fewer than {ENOUGH_SEEDS} seeds)"
    return found


def model_verdicts(comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Return one sentence for every compared pair on a metric."""
    return [
        f"{row['model']} vs {row['reference']} on {metric}: {describe(row)}."
        for row in _comparable(comparisons, metric)
    ]


def sweep_verdicts(sweep: pd.DataFrame, metric: str) -> list[str]:
    """Say what the noised target contributes, model by model: the control first, then larger δ, then a plain sum."""
    sentences = []
    rows = sweep[sweep["metric"] == metric]
    for configured in _rows(rows[rows["model"] == rows["base"]]):
        base, delta = configured["base"], configured["delta"]
        others = rows[(rows["base"] == base) & (rows["model"] != base)].sort_values("delta")
        for row in _rows(others):
            known = _relative(row, configured["mean"])
            what = "without the noised target (δ = 0)" if row["delta"] == 0 else f"with δ = {row['delta']:g}"
            sentences.append(f"{base} {what} instead of δ = {delta:g}, on {metric}: {describe(known)}.")
            if row["delta"] == 0:
                sentences.append(_contribution(base, conclude(known)))
    return sentences


def steps_verdicts(probe_comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Say for each model what the most reverse steps gain over the fewest."""
    sentences = []
    for row in _largest(_comparable(probe_comparisons, metric), STEPS):
        sentences.append(
            f"{row['model']}, {row['level']} reverse steps instead of {row['reference_level']}, on {metric}: "
            f"{describe(row)}."
        )
    return sentences


def ensemble_verdicts(probe_comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Say for each model what averaging over sampling seeds and over training seeds gains."""
    rows = _comparable(probe_comparisons, metric)
    same = [row for row in rows if row["kind"] == row["reference_kind"]]
    sentences = [
        f"{row['model']}, mean of {row['level']} samples instead of {row['reference_level']} (Algorithm 3), on "
        f"{metric}: {describe(row)}."
        for row in _largest(same, ENSEMBLE)
    ]
    sentences += [
        f"{row['model']}, mean of {row['level']} training seeds instead of {row['reference_level']}, on {metric}: "
        f"{describe(row)}."
        for row in _largest(same, TRAINING_SEEDS)
    ]
    crossed = [row for row in rows if row["kind"] != row["reference_kind"]]
    sentences += [
        f"{row['model']}, mean of {row['level']} training seeds instead of {row['level']} samples of one trained model "
        f"(equally many reverse processes), on {metric}: {describe(row)}."
        for row in _largest(crossed, TRAINING_SEEDS)
        if row["level"] > 1
    ]
    return sentences


def _contribution(base: str, conclusion: str) -> str:
    if conclusion == WORSE:
        return f"So {base}'s noised target does contribute here."
    if conclusion == BETTER:
        return f"So {base} is better off without its noised target here: diffusion costs accuracy."
    return (
        f"So nothing here shows that {base}'s diffusion contributes to accuracy: within the interval above, the same "
        "network trained without it may do as well."
    )


def _relative(row: Row, mean: float) -> dict[str, Any]:
    """Name a row of the sweep as `compare_models` does."""
    return {
        **row,
        "relative_low": row["diff_low"] / mean,
        "relative_high": row["diff_high"] / mean,
    }


def _comparable(table: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Rows on a metric whose reference is not 0 altogether."""
    return _rows(table[(table["metric"] == metric) & table["relative_difference"].notna()])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _largest(rows: Sequence[Row], kind: str) -> list[Row]:
    """Keep each model's row with the highest level."""
    best: dict[str, Row] = {}
    for row in rows:
        if row["kind"] == kind and row["level"] >= best.get(row["model"], row)["level"]:
            best[row["model"]] = row
    return list(best.values())
