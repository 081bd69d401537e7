"""Sequence store, leave-one-out and packing, against Python lists."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.store import Examples, SequenceStore, leave_one_out

sequences = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), min_size=1, max_size=8)


def pairs(store: SequenceStore, examples: Examples) -> list[tuple[list[int], int]]:
    items = store.items.tolist()
    return [(items[s:e], items[e]) for s, e in zip(examples.start.tolist(), examples.end.tolist(), strict=True)]


@given(sequences, st.integers(1, 6))
def test_leave_one_out(lists, max_length):
    store = SequenceStore.from_lists(lists, 10)
    split = leave_one_out(store, max_length=max_length)
    assert pairs(store, split.test) == [(s[:-1][-max_length:], s[-1]) for s in lists]
    assert pairs(store, split.validation) == [(s[:-2][-max_length:], s[-2]) for s in lists]
    assert pairs(store, split.train) == [(s[:n][-max_length:], s[n]) for s in lists for n in range(1, len(s) - 2)]
    assert split.test.users(store).tolist() == list(range(len(lists)))


@given(sequences, st.integers(1, 5), st.randoms())
def test_packed_batches_hold_their_examples(lists, batch_size, random):
    store = SequenceStore.from_lists(lists, 10)
    examples = leave_one_out(store, max_length=4).train
    expected = pairs(store, examples)
    order = list(range(len(expected)))
    random.shuffle(order)
    seen = []
    for batch, index in Packer(store, examples).batches(torch.tensor(order, dtype=torch.int64), batch_size):
        assert list(batch.lengths) == sorted(batch.lengths)
        assert batch.max_length == max(batch.lengths)
        histories = [h.tolist() for h in batch.items.tensor_split(batch.offsets[1:-1].long())]
        assert list(zip(histories, batch.targets.tolist(), strict=True)) == [expected[i] for i in index.tolist()]
        seen += index.tolist()
    assert sorted(seen) == sorted(order)


def test_plain_histories_are_packed_by_length():
    batch = pack_histories([[1, 2, 3], [4], [5, 6]])
    assert batch.items.tolist() == [4, 5, 6, 1, 2, 3]
    assert batch.offsets.tolist() == [0, 1, 3, 6]


def test_short_users_are_named():
    store = SequenceStore.from_lists([[0, 1, 2], [0, 1]], 3)
    with pytest.raises(ValueError, match=r"1 users have fewer than 3 events \(first: user 1 with 2\)"):
        leave_one_out(store, max_length=5)


@pytest.mark.parametrize(
    ("items", "offsets", "message"),
    [
        ([0, 5], [0, 2], r"item ids must lie in 0 … 4, got 0 … 5"),
        ([0, -1], [0, 2], r"item ids must lie in 0 … 4, got -1 … 0"),
        ([0, 1], [0, 1], r"offsets must run from 0 to the number of events \(2\)"),
        ([0, 1], [0, 2, 1, 2], "offsets must not decrease"),
    ],
)
def test_a_store_that_makes_no_sense_is_refused(items, offsets, message):
    with pytest.raises(ValueError, match=message):
        SequenceStore(torch.tensor(items, dtype=torch.int32), torch.tensor(offsets), 5)


def test_empty_histories_are_refused():
    with pytest.raises(ValueError, match="a history of at least one item"):
        Examples(torch.tensor([3]), torch.tensor([3]))
