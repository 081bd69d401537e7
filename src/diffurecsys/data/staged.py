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
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from diffurecsys.files import TEMPORARY, atomic_path

ROWS_A_BATCH = 1 << 20  # and a group of rows in Parquet
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
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    dataset = pyarrow.dataset.dataset(path)
    weakref.finalize(dataset, _remove, folder, os.getpid())
    return ibis.memtable(dataset)


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
