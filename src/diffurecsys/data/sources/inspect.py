"""A first look at a file of one's own: what its columns probably mean, and what that makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from diffurecsys.columns import ITEM_ID, ROW, TIMESTAMP, USER_ID
from diffurecsys.data.sources.files import SourceError, SourceFile, describe_file, find_files
from diffurecsys.data.sources.rows import column_names, load_rows
from diffurecsys.data.sources.spec import EPOCHS, ISO, MICROSECONDS, ColumnNames, ItemTable
from diffurecsys.data.sources.sql import microseconds, single_row

USERS = ("user", "visitor", "customer", "client", "member", "account", "reviewer", "uid", "session", "who")
ITEMS = (
    "item",
    "product",
    "asin",
    "movie",
    "track",
    "song",
    "article",
    "sku",
    "video",
    "book",
    "isbn",
    "content",
    "iid",
)
TIMES = ("timestamp", "time", "datetime", "date", "ts", "createdat", "when")
TITLES = ("title", "name", "label")
CATEGORIES = ("category", "categories", "genre", "kind", "class", "type")
PATTERNS = (
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y"),
    *("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%Y%m%d", "%Y%m%d%H%M%S"),
)
SAMPLE = 20_000  # rows that times are tried on
LEAST_SHARE = 0.4  # of values that a format must fit: other rows may be bad, or of another kind
PLAUSIBLE = (315_532_800 * MICROSECONDS, 4_102_444_800 * MICROSECONDS)  # 1980 to 2100


@dataclass(frozen=True)
class Facts:
    """What a table of interactions holds.

    Attributes:
        rows: interactions.
        users: distinct ones.
        items: distinct ones.
        first: earliest timestamp.
        last: latest timestamp.
        copies: rows that equal an earlier one in user, item and time.
        repeats: rows whose user has the item in an earlier one.
        ties: rows with the time of another one of their user.
        tied_users: users whose last two events have one time.
    """

    rows: int
    users: int
    items: int
    first: int
    last: int
    copies: int
    repeats: int
    ties: int
    tied_users: int


def propose_columns(
    path: Path, delimiter: str | None, *, given: ColumnNames | None = None, header: bool = True
) -> ColumnNames:
    """Guess which columns are users, items and times by their names.

    Args:
        path: file, folder or pattern.
        delimiter: as in `SourceSpec`.
        given: names that are known already; empty ones are guessed.
        header: whether there is one.

    Raises:
        SourceError: no column looks like a user or an item; says which there are.
    """
    names = _names(_first(path, delimiter, header))
    user = (given and given.user) or _closest(names, USERS)
    item = (given and given.item) or _closest([name for name in names if name != user], ITEMS)
    time = (given and given.time) or _closest([name for name in names if name not in (user, item)], TIMES)
    for option, found in (("--user", user), ("--item", item)):
        if found is None:
            raise SourceError(
                f"{path}: none of the columns {', '.join(map(repr, names))} looks like the {option[2:]}; say which "
                f"with {option}"
            )
    assert user is not None
    assert item is not None
    return ColumnNames(user, item, time)


def propose_item_table(path: Path, item: str) -> ItemTable:
    """Guess which columns of a table of items hold identifier, title and category.

    Raises:
        SourceError: none looks like an identifier.
    """
    names = _names(_first(path, None, True))
    key = item if item in names else _closest(names, (*ITEMS, "id"))
    if key is None:
        raise SourceError(f"{path}: none of the columns {', '.join(map(repr, names))} looks like the item's identifier")
    rest = [name for name in names if name != key]
    return ItemTable(str(path), key, title=_closest(rest, TITLES), category=_closest(rest, CATEGORIES))


def propose_time_format(path: Path, delimiter: str | None, time: str, *, header: bool = True) -> str:
    """Guess how times are written: what fits most of the first rows, with dates between 1980 and 2100 where it can.

    Raises:
        SourceError: nothing fits; shows a value.
    """
    file = _first(path, delimiter, header)
    with duckdb.connect() as connection:
        load_rows(connection, "sampled", [file], {time: "text"}, time="text")
        connection.execute(f"CREATE TABLE tried AS SELECT text FROM sampled WHERE text <> '' LIMIT {SAMPLE}")
        kind, n_rows, example = single_row(
            connection, "SELECT any_value(type_text), count(text), any_value(text) FROM sampled"
        )
        if str(kind).startswith(("TIMESTAMP", "DATE")) or not n_rows:
            return "s"
        low, high = PLAUSIBLE
        shares: dict[str, float] = {}
        for name in ("%Y%m%d", *EPOCHS, ISO, *PATTERNS):
            share, usual = single_row(
                connection,
                f"SELECT count(us) / count(*), coalesce(median(us) BETWEEN {low} AND {high}, false) "
                f"FROM (SELECT {microseconds('text', name, 'UTC')} AS us FROM tried)",
            )
            if usual or name == "s":  # numbers that are no dates may be positions, and have an order
                shares[name] = share if usual else share / 2
    best = max(shares, key=lambda name: shares[name])  # the first of equals
    if shares[best] > LEAST_SHARE:
        return best
    raise SourceError(
        f"{path}: column {time!r} holds {example!r}, which is no time that is known; say how it is written with "
        "--time-format"
    )


def values_of(
    path: Path, delimiter: str | None, column: str, *, header: bool = True, most: int = 12
) -> list[tuple[str, int]]:
    """Count the values of a column with few different ones, most frequent first; none where more than `most`."""
    with duckdb.connect() as connection:
        load_rows(connection, "sampled", [_first(path, delimiter, header)], {column: "text"})
        found = connection.execute(
            f"SELECT coalesce(text, ''), count(*) FROM sampled GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most + 1}"
        ).fetchall()
    return found if len(found) <= most else []


def other_columns(path: Path, delimiter: str | None, known: Sequence[str | None], *, header: bool = True) -> list[str]:
    """Return the columns that are none of `known`."""
    return [name for name in _names(_first(path, delimiter, header)) if name not in known]


def find_facts(interactions: pa.Table) -> Facts:
    """Count what a table of interactions holds; columns as in `diffurecsys.columns`."""
    with duckdb.connect() as connection:
        connection.register("interactions", interactions)
        found = single_row(
            connection,
            f"""
            WITH marked AS (
                SELECT {USER_ID}, {ITEM_ID}, {TIMESTAMP},
                    row_number() OVER (PARTITION BY {USER_ID}, {ITEM_ID}, {TIMESTAMP} ORDER BY {ROW}) AS copy,
                    row_number() OVER (PARTITION BY {USER_ID}, {ITEM_ID} ORDER BY {TIMESTAMP}, {ROW}) AS time,
                    count(*) OVER (PARTITION BY {USER_ID}, {TIMESTAMP}) AS together,
                    row_number() OVER (PARTITION BY {USER_ID} ORDER BY {TIMESTAMP} DESC, {ROW} DESC) AS from_end
                FROM interactions)
            SELECT count(*), count(DISTINCT {USER_ID}), count(DISTINCT {ITEM_ID}), min({TIMESTAMP}), max({TIMESTAMP}),
                count(*) FILTER (copy > 1), count(*) FILTER (time > 1), count(*) FILTER (together > 1),
                count(*) FILTER (from_end = 1 AND together > 1)
            FROM marked
            """,
        )
    return Facts(*found)


def _first(path: Path, delimiter: str | None, header: bool) -> SourceFile:
    return describe_file(find_files(path)[0], None, delimiter, header=header)


def _names(file: SourceFile) -> list[str]:
    with duckdb.connect() as connection:
        return column_names(connection, file)


def _closest(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the name that is a known word or `<word>id`, begins or ends with one; earlier words count more."""
    plain = {name: re.sub("[^a-z0-9]", "", name.lower()) for name in names}
    for fits in (
        lambda text, word: text in (word, f"{word}id"),
        lambda text, word: text.startswith(word),
        lambda text, word: text.endswith(word),
    ):
        for word in known:
            for name, text in plain.items():
                if fits(text, word):
                    return name
    return None
