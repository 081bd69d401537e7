"""What a study leaves in MLflow, read back with MLflow's own client."""

from __future__ import annotations

import json
import math

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from diffurecsys.tracking.hooks import git_revision

PARAMS = {
    "study": {
        "models": ["diffurec", "diffurecsys"],
        "n_seeds": 1,
        "baselines": ["popularity"],
        "sweep": {"models": ["diffurec"], "deltas": [0], "n_seeds": 1},
    },
    "training": {"epochs": 2},
    "significance": {"n_resamples": 200},
    "probes": {"users": 50, "ensemble_sizes": [1, 2], "reverse_steps": [1, 32]},
    "maps": {"users": 60, "sampled_users": 2, "samples": 10},
}
CELLS = {"diffurec.seed_0", "diffurecsys.seed_0", "sweep.diffurec_delta_0.seed_0", "popularity"}


@pytest.fixture(scope="module")
def tracked(make_project):
    project = make_project()
    project.run(params=PARAMS)
    return project


def _client(project) -> MlflowClient:
    uri = f"sqlite:///{project.root}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def _runs(project):
    client = _client(project)
    found = client.search_runs([client.get_experiment_by_name("sample").experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}


def _metrics_file(project, cell):
    (path,) = project.root.glob(
        f"data/08_reporting/sample/cells/{cell.replace('.seed', '/seed')}/metrics.json/*/metrics.json"
    )
    return json.loads(path.read_text())


def test_one_parent_run_holds_one_run_a_cell(tracked):
    (parent,), cells = _runs(tracked)
    assert cells.keys() == CELLS
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *cells.values())} == {"FINISHED"}


def test_a_cells_parameters_are_flat(tracked):
    _, cells = _runs(tracked)
    params = cells["diffurec.seed_0"].data.params
    assert params["model"] == "diffurec"
    assert params["training.epochs"] == "2"
    assert params["model.width"] == "32"
    assert params["dataset.name"] == "sample"


def test_a_cells_tags_say_what_it_is(tracked):
    _, cells = _runs(tracked)
    tags = cells["diffurecsys.seed_0"].data.tags
    expected = {"model": "diffurecsys", "seed": "0", "dataset": "sample", "experiment": "sample", "device": "cpu"}
    assert expected.items() <= tags.items()
    assert "git_revision" in tags


def test_curves_go_by_epoch_and_equal_the_history(tracked):
    _, cells = _runs(tracked)
    history = pd.read_parquet(tracked.root / "data/06_models/sample/diffurec/seed_0/history.parquet")
    for key, column in (("curve/loss", "loss"), ("curve/validation_NDCG_10", "validation_NDCG@10")):
        curve = _client(tracked).get_metric_history(cells["diffurec.seed_0"].info.run_id, key)
        assert [(point.step, point.value) for point in curve] == list(
            zip(history["epoch"], history[column], strict=True)
        )


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_final_metrics_equal_the_tables(cell, tracked):
    _, cells = _runs(tracked)
    expected = _metrics_file(tracked, cell)
    for split in ("test", "validation"):
        for name, value in expected[split].items():
            assert cells[cell].data.metrics[f"{split}/{name.replace('@', '_')}"] == value


def test_the_parent_holds_the_counts_and_the_reports_files(tracked):
    (parent,), _ = _runs(tracked)
    counts = json.loads((tracked.root / "data/02_intermediate/sample/counts.json").read_text())
    assert parent.data.metrics["counts/core_users"] == counts["core"]["users"]
    assert parent.data.metrics["counts/raw_interactions"] == counts["raw"]["interactions"]
    files = {file.path for file in _client(tracked).list_artifacts(parent.info.run_id)}
    assert files >= {"leaderboard.csv", "leaderboard.png", "training_curves.png", "report.html", "report.md"}


def test_the_parent_holds_each_models_means(tracked):
    (parent,), _ = _runs(tracked)
    expected = _metrics_file(tracked, "diffurec.seed_0")["test"]["NDCG@10"]
    assert math.isclose(parent.data.metrics["diffurec/test_NDCG_10"], expected)


def _histories(*histories):
    return pd.DataFrame({"history": list(histories)})


def test_the_logged_model_recommends_known_items(tracked):
    _, cells = _runs(tracked)
    (output,) = cells["diffurec.seed_0"].outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    vocabulary = pq.read_table(tracked.root / "data/03_primary/sample/item_vocabulary.parquet")["item_id"].to_pylist()

    (ten,) = model.predict(_histories(vocabulary[:3]))
    assert len(ten) == len(set(ten)) == 10
    assert set(ten) <= set(vocabulary)
    (three,) = model.predict(_histories([*vocabulary[:3], "never seen"]), params={"k": 3})
    assert three == ten[:3]
    others, again = model.predict(
        _histories(vocabulary[:2], vocabulary[:3]), params={"k": 1000, "reverse_steps": 32, "exclude_history": True}
    )
    assert set(others) == set(vocabulary) - set(vocabulary[:2])
    assert set(again) == set(vocabulary) - set(vocabulary[:3])
    with pytest.raises(ValueError, match="none of the history's items"):
        model.predict(_histories(["never seen"]))


def test_a_cell_run_alone_is_tracked_in_a_parent_of_its_own(tracked):
    before, _ = _runs(tracked)
    tracked.run(params=PARAMS, namespaces=["diffurec.seed_0"])
    after, _ = _runs(tracked)
    (new,) = {run.info.run_id for run in after} - {run.info.run_id for run in before}
    children = _client(tracked).search_runs(
        [after[0].info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{new}'"
    )
    assert [child.info.run_name for child in children] == ["diffurec.seed_0"]


def test_evaluating_again_tracks_training_and_metrics(tracked):
    tracked.run("evaluation", params={**PARAMS, "evaluation": {"exclude_seen": True}}, namespaces=["diffurec.seed_0"])
    parents, _ = _runs(tracked)
    latest = max(parents, key=lambda run: run.info.start_time)
    (child,) = _client(tracked).search_runs(
        [latest.info.experiment_id], filter_string=f"tags.`mlflow.parentRunId` = '{latest.info.run_id}'"
    )
    assert child.data.params["evaluation.exclude_seen"] == "True"
    assert {"curve/loss", "test/NDCG_10"} <= child.data.metrics.keys()


def test_outside_a_repository_the_revision_is_unknown(tmp_path):
    assert git_revision(tmp_path) == "unknown"
