"""How often a true null is rejected: `benchmarks/significance_simulation.py` in small, with bounds of binomial counts.

A bound is the count that a test with exactly the stated error rate exceeds once in a thousand runs. Mean squares are
drawn from their exact distributions: users make a variance of 1 of the mean difference, a part of it by their
interaction with seeds, and seeds make `ratio`.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.holm import holm
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.evaluation.significance.two_variances import Parts, half_width, two_sided_p

USERS = 200
RARE = 0.001
HOLM = 0.05 / 63  # what the smallest p of 63 tests has to be below


def most(n, rate):
    return stats.binom.ppf(1 - RARE, n, rate)


def draw(n, n_seeds, ratio, interaction, rng):
    users, seeds = USERS - 1, n_seeds - 1
    parts = Parts(
        rng.chisquare(users, n) / users,
        (ratio + interaction) * rng.chisquare(seeds, n) / seeds,
        interaction * rng.chisquare(users * seeds, n) / (users * seeds),
        users,
        seeds,
    )
    return rng.normal(size=n) * np.sqrt(1 + ratio), parts


def rejected(distance, parts, level):
    """Count p < level; only where users alone, which p is never below, do not exclude it."""
    alone = 2 * special.stdtr(parts.users_df, -np.abs(distance) / np.sqrt(parts.users))
    asked = alone < level
    some = Parts(parts.users[asked], parts.seeds[asked], parts.interaction[asked], parts.users_df, parts.seeds_df)
    return int((two_sided_p(distance[asked], some) < level).sum())


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 4.0, 16.0])
@pytest.mark.parametrize("interaction", [0.0, 0.9])
def test_at_five_percent_at_most_five_are_rejected(n_seeds, ratio, interaction):
    n = 4000
    found = rejected(*draw(n, n_seeds, ratio, interaction, np.random.default_rng(1)), 0.05)
    assert found <= most(n, 0.05)


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("ratio", [0.0, 4.0])
def test_so_it_is_at_the_level_of_holm_s_first_step(n_seeds, ratio):
    n = 20_000
    found = rejected(*draw(n, n_seeds, ratio, 0.3, np.random.default_rng(2)), HOLM)
    assert found <= most(n, HOLM)


def test_families_of_tests_hold_an_error_in_at_most_five_percent():
    n = 300
    distance, parts = draw(63 * n, 5, 4.0, 0.3, np.random.default_rng(3))
    p = two_sided_p(distance, parts).reshape(n, 63)
    assert sum((holm(family) < 0.05).any() for family in p) <= most(n, 0.05)


def test_where_seeds_do_not_matter_or_users_do_not_it_is_student_s_t():
    """So the test is exact at both ends, and not merely careful."""
    one = np.asarray(1.0)
    users = Parts(one, 0 * one, 0 * one, 199, 2)
    seeds = Parts(1e-9 * one, one, 0 * one, 10**6, 2)
    for distance in (0.5, 2.0, 6.0):
        assert two_sided_p(np.asarray(distance), users) == pytest.approx(2 * stats.t.sf(distance, 199), rel=1e-6)
        assert two_sided_p(np.asarray(distance), seeds) == pytest.approx(2 * stats.t.sf(distance, 2), rel=1e-4)
    assert half_width(0.95, users) == pytest.approx(stats.t.ppf(0.975, 199))
    assert half_width(0.95, seeds) == pytest.approx(stats.t.ppf(0.975, 2), rel=1e-4)


def test_the_integral_is_the_mean_over_drawn_variances():
    rng = np.random.default_rng(4)
    parts = Parts(np.asarray(1.0), np.asarray(0.5), np.asarray(0.2), 199, 4)
    variance = 1 + np.maximum(0, 0.5 * 4 / rng.chisquare(4, 400_000) - 0.2)
    drawn = 2 * special.stdtr(199, -3 / np.sqrt(variance))
    assert two_sided_p(np.asarray(3.0), parts) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 400_000**0.5)


def test_a_lucky_estimate_of_nil_does_not_make_seeds_count_for_nothing():
    """Three seeds whose means happen to agree better than their users' noise allows."""
    agreeing = Parts(np.asarray(1.0), np.asarray(0.1), np.asarray(0.5), 199, 2)
    assert two_sided_p(np.asarray(3.0), agreeing) > 1.5 * 2 * stats.t.sf(3.0, 199)


def hits(name, tastes, n_seeds, seed_effect, rng):
    chances = (stats.norm.cdf(taste + rng.normal(0, seed_effect, (n_seeds, 1))) for taste in tastes)
    values = {f"study {k}": (rng.random((n_seeds, USERS)) < chance).astype(float) for k, chance in enumerate(chances)}
    return ModelScores(name, tuple(range(n_seeds)), values)


@pytest.mark.parametrize(("n_seeds", "seed_effect"), [(3, 0.0), (3, 0.4), (5, 0.4)])
def test_hits_and_misses_are_no_worse(n_seeds, seed_effect):
    """Users who differ, trainings that differ, and hits that are coins: every study is one metric of one table."""
    n, rng = 300, np.random.default_rng(5)
    tastes = rng.normal(-1.5, 1, (n, USERS))
    table = compare_models([hits(name, tastes, n_seeds, seed_effect, rng) for name in "ab"], n_resamples=1000)
    assert (table["p_t"] < 0.05).sum() <= most(n, 0.06)
    for low, high in (("low", "high"), ("boot_low", "boot_high")):
        assert ((table[low] > 0) | (table[high] < 0)).sum() <= most(n, 0.06)
    if seed_effect:
        assert (table["p_users"] < 0.05).sum() > most(n, 0.05)  # it asks about these trained models, which do differ
        assert (table["p_t"] < 0.05).sum() >= stats.binom.ppf(RARE, n, 0.02)  # nor is the test asleep


def test_the_bootstrap_of_counted_rankers_covers_what_it_says():
    """Without seeds there is nothing to be careful about: 95 % are 95 %."""
    n, rng = 400, np.random.default_rng(6)
    tastes = rng.normal(-1.0, 1, (n, USERS))
    models = [hits(name, tastes, 1, 0.0, rng) for name in "ab"]
    counted = [ModelScores(one.model, one.seeds, one.values, trains=False) for one in models]
    table = compare_models(counted, n_resamples=2000)
    covered = ((table["boot_low"] <= 0) & (table["boot_high"] >= 0)).sum()
    assert stats.binom.ppf(RARE, n, 0.94) <= covered <= stats.binom.ppf(1 - RARE, n, 0.96)
