"""How all figures look.

Colours are Okabe and Ito's, told apart by colour-blind readers; line styles, markers and hatches tell the same things
apart in black and white.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1b1f24"  # text, axes, error bars, seeds; a page may replace these two in SVG
RULE = "#d5d9de"  # grid lines
GREY = "#9aa1a9"  # baselines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#717880", "#F0E442")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2, 1, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")


def colour(index: int) -> str:
    """Return the colour of the model or group at `index`."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """Return its marker; colour and marker together repeat after 56."""
    return MARKERS[index % len(MARKERS)]


def hatch(index: int) -> str:
    """Return its hatch."""
    return HATCHES[index % len(HATCHES)]


def line_style(index: int) -> dict[str, Any]:
    """Return colour and dashes of its line."""
    return {"color": colour(index), "linestyle": LINES[index % len(LINES)], "linewidth": 1.5}


def style_panel(panel: Axes, *, grid: str | None) -> None:
    """Give a panel the common look.

    Args:
        panel: what to style.
        grid: `x`, `y` or None: which values get grid lines.
    """
    if grid is not None:
        panel.grid(axis="x" if grid == "x" else "y", color=RULE, linewidth=0.7)
        panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    for spine in panel.spines.values():
        spine.set_color(INK)
    panel.tick_params(colors=INK, which="both")
    panel.xaxis.label.set_color(INK)
    panel.yaxis.label.set_color(INK)
    panel.title.set_color(INK)


def add_legend(figure: Figure, keys: Sequence[Artist], *, columns: int = 5, handle: float = 3) -> None:
    """Put one legend above all panels, each key's handle so many letters wide.

    Args:
        figure: with a layout that makes room.
        keys: what it explains.
        columns: at most; fewer where long names would stand over the figure's edges.
        handle: width of a key's handle, in letters.
    """
    for ncols in range(min(columns, len(keys)), 0, -1):
        legend = figure.legend(
            handles=keys,
            loc="outside upper center",
            ncols=ncols,
            frameon=False,
            labelcolor=INK,
            handlelength=handle,
        )
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def add_caption(figure: Figure, text: str) -> None:
    """Write what the figure shows below all panels."""
    width = int(14.5 * figure.get_figwidth())
    figure.supxlabel(textwrap.fill(text, width=width), x=0.01, ha="left", fontsize=8.5, color=INK)
