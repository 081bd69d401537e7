"""Facts about datasets that are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.dataset_facts import Estimate, does_order_matter, find_facts, gini, had_before
from diffurecsys.reporting.dataset_page import find_warnings

DAY = 86_400
BEGIN = 1_700_000_000


def _data(lists, n_items):
    store = SequenceStore.from_lists(lists, n_items=n_items)
    return StudyData(store, leave_one_out(store, max_length=20))


@pytest.fixture(scope="module")
def ring():
    """Everybody walks round a ring of items from an own beginning: the last item tells the next one for certain."""
    return _data([[(start + step) % 12 for step in range(8)] for start in range(12) for _ in range(5)], 12)


@pytest.fixture(scope="module")
def chance():
    """Every item is drawn alike, whatever came before."""
    generator = torch.Generator().manual_seed(0)
    return _data([torch.randint(20, (8,), generator=generator).tolist() for _ in range(200)], 20)


def _times(data, step=DAY):
    return BEGIN + np.arange(len(data.store.items)) % 8 * step


def test_order_matters_on_a_ring_and_not_by_chance(ring, chance):
    order = does_order_matter(ring)
    assert order.real.mean == 1.0  # the successor is always the first of the ranking
    assert order.gain.low > 0.2
    assert order.gain.mean == pytest.approx(order.real.mean - order.shuffled.mean)
    order = does_order_matter(chance)
    assert order.gain.low < 0.05
    assert abs(order.gain.mean) < 4 * (order.gain.high - order.gain.mean) / 1.97  # 4 standard errors of nothing


def test_facts_of_a_ring(ring):
    facts = find_facts(ring, _times(ring))
    assert (facts.users, facts.items, facts.events, facts.trained) == (60, 12, 480, 360)
    assert set(facts.lengths) == {8}
    assert facts.gini == pytest.approx(0)
    assert facts.top_shares == pytest.approx((1 / 12, 1 / 12, 2 / 12))
    assert facts.ties == facts.repeats == facts.immediate == facts.later == 0
    test = facts.targets["test"]
    assert (test.n, test.had_before, test.same_time, test.untrained, test.new_users) == (60, 0, 0, 0, 0)
    assert test.transitions.mean == 1.0
    assert facts.distance == 0  # each item is asked for five times, on both
    assert find_facts(ring, _times(ring), unknown={"test": 20}).targets["test"].untrained == 20 / 80


def test_repeats_and_ties_are_counted():
    lists = [[0, 0, 1, 2, 1], [3, 1, 0, 2, 4]]
    data = _data(lists, 5)
    times = np.array([1, 1, 2, 3, 3, 5, 6, 7, 7, 8])
    facts = find_facts(data, times)
    assert facts.ties == 3 / 8  # of the events that follow another
    assert facts.repeats == 2 / 10
    assert facts.immediate == 1 / 8
    assert facts.targets["test"].had_before == facts.targets["test"].same_time == 1 / 2
    assert facts.targets["test"].untrained == 1 / 2  # item 4
    assert facts.later == 2 / 6  # of the training times 1 1 2 5 6 7 those after 5.5, the median of 3 and 8


def test_an_item_is_had_before_by_its_own_user_alone():
    user, item = np.array([0, 0, 0, 1, 1]), np.array([2, 1, 2, 2, 2])
    assert had_before(user, item, 3).tolist() == [False, False, True, False, True]


def test_gini_of_equal_and_of_all_with_one():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)  # 1 - 1/n
    assert gini(np.array([1, 3])) == pytest.approx(1 / 4)


def test_the_mean_of_one_value_has_no_interval():
    assert np.isnan(Estimate.of(np.array([0.5])).low)
    wide = Estimate.of(np.array([0.0, 1.0]))
    assert wide.high - wide.mean == pytest.approx(12.706 * 0.5, rel=1e-3)  # t of one degree, sd / √2


def _warned(facts, word, protocol="leave_one_out", ticks=1):
    return [said for said in find_warnings(facts, protocol=protocol, ticks=ticks) if word in said]


def test_warnings_say_what_would_mislead(ring, chance):
    quiet = find_facts(ring, _times(ring))
    (only,) = find_warnings(quiet, protocol="leave_one_out", ticks=1)
    assert "Only 60 validation and 60 test targets" in only
    assert _warned(find_facts(ring, np.arange(480)), "no dates but perhaps positions")
    assert _warned(find_facts(ring, np.full(480, BEGIN)), "All events have one time")
    assert _warned(find_facts(ring, _times(ring, step=0)), "the order of the file decides")
    spread = _times(ring) + np.arange(480) // 8 * DAY  # users begin one after another, a day apart
    assert _warned(find_facts(ring, spread), "lets training see the future")
    assert not _warned(find_facts(ring, spread), "lets training see the future", protocol="temporal")
    assert not _warned(quiet, "No order is seen")
    random = find_facts(chance, _times(chance))
    assert _warned(random, "No order is seen") or _warned(random, "Order says little") or random.order.gain.low > 0
    assert _warned(random, "items that the user had before")  # 1 - (19/20)^7 = 30 %


def test_drift_is_seen_where_other_items_are_asked_for():
    lists = [[0, 1, 2, 3, 4, 5 + user % 2, 7 + user % 2] for user in range(100)]
    facts = find_facts(_data(lists, 9), BEGIN + np.arange(700) % 7)
    assert facts.distance == 1.0
    assert facts.chance_high < 0.5
    assert _warned(facts, "Validation and test ask for different items")
