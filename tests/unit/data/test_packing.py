"""Packed batches against Python lists."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import leave_one_out
from diffurecsys.data.store import SequenceStore

sequences = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=12), min_size=1, max_size=8)


def shuffled(count: int, random) -> torch.Tensor:
    order = list(range(count))
    random.shuffle(order)
    return torch.tensor(order, dtype=torch.int64)


def parts(values: torch.Tensor, batch) -> list[list[int]]:
    return [part.tolist() for part in values.tensor_split(batch.offsets[1:-1].long())]


@given(sequences, st.integers(1, 5), st.randoms())
def test_batches_that_ask_at_the_end_hold_their_examples(lists, batch_size, random):
    store = SequenceStore.from_lists(lists, 10)
    examples = SCHEMES["prefix"].cut(leave_one_out(store, max_length=4).train, 4)
    expected = [(s[:n][-4:], s[n]) for s in lists for n in range(1, len(s) - 2)]
    order, seen = shuffled(len(expected), random), []
    for batch, index in Packer(store, examples).batches(order, batch_size):
        assert list(batch.lengths) == sorted(batch.lengths)
        assert batch.max_length == max(batch.lengths)
        assert not batch.everywhere
        histories = parts(batch.items, batch)
        assert list(zip(histories, batch.targets.tolist(), strict=True)) == [expected[i] for i in index.tolist()]
        seen += index.tolist()
    assert sorted(seen) == sorted(order.tolist())


@given(sequences, st.integers(1, 5), st.randoms())
def test_batches_that_ask_everywhere_have_a_label_at_every_token(lists, batch_size, random):
    store = SequenceStore.from_lists(lists, 10)
    examples = SCHEMES["window"].cut(leave_one_out(store, max_length=4).train, 4)
    starts, ends = examples.start.tolist(), examples.end.tolist()
    items = store.items.tolist()
    for batch, index in Packer(store, examples, everywhere=True).batches(shuffled(len(starts), random), batch_size):
        assert batch.everywhere
        assert len(batch.targets) == len(batch.items)
        found = zip(parts(batch.items, batch), parts(batch.targets, batch), strict=True)
        for (history, labels), example in zip(found, index.tolist(), strict=True):
            start, end = starts[example], ends[example]
            assert history == items[start:end]
            assert labels == items[start + 1 : end + 1]


def test_equal_lengths_keep_their_order():
    store = SequenceStore.from_lists([[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]], 10)
    _, index = Packer(store, leave_one_out(store, max_length=5).test).pack(torch.tensor([2, 1, 0]))
    assert index.tolist() == [1, 0, 2]


def test_plain_histories_are_packed_by_length():
    batch = pack_histories([[1, 2, 3], [4], [5, 6]])
    assert batch.items.tolist() == [4, 5, 6, 1, 2, 3]
    assert batch.offsets.tolist() == [0, 1, 3, 6]
    assert batch.lengths == (1, 2, 3)
