"""Sums over seeds by hand, and what is warned about."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard, cut, find_warnings, hardware
from diffurecsys.evaluation.significance.scores import ModelScores

USERS = np.array([-0.01, 0.0, 0.01])  # what users add to a seed's mean
ROLES = {"sasrec": "model", "gru4rec": "model", "popularity": "baseline", "counts": "baseline", "sham": "control"}


def board(values, *, validation=0.5, seconds=100.0, device="cpu", ranking="all"):
    """NDCG@10 on test by ranker and seed; half as much on validation, a tenth more among unseen items."""
    untrained = [name for name in values if ROLES[name] == "baseline"]
    scores = {
        (split, kind): [
            ModelScores(
                name,
                tuple(range(len(means))),
                {
                    metric: np.array(means)[:, None] * factor * scale + USERS
                    for metric, scale in (("HR@10", 2.0), ("NDCG@10", 1.0))
                },
                name not in untrained,
            )
            for name, means in values.items()
        ]
        for split, half in (("test", 1.0), ("validation", validation))
        for kind, factor in (("all", half), ("unseen", 1.1 * half))
    }
    cells = [
        {"model": name, "seed": seed, "role": ROLES[name], "device": device, "cpu": "Cpu 9000"}
        | {"seconds": None if name in untrained else seconds + seed}
        for name, means in values.items()
        for seed in range(len(means))
    ]
    return build_leaderboard(scores, pd.DataFrame(cells), ranking=ranking, untrained=untrained)


VALUES = {"popularity": [0.01], "sasrec": [0.04, 0.05, 0.09], "gru4rec": [0.02, 0.02]}


def test_mean_and_sample_standard_deviation_by_hand():
    score = board(VALUES).score("sasrec", "test", "NDCG@10")
    assert score.mean == pytest.approx((0.04 + 0.05 + 0.09) / 3)
    assert score.std == pytest.approx(math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2))  # ddof 1
    assert score.n_seeds == 3
    assert score.low < score.mean < score.high


def test_training_seconds_by_hand():
    seconds = board(VALUES).training_seconds("sasrec")
    assert (seconds.mean, seconds.std, seconds.n_seeds) == (pytest.approx(101), pytest.approx(1), 3)
    assert math.isnan(board(VALUES).training_seconds("popularity").mean)


def test_rankers_that_do_not_train_have_one_value_and_no_seed():
    score = board(VALUES).score("popularity", "test", "HR@10")
    assert (score.mean, score.n_seeds) == (pytest.approx(0.02), 0)
    assert math.isnan(score.std)
    assert board(VALUES).trained == ("sasrec", "gru4rec")


def test_splits_and_rankings_are_kept_apart():
    found = board(VALUES, ranking="unseen")
    assert found.rankings == ("unseen", "all")
    assert found.score("gru4rec", "test", "NDCG@10").mean == pytest.approx(0.022)
    assert found.score("gru4rec", "test", "NDCG@10", "all").mean == pytest.approx(0.02)
    assert found.score("gru4rec", "validation", "NDCG@10", "all").mean == pytest.approx(0.01)
    assert found.values("gru4rec", "validation", "NDCG@10", "all") == pytest.approx((0.01, 0.01))


def test_models_come_first_then_controls_then_baselines_each_in_the_study_s_order():
    found = board({"counts": [0.03], **VALUES, "sham": [0.02, 0.03]})
    assert found.names == ("sasrec", "gru4rec", "sham", "counts", "popularity")
    assert (found.models, found.baselines) == (("sasrec", "gru4rec"), ("counts", "popularity"))
    assert found.role("sham") == "control"
    assert found.best(found.names) == "sasrec"
    assert found.best(()) is None
    assert len(found.scores) == 5 * 2 * 2 * 2  # rankers, splits, rankings, metrics


def test_unknown_score_is_named():
    with pytest.raises(KeyError, match=r"no test NDCG@10 of 'bert4rec'"):
        board(VALUES).score("bert4rec", "test", "NDCG@10")


def test_a_ranker_without_cells_is_named():
    scores = {("test", "all"): [ModelScores("sasrec", (0,), {"NDCG@10": np.ones((1, 3))})]}
    cells = pd.DataFrame({"model": ["gru4rec"], "role": ["model"], "seconds": [1.0], "device": ["cpu"], "cpu": [None]})
    with pytest.raises(ValueError, match="no cell of sasrec"):
        build_leaderboard(scores, cells, ranking="all")


def test_a_clean_leaderboard_has_no_warnings():
    assert find_warnings(board({"sasrec": [0.04, 0.05], "gru4rec": [0.02, 0.03], "popularity": [0.01]})) == []


def test_a_model_below_the_strongest_baseline_is_told_once():
    found = board({"sasrec": [0.04, 0.05], "gru4rec": [0.02, 0.02], "popularity": [0.025], "counts": [0.03]})
    assert find_warnings(found) == [
        "The strongest baseline, counts, reaches test NDCG@10 0.0300; not ahead of it: gru4rec 0.0200 (mean of 2 "
        "seeds)."
    ]


def test_a_draw_is_not_a_win():
    (warning,) = find_warnings(board({"gru4rec": [0.02, 0.02], "popularity": [0.02]}))
    assert "NDCG@10 0.02000000; not ahead of it: gru4rec 0.02000000 (mean of 2 seeds)" in warning


def test_models_behind_share_a_sentence():
    (warning,) = find_warnings(board({"sasrec": [0.04, 0.05], "gru4rec": [0.02, 0.02], "counts": [0.06]}))
    assert warning.endswith("sasrec 0.0450 (mean of 2 seeds) and gru4rec 0.0200 (mean of 2 seeds).")


def test_single_seeds_have_no_standard_deviation():
    assert find_warnings(board({"sasrec": [0.04], "gru4rec": [0.03], "popularity": [0.01]})) == [
        "There is no standard deviation for sasrec and gru4rec: fewer than 2 seeds."
    ]


def test_uneven_seeds_and_devices_are_named():
    found = board(VALUES)
    assert "sasrec has 3 and gru4rec has 2" in " ".join(find_warnings(found))
    assert found.devices == ("Cpu 9000",)
    assert hardware({"device": "cuda:0 (H100)", "cpu": "Cpu 9000"}) == "cuda:0 (H100)"
    assert hardware({"device": None, "cpu": "Cpu 9000"}) == "unknown"


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
