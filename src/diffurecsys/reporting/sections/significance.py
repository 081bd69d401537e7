"""Which differences between rankers the numbers support."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC
from diffurecsys.reporting.paper_tables import paper_tests_table, paper_tests_with_printed
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import COLOURS, INK, add_caption, add_legend, style_panel
from diffurecsys.reporting.text_table import (
    Columns,
    Table,
    make_table,
    number,
    on_page,
    p_value,
    percent,
    score,
    with_relative_interval,
)
from diffurecsys.reporting.verdicts import ALPHA, pair_verdicts


def write(results: Results) -> Text:
    """Write a verdict a pair, all tests, and where variance comes from."""
    tables, metric = results.tables, results.leaderboard.declared
    comparisons = tables["comparisons_table"]
    written = [comparison_table(comparisons), seed_comparison_table(tables["seed_comparisons_table"])]
    if "paper_tests_table" in tables:
        written.append(paper_tests_table(paper_tests_with_printed(tables["paper_tests_table"], results.paper)))
    if "variance_table" in tables:
        written.append(variance_table(tables["variance_table"], results.leaderboard.names))
    return Text(tuple(pair_verdicts(comparisons, metric)), tuple(written))


def comparison_table(comparisons: pd.DataFrame) -> Table:
    """Write the tests that pair users."""
    rows = with_relative_interval(on_page(comparisons))
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
        "metrics, of which the file holds the rest. With n seeds a model the randomisation test hardly goes below "
        "1 / C(2n, n), against a ranker that does not train below 1 / 2^n.",
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
        on_page(seed_comparisons),
        columns,
        caption="One value a seed; against a ranker that does not train, which has one value, a one-sample t-test. "
        "Without a p where a ranker that trains has one seed.",
    )


def variance_table(variance: pd.DataFrame, models: Sequence[str]) -> Table:
    """Write where the variance of a metric comes from."""
    rows = on_page(variance[variance["model"].isin(models)])
    columns: Columns = {
        "model": ("model", str),
        "metric": ("metric", str),
        "source": ("source", str),
        "variance": ("variance of one value", "{:.2e}".format),
        "std_of_mean": ("std of one run's metric", "{:.2e}".format),
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


def draw_forest(
    comparisons: pd.DataFrame, *, models: Sequence[str] = (), metric: str = DECLARED_METRIC, confidence: float = 0.95
) -> Figure:
    """Draw the relative difference of every tested pair with its interval.

    Args:
        comparisons: of `compare_models`.
        models: references that are none of these get a panel and a scale of their own.
        metric: which metric; the first one where it was not computed.
        confidence: of the intervals.

    Raises:
        ValueError: there is nothing to compare.
    """
    rows = _pairs(comparisons, metric)
    between = rows["reference"].isin(models)
    parts = [part for part in (rows[between], rows[~between]) if len(part)]
    figure = Figure(figsize=(8.5, 1.6 + 0.4 * len(rows) + 0.6 * len(parts)), layout="constrained")
    panels = figure.subplots(len(parts), 1, height_ratios=[len(part) + 0.5 for part in parts], squeeze=False)[:, 0]
    for panel, part in zip(panels, parts, strict=True):
        _draw_differences(panel, part)
    panels[-1].set_xlabel(f"difference in test {rows['metric'].iloc[0]}, % of the reference")
    keys = [
        Line2D([], [], marker="o", ms=7, mec=INK, mfc=COLOURS[0], color=INK, label=f"Holm p < {ALPHA}"),
        Line2D([], [], marker="o", ms=7, mec=INK, mfc="white", color=INK, label=f"Holm p ≥ {ALPHA}"),
    ]
    add_legend(figure, keys)
    add_caption(figure, forest_caption(rows, confidence))
    return figure


def _draw_differences(panel: Axes, rows: pd.DataFrame) -> None:
    for place, row in enumerate(rows.to_dict("records")):
        middle, low, high = (100 * row[name] for name in ("relative_difference", "relative_low", "relative_high"))
        panel.plot([low, high], [place, place], color=INK, linewidth=1.4, zorder=2)
        face = COLOURS[0] if row["p_holm"] < ALPHA else "white"
        panel.plot(middle, place, "o", ms=7, mec=INK, mfc=face, zorder=3)
    panel.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    panel.set_yticks(range(len(rows)), [f"{row.model} vs {row.reference}" for row in rows.itertuples()])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    style_panel(panel, grid="x")


def forest_caption(rows: pd.DataFrame, confidence: float) -> str:
    """Say what a forest plot shows, and over how many users and seeds."""
    seeds = sorted({int(count) for count in rows["n_seeds"]})
    n = " to ".join(str(count) for count in sorted({seeds[0], seeds[-1]}))
    return (
        f"Points: difference of means; lines: {100 * confidence:g} % bootstrap intervals over users and seeds "
        f"(n = {int(rows['n_users'].iloc[0]):,} users, {n} seed{'s' if n != '1' else ''}). Right of the dashed line "
        f"the first is ahead. Holm's correction is over {int(rows['family_size'].iloc[0])} tests."
    )


def plotly_forest(comparisons: pd.DataFrame, *, metric: str = DECLARED_METRIC, confidence: float = 0.95) -> go.Figure:
    """Draw what `draw_forest` draws, to be hovered over."""
    rows = _pairs(comparisons, metric)
    percent = 100 * rows[["relative_difference", "relative_low", "relative_high"]]
    shown = rows["p_holm"] < ALPHA
    figure = go.Figure(
        go.Scatter(
            x=percent["relative_difference"],
            y=rows["model"] + " vs " + rows["reference"],
            mode="markers",
            marker={
                "size": 11,
                "color": [COLOURS[0] if one else "white" for one in shown],
                "line": {"color": INK, "width": 1.5},
            },
            error_x={
                "array": percent["relative_high"] - percent["relative_difference"],
                "arrayminus": percent["relative_difference"] - percent["relative_low"],
                "color": INK,
            },
            customdata=np.stack([rows["p_holm"], rows["effect_size"]], axis=-1),
            hovertemplate="%{y}: %{x:+.2f} %<br>Holm p %{customdata[0]:.4f}, d %{customdata[1]:.3f}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": INK, "dash": "dash", "width": 1})
    figure.update_layout(
        template="plotly_white",
        height=180 + 34 * len(rows),
        title={"text": forest_caption(rows, confidence), "font": {"size": 12}},
        xaxis_title=f"difference in test {rows['metric'].iloc[0]}, % of the reference",
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _pairs(comparisons: pd.DataFrame, metric: str) -> pd.DataFrame:
    if comparisons.empty:
        raise ValueError("there is no comparison to draw: run the pipeline `significance`")
    known = metric if metric in set(comparisons["metric"]) else comparisons["metric"].iloc[0]
    rows = comparisons[comparisons["metric"] == known]
    return rows[rows["relative_difference"].notna()]


PART = Part(
    "Significance",
    write,
    needs=("comparisons_table", "seed_comparisons_table"),
    figures=(
        Made(
            "forest_figure",
            lambda results: draw_forest(
                results.tables["comparisons_table"], models=results.leaderboard.models, confidence=results.confidence
            ),
        ),
    ),
    plots=(
        Made(
            "forest_plot",
            lambda results: plotly_forest(results.tables["comparisons_table"], confidence=results.confidence),
        ),
    ),
)
