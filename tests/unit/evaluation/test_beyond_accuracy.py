"""Lists, measured by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffurecsys.evaluation.beyond_accuracy import (
    catalogue_coverage,
    gini,
    identical_sets,
    intra_user_diversity,
    mean_popularity,
    pairwise_overlap,
    rank_biased_overlap,
)


def test_coverage_counts_items_once():
    assert catalogue_coverage(np.array([[0, 1], [1, 2]]), 10) == 3 / 10


def test_gini_of_equal_and_of_single_exposure():
    assert gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0)
    assert gini(np.array([[2], [2]]), 4) == pytest.approx(1 - 1 / 4)


def test_gini_is_half_the_mean_absolute_difference_over_the_mean():
    exposure = np.array([1, 0, 3, 2])
    items = np.repeat(np.arange(4), exposure)[:, None]
    differences = np.abs(exposure[:, None] - exposure)
    assert gini(items, 4) == pytest.approx(differences.mean() / (2 * exposure.mean()))


def test_popularity_is_a_mean_over_all_places():
    assert mean_popularity(np.array([[0, 1], [1, 2]]), np.array([10, 4, 0])) == (10 + 4 + 4 + 0) / 4


def test_rank_biased_overlap_by_hand():
    a, b = np.array([[1, 2, 3]]), np.array([[1, 3, 4]])
    agreement = [1 / 1, 1 / 2, 2 / 3]  # common items among the first one, two, three
    p = 0.9
    expected = agreement[2] * p**3 + (1 - p) / p * sum(share * p**depth for depth, share in enumerate(agreement, 1))
    assert rank_biased_overlap(a, b, p) == pytest.approx([expected])


def test_equal_lists_overlap_wholly_and_disjoint_ones_not_at_all():
    a = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    b = np.array([[1, 2, 3], [4, 5, 6], [3, 2, 1]])
    same, disjoint, reversed_ = rank_biased_overlap(a, b)
    assert same == pytest.approx(1)
    assert disjoint == 0
    assert 0 < reversed_ < 1


@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(1, 8), st.floats(0.1, 0.95))
def test_overlap_is_symmetric_and_within_0_and_1(first, second, k, p):
    a, b = np.array([first[:k]]), np.array([second[:k]])
    forth, back = rank_biased_overlap(a, b, p), rank_biased_overlap(b, a, p)
    assert forth == pytest.approx(back)
    assert -1e-12 <= forth[0] <= 1 + 1e-12


def test_overlap_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="one shape"):
        rank_biased_overlap(np.zeros((1, 2)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="within"):
        rank_biased_overlap(np.zeros((1, 2)), np.zeros((1, 2)), p=1)


def test_measures_over_samples_average_over_all_pairs():
    samples = np.array([[[1, 2]], [[1, 2]], [[2, 3]]])  # one user, three samples
    assert intra_user_diversity(samples) == pytest.approx([(0 + 2 / 3 + 2 / 3) / 3])
    pairs = [rank_biased_overlap(a, b)[0] for a, b in ((samples[0], samples[1]), (samples[0], samples[2]))]
    assert pairwise_overlap(samples) == pytest.approx([(pairs[0] + 2 * pairs[1]) / 3])
    assert identical_sets(samples).tolist() == [False]
    assert identical_sets(np.array([[[1, 2], [5, 6]], [[2, 1], [5, 7]]])).tolist() == [True, False]
    with pytest.raises(ValueError, match="two samples"):
        intra_user_diversity(samples[:1])
