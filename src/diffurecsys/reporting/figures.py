"""Figures of a study: the leaderboard with its seeds, and the training curves.

Both are made from result tables.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from plotly.subplots import make_subplots

from diffurecsys.columns import EPOCH
from diffurecsys.evaluation.leaderboard import TEST, Leaderboard
from diffurecsys.reporting.paper import PaperResults
from diffurecsys.reporting.style import COLOURS, GREY, INK, add_caption, add_legend, line_style, style_panel
from diffurecsys.reporting.leaderboard_tables import format_score

FIGURE_METRICS = ("NDCG@10", "HR@10")

Histories = Mapping[tuple[str, int], pd.DataFrame]


def draw_leaderboard(
    leaderboard: Leaderboard,
    paper: PaperResults | None = None,
    *,
    split: str = TEST,
    metrics: Sequence[str] = FIGURE_METRICS,
) -> Figure:
    """Draw a bar a model, its seeds as points and their standard deviation, next to baselines and the paper's values.

    Args:
        leaderboard: the study's results.
        paper: marks the paper's mean where given.
        split: of which split.
        metrics: one panel each; those that were not computed are left out.
    """
    names = (*leaderboard.models, *leaderboard.baselines)
    shown = _computed(leaderboard, metrics)
    figure = Figure(figsize=(9.0, 1.9 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, shown, strict=True):
        for position, name in enumerate(names):
            _draw_bar(panel, position, leaderboard, name, split, metric)
            printed = paper.score(name, metric) if paper else None
            if printed is not None:
                panel.plot(printed.mean, position, "D", ms=7, mfc="none", mec=INK, mew=1.4, zorder=5)
        panel.set_xlabel(f"{split} {metric}")
        panel.set_xlim(left=0)
        panel.margins(x=0.08)
        style_panel(panel, grid="x")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.45, -0.55)
    panels[0].set_ylabel("model")
    add_legend(figure, _leaderboard_keys(leaderboard, paper))
    add_caption(figure, leaderboard_caption(leaderboard, split=split))
    return figure


def draw_curves(histories: Histories, *, metric: str = "NDCG@10") -> Figure:
    """Draw training loss and a validation metric by epoch, one line a seed.

    Args:
        histories: of each (model, seed): one row an epoch with `epoch`, `loss` and `validation_<metric>`, which is
            missing where an epoch was not validated.
        metric: the validation metric to draw.

    Raises:
        ValueError: there is no history.
    """
    if not histories:
        raise ValueError("there is no training history to draw: train at least one model")
    models = tuple(dict.fromkeys(model for model, _ in histories))
    figure = Figure(figsize=(9.0, 4.0 + 0.25 * (len(models) // 5)), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, column, label in zip(
        panels, ("loss", f"validation_{metric}"), ("training loss", f"validation {metric}"), strict=True
    ):
        for (model, _), history in histories.items():
            known = history.dropna(subset=column) if column in history else history.iloc[:0]
            line = line_style(models.index(model))
            marker = "o" if len(known) == 1 else ""
            panel.plot(known[EPOCH], known.get(column, []), **line, marker=marker, alpha=0.85)
        panel.set_xlabel("epoch")
        panel.set_ylabel(label)
        panel.xaxis.get_major_locator().set_params(integer=True)
        style_panel(panel, grid="y")
    add_legend(figure, [Line2D([], [], **line_style(index), label=model) for index, model in enumerate(models)])
    add_caption(figure, curves_caption(histories))
    return figure


def plotly_leaderboard(
    leaderboard: Leaderboard,
    paper: PaperResults | None = None,
    *,
    split: str = TEST,
    metrics: Sequence[str] = FIGURE_METRICS,
) -> go.Figure:
    """Draw what `draw_leaderboard` draws, to be hovered over."""
    names = (*leaderboard.models, *leaderboard.baselines)
    shown = _computed(leaderboard, metrics)
    figure = make_subplots(rows=1, cols=len(shown), shared_yaxes=True, horizontal_spacing=0.05)
    for column, metric in enumerate(shown, start=1):
        for trace in _traces(leaderboard, paper, names, split, metric):
            figure.add_trace(trace.update(showlegend=bool(trace.showlegend) and column == 1), row=1, col=column)
        figure.update_xaxes(title_text=f"{split} {metric}", rangemode="tozero", row=1, col=column)
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=names)
    figure.update_layout(
        template="plotly_white",
        barmode="overlay",
        height=180 + 40 * len(names),
        margin={"l": 20, "r": 20, "t": 110, "b": 50},
        title={
            "text": "<br>".join(textwrap.wrap(leaderboard_caption(leaderboard, split=split), width=110)),
            "font": {"size": 12},
        },
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
    )
    return figure


def leaderboard_caption(leaderboard: Leaderboard, *, split: str = TEST) -> str:
    """Say what `draw_leaderboard` shows, and over how many seeds."""
    first = leaderboard.metrics[0]
    counts = [leaderboard.score(model, split, first).n_seeds for model in leaderboard.models]
    n = f"n = {counts[0]}" if len(set(counts)) == 1 else f"n = {min(counts)} to {max(counts)}"
    seen = "left out of" if leaderboard.exclude_seen else "kept in"
    return (
        f"Bars: mean over seeds ({n} a model) on the {split} targets; points: single seeds; error bars: ± 1 standard "
        f"deviation (none with one seed). Whole catalogue ranked, seen items {seen} the ranking."
    )


def curves_caption(histories: Histories) -> str:
    """Say what `draw_curves` shows, and over how many runs."""
    models = [model for model, _ in histories]
    counts = {model: models.count(model) for model in models}
    if len(set(counts.values())) == 1:
        n = f"n = {counts[models[0]]} a model"
    else:
        n = ", ".join(f"{model} n = {count}" for model, count in counts.items())
    return f"One line a seed ({n}). Lines end where training stopped."


def _computed(leaderboard: Leaderboard, metrics: Sequence[str]) -> list[str]:
    return [metric for metric in metrics if metric in leaderboard.metrics] or [leaderboard.metrics[0]]


def _colour(leaderboard: Leaderboard, name: str) -> str:
    return COLOURS[leaderboard.models.index(name) % len(COLOURS)] if name in leaderboard.models else GREY


def _draw_bar(panel: Axes, position: int, leaderboard: Leaderboard, name: str, split: str, metric: str) -> None:
    score, values = leaderboard.score(name, split, metric), leaderboard.values(name, split, metric)
    panel.barh(position, score.mean, height=0.62, color=_colour(leaderboard, name), alpha=0.55, zorder=2)
    if not isnan(score.std):
        panel.errorbar(score.mean, position, xerr=score.std, color=INK, capsize=4, linewidth=1.2, zorder=3)
    if score.n_seeds:
        spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
        panel.scatter(values, position + spread, s=13, color=INK, linewidths=0, alpha=0.8, zorder=4)


def _leaderboard_keys(leaderboard: Leaderboard, paper: PaperResults | None) -> list[Artist]:
    keys: list[Artist] = [
        Line2D([], [], color=INK, marker="o", ms=4, linestyle="", label="one seed"),
        Line2D([], [], color=INK, marker="|", ms=8, linewidth=1.2, label="± 1 standard deviation"),
    ]
    if leaderboard.baselines:
        keys.append(Patch(color=GREY, alpha=0.55, label="baseline (no training)"))
    if paper is not None and any(model in paper.scores for model in leaderboard.models):
        keys.append(Line2D([], [], marker="D", ms=7, mfc="none", mec=INK, linestyle="", label="paper"))
    return keys


def _traces(
    leaderboard: Leaderboard, paper: PaperResults | None, names: Sequence[str], split: str, metric: str
) -> list[Any]:
    models, baselines = leaderboard.models, leaderboard.baselines
    stds = {name: leaderboard.score(name, split, metric).std for name in models}
    errors = {name: None if isnan(std) else {"array": [std], "color": INK} for name, std in stds.items()}
    seeds = [(value, name) for name in models for value in leaderboard.values(name, split, metric)]
    printed = [(score.mean, name) for name in names if paper and (score := paper.score(name, metric)) is not None]
    traces = [_bars(leaderboard, [name], split, metric, showlegend=False, error_x=errors[name]) for name in models]
    if baselines:
        traces.append(_bars(leaderboard, baselines, split, metric, name="baseline (no training)", showlegend=True))
    traces.append(_points(seeds, "one seed", {"color": INK, "size": 5}))
    if printed:
        traces.append(_points(printed, "paper", {"color": INK, "size": 11, "symbol": "diamond-open"}))
    return traces


def _bars(leaderboard: Leaderboard, names: Sequence[str], split: str, metric: str, **options: Any) -> Any:  # noqa: ANN401
    scores = [leaderboard.score(name, split, metric) for name in names]
    return go.Bar(
        x=[score.mean for score in scores],
        y=names,
        orientation="h",
        marker={"color": [_colour(leaderboard, name) for name in names], "opacity": 0.6},
        text=[format_score(score) for score in scores],
        textposition="none",
        hovertemplate="%{y}: %{text}<extra></extra>",
        **options,
    )


def _points(points: Sequence[tuple[float, str]], name: str, marker: dict[str, Any]) -> Any:  # noqa: ANN401
    return go.Scatter(
        x=[value for value, _ in points],
        y=[model for _, model in points],
        mode="markers",
        name=name,
        showlegend=True,
        marker=marker,
        hovertemplate=f"%{{y}}: %{{x:.6f}}<extra>{name}</extra>",
    )
