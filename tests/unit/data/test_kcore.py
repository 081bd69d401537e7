import gc
import logging
from collections import Counter
from typing import Literal

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.kcore import EmptyCoreError, filter_and_count, filter_k_core
from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.sequences import count_interactions
from diffurecsys.data.specs import Counts

Row = tuple[str, str, int]


def interactions(rows: list[Row]) -> pa.Table:
    columns = {
        "user_id": pa.array([user for user, _, _ in rows], pa.string()),
        "item_id": pa.array([item for _, item, _ in rows], pa.string()),
        "timestamp": pa.array([timestamp for _, _, timestamp in rows], pa.int64()),
        "row": pa.array(range(len(rows)), pa.int64()),
    }
    return pa.table(columns)


def kept(table: ibis.Table) -> list[int]:
    return table.to_pyarrow()["row"].to_pylist()


def naive_core(rows: list[Row], user_k: int, item_k: int, duplicates: Literal["keep", "first", "last"]) -> list[int]:
    """Remove one offending row at a time."""
    remaining = list(range(len(rows)))
    if duplicates != "keep":
        by_time = sorted(remaining, key=lambda r: (rows[r][2], r), reverse=duplicates == "last")
        chosen: dict[tuple[str, str], int] = {}
        for r in by_time:
            chosen.setdefault(rows[r][:2], r)
        remaining = sorted(chosen.values())
    while True:
        users = Counter(rows[r][0] for r in remaining)
        items = Counter(rows[r][1] for r in remaining)
        rare = [r for r in remaining if users[rows[r][0]] < user_k or items[rows[r][1]] < item_k]
        if not rare:
            return remaining
        remaining.remove(rare[-1])


def complete(users: int, items: int) -> list[Row]:
    return [(f"u{u}", f"i{i}", u) for u in range(users) for i in range(items)]


def temporary_tables(connection) -> list:
    return connection.raw_sql("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("stuvw"), st.integers(0, 3)), max_size=40),
    user_k=st.integers(1, 4),
    item_k=st.integers(1, 4),
    duplicates=st.sampled_from(["keep", "first", "last"]),
)
def test_agrees_with_a_naive_oracle(rows, user_k, item_k, duplicates):
    table = ibis.memtable(interactions(rows))
    expected = naive_core(rows, user_k, item_k, duplicates)
    if expected:
        core, before = filter_and_count(table, user_k=user_k, item_k=item_k, duplicates=duplicates)
        assert kept(core) == expected
        assert before == count_interactions(table)
    else:
        with pytest.raises(EmptyCoreError):
            filter_k_core(table, user_k=user_k, item_k=item_k, duplicates=duplicates)


def test_removal_goes_on_until_stable(caplog):
    """A chain in which each removal makes the next user or item too rare; only the square at its end stays."""
    chain = [("u0", "i0", 0)] + [row for n in range(1, 6) for row in ((f"u{n}", f"i{n - 1}", 0), (f"u{n}", f"i{n}", 0))]
    square = [("a", "s", 0), ("a", "t", 0), ("b", "s", 0), ("b", "t", 0)]
    with caplog.at_level(logging.INFO, logger="diffurecsys"):
        core = filter_k_core(ibis.memtable(interactions(chain + square)), user_k=2, item_k=2)
    assert kept(core) == [11, 12, 13, 14]
    assert len([r for r in caplog.records if "k-core, round" in r.message]) > 3


def test_columns_and_rows_come_back_as_they_were():
    table = interactions([*complete(3, 3), ("lonely", "i0", 9)]).append_column("note", pa.array(list("abcdefghij")))
    core = filter_k_core(ibis.memtable(table), user_k=2, item_k=2).to_pyarrow()
    assert core.equals(table.slice(0, 9).cast(core.schema))
    assert core.column_names == table.column_names


@pytest.mark.parametrize(("duplicates", "expected"), [("keep", [0, 1, 2, 3]), ("first", [1, 3]), ("last", [2, 3])])
def test_duplicates_policy(duplicates, expected):
    """By timestamp first, then by row: row 0 is the latest of its pair but for row 2, which comes after it."""
    rows = [("u", "i", 5), ("u", "i", 1), ("u", "i", 5), ("u", "j", 0)]
    table = ibis.memtable(interactions(rows))
    assert kept(filter_k_core(table, user_k=1, item_k=1, duplicates=duplicates)) == expected


def test_duplicates_count_only_where_they_are_kept():
    rows = [("u", "i", t) for t in range(5)] + [("u", "j", t) for t in range(5)]
    table = ibis.memtable(interactions(rows))
    assert len(kept(filter_k_core(table, user_k=5, item_k=5))) == 10
    with pytest.raises(EmptyCoreError):
        filter_k_core(table, user_k=2, item_k=2, duplicates="first")


def test_nothing_left_says_what_there_was():
    with pytest.raises(EmptyCoreError) as caught:
        filter_k_core(ibis.memtable(interactions(complete(3, 2))), user_k=5, item_k=4)
    assert str(caught.value) == (
        "filtering left nothing of 3 users, 2 items, 6 interactions: no set of users with at least 5 and items "
        "with at least 4 interactions exists. Lower preprocessing.user_k or preprocessing.item_k."
    )


@pytest.mark.parametrize(("name", "k"), [("user_k", 0), ("item_k", -1)])
def test_thresholds_are_at_least_one(name, k):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {k}"):
        filter_k_core(ibis.memtable(interactions(complete(2, 2))), **{"user_k": 1, "item_k": 1, name: k})


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="duplicates must be keep, first or last, got 'drop'"):
        filter_k_core(ibis.memtable(interactions(complete(2, 2))), user_k=1, item_k=1, duplicates="drop")


def test_works_in_the_connection_of_a_parquet_file_and_leaves_no_tables_there(tmp_path):
    connection = ibis.duckdb.connect()
    source = interactions([*complete(4, 4), ("lonely", "i0", 9)])
    connection.to_parquet(ibis.memtable(source), tmp_path / "interactions.parquet")
    table = connection.read_parquet(tmp_path / "interactions.parquet")
    core = filter_k_core(table, user_k=3, item_k=3)
    connection.to_parquet(core, tmp_path / "core.parquet")
    assert pq.read_table(tmp_path / "core.parquet")["row"].to_pylist() == list(range(16))
    assert len(temporary_tables(connection)) == 1, "earlier rounds are released"
    del core
    gc.collect()
    assert not temporary_tables(connection)


@pytest.mark.parametrize(
    ("archive", "raw", "core"),
    [
        ("ml-100k", Counts(943, 1682, 100_000), Counts(943, 1349, 99_287)),
        ("ml-1m", Counts(6040, 3706, 1_000_209), Counts(6040, 3416, 999_611)),
        ("Amazon_Beauty", Counts(22_363, 12_101, 198_502), Counts(22_363, 12_101, 198_502)),
        ("Amazon_Toys_and_Games", Counts(19_412, 11_924, 167_597), Counts(19_412, 11_924, 167_597)),
    ],
)
def test_real_archives(shared_data, archive, raw, core):
    table = ibis.memtable(read_interactions(shared_data / f"{archive}.zip"))
    found, before = filter_and_count(table, user_k=5, item_k=5)
    assert before == count_interactions(table) == raw
    assert count_interactions(found) == core
