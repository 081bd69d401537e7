"""What is known about items: titles and categories, by identifier."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from diffurecsys.columns import ITEM_ID
from diffurecsys.data.sources.files import SourceError, find_files, open_item_table, source_path
from diffurecsys.data.sources.rows import load_rows
from diffurecsys.data.sources.spec import ItemTable
from diffurecsys.data.staged import ROWS_A_BATCH, reading_rows

logger = logging.getLogger(__name__)

TITLE, CATEGORY = "title", "category"
SCHEMA = pa.schema([(ITEM_ID, pa.string()), (TITLE, pa.string()), (CATEGORY, pa.string())])


def read_items(table: ItemTable | None, folder: Path) -> pa.Table:
    """Read titles and categories into memory: `open_items`, at once."""
    with open_items(table, folder) as batches:
        return batches.read_all().cast(SCHEMA)


@contextmanager
def open_items(table: ItemTable | None, folder: Path, scratch: Path | None = None) -> Iterator[pa.RecordBatchReader]:
    """Read titles and categories, to be given batch by batch.

    Args:
        table: where they stand; None: nothing is known of any item.
        folder: what relative paths start from.
        scratch: where rows may lie on disk meanwhile; None: where the system has temporary files.

    Returns:
        `item_id`, `title`, `category`, all string, one row an item, the first of several; what is not known is missing.

    Raises:
        SourceError: the files or columns are not there.
    """
    if table is None:
        yield pa.RecordBatchReader.from_batches(SCHEMA, [])
        return
    files = [open_item_table(table, path) for path in find_files(source_path(table.path, folder))]
    columns = {table.item: ITEM_ID}
    for name, new in ((table.title, TITLE), (table.category, CATEGORY)):
        if name is not None and columns.setdefault(name, new) != new:
            raise SourceError(f"{table.path}: the column {name!r} cannot be both {columns[name]} and {new}")
    with reading_rows(scratch) as connection:
        rejects = load_rows(connection, "items", files, columns)
        if rejects:
            first = rejects[0]
            logger.warning(
                "%s, line %d: left out with %d lines like it (%s)",
                files[first.file].path.name,
                first.line,
                len(rejects) - 1,
                first.reason.lower(),
            )
        known = [f"nullif({name}, '')" if name in columns.values() else "NULL::VARCHAR" for name in (TITLE, CATEGORY)]
        yield connection.sql(
            f"SELECT {ITEM_ID}, {known[0]} AS {TITLE}, {known[1]} AS {CATEGORY} FROM items WHERE {ITEM_ID} <> '' "
            f"QUALIFY row_number() OVER (PARTITION BY {ITEM_ID} ORDER BY file, row) = 1 ORDER BY {ITEM_ID}"
        ).to_arrow_reader(ROWS_A_BATCH)
