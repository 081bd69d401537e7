"""Files that users of the recommendations bring: lists of users, histories, lists of items, titles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from diffurecsys.columns import ITEM_ID, TITLE, USER_ID
from diffurecsys.data.arrow_tables import as_text, read_arrow_table, refuse_missing
from diffurecsys.errors import DataError


@dataclass(frozen=True)
class Asked:
    """Somebody to recommend to.

    Attributes:
        user: identifier.
        history: identifiers, oldest first; None: as the data knows it.
    """

    user: str
    history: list[str] | None = None


def read_table(path: Path, *wanted: str) -> pa.Table:
    """Read columns of a Parquet or CSV file as text; whole numbers become their digits.

    Args:
        path: ends with .parquet or .csv.
        wanted: columns that must be there; others are kept as text where they are named like the project's own.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or has an empty cell in one.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise DataError(f"{path} must end with .parquet or .csv")
    table = read_arrow_table(path)
    columns = {}
    for name in (USER_ID, ITEM_ID, TITLE, *wanted):
        if name not in table.column_names:
            if name in wanted:
                raise DataError(f"{path} has no column {name}; it has {', '.join(table.column_names)}")
            continue
        column = table[name]
        if name in (USER_ID, ITEM_ID):
            column = as_text(column, name, path)
        if name in wanted:
            refuse_missing(column, name, path)
        columns[name] = column
    return pa.table(columns)


def read_items(path: Path) -> list[str]:
    """Read a list of items."""
    found: list[str] = read_table(path, ITEM_ID)[ITEM_ID].to_pylist()
    return found


def read_titles(path: Path) -> dict[str, str]:
    """Read titles by identifier; of an item that stands twice the last."""
    table = read_table(path, ITEM_ID, TITLE)
    return dict(zip(table[ITEM_ID].to_pylist(), table[TITLE].cast(pa.string()).to_pylist(), strict=True))


def read_asked(path: Path) -> list[Asked]:
    """Read whom to recommend to, in the order in which they first stand there.

    A row with a user and no item asks for a user without events of its own.
    """
    table = read_table(path, USER_ID)
    users = table[USER_ID].to_pylist()
    if ITEM_ID not in table.column_names:
        return [Asked(user) for user in dict.fromkeys(users)]
    histories: dict[str, list[str]] = {}
    for user, item in zip(users, table[ITEM_ID].to_pylist(), strict=True):
        history = histories.setdefault(user, [])
        if item is not None:
            history.append(item)
    return [Asked(user, history) for user, history in histories.items()]


def chunks(asked: Iterable[Asked], size: int) -> Iterator[list[Asked]]:
    """Cut what is asked into lists of at most `size`."""
    part: list[Asked] = []
    for one in asked:
        part.append(one)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
