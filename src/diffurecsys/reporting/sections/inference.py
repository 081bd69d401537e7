"""What ensembles, Algorithm 3 and fewer reverse steps do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.evaluation.inference import ALGORITHM_3, ENSEMBLE, MEMBER, STEPS, TRAINING_SEEDS
from diffurecsys.evaluation.inference_summary import ALL_USERS
from diffurecsys.evaluation.leaderboard import DECLARED_METRIC
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import INK, add_caption, add_legend, colour, line_style, marker, style_panel
from diffurecsys.reporting.text_table import Columns, Table, count, make_table, metric_label, with_interval
from diffurecsys.reporting.verdicts import ensemble_verdicts, steps_verdicts

KINDS = {  # of a column, of a title
    STEPS: ("steps", "reverse steps"),
    ENSEMBLE: ("processes", "averaged reverse processes of one trained ranker"),
    ALGORITHM_3: ("seeds", "sampling seeds of Algorithm 3 (one call from the diffused last item each)"),
    TRAINING_SEEDS: ("trained", "averaged training seeds, one sample each (1: the mean of single ones)"),
}
LABELS = {  # of panels
    ENSEMBLE: "averaged reverse processes",
    ALGORITHM_3: "averaged calls (Algorithm 3)",
    TRAINING_SEEDS: "averaged training seeds",
}


def write(results: Results) -> Text:
    """Write what is gained, and a table a kind."""
    inference, compared = results.tables["inference_table"], results.tables["probe_comparisons_table"]
    names, metric = probed(results), results.leaderboard.declared
    compared = compared[compared["model"].isin(names)]
    return Text(
        (*steps_verdicts(compared, metric), *ensemble_verdicts(compared, metric)),
        tuple(inference_table(inference, names, kind, metric) for kind in KINDS if kind in set(inference["kind"])),
    )


def probed(results: Results) -> list[str]:
    """Names of the probed rankers; the sweeps' only where there are no others."""
    found = list(results.tables["inference_table"]["model"].unique())
    return [name for name in results.leaderboard.names if name in found] or found


def inference_table(inference: pd.DataFrame, names: Sequence[str], kind: str, metric: str) -> Table:
    """Write a metric by ensemble size or number of steps, for all probed users and by group."""
    chosen = (inference["kind"] == kind) & (inference["metric"] == metric) & inference["model"].isin(names)
    rows = inference[chosen].copy()
    rows["text"] = [with_interval(row) for row in rows.to_dict("records")]
    wide = rows.pivot_table(
        index=["group", "n_users", "level"], columns="model", values="text", aggfunc="first", sort=False
    ).reset_index()
    wide = wide[(wide["group"] == ALL_USERS) | (wide["level"].isin([wide["level"].min(), wide["level"].max()]))]
    heading, title = KINDS[kind]
    columns: Columns = {
        "group": ("users", str),
        "n_users": ("n", count),
        "level": (heading, str),
        **{name: (name, str) for name in names if name in wide},
    }
    return make_table(
        f"{kind}_{metric_label(metric)}",
        f"Test {metric} by number of {title}",
        wide,
        columns,
        caption="Mean [95 % interval]; of single groups the smallest and the largest number, the file holds the rest.",
    )


def draw_steps(
    compared: pd.DataFrame, step_times: pd.DataFrame, *, models: Sequence[str], metric: str = DECLARED_METRIC
) -> Figure:
    """Draw what more reverse steps gain over the fewest, user by user, and what they take.

    Args:
        compared: of `compare_levels`, with the column `model`.
        step_times: model, seed, steps, users, seconds.
        models: which, in their order.
        metric: of quality.

    Raises:
        ValueError: there are no numbers of steps.
    """
    chosen = _gains(compared, STEPS, metric)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    quality, speed = figure.subplots(1, 2)
    for index, model in enumerate(models):
        _draw_line(quality, chosen[chosen["model"] == model], index, shift=index - (len(models) - 1) / 2)
        times = step_times[step_times["model"] == model]
        per_thousand = 1000 * times["seconds"] / times["users"]
        mean = per_thousand.groupby(times["steps"]).mean()
        speed.plot(mean.index, mean, **line_style(index), marker=marker(index), ms=5)
    smallest = int(chosen["reference_level"].min())
    quality.set_ylabel(f"test {chosen['metric'].iloc[0]}: gain over {smallest} step{'' if smallest == 1 else 's'}, %")
    speed.set_ylabel("seconds for 1,000 users")
    for panel in (quality, speed):
        _log2_axis(panel, sorted({smallest, *chosen["level"]}))
        panel.set_xlabel("reverse steps")
        style_panel(panel, grid="y")
    quality.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    speed.set_yscale("log")
    speed.tick_params(colors=INK, which="both")
    add_legend(figure, _keys(models))
    add_caption(
        figure,
        f"Left: difference of the same users' metrics with its 95 % interval, slightly shifted to be told apart. "
        f"{_counted(chosen)} Right: wall time of scoring the whole catalogue, mean over seeds.",
    )
    return figure


def draw_ensembles(compared: pd.DataFrame, *, models: Sequence[str], metric: str = DECLARED_METRIC) -> Figure:
    """Draw what averaging more distributions gains over the least, user by user, a panel a kind of ensemble.

    Args:
        compared: of `compare_levels`, with the column `model`.
        models: which, in their order.
        metric: of quality.

    Raises:
        ValueError: there are no ensembles.
    """
    there = set(zip(compared["kind"], compared["reference_kind"], strict=True))
    kinds = [kind for kind in LABELS if (kind, MEMBER if kind == TRAINING_SEEDS else kind) in there]
    parts = {kind: _gains(compared, kind, metric) for kind in kinds}
    if not parts:
        raise ValueError("there are no ensembles to draw: run the pipeline `inference`")
    figure = Figure(figsize=(2.4 + 3.3 * len(parts), 4.2), layout="constrained")
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, (kind, chosen) in zip(panels, parts.items(), strict=True):
        for index, model in enumerate(models):
            _draw_line(panel, chosen[chosen["model"] == model], index, shift=index - (len(models) - 1) / 2)
        _log2_axis(panel, sorted({1, *chosen["level"]}))
        panel.set_xlabel(LABELS[kind])
        panel.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        style_panel(panel, grid="y")
    panels[0].set_ylabel(f"test {chosen['metric'].iloc[0]}: gain, %")
    add_legend(figure, _keys(models))
    add_caption(
        figure,
        "Difference of the same users' metrics with its 95 % interval, slightly shifted to be told apart: to the "
        "smallest number, of training seeds to the mean of the ensemble's single members (0 at one by definition). "
        f"{_counted(pd.concat(list(parts.values())))}",
    )
    return figure


def _gains(compared: pd.DataFrame, kind: str, metric: str) -> pd.DataFrame:
    """Rows that compare levels of a kind with the smallest one, or training seeds with their single members."""
    other = MEMBER if kind == TRAINING_SEEDS else kind
    rows = compared[(compared["kind"] == kind) & (compared["reference_kind"] == other)]
    if rows.empty:
        raise ValueError(f"there are no probes of kind {kind!r} to draw: run the pipeline `inference`")
    known = metric if metric in set(rows["metric"]) else rows["metric"].iloc[0]
    return rows[rows["metric"] == known]


def _counted(rows: pd.DataFrame) -> str:
    users, seeds = int(rows["n_users"].max()), int(rows["n_seeds"].max())
    return (
        f"Intervals count users and training seeds; with fewer than three, and of ensembles of training seeds, users "
        f"alone. n = {users:,} test users, {seeds} seed{'' if seeds == 1 else 's'}."
    )


def _draw_line(panel: Axes, rows: pd.DataFrame, index: int, *, shift: float) -> None:
    rows = rows[rows["relative_difference"].notna()].sort_values("level")  # missing where the reference is 0
    if rows.empty:
        return
    smallest = 1 if (rows["reference_kind"] == MEMBER).any() else rows["reference_level"].min()
    middle, low, high = (
        np.concatenate([[0.0], 100 * rows[name]]) for name in ("relative_difference", "relative_low", "relative_high")
    )
    place = np.concatenate([[smallest], rows["level"]]) * 2 ** (0.06 * shift)
    style = {**line_style(index), "marker": marker(index), "ms": 5, "capsize": 3, "ecolor": colour(index)}
    panel.errorbar(place, middle, [middle - low, high - middle], **style)


def _log2_axis(panel: Axes, levels: Sequence[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks(levels, [str(level) for level in levels])
    panel.minorticks_off()


def _keys(models: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], **line_style(index), marker=marker(index), ms=5, label=model)
        for index, model in enumerate(models)
    ]


PART = Part(
    "Inference",
    write,
    needs=("inference_table", "probe_comparisons_table"),
    absent="no ranker that was to be probed draws samples or walks reverse steps",
    figures=(
        Made(
            "steps_figure",
            lambda results: draw_steps(
                results.tables["probe_comparisons_table"],
                results.tables["step_times_table"],
                models=probed(results),
                metric=results.leaderboard.declared,
            ),
            ("step_times_table",),
        ),
        Made(
            "ensembles_figure",
            lambda results: draw_ensembles(
                results.tables["probe_comparisons_table"], models=probed(results), metric=results.leaderboard.declared
            ),
            ("spread_table",),
        ),
    ),
)
