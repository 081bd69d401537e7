"""Tests that pair users: against scipy where there is one seed, and by simulation where seeds count."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.evaluation.significance.comparison import compare_models
from diffurecsys.evaluation.significance.crossed import crossed_mean
from diffurecsys.evaluation.significance.intervals import mean_interval
from diffurecsys.evaluation.significance.scores import ModelScores, first_seeds, user_scores


def scores(model, values, metric="m", *, trains=True):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return ModelScores(model, tuple(range(len(values))), {metric: values}, trains)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def test_with_one_seed_it_is_the_paired_t_test(rng):
    a, b = rng.random(60), rng.random(60) + 0.1
    row = only(compare_models([scores("a", a), scores("b", b)], n_resamples=200))
    expected = stats.ttest_rel(b, a)
    assert (row["model"], row["reference"]) == ("b", "a")
    assert row["t"] == pytest.approx(expected.statistic)
    assert row["p_users"] == pytest.approx(expected.pvalue)
    assert row["df"] == 59
    assert row["difference"] == pytest.approx(b.mean() - a.mean())
    assert row["relative_difference"] == pytest.approx(b.mean() / a.mean() - 1)
    assert row["effect_size"] == pytest.approx((b - a).mean() / (b - a).std(ddof=1))


def test_with_one_seed_resampling_agrees_with_scipy(rng):
    a = rng.random(80)
    b = a + rng.normal(0.03, 0.12, 80)
    row = only(compare_models([scores("a", a), scores("b", b)], n_resamples=20_000))
    permuted = stats.permutation_test(
        (b, a), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=1
    )
    assert row["p_randomisation_users"] == pytest.approx(permuted.pvalue, abs=0.01)
    boot = stats.bootstrap(((b - a),), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    wider = stats.t.ppf(0.975, 79) / stats.norm.ppf(0.975)
    middle = row["difference"]
    assert row["boot_low"] == pytest.approx(middle - wider * (middle - boot.low), abs=0.003)
    assert row["boot_high"] == pytest.approx(middle + wider * (boot.high - middle), abs=0.003)


def test_all_signs_of_a_few_users_are_as_likely():
    row = only(compare_models([scores("a", [0.0] * 4), scores("b", [1.0] * 4)], n_resamples=40_000))
    assert row["p_randomisation_users"] == pytest.approx(2 / 16, abs=0.01)  # all four plus or all four minus


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_p_over_seeds(rng, n_seeds):
    a, b = rng.random((n_seeds, 60)), rng.random((n_seeds, 60)) + 0.2
    row = only(compare_models([scores("a", a), scores("b", b)], n_resamples=200))
    missing = ["p_t", "p_holm", "p_equivalence", "p_equivalence_holm", "seeds_share"]
    assert row[missing].isna().all()
    assert row["counts"] == "users"
    expected = stats.ttest_rel(b.mean(0), a.mean(0))
    assert row["p_users"] == row["p_users_holm"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_rankers_that_do_not_train_need_no_seeds(rng):
    a, b = (scores(name, rng.random(60), trains=False) for name in "ab")
    row = only(compare_models([a, b], n_resamples=200))
    assert (row["n_seeds"], row["counts"]) == (0, "users")
    assert row["p_t"] == row["p_users"] == row["p_holm"]


def test_the_crossed_error_is_the_anova_s(rng):
    """Against mean squares written out: 3 seeds x 5 users with strong effects of both."""
    d = rng.normal(0, 1, (3, 1)) + rng.normal(0, 1, (1, 5)) + rng.normal(0, 0.1, (3, 5))
    seeds, users, mean = d.mean(1), d.mean(0), d.mean()
    ms_s = 5 * ((seeds - mean) ** 2).sum() / 2
    ms_u = 3 * ((users - mean) ** 2).sum() / 4
    ms_e = ((d - seeds[:, None] - users + mean) ** 2).sum() / 8
    found = crossed_mean(d)
    assert found.error == pytest.approx(np.sqrt((ms_s + ms_u - ms_e) / 15))
    assert found.share_of_seeds(0.9)[0] == pytest.approx((ms_s - ms_e) / (ms_s + ms_u - ms_e))
    interval = mean_interval(d)
    half = interval.high - interval.mean
    assert half == pytest.approx(found.error * stats.t.ppf(0.975, found.df), rel=1e-3)
    assert 2 <= found.df <= 4
    assert found.p_value(found.mean - half) == pytest.approx(0.05)


def test_the_error_is_never_less_than_users_make_it(rng):
    for _ in range(20):
        d = rng.normal(0, 1, (4, 50))
        assert crossed_mean(d).error >= d.mean(0).std(ddof=1) / np.sqrt(50) - 1e-12


def test_the_share_of_seeds_is_known_within_its_interval():
    """Users and seeds make half of the variance each: nine in ten intervals hold that."""
    rng, held, n = np.random.default_rng(8), 0, 300
    for _ in range(n):
        d = rng.normal(0, np.sqrt(0.01), (5, 1)) + rng.normal(0, np.sqrt(0.2), (1, 100)) + rng.normal(0, 0.1, (5, 100))
        _, low, high = crossed_mean(d).share_of_seeds(0.9)
        held += low <= 0.5 <= high
    assert held >= stats.binom.ppf(0.001, n, 0.89)


def test_holm_covers_every_pair_of_a_metric(rng):
    models = [
        ModelScores(name, (0, 1, 2), {metric: rng.random((3, 40)) + shift for metric in ("m", "n")})
        for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.3))
    ]
    table = compare_models(models, n_resamples=200)
    assert len(table) == 6
    assert (table["family_size"] == 3).all()
    for _, family in table.groupby("metric"):
        for corrected, p in (("p_holm", "p_t"), ("p_users_holm", "p_users"), ("p_equivalence_holm", "p_equivalence")):
            assert list(family[corrected]) == pytest.approx(list(multipletests(family[p], method="holm")[1]))


def test_tests_that_could_not_be_made_are_no_part_of_the_family(rng):
    models = [scores("a", rng.random((3, 40))), scores("b", rng.random((3, 40))), scores("c", rng.random((1, 40)))]
    table = compare_models(models, n_resamples=200).set_index(["model", "reference"])
    assert table.loc[("b", "a"), "p_holm"] == table.loc[("b", "a"), "p_t"]
    assert table["family_size"].to_dict() == {("b", "a"): 1, ("c", "a"): 3, ("c", "b"): 3}


def test_equivalence_is_two_one_sided_tests(rng):
    """Counted rankers: Student's t over users, against both ends of the margin."""
    a = rng.random(400)
    b = a + rng.normal(0.002, 0.05, 400)
    row = only(compare_models([scores("a", a, trains=False), scores("b", b, trains=False)], margin=0.03))
    bound = 0.03 * a.mean()
    ends = [
        stats.ttest_1samp(b - a, sign * bound, alternative="less" if sign > 0 else "greater").pvalue for sign in (-1, 1)
    ]
    assert row["p_equivalence"] == pytest.approx(max(ends))
    assert row["excluded"] == pytest.approx(max(abs(row["relative_low"]), abs(row["relative_high"])))
    apart = only(compare_models([scores("a", a, trains=False), scores("b", a + 0.1, trains=False)], margin=0.03))
    assert apart["p_equivalence"] == 1


def test_a_ranker_without_seeds_meets_every_seed(rng):
    model, baseline = rng.random((3, 30)), rng.random(30)
    row = only(compare_models([scores("a", baseline, trains=False), scores("b", model)], n_resamples=500))
    assert row["n_seeds"] == 3
    assert row["difference"] == pytest.approx(model.mean() - baseline.mean())
    assert row["t"] == pytest.approx(crossed_mean(model - baseline).t)


def test_a_single_training_stands_for_itself_alone(rng):
    once, often = rng.random((1, 20)), rng.random((3, 20)) + 0.1
    row = only(compare_models([scores("a", once), scores("b", often)], n_resamples=200))
    assert row["n_seeds"] == 1
    assert row["difference"] == pytest.approx(often[0].mean() - once.mean())


def test_of_different_numbers_of_seeds_the_first_are_taken(rng):
    a, b = rng.random((5, 20)), rng.random((2, 20))
    row = only(compare_models([scores("a", a), scores("b", b)], n_resamples=200))
    assert row["n_seeds"] == 2
    assert row["difference"] == pytest.approx(b.mean() - a[:2].mean())
    assert row["mean_reference"] == pytest.approx(a[:2].mean())


def test_equal_models_do_not_differ_at_all(rng):
    a = (rng.random((3, 30)) < 0.2).astype(float)
    row = only(compare_models([scores("a", a), scores("b", a)], n_resamples=200))
    assert (row["difference"], row["low"], row["high"], row["t"], row["effect_size"]) == (0, 0, 0, 0, 0)
    assert row["p_t"] == row["p_users"] == row["p_randomisation_users"] == 1


def test_the_same_seed_gives_the_same_table(rng):
    models = [scores("a", rng.random((2, 30))), scores("b", rng.random((2, 30)))]
    first, again, other = (compare_models(models, n_resamples=300, seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("models", "pairs", "message"),
    [
        ([scores("a", [0, 1]), scores("b", [0, 1, 1])], None, "same number of users"),
        ([scores("a", [0, 1]), scores("b", [0, 1], "n")], None, "same metrics"),
        ([scores("a", [0, 1]), scores("a", [0, 1])], None, "given once"),
        ([scores("a", [0, 1]), scores("b", [0, 1])], [("a", "c")], "no scores of c"),
        ([scores("a", [0]), scores("b", [1])], None, "at least 2 users"),
    ],
)
def test_what_cannot_be_compared_is_refused(models, pairs, message):
    with pytest.raises(ValueError, match=message):
        compare_models(models, pairs=pairs, n_resamples=100)


def test_user_scores_want_the_same_users_in_every_seed():
    def ranks(users):
        column = np.arange(len(users))
        return Ranks(np.array(users), column, column, 0 * column, column, 0 * column, column, column)

    found = user_scores("a", {0: ranks([3, 4]), 1: ranks([3, 4])}, (1,))
    assert found.values["HR@1"].tolist() == [[1, 0], [1, 0]]
    assert found.subset(np.array([False, True])).values["MRR"].tolist() == [[0.5], [0.5]]
    with pytest.raises(ValueError, match="other users"):
        user_scores("a", {0: ranks([3, 4]), 1: ranks([4, 3])}, (1,))
    with pytest.raises(ValueError, match="evaluate it first"):
        user_scores("a", {}, (1,))


def test_first_seeds_are_the_first(rng):
    values = rng.random((4, 6))
    found = first_seeds(scores("a", values), 2)
    assert found.seeds == (0, 1)
    assert (found.values["m"] == values[:2]).all()


def test_a_real_difference_is_found(rng):
    taste = rng.normal(-1.5, 1, 400)
    a, b = (rng.random((5, 400)) < stats.norm.cdf(taste + shift) for shift in (0, 0.5))
    row = only(compare_models([scores("a", a), scores("b", b)], n_resamples=2000))
    assert row["p_t"] < 0.01
    assert row["p_randomisation_users"] < 0.01
    assert row["low"] > 0
    assert row["boot_low"] > 0
