"""Sums over seeds by hand, and what is refused or warned about."""

from __future__ import annotations

import math

import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard, cut, find_warnings

MODELS, BASELINES = ("sasrec", "gru4rec"), ("popularity",)


def result(model, seed, test, validation=None, **other):
    return {
        "model": model,
        "seed": seed,
        "exclude_seen": False,
        "training_seconds": None if seed is None else 100.0 + seed,
        "device": "cpu",
        "test": {"HR@10": 2 * test, "NDCG@10": test},
        "validation": {"HR@10": 2 * (validation or test), "NDCG@10": validation or test},
        **other,
    }


RESULTS = (
    result("sasrec", 0, 0.04),
    result("sasrec", 1, 0.05),
    result("sasrec", 2, 0.09),
    result("gru4rec", 0, 0.02),
    result("gru4rec", 1, 0.02),
    result("popularity", None, 0.01),
)


def board(results=RESULTS, **other):
    return build_leaderboard(results, **{"models": MODELS, "baselines": BASELINES, **other})


def without(key):
    return [{k: v for k, v in r.items() if k != key} for r in RESULTS]


def test_mean_and_sample_standard_deviation_by_hand():
    score = board().score("sasrec", "test", "NDCG@10")
    assert score.mean == pytest.approx((0.04 + 0.05 + 0.09) / 3)
    assert score.std == pytest.approx(math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2))  # ddof 1
    assert score.n_seeds == 3


def test_training_seconds_by_hand():
    seconds = board().training_seconds("sasrec")
    assert (seconds.mean, seconds.std, seconds.n_seeds) == (pytest.approx(101), pytest.approx(1), 3)
    assert math.isnan(board().training_seconds("popularity").mean)


def test_training_seconds_that_were_not_measured_are_not_averaged():
    unmeasured = [{**r, "training_seconds": None} if r["seed"] == 2 else r for r in RESULTS]
    seconds = board(unmeasured).training_seconds("sasrec")
    assert (seconds.mean, seconds.n_seeds) == (pytest.approx(100.5), 2)


def test_baselines_have_one_value_and_no_seed():
    score = board().score("popularity", "test", "HR@10")
    assert (score.mean, score.n_seeds) == (pytest.approx(0.02), 0)
    assert math.isnan(score.std)


def test_splits_are_kept_apart():
    leaderboard = board([result("sasrec", 0, 0.04, validation=0.06)], models=["sasrec"], baselines=[])
    assert leaderboard.score("sasrec", "test", "NDCG@10").mean == pytest.approx(0.04)
    assert leaderboard.score("sasrec", "validation", "NDCG@10").mean == pytest.approx(0.06)


def test_the_order_is_the_study_s_whatever_the_order_of_results():
    leaderboard = board(RESULTS[::-1])
    assert leaderboard.models == ("sasrec", "gru4rec")
    assert leaderboard.values("sasrec", "test", "NDCG@10") == (0.04, 0.05, 0.09)
    assert leaderboard.scores.equals(board().scores)
    assert leaderboard.cells.equals(board().cells)
    assert list(leaderboard.scores.columns) == ["model", "kind", "split", "metric", "mean", "std", "n_seeds"]
    assert len(leaderboard.scores) == 3 * 2 * 2  # models and baseline, splits, metrics


def test_unknown_score_is_named():
    with pytest.raises(KeyError, match=r"no test NDCG@10 of 'bert4rec'"):
        board().score("bert4rec", "test", "NDCG@10")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "no result of sasrec, gru4rec and popularity"),
        (RESULTS[:3], "no result of gru4rec and popularity"),
        ([*RESULTS, result("bert4rec", 0, 0.1)], "'bert4rec', which is not in the study"),
        ([*RESULTS, RESULTS[0]], "more than one result of the same cell: sasrec, seed 0"),
        ([*RESULTS[:-1], {**RESULTS[-1], "exclude_seen": True}], "popularity with exclude_seen=True"),
        ([*RESULTS[:-1], {**RESULTS[-1], "test": {"HR@5": 0.1}}], "same cut-offs"),
        ([*RESULTS[:-1], result("popularity", None, math.nan)], "test HR@10 of popularity is nan"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(results, message):
    with pytest.raises(ValueError, match=message):
        board(results)


def test_a_clean_leaderboard_has_no_warnings():
    assert find_warnings(board([r for r in RESULTS if r["seed"] != 2])) == []


def test_a_model_below_a_baseline_is_named_with_both_numbers():
    results = [r for r in RESULTS if r["seed"] in (0, 1)] + [result("popularity", None, 0.03, validation=0.01)]
    assert find_warnings(board(results)) == [
        "gru4rec does not beat the baseline popularity on test NDCG@10: 0.0200 (mean of 2 seeds) against 0.0300."
    ]


def test_a_draw_is_not_a_win_and_validation_counts():
    results = [r for r in RESULTS if r["seed"] in (0, 1)] + [result("popularity", None, 0.01, validation=0.02)]
    (warning,) = find_warnings(board(results))
    assert "on validation NDCG@10: 0.02000000 (mean of 2 seeds) against 0.02000000" in warning


def test_single_seeds_have_no_standard_deviation():
    results = [r for r in RESULTS if r["seed"] in (0, None)]
    assert find_warnings(board(results)) == [
        "There is no standard deviation for sasrec and gru4rec: fewer than 2 seeds."
    ]


def test_uneven_seeds_and_devices_are_named():
    results = [{**r, "device": "cuda"} if r["model"] == "gru4rec" else r for r in RESULTS]
    warnings = " ".join(find_warnings(board(results)))
    assert "sasrec has 3 and gru4rec has 2" in warnings
    assert "trained on cpu and cuda" in warnings


def test_a_declared_metric_that_was_not_computed_is_said():
    assert "NDCG@7 was not computed" in " ".join(find_warnings(board(), metric="NDCG@7"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05349999, "0.0534"),
        (0.0534, "0.0534"),
        ((0.0533 + 0.0535) / 2, "0.0534"),
        (sum([0.1] * 3) / 3, "0.1000"),
        (0.00009, "0.0000"),
        (1.0, "1.0000"),
    ],
)
def test_numbers_are_cut_and_not_rounded_up(value, text):
    assert cut(value) == text
