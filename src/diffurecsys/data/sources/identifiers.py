"""Identifiers are texts inside the project; outside they have the type that they came with."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from diffurecsys.data.sources.sql import identifier
from diffurecsys.errors import DataError

TEXT = "VARCHAR"


def restore_identifiers(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """Give columns of identifiers the type that they had in their file.

    Args:
        table: with identifiers as text.
        types: DuckDB's name of a type by column, as in the record of what was read; other columns stay as they are.

    Raises:
        DataError: a text is no value of its column's type, or not the one that its file would give.
    """
    if all(types.get(name, TEXT) == TEXT for name in table.column_names):
        return table
    columns = [
        f"CAST({identifier(name)} AS {types[name]}) AS {identifier(name)}"
        if types.get(name, TEXT) != TEXT
        else identifier(name)
        for name in table.column_names
    ]
    with duckdb.connect() as connection:
        connection.execute("SET arrow_lossless_conversion = true")  # a UUID is one, not its text
        connection.register("restored", table)
        for name in table.column_names:
            if (kind := types.get(name, TEXT)) != TEXT:
                _refuse_others(connection, name, kind)
        return connection.sql(f"SELECT {', '.join(columns)} FROM restored").to_arrow_table()


def _refuse_others(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> None:
    column = identifier(name)
    strange = connection.execute(
        f"SELECT {column} FROM restored WHERE TRY_CAST({column} AS {kind})::VARCHAR IS DISTINCT FROM {column} LIMIT 1"
    ).fetchone()
    if strange is not None:
        raise DataError(f"{name} {strange[0]!r} is no {kind}, which is what the data's own are")
