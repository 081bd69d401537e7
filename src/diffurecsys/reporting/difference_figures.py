"""Figures of differences: a forest plot of all pairs, and bars by group of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffurecsys.reporting.style import (
    COLOURS,
    GREY,
    INK,
    add_caption,
    add_legend,
    colour,
    hatch,
    style_panel,
)

ALPHA = 0.05
METRIC = "NDCG@10"
MOST_MODELS = 6  # of one panel of bars


def draw_forest(
    comparisons: pd.DataFrame, *, baselines: Sequence[str] = (), metric: str = METRIC, confidence: float = 0.95
) -> Figure:
    """Draw the relative difference of every pair of models with its interval.

    Args:
        comparisons: of `compare_models`.
        baselines: references that get a panel and a scale of their own.
        metric: which metric; the first one where it was not computed.
        confidence: of the intervals.

    Raises:
        ValueError: there is nothing to compare.
    """
    rows = _pairs(comparisons, metric)
    against = rows["reference"].isin(baselines)
    parts = [part for part in (rows[~against], rows[against]) if len(part)]
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
        f"the model is ahead. Holm's correction is over {int(rows['family_size'].iloc[0])} tests."
    )


def plotly_forest(comparisons: pd.DataFrame, *, metric: str = METRIC, confidence: float = 0.95) -> go.Figure:
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


def draw_groups(
    group_scores: pd.DataFrame, *, models: Sequence[str], metric: str = METRIC, confidence: float = 0.95
) -> Figure:
    """Draw each model's metric in every group of users, one panel a family of groups.

    Args:
        group_scores: of `evaluation.groups.group_scores`.
        models: which rankers, in their order; the first six are drawn.
        metric: which metric; the first one where it was not computed.
        confidence: of the intervals.

    Raises:
        ValueError: there are no scores.
    """
    if group_scores.empty or not models:
        raise ValueError("there are no scores of groups to draw: run the pipeline `analysis`")
    known = metric if metric in set(group_scores["metric"]) else group_scores["metric"].iloc[0]
    table, shown = group_scores[group_scores["metric"] == known], list(models)[:MOST_MODELS]
    families = list(dict.fromkeys(table["family"]))
    widths = [table.loc[table["family"] == family, "group"].nunique() for family in families]
    with matplotlib.rc_context({"hatch.linewidth": 0.6}):
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(families), sharey=True, width_ratios=widths, squeeze=False)[0]
        for panel, family in zip(panels, families, strict=True):
            _draw_family(panel, table[table["family"] == family], shown)
            panel.set_xlabel(family)
        panels[0].set_ylabel(f"test {known}")
        panels[0].set_ylim(bottom=0)
        keys = [
            Patch(facecolor=colour(index), alpha=0.6, hatch=hatch(index), edgecolor=INK, linewidth=0.6, label=name)
            for index, name in enumerate(shown)
        ]
        add_legend(figure, keys)
    left_out = f" Not drawn: {', '.join(list(models)[MOST_MODELS:])}." if len(models) > MOST_MODELS else ""
    add_caption(
        figure,
        f"Bars: mean over users and seeds; lines: {100 * confidence:g} % intervals that count both; n: users in the "
        f"group.{left_out}",
    )
    return figure


def _draw_family(panel: Axes, table: pd.DataFrame, models: Sequence[str]) -> None:
    groups = list(dict.fromkeys(table["group"]))
    width = 0.8 / len(models)
    for index, model in enumerate(models):
        rows = table[table["model"] == model].set_index("group").reindex(groups)
        place = np.arange(len(groups)) + (index - (len(models) - 1) / 2) * width
        bars: dict[str, Any] = {
            "color": colour(index),
            "alpha": 0.6,
            "hatch": hatch(index),
            "edgecolor": INK,
            "linewidth": 0.6,
        }
        panel.bar(place, rows["mean"], width, **bars)
        low, high = rows["low"].astype(float), rows["high"].astype(float)
        panel.errorbar(
            place,
            rows["mean"],
            [rows["mean"] - low, high - rows["mean"]],
            fmt="none",
            color=INK,
            linewidth=1,
            capsize=2,
        )
    known = table.drop_duplicates("group")
    labels = [
        f"{_group_label(row['group'], row['description'])}\nn = {row['n_users']:,}" for row in known.to_dict("records")
    ]
    panel.set_xticks(range(len(groups)), labels, fontsize=8)
    style_panel(panel, grid="y")
    panel.axhline(0, color=GREY, linewidth=0.8)


def _group_label(group: str, description: str) -> str:
    """Name a group of history lengths by its lengths."""
    return description.removeprefix("history of ") if group.startswith("length") else group


def _pairs(comparisons: pd.DataFrame, metric: str) -> pd.DataFrame:
    if comparisons.empty:
        raise ValueError("there is no comparison to draw: a study needs two models, or a model and a baseline")
    known = metric if metric in set(comparisons["metric"]) else comparisons["metric"].iloc[0]
    rows = comparisons[comparisons["metric"] == known]
    return rows[rows["relative_difference"].notna()]
