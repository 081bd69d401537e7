"""Every ranker's metrics, on both splits and in both rankings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from plotly.subplots import make_subplots

from diffurecsys.columns import SPLITS, TEST
from diffurecsys.evaluation.leaderboard import BASELINE, CONTROL, Leaderboard
from diffurecsys.evaluation.ranks import ALL
from diffurecsys.reporting.leaderboard_tables import format_score, leaderboard_table, ranking_text, wide_table
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import COLOURS, GREY, INK, add_caption, add_legend, style_panel

FIGURE_METRICS = ("NDCG@10", "HR@10")
HATCH = {CONTROL: "///"}  # colours are the models'


def write(results: Results) -> Text:
    """Write a table a split and ranking, the primary ranking's first."""
    board = results.leaderboard
    return Text(
        tables=tuple(
            leaderboard_table(board, split, ranking, results.paper) for split in SPLITS for ranking in board.rankings
        )
    )


def draw_leaderboard(
    leaderboard: Leaderboard, paper: PaperResults | None = None, *, metrics: Sequence[str] = FIGURE_METRICS
) -> Figure:
    """Draw a bar a ranker, its seeds as points and their standard deviation, and the paper's values, on test.

    Args:
        leaderboard: the study's results; the primary ranking is drawn.
        paper: marks the paper's mean where given and all items are ranked.
        metrics: one panel each; those that were not computed are left out.
    """
    names, shown = leaderboard.ordered, _computed(leaderboard, metrics)
    figure = Figure(figsize=(9.0, 1.9 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, shown, strict=True):
        for position, name in enumerate(names):
            _draw_bar(panel, position, leaderboard, name, metric)
        printed = _printed(leaderboard, paper, metric)
        for mean, name in printed:
            panel.plot(mean, names.index(name), "D", ms=7, mfc="none", mec=INK, mew=1.4, zorder=5)
        panel.set_xlabel(f"{TEST} {metric}")
        panel.set_xlim(left=0)
        panel.margins(x=0.08)
        style_panel(panel, grid="x")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.45, -0.55)
    panels[0].set_ylabel("ranker")
    add_legend(figure, _keys(leaderboard, with_paper=bool(printed)))
    add_caption(figure, leaderboard_caption(leaderboard))
    return figure


def plotly_leaderboard(
    leaderboard: Leaderboard, paper: PaperResults | None = None, *, metrics: Sequence[str] = FIGURE_METRICS
) -> go.Figure:
    """Draw what `draw_leaderboard` draws, to be hovered over."""
    names, shown = leaderboard.ordered, _computed(leaderboard, metrics)
    figure = make_subplots(rows=1, cols=len(shown), shared_yaxes=True, horizontal_spacing=0.05)
    for column, metric in enumerate(shown, start=1):
        for trace in _traces(leaderboard, paper, metric):
            figure.add_trace(trace.update(showlegend=bool(trace.showlegend) and column == 1), row=1, col=column)
        figure.update_xaxes(title_text=f"{TEST} {metric}", rangemode="tozero", row=1, col=column)
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=names)
    figure.update_layout(
        template="plotly_white",
        barmode="overlay",
        height=180 + 40 * len(names),
        margin={"l": 20, "r": 20, "t": 110, "b": 50},
        title={"text": "<br>".join(textwrap.wrap(leaderboard_caption(leaderboard), width=110)), "font": {"size": 12}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
    )
    return figure


def leaderboard_caption(leaderboard: Leaderboard) -> str:
    """Say what `draw_leaderboard` shows, and over how many seeds."""
    first = leaderboard.metrics[0]
    counts = sorted({leaderboard.score(name, TEST, first).n_seeds for name in leaderboard.trained})
    n = f" (n = {' to '.join(str(count) for count in sorted({counts[0], counts[-1]}))})" if counts else ""
    return (
        f"Bars: mean over seeds{n} on the {TEST} targets; points: single seeds; error bars: ± 1 standard deviation "
        f"(none with one seed or without training). {ranking_text(leaderboard.ranking).capitalize()}."
    )


def _computed(leaderboard: Leaderboard, metrics: Sequence[str]) -> list[str]:
    return [metric for metric in metrics if metric in leaderboard.metrics] or [leaderboard.metrics[0]]


def _colour(leaderboard: Leaderboard, name: str) -> str:
    return COLOURS[leaderboard.models.index(name) % len(COLOURS)] if name in leaderboard.models else GREY


def _printed(leaderboard: Leaderboard, paper: PaperResults | None, metric: str) -> list[tuple[float, str]]:
    """The paper's means, where they can be compared: it ranks all items."""
    if paper is None or leaderboard.ranking != ALL:
        return []
    known = [(paper.score(name, metric), name) for name in leaderboard.names]
    return [(score.mean, name) for score, name in known if score is not None]


def _draw_bar(panel: Axes, position: int, leaderboard: Leaderboard, name: str, metric: str) -> None:
    score, values = leaderboard.score(name, TEST, metric), leaderboard.values(name, TEST, metric)
    hatch, colour = HATCH.get(leaderboard.role(name)), _colour(leaderboard, name)
    panel.barh(position, score.mean, height=0.62, color=colour, alpha=0.55, hatch=hatch, zorder=2)
    if not isnan(score.std):
        panel.errorbar(score.mean, position, xerr=score.std, color=INK, capsize=4, linewidth=1.2, zorder=3)
    if score.n_seeds:
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        panel.scatter(values, position + spread, s=13, color=INK, linewidths=0, alpha=0.8, zorder=4)


def _keys(leaderboard: Leaderboard, *, with_paper: bool) -> list[Artist]:
    keys: list[Artist] = [
        Line2D([], [], color=INK, marker="o", ms=4, linestyle="", label="one seed"),
        Line2D([], [], color=INK, marker="|", ms=8, linewidth=1.2, label="± 1 standard deviation"),
    ]
    for role in (CONTROL, BASELINE):
        if leaderboard.with_role(role):
            keys.append(Patch(color=GREY, alpha=0.55, hatch=HATCH.get(role), label=role))
    if with_paper:
        keys.append(Line2D([], [], marker="D", ms=7, mfc="none", mec=INK, linestyle="", label="paper"))
    return keys


def _traces(leaderboard: Leaderboard, paper: PaperResults | None, metric: str) -> list[Any]:
    trained = leaderboard.trained
    seeds = [(value, name) for name in trained for value in leaderboard.values(name, TEST, metric)]
    traces = [_bars(leaderboard, [name], metric, showlegend=False) for name in leaderboard.models]
    for role in (CONTROL, BASELINE):
        if names := leaderboard.with_role(role):
            traces.append(_bars(leaderboard, names, metric, name=role, showlegend=True))
    if seeds:
        traces.append(_points(seeds, "one seed", {"color": INK, "size": 5}))
    if printed := _printed(leaderboard, paper, metric):
        traces.append(_points(printed, "paper", {"color": INK, "size": 11, "symbol": "diamond-open"}))
    return traces


def _bars(leaderboard: Leaderboard, names: Sequence[str], metric: str, **options: Any) -> Any:  # noqa: ANN401
    scores = [leaderboard.score(name, TEST, metric) for name in names]
    return go.Bar(
        x=[score.mean for score in scores],
        y=names,
        orientation="h",
        marker={
            "color": [_colour(leaderboard, name) for name in names],
            "opacity": 0.6,
            "pattern": {"shape": ["/" if leaderboard.role(name) == CONTROL else "" for name in names]},
        },
        error_x={"array": [None if isnan(score.std) else score.std for score in scores], "color": INK},
        text=[format_score(score) for score in scores],
        textposition="none",
        hovertemplate="%{y}: %{text}<extra></extra>",
        **options,
    )


def _points(points: Sequence[tuple[float, str]], name: str, marker: dict[str, Any]) -> Any:  # noqa: ANN401
    return go.Scatter(
        x=[value for value, _ in points],
        y=[ranker for _, ranker in points],
        mode="markers",
        name=name,
        showlegend=True,
        marker=marker,
        hovertemplate=f"%{{y}}: %{{x:.6f}}<extra>{name}</extra>",
    )


PART = Part(
    "Leaderboard",
    write,
    figures=(Made("leaderboard_figure", lambda results: draw_leaderboard(results.leaderboard, results.paper)),),
    plots=(Made("leaderboard_plot", lambda results: plotly_leaderboard(results.leaderboard, results.paper)),),
    files=(Made("leaderboard_table", lambda results: wide_table(results.leaderboard, results.paper)),),
)
