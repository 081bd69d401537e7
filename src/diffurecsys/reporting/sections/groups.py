"""Rankers on users whose targets or histories are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import GREY, INK, add_caption, add_legend, colour, hatch, style_panel
from diffurecsys.reporting.text_table import (
    Columns,
    Table,
    count,
    make_table,
    metric_label,
    p_value,
    percent,
    with_interval,
    with_relative_interval,
)
from diffurecsys.reporting.verdicts import family_sizes

MOST_MODELS = 6  # of one panel of bars


def write(results: Results) -> Text:
    """Write the declared metric by group, and differences within groups."""
    board, metric = results.leaderboard, results.leaderboard.declared
    scores, compared = results.tables["group_scores_table"], results.tables["group_comparisons_table"]
    tables = [group_table(scores, board.names, metric)]
    among = board.models if len(board.models) > 1 else board.names  # models beside baselines would fill pages
    between = compared[compared["model"].isin(among) & compared["reference"].isin(among)]
    if len(between):
        tables.append(group_comparison_table(between, metric))
    return Text(tables=tuple(tables))


def group_table(group_scores: pd.DataFrame, names: Sequence[str], metric: str) -> Table:
    """Write a metric in every group, a column a ranker."""
    rows = group_scores[(group_scores["metric"] == metric) & group_scores["model"].isin(names)].copy()
    rows["text"] = [with_interval(row) for row in rows.to_dict("records")]
    wide = rows.pivot_table(
        index=["family", "group", "description", "n_users"], columns="model", values="text", aggfunc="first", sort=False
    ).reset_index()
    columns: Columns = {
        "group": ("group", str),
        "description": ("users", str),
        "n_users": ("n", count),
        **{name: (name, str) for name in names if name in wide},
    }
    return make_table(
        f"groups_{metric_label(metric)}",
        f"Test {metric} by group of users",
        wide,
        columns,
        caption="Mean [95 % interval that counts users and, from three on, seeds].",
    )


def group_comparison_table(group_comparisons: pd.DataFrame, metric: str) -> Table:
    """Write differences in every group."""
    rows = with_relative_interval(group_comparisons[group_comparisons["metric"] == metric])
    columns: Columns = {
        "group": ("group", str),
        "model": ("model", str),
        "reference": ("reference", str),
        "n_users": ("n", count),
        "relative_difference": ("difference, %", percent),
        "relative_interval": ("95 % interval", str),
        "p_t": ("p", p_value),
        "p_holm": ("Holm p", p_value),
        "p_users_holm": ("Holm p, users alone", p_value),
    }
    return make_table(
        f"group_comparisons_{metric_label(metric)}",
        f"Differences in test {metric} by group of users",
        rows,
        columns,
        caption="As in the tests that pair users; Holm's correction is over the "
        f"{family_sizes(group_comparisons)} tests of a metric: all groups and pairs together.",
        folded=True,
    )


def draw_groups(
    group_scores: pd.DataFrame, *, models: Sequence[str], metric: str = DECLARED_METRIC, confidence: float = 0.95
) -> Figure:
    """Draw each ranker's metric in every group of users, one panel a family of groups.

    Args:
        group_scores: of `evaluation.groups.group_scores`.
        models: which rankers, in their order; the first few are drawn.
        metric: which metric; the first one where it was not computed.
        confidence: of the intervals.

    Raises:
        ValueError: there are no scores.
    """
    if group_scores.empty or not models:
        raise ValueError("there are no scores of groups to draw: run the pipeline `groups`")
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


PART = Part(
    "Groups of users",
    write,
    needs=("group_scores_table", "group_comparisons_table"),
    figures=(
        Made(
            "groups_figure",
            lambda results: draw_groups(
                results.tables["group_scores_table"],
                models=tuple(dict.fromkeys((*results.leaderboard.models, *results.leaderboard.ordered))),
                confidence=results.confidence,
            ),
        ),
    ),
)
