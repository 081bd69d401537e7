"""Tables that are staged on disk between files and the catalog."""

from __future__ import annotations

import errno
import gc

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffurecsys.data.sources.read import open_source_rows
from diffurecsys.data.sources.spec import ColumnNames, SourceSpec
from diffurecsys.data.staged import stage, staged_file
from diffurecsys.datasets import IbisFileDataset
from diffurecsys.errors import UnwritableError

SCHEMA = pa.schema([("number", pa.int64())])


def batches(count, rows=2):
    for first in range(0, count * rows, rows):
        yield pa.record_batch([pa.array(range(first, first + rows))], schema=SCHEMA)


def test_a_staged_table_is_stored_and_leaves_nothing_behind(tmp_path):
    scratch = tmp_path / "scratch"
    dataset = IbisFileDataset(filepath=f"{tmp_path}/new/table.parquet", connection={"backend": "duckdb"})
    for count in (3, 2):  # the second replaces the first
        table = stage(batches(count), SCHEMA, scratch)
        assert staged_file(table).is_file()
        dataset.save(table)
        del table
        gc.collect()
        assert list(scratch.iterdir()) == []
        assert dataset.load().order_by("number").to_pyarrow()["number"].to_pylist() == list(range(2 * count))
        assert not dataset.damaged


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    assert ibis.duckdb.connect().to_pyarrow(stage([], SCHEMA, tmp_path)).schema == SCHEMA


def test_values_that_repeat_lie_in_dictionaries_and_row_numbers_as_differences(tmp_path):
    schema = pa.schema([("text", pa.string()), ("often", pa.string()), ("row", pa.int64()), ("day", pa.int64())])
    rows = [{"text": f"t{row}", "often": f"o{row % 5}", "row": row, "day": row // 100} for row in range(1_000)]
    batch = pa.RecordBatch.from_pylist(rows, schema)
    table = stage([batch, batch], schema, tmp_path)  # its file goes with it
    file = staged_file(table)
    group = pq.read_metadata(file).row_group(0)
    encodings = {group.column(n).path_in_schema: set(group.column(n).encodings) for n in range(group.num_columns)}
    dictionary = "RLE_DICTIONARY"
    assert {name for name, found in encodings.items() if dictionary in found} == {"often", "day"}
    assert "DELTA_BINARY_PACKED" in encodings["row"]
    assert ibis.duckdb.connect().read_parquet(file).to_pyarrow().to_pylist() == rows * 2


def test_an_error_while_writing_is_the_error(tmp_path, monkeypatch):
    def full(_writer, _batch):
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(UnwritableError, match="cannot be written"):
        stage(batches(3), SCHEMA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tables_elsewhere_have_no_staged_file():
    assert staged_file(ibis.memtable({"a": [1]})) is None
    stored = ibis.duckdb.connect().create_table("stored", pa.table({"a": [1]}))
    assert staged_file(stored) is None


@pytest.mark.parametrize(
    ("error", "raised"), [(ValueError("line 7"), ValueError), (OSError(errno.ENOSPC, "no"), UnwritableError)]
)
def test_an_error_while_reading_leaves_no_file(error, raised, tmp_path):
    def broken():
        yield from batches(2)
        raise error

    with pytest.raises(raised):
        stage(broken(), SCHEMA, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_a_few_batches_lie_in_memory(tmp_path):
    rows, before, most = 1 << 17, pa.total_allocated_bytes(), 0  # 1 MiB a batch

    def watched():
        nonlocal most
        for batch in batches(40, rows):
            most = max(most, pa.total_allocated_bytes() - before)
            yield batch

    assert pq.read_metadata(staged_file(stage(watched(), SCHEMA, tmp_path))).num_rows == 40 * rows
    assert most < 20 << 20  # half of all


def test_rows_of_many_batches_keep_the_order_of_their_files(tmp_path):
    sizes = (300_000, 7, 500_000)  # DuckDB's groups hold 122,880 rows
    for number, size in enumerate(sizes):
        table = pa.table({"user": [f"{number} {row}" for row in range(size)], "item": ["i"] * size})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=50_000)
    spec = SourceSpec("*.parquet", ColumnNames("user", "item"))
    with open_source_rows(spec, tmp_path, tmp_path / "scratch") as (rows, record):
        found = rows.read_all()
    assert found["user_id"].to_pylist() == [f"{n} {row}" for n, size in enumerate(sizes) for row in range(size)]
    assert found["row"].to_pylist() == list(range(record.kept))
    assert list((tmp_path / "scratch").iterdir()) == []
