"""Recommendations from identifiers, against scores looked at by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from diffurecsys.data.packing import pack_histories
from diffurecsys.errors import DataError
from diffurecsys.models import Capabilities, Ranker, RankerConfig, VectorRanker, base, build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.weights import RankerWeights, config_from, save_weights
from diffurecsys.serving import recommender as module
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.serving.recommender import Recommendations, Recommender

NAMES = [f"item {letter}" for letter in "abcdefgh"]
A, B, C, D, E, F, G, H = NAMES
POPULARITY = torch.tensor([1, 5, 0, 5, 9, 0, 2, 0])


class Following(Ranker):
    """Scores 10 for what follows the last item by number, 1 for each item of the history it saw, else less."""

    def __init__(self):
        super().__init__(RankerConfig(), len(NAMES))
        self.asked = []

    def score(self, batch, generator, steps=None):
        scores = torch.linspace(0.5, 0.1, self.n_items).repeat(len(batch), 1)
        for row, history in enumerate(batch.items.tensor_split(batch.offsets[1:-1].long())):
            self.asked.append(history.tolist())
            scores[row, history] = 1.0
            scores[row, (history[-1] + 1) % self.n_items] = 10.0
        return scores


def recommender(ranker=None, max_length: int = 3, popularity=POPULARITY) -> Recommender:
    return Recommender(ranker or Following(), NAMES, max_length, popularity)


def items(results) -> list[tuple[str, ...]]:
    return [result.items for result in results]


def test_the_best_come_first_with_their_scores():
    (result,) = recommender().recommend([[A, B]], k=3)
    assert result.items == (C, D, E)
    assert result.scores[0] == 10.0
    assert result.scores == tuple(sorted(result.scores, reverse=True))
    assert (result.source, result.unknown) == ("model", 0)


def test_rows_keep_their_order_whatever_their_lengths():
    found = recommender().recommend([[A, B, C], [E], [], [C, A]], k=1)
    assert items(found) == [(D,), (F,), (E,), (B,)]


def test_histories_are_cut_as_in_evaluation():
    ranker = Following()
    recommender(ranker, max_length=3).recommend([[A, B, C, D, E]], k=1)
    assert ranker.asked == [[2, 3, 4]]


def test_what_the_history_holds_is_left_out_however_long_ago():
    (result,) = recommender(max_length=1).recommend([[A, B, C, D]], k=8)
    assert set(result.items) == {E, F, G, H}
    (result,) = recommender(max_length=1).recommend([[A, B, C, D]], k=8, exclude_history=False)
    assert set(result.items) == set(NAMES)


def test_repeats_are_left_out_once():
    (result,) = recommender().recommend([[A, A, A, B]], k=8)
    assert set(result.items) == set(NAMES) - {A, B}


def test_who_had_everything_gets_nothing():
    (result,) = recommender().recommend([NAMES], k=3)
    assert (result.items, result.scores, result.source) == ((), (), "model")


def test_more_than_the_catalogue_is_the_catalogue():
    (result,) = recommender().recommend([[A]], k=1000, exclude_history=False)
    assert set(result.items) == set(NAMES)
    assert result.items[0] == B


def test_unknown_items_are_dropped_and_counted_before_the_history_is_cut():
    ranker = Following()
    (result,) = recommender(ranker, max_length=2).recommend([[A, "gone", B, "new", "new"]], k=1)
    assert ranker.asked == [[0, 1]]
    assert (result.items, result.unknown) == ((C,), 3)


@pytest.mark.parametrize(("history", "unknown"), [([], 0), (["gone", "new"], 2)])
def test_without_a_known_item_the_most_popular_are_recommended_and_marked(history, unknown):
    both = recommender().recommend([history, [A]], k=4)
    assert both[0].items == (E, B, D, G)  # equal counts by number
    assert both[0].scores == (9, 5, 5, 2)
    assert (both[0].source, both[0].unknown) == ("popularity", unknown)
    assert (both[1].source, both[1].items[0]) == ("model", B)


def test_without_popularity_nothing_is_recommended_to_them():
    both = recommender(popularity=None).recommend([["gone"], [A]], k=1)
    assert [(result.items, result.source, result.unknown) for result in both] == [
        ((), "none", 1),
        ((B,), "model", 0),
    ]


def test_popularity_comes_back_unchanged_from_many_calls():
    served = recommender()
    first = served.recommend([[]], k=8)
    served.recommend([[A], []], k=8)
    assert served.recommend([[]], k=8) == first


def test_no_histories_get_no_recommendations():
    assert recommender().recommend([]) == []


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (A, "a history is a list of item identifiers, got the text 'item a'"),
        (None, "a history is a list of item identifiers, got null"),
        (3, "a history is a list of item identifiers, got int 3"),
        ({"a": 1}, "a history is a list of item identifiers, got the object {'a': 1}"),
        ([A, None], "identifiers are texts or whole numbers; the history's item 2 is null"),
        ([1.5], "identifiers are texts or whole numbers; the history's item 1 is the number 1.5"),
        ([A, B, True], "identifiers are texts or whole numbers; the history's item 3 is the truth value True"),
        ([[A]], "identifiers are texts or whole numbers; the history's item 1 is list ['item a']"),
    ],
)
def test_what_is_no_history_is_an_error_of_its_row_alone(history, message):
    good, bad, popular = recommender().recommend([[A, B], history, []], k=1)
    assert bad == Recommendations((), (), "none", 0, message)
    assert (good.items, good.error, popular.items, popular.error) == ((C,), None, (E,), None)


def test_whole_numbers_are_identifiers_too():
    names = [str(number) for number in range(100, 108)]
    served = Recommender(Following(), names, 3, POPULARITY)
    found = served.recommend([[100, 101], np.array([100, 101]), ["100", "101"], [np.int32(100), "101", 999]], k=2)
    assert {result.items for result in found} == {("102", "103")}
    assert [result.unknown for result in found] == [0, 0, 0, 1]


@pytest.mark.parametrize("ranker", ["vectors", "scores"])
def test_allow_and_deny_lists_hold_for_everybody(ranker):
    served = recommender(diffusion(delta=0.0) if ranker == "vectors" else None)
    banned, unknown = served.banned_items([A, B, C, G, "gone"], [G, "new"])
    assert unknown == ("gone", "new")
    known, popular = served.recommend([[A], []], k=8, banned=banned)
    assert set(known.items) == {B, C}
    assert popular.items == (B, A, C)
    denied, _ = served.banned_items(None, [A])
    assert set(served.recommend([[B]], k=8, banned=denied)[0].items) == set(NAMES) - {A, B}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"k": 0}, "k must be at least 1, got 0"), ({"steps": 2}, "steps must not be given: Following walks no reverse")],
)
def test_impossible_wishes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        recommender().recommend([[A]], **arguments)


@pytest.mark.parametrize("steps", [0, 5])
def test_impossible_steps_are_refused(steps):
    with pytest.raises(ValueError, match=f"steps must lie in 1 … 4, got {steps}"):
        recommender(diffusion()).recommend([[A]], steps=steps)


def test_nan_scores_are_an_error_and_no_recommendation():
    class Damaged(Following):
        def score(self, batch, generator, steps=None):
            return torch.full((len(batch), self.n_items), float("nan"))

    with pytest.raises(DataError, match="hold NaN"):
        recommender(Damaged()).recommend([[A]])


@pytest.mark.parametrize(
    ("names", "popularity", "message"),
    [
        (NAMES[1:], None, "knows 8 items, but the identifiers are of 7"),
        ([*NAMES[1:], B], None, "an identifier stands twice"),
        (NAMES, POPULARITY[1:], "knows 8 items, but the popularity are of 7"),
    ],
)
def test_another_vocabulary_is_refused(names, popularity, message):
    with pytest.raises(DataError, match=message):
        Recommender(Following(), names, 3, popularity)


def diffusion(**changes) -> Ranker:
    config = DiffuRecConfig(width=8, blocks=1, heads=2, diffusion_steps=4, schedule="cosine")
    config = dataclasses.replace(config, **{"embedding_std": 1.0, **changes})
    return build_ranker("diffurec", config, len(NAMES), torch.Generator().manual_seed(0)).eval()


HISTORIES = [[A, B, C], [D], [E, F], [A, "gone", G], [], [H] * 5, [B, C]]


def test_vectors_are_searched_block_by_block_for_what_scores_find():
    ranker = diffusion(delta=0.0)

    class Scored(Ranker):  # the same without vectors
        def score(self, batch, generator, steps=None):
            return ranker.score(batch, generator, steps)

    by_vectors = recommender(ranker).recommend(HISTORIES, k=8)
    by_scores = recommender(Scored(RankerConfig(), len(NAMES))).recommend(HISTORIES, k=8)
    assert items(by_vectors) == items(by_scores)
    for one, other in zip(by_vectors, by_scores, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("family", ["sasrec", "hybrid"])
def test_items_are_represented_once_and_anew_after_training(family, monkeypatch):
    config = config_from(
        family, {"similarity": "cosine"} if family == "sasrec" else {"inner": {"similarity": "cosine"}}
    )
    ranker = build_ranker(family, config, len(NAMES), torch.Generator().manual_seed(0)).eval()
    network = ranker if family == "sasrec" else ranker.network
    made = []
    monkeypatch.setattr(type(network), "items", _counted(type(network).items, made))
    served = recommender(ranker)
    first = [served.recommend([[A, B]], k=8) for _ in range(3)]
    assert len(made) == 1
    assert first[0] == first[2]
    ranker.train().eval()
    with torch.no_grad():
        network.embedding.weight.copy_(network.embedding.weight.flip(0))
    assert served.recommend([[A, B]], k=8) != first[0]


def _counted(function, made):
    def items(self):
        made.append(self)
        return function(self)

    return items


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batch_mates_play_no_part_without_sampling(batch_size, monkeypatch):
    served = recommender(diffusion(delta=0.0))
    together = served.recommend(HISTORIES, k=8)
    monkeypatch.setattr(module, "BATCH_SIZE", batch_size)
    in_parts = served.recommend(HISTORIES, k=8)
    alone = [served.recommend([history], k=8)[0] for history in HISTORIES]
    assert items(together) == items(in_parts) == items(alone)
    for one, other in zip(together, alone, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-5, abs=1e-5)


def test_scores_never_take_more_than_their_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_SCORE_BYTES", 4 * len(NAMES) * 2)
    sizes = []

    class Counting(Following):
        def score(self, batch, generator, steps=None):
            sizes.append(len(batch))
            return super().score(batch, generator, steps)

    recommender(Counting()).recommend([[A]] * 5, k=1)
    assert sizes == [2, 2, 1]


def test_the_seed_decides_what_a_sampling_ranker_draws():
    served = recommender(diffusion(delta=2.0))
    one, same, other = (served.recommend(HISTORIES, k=8, seed=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_the_configuration_decides_the_steps_unless_they_are_given():
    walked = []

    @dataclasses.dataclass(frozen=True)
    class Config(RankerConfig):
        @property
        def capabilities(self):
            return Capabilities(vectors=True, steps=9)

        def steps_for(self, purpose):
            return {"serving": 3}[purpose]

    class Walking(VectorRanker):
        def __init__(self):
            super().__init__(Config(), len(NAMES))
            self.embedding = nn.Embedding(len(NAMES), 2)

        def users(self, batch, generator, steps=None):
            walked.append(steps)
            return torch.ones(len(batch), 2)

        def items(self):
            return self.embedding.weight

    served = recommender(Walking())
    served.recommend([[A]])
    served.recommend([[A]], steps=7)
    assert walked == [3, 7]


def test_what_was_saved_recommends_the_same(tmp_path):
    ranker = diffusion(delta=0.0)
    weights = RankerWeights(
        "diffurec", len(NAMES), ranker.config, ranker.state_dict(), identity="", data="", max_length=3
    )
    save_weights(weights, tmp_path / "weights.safetensors")
    Catalogue(NAMES, POPULARITY).save(tmp_path / "catalogue.parquet")
    loaded = Recommender.load(tmp_path / "weights.safetensors", tmp_path / "catalogue.parquet")
    assert loaded.recommend(HISTORIES) == recommender(ranker).recommend(HISTORIES)


def test_a_recommendation_is_what_evaluation_ranks_first():
    """The same cut history, scored as in evaluation."""
    ranker = diffusion(delta=0.0)
    (result,) = recommender(ranker, max_length=2).recommend([[A, B, C, D]], k=8, exclude_history=False)
    with torch.inference_mode():
        scores = ranker.score(pack_histories([[2, 3]]), torch.Generator())[0]
    assert result.items == tuple(NAMES[number] for number in scores.argsort(descending=True).tolist())


def test_items_lie_by_columns_where_they_are_served_and_there_is_room(monkeypatch):
    ranker = build_ranker("diffurec", DiffuRecConfig(width=8, blocks=1, heads=2), 5, torch.Generator().manual_seed(0))
    by_rows = ranker.eval().item_vectors()
    ranker.settle()
    assert ranker.item_vectors().T.is_contiguous()
    assert torch.equal(ranker.item_vectors(), by_rows)
    monkeypatch.setattr(base, "MAX_SECOND_COPY", by_rows.nbytes - 1)
    ranker.settle()
    assert ranker.item_vectors().data_ptr() == ranker.embedding.weight.data_ptr()
    ranker.train()
    assert ranker.item_vectors().requires_grad
