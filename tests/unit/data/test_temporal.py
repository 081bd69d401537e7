"""Splitting at points in time: who is trained on, who is asked what, and what is counted apart."""

from __future__ import annotations

import gc

import ibis
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.columns import HISTORY, TEST_TARGET, TRAINING, VALIDATION_TARGET
from diffurecsys.data.kcore import EmptyCoreError, filter_k_core
from diffurecsys.data.schemes import prefixes, windows
from diffurecsys.data.sequences import build_sequences, to_store
from diffurecsys.data.split import StudyData, load_split, save_split, temporal
from diffurecsys.data.store import SequenceStore
from diffurecsys.data.temporal import TimePoints, describe_time, divide_by_time, find_time_points
from diffurecsys.errors import DataError


@pytest.fixture(scope="module")
def table():
    """Make interactions of (user, item, time), in a connection that is closed at last."""
    connection, number = ibis.duckdb.connect(), iter(range(10**6))

    def make(events):
        users, items, times = zip(*events, strict=True)
        columns = {
            "user_id": pa.array(users),
            "item_id": pa.array(items),
            "timestamp": pa.array(times, pa.int64()),
            "row": pa.array(range(len(events)), pa.int64()),
        }
        return connection.create_table(f"events_{next(number)}", pa.table(columns))

    yield make
    gc.collect()  # cached tables are dropped through the connection
    connection.disconnect()


EVENTS = [
    *[("old", item, time) for item, time in (("a", 1), ("b", 2), ("a", 3), ("b", 11), ("a", 12), ("b", 25))],
    *[("gone", item, time) for item, time in (("a", 1), ("b", 5), ("a", 9))],  # nothing afterwards
    *[("new", item, time) for item, time in (("a", 21), ("b", 22))],  # nothing before
    ("late", "a", 30),  # nothing before its only event
    *[("odd", item, time) for item, time in (("b", 3), ("a", 4), ("b", 6), ("fresh", 24))],  # asked for an unknown item
    ("rare", "a", 8),  # too few events to train on
    ("rare", "b", 15),
]
POINTS = TimePoints(validation=10, test=20)


def parts_of(marked):
    found = marked.order_by("row").to_pyarrow()
    rows = zip(*(found[name].to_pylist() for name in ("user_id", "timestamp", "part")), strict=True)
    return {(user, time): part for user, time, part in rows}


def test_parts_and_counts_of_a_small_table(table):
    marked, counts = divide_by_time(table(EVENTS), POINTS, user_k=3, item_k=2)
    assert parts_of(marked) == {
        **dict.fromkeys([("old", 1), ("old", 2), ("old", 3)], TRAINING),
        ("old", 11): HISTORY,
        ("old", 12): VALIDATION_TARGET,
        ("old", 25): TEST_TARGET,
        **dict.fromkeys([("gone", 1), ("gone", 5), ("gone", 9)], TRAINING),
        ("new", 21): HISTORY,
        ("new", 22): TEST_TARGET,
        **dict.fromkeys([("odd", 3), ("odd", 4), ("odd", 6)], TRAINING),
        ("rare", 8): HISTORY,
        ("rare", 15): VALIDATION_TARGET,
    }
    assert counts == {
        "validation_from": 10,
        "test_from": 20,
        "training_users": 3,
        "training_interactions": 9,
        "known_items": 2,
        "unknown_items": 1,
        "unknown_item_interactions": 1,
        "validation_users": 2,
        "validation_asked": 2,
        "validation_unknown_target": 0,
        "validation_no_history": 0,
        "validation_new_users": 1,  # rare
        "test_users": 4,
        "test_asked": 2,
        "test_unknown_target": 1,  # odd
        "test_no_history": 1,  # late
        "test_new_users": 1,  # new
    }


def test_first_targets_have_no_history_after_the_point(table):
    marked, counts = divide_by_time(table(EVENTS), POINTS, user_k=3, item_k=2, target="first")
    parts = parts_of(marked)
    assert parts["old", 11] == VALIDATION_TARGET
    assert parts["old", 12] == HISTORY
    assert ("new", 21) not in parts  # nothing stands before the first event
    assert (counts["test_asked"], counts["test_no_history"]) == (1, 2)


def test_the_split_asks_for_what_is_marked(table, tmp_path):
    marked, _ = divide_by_time(table(EVENTS), POINTS, user_k=3, item_k=2)
    sequences = build_sequences(marked, min_length=1)
    found = sequences.table.to_pyarrow()
    store = to_store(found, 2)
    parts = torch.tensor([part for row in found["parts"].to_pylist() for part in row], dtype=torch.int8)
    data = StudyData(store, temporal(store, parts, max_length=2))
    names = sequences.user_vocabulary.to_pyarrow()["user_id"].to_pylist()
    split = data.split
    asked = {
        names[user]: store.items[start : end + 1].tolist()
        for user, start, end in zip(
            split.test.users(store).tolist(), split.test.start.tolist(), split.test.end.tolist(), strict=True
        )
    }
    assert asked == {"old": [1, 0, 1], "new": [0, 1]}  # two items of history, then the target
    assert [names[user] for user in split.validation.users(store).tolist()] == ["old", "rare"]
    assert dict(zip(names, split.train.lengths.tolist(), strict=True)) == {
        "gone": 3,
        "new": 0,
        "odd": 3,
        "old": 3,
        "rare": 0,
    }
    assert data.popularity.tolist() == [5, 4]
    for scheme in (prefixes, windows):
        labels = scheme(split.train, 2)
        assert bool((parts[labels.end] == TRAINING).all())
    save_split(data, tmp_path / "split.npz")
    back = load_split(tmp_path / "split.npz")
    assert back.fingerprint == data.fingerprint
    assert back.split.protocol == "temporal"


EVENT = st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdef"), st.integers(0, 30))


@settings(max_examples=12, deadline=None)
@given(st.lists(EVENT, min_size=20, max_size=80), st.lists(EVENT, max_size=30), st.sampled_from(["keep", "first"]))
def test_nothing_after_the_point_changes_what_is_trained_on(table, before, after, duplicates):
    """The training part is the k-core of what happened before, whatever happens later."""
    earlier = [event for event in before if event[2] < 20]
    later = [(user, item, time + 20) for user, item, time in after]
    arguments = {"user_k": 2, "item_k": 2, "duplicates": duplicates}
    if not earlier:
        return
    try:
        alone = filter_k_core(table(earlier), **arguments)
    except EmptyCoreError:
        with pytest.raises(EmptyCoreError):
            divide_by_time(table(earlier + later), TimePoints(20, 30), **arguments)
        return
    marked, counts = divide_by_time(table(earlier + later), TimePoints(20, 30), **arguments)
    trained = marked.filter(marked.part == TRAINING)
    assert (
        trained.order_by("row").drop("part").to_pyarrow().to_pylist() == alone.order_by("row").to_pyarrow().to_pylist()
    )
    vocabulary = set(alone.to_pyarrow()["item_id"].to_pylist())
    assert set(marked.to_pyarrow()["item_id"].to_pylist()) == vocabulary
    found = marked.to_pyarrow().to_pylist()
    for part, low, high, name in ((VALIDATION_TARGET, 20, 30, "validation"), (TEST_TARGET, 30, 99, "test")):
        targets = [row for row in found if row["part"] == part]
        assert all(low <= row["timestamp"] < high for row in targets)
        assert len({row["user_id"] for row in targets}) == len(targets) == counts[f"{name}_asked"]
        there = {user for user, _, time in earlier + later if low <= time < high}
        told = sum(counts[f"{name}_{kind}"] for kind in ("asked", "no_history", "unknown_target"))
        assert counts[f"{name}_users"] == told
        assert counts[f"{name}_users"] == len(there) or duplicates == "first"
        for row in targets:
            key = (row["timestamp"], row["row"])
            assert any((r["timestamp"], r["row"]) < key for r in found if r["user_id"] == row["user_id"])


def test_points_are_shares_or_dates(table):
    events = table([("u", "i", 86_400 * day) for day in range(100)])
    assert find_time_points(events, 0.8, 0.9, ticks=1) == TimePoints(86_400 * 80, 86_400 * 90)
    assert find_time_points(events, "1970-03-01", "1970-03-11T00:00:00+00:00", ticks=1) == TimePoints(
        86_400 * 59, 86_400 * 69
    )
    with pytest.raises(DataError, match="leaves 80 interactions before, 0 between and 20 after"):
        find_time_points(events, 0.8, 0.8, ticks=1)
    with pytest.raises(DataError, match=r"at 1,987-|at .* leaves 100 interactions before"):
        find_time_points(events, "1987-01-01", 0.9, ticks=1)


def test_times_are_written_as_dates_where_they_can_be():
    assert describe_time(1_709_632_800_000_000, 1_000_000) == "2024-03-05 10:00"
    assert describe_time(1_709_632_800, 1) == "2024-03-05 10:00"
    assert describe_time(57, 1) == "57"  # a position


def test_a_split_that_asks_nobody_is_refused():
    store = SequenceStore.from_lists([[0, 1, 0]], n_items=2)
    parts = torch.tensor([TRAINING, TRAINING, TEST_TARGET], dtype=torch.int8)
    with pytest.raises(DataError, match="no user can be asked about on validation"):
        temporal(store, parts, max_length=5)
    with pytest.raises(ValueError, match="must come before"):
        temporal(store, torch.from_numpy(np.array([2, 1, 3], np.int8)), max_length=5)
