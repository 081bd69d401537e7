"""With `--only-missing-outputs` all is made again that other parameters or data would make otherwise, and no more."""

from __future__ import annotations

import json
import math
import os
import signal
import time

import mlflow
import pytest
from kedro.io import DatasetError
from mlflow.tracking import MlflowClient

from diffurecsys.data.synthetic import write_sample
from diffurecsys.datasets import WeightsDataset
from diffurecsys.models.weights import load_weights

pytestmark = pytest.mark.slow

CELLS = ("popularity", "transitions", "sasrec", "diffurec")


def _made(project, before):
    """Names of all cells' datasets, and of the study's tables, that were written since."""
    after = project.stamps("06_models/tiny/*/*/*", "07_model_output/tiny/**/*", "08_reporting/tiny/study/**/*")
    written = {name for name in after if after[name] != before.get(name)}
    made = set()
    for name in written:
        layer, _, ranker, *rest = name.split("/")
        made.add(rest[0].partition(".")[0] if layer.startswith("08") else f"{ranker} {rest[1].partition('.')[0]}")
    return made


def _all_of(*rankers):
    return {f"{ranker} {kind}" for ranker in rankers for kind in ("weights", "history", "record", "ranks")}


STUDY = {"ranks", "cells", "curves"}


class StoppedError(Exception):
    """In place of a killed process."""


def test_another_width_trains_that_ranker_again_and_is_the_width_that_mlflow_shows(finished, stages, caplog):
    caplog.set_level("INFO", logger="diffurecsys")
    before = finished.stamps("**/*")
    params = {"models": {"sasrec": {"network": {"width": 8}}}}
    finished.run(*stages, env="tiny", params=params, only_missing_outputs=True)

    assert _made(finished, before) == _all_of("sasrec") | STUDY
    assert "sasrec.seed_0.weights was made from other parameters or data: it is made again" in caplog.messages
    weights = load_weights(finished.root / "data/06_models/tiny/sasrec/seed_0/weights.safetensors")
    assert weights.config.width == weights.state["embedding.weight"].shape[1] == 8
    (newest,) = _newest_cells(finished, "sasrec.seed_0")
    assert newest.data.params["network.width"] == "8"
    assert newest.data.params["identity"] == weights.identity

    again = finished.stamps("**/*")
    finished.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    assert finished.stamps("**/*") == again


def _newest_cells(project, name):
    """Runs of a cell that the last `kedro run` made."""
    mlflow.set_tracking_uri(f"sqlite:///{project.root}/mlflow.db")
    client = MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], order_by=["start_time DESC"])
    parent = next(run for run in found if "mlflow.parentRunId" not in run.data.tags)
    cells = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in cells} == {name}
    return cells


def test_an_archive_of_another_content_makes_everything_again(finished, stages):
    before = finished.stamps("**/*")
    archive = finished.root / "data/01_raw/sample.zip"
    counts = json.loads((finished.root / "data/02_intermediate/tiny/counts.json").read_text())
    write_sample(archive, seed=1)

    finished.run(*stages, env="tiny", only_missing_outputs=True)

    assert _made(finished, before) == _all_of(*CELLS) | STUDY
    assert json.loads((finished.root / "data/02_intermediate/tiny/counts.json").read_text()) != counts
    layers = {"02_intermediate", "03_primary", "05_model_input"}
    after = finished.stamps(*(f"{layer}/**/*" for layer in layers))
    assert all(after[name] != before[name] for name in after)


def test_other_cut_offs_and_batches_rank_again_and_train_nothing(finished):
    before = finished.stamps("**/*")
    params = {"evaluation": {"cutoffs": [1, 10], "batch_size": 100}}
    finished.run(env="tiny", params=params, only_missing_outputs=True)

    assert _made(finished, before) == {f"{ranker} ranks" for ranker in CELLS} | STUDY
    board = finished.read("08_reporting/tiny/tables/leaderboard.csv/*/leaderboard.csv")
    assert {"HR@1_mean", "NDCG@10_mean"} < set(board.columns)
    assert not {"HR@5_mean", "HR@20_mean"} & set(board.columns)


def test_what_a_kill_while_saving_leaves_is_not_taken_for_up_to_date(finished, stages):
    params = {"models": {"sasrec": {"network": {"width": 8}}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightsDataset, "save", _fail)
        with pytest.raises(DatasetError, match="no room"):
            finished.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    weights = finished.root / "data/06_models/tiny/sasrec/seed_0/weights.safetensors"
    assert load_weights(weights).config.width == 16

    before = finished.stamps("**/*")
    finished.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    assert _all_of("sasrec") <= _made(finished, before) | {"sasrec history", "sasrec record"}
    assert load_weights(weights).config.width == 8


def _fail(*_):
    raise DatasetError("no room")


def test_how_it_is_downloaded_and_trained_trains_nothing_again(finished, stages):
    before = finished.stamps("**/*")
    how = {"training": {"device": "cpu", "checkpoint_every": 2}}
    params = {"download": {"retries": 9}, "models": {"diffurec": how}}
    finished.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    assert _made(finished, before) <= STUDY


def test_shorter_histories_do_not_continue_an_old_checkpoint(make_tiny, tiny_study, stages, caplog):
    """The checkpoint of an interrupted run is there, and then `max_length` is another."""
    project = make_tiny()
    folder = project.root / "data/06_models/tiny/diffurec/seed_0"
    with pytest.raises(StoppedError):
        _interrupt(project, stages)
    assert (folder / "checkpoint.pt").is_file()

    project.run(*stages, env="tiny", params={"preprocessing": {"max_length": 5}}, only_missing_outputs=True)

    assert any("belongs to other settings, data or seed" in message for message in caplog.messages)
    record = json.loads((folder / "record.json").read_text())
    assert (record["resumed_from"], record["epochs"]) == (0, 3)
    assert load_weights(folder / "weights.safetensors").max_length == 5
    longer = json.loads((tiny_study.root / "data/06_models/tiny/diffurec/seed_0/record.json").read_text())
    assert record["data"] != longer["data"]
    assert not math.isclose(record["loss"], longer["loss"])


def _interrupt(project, stages):
    """Run until the first cell that trains has a checkpoint."""
    from diffurecsys.training import trainer

    with pytest.MonkeyPatch.context() as patch:
        save = trainer.save_checkpoint

        def save_and_stop(path, state, run):
            save(path, state, run)
            raise StoppedError

        patch.setattr(trainer, "save_checkpoint", save_and_stop)
        project.run(*stages, env="tiny")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_killed_pool_of_processes_made_is_known(method, make_tiny, monkeypatch):
    """Its processes do not know their run, and the run itself tells hooks of no single node."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow leaves that of earlier runs of this process
    project, stages = make_tiny(), "--pipelines=ingestion,preprocessing"
    project.run("ingestion", "preprocessing", env="tiny")
    table = project.root / "data/02_intermediate/tiny/core_interactions.parquet"
    before, written = table.read_bytes(), table.stat().st_mtime_ns

    begin = f"import multiprocessing as m; m.set_start_method('{method}'); from kedro.framework.cli import main; main()"
    process = project.python(
        *("-c", begin, "run", "--env=tiny", stages, "--params=preprocessing.user_k=12", "--only-missing-outputs"),
        "--runner=ParallelRunner",
    )
    while table.stat().st_mtime_ns == written and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    printed, _ = process.communicate()
    assert table.read_bytes() != before, printed

    project.run("ingestion", "preprocessing", env="tiny", only_missing_outputs=True)
    assert table.read_bytes() == before
    assert not list(project.root.glob("data/**/.plan.json"))
