"""Plain sentences from tests' numbers; none claims more than its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import pandas as pd

from diffurecsys.evaluation.inference import ALGORITHM_3, ENSEMBLE, MEMBER, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.significance.seeds import ENOUGH_SEEDS
from diffurecsys.reporting.text_table import interval, p_value, percent, seeds, value_text

ALPHA = 0.05
BETTER, WORSE, OPEN = "better", "worse", "no difference shown"
ALIKE = "equivalent"
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


def decisive_p(row: Row) -> float:
    """Return the p that decides: Holm-corrected, over users and seeds; without three seeds of these trained models."""
    return float(row["p_users_holm"] if of_these_alone(row) else row["p_holm"])


def family_sizes(rows: pd.DataFrame) -> str:
    """Write of how many tests the corrections are: two numbers where some rows have no p over seeds."""
    return " or ".join(f"{size:,}" for size in sorted({int(size) for size in rows["family_size"]})) or "0"


def of_these_alone(row: Row) -> bool:
    """Whether a row speaks of the trained models at hand alone, for want of three seeds."""
    return bool(pd.isna(row["p_holm"]))


def apart_at_hand(row: Row) -> bool:
    """Whether the trained models at hand differ where training again is tested, too."""
    return bool(not of_these_alone(row) and row["n_seeds"] and row["p_users_holm"] < ALPHA)


def conclude(row: Row) -> str:
    """Say `better`, `worse`, `equivalent` (within the margin, users and seeds counted) or `no difference shown`."""
    if decisive_p(row) < ALPHA:
        return BETTER if row["difference"] > 0 else WORSE
    known = row["p_equivalence_holm"]
    return ALIKE if not pd.isna(known) and known < ALPHA else OPEN


def describe(row: Row) -> str:
    """Write `+4.1 % [2.0, 6.3], Holm p = 0.002, 5 seeds: better`, with what limits it.

    Args:
        row: of `compare_models`.
    """
    conclusion = conclude(row)
    found = (
        f"{percent(row['relative_difference'])} % {interval(row['relative_low'], row['relative_high'])}, "
        f"Holm {p_text(decisive_p(row))}, {seeds(row['n_seeds']) if row['n_seeds'] else 'no training'}: {conclusion}"
    )
    if conclusion == ALIKE:
        found += f" within {100 * row['margin']:g} %"
    if conclusion == OPEN:
        found += f", more than {exclusion(row)} % excluded"
    limits = _limits(row, conclusion)
    return f"{found} ({'; '.join(limits)})" if limits else found


def exclusion(row: Row) -> str:
    """Write which relative difference the interval excludes, rounded up."""
    return f"{ceil(1000 * row['excluded'] - 1e-9) / 10:.1f}"


def p_text(p: float) -> str:
    """Write `p = 0.002` or `p < 0.001`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _limits(row: Row, conclusion: str) -> list[str]:
    limits = []
    if of_these_alone(row):
        limits.append("of these trained models alone; training again may turn it")
    elif 0 < row["n_seeds"] < ENOUGH_SEEDS:
        limits.append(f"fewer than {ENOUGH_SEEDS} seeds")
    if conclusion in (BETTER, WORSE) and row["boot_low"] <= 0 <= row["boot_high"]:
        limits.append("the bootstrap interval holds 0: few users decide")
    if conclusion == OPEN and apart_at_hand(row):
        limits.append(f"these trained models do differ, users alone Holm {p_text(row['p_users_holm'])}")
    return limits


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
        paired = {**row, "n_seeds": row["paired_seeds"]}
        sentences.append(f"{row['base']} {what} instead of {name} = {usual}, on {metric}: {describe(paired)}.")
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
    if conclusion == ALIKE:
        return f"So {base} is as accurate without its noised target, up to the margin."
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
