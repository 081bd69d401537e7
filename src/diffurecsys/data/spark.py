"""Apache Spark as the backend of tables, for data that one machine's DuckDB does not take."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.operations as ops
import pyarrow.parquet as pq

from diffurecsys.data.staged import ROWS_A_BATCH, put_into_place, staged_file
from diffurecsys.errors import UserError

DEFAULTS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
}


class SparkError(UserError, RuntimeError):
    """Spark cannot be used on this machine."""


def connect_spark(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 - Ibis' backend
    """Connect Ibis to the session of this process; made with `settings` where there is none yet.

    Args:
        settings: Spark's own, by their names: `spark.master`, `spark.executor.memory`.

    Raises:
        SparkError: PySpark or Java is missing; what to do.
    """
    try:
        from pyspark.errors import PySparkException, PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise SparkError(
            f"tables are to be Spark's (`connection` in globals.yml), and {error.name} is missing: "
            "pip install 'diffurecsys[spark]', or pip install -r requirements-scale.lock"
        ) from error
    if shutil.which("java") is None:
        raise SparkError("Spark needs Java (17 or 21), which is not on PATH: apt-get install openjdk-17-jre-headless")
    builder = SparkSession.builder.appName("diffurecsys")
    for name, value in {**DEFAULTS, **settings}.items():
        builder = builder.config(name, str(value))
    try:
        session = builder.getOrCreate()
    except (PySparkException, PySparkRuntimeError, OSError) as error:
        raise SparkError(f"Spark does not start with {dict(settings)}: {str(error).strip().splitlines()[0]}") from error
    session.sparkContext.setLogLevel("ERROR")
    return ibis.pyspark.connect(session)


def write_parquet_folder(
    table: ibis.Table,
    connection: Any,  # noqa: ANN401 - Ibis' backend
    folder: Path,
) -> None:
    """Write a table as a folder of Parquet files; one that was staged, or lies in memory, without Spark."""
    operation, part = table.op(), folder / "part-00000.parquet"
    if (staged := staged_file(table)) is not None:
        folder.mkdir()
        put_into_place(staged, part)
        return
    if isinstance(operation, ops.InMemoryTable):
        folder.mkdir()
        found = operation.data.to_pyarrow(operation.schema)
        pq.write_table(found, part, row_group_size=ROWS_A_BATCH, compression="zstd")
        return
    connection.to_parquet(table, folder)
