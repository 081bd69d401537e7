"""How every ranker was configured and trained: settings, epochs, cost, curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.columns import EPOCH, MODEL, SEED
from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, hardware
from diffurecsys.reporting.leaderboard_tables import format_seeds
from diffurecsys.reporting.paper_tables import seconds_text, training_times, training_times_table
from diffurecsys.reporting.sections.base import TRAINED, Made, Part, Results, Text
from diffurecsys.reporting.style import add_caption, add_legend, line_style, style_panel
from diffurecsys.reporting.text_table import Columns, Table, count, make_table, number

Histories = Mapping[tuple[str, int], pd.DataFrame]

SETTINGS = {"width": "width", "blocks": "blocks", "loss": "loss_kind"}  # fields that many networks have


def write(results: Results) -> Text:
    """Write every ranker's configuration, and on the paper's datasets its Table 2."""
    tables = [configurations_table(configurations(results))]
    if results.paper is not None and results.leaderboard.trained:
        tables.append(training_times_table(training_times(results.leaderboard, results.cells, results.paper)))
    return Text(tables=tuple(tables))


def configurations(results: Results) -> pd.DataFrame:
    """Return one row a ranker, in the leaderboard's order, the sweeps' last: what it is, how it was trained.

    Numbers of cells are means over seeds, but epochs: the fewest and the most.
    """
    speed = _speed(results.curves)
    rows = []
    for name in dict.fromkeys((*results.leaderboard.names, *results.cells[MODEL])):
        spec, cells = results.study.spec(name), results.cells[results.cells[MODEL] == name]
        means = cells[["parameters", "seconds", "loss"]].astype("float64").mean()
        rows.append(
            {
                MODEL: name,
                "role": spec.role,
                "family": spec.family,
                "scheme": spec.training.scheme if spec.trains else None,
                **{column: getattr(spec.network, setting, None) for setting, column in SETTINGS.items()},
                "n_seeds": len(cells) if spec.trains else 0,
                "epochs": _span(cells["epochs"]) if spec.trains else None,
                "epochs_planned": spec.training.epochs if spec.trains else None,
                "best_epoch": _span(cells["best_epoch"]) if spec.trains else None,
                **means,
                "labels_per_second": speed.get(name),
                "precision": ", ".join(dict.fromkeys(cells["precision"].dropna())) or None,
                "hardware": ", ".join(dict.fromkeys(hardware(cell) for cell in cells.to_dict("records"))),
                "swept": bool(cells["sweep"].notna().any()),
            }
        )
    return pd.DataFrame(rows)


def configurations_table(table: pd.DataFrame) -> Table:
    """Write `configurations` of the rankers that no sweep added."""
    rows = table[~table["swept"]].copy()
    planned = [None if pd.isna(number) else int(number) for number in rows["epochs_planned"]]
    rows["epochs"] = [
        None if most is None else f"{run} of {most}" for run, most in zip(rows["epochs"], planned, strict=True)
    ]
    columns: Columns = {
        MODEL: ("ranker", str),
        "role": ("role", str),
        "family": ("family", str),
        "scheme": ("scheme", str),
        "width": ("width", count),
        "blocks": ("blocks", count),
        "loss_kind": ("loss", str),
        "n_seeds": ("seeds", format_seeds),
        "epochs": ("epochs", str),
        "best_epoch": ("best epoch", str),
        "parameters": ("parameters", count),
        "seconds": ("seconds", seconds_text),
        "labels_per_second": ("labels/s", count),
        "loss": ("its value", number),
        "precision": ("products in", str),
        "hardware": ("trained on", str),
    }
    return make_table(
        "configurations",
        "Configurations",
        rows,
        columns,
        scope="Training; best epochs are chosen on validation; all seeds of each ranker.",
        caption="Epochs run of those planned, and the epoch that the weights are of: fewest to most over seeds. "
        "Seconds (of training without validation, or of counting) and the loss's value there are means over seeds; "
        "values of different losses cannot be compared.",
    )


def draw_curves(histories: Histories, *, metric: str = DECLARED_METRIC) -> Figure:
    """Draw training loss and a validation metric by epoch, one line a seed.

    Args:
        histories: of each (ranker, seed): one row an epoch with `epoch`, `loss` and `validation_<metric>`, which is
            missing where an epoch was not validated.
        metric: the validation metric to draw.

    Raises:
        ValueError: there is no history.
    """
    if not histories:
        raise ValueError("there is no training history to draw: train at least one ranker")
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


def curves_caption(histories: Histories) -> str:
    """Say what `draw_curves` shows, and over how many runs."""
    models = [model for model, _ in histories]
    counts = {model: models.count(model) for model in models}
    if len(set(counts.values())) == 1:
        n = f"n = {counts[models[0]]} a ranker"
    else:
        n = ", ".join(f"{model} n = {number}" for model, number in counts.items())
    return f"One line a seed ({n}). Lines end where training stopped; losses of different kinds have other scales."


def histories_of(results: Results) -> dict[tuple[str, int], pd.DataFrame]:
    """Return every training's epochs but the sweeps'."""
    curves = results.curves[results.curves[MODEL].isin(results.leaderboard.names)]
    cells = dict.fromkeys(zip(curves[MODEL], curves[SEED].astype(int), strict=True))
    return {(model, seed): curves[(curves[MODEL] == model) & (curves[SEED] == seed)] for model, seed in cells}


def _speed(curves: pd.DataFrame) -> dict[Any, float]:
    """Mean labels a second by ranker; none where nothing was trained."""
    return dict(curves.groupby(MODEL)["labels_per_second"].mean()) if len(curves) else {}


def _span(values: pd.Series[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


PART = Part(
    "Training",
    write,
    figures=(Made("curves_figure", lambda results: draw_curves(histories_of(results)), (TRAINED,)),),
    files=(
        Made("configurations_table", configurations),
        Made(
            "training_times_table",
            lambda results: training_times(results.leaderboard, results.cells, results.paper),
            (TRAINED,),
        ),
    ),
)
