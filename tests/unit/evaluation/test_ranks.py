"""Ranks on scores small enough to rank by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffurecsys.data.packing import PackedBatch
from diffurecsys.data.store import Examples, SequenceStore, leave_one_out
from diffurecsys.evaluation.ranks import Ranks, rank_targets, training_popularity

STORE = SequenceStore.from_lists([[0, 1, 2, 3], [4, 3, 2, 1, 0], [1, 1, 2]], n_items=6)
SPLIT = leave_one_out(STORE, max_length=2)  # test targets 3, 0, 2


def rank(rows: dict[int, list[float]], **how) -> Ranks:
    """Rank the test targets, with scores by target item."""

    def score(batch: PackedBatch, generator: torch.Generator) -> torch.Tensor:
        return torch.tensor([rows[target] for target in batch.targets.tolist()])

    popularity = training_popularity(STORE, SPLIT.train)
    return rank_targets(score, STORE, SPLIT.test, generator=torch.Generator(), popularity=popularity, **how)


SCORES = {
    3: [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],  # three better
    0: [1.0, 1.0, 1.0, 2.0, 0.0, 0.0],  # one better, two tied: ranks 2, 3, 4
    2: [0.0, 0.0, 9.0, 0.0, 0.0, 0.0],  # none better
}


@pytest.mark.parametrize("batch_size", [1, 2, 512])
def test_counts_better_and_tied_items_in_the_order_of_the_examples(batch_size):
    ranks = rank(SCORES, batch_size=batch_size)
    assert ranks.target.tolist() == [3, 0, 2]
    assert ranks.rank.tolist() == [4.0, 3.0, 1.0]
    assert ranks.n_tied.tolist() == [0, 2, 0]
    assert ranks.user.tolist() == [0, 1, 2]
    assert ranks.history_length.tolist() == [2, 2, 2]


def test_expected_rank_is_the_mean_over_random_orders_of_the_tied_items():
    scores = np.array(SCORES[0])
    generator = np.random.default_rng(0)
    drawn = [int((scores + generator.random(6) * 1e-6).argsort()[::-1].tolist().index(0)) + 1 for _ in range(4000)]
    assert rank(SCORES).rank[1] == pytest.approx(np.mean(drawn), abs=0.05)


def test_excluding_seen_items_looks_at_the_whole_past_not_the_truncated_history():
    ranks = rank(SCORES, exclude_seen=True)
    assert ranks.rank.tolist()[0] == 1.0  # 0, 1 and 2 are gone; item 0 lies before the history
    assert ranks.rank.tolist()[1] == 1.0  # 1, 2, 3 and 4 are gone, 5 is worse
    assert ranks.rank.tolist()[2] == 1.0


def test_a_target_that_was_seen_gets_the_last_rank_when_seen_items_are_excluded():
    store = SequenceStore.from_lists([[0, 1, 2, 0]], n_items=4)
    split = leave_one_out(store, max_length=5)
    ranks = rank_targets(
        lambda batch, _: torch.tensor([[9.0, 1.0, 2.0, 3.0]]),
        store,
        split.test,
        generator=torch.Generator(),
        popularity=training_popularity(store, split.train),
        exclude_seen=True,
    )
    assert (ranks.rank[0], ranks.n_tied[0]) == (4.0, 0)


def test_popularity_counts_the_training_part_only():
    # training parts: 0 1 | 4 3 2 | none (three events leave no training example)
    assert training_popularity(STORE, SPLIT.train).tolist() == [1, 1, 1, 1, 1, 0]
    assert rank(SCORES).target_popularity.tolist() == [1, 1, 1]


def test_score_matrices_stay_within_their_bound():
    rows = []

    def score(batch: PackedBatch, generator: torch.Generator) -> torch.Tensor:
        rows.append(len(batch))
        return torch.zeros(len(batch), 6)

    popularity = training_popularity(STORE, SPLIT.train)
    rank_targets(
        score, STORE, SPLIT.test, generator=torch.Generator(), popularity=popularity, max_score_bytes=2 * 6 * 4
    )
    assert rows == [2, 1]


def test_nan_scores_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        rank({target: [float("nan")] * 6 for target in SCORES})


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 6\), got \(3, 5\)"):
        rank({target: [0.0] * 5 for target in SCORES})


def test_no_examples_give_no_ranks():
    empty = torch.empty(0, dtype=torch.int64)
    ranks = rank_targets(
        lambda *_: torch.empty(0, 6),
        STORE,
        Examples(empty, empty),
        generator=torch.Generator(),
        popularity=torch.zeros(6, dtype=torch.int64),
    )
    assert len(ranks.rank) == 0
