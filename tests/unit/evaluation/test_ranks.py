"""Ranks on scores small enough to rank by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import Examples, SequenceStore
from diffurecsys.evaluation.ranks import ALL, UNSEEN, Ranks, rank_in_scores, rank_targets


def study(lists, n_items: int, max_length: int) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items)
    return StudyData(store, leave_one_out(store, max_length=max_length))


DATA = study([[0, 1, 2, 3], [4, 3, 2, 1, 0], [1, 1, 2]], 6, max_length=2)  # test targets 3, 0, 2


def rank(rows: dict[int, list[float]], **how) -> Ranks:
    """Rank the test targets, with scores by target item."""

    def score(batch: PackedBatch, generator: torch.Generator) -> torch.Tensor:
        return torch.tensor([rows[target] for target in batch.targets.tolist()])

    return rank_targets(score, DATA, DATA.split.test, generator=torch.Generator(), **how)


SCORES = {
    3: [5.0, 4.0, 3.0, 2.0, 1.0, 2.0],  # three better, one tied
    0: [1.0, 1.0, 1.0, 2.0, 0.0, 1.0],  # one better, three tied
    2: [0.0, 10.0, 9.0, 9.0, 0.0, 0.0],  # one better, one tied
}


@pytest.mark.parametrize("batch_size", [1, 2, 512])
def test_one_pass_gives_both_rankings_in_the_order_of_the_examples(batch_size):
    ranks = rank(SCORES, batch_size=batch_size)
    assert ranks.target.tolist() == [3, 0, 2]
    assert (ranks.greater.tolist(), ranks.tied.tolist()) == ([3, 1, 1], [1, 3, 1])
    # had before, whatever the length of the history: 0, 1, 2 | 4, 3, 2, 1 | 1
    assert (ranks.greater_unseen.tolist(), ranks.tied_unseen.tolist()) == ([0, 0, 0], [1, 1, 1])
    assert ranks.user.tolist() == [0, 1, 2]
    assert ranks.history_length.tolist() == [2, 2, 2]


def test_the_model_is_asked_once_for_both():
    asked = []

    def score(batch, generator):
        asked.extend(batch.targets.tolist())
        return torch.zeros(len(batch), 6)

    rank_targets(score, DATA, DATA.split.test, generator=torch.Generator())
    assert sorted(asked) == [0, 2, 3]


def test_places_and_expected_ranks_belong_to_a_ranking():
    ranks = rank(SCORES)
    assert ranks.places(ALL) == (ranks.greater, ranks.tied)
    assert ranks.places(UNSEEN) == (ranks.greater_unseen, ranks.tied_unseen)
    assert ranks.expected(ALL).tolist() == [4.5, 3.5, 2.5]
    assert ranks.expected(UNSEEN).tolist() == [1.5, 1.5, 1.5]


def test_a_target_that_was_had_before_stands_behind_all_unseen_items():
    data = study([[0, 1, 2, 0]], 4, max_length=5)
    ranks = rank_targets(
        lambda batch, _: torch.tensor([[9.0, 1.0, 2.0, 3.0]]), data, data.split.test, generator=torch.Generator()
    )
    assert (ranks.greater.tolist(), ranks.tied.tolist()) == ([0], [0])
    assert (ranks.greater_unseen.tolist(), ranks.tied_unseen.tolist()) == ([3], [0])


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, float("-inf")]), min_size=5, max_size=5), min_size=1))
def test_places_in_scores_are_those_of_a_loop(rows):
    targets = [number % 5 for number in range(len(rows))]
    greater, tied = rank_in_scores(torch.tensor(rows), torch.tensor(targets))
    for row, target, ahead, beside in zip(rows, targets, greater.tolist(), tied.tolist(), strict=True):
        if row[target] == float("-inf"):
            assert (ahead, beside) == (4, 0)
        else:
            assert ahead == sum(score > row[target] for score in row)
            assert beside == sum(score == row[target] for score in row) - 1


def test_popularity_is_that_of_the_training_part():
    # training parts: 0 1 | 4 3 2 | 1; test targets 3, 0, 2
    assert rank(SCORES).target_popularity.tolist() == [1, 1, 1]
    data = study([[3, 3, 3, 1, 3]], 4, max_length=2)
    ranks = rank_targets(lambda *_: torch.zeros(1, 4), data, data.split.test, generator=torch.Generator())
    assert ranks.target_popularity.tolist() == [3]


def test_score_matrices_stay_within_their_bound():
    rows = []

    def score(batch: PackedBatch, generator: torch.Generator) -> torch.Tensor:
        rows.append(len(batch))
        return torch.zeros(len(batch), 6)

    rank_targets(score, DATA, DATA.split.test, generator=torch.Generator(), max_score_bytes=2 * 6 * 4)
    assert rows == [2, 1]


def test_nan_scores_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        rank({target: [float("nan")] * 6 for target in SCORES})


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 6\), got \(3, 5\)"):
        rank({target: [0.0] * 5 for target in SCORES})


def test_no_examples_give_no_ranks():
    empty = torch.empty(0, dtype=torch.int64)
    ranks = rank_targets(lambda *_: torch.empty(0, 6), DATA, Examples(empty, empty), generator=torch.Generator())
    assert len(ranks.user) == len(ranks.greater_unseen) == 0
