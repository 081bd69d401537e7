"""Figures of inference: quality and time by reverse steps, ensembles by size, other δ."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.evaluation.inference import ENSEMBLE, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.inference_summary import ALL
from diffurecsys.reporting.style import INK, add_caption, add_legend, colour, line_style, marker, style_panel

METRIC = "NDCG@10"


def draw_steps(
    inference: pd.DataFrame, step_times: pd.DataFrame, *, models: Sequence[str], metric: str = METRIC
) -> Figure:
    """Draw quality and time against the number of reverse steps.

    Args:
        inference: of `summarise_inference`, with the column `model`.
        step_times: model, seed, steps, users, seconds.
        models: which, in their order.
        metric: of quality.

    Raises:
        ValueError: there are no numbers of steps.
    """
    chosen = _chosen(inference, STEPS, metric)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    quality, speed = figure.subplots(1, 2)
    for index, model in enumerate(models):
        _draw_line(quality, chosen[chosen["model"] == model], index, shift=index - (len(models) - 1) / 2)
        times = step_times[step_times["model"] == model]
        per_thousand = 1000 * times["seconds"] / times["users"]
        mean = per_thousand.groupby(times["steps"]).mean()
        speed.plot(mean.index, mean, **line_style(index), marker=marker(index), ms=5)
    for panel, label in ((quality, f"test {chosen['metric'].iloc[0]}"), (speed, "seconds for 1,000 users")):
        _log2_axis(panel, sorted(chosen["level"].unique()))
        panel.set_xlabel("reverse steps")
        panel.set_ylabel(label)
        style_panel(panel, grid="y")
    speed.set_yscale("log")
    speed.tick_params(colors=INK, which="both")
    add_legend(figure, _keys(models))
    users, seeds = int(chosen["n_users"].max()), int(chosen["n_seeds"].max())
    add_caption(
        figure,
        f"Left: mean over users and seeds with 95 % intervals that count both, slightly shifted to be told apart. "
        f"Right: wall time of scoring the whole catalogue, mean over seeds. n = {users:,} test users, {seeds} seeds.",
    )
    return figure


def draw_ensembles(inference: pd.DataFrame, *, models: Sequence[str], metric: str = METRIC) -> Figure:
    """Draw quality against the number of averaged distributions, over sampling seeds and over training seeds.

    Args:
        inference: of `summarise_inference`, with the column `model`.
        models: which, in their order.
        metric: of quality.

    Raises:
        ValueError: there are no ensembles.
    """
    kinds = {
        ENSEMBLE: "sampling seeds of one trained model (Algorithm 3)",
        TRAINING_SEEDS: "training seeds, one sample each",
    }
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (kind, label) in zip(panels, kinds.items(), strict=True):
        chosen = _chosen(inference, kind, metric)
        for index, model in enumerate(models):
            _draw_line(panel, chosen[chosen["model"] == model], index, shift=index - (len(models) - 1) / 2)
        _log2_axis(panel, sorted(chosen["level"].unique()))
        panel.set_xlabel(f"averaged: {label}")
        style_panel(panel, grid="y")
    panels[0].set_ylabel(f"test {chosen['metric'].iloc[0]}")
    add_legend(figure, _keys(models))
    users = int(chosen["n_users"].max())
    add_caption(
        figure,
        f"Means with 95 % intervals, slightly shifted to be told apart; n = {users:,} test users. Left: mean over "
        "trained models, intervals count users and training seeds. Right: one ensemble, intervals count users alone. "
        "Equal numbers cost equally many reverse processes.",
    )
    return figure


def draw_sweep(sweep: pd.DataFrame, *, metric: str = METRIC) -> Figure:
    """Draw accuracy and overlap of samples against δ.

    Args:
        sweep: model, base, delta, metric, mean, low, high, n_users, n_seeds, overlap.
        metric: of accuracy.

    Raises:
        ValueError: no δ was swept.
    """
    if sweep.empty:
        raise ValueError("there is no sweep of δ to draw: set study.sweep in the parameters")
    known = metric if metric in set(sweep["metric"]) else sweep["metric"].iloc[0]
    rows = sweep[sweep["metric"] == known]
    bases, deltas = list(dict.fromkeys(rows["base"])), sorted(rows["delta"].unique())
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    accuracy, overlap = figure.subplots(1, 2)
    for index, base in enumerate(bases):
        part = rows[rows["base"] == base].sort_values("delta")
        place = [deltas.index(delta) + 0.08 * (index - (len(bases) - 1) / 2) for delta in part["delta"]]
        error = [part["mean"] - part["low"], part["high"] - part["mean"]]
        accuracy.errorbar(place, part["mean"], error, **line_style(index), marker=marker(index), ms=5, capsize=3)
        overlap.plot(place, part["overlap"], **line_style(index), marker=marker(index), ms=5)
    for panel, label in ((accuracy, f"test {known}"), (overlap, "rank-biased overlap of two samples")):
        panel.set_xticks(range(len(deltas)), [f"{delta:g}" for delta in deltas])
        panel.set_xlabel("δ, weight of the noised target (0: no diffusion)")
        panel.set_ylabel(label)
        style_panel(panel, grid="y")
    overlap.set_ylim(top=1.02)
    add_legend(figure, _keys(bases))
    seeds = " to ".join(str(count) for count in sorted({int(rows["n_seeds"].min()), int(rows["n_seeds"].max())}))
    add_caption(
        figure,
        f"Left: mean with 95 % interval over {int(rows['n_users'].max()):,} users and {seeds} seeds. "
        "Right: how alike the top lists of two samples for the same user are (1: equal, p = 0.9).",
    )
    return figure


def _chosen(inference: pd.DataFrame, kind: str, metric: str) -> pd.DataFrame:
    rows = inference[(inference["kind"] == kind) & (inference["group"] == ALL)]
    if rows.empty:
        raise ValueError(f"there are no probes of kind {kind!r} to draw: run the pipeline `analysis`")
    known = metric if metric in set(rows["metric"]) else rows["metric"].iloc[0]
    return rows[rows["metric"] == known]


def _draw_line(panel: Axes, rows: pd.DataFrame, index: int, *, shift: float) -> None:
    rows = rows.sort_values("level")
    error = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    place = rows["level"] * 2 ** (0.06 * shift)
    panel.errorbar(
        place, rows["mean"], error, **line_style(index), marker=marker(index), ms=5, capsize=3, ecolor=colour(index)
    )


def _log2_axis(panel: Axes, levels: Sequence[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(levels, [str(level) for level in levels])
    panel.minorticks_off()


def _keys(models: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], **line_style(index), marker=marker(index), ms=5, label=model)
        for index, model in enumerate(models)
    ]
