"""From tables of a backend to Arrow, where the code needs arrays: without a copy of the table in the driver of Spark.

DuckDB hands its results over as Arrow. Ibis collects those of Spark through pandas into the driver, several copies of
them; here the Parquet files behind a stored table are read instead, batch by batch, without Spark.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.dataset

DUCKDB, SPARK = "duckdb", "pyspark"


def backend_of(table: ibis.Table) -> str:
    """Name the backend that a table lives in; tables in memory are DuckDB's."""
    return str(table._find_backend(use_default=True).name)  # Ibis has no public way


def read_table(table: ibis.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a table as it was stored, in its order.

    Args:
        table: on Spark one that was read from Parquet, not an expression of such.
        columns: their names; None: all.

    Raises:
        ValueError: a table of Spark is an expression: store it first.
    """
    chosen = table.select(*(columns or table.columns))
    if backend_of(table) != SPARK:
        return chosen.to_pyarrow()
    operation = table.op()
    if not isinstance(operation, ops.DatabaseTable):
        raise ValueError("a table of Spark must be stored before it is read as arrays")
    files = table.get_backend()._session.table(operation.name).inputFiles()
    paths = sorted(unquote(file).removeprefix("file://").replace("s3a://", "s3://", 1) for file in files)
    batches = pyarrow.dataset.dataset(paths).to_batches(columns=list(chosen.columns))
    schema = chosen.schema().to_pyarrow()
    return pa.Table.from_batches((batch.cast(schema) for batch in batches), schema=schema)
