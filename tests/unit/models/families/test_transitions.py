"""Transitions against sums written by hand, a double loop, the published reference points, and their own rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffurecsys.data.packing import PackedBatch, pack_histories
from diffurecsys.data.split import Spans, Split, StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.metrics import ndcg as ndcg_of_ranks
from diffurecsys.evaluation.ranks import rank_in_scores
from diffurecsys.models import counting
from diffurecsys.models.calibration import ndcg, validation_batches
from diffurecsys.models.counting import count_pairs
from diffurecsys.models.families.transitions import BACK_OFF, CANDIDATES, SETTINGS, Transitions, TransitionsConfig
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights

# training parts: 0 1 2 | 0 1 3 | 3 3; the last two items of each user are held out
LISTS = [[0, 1, 2, 4, 4], [0, 1, 3, 4, 4], [3, 3, 4, 4]]
POPULARITY = [2, 2, 1, 3, 0]
LAST_ITEM = TransitionsConfig(window=1, age_decay=0.0, search=False)


def _data(lists: list[list[int]], n_items: int, max_length: int = 50) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items)
    return StudyData(store, leave_one_out(store, max_length=max_length))


def _fit(data: StudyData, **values: Any) -> Transitions:
    ranker = Transitions(replace(TransitionsConfig(search=False), **values), data.store.n_items)
    ranker.observe(data)
    return ranker


def _score(ranker: Transitions, *histories: list[int]) -> torch.Tensor:
    return ranker.score(pack_histories(list(histories)), torch.Generator())


def _random_data(seed: int, n_users: int = 40, n_items: int = 12) -> StudyData:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 12, (n_users,), generator=generator).tolist()
    return _data([torch.randint(n_items, (n,), generator=generator).tolist() for n in lengths], n_items)


def _back_off(smallest: float, popularity: list[int]) -> torch.Tensor:
    return torch.tensor(popularity).double() * BACK_OFF * smallest / (1 + max(popularity))


def test_scores_are_sums_over_distance_and_age():
    ranker = _fit(_data(LISTS, 5), window=2, distance_decay=0.5, age_decay=0.25)
    # C: 0 -> 1 twice, 0 -> 2 and 0 -> 3 at distance 2; 1 -> 2, 1 -> 3, 3 -> 3 once
    expected = torch.tensor([0, 0.25 * 2, 1 + 0.25 * 0.5, 1 + 0.25 * 0.5, 0]).double() + _back_off(0.5, POPULARITY)
    assert torch.equal(_score(ranker, [0, 1])[0], expected.float())


def test_rows_are_normalised_and_popular_items_damped():
    ranker = _fit(_data(LISTS, 5), window=1, age_decay=0.0, damping=1.0)
    smallest = 1 / 3  # 1 -> 3 and 3 -> 3, once each
    expected = torch.tensor([0, 0, 1 / 1, 1 / 3, 0]).double() + _back_off(smallest, POPULARITY)
    torch.testing.assert_close(_score(ranker, [1])[0], expected.float())
    ranker = _fit(_data(LISTS, 5), window=1, age_decay=0.0, damping=1.0, normalise=True)
    expected = torch.tensor([0, 0, 1 / (4 / 3), (1 / 3) / (4 / 3), 0]).double() + _back_off(1 / 4, POPULARITY)
    torch.testing.assert_close(_score(ranker, [1])[0], expected.float())


def test_the_last_item_alone_then_popularity():
    data = _data(LISTS, 5)
    ranker = Transitions(LAST_ITEM, 5)
    ranker.observe(data)
    scores = dict(zip(("last 0", "last 1", "last 2"), _score(ranker, [0], [4, 1], [2, 2, 2]), strict=True))
    assert scores["last 0"].argmax() == 1  # 0 -> 1 twice
    assert scores["last 1"].argsort(descending=True, stable=True).tolist() == [3, 2, 0, 1, 4]  # 1 -> 3, 1 -> 2
    assert torch.equal(scores["last 2"], _back_off(1.0, POPULARITY).float())  # never followed: popularity, ties as ties


@settings(max_examples=60, deadline=None)
@given(
    lists=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=9), min_size=1, max_size=6),
    histories=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=7), min_size=1, max_size=5),
    window=st.integers(1, 4),
    distance_decay=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    age_decay=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    normalise=st.booleans(),
    damping=st.sampled_from([0.0, 0.5]),
)
def test_equals_a_double_loop(lists, histories, window, distance_decay, age_decay, normalise, damping):
    data = _data(lists, 6)
    popularity = [sum(events[:-2].count(item) for events in lists) for item in range(6)]
    matrix = np.zeros((6, 6))
    for events in lists:
        train = events[:-2]
        for i in range(len(train)):
            for j in range(i + 1, min(i + window, len(train) - 1) + 1):
                matrix[train[i], train[j]] += distance_decay ** (j - i - 1)
    matrix /= np.maximum(popularity, 1) ** damping
    if normalise:
        matrix /= np.maximum(matrix.sum(1, keepdims=True), 1e-300)
    smallest = matrix[matrix > 0].min(initial=np.inf)
    base = np.array(popularity) * BACK_OFF * (1.0 if np.isinf(smallest) else smallest) / (1 + max(popularity))
    ordered = sorted(histories, key=len)
    expected = [base + sum(age_decay**age * matrix[item] for age, item in enumerate(h[::-1])) for h in ordered]
    ranker = _fit(
        data, window=window, distance_decay=distance_decay, age_decay=age_decay, normalise=normalise, damping=damping
    )
    np.testing.assert_allclose(_score(ranker, *histories).numpy(), np.array(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("products", [0, 10**9])  # entry by entry; dense
def test_both_ways_of_summing_agree_and_neighbours_do_not_matter(products, monkeypatch):
    data = _random_data(1)
    ranker = _fit(data)
    histories = [
        data.store.items[begin : begin + n].tolist() for begin, n in zip(range(0, 60, 3), range(20), strict=True)
    ]
    histories = [history or [0] for history in histories]
    alone = torch.cat([_score(ranker, history) for history in sorted(histories, key=len)])
    monkeypatch.setattr(counting, "PRODUCTS_AN_ENTRY", products)
    for name in ("CACHED_VALUES", "DENSE_VALUES"):
        monkeypatch.setattr(counting, name, 30)  # three rows at a time
    torch.testing.assert_close(_score(ranker, *histories), alone, rtol=1e-6, atol=1e-7)


def test_counting_in_blocks_changes_nothing(monkeypatch):
    data = _random_data(2)
    whole = _fit(data).state_dict()
    monkeypatch.setattr(counting, "PAIRS_AT_ONCE", 100)
    assert len(list(count_pairs(data, 10))) > 3
    assert all(torch.equal(value, whole[name]) for name, value in _fit(data).state_dict().items())


def test_equal_sums_are_ties_whatever_the_order_of_their_terms():
    # 0 -> 1 at distances 1, 2, 3 of three users; 0 -> 2 at distances 3, 2, 1; both equally popular
    lists = [[0, 1, 3, 2], [0, 3, 1], [0, 3, 2], [0, 2, 3, 1]]
    data = _data([[*events, 3, 3] for events in lists], 4)
    scores = _score(_fit(data, window=3, distance_decay=0.7), [0])[0]
    assert scores[1] == scores[2]
    assert float(scores[1]) == pytest.approx(1 + 0.7 + 0.7**2, rel=BACK_OFF)


def _split(lists: list[list[int]], spans: list[tuple[int, int]], n_items: int) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items)
    start, end = (torch.tensor(side) for side in zip(*spans, strict=True))
    examples = leave_one_out(store, max_length=5)
    return StudyData(store, Split(Spans(start, end), examples.validation, examples.test, "own", 5))


def test_users_without_training_events_and_single_ones_count_nothing():
    ranker = _fit(_split([[0, 1, 2], [1, 2, 0]], [(0, 0), (3, 4)], 3))
    assert len(ranker.value) == 0
    assert _score(ranker, [0])[0].argmax() == 1  # popularity: the one training event
    nothing = _fit(_split([[0, 1, 2]], [(0, 0)], 3))
    assert _score(nothing, [0], [1, 2]).tolist() == [[0, 0, 0]] * 2


def test_only_the_training_part_decides_what_is_counted():
    lists = [events.tolist() for events in torch.randint(9, (30, 8), generator=torch.Generator().manual_seed(3))]
    changed = [[*events[:-2], 8 - events[-2], 8 - events[-1]] for events in lists]
    one, other = _fit(_data(lists, 9)).state_dict(), _fit(_data(changed, 9)).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def _calibrated(data: StudyData, **values: Any) -> tuple[Transitions, dict[str, Any]]:
    ranker = Transitions(TransitionsConfig(**values), data.store.n_items)
    ranker.observe(data)
    return ranker, ranker.calibrate(data, torch.Generator().manual_seed(0))


def test_the_search_reads_validation_targets_and_never_test_targets():
    data = _random_data(4, n_users=200)
    ranker, chosen = _calibrated(data)
    items = data.store.items.clone()
    items[data.split.test.end] = 11 - items[data.split.test.end]
    other = StudyData(SequenceStore(items, data.store.offsets, 12), data.split)
    again, same = _calibrated(other)
    assert chosen == same
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in ranker.state_dict().items())


def test_the_search_finds_what_is_there():
    # what follows is the item two steps before: only a window of more than 1 and a long memory can tell
    generator = torch.Generator().manual_seed(5)
    pairs = torch.randint(60, (300, 2), generator=generator).tolist()
    data = _data([[a, b, a, b, a, b, a] for a, b in pairs], 60)
    before = _fit(data, **{name: getattr(LAST_ITEM, name) for name in SETTINGS})
    (batch,) = validation_batches(data, torch.Generator().manual_seed(0), users=300, tokens=10**6)
    ranker, chosen = _calibrated(data, **{name: getattr(LAST_ITEM, name) for name in SETTINGS})
    first, found = (float(ndcg(r.score(batch, torch.Generator()), batch.targets).mean()) for r in (before, ranker))
    assert found > first
    assert found == pytest.approx(chosen.pop("validation_ndcg"))
    assert tuple(chosen) == SETTINGS
    assert ranker.settings.tolist() == [float(value) for value in chosen.values()]
    # the best of all neighbours that differ in one setting
    for name, values in CANDIDATES.items():
        for value in values:
            other = _fit(data, **{**chosen, name: value})
            assert float(ndcg(other.score(batch, torch.Generator()), batch.targets).mean()) <= found


def test_without_search_nothing_is_chosen():
    data = _random_data(6)
    ranker = _fit(data)
    before = ranker.state_dict()
    assert ranker.calibrate(data, torch.Generator()) == {}
    assert all(torch.equal(value, before[name]) for name, value in ranker.state_dict().items())


@pytest.mark.parametrize("spans", [None, [(0, 0)]])
def test_saved_and_nested_counts_give_the_same_scores(spans, tmp_path):
    data = _random_data(7) if spans is None else _split([[0, 1, 2]], spans, 12)
    ranker = _fit(data, age_decay=0.3)
    weights = RankerWeights("transitions", 12, ranker.config, ranker.state_dict(), "id", data.fingerprint, 50)
    save_weights(weights, tmp_path / "weights.safetensors")
    again = load_weights(tmp_path / "weights.safetensors").build()
    assert torch.equal(_score(again, [0], [1, 2]), _score(ranker, [0], [1, 2]))
    outer, loaded = (nn.ModuleDict({"counts": r}) for r in (ranker, Transitions(ranker.config, 12)))
    loaded.load_state_dict(outer.state_dict())
    for name, value in ranker.state_dict().items():
        kept = loaded["counts"].state_dict()[name]
        assert kept.dtype == value.dtype
        assert torch.equal(kept, value)


def test_a_million_items_take_no_dense_matrix():
    n_items = 1_000_000
    lists = [[7, 999_999, 7, 3, 3], [999_999, 5, 5, 5]]
    ranker = _fit(_data(lists, n_items), window=2)
    kept = sum(value.numel() * value.element_size() for value in ranker.state_dict().values())
    assert kept < 17 * n_items  # 8 bytes of popularity and 8 of row borders an item
    scores = _score(ranker, [7], [999_999])
    assert scores.shape == (2, n_items)
    assert scores.argmax(1).tolist() == [999_999, 7]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 12))
def test_ndcg_of_scores_is_ndcg_of_ranks(values, cutoff):
    scores = torch.tensor([values]).float().repeat(len(values), 1)
    targets = torch.arange(len(values))
    greater, tied = (places.numpy() for places in rank_in_scores(scores, targets))
    np.testing.assert_allclose(ndcg(scores, targets, cutoff).numpy(), ndcg_of_ranks(greater, tied, cutoff), atol=1e-12)


def test_validation_batches_keep_to_their_bounds():
    data = _random_data(8)
    every = validation_batches(data, torch.Generator().manual_seed(0), users=1000, tokens=10**6)
    assert sum(map(len, every)) == 40
    some = validation_batches(data, torch.Generator().manual_seed(0), users=7, tokens=10**6)
    assert sum(map(len, some)) == 7
    few = validation_batches(data, torch.Generator().manual_seed(0), users=40, tokens=20)
    assert 0 < sum(len(batch.items) for batch in few) <= 20
    assert sum(map(len, validation_batches(data, torch.Generator().manual_seed(0), users=40, tokens=0))) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"age_decay": 1.5}, r"age_decay must lie in \[0, 1\], got 1.5"),
        ({"distance_decay": -0.1}, r"distance_decay must lie in \[0, 1\], got -0.1"),
        ({"damping": -1}, "damping must be at least 0, got -1"),
    ],
)
def test_values_that_cannot_work_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TransitionsConfig(**values)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_as_on_the_host():
    data = _random_data(9)
    ranker = _fit(data)
    batch = pack_histories([[0], [1, 2], [3, 4, 5]])
    there = PackedBatch(batch.items.cuda(), batch.offsets.cuda(), batch.lengths, batch.targets.cuda())
    expected, scores = ranker.score(batch, torch.Generator()), ranker.cuda().score(there, torch.Generator("cuda"))
    torch.testing.assert_close(scores.cpu(), expected)
    assert ranker.calibrate(data, torch.Generator("cuda")) == {}
    searching = Transitions(TransitionsConfig(), 12).cuda()
    searching.observe(data)
    assert searching.calibrate(data, torch.Generator("cuda").manual_seed(0))["validation_ndcg"] > 0
    assert searching.value.is_cuda


def test_shipped_rankers_are_of_these_families():
    folder = Path(__file__).resolve().parents[4] / "conf" / "base" / "parameters" / "models"
    for name in ("popularity", "transitions", "last_item_transition", "ease"):
        assert f"  {name}:\n" in (folder / f"{name}.yml").read_text()
