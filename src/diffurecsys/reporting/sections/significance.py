"""Which differences between rankers the numbers support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffurecsys.columns import TEST
from diffurecsys.evaluation.leaderboard import DECLARED_METRIC, Leaderboard
from diffurecsys.reporting.leaderboard_tables import format_seeds
from diffurecsys.reporting.paper_tables import paper_tests_table, paper_tests_with_printed
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import COLOURS, INK, add_caption, add_legend, style_panel
from diffurecsys.reporting.text_table import (
    Columns,
    Line,
    Table,
    interval,
    make_table,
    number,
    on_page,
    p_value,
    percent,
    score,
    with_relative_interval,
)
from diffurecsys.reporting.verdicts import (
    ALIKE,
    ALPHA,
    BETTER,
    OPEN,
    WORSE,
    comparable,
    conclude,
    decisive_p,
    family_sizes,
    of_these_alone,
    rows_of,
)

SIGNS = {BETTER: "▲", WORSE: "▼", ALIKE: "=", OPEN: "·"}
TURNED = {"▲": "▼", "▼": "▲"}

MOST_PAIRS = 20  # that a forest draws; of more, those of the best ranker
FAR = 0.5  # relative differences beyond it do not set a forest's scale
RULE = (
    "Which test decides: the Holm-corrected p over users and training seeds, because a claim about a method is about "
    "training it again on other users, and because in simulations its error stays at or below its level with three and "
    "with five seeds. Without three seeds no such p is given; what is said then is of these trained models alone."
)
NOTHING_RELATIVE = "All references score 0: no difference can be told in % of them."


def write(results: Results) -> Text:
    """Write the rule that decides, the verdicts at a glance, and all tests."""
    tables, metric = results.tables, results.leaderboard.declared
    comparisons = tables["comparisons_table"]
    written = [verdict_matrix(results.leaderboard, comparisons), comparison_table(comparisons)]
    written.append(seed_comparison_table(tables["seed_comparisons_table"]))
    if results.paper is not None and "paper_tests_table" in tables:
        written.append(paper_tests_table(paper_tests_with_printed(tables["paper_tests_table"], results.paper)))
    return Text((RULE, *_counted(comparisons, metric)), tuple(written))


def verdict_matrix(leaderboard: Leaderboard, comparisons: pd.DataFrame) -> Table:
    """Write what was shown of every tested pair, a line and a column a ranker, best mean first."""
    metric = leaderboard.declared
    names = leaderboard.ordered
    signs: dict[tuple[str, str], str] = {}
    for row in rows_of(comparisons[comparisons["metric"] == metric]):
        sign, alone = SIGNS[conclude(row)], "°" if of_these_alone(row) else ""
        signs[row["model"], row["reference"]] = sign + alone
        signs[row["reference"], row["model"]] = TURNED.get(sign, sign) + alone
    lines = [
        Line(
            (
                f"{place}. {name}",
                score(leaderboard.score(name, TEST, metric).mean),
                *("" if name == other else signs.get((name, other), " ") for other in names),
            ),
            leaderboard.role(name),
        )
        for place, name in enumerate(names, start=1)
    ]
    numbers = tuple(str(place) for place in range(1, len(names) + 1))
    return Table(
        "verdicts",
        f"At a glance: {metric} of all rankers and which differences are shown",
        ("ranker", metric, *numbers),
        tuple(lines),
        "Columns are numbered as the lines are. ▲ the line's ranker is better than the column's, ▼ worse, = equivalent "
        f"within the margin, · no difference shown (the next table has what is excluded), blank: not tested. "
        f"Holm p < {ALPHA} over users and training seeds; ° of these trained models alone (fewer than three seeds).",
    )


def comparison_table(comparisons: pd.DataFrame) -> Table:
    """Write the tests that pair users."""
    rows = with_relative_interval(on_page(comparisons))
    rows["verdict"] = [conclude(row) for row in rows_of(rows)]
    columns: Columns = {
        "model": ("model", str),
        "reference": ("reference", str),
        "metric": ("metric", str),
        "n_seeds": ("seeds", format_seeds),
        "relative_difference": ("difference, %", percent),
        "relative_interval": ("95 % interval", str),
        "t": ("t", number),
        "df": ("df", lambda value: f"{value:,.1f}"),
        "p_t": ("p", p_value),
        "p_holm": ("Holm p", p_value),
        "verdict": ("verdict", str),
        "excluded": ("excluded beyond, %", _excluded),
        "p_equivalence_holm": ("Holm p of equivalence", p_value),
        "p_users_holm": ("Holm p, users alone", p_value),
        "seeds_share_low": ("seeds' share, from %", _share),
        "seeds_share_high": ("to %", _share),
    }
    margin = f"{100 * comparisons['margin'].iloc[0]:g} %" if len(comparisons) else "the margin"
    return make_table(
        "comparisons",
        "All tests that pair users",
        rows,
        columns,
        caption="p and interval count users and training seeds (Behrens-Fisher; df: of Student's t with this "
        "interval); without three seeds the interval counts users alone and there is no p. Excluded: relative "
        f"differences that lie outside the interval, either way; equivalence: shown to be less than {margin}. Users "
        "alone: whether these trained models differ. Seeds' share: of the difference's variance, interval. Holm's "
        f"correction is over the {family_sizes(comparisons)} tests of a metric: all pairs. The file holds all metrics, "
        "with bootstrap and randomisation.",
        folded=True,
    )


def _counted(comparisons: pd.DataFrame, metric: str) -> list[str]:
    rows = comparable(comparisons, metric)
    found = Counter(conclude(row) for row in rows)
    if not rows:
        return []
    said = [f"{found[name]} {name if name != OPEN else 'without a difference shown'}" for name in SIGNS if found[name]]
    return [f"Of {len(rows)} pairs tested on {metric}: {', '.join(said)} (the first named beside the second)."]


def _excluded(value: float) -> str:
    return f"{ceil(1000 * value - 1e-9) / 10:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f}"


def seed_comparison_table(seed_comparisons: pd.DataFrame) -> Table:
    """Write Welch's tests of seed means."""
    columns: Columns = {
        "model": ("model", str),
        "reference": ("reference", str),
        "metric": ("metric", str),
        "n_seeds_model": ("seeds", str),
        "n_seeds_reference": ("reference's", str),
        "difference": ("difference", score),
        "t": ("t", number),
        "df": ("df", number),
        "p": ("p", p_value),
        "p_holm": ("Holm p", p_value),
    }
    return make_table(
        "seed_comparisons",
        "Tests of seed means (Welch)",
        on_page(seed_comparisons),
        columns,
        caption="One value a seed; against a ranker that does not train, which has one value, a one-sample t-test. "
        "Without a p where a ranker that trains has fewer than three seeds.",
        folded=True,
    )


def draw_forest(
    comparisons: pd.DataFrame, *, models: Sequence[str] = (), metric: str = DECLARED_METRIC, confidence: float = 0.95
) -> Figure:
    """Draw the relative difference of every tested pair with its interval.

    Args:
        comparisons: of `compare_models`.
        models: references that are none of these get a panel and a scale of their own.
        metric: which metric; the first one where it was not computed.
        confidence: of the intervals.

    Raises:
        ValueError: there is nothing to compare.
    """
    rows, note = _few(_pairs(comparisons, metric))
    if rows.empty:
        figure = Figure(figsize=(8.5, 1.0))
        add_caption(figure, NOTHING_RELATIVE)
        return figure
    between = rows["reference"].isin(models)
    parts = [part for part in (rows[between], rows[~between]) if len(part)]
    figure = Figure(figsize=(8.5, 1.6 + 0.4 * len(rows) + 0.6 * len(parts)), layout="constrained")
    panels = figure.subplots(len(parts), 1, height_ratios=[len(part) + 0.5 for part in parts], squeeze=False)[:, 0]
    for panel, part in zip(panels, parts, strict=True):
        _draw_differences(panel, part)
    panels[-1].set_xlabel(f"difference in test {rows['metric'].iloc[0]}, % of the reference")
    keys = [
        Line2D([], [], marker="o", ms=7, mec=INK, mfc=COLOURS[0], color=INK, label=f"Holm p < {ALPHA}"),
        Line2D([], [], marker="o", ms=7, mec=INK, mfc="white", color=INK, label=f"Holm p ≥ {ALPHA}"),
    ]
    add_legend(figure, keys)
    add_caption(figure, f"{forest_caption(rows, confidence)}{note}")
    return figure


def _few(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Keep the best ranker's pairs of very many; say so."""
    if len(rows) <= MOST_PAIRS:
        return rows, ""
    means = pd.concat([rows.set_index("model")["mean_model"], rows.set_index("reference")["mean_reference"]])
    best = str(means.idxmax())
    own = (rows["model"] == best) | (rows["reference"] == best)
    return rows[own], f" Pairs of {best}, the best; the table has all."


def _draw_differences(panel: Axes, rows: pd.DataFrame) -> None:
    ends = 100 * rows[["relative_low", "relative_high"]]
    near = ends[rows["relative_difference"].abs() <= FAR]
    edge = 1.1 * (near if len(near) else ends).abs().to_numpy().max() or 1.0
    for place, row in enumerate(rows_of(rows)):
        middle, low, high = (100 * row[name] for name in ("relative_difference", "relative_low", "relative_high"))
        face = COLOURS[0] if decisive_p(row) < ALPHA else "white"
        if abs(middle) > edge:
            side = 1 if middle > 0 else -1
            panel.plot(side * edge, place, ">" if side > 0 else "<", ms=8, mec=INK, mfc=face, zorder=3, clip_on=False)
            text = f"{percent(middle / 100)} % {interval(low, high, scale=1)}"
            align = "right" if side > 0 else "left"
            panel.annotate(
                text,
                (side * edge, place),
                (-8 * side, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                color=INK,
                fontsize=8.5,
            )
            continue
        panel.plot([low, high], [place, place], color=INK, linewidth=1.4, zorder=2)
        panel.plot(middle, place, "o", ms=7, mec=INK, mfc=face, zorder=3)
    panel.set_xlim(-edge, edge)
    panel.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    panel.set_yticks(range(len(rows)), [f"{row.model} vs {row.reference}" for row in rows.itertuples()])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    style_panel(panel, grid="x")


def forest_caption(rows: pd.DataFrame, confidence: float) -> str:
    """Say what a forest plot shows, and over how many users and seeds."""
    seeds = sorted({int(count) for count in rows["n_seeds"]})
    n = " to ".join(str(count) for count in sorted({seeds[0], seeds[-1]}))
    return (
        f"Points: difference of means; lines: {100 * confidence:g} % intervals over users and seeds, with fewer than "
        f"three over users alone (n = {int(rows['n_users'].iloc[0]):,} users, {n} seed{'s' if n != '1' else ''}). "
        "Right of the dashed line the first is ahead; arrows: beyond the scale. Holm's correction is over "
        f"{family_sizes(rows)} tests."
    )


def plotly_forest(comparisons: pd.DataFrame, *, metric: str = DECLARED_METRIC, confidence: float = 0.95) -> go.Figure:
    """Draw what `draw_forest` draws, to be hovered over."""
    rows = _pairs(comparisons, metric)
    if rows.empty:
        return go.Figure(layout={"title": {"text": NOTHING_RELATIVE}})
    percent = 100 * rows[["relative_difference", "relative_low", "relative_high"]]
    decisive = [decisive_p(row) for row in rows_of(rows)]
    shown = [p < ALPHA for p in decisive]
    figure = go.Figure(
        go.Scatter(
            x=percent["relative_difference"],
            y=rows["model"] + " vs " + rows["reference"],
            mode="markers",
            marker={
                "size": 11,
                "color": [COLOURS[0] if one else "white" for one in shown],
                "line": {"color": INK, "width": 1.5},
            },
            error_x={
                "array": percent["relative_high"] - percent["relative_difference"],
                "arrayminus": percent["relative_difference"] - percent["relative_low"],
                "color": INK,
            },
            customdata=np.stack([decisive, rows["effect_size"]], axis=-1),
            hovertemplate="%{y}: %{x:+.2f} %<br>Holm p %{customdata[0]:.4f}, d %{customdata[1]:.3f}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": INK, "dash": "dash", "width": 1})
    figure.update_layout(
        template="plotly_white",
        height=180 + 34 * len(rows),
        title={"text": forest_caption(rows, confidence), "font": {"size": 12}},
        xaxis_title=f"difference in test {rows['metric'].iloc[0]}, % of the reference",
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _pairs(comparisons: pd.DataFrame, metric: str) -> pd.DataFrame:
    if comparisons.empty:
        raise ValueError("there is no comparison to draw: run the pipeline `significance`")
    known = metric if metric in set(comparisons["metric"]) else comparisons["metric"].iloc[0]
    rows = comparisons[comparisons["metric"] == known]
    return rows[rows["relative_difference"].notna()]


PART = Part(
    "Significance",
    write,
    needs=("comparisons_table", "seed_comparisons_table"),
    figures=(
        Made(
            "forest_figure",
            lambda results: draw_forest(
                results.tables["comparisons_table"], models=results.leaderboard.models, confidence=results.confidence
            ),
        ),
    ),
    plots=(
        Made(
            "forest_plot",
            lambda results: plotly_forest(results.tables["comparisons_table"], confidence=results.confidence),
        ),
    ),
)
