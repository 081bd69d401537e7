"""The paper's t-test, fed with the paper's own numbers."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest
from scipy import stats

from diffurecsys.evaluation.significance.paper_test import paper_t_test

TABLES = json.loads((files("diffurecsys.reporting") / "paper_tables.json").read_text())
DATASETS = list(TABLES["table4_paired_t_test"])
OTHER = {"cross_attention": "diffurecsys", "diffurecsys": "cross_attention"}
ROUNDING = 0.5e-4  # Table 3 prints four digits


def means(dataset, model):
    return TABLES["table3_mean_std"][dataset][model]["mean"]


def reachable(dataset, model):
    """t, p and average difference for numbers that print as Table 3 does: least and greatest found."""
    rng = np.random.default_rng(0)
    ours, theirs = (np.array(list(means(dataset, name).values())) for name in (model, "diffurec"))
    corners = rng.choice([-ROUNDING, ROUNDING], size=(20_000, 2, 6))
    differences = ours + corners[:, 0] - theirs - corners[:, 1]
    t, p = stats.ttest_1samp(differences, 0, axis=1)
    average = 100 * (ours - theirs).mean() + np.array([-1, 1]) * 200 * ROUNDING
    return {"t": (t.min(), t.max()), "p": (p.min(), p.max()), "avg_diff_percent": tuple(average)}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("label", OTHER)
def test_table_4_follows_from_table_3_with_its_labels_swapped(dataset, label):
    printed = TABLES["table4_paired_t_test"][dataset][label]
    bounds = reachable(dataset, OTHER[label])
    for name, half_a_digit in (("t", 0.5e-4), ("p", 0.5e-4), ("avg_diff_percent", 0.5e-4)):
        low, high = bounds[name]
        assert low - half_a_digit <= printed[name] <= high + half_a_digit
    found = paper_t_test(means(dataset, OTHER[label]), means(dataset, "diffurec"))
    as_labelled = paper_t_test(means(dataset, label), means(dataset, "diffurec"))
    for name, value in (("t", "t"), ("avg_diff_percent", "average_difference_percent")):
        assert abs(getattr(found, value) - printed[name]) < abs(getattr(as_labelled, value) - printed[name])


@pytest.mark.parametrize(
    ("dataset", "cross_attention", "diffurecsys"),
    [("amazon_beauty", 3.987, 4.006), ("ml_1m", 6.812, 6.517), ("amazon_toys", 3.166, 3.145)],
)
def test_it_is_the_paired_test_over_six_means(dataset, cross_attention, diffurecsys):
    for model, t in (("cross_attention", cross_attention), ("diffurecsys", diffurecsys)):
        found = paper_t_test(means(dataset, model), means(dataset, "diffurec"))
        assert found.t == pytest.approx(t, abs=5e-4)
        assert found.df == 5


def test_equal_differences_have_no_spread_to_compare_with():
    assert paper_t_test({"a": 0.1, "b": 0.2}, {"a": 0.1, "b": 0.2}).p == 1
    ahead = paper_t_test({"a": 0.5, "b": 0.75}, {"a": 0.25, "b": 0.5})
    assert (ahead.t, ahead.p, ahead.average_difference_percent) == (float("inf"), 0, 25)


def test_other_metrics_are_refused():
    with pytest.raises(ValueError, match="same metrics"):
        paper_t_test({"a": 1, "b": 2}, {"a": 1, "c": 2})
