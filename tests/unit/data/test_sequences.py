import logging
import random

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from diffurecsys.data.sequences import (
    CountsMismatchError,
    build_sequences,
    check_counts,
    count_interactions,
    to_store,
)
from diffurecsys.data.specs import Counts

USER_COUNT = 300


def interactions(rows: list[tuple[str, str, int]], order: list[int] | None = None) -> pa.Table:
    """Rows numbered as listed, laid down in `order`."""
    order = list(range(len(rows))) if order is None else order
    columns = {
        "user_id": pa.array([rows[r][0] for r in order], pa.string()),
        "item_id": pa.array([rows[r][1] for r in order], pa.string()),
        "timestamp": pa.array([rows[r][2] for r in order], pa.int64()),
        "row": pa.array(order, pa.int64()),
    }
    return pa.table(columns)


def many_rows() -> list[tuple[str, str, int]]:
    rng = random.Random(0)
    pairs = [(f"u{u}", f"i{rng.randrange(500)}", rng.randrange(4)) for u in range(USER_COUNT) for _ in range(40)]
    rng.shuffle(pairs)
    return pairs


ROWS = [
    ("bob", "x", 5),
    ("ann", "y", 3),
    ("bob", "z", 5),
    ("ann", "x", 1),
    ("bob", "y", 5),
    ("ann", "x", 3),
    ("ann", "w", 3),
]


def test_sequences_by_hand():
    """Users and items are numbered by identifier; equal timestamps keep the order of rows."""
    sequences = build_sequences(ibis.memtable(interactions(ROWS)))
    table = sequences.table.to_pyarrow()
    assert table.schema.names == ["user", "items", "timestamps"]
    assert table.schema.types[0] == pa.int32()
    assert [kind.value_type for kind in table.schema.types[1:]] == [pa.int32(), pa.int64()]
    assert table.to_pylist() == [
        {"user": 0, "items": [1, 2, 1, 0], "timestamps": [1, 3, 3, 3]},
        {"user": 1, "items": [1, 3, 2], "timestamps": [5, 5, 5]},
    ]
    users, items = sequences.user_vocabulary.to_pyarrow(), sequences.item_vocabulary.to_pyarrow()
    assert (users.schema.types, items.schema.types) == ([pa.int32(), pa.string()], [pa.int32(), pa.string()])
    assert users.to_pylist() == [{"user": 0, "user_id": "ann"}, {"user": 1, "user_id": "bob"}]
    assert items.to_pylist() == [{"item": i, "item_id": name} for i, name in enumerate("wxyz")]


def test_the_order_in_which_rows_are_stored_does_not_matter():
    shuffled = random.Random(1).sample(range(len(ROWS)), len(ROWS))
    expected = build_sequences(ibis.memtable(interactions(ROWS))).table.to_pyarrow()
    assert build_sequences(ibis.memtable(interactions(ROWS, shuffled))).table.to_pyarrow().equals(expected)


def test_agrees_with_a_plain_sort_whatever_the_number_of_threads(tmp_path):
    rows = many_rows()
    pq.write_table(interactions(rows), tmp_path / "interactions.parquet", row_group_size=512)
    names = sorted({item for _, item, _ in rows})
    expected = {}
    for r in sorted(range(len(rows)), key=lambda r: (rows[r][2], r)):
        expected.setdefault(rows[r][0], []).append(names.index(rows[r][1]))
    tables = []
    for threads in (1, 4):
        connection = ibis.duckdb.connect(threads=threads)
        sequences = build_sequences(connection.read_parquet(tmp_path / "interactions.parquet"))
        users = sequences.user_vocabulary.to_pyarrow()["user_id"].to_pylist()
        tables.append(sequences.table.to_pyarrow())
        assert dict(zip(users, tables[-1]["items"].to_pylist(), strict=True)) == expected
        assert users == sorted({user for user, _, _ in rows})
        assert sequences.item_vocabulary.to_pyarrow()["item_id"].to_pylist() == names
    assert tables[0].equals(tables[1])


def test_order_survives_parquet(tmp_path):
    connection = ibis.duckdb.connect(threads=4)
    rows = many_rows()
    pq.write_table(interactions(rows), tmp_path / "interactions.parquet", row_group_size=512)
    sequences = build_sequences(connection.read_parquet(tmp_path / "interactions.parquet"))
    for name in ("table", "user_vocabulary", "item_vocabulary"):
        connection.to_parquet(getattr(sequences, name), tmp_path / f"{name}.parquet")
        saved = pq.read_table(tmp_path / f"{name}.parquet")
        assert saved[0].to_pylist() == list(range(saved.num_rows))
    loaded = connection.read_parquet(tmp_path / "table.parquet").to_pyarrow()
    assert to_store(loaded, n_items=500).n_users == USER_COUNT


def test_the_order_of_the_file_numbers_nothing():
    """Other rows first, and by other times, give the same numbers: a split of them means the same items."""
    again = build_sequences(ibis.memtable(interactions([(user, item, -time) for user, item, time in reversed(ROWS)])))
    expected = build_sequences(ibis.memtable(interactions(ROWS)))
    for name in ("user_vocabulary", "item_vocabulary"):
        assert getattr(again, name).to_pyarrow().equals(getattr(expected, name).to_pyarrow())


def test_identifiers_are_ordered_by_their_bytes():
    rows = [("u", item, 0) for item in ("é", "z", "B", "a", "10", "9")]
    vocabulary = build_sequences(ibis.memtable(interactions(rows))).item_vocabulary.to_pyarrow()
    assert vocabulary["item_id"].to_pylist() == ["10", "9", "B", "a", "z", "é"]


def test_users_with_too_little_are_named():
    rows = [*ROWS, ("eve", "x", 1), ("zoe", "x", 1), ("eve", "y", 1)]
    with pytest.raises(ValueError, match="users have fewer") as caught:
        build_sequences(ibis.memtable(interactions(rows)))
    assert str(caught.value) == (
        "2 users have fewer than 3 interactions (first: 'eve' with 2); each needs a history, a validation and a test "
        "item. Set preprocessing.user_k to at least 3."
    )


def test_a_single_item_is_an_error():
    with pytest.raises(ValueError, match="the interactions hold 1 item, and nothing can be recommended"):
        build_sequences(ibis.memtable(interactions([("u", "i", t) for t in range(5)])))


def test_count_interactions():
    assert count_interactions(ibis.memtable(interactions(ROWS))) == Counts(users=2, items=4, interactions=7)
    assert count_interactions(ibis.memtable(interactions([]))) == Counts(users=0, items=0, interactions=0)


def test_check_counts_accepts_any_known_version(caplog):
    known = (Counts(1, 2, 3), Counts(4, 5, 6))
    check_counts(known, Counts(4, 5, 6), what="toy", on_mismatch="error")
    check_counts((), Counts(7, 8, 9), what="toy", on_mismatch="error")
    assert not caplog.records


def test_check_counts_says_what_was_expected_found_and_which_parameter_helps():
    with pytest.raises(CountsMismatchError) as caught:
        check_counts((Counts(1, 2, 3), Counts(4, 5, 6000)), Counts(4, 5, 7), what="toy.zip", on_mismatch="error")
    assert str(caught.value) == (
        "toy.zip: found 4 users, 5 items, 7 interactions; expected 1 users, 2 items, 3 interactions or 4 users, "
        "5 items, 6,000 interactions. If the difference is meant, correct the dataset's entry in datasets.yml, or turn "
        "this error into a warning: preprocessing.on_mismatch: warn"
    )


def test_check_counts_can_warn(caplog):
    with caplog.at_level(logging.WARNING, logger="diffurecsys"):
        check_counts((Counts(1, 2, 3),), Counts(1, 2, 4), what="toy.zip", on_mismatch="warn")
    (record,) = caplog.records
    assert "toy.zip: found 1 users, 2 items, 4 interactions; expected 1 users, 2 items, 3" in record.message


def sequences_table(users: list[int], items: list[list[int] | None]) -> pa.Table:
    return pa.table({"user": pa.array(users, pa.int32()), "items": pa.array(items, pa.list_(pa.int32()))})


def test_store_from_chunks_and_slices():
    first = sequences_table([9, 0, 1], [[9, 9], [3, 1], [2]]).slice(1)
    second = sequences_table([2, 3], [[], [0, 0, 4]])
    store = to_store(pa.concat_tables([first, second]), n_items=5)
    assert store.items.tolist() == [3, 1, 2, 0, 0, 4]
    assert store.offsets.tolist() == [0, 2, 3, 3, 6]
    assert (store.items.dtype, store.n_items) == (torch.int32, 5)
    store.items[0] = 0  # its own memory, not Arrow's


def test_store_of_built_sequences():
    sequences = build_sequences(ibis.memtable(interactions(ROWS)))
    store = to_store(sequences.table.to_pyarrow(), n_items=4)
    assert store.items.tolist() == [1, 2, 1, 0, 1, 3, 2]
    assert np.array_equal(store.offsets.numpy(), [0, 4, 7])


@pytest.mark.parametrize(("users", "row", "user"), [([1, 0], 0, 1), ([0, 2], 1, 2), ([0, 0], 1, 0)])
def test_store_refuses_users_out_of_order(users, row, user):
    with pytest.raises(ValueError, match=f"row {row} of the sequences is user {user}: they must hold every user"):
        to_store(sequences_table(users, [[0], [1]]), n_items=2)


@pytest.mark.parametrize("items", [[[0], None], [[0], [1, None]]])
def test_store_refuses_missing_values(items):
    with pytest.raises(ValueError, match=r"the sequences have . missing lists and . missing items"):
        to_store(sequences_table([0, 1], items), n_items=2)
