"""Tests of seed means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.evaluation.significance.seeds import compare_seeds, few_seeds_warning


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


@pytest.mark.parametrize("few", [1, 2])
def test_without_three_seeds_there_is_no_test_and_others_are_corrected_without_it(rng, few):
    models = [
        scores("a", rng.random((few, 9))),
        scores("b", rng.random((3, 9))),
        scores("c", rng.random((1, 9)), trains=False),
    ]
    table = compare_seeds(models)  # b vs a, c vs a, c vs b: a has too few trainings
    assert table["p"].isna().tolist() == [True, True, False]
    assert table["p_holm"].isna().tolist() == [True, True, False]
    assert (table["family_size"] == 1).all()
    assert not pd.isna(table["difference"]).any()


def test_seed_means_that_do_not_vary():
    same, ahead = np.full((3, 3), 0.5), np.full((3, 3), 0.75)
    table = compare_seeds([scores("a", same), scores("b", same), scores("c", ahead)])
    assert table["p"].tolist() == [1, 0, 0]
    assert table["t"].tolist() == [0, np.inf, np.inf]


def test_few_seeds_are_named():
    (sentence,) = few_seeds_warning({"a": 5, "b": 3})
    assert "b 3" in sentence
    assert "a 5" not in sentence
    assert few_seeds_warning({"a": 5}) == []
