"""Identifiers are texts inside the project; outside they have the type that they came with."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from diffurecsys.data.sources.sql import identifier

TEXT = "VARCHAR"


def restore_identifiers(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """Give columns of identifiers the type that they had in their file.

    Args:
        table: with identifiers as text.
        types: DuckDB's name of a type by column, as in the record of what was read; other columns stay as they are.
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
        return connection.sql(f"SELECT {', '.join(columns)} FROM restored").to_arrow_table()
