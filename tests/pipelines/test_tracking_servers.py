"""MLflow on a real PostgreSQL with artifacts on a real S3 server: many processes log at once, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from diffurecsys.columns import SPLIT, SPLITS
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.models.registry import find_family
from diffurecsys.pipelines.arrays import ranks_from_table, ranks_table
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.tracking.runs import log_evaluation, milliseconds, start_cell_run
from diffurecsys.tracking.store import StoreError, check_store
from diffurecsys.training.config import TrainingConfig

pytestmark = pytest.mark.slow

PROCESSES, BATCHES, A_BATCH = 8, 5, 50


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("postgres") or "/absent/x").parent]
    if not (found[-1] / "initdb").exists():
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    return found[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def postgres():
    """A fresh cluster of databases; the server refuses to run as root."""
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'diffurecsys[servers]'")
    binaries, port = _binaries(), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="diffurecsys-postgres-"))
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, **user}
    initdb = [binaries / "initdb", "--auth=trust", "--username=postgres", "--no-sync", folder / "data"]
    subprocess.run(initdb, check=True, **quiet)
    options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
    pg_ctl = [binaries / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*pg_ctl, "-o", options, "start"], check=True, **quiet)
    address = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    yield address
    subprocess.run([*pg_ctl, "-m", "fast", "stop"], check=True, **quiet)
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1 does not answer"):
        check_store(address)


@pytest.fixture(scope="module")
def artifacts():
    server = pytest.importorskip("moto.server", reason="moto is missing: pip install -r requirements-scale.lock")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="mlflow")
        yield "s3://mlflow/study"
    running.stop()


def _cell(seed: int) -> Cell:
    return Cell(
        RankerSpec("popularity", "popularity", "baseline", find_family("popularity").config(), TrainingConfig()), seed
    )


def _ranks(seed: int):
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, 50, 20) for name in Ranks.__dataclass_fields__}
    table = ranks_table(Ranks(**columns))
    return table.assign(**{SPLIT: np.repeat(SPLITS, 10)})


def _log(uri: str, experiment: str, seed: int, begin) -> None:
    """Track one cell as a run of Kedro does, with a curve in several batches and a file."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    begin.wait()
    parent = client.create_run(experiment, run_name=f"study {seed}")
    cell = _cell(seed)
    made = {"identity": f"identity {seed}", "data": "data", "seed": seed, **cell.description()}
    run_id = start_cell_run(parent.info.run_id, cell, made, {"experiment": "study"})
    for first in range(0, BATCHES * A_BATCH, A_BATCH):
        steps = range(first, first + A_BATCH)
        client.log_batch(
            run_id, metrics=[Metric("curve/loss", seed + step / 1000, milliseconds(), step) for step in steps]
        )
    client.log_text(run_id, f"of seed {seed}", "weights.txt")
    log_evaluation(run_id, _ranks(seed), (5, 10))
    client.set_terminated(parent.info.run_id)


def _make_store(uri: str, place: str) -> None:
    mlflow.set_tracking_uri(uri)
    MlflowClient().create_experiment("study", artifact_location=place)


def test_eight_processes_log_at_once_and_nothing_is_lost(postgres, artifacts):
    check_store(postgres)
    context = multiprocessing.get_context("fork")  # imported already; no connection is open yet
    first = context.Process(target=_make_store, args=(postgres, artifacts))
    first.start()
    first.join(300)
    assert first.exitcode == 0
    begin = context.Barrier(PROCESSES)
    processes = [context.Process(target=_log, args=(postgres, "1", seed, begin)) for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * PROCESSES

    client = MlflowClient(postgres)
    runs = client.search_runs(["1"], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags}
    cells = {int(run.data.tags["seed"]): run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert len(parents) == PROCESSES
    assert sorted(cells) == list(range(PROCESSES))
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == parents
    for seed, run in cells.items():
        history = client.get_metric_history(run.info.run_id, "curve/loss")
        assert sorted((m.step, m.value) for m in history) == [(n, seed + n / 1000) for n in range(BATCHES * A_BATCH)]
        assert run.data.params["identity"] == f"identity {seed}"
        ranks = _ranks(seed)
        expected = metrics_from_ranks(ranks_from_table(ranks[ranks[SPLIT] == "test"]), (5, 10), "all")
        assert run.data.metrics["test/NDCG_10"] == pytest.approx(expected["NDCG@10"], abs=1e-12)
        assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/weights.txt") == f"of seed {seed}"
