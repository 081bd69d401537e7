"""Plain sentences from tests' numbers; none claims more than its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffurecsys.evaluation.inference import ALGORITHM_3, ENSEMBLE, MEMBER, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.significance.seeds import ENOUGH_SEEDS
from diffurecsys.reporting.text_table import interval, p_value, percent, seeds, value_text

ALPHA = 0.05
BETTER, WORSE, OPEN = "better", "worse", "no difference shown"
NO_NOISE = "network.delta"  # at 0 a diffusion model is its own control

GAINS = {  # by kind and kind of the reference: what is compared
    (ENSEMBLE, ENSEMBLE): "mean of {level} reverse processes instead of {reference_level}",
    (ALGORITHM_3, ALGORITHM_3): "Algorithm 3 with {level} sampling seeds instead of {reference_level}",
    (ALGORITHM_3, ENSEMBLE): "Algorithm 3 with {level} sampling seeds instead of the mean of {level} reverse processes",
    (TRAINING_SEEDS, MEMBER): "ensemble of {level} training seeds instead of the mean of its single members",
    (TRAINING_SEEDS, ENSEMBLE): "ensemble of {level} training seeds instead of {level} samples of one trained model "
    "(equally many reverse processes)",
}

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


def pair_verdicts(comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Return one sentence for every compared pair on a metric."""
    return [
        f"{row['model']} vs {row['reference']} on {metric}: {describe(row)}." for row in comparable(comparisons, metric)
    ]


def sweep_verdicts(sweeps: pd.DataFrame, metric: str) -> list[str]:
    """Say what every value of a swept parameter makes of a ranker; of the noised target, whether it contributes."""
    sentences = []
    rows = rows_of(sweeps[sweeps["metric"] == metric])
    configured = {(row["sweep"], row["base"]): row["value"] for row in rows if row["configured"]}
    for row in rows:
        if row["configured"] or pd.isna(row["relative_difference"]):
            continue
        usual, value = value_text(configured[row["sweep"], row["base"]]), value_text(row["value"])
        name = "δ" if row["parameter"] == NO_NOISE else row["parameter"]
        control = is_control(row)
        what = "without the noised target (δ = 0)" if control else f"with {name} = {value}"
        sentences.append(f"{row['base']} {what} instead of {name} = {usual}, on {metric}: {describe(row)}.")
        if control:
            sentences.append(contribution(row["base"], conclude(row)))
    return sentences


def is_control(row: Row) -> bool:
    """Tell whether a row of a sweep is a diffusion model without its noised target."""
    return bool(row["parameter"] == NO_NOISE and not row["configured"] and value_text(row["value"]) == "0")


def contribution(base: str, conclusion: str) -> str:
    """Say what the control without noised target tells of `base`.

    Args:
        base: the model.
        conclusion: of its control against it.
    """
    if conclusion == WORSE:
        return f"So {base}'s noised target does contribute here."
    if conclusion == BETTER:
        return f"So {base} is better off without its noised target here: diffusion costs accuracy."
    return (
        f"So nothing here shows that {base}'s diffusion contributes to accuracy: within the interval above, the same "
        "network trained without it may do as well."
    )


def steps_verdicts(probe_comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Say for each ranker what the most reverse steps gain over the fewest."""
    return [
        f"{row['model']}, {row['level']} reverse steps instead of {row['reference_level']}, on {metric}: "
        f"{describe(row)}."
        for row in _largest(comparable(probe_comparisons, metric), (STEPS, STEPS))
    ]


def ensemble_verdicts(probe_comparisons: pd.DataFrame, metric: str) -> list[str]:
    """Say for each ranker what averaging gains: reverse processes, Algorithm 3's calls, training seeds."""
    rows = comparable(probe_comparisons, metric)
    return [
        f"{row['model']}, {what.format(**row)}, on {metric}: {describe(row)}."
        for kinds, what in GAINS.items()
        for row in _largest(rows, kinds)
    ]


def comparable(table: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Rows on a metric whose reference is not 0 altogether."""
    return rows_of(table[(table["metric"] == metric) & table["relative_difference"].notna()])


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _largest(rows: Sequence[Row], kinds: tuple[str, str]) -> list[Row]:
    """Keep each ranker's row with the highest level that compares these kinds."""
    best: dict[str, Row] = {}
    for row in rows:
        if (row["kind"], row["reference_kind"]) == kinds and row["level"] >= best.get(row["model"], row)["level"]:
            best[row["model"]] = row
    return list(best.values())
