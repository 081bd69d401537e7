"""Kills, damage, clocks, locks and stores that fail: nothing finished is lost, and no table mixes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time

import mlflow
import pandas as pd
import pytest
from kedro.io import DatasetError
from mlflow.tracking import MlflowClient

from diffurecsys.datasets import DamagedFileError
from diffurecsys.errors import user_error_in
from diffurecsys.parameters import ParameterError
from diffurecsys.run_lock import BusyError, ExperimentLock
from diffurecsys.start import ClockError
from diffurecsys.tracking.store import StoreError

pytestmark = pytest.mark.slow

MODELS = "data/06_models/tiny"
AGAIN = {"env": "tiny", "only_missing_outputs": True}


def _runs(project):
    uri = f"sqlite:///{project.root}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    return client, found


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "made_again"),
    [
        ("data/05_model_input/tiny/split.npz", 4),
        (f"{MODELS}/sasrec/seed_0/weights.safetensors", 1),
        ("data/07_model_output/tiny/sasrec/seed_0/ranks.parquet/*/ranks.parquet", 0),
    ],
)
def test_what_is_damaged_is_made_again_with_the_same_numbers(pattern, made_again, finished, stages, caplog):
    ranks = finished.read("07_model_output/tiny/sasrec/seed_0/ranks.parquet/*/ranks.parquet")
    weights = finished.stamps("06_models/tiny/*/*/weights.safetensors")
    (path,) = finished.root.glob(pattern)
    _flip(path)

    finished.run(*stages, **AGAIN)

    assert any("is damaged" in message for message in caplog.messages)
    after = finished.stamps("06_models/tiny/*/*/weights.safetensors")
    assert sum(after[name] != weights[name] for name in weights) == made_again
    again = finished.read("07_model_output/tiny/sasrec/seed_0/ranks.parquet/*/ranks.parquet")
    pd.testing.assert_frame_equal(again, ranks)


def test_a_damaged_table_is_not_read_and_is_named(finished):
    (path,) = finished.root.glob("data/08_reporting/tiny/study/ranks.parquet/*/ranks.parquet")
    _flip(path)
    with pytest.raises(DatasetError, match=rf"{path} is damaged.*--only-missing-outputs") as caught:
        finished.run("significance", env="tiny")
    assert isinstance(user_error_in(caught.value), DamagedFileError)  # whose sentence alone is printed


def test_leftovers_of_killed_runs_go(finished, stages):
    folder = finished.root / MODELS / "sasrec/seed_0"
    leftovers = [
        folder / ".record.json.abc.tmp",
        finished.root / "data/08_reporting/tiny/study/ranks.parquet/v/.ranks.parquet.x.tmp",
        folder / "checkpoint.pt",
    ]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    finished.run(*stages, **AGAIN)
    assert not [path for path in leftovers if path.exists()]


def test_a_second_run_of_the_experiment_is_refused_in_a_sentence_and_one_of_another_is_not(finished, make_tiny):
    lock = ExperimentLock(finished.root / MODELS, "tiny")
    lock.acquire()
    with pytest.raises(BusyError, match=r"another run of the experiment 'tiny' is at work \(process \d+ on .*Wait"):
        finished.run("preprocessing", env="tiny")
    globals_file = finished.root / "conf/tiny/globals.yml"
    shutil.copytree(globals_file.parent, finished.root / "conf/other")
    other = finished.root / "conf/other/globals.yml"
    other.write_text(globals_file.read_text().replace("experiment: tiny", "experiment: other"))
    finished.run("ingestion", env="other")
    lock.release()
    finished.run("preprocessing", env="tiny")


def test_two_experiments_of_one_name_on_two_datasets_are_refused(finished):
    finished.add_experiment("second", globals="experiment: tiny\ndataset: ml-100k\n")
    for env in ("tiny", "second"):
        with pytest.raises(ParameterError, match="both have the experiment 'tiny'"):
            finished.run("preprocessing", env=env)


def test_a_clock_that_was_set_back_is_said_before_anything_runs(finished, stages):
    (folder,) = finished.root.glob("data/07_model_output/tiny/sasrec/seed_0/ranks.parquet/*")
    folder.rename(folder.with_name("2099-01-01T00.00.00.000Z"))
    before = finished.stamps("**/*")
    with pytest.raises(ClockError, match=r"has a version of 2099-01-01.*the clock was set back"):
        finished.run(*stages, **AGAIN)
    assert finished.stamps("**/*") == before


def test_runs_of_killed_processes_are_closed_and_their_cells_tracked_by_the_next(finished, stages):
    client, runs = _runs(finished)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    cell = next(run for run in runs if run.info.run_name == "diffurec.seed_0")
    for run in (parent, cell):  # as SIGKILL leaves them
        client.update_run(run.info.run_id, status="RUNNING")

    finished.run(*stages, **AGAIN)

    client, now = _runs(finished)
    status = {run.info.run_id: run.info.status for run in now}
    assert (status[parent.info.run_id], status[cell.info.run_id]) == ("KILLED", "KILLED")
    assert "RUNNING" not in status.values()
    tracked = [run for run in now if run.info.run_name == "diffurec.seed_0" and run.info.status == "FINISHED"]
    assert [run.data.metrics["test/NDCG_10"] for run in tracked] == [cell.data.metrics["test/NDCG_10"]]
    assert [run.data.params["identity"] for run in tracked] == [cell.data.params["identity"]]
    assert len([run for run in now if run.info.run_name == "sasrec.seed_0"]) == 1  # it was tracked already
    models = client.search_logged_models([parent.info.experiment_id])
    assert cell.info.run_id not in {model.source_run_id for model in models}

    finished.run(*stages, **AGAIN)
    assert len([run for run in _runs(finished)[1] if run.info.run_name == "diffurec.seed_0"]) == 2


def test_a_store_that_fails_costs_no_training_and_is_completed_later(finished, stages, caplog):
    store, kept = finished.root / "mlflow.db", finished.root / "kept.db"
    shutil.move(store, kept)
    store.write_bytes(b"no database " * 1000)
    shutil.rmtree(finished.root / MODELS / "sasrec")
    with pytest.raises(StoreError, match=r"is damaged.*server\.mlflow_tracking_uri"):
        finished.run(*stages, **AGAIN, params={"tracking": {"on_failure": "error"}})
    assert not (finished.root / MODELS / "sasrec/seed_0/weights.safetensors").exists()

    finished.run(*stages, **AGAIN)
    assert any("goes on untracked" in message for message in caplog.messages)
    assert (finished.root / MODELS / "sasrec/seed_0/weights.safetensors").exists()

    store.unlink()
    finished.run(*stages, **AGAIN)
    _, runs = _runs(finished)
    cells = {run.info.run_name: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert cells.keys() == {f"{name}.seed_0" for name in ("popularity", "transitions", "sasrec", "diffurec")}
    assert all(run.info.status == "FINISHED" and "test/NDCG_10" in run.data.metrics for run in cells.values())


def test_ingestion_needs_no_store(finished):
    (finished.root / "mlflow.db").write_bytes(b"no database")
    other = sqlite3.connect(finished.root / "other.db")
    other.close()
    began = time.monotonic()
    finished.run("ingestion", env="tiny", params={"tracking": {"on_failure": "error"}})
    assert time.monotonic() - began < 60
    record = json.loads((finished.root / "data/01_raw/tiny/archive.json").read_text())
    assert record["source"] == "local"
