"""The paper's numbers, checked against the printed page."""

from __future__ import annotations

import json
import math
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from diffurecsys.evaluation.leaderboard import build_leaderboard
from diffurecsys.evaluation.significance.scores import ModelScores
from diffurecsys.reporting.paper import PAPER_MODELS, compare_with_paper, paper_results


@pytest.mark.parametrize(
    ("dataset", "model", "metric", "mean", "std"),
    [
        ("amazon_beauty", "diffurecsys", "HR@10", 0.0980, 0.0012),
        ("amazon_toys", "cross_attention", "NDCG@5", 0.0458, 0.0010),
        ("ml-1m", "cross_attention", "HR@20", 0.3947, 0.0044),
    ],
)
def test_table_3(dataset, model, metric, mean, std):
    score = paper_results(dataset).score(model, metric)
    assert (score.mean, score.std, score.n_seeds) == (mean, std, 5)


def test_the_baseline_is_printed_without_standard_deviation():
    score = paper_results("ml-1m").score("diffurec", "NDCG@10")
    assert (score.mean, score.n_seeds) == (0.1479, 0)
    assert math.isnan(score.std)


def test_table_2():
    assert paper_results("amazon_toys").training_seconds["cross_attention"] == 4470.52


def test_nothing_is_made_up():
    assert paper_results("ml-100k") is None
    assert paper_results("sample") is None
    beauty = paper_results("amazon_beauty")
    assert beauty.score("diffurec", "MRR") is None
    assert beauty.score("popularity", "HR@10") is None


def test_only_ml_1m_is_said_not_to_be_5_core():
    assert "3,706 items" in paper_results("ml-1m").caveat
    assert "3,706 items" not in paper_results("amazon_beauty").caveat
    assert "suspicion" in paper_results("amazon_beauty").caveat
    assert "\n" not in paper_results("ml-1m").caveat


def test_tables_agree_with_the_reference_copy(shared_data):
    reference = shared_data.parents[1] / "paper" / "tables.json"
    if not reference.is_file():
        pytest.skip("no reference tables beside the checkout")
    ours = json.loads((files("diffurecsys.reporting") / "paper_tables.json").read_text(encoding="utf-8"))
    assert ours == json.loads(reference.read_text(encoding="utf-8"))


def test_the_closer_split_is_named():
    def scores(name, value):
        return ModelScores(name, (0,), {"HR@10": np.full((1, 3), value), "MRR": np.full((1, 3), 0.5)})

    means = {"diffurec": (0.078, 0.099), "diffurecsys": (0.078, 0.099), "sasrec": (0.06, 0.07)}
    by_split = {
        (split, "all"): [scores(name, values[place]) for name, values in means.items()]
        for place, split in enumerate(("test", "validation"))
    }
    cells = pd.DataFrame({"model": list(means), "role": "model", "seconds": 1.0, "device": "cpu", "cpu": "Cpu 9000"})
    leaderboard = build_leaderboard(by_split, cells, ranking="all")
    assert compare_with_paper(leaderboard, paper_results("amazon_beauty")) == [  # printed: 0.079 and 0.098
        "diffurec: the paper's scores lie closer to our test scores (mean absolute difference over 1 metrics 0.0010) "
        "than to our validation scores (0.0200).",
        "diffurecsys: the paper's scores lie closer to our validation scores (mean absolute difference over 1 metrics "
        "0.0010) than to our test scores (0.0200).",
    ]


def test_the_paper_s_models_are_those_of_its_table():
    assert set(PAPER_MODELS) == set(paper_results("ml-1m").scores)
