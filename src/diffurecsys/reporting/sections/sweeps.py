"""What one parameter does: rankers beside the same rankers with other values of it."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.evaluation.leaderboard import DECLARED_METRIC
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import add_caption, add_legend, line_style, marker, style_panel
from diffurecsys.reporting.text_table import (
    Columns,
    Table,
    count,
    interval,
    make_table,
    metric_label,
    number,
    p_value,
    percent,
    value_text,
    with_interval,
)
from diffurecsys.reporting.verdicts import NO_NOISE, sweep_verdicts


def write(results: Results) -> Text:
    """Write what every value makes of a ranker, a table a sweep."""
    table, metric = results.tables["sweeps_table"], results.leaderboard.declared
    sweeps = [part for _, part in table.groupby("sweep", sort=False)]
    return Text(
        tuple(sweep_verdicts(table, metric)),
        tuple(sweep_table(part, metric) for part in sweeps),
    )


def sweep_table(sweep: pd.DataFrame, metric: str) -> Table:
    """Write what other values of a parameter do."""
    rows = sweep[sweep["metric"] == metric].copy()
    rows["text"] = [with_interval(row) for row in rows.to_dict("records")]
    rows["relative_interval"] = [
        None if pd.isna(row["relative_low"]) else interval(row["relative_low"], row["relative_high"])
        for row in rows.to_dict("records")
    ]
    name, parameter = rows["sweep"].iloc[0], rows["parameter"].iloc[0]
    rows["shown"] = [
        f"{value_text(row['value'])}{' (as configured)' if row['configured'] else ''}"
        for row in rows.to_dict("records")
    ]
    columns: Columns = {
        "base": ("ranker", str),
        "shown": (parameter, str),
        "n_seeds": ("seeds", count),
        "text": (metric, str),
        "paired_seeds": ("paired seeds", count),
        "relative_difference": ("to the configured, %", percent),
        "relative_interval": ("95 % interval", str),
        "p_holm": ("Holm p", p_value),
        "p_users_holm": ("Holm p, users alone", p_value),
    }
    if rows["overlap"].notna().any():
        columns["overlap"] = ("overlap of samples", number)
    if rows["gain_steps"].notna().any():
        columns["gain_steps"] = ("gain of all steps over one, %", percent)
    columns["training_seconds"] = ("seconds", lambda value: f"{value:,.1f}")
    notes = ["Mean [95 % interval] on test; differences under the same seeds."]
    if parameter == NO_NOISE:
        notes.append("0 is the control: the same network and training without the noised target.")
    if "overlap" in columns:
        notes.append("Overlap: rank-biased overlap of two samples for the same user, 1 where sampling changes nothing.")
    return make_table(
        f"sweep_{name}_{metric_label(metric)}",
        f"Sweep {name}: test {metric} by {parameter}",
        rows,
        columns,
        caption=" ".join(notes),
    )


def draw_sweeps(sweeps: pd.DataFrame, *, metric: str = DECLARED_METRIC) -> Figure:
    """Draw what each value gains over the configured one, and overlap of samples where known; a row of panels a sweep.

    Args:
        sweeps: sweep, parameter, value, configured, base, metric, relative_difference, relative_low, relative_high,
            n_users, paired_seeds, overlap.
        metric: of accuracy.

    Raises:
        ValueError: nothing was swept.
    """
    if sweeps.empty:
        raise ValueError("there is no sweep to draw: set study.sweeps in the parameters")
    known = metric if metric in set(sweeps["metric"]) else sweeps["metric"].iloc[0]
    rows = sweeps[sweeps["metric"] == known]
    names, bases = list(dict.fromkeys(rows["sweep"])), list(dict.fromkeys(rows["base"]))
    wide = 2 if rows["overlap"].notna().any() else 1
    figure = Figure(figsize=(4.5 * wide + (2.0 if wide == 1 else 0), 0.9 + 3.3 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), wide, squeeze=False)
    for line, name in zip(panels, names, strict=True):
        part = rows[rows["sweep"] == name]
        for column, label, panel in zip(
            ("relative_difference", "overlap"),
            (f"test {known}: to the configured, %", "rank-biased overlap of two samples"),
            line,
            strict=False,
        ):
            _draw_values(panel, part, bases, column)
            panel.set_ylabel(label)
    keys = [
        Line2D([], [], **line_style(index), marker=marker(index), ms=5, label=base) for index, base in enumerate(bases)
    ]
    add_legend(figure, keys)
    paired = rows["paired_seeds"].dropna()
    seeds = " to ".join(str(n) for n in sorted({int(paired.min()), int(paired.max())}))
    overlap = (
        " Overlap: how alike the top lists of two samples for a user are (1: equal, p = 0.9)." if wide == 2 else ""
    )
    add_caption(
        figure,
        f"Difference to the value as configured (0), of the same users under the same seeds, with its 95 % interval: "
        f"{int(rows['n_users'].max()):,} users and {seeds} seeds, with fewer than three of them users alone.{overlap}",
    )
    return figure


def _draw_values(panel: Axes, rows: pd.DataFrame, bases: list[str], column: str) -> None:
    values = _ordered(rows)
    for index, base in enumerate(bases):
        part = rows[rows["base"] == base].copy()
        if column == "relative_difference":
            part = _in_percent(part)
        part = part[part[column].notna()]
        part["place"] = [values.index(value_text(value)) for value in part["value"]]
        part = part.sort_values("place")
        if part.empty:
            continue
        place = part["place"] + 0.08 * (index - (len(bases) - 1) / 2)
        middle = part[column]
        paired = column == "relative_difference"
        error = [middle - part["relative_low"], part["relative_high"] - middle] if paired else None
        panel.errorbar(place, part[column], error, **line_style(index), marker=marker(index), ms=5, capsize=3)
    panel.set_xticks(range(len(values)), values)
    panel.set_xlabel(rows["parameter"].iloc[0])
    style_panel(panel, grid="y")


def _in_percent(rows: pd.DataFrame) -> pd.DataFrame:
    """Relative differences and their intervals in percent; the configured value's are 0."""
    names = ["relative_difference", "relative_low", "relative_high"]
    numbers = 100 * rows[names].astype("float64")
    return rows.assign(**numbers.where(~rows["configured"].astype(bool), 0.0))


def _ordered(rows: pd.DataFrame) -> list[str]:
    """Values in ascending order where all are numbers, else as they come."""
    values = list(dict.fromkeys(value_text(value) for value in rows["value"]))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


PART = Part(
    "Sweeps",
    write,
    needs=("sweeps_table",),
    absent="no parameter was varied (`study.sweeps`)",
    figures=(
        Made(
            "sweeps_figure",
            lambda results: draw_sweeps(results.tables["sweeps_table"], metric=results.leaderboard.declared),
        ),
    ),
)
