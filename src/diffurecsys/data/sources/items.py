"""What is known about items: titles and categories, by identifier."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import pyarrow as pa

from diffurecsys.columns import ITEM_ID
from diffurecsys.data.sources.files import SourceError, find_files, open_item_table, source_path
from diffurecsys.data.sources.rows import load_rows
from diffurecsys.data.sources.spec import ItemTable

logger = logging.getLogger(__name__)

TITLE, CATEGORY = "title", "category"
SCHEMA = pa.schema([(ITEM_ID, pa.string()), (TITLE, pa.string()), (CATEGORY, pa.string())])


def read_items(table: ItemTable | None, folder: Path) -> pa.Table:
    """Read titles and categories.

    Args:
        table: where they stand; None: nothing is known of any item.
        folder: what relative paths start from.

    Returns:
        `item_id`, `title`, `category`, all string, one row an item, the first of several; what is not known is missing.

    Raises:
        SourceError: the files or columns are not there.
    """
    if table is None:
        return SCHEMA.empty_table()
    files = [open_item_table(table, path) for path in find_files(source_path(table.path, folder))]
    columns = {table.item: ITEM_ID}
    for name, new in ((table.title, TITLE), (table.category, CATEGORY)):
        if name is not None and columns.setdefault(name, new) != new:
            raise SourceError(f"{table.path}: the column {name!r} cannot be both {columns[name]} and {new}")
    with duckdb.connect() as connection:
        rejects = load_rows(connection, "items", files, columns)
        known = [f"nullif({name}, '')" if name in columns.values() else "NULL::VARCHAR" for name in (TITLE, CATEGORY)]
        found = connection.sql(
            f"SELECT {ITEM_ID}, {known[0]} AS {TITLE}, {known[1]} AS {CATEGORY} FROM items WHERE {ITEM_ID} <> '' "
            f"QUALIFY row_number() OVER (PARTITION BY {ITEM_ID} ORDER BY file, row) = 1 ORDER BY {ITEM_ID}"
        ).to_arrow_table()
    if rejects:
        first = rejects[0]
        logger.warning(
            "%s, line %d: left out with %d lines like it (%s)",
            files[first.file].path.name,
            first.line,
            len(rejects) - 1,
            first.reason.lower(),
        )
    return found.cast(SCHEMA)
