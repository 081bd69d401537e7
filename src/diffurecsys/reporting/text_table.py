"""Tables as text, ready for a page, for Markdown and for LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, floor, isnan
from typing import Any

import pandas as pd

from diffurecsys.evaluation.leaderboard import cut

NOTHING = "–"

PAGE_METRICS = ("HR@10", "NDCG@10")  # the files hold the others

Format = Callable[[Any], str]
Columns = dict[str, tuple[str, Format]]  # by column of a frame: its heading, how to write a value


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        cells: text, one a column.
        kind: of a leaderboard's line `model`, `baseline` or `paper`; else empty.
        best: columns that hold their column's best value.
    """

    cells: tuple[str, ...]
    kind: str = ""
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        name: short, for labels and file names.
        title: what it shows.
        columns: their headings; the first names the lines.
        lines: its lines.
        caption: how to read it.
        scope: split, ranking and seeds that it is of; the report's own where empty.
        folded: whether pages show it on request alone.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    caption: str = ""
    scope: str = ""
    folded: bool = False


def make_table(
    name: str,
    title: str,
    frame: pd.DataFrame,
    columns: Columns,
    *,
    caption: str = "",
    scope: str = "",
    folded: bool = False,
) -> Table:
    """Turn columns of a frame into text.

    Args:
        name: of the table.
        title: of the table.
        frame: the numbers.
        columns: by column of `frame`: its heading and how to write a value; missing values become a dash.
        caption: how to read it.
        scope: split, ranking and seeds that it is of; the report's own where empty.
        folded: whether pages show it on request alone.
    """
    lines = [
        Line(tuple(NOTHING if _missing(row[key]) else write(row[key]) for key, (_, write) in columns.items()))
        for row in frame[list(columns)].to_dict("records")
    ]
    headings = tuple(heading for heading, _ in columns.values())
    return Table(name, title, headings, tuple(lines), caption, scope, folded)


def score(value: float) -> str:
    """Write a metric with four decimals, cut off."""
    return cut(value)


def count(value: float) -> str:
    """Write a whole number."""
    return f"{int(value):,}"


def number(value: float) -> str:
    """Write a statistic with three decimals, cut off; very large ones as infinity."""
    return "∞" if value == float("inf") else "-∞" if value == float("-inf") else cut(value, 3)


def percent(value: float) -> str:
    """Write a signed fraction as percent, cut off towards zero."""
    text = cut(100 * value, 1 if abs(value) >= 0.01 else 2)
    return text if text.startswith("-") or value == 0 else f"+{text}"


def interval(low: float, high: float, *, scale: float = 100, digits: int = 1) -> str:
    """Write an interval, rounded outwards."""
    factor = 10**digits
    return f"[{floor(low * scale * factor) / factor:.{digits}f}, {ceil(high * scale * factor) / factor:.{digits}f}]"


def p_value(value: float) -> str:
    """Write a p-value with three decimals, rounded up: `0.002`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{min(1.0, ceil(1000 * value - 1e-9) / 1000):.3f}"


def value_text(value: Any) -> str:  # noqa: ANN401 - any parameter's value
    """Write a parameter's value so that a CSV file keeps it apart from a missing one: `0.001`, `none`, `cosine`."""
    if value is None:
        return "none"
    return f"{value:.10g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def seeds(value: float) -> str:
    """Write `5 seeds`, `1 seed`."""
    return f"{int(value)} seed{'' if int(value) == 1 else 's'}"


def join(names: Iterable[str]) -> str:
    """Write `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def metric_label(metric: str) -> str:
    """Write a metric as names of tables allow: `ndcg_10`."""
    return metric.lower().replace("@", "_")


def on_page(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the two metrics that pages show."""
    shown = [metric for metric in PAGE_METRICS if metric in set(table["metric"])] or list(table["metric"].unique()[:2])
    return table[table["metric"].isin(shown)]


def with_relative_interval(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `relative_interval` as text; rows without a relative difference go."""
    known = rows[rows["relative_difference"].notna()]
    return known.assign(
        relative_interval=[
            interval(low, high) for low, high in zip(known["relative_low"], known["relative_high"], strict=True)
        ]
    )


def with_interval(row: Mapping[Hashable, Any]) -> str:
    """Write `0.0534 [0.0501, 0.0567]` of a row with mean, low and high; the mean alone where there is no interval."""
    if pd.isna(row["low"]):
        return score(row["mean"])
    return f"{score(row['mean'])} {interval(row['low'], row['high'], scale=1, digits=4)}"


def _missing(value: Any) -> bool:  # noqa: ANN401 - a cell of any frame
    return value is None or value is pd.NA or (isinstance(value, float) and isnan(value))
