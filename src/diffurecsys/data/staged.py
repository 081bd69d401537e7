"""Tables on their way from files to the catalog: written batch by batch to a Parquet file; no memory need hold them.

DuckDB and Arrow read files under every backend of tables. What they read is staged here, and the file put into place
where the table is stored: of DuckDB it is the table's file, of Spark the one part of the table's folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

from diffurecsys.files import TEMPORARY, atomic_path

ROWS_A_BATCH = 1 << 20  # and a group of rows in Parquet
REPETITIONS = 4  # of a value in a batch, from which on Parquet's dictionaries pay
MEMORY = "25%"  # of the machine's, for rows while they are checked; DuckDB writes to disk what is more


def stage(batches: Iterable[pa.RecordBatch], schema: pa.Schema, scratch: Path) -> ibis.Table:
    """Write batches to a file that exists as long as the table.

    Args:
        batches: read once; an error of theirs leaves no file.
        schema: of all batches.
        scratch: where files may lie until they are put into place, best on the same disk.
    """
    folder = _new_folder(scratch)
    path = folder / "table.parquet"
    try:
        with atomic_path(path) as temporary:
            _write(batches, schema, temporary)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    dataset = pyarrow.dataset.dataset(path)
    weakref.finalize(dataset, _remove, folder, os.getpid())
    return ibis.memtable(dataset)


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Write one batch while the next one is read."""
    coming = (batch.cast(schema) for batch in batches)
    first = next(coming, pa.RecordBatch.from_pylist([], schema))
    with (
        pq.ParquetWriter(path, schema, compression="zstd", **_encodings(first)) as writer,
        ThreadPoolExecutor(1) as beside,
    ):
        written = beside.submit(writer.write_batch, first)
        for batch in coming:
            written.result()
            written = beside.submit(writer.write_batch, batch)
        written.result()


def _encodings(batch: pa.RecordBatch) -> dict[str, Any]:
    """Dictionaries where values repeat, differences for other whole numbers, as `row` is: judged by a first batch."""
    distinct = {name: pc.count_distinct(batch[name]).as_py() for name in batch.schema.names}
    repeating = [name for name, n in distinct.items() if n <= batch.num_rows / REPETITIONS]
    numbers = [
        name for name in distinct if name not in repeating and pa.types.is_integer(batch.schema.field(name).type)
    ]
    return {"use_dictionary": repeating, "column_encoding": dict.fromkeys(numbers, "DELTA_BINARY_PACKED")}


def staged_file(table: ibis.Table) -> Path | None:
    """Return the file of a table that was staged; None for any other."""
    operation = table.op()
    if not isinstance(operation, ops.InMemoryTable):
        return None
    found = getattr(operation.data, "obj", None)
    return Path(found.files[0]) if isinstance(found, pyarrow.dataset.FileSystemDataset) else None


def put_into_place(staged: Path, path: Path) -> None:
    """Give a staged file another name, too; copied where the two lie on different disks."""
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(staged)
    except OSError:
        shutil.copyfile(staged, path)


@contextmanager
def reading_rows(scratch: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to a database in memory that moves to disk what is too much.

    Args:
        scratch: where on disk; None: where the system has temporary files.
    """
    folder = _new_folder(Path(tempfile.gettempdir()) if scratch is None else scratch)
    try:
        with duckdb.connect(config={"temp_directory": str(folder)}) as connection:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent, prefix=".reading.", suffix=TEMPORARY))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process has the table, too
        shutil.rmtree(folder, ignore_errors=True)
