"""Baselines against counts done by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.data.store import SequenceStore, leave_one_out
from diffurecsys.evaluation.baselines import BASELINES, LastItemTransition, Popularity

# training parts: 0 1 2 | 0 1 3 | 3 3; the last two items of each user are held out
STORE = SequenceStore.from_lists([[0, 1, 2, 4, 4], [0, 1, 3, 4, 4], [3, 3, 4, 4]], n_items=5)
TRAIN = leave_one_out(STORE, max_length=10).train


def order(scores: torch.Tensor) -> list[int]:
    return scores.argsort(descending=True, stable=True).tolist()


def test_popularity_ranks_by_training_counts_alone():
    scores = Popularity(STORE, TRAIN).score(pack_histories([[4], [0, 1]]), torch.Generator())
    assert scores.tolist() == [[2, 2, 1, 3, 0]] * 2


def test_transitions_come_first_then_popularity():
    scores = LastItemTransition(STORE, TRAIN).score(pack_histories([[0], [4, 1], [2, 2, 2]]), torch.Generator())
    assert order(scores[0])[0] == 1  # 0 -> 1 twice
    assert order(scores[1])[:3] == [3, 2, 0]  # 1 -> 2 and 1 -> 3 once each, 3 is more popular; then popularity
    assert order(scores[2]) == order(Popularity(STORE, TRAIN).score(pack_histories([[2]]), torch.Generator())[0])


def test_transition_counts_match_a_loop():
    generator = torch.Generator().manual_seed(0)
    lists = [torch.randint(7, (int(n),), generator=generator).tolist() for n in torch.randint(4, 9, (30,))]
    store = SequenceStore.from_lists(lists, n_items=7)
    counts = torch.zeros(7, 7)
    for sequence in lists:
        for last, following in pairwise(sequence[:-2]):
            counts[last, following] += 1
    model = LastItemTransition(store, leave_one_out(store, max_length=3).train)
    scores = model.score(pack_histories([[item] for item in range(7)]), torch.Generator())
    assert torch.equal(scores.floor(), counts.double())


@pytest.mark.parametrize("name", BASELINES)
def test_no_two_rows_share_memory(name):
    scores = BASELINES[name](STORE, TRAIN).score(pack_histories([[0], [0]]), torch.Generator())
    scores[0] = -1  # excluding seen items writes into single rows
    assert (scores[1] >= 0).all()
