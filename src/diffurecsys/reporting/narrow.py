"""Figures for phones: panels below each other, a legend of two columns, a caption that is wrapped again."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.ticker import FixedFormatter, FuncFormatter

from diffurecsys.reporting.style import add_caption

WIDTH = 4.4  # inches: on a screen of 420 pixels 10 points are 12 pixels high
LABELS = 8.5  # points of tick labels
_AROUND = 1.5  # inches for legend and caption
_AXIS_LETTERS = 30  # of an axis's name in one line
_LETTER = 0.6  # width by height
_BESIDE = 0.9  # inches left of a panel's axis
_STANDS = {"Left:": "Above:", "Right:": "Below:"}  # where panels stand, in captions


@contextmanager
def narrowed(figure: Figure) -> Iterator[None]:
    """Lay a figure out for a phone as long as the block lasts; then it is what it was.

    Figures without panels are left alone, as are panels that are not drawn.
    """
    panels = [panel for panel in figure.axes if panel.get_visible() and panel.get_subplotspec() is not None]
    if not panels:
        yield
        return
    with ExitStack() as restore:
        _stack(figure, panels, restore)
        _wrap(figure, restore)
        yield


def _stack(figure: Figure, panels: list[Axes], restore: ExitStack) -> None:
    """Give every panel a row of its own, as high as it was, with the labels that neighbours showed for it."""
    size = figure.get_size_inches().copy()
    specs = [_spec(panel) for panel in panels]
    rows = max(spec.get_gridspec().nrows for spec in specs)
    shares = [_share(spec) for spec in specs]
    heights = [max(1.2, (size[1] - _AROUND) * share * (1 if rows > 1 else 0.9)) for share in shares]
    restore.callback(figure.set_size_inches, *size)
    figure.set_size_inches(WIDTH, sum(heights) + _AROUND)
    grid = GridSpec(len(panels), 1, figure=figure, height_ratios=heights)
    label_of: dict[int, str] = {}
    for spec, panel in zip(specs, panels, strict=True):
        label_of[spec.rowspan.start] = label_of.get(spec.rowspan.start) or panel.get_ylabel()
    for place, (panel, spec) in enumerate(zip(panels, specs, strict=True)):
        restore.callback(panel.set_subplotspec, spec)
        panel.set_subplotspec(grid[place])
        shown = bool(panel.yaxis.get_tick_params().get("labelleft", True))
        restore.callback(panel.tick_params, axis="both", labelsize=panel.yaxis.get_tick_params().get("labelsize", 10))
        restore.callback(panel.tick_params, axis="y", labelleft=shown)
        panel.tick_params(axis="both", labelsize=LABELS)
        panel.tick_params(axis="y", labelleft=True)
        restore.callback(panel.set_xlabel, panel.get_xlabel())
        restore.callback(panel.set_ylabel, panel.get_ylabel())
        panel.set_xlabel(textwrap.fill(panel.get_xlabel(), _AXIS_LETTERS))
        panel.set_ylabel(textwrap.fill(panel.get_ylabel() or label_of[spec.rowspan.start], _AXIS_LETTERS))
        _turn(panel, restore)


def _turn(panel: Axes, restore: ExitStack) -> None:
    """Turn words below an axis that would run into each other."""
    words = panel.get_xticklabels()
    lengths = [max(map(len, word.get_text().split("\n"))) for word in words]
    if sum(lengths) * _LETTER * LABELS / 72 < WIDTH - _BESIDE or not isinstance(
        panel.xaxis.get_major_formatter(), FixedFormatter | FuncFormatter
    ):
        return
    restore.callback(panel.tick_params, axis="x", labelrotation=0)
    panel.tick_params(axis="x", labelrotation=40)


def _spec(panel: Axes) -> SubplotSpec:
    found = panel.get_subplotspec()
    assert found is not None
    return found


def _share(spec: SubplotSpec) -> float:
    """Which part of its figure's height a panel takes."""
    ratios = np.asarray(spec.get_gridspec().get_height_ratios(), dtype=float)
    return float(ratios[spec.rowspan.start] / ratios.sum())


def _wrap(figure: Figure, restore: ExitStack) -> None:
    """Write caption and legend for the width."""
    caption = getattr(figure, "_supxlabel", None)
    if caption is not None:
        restore.callback(caption.set_text, caption.get_text())
        add_caption(figure, " ".join(_STANDS.get(word, word) for word in caption.get_text().split()))
    for legend in list(figure.legends):
        figure.legends.remove(legend)
        handles, texts = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        slim = figure.legend(
            handles=[handle for handle in handles if handle is not None],
            labels=texts,
            loc="outside upper center",
            ncols=2,
            frameon=False,
            labelcolor=legend.get_texts()[0].get_color(),
            fontsize=LABELS,
            handlelength=2,
        )
        restore.callback(figure.legends.append, legend)
        restore.callback(slim.remove)
