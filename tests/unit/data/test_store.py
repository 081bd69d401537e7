"""The sequence store and examples as positions in it."""

from __future__ import annotations

import pytest
import torch

from diffurecsys.data.store import Examples, SequenceStore


def test_lists_are_laid_end_to_end():
    store = SequenceStore.from_lists([[3, 1], [], [2]], n_items=4)
    assert store.items.tolist() == [3, 1, 2]
    assert store.offsets.tolist() == [0, 2, 2, 3]
    assert (store.n_users, store.lengths.tolist()) == (3, [2, 0, 1])


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


def test_examples_know_their_users():
    store = SequenceStore.from_lists([[0, 1, 2], [3, 4], [0, 1]], n_items=5)
    assert Examples(torch.tensor([0, 0, 3, 5]), torch.tensor([1, 2, 4, 6])).users(store).tolist() == [0, 0, 1, 2]


def test_empty_histories_are_refused():
    with pytest.raises(ValueError, match="a history of at least one item"):
        Examples(torch.tensor([3]), torch.tensor([3]))


def test_starts_without_ends_are_refused():
    with pytest.raises(ValueError, match="int64 arrays of one length"):
        Examples(torch.tensor([0, 1]), torch.tensor([2]))
