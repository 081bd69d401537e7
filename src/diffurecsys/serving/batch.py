"""Recommendations for many users, chunk by chunk into one file that is whole or absent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from torch import Tensor

from diffurecsys.columns import ITEM_ID, RANK, SCORE, SOURCE, TITLE, USER_ID
from diffurecsys.data.sources.identifiers import restore_identifiers
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.files import atomic_path
from diffurecsys.serving.recommender import Recommendations, Recommender
from diffurecsys.serving.settings import Format
from diffurecsys.serving.tables import Asked, chunks

logger = logging.getLogger(__name__)

Write = Callable[[pa.Table], None]
PREVIEWED = 100  # rows


@dataclass(frozen=True)
class Written:
    """What went into the file.

    Attributes:
        users: how many were asked for.
        rows: recommendations.
        sources: users by source, see `Recommendations`.
        unknown_items: items of histories that the catalogue does not hold.
        preview: the first rows.
    """

    users: int
    rows: int
    sources: dict[str, int]
    unknown_items: int
    preview: pa.Table


class KnownUsers:
    """All users of the data, with all their events.

    Args:
        store: sequences.
        users: identifiers by number.
        items: identifiers by number.
    """

    def __init__(self, store: SequenceStore, users: list[str], items: list[str]) -> None:
        self._store, self.identifiers, self._items = store, users, items
        self._number: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Asked]:
        """Yield every user."""
        return (Asked(user) for user in self.identifiers)

    def history(self, user: str) -> list[str] | None:
        """Return a user's items, oldest first; None for one that the data does not know."""
        if self._number is None:
            self._number = {identifier: number for number, identifier in enumerate(self.identifiers)}
        if (number := self._number.get(user)) is None:
            return None
        first, end = int(self._store.offsets[number]), int(self._store.offsets[number + 1])
        return [self._items[item] for item in self._store.items[first:end].tolist()]


def write_recommendations(
    recommender: Recommender,
    asked: Iterable[Asked],
    known: KnownUsers,
    path: Path,
    *,
    file_format: Format,
    k: int,
    chunk: int,
    exclude_seen: bool = True,
    banned: Tensor | None = None,
    steps: int | None = None,
    titles: Mapping[str, str] | None = None,
    types: Mapping[str, str] | None = None,
    on_users: Callable[[int], None] | None = None,
) -> Written:
    """Recommend to everybody asked for; no more than a chunk of users is ever held.

    Args:
        recommender: what recommends.
        asked: whom to recommend to.
        known: where histories are found that are not given. Who is not known there has none, and gets popular items.
        path: of the output; what a killed run left beside it is removed.
        file_format: of the output.
        k: items a user.
        chunk: users at once.
        exclude_seen: recommend nothing that stands in the history.
        banned: see `Recommender.recommend`.
        steps: of the reverse process.
        titles: by identifier; with them the output has a column for them.
        types: of identifiers in the data's files, see `restore_identifiers`; a Parquet file gets them back.
        on_users: called after every chunk with the number of users done.

    Raises:
        DataError: nobody was asked for, or somebody whose identifier is not of the data's type.
    """
    sources: Counter[str] = Counter()
    users = rows = unknown = 0
    preview: pa.Table | None = None
    schema = _schema(with_titles=titles is not None)
    types = types if types and file_format == "parquet" else {}
    written_as = restore_identifiers(schema.empty_table(), types).schema
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)
    with atomic_path(path) as temporary, _writer(temporary, written_as, file_format) as write:
        for part in chunks(asked, chunk):
            histories = [known.history(one.user) or [] if one.history is None else one.history for one in part]
            found = recommender.recommend(histories, k, exclude_history=exclude_seen, banned=banned, steps=steps)
            table = _table(part, found, schema, titles)
            write(restore_identifiers(table, types))
            preview = table.slice(0, PREVIEWED) if preview is None else preview
            users, rows = users + len(part), rows + len(table)
            sources.update(result.source if result.items else "none" for result in found)
            unknown += sum(result.unknown for result in found)
            if on_users:
                on_users(users)
        if preview is None:
            raise DataError("there is nobody to recommend to: the file of users is empty")
    return Written(users, rows, dict(sorted(sources.items())), unknown, preview)


def _schema(*, with_titles: bool) -> pa.Schema:
    title = [(TITLE, pa.string())] if with_titles else []
    columns = [(USER_ID, pa.string()), (RANK, pa.int32()), (ITEM_ID, pa.string()), *title]
    return pa.schema([*columns, (SCORE, pa.float32()), (SOURCE, pa.string())])


def _table(
    asked: list[Asked], found: list[Recommendations], schema: pa.Schema, titles: Mapping[str, str] | None
) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for one, result in zip(asked, found, strict=True):
        count = len(result.items)
        columns[USER_ID] += [one.user] * count
        columns[RANK] += range(1, count + 1)
        columns[ITEM_ID] += result.items
        columns[SCORE] += result.scores
        columns[SOURCE] += [result.source] * count
    if titles is not None:
        columns[TITLE] = [titles.get(item) for item in columns[ITEM_ID]]
    return pa.table(columns, schema=schema)


@contextmanager
def _writer(path: Path, schema: pa.Schema, file_format: Format) -> Iterator[Write]:
    writer = pq.ParquetWriter(path, schema) if file_format == "parquet" else pcsv.CSVWriter(path, schema)
    with writer:
        yield writer.write_table
