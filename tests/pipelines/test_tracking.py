"""What a study leaves in MLflow, read back with MLflow's own client."""

from __future__ import annotations

import json

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from diffurecsys.data.split import load_split
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.machine import git_revision
from diffurecsys.models.weights import load_weights
from diffurecsys.pipelines.arrays import ranks_from_table
from diffurecsys.tracking.runs import describe_experiment

pytestmark = pytest.mark.slow

PARAMS = {
    "study": {
        "rankers": ["popularity", "sasrec", "diffurec"],
        "n_seeds": 1,
        "sweeps": {"delta": {"rankers": ["diffurec"], "values": [0], "n_seeds": 1}},
    }
}
RANKERS = {"popularity", "sasrec", "diffurec"}
SWEPT = "sweep.diffurec_delta_0.seed_0"
CELLS = {*(f"{ranker}.seed_0" for ranker in RANKERS), SWEPT}


@pytest.fixture(scope="module")
def tracked(make_tiny):
    project = make_tiny()
    project.run(env="tiny", params=PARAMS)
    return project


def _client(project) -> MlflowClient:
    uri = f"sqlite:///{project.root}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def _runs(project):
    client = _client(project)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}


def _folder(cell):
    ranker, _, seed = cell.rpartition(".")
    return f"{ranker}/{seed}"


def _ranks(project, cell):
    return project.read(f"07_model_output/tiny/{_folder(cell)}/ranks.parquet/*/ranks.parquet")


def _means(ranks, split, ranking="all"):
    return metrics_from_ranks(ranks_from_table(ranks[ranks["split"] == split]), (5, 10, 20), ranking)


def test_one_parent_run_holds_one_run_a_cell(tracked):
    (parent,), cells = _runs(tracked)
    assert cells.keys() == CELLS
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *cells.values())} == {"FINISHED"}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_cells_parameters_are_those_of_its_weights(cell, tracked):
    _, cells = _runs(tracked)
    weights = load_weights(tracked.root / f"data/06_models/tiny/{_folder(cell)}/weights.safetensors")
    params = cells[cell].data.params
    assert params["family"] == weights.family
    assert params["identity"] == weights.identity
    assert params["data"] == weights.data
    network = {name: value for name, value in params.items() if name.startswith("network.")}
    assert network == {
        f"network.{name}": str(list(value) if isinstance(value, tuple) else value)
        for name, value in vars(weights.config).items()
    }


def test_parameters_are_flat_and_the_cells_own(tracked):
    (parent,), cells = _runs(tracked)
    diffurec, sasrec = (cells[f"{name}.seed_0"].data.params for name in ("diffurec", "sasrec"))
    assert (diffurec["training.epochs"], sasrec["training.epochs"]) == ("3", "2")
    assert (diffurec["training.scheme"], sasrec["training.scheme"]) == ("prefix", "window")
    assert diffurec["network.width"] == "16"
    assert cells[SWEPT].data.params["network.delta"] == "0"
    assert not [name for name in cells["popularity.seed_0"].data.params if name.startswith("training.")]
    assert parent.data.params["dataset.name"] == "sample"
    assert parent.data.params["study.rankers"] == "popularity, sasrec, diffurec"
    assert parent.data.params["significance.n_resamples"] == "100"


def test_a_cells_tags_say_what_it_is(tracked):
    _, cells = _runs(tracked)
    tags = cells["sasrec.seed_0"].data.tags
    expected = {"model": "sasrec", "role": "baseline", "seed": "0", "dataset": "sample", "experiment": "tiny"}
    assert {**expected, "device": "cpu"}.items() <= tags.items()
    assert tags["precision"] in ("float32", "bfloat16")
    assert cells["sasrec.seed_0"].data.metrics["training/cpu_seconds"] > 0
    assert "git_revision" in tags
    assert cells[SWEPT].data.tags["role"] == "control"


def test_curves_go_by_epoch_and_equal_the_history(tracked):
    _, cells = _runs(tracked)
    history = pd.read_parquet(tracked.root / "data/06_models/tiny/diffurec/seed_0/history.parquet")
    for key, column in (("curve/loss", "loss"), ("curve/validation_NDCG_10", "validation_NDCG@10")):
        curve = _client(tracked).get_metric_history(cells["diffurec.seed_0"].info.run_id, key)
        assert [(point.step, point.value) for point in curve] == list(
            zip(history["epoch"], history[column], strict=True)
        )
    assert "curve/loss" not in cells["popularity.seed_0"].data.metrics


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_final_metrics_follow_from_the_ranks(cell, tracked):
    _, cells = _runs(tracked)
    ranks = _ranks(tracked, cell)
    for group, split, ranking in (
        ("test", "test", "all"),
        ("test_unseen", "test", "unseen"),
        ("validation", "validation", "all"),
    ):
        for name, value in _means(ranks, split, ranking).items():
            assert cells[cell].data.metrics[f"{group}/{name.replace('@', '_')}"] == value


def test_the_parent_holds_the_counts_and_the_reports_files(tracked):
    (parent,), _ = _runs(tracked)
    counts = json.loads((tracked.root / "data/02_intermediate/tiny/counts.json").read_text())
    assert parent.data.metrics["counts/core_users"] == counts["core"]["users"]
    assert parent.data.metrics["counts/raw_interactions"] == counts["raw"]["interactions"]
    files = {file.path for file in _client(tracked).list_artifacts(parent.info.run_id)}
    assert files >= {"leaderboard.csv", "sweeps.csv", "leaderboard.png", "curves.png", "report.html", "report.md"}
    assert files >= {"ranks.parquet", "cells.parquet", "curves.parquet"}


def test_descriptions_say_what_came_out(tracked):
    (parent, *_), _ = _runs(tracked)
    client = _client(tracked)
    experiment = client.get_experiment_by_name("tiny")
    assert "Rankers on sample" in experiment.tags["mlflow.note.content"]
    said = parent.data.tags["mlflow.note.content"]
    assert said.startswith("Best of 3 rankers on test NDCG@10")
    (report,) = tracked.root.glob("data/08_reporting/tiny/report.md/*/report.md")
    assert said in report.read_text(encoding="utf-8")
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "somebody's own words")
    describe_experiment(experiment.experiment_id, "sample")
    assert client.get_experiment_by_name("tiny").tags["mlflow.note.content"] == "somebody's own words"


def test_the_parent_holds_each_rankers_means(tracked):
    (parent,), _ = _runs(tracked)
    for ranker in RANKERS:
        expected = _means(_ranks(tracked, f"{ranker}.seed_0"), "test")["NDCG@10"]
        assert parent.data.metrics[f"{ranker}/test_NDCG_10"] == pytest.approx(expected)


def _histories(*histories):
    return pd.DataFrame({"history": list(histories)})


def _logged(project, cell):
    (output,) = _runs(project)[1][cell].outputs.model_outputs
    return mlflow.pyfunc.load_model(f"models:/{output.model_id}")


def _vocabulary(project):
    return pq.read_table(project.root / "data/03_primary/tiny/item_vocabulary.parquet")["item_id"].to_pylist()


@pytest.mark.parametrize("ranker", sorted(RANKERS))
def test_the_logged_model_recommends_known_items(ranker, tracked):
    model, vocabulary = _logged(tracked, f"{ranker}.seed_0"), _vocabulary(tracked)
    (ten,) = model.predict(_histories(vocabulary[:3]))["items"]
    assert len(ten) == len(set(ten)) == 10
    assert set(ten) <= set(vocabulary)
    (three,) = model.predict(_histories([*vocabulary[:3], "never seen"]), params={"k": 3})["items"]
    assert three == ten[:3]
    others, again = model.predict(
        _histories(vocabulary[:2], vocabulary[:3]), params={"k": 1000, "exclude_history": True}
    )["items"]
    assert set(others) == set(vocabulary) - set(vocabulary[:2])
    assert set(again) == set(vocabulary) - set(vocabulary[:3])
    unknown = model.predict(_histories(["never seen"]), params={"k": 5})
    assert unknown["source"].tolist() == ["popularity"]
    split = load_split(tracked.root / "data/05_model_input/tiny/split.npz")
    counts = dict(zip(vocabulary, split.popularity.tolist(), strict=True))
    assert [counts[item] for item in unknown["items"][0]] == sorted(counts.values(), reverse=True)[:5]


def test_only_rankers_with_reverse_steps_can_be_asked_for_them(tracked):
    vocabulary = _vocabulary(tracked)
    model = _logged(tracked, "diffurec.seed_0")
    (found,) = model.predict(_histories(vocabulary[:3]), params={"reverse_steps": 2})["items"]
    assert len(found) == 10
    names = {name: _logged(tracked, f"{name}.seed_0").metadata.get_params_schema().to_dict() for name in RANKERS}
    asked = {name: {part["name"] for part in params} for name, params in names.items()}
    assert {name for name in RANKERS if "reverse_steps" in asked[name]} == {"diffurec"}


def test_a_cell_run_alone_is_tracked_in_a_parent_of_its_own(tracked):
    before, _ = _runs(tracked)
    tracked.run(env="tiny", params=PARAMS, namespaces=["diffurec.seed_0"])
    after, _ = _runs(tracked)
    (new,) = {run.info.run_id for run in after} - {run.info.run_id for run in before}
    children = _client(tracked).search_runs(
        [after[0].info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{new}'"
    )
    assert [child.info.run_name for child in children] == ["diffurec.seed_0"]


def test_ranking_again_tracks_the_fitting_and_the_metrics(tracked):
    tracked.run(env="tiny", params=PARAMS, node_names=["sasrec.seed_0.rank_targets"])
    parents, _ = _runs(tracked)
    latest = max(parents, key=lambda run: run.info.start_time)
    (child,) = _client(tracked).search_runs(
        [latest.info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{latest.info.run_id}'"
    )
    assert child.data.params["network.width"] == "16"
    assert {"curve/loss", "test/NDCG_10"} <= child.data.metrics.keys()


def test_outside_a_repository_the_revision_is_unknown(tmp_path):
    assert git_revision(tmp_path) == "unknown"
