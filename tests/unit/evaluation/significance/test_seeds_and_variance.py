"""Tests of seed means, and where the variance comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.evaluation.significance.seeds import compare_seeds, few_seeds_warning
from diffurecsys.evaluation.significance.variance import variance_components


def scores(model, values, *, trains=True):
    values = np.asarray(values, dtype=float)
    return ModelScores(model, tuple(range(len(values))), {"m": values}, trains)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_it_is_welch_s_test(rng):
    a, b = rng.random((5, 20)), rng.random((4, 20))
    row = compare_seeds([scores("a", a), scores("b", b)]).iloc[0]
    expected = stats.ttest_ind(b.mean(1), a.mean(1), equal_var=False)
    assert (row["t"], row["p"], row["df"]) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    assert (row["n_seeds_model"], row["n_seeds_reference"]) == (4, 5)


@pytest.mark.parametrize("baseline_is_model", [True, False])
def test_a_baseline_is_one_value(rng, baseline_is_model):
    a, b = rng.random((4, 20)), rng.random((1, 20))
    pair = ("b", "a") if baseline_is_model else ("a", "b")
    row = compare_seeds([scores("a", a), scores("b", b, trains=False)], pairs=[pair]).iloc[0]
    expected = stats.ttest_1samp(a.mean(1), b.mean())
    assert row["t"] == pytest.approx(-expected.statistic if baseline_is_model else expected.statistic)
    assert row["p"] == pytest.approx(expected.pvalue)


def test_without_two_seeds_there_is_no_test_and_others_are_corrected_without_it(rng):
    models = [
        scores("a", rng.random((1, 9))),
        scores("b", rng.random((2, 9))),
        scores("c", rng.random((1, 9)), trains=False),
    ]
    table = compare_seeds(models)  # b vs a, c vs a, c vs b: a has a single training
    assert table["p"].isna().tolist() == [True, True, False]
    assert table["p_holm"].isna().tolist() == [True, True, False]
    assert (table["family_size"] == 1).all()
    assert not pd.isna(table["difference"]).any()


def test_seed_means_that_do_not_vary():
    same, ahead = np.full((2, 3), 0.5), np.full((2, 3), 0.75)
    table = compare_seeds([scores("a", same), scores("b", same), scores("c", ahead)])
    assert table["p"].tolist() == [1, 0, 0]
    assert table["t"].tolist() == [0, np.inf, np.inf]


def test_few_seeds_are_named():
    (sentence,) = few_seeds_warning({"a": 5, "b": 3})
    assert "b 3" in sentence
    assert "a 5" not in sentence
    assert few_seeds_warning({"a": 5}) == []


def simulate(rng, shape, users=1.0, training=0.5, sampling=0.25, interaction=0.7):
    t, p, u = shape
    return (
        rng.normal(0, users, (1, 1, u))
        + rng.normal(0, training, (t, 1, 1))
        + rng.normal(0, sampling, (t, p, 1))
        + rng.normal(0, interaction, (t, p, u))
    )


def test_the_components_are_those_of_the_simulation(rng):
    found = [variance_components(simulate(rng, (6, 5, 40))) for _ in range(300)]
    mean = {name: np.mean([getattr(one, name) for one in found]) for name in ("users", "training", "sampling")}
    assert mean["users"] == pytest.approx(1.0, rel=0.1)
    assert mean["training"] == pytest.approx(0.25, rel=0.15)
    assert mean["sampling"] == pytest.approx(0.0625, rel=0.1)
    assert np.mean([one.interaction for one in found]) == pytest.approx(0.49, rel=0.05)


def test_what_did_not_vary_is_left_out(rng):
    values = simulate(rng, (6, 5, 40))
    assert variance_components(values[:1]).training is None
    assert variance_components(values[:, :1]).sampling is None
    table = variance_components(values[:1]).table()
    assert list(table["source"]) == ["users", "sampling seeds", "interaction"]
    assert table["share"].sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="nothing varies"):
        variance_components(values[:1, :1])


def test_identical_values_share_nothing():
    table = variance_components(np.ones((2, 2, 3))).table()
    assert (table["variance"] == 0).all()
    assert (table["share"] == 0).all()


def test_shares_are_of_a_run_s_variance(rng):
    values = simulate(rng, (8, 4, 50))
    parts = variance_components(values)
    table = parts.table().set_index("source")
    assert table.loc["users", "std_of_mean"] == pytest.approx(np.sqrt(parts.users / 50))
    assert table.loc["training seeds", "std_of_mean"] == pytest.approx(np.sqrt(parts.training))
    variance = table["std_of_mean"] ** 2
    assert list(table["share"]) == pytest.approx(list(variance / variance.sum()))
