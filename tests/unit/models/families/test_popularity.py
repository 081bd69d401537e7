"""Popularity against counts done by hand."""

from __future__ import annotations

import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.registry import build_ranker, find_family

# training parts: 0 1 2 | 0 1 3 | 3 3; the last two items of each user are held out
LISTS = [[0, 1, 2, 4, 4], [0, 1, 3, 4, 4], [3, 3, 4, 4]]


def _data(lists: list[list[int]]) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items=5)
    return StudyData(store, leave_one_out(store, max_length=10))


def test_counts_the_training_part_alone():
    ranker = build_ranker("popularity", find_family("popularity").config(), 5)
    ranker.observe(_data(LISTS))
    scores = ranker.score(pack_histories([[4], [0, 1]]), torch.Generator())
    assert scores.dtype == torch.float32
    assert scores.tolist() == [[2, 2, 1, 3, 0]] * 2
    scores[:] = -1  # of their own memory
    assert ranker.score(pack_histories([[4]]), torch.Generator()).tolist() == [[2, 2, 1, 3, 0]]


def test_does_not_train():
    assert not find_family("popularity").config().capabilities.trains
