"""Maps of representations: expected targets by cluster, samples of several users, items by popularity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys import columns
from diffurecsys.evaluation.maps import CLUSTER, FEWEST, X, Y
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import INK, add_caption, add_legend, colour, marker, style_panel

COLUMNS = 3  # panels side by side


def write(results: Results) -> Text:
    """Leave the figures alone."""
    return Text()


def draw_target_maps(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw what is expected next for every test user, one panel a model (the paper's Figs. 4 to 6).

    Args:
        maps: `evaluation.maps.target_map` by model.
    """
    maps = _drawn(maps)
    if not maps:
        return _too_few("test users")
    figure, panels = _panels(maps)
    clusters = max(int(table[CLUSTER].max()) for table in maps.values()) + 1
    for panel, (model, table) in zip(panels, maps.items(), strict=False):
        for cluster in range(clusters):
            part = table[table[CLUSTER] == cluster]
            _scatter(panel, part, cluster, size=_size(len(table)))
        panel.set_title(model, fontsize=10)
    add_legend(figure, _keys([f"cluster {number + 1}" for number in range(clusters)]), columns=4, handle=1)
    n = {len(table) for table in maps.values()}
    add_caption(
        figure,
        f"t-SNE of the vector that scores n = {max(n):,} test users' items (of diffusion models the reconstructed "
        "target), first training seed; colours and markers: "
        "k-means clusters of the whole vectors, largest first, each panel's own. Axes have no unit; distances between "
        "far clusters mean little.",
    )
    return figure


def draw_sample_maps(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw many samples of several users in one map, one panel a model (the paper's Fig. 3).

    Args:
        maps: `evaluation.maps.sample_map` by model.
    """
    maps = _drawn(maps)
    if not maps:
        return _too_few("samples")
    figure, panels = _panels(maps)
    first = next(iter(maps.values()))
    users = list(dict.fromkeys(first[columns.USER]))
    for panel, (model, table) in zip(panels, maps.items(), strict=False):
        for index, user in enumerate(users):
            _scatter(panel, table[table[columns.USER] == user], index, size=14)
        panel.set_title(model, fontsize=10)
    add_legend(figure, _keys([f"user {user}" for user in users]), columns=4, handle=1)
    add_caption(
        figure,
        f"t-SNE of {len(first) // len(users)} samples of the reconstructed target for each of {len(users)} users, "
        "first training seed. How far one user's points spread shows the reverse process's noise; t-SNE equalises "
        "densities, so compare a spread with the distance between users, not between panels.",
    )
    return figure


def draw_item_maps(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw all item embeddings by popularity, one panel a model.

    Args:
        maps: `evaluation.maps.item_map` by model.
    """
    maps = _drawn(maps)
    if not maps:
        return _too_few("items")
    figure, panels = _panels(maps)
    most = max(int(table[columns.POPULARITY].max()) for table in maps.values())
    for panel, (model, table) in zip(panels, maps.items(), strict=False):
        ordered = table.sort_values(columns.POPULARITY)
        points = panel.scatter(
            ordered[X],
            ordered[Y],
            c=ordered[columns.POPULARITY].clip(lower=1),
            s=_size(len(table)),
            cmap="cividis",
            norm=LogNorm(1, max(2, most)),
            linewidths=0,
            rasterized=True,
        )
        panel.set_title(model, fontsize=10)
    bar = figure.colorbar(points, ax=list(panels), shrink=0.8)
    bar.set_label("interactions in the training part", color=INK)
    bar.ax.tick_params(colors=INK, which="both")
    add_caption(
        figure,
        f"t-SNE of the embeddings of n = {len(table):,} items, first training seed. Items that training never saw "
        "count as one interaction. Axes have no unit.",
    )
    return figure


def plotly_target_map(table: pd.DataFrame) -> go.Figure:
    """Draw a `target_map`, to be zoomed into and hovered over."""
    figure = go.Figure()
    for cluster in sorted(table[CLUSTER].unique()):
        part = table[table[CLUSTER] == cluster]
        figure.add_trace(
            go.Scattergl(
                x=part[X].round(3),
                y=part[Y].round(3),
                mode="markers",
                name=f"cluster {cluster + 1} (n = {len(part):,})",
                marker={"size": 4, "color": colour(int(cluster)), "opacity": 0.7},
                customdata=part[columns.USER],
                hovertemplate="user %{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(
        template="plotly_white",
        height=640,
        title={
            "text": f"t-SNE of the expected targets, n = {len(table):,} test users",
            "font": {"size": 13},
        },
        xaxis_title="t-SNE 1 (no unit)",
        yaxis_title="t-SNE 2 (no unit)",
    )
    figure.update_yaxes(scaleanchor="x")
    return figure


def _drawn(maps: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Leave out the maps that had too few points to be made."""
    if not maps:
        raise ValueError("there is no map to draw: run the pipeline `maps`")
    return {model: table for model, table in maps.items() if len(table)}


def _too_few(points: str) -> Figure:
    """Say that there is no map, in the place of one."""
    figure = Figure(figsize=(6.0, 0.6))
    figure.text(0.5, 0.5, f"No map: there are fewer than {FEWEST} {points}.", ha="center", va="center", color=INK)
    return figure


def _panels(maps: Mapping[str, pd.DataFrame]) -> tuple[Figure, list[Axes]]:
    wide = min(COLUMNS, len(maps))
    high = -(-len(maps) // wide)
    figure = Figure(figsize=(max(6.0, 3.6 * wide), 1.3 + 3.4 * high), layout="constrained")
    panels = list(figure.subplots(high, wide, squeeze=False).flat)
    for number, panel in enumerate(panels):
        if number >= len(maps):
            panel.set_visible(False)
            continue
        style_panel(panel, grid=None)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_aspect("equal", adjustable="datalim")
        panel.set_xlabel("t-SNE 1")
        panel.set_ylabel("t-SNE 2")
    return figure, panels[: len(maps)]


def _scatter(panel: Axes, part: pd.DataFrame, index: int, *, size: float) -> None:
    panel.scatter(
        part[X], part[Y], s=size, color=colour(index), marker=marker(index), alpha=0.65, linewidths=0, rasterized=True
    )


def _size(n: int) -> float:
    """Area of a point, less the more there are."""
    return float(np.clip(20_000 / n, 2, 16))


def _keys(labels: list[str]) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker=marker(index), ms=6, color=colour(index), label=label)
        for index, label in enumerate(labels)
    ]


PART = Part(
    "Representations",
    write,
    needs=("target_map", "item_map"),
    absent="no ranker that was to be mapped has vectors",
    figures=(
        Made("target_maps_figure", lambda results: draw_target_maps(results.maps["target_map"])),
        Made("sample_maps_figure", lambda results: draw_sample_maps(results.maps["sample_map"]), ("sample_map",)),
        Made("item_maps_figure", lambda results: draw_item_maps(results.maps["item_map"])),
    ),
)
