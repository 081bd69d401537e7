"""Tables of a study's significance and analysis, as text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from diffurecsys.evaluation.inference import ENSEMBLE, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.inference_summary import ALL
from diffurecsys.reporting.text_table import Columns, Table, count, interval, make_table, number, p_value, percent, score

PAGE_METRICS = ("HR@10", "NDCG@10")  # the files hold the others
KINDS = {
    ENSEMBLE: "samples of one trained model (Algorithm 3)",
    TRAINING_SEEDS: "training seeds, one sample each",
    STEPS: "reverse steps",
}
MEASURES = {
    "coverage": "share of the catalogue recommended to anybody",
    "gini": "Gini coefficient of how often items are recommended",
    "mean_popularity": "mean training interactions of a recommended item",
    "rank_biased_overlap": "rank-biased overlap of two samples' lists (p = 0.9)",
    "identical": "share of users with the same set in all samples",
    "intra_user_diversity": "mean Jaccard distance of two samples' sets",
}


def comparison_table(comparisons: pd.DataFrame) -> Table:
    """Write the tests that pair users."""
    rows = _with_intervals(_on_page(comparisons))
    columns: Columns = {
        "model": ("model", str),
        "reference": ("reference", str),
        "metric": ("metric", str),
        "relative_difference": ("difference, %", percent),
        "relative_interval": ("95 % interval", str),
        "effect_size": ("d", number),
        "t": ("t", number),
        "p_t": ("p, t-test", p_value),
        "p_randomisation": ("p, randomisation", p_value),
        "p_randomisation_users": ("p, users alone", p_value),
        "p_holm": ("Holm p", p_value),
    }
    family = int(comparisons["family_size"].iloc[0]) if len(comparisons) else 0
    return make_table(
        "comparisons",
        "Tests that pair users (the ones to trust)",
        rows,
        columns,
        caption="Users are paired within a seed. t-test, interval (percentile bootstrap) and randomisation test count "
        "users and training seeds; the one of users alone asks about these trained models only. d: mean over standard "
        f"deviation of the users' differences. Holm's correction of the t-test is over {family} tests: all pairs and "
        "all metrics, of which the file holds the rest. With n seeds a model the randomisation test hardly goes below "
        "1 / C(2n, n), against a baseline below 1 / 2^n.",
    )


def seed_comparison_table(seed_comparisons: pd.DataFrame) -> Table:
    """Write Welch's tests of seed means."""
    columns: Columns = {
        "model": ("model", str),
        "reference": ("reference", str),
        "metric": ("metric", str),
        "n_seeds_model": ("seeds", str),
        "n_seeds_reference": ("reference's", str),
        "difference": ("difference", score),
        "t": ("t", number),
        "df": ("df", number),
        "p": ("p", p_value),
        "p_holm": ("Holm p", p_value),
    }
    return make_table(
        "seed_comparisons",
        "Tests of seed means (Welch)",
        _on_page(seed_comparisons),
        columns,
        caption="One value a seed; against a baseline, which has one value, a one-sample t-test. Without a p where no "
        "side has two seeds.",
    )


def variance_table(variance: pd.DataFrame, models: Sequence[str]) -> Table:
    """Write where the variance of a metric comes from."""
    rows = _on_page(variance[variance["model"].isin(models)])
    columns: Columns = {
        "model": ("model", str),
        "metric": ("metric", str),
        "source": ("source", str),
        "variance": ("variance of one value", _tiny),
        "std_of_mean": ("std of one run's metric", _tiny),
        "share": ("share, %", lambda value: f"{100 * value:.1f}"),
    }
    return make_table(
        "variance",
        "Where the variance comes from",
        rows,
        columns,
        caption="Components of a run's metric on the probed users: drawing other users, training with another seed, "
        "sampling the reverse process with another seed, and what users make of seeds. Other users count least in a "
        "comparison, where they are the same for both models.",
    )


def group_table(group_scores: pd.DataFrame, models: Sequence[str], metric: str) -> Table:
    """Write a metric in every group, a column a model."""
    rows = group_scores[(group_scores["metric"] == metric) & group_scores["model"].isin(models)].copy()
    rows["text"] = [_with_interval(row) for row in rows.to_dict("records")]
    wide = rows.pivot_table(
        index=["family", "group", "description", "n_users"], columns="model", values="text", aggfunc="first", sort=False
    ).reset_index()
    columns: Columns = {
        "group": ("group", str),
        "description": ("users", str),
        "n_users": ("n", count),
        **{model: (model, str) for model in models},
    }
    return make_table(
        f"groups_{_label(metric)}",
        f"Test {metric} by group of users",
        wide,
        columns,
        caption="Mean [95 % interval that counts users and seeds].",
    )


def group_comparison_table(group_comparisons: pd.DataFrame, models: Sequence[str], metric: str) -> Table:
    """Write differences between trained models in every group."""
    chosen = group_comparisons["model"].isin(models) & group_comparisons["reference"].isin(models)
    rows = _with_intervals(group_comparisons[chosen & (group_comparisons["metric"] == metric)])
    columns: Columns = {
        "group": ("group", str),
        "model": ("model", str),
        "reference": ("reference", str),
        "n_users": ("n", count),
        "relative_difference": ("difference, %", percent),
        "relative_interval": ("95 % interval", str),
        "p_t": ("p, t-test", p_value),
        "p_holm": ("Holm p", p_value),
    }
    family = int(group_comparisons["family_size"].iloc[0]) if len(group_comparisons) else 0
    return make_table(
        f"group_comparisons_{_label(metric)}",
        f"Differences in test {metric} by group of users",
        rows,
        columns,
        caption=f"As in the tests that pair users; Holm's correction is over {family} tests: all groups, pairs and "
        "metrics together.",
    )


def beyond_accuracy_table(beyond_accuracy: pd.DataFrame, spread: pd.DataFrame, models: Sequence[str]) -> Table:
    """Write what the lists are like besides hitting the target, a column a model."""
    by_model = beyond_accuracy.groupby(["model", "measure"], sort=False)["value"].mean().reset_index()
    spreads = spread.rename(columns={"mean": "value"})[["model", "measure", "value"]]
    rows = pd.concat([by_model, spreads])
    wide = rows.pivot_table(index="measure", columns="model", values="value", sort=False).reset_index()
    wide["meaning"] = [
        next(text for key, text in MEASURES.items() if measure.startswith(key)) for measure in wide["measure"]
    ]
    columns: Columns = {
        "measure": ("measure", str),
        "meaning": ("what it is", str),
        **{model: (model, _measure) for model in models},
    }
    users = int(beyond_accuracy["n_users"].max())
    return make_table(
        "beyond_accuracy",
        "Beyond accuracy",
        wide,
        columns,
        caption=f"Mean over training seeds, from the top lists of {users:,} probed test users.",
    )


def inference_table(inference: pd.DataFrame, models: Sequence[str], kind: str, metric: str) -> Table:
    """Write a metric by ensemble size or number of steps, for all probed users and by group."""
    rows = inference[
        (inference["kind"] == kind) & (inference["metric"] == metric) & inference["model"].isin(models)
    ].copy()
    rows["text"] = [_with_interval(row) for row in rows.to_dict("records")]
    wide = rows.pivot_table(
        index=["group", "n_users", "level"], columns="model", values="text", aggfunc="first", sort=False
    ).reset_index()
    wide = wide[(wide["group"] == ALL) | (wide["level"].isin([wide["level"].min(), wide["level"].max()]))]
    columns: Columns = {
        "group": ("users", str),
        "n_users": ("n", count),
        "level": (KINDS[kind].split(",")[0].split(" of ")[0], str),
        **{model: (model, str) for model in models},
    }
    return make_table(
        f"{kind}_{_label(metric)}",
        f"Test {metric} by number of {KINDS[kind]}",
        wide,
        columns,
        caption="Mean [95 % interval]; of single groups the smallest and the largest number, the file holds the rest.",
    )


def sweep_table(sweep: pd.DataFrame, metric: str) -> Table:
    """Write what other δ do."""
    rows = sweep[sweep["metric"] == metric].sort_values(["base", "delta"], kind="stable").copy()
    rows["text"] = [_with_interval(row) for row in rows.to_dict("records")]
    columns: Columns = {
        "base": ("model", str),
        "delta": ("δ", lambda value: f"{value:g}"),
        "n_seeds": ("seeds", count),
        "text": (metric, str),
        "relative_difference": ("to the configured δ, %", percent),
        "p_holm": ("Holm p", p_value),
        "overlap": ("overlap of samples", number),
        "gain_steps": ("gain of all steps over one, %", percent),
    }
    return make_table(
        f"sweep_{_label(metric)}",
        f"What the noised target contributes: test {metric} by δ",
        rows,
        columns,
        caption="δ = 0 is the control: the same network and training without the noised target. Overlap: rank-biased "
        "overlap of two samples for the same user, 1 where sampling changes nothing.",
    )


def _on_page(table: pd.DataFrame) -> pd.DataFrame:
    shown = [metric for metric in PAGE_METRICS if metric in set(table["metric"])] or list(table["metric"].unique()[:2])
    return table[table["metric"].isin(shown)]


def _with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    known = rows[rows["relative_difference"].notna()]
    return known.assign(
        relative_interval=[
            interval(low, high) for low, high in zip(known["relative_low"], known["relative_high"], strict=True)
        ]
    )


def _with_interval(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["low"]):
        return score(row["mean"])
    return f"{score(row['mean'])} {interval(row['low'], row['high'], scale=1, digits=4)}"


def _tiny(value: float) -> str:
    return f"{value:.2e}"


def _measure(value: float) -> str:
    return score(value) if value < 10 else f"{value:,.1f}"


def _label(metric: str) -> str:
    return metric.lower().replace("@", "_")
