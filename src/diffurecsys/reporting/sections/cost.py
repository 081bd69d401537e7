"""What every ranker's accuracy costs: seconds, parameters, memory, speed of ranking."""

from __future__ import annotations

import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text as Label
from matplotlib.ticker import LogLocator, NullFormatter

from diffurecsys.columns import MODEL, TEST
from diffurecsys.evaluation.leaderboard import BASELINE, CONTROL, TRAINED, cut, hardware
from diffurecsys.reporting.paper_tables import seconds_text
from diffurecsys.reporting.sections.base import Made, Part, Results, Text
from diffurecsys.reporting.style import GREY, INK, add_caption, add_legend, colour, marker, style_panel
from diffurecsys.reporting.text_table import Columns, count, make_table, score

MEBIBYTE = 2**20
ROOM = 6.0  # beside the points of a panel, as a factor: names stand there
DECADES = 1000.0
ROLES = {TRAINED: "model", CONTROL: "control", BASELINE: "baseline"}
MEASURED = ("parameters", "seconds", "cpu_seconds", "users_per_second", "peak_memory")


def write(results: Results) -> Text:
    """Name what nothing beats in both accuracy and training time, and write the table."""
    table = costs(results)
    columns: Columns = {
        MODEL: ("ranker", str),
        "score": (results.leaderboard.declared, score),
        "seconds": ("training seconds", seconds_text),
        "cpu_seconds": ("of the processor", seconds_text),
        "parameters": ("parameters", count),
        "users_per_second": ("users ranked/s", count),
        "peak_mebibytes": ("peak memory, MiB", count),
        "hardware": ("on", str),
    }
    caption = (
        f"Test {results.leaderboard.declared}, best first; means over seeds. Seconds are of training without "
        "validation, or of counting; the processor's own, which other programs hardly stretch, where every seed has "
        "them. Users ranked/s: against the whole catalogue, as in the final ranking. Peak memory "
        "while training or counting: of the whole process on a CPU, of tensors on a GPU. Compare on equal hardware."
    )
    return Text(_sentences(table, results), (make_table("costs", "Costs", table, columns, caption=caption),))


def costs(results: Results) -> pd.DataFrame:
    """Return one row a ranker of the leaderboard, the best first: mean test score, role and what it cost."""
    board, rows = results.leaderboard, []
    cells = results.cells.reindex(columns=results.cells.columns.union(list(MEASURED)))
    for name in board.names:
        own = cells[cells[MODEL] == name]
        means = own[list(MEASURED)].astype("float64").mean()
        rows.append(
            {
                MODEL: name,
                "role": board.role(name),
                "score": board.score(name, TEST, board.declared).mean,
                **{column: means[column] for column in ("seconds", "parameters", "users_per_second")},
                "cpu_seconds": own["cpu_seconds"].astype("float64").mean(skipna=False),
                "peak_mebibytes": means["peak_memory"] / MEBIBYTE,
                "hardware": ", ".join(dict.fromkeys(hardware(cell) for cell in own.to_dict("records"))),
            }
        )
    return pd.DataFrame(rows).sort_values("score", ascending=False, kind="stable", ignore_index=True)


def measure(rows: pd.DataFrame) -> str:
    """Name the column that rankers on one hardware are compared by: the processor's seconds, if all have them."""
    return "cpu_seconds" if rows["cpu_seconds"].notna().all() else "seconds"


def unbeaten(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, the cheapest first, that no other beats in score at no more seconds; seconds must be known."""
    by = measure(rows)
    known = rows.dropna(subset=by).sort_values([by, "score"], ascending=[True, False], kind="stable")
    before = known["score"].cummax().shift(fill_value=-1.0)
    return known[known["score"] > before]


def draw_cost(results: Results) -> Figure:
    """Draw test accuracy against seconds of training, one panel for each hardware that anything ran on."""
    table = costs(results).dropna(subset="seconds")
    places = list(dict.fromkeys(table["hardware"]))
    height = 4.6 + 0.12 * max(0, len(table) - 10)
    figure = Figure(figsize=(5.2 * min(len(places), 3) + 0.4, height), layout="constrained")
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for panel, place in zip(panels, places, strict=True):
        rows = table[table["hardware"] == place]
        by, front = measure(rows), unbeaten(rows)
        panel.step(front[by], front["score"], where="post", color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        for number, (role, part) in enumerate(rows.groupby("role", sort=False)):
            look = list(ROLES).index(str(role)) if role in ROLES else number
            panel.plot(part[by], part["score"], marker(look), color=colour(look), markersize=5)
        panel.set_xscale("log")
        low, high = rows[by].min() / ROOM, rows[by].max() * ROOM
        panel.set_xlim(low, high)
        if high < DECADES * low:  # powers of ten alone would be one or two ticks, names of all others would overlap
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            panel.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
        seconds = "the processor's seconds" if by == "cpu_seconds" else "seconds"
        panel.set_xlabel(f"{seconds} of training or counting\n({place})")
        style_panel(panel, grid="y")
    panels[0].set_ylabel(f"test {results.leaderboard.declared}")
    roles = [role for role in ROLES if role in set(table["role"])]
    add_legend(figure, [_key(list(ROLES).index(role), ROLES[role]) for role in roles] + [_front()], handle=2)
    add_caption(
        figure,
        "Means over seeds; training without validation. The dotted line joins the rankers that none on the same "
        "hardware beats in both." + (" Panels cannot be compared in seconds." if len(places) > 1 else ""),
    )
    figure.draw_without_rendering()  # places are known from here on
    for panel, place in zip(panels, places, strict=True):
        _name_points(panel, table[table["hardware"] == place])
    return figure


def _name_points(panel: Axes, rows: pd.DataFrame) -> None:
    """Write every ranker's name beside its point, where no other name is."""
    by = measure(rows)
    places = rows[[MODEL, by, "score"]].itertuples(index=False)
    names = [panel.text(x, y, name, fontsize=7, color=INK) for name, x, y in places]
    adjust_text(
        names,
        rows[by].to_numpy(),
        rows["score"].to_numpy(),
        ax=panel,
        expand=(1.1, 1.3),  # the room that a name keeps around it, times its size
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
    )
    for name in names:  # a long one may be wider than the room beside its point
        keep_inside(name, panel)


def keep_inside(name: Label, panel: Axes) -> None:
    """Move a name sideways into its panel, where it stands over an edge."""
    box, frame = name.get_window_extent(), panel.get_window_extent()
    shift = min(0.0, frame.x1 - box.x1) or max(0.0, frame.x0 - box.x0)
    if shift:
        x, y = panel.transData.transform(name.get_position())
        left, height = panel.transData.inverted().transform((x + shift, y))
        name.set_position((float(left), float(height)))


def _sentences(table: pd.DataFrame, results: Results) -> tuple[str, ...]:
    metric, found = results.leaderboard.declared, []
    for place, rows in table.dropna(subset="seconds").groupby("hardware", sort=False):
        by, front = measure(rows), unbeaten(rows)
        steps = ", then ".join(
            f"{row[MODEL]} ({cut(row['score'])} in {seconds_text(row[by])} s)" for _, row in front.iterrows()
        )
        found.append(
            f"On {place} no ranker is both cheaper to train and higher in mean test {metric} than these: {steps}."
        )
    return tuple(found)


def _key(place: int, label: str) -> Line2D:
    return Line2D([], [], color=colour(place), marker=marker(place), linestyle="", label=label)


def _front() -> Line2D:
    return Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="not beaten in both")


PART = Part(
    "Accuracy against cost",
    write,
    figures=(Made("cost_figure", draw_cost),),
    files=(Made("costs_table", costs),),
)
