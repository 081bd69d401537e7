"""`kedro run` as a newcomer runs it: the whole study on the generated sample, three models and five seeds."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

MODELS = ["diffurec", "cross_attention", "diffurecsys"]
BASELINES = ["popularity", "last_item_transition"]


@pytest.fixture(scope="module")
def run(make_project):
    project = make_project()
    return project, project.output("run", "--pipeline=train_eval")


@pytest.fixture(scope="module")
def study(run):
    return run[0]


@pytest.fixture(scope="module")
def printed(run):
    return run[1]


def _newest(study, name):
    return max(study.root.glob(f"data/08_reporting/sample/{name}/*/{name}"))


def test_every_cell_has_weights_ranks_and_metrics(study):
    for model in MODELS:
        for seed in range(5):
            cell = f"{model}/seed_{seed}"
            assert (study.root / f"data/06_models/sample/{cell}/weights.safetensors").exists()
            (ranks,) = study.root.glob(f"data/07_model_output/sample/{cell}/test_ranks.parquet/*/*.parquet")
            (metrics,) = study.root.glob(f"data/08_reporting/sample/cells/{cell}/metrics.json/*/metrics.json")
            table = pd.read_parquet(ranks)
            hits = (table["rank"] <= 10).mean()
            assert json.loads(metrics.read_text())["test"]["HR@10"] == pytest.approx(hits)
            assert list(table["user"]) == list(range(len(table)))


def test_models_that_use_order_beat_popularity_clearly(study):
    board = pd.read_csv(_newest(study, "leaderboard.csv"))
    assert set(board["model"]) == {*MODELS, *BASELINES}
    for split in ("test", "validation"):
        scores = board[board["split"] == split].set_index("model")["NDCG@10_mean"]
        assert (scores[MODELS] > 2 * scores["popularity"]).all()
        assert (scores[MODELS] > scores["last_item_transition"]).all()
    assert (board[board["kind"] == "model"]["n_seeds"] == 5).all()
    assert (board[board["kind"] == "model"]["NDCG@10_std"] > 0).all()


def test_the_report_stands_alone(study):
    page = _newest(study, "report.html").read_text()
    assert all(name in page for name in (*MODELS, *BASELINES))
    assert not re.search(r"""(src|href)=["'](?!#)|@import|url\((?!#)""", page)
    assert "leave-one-out" in _newest(study, "report.md").read_text()


def test_the_log_says_what_happened_and_nothing_is_left_over(study, printed):
    assert re.search(r"Before filtering: 1,000 users, .* after: \d+ users", printed)
    assert "Training diffurecsys.seed_4 on" in printed
    assert "epoch 8/8" in printed
    assert "Pipeline execution completed successfully" in printed
    assert "Traceback" not in printed
    assert "leaked" not in printed
    assert not list(study.root.glob("data/**/*.tmp"))
    assert not list(study.root.glob("data/**/checkpoint.pt"))
