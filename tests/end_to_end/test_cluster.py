"""Studies that several processes work on: a Dask cluster, one of whose workers is killed, and Kedro's own pool."""

from __future__ import annotations

import json
import os
import signal
import time

import mlflow
import pytest

pytestmark = pytest.mark.slow

CELLS = "06_models/tiny"
RUNNER = "diffurecsys.runners.DaskRunner"


@pytest.fixture
def cluster(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is missing: pip install 'diffurecsys[cluster]'")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _same_weights(project, other):
    ours, theirs = project.root / "data" / CELLS, other.root / "data" / CELLS
    weights = sorted(path.relative_to(theirs) for path in theirs.glob("**/*.safetensors"))
    assert len(weights) == 4
    for path in weights:
        assert (ours / path).read_bytes() == (theirs / path).read_bytes(), path
    for known in other.root.glob("data/07*/tiny/*/*/ranks.parquet/*/ranks.parquet"):
        (own,) = project.root.glob(f"data/{known.relative_to(other.root / 'data').parents[1]}/*/ranks.parquet")
        assert own.read_bytes() == known.read_bytes(), known


def test_a_worker_killed_in_a_cell_is_replaced_and_the_bits_are_the_same(cluster, make_tiny, tiny_study, stages):
    project = make_tiny()
    process = project.command(
        "run", "--env=tiny", f"--pipelines={','.join(stages)}", f"--runner={RUNNER}",
        f"--runner-params=address={cluster.scheduler.address}",
    )  # fmt: skip
    folder = project.root / "data" / CELLS / "diffurec/seed_0"
    deadline = time.monotonic() + 600
    while not (folder / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 600 s"
        time.sleep(0.01)
    host, _, killed = json.loads((folder / ".holder.json").read_text()).partition(":")
    assert int(killed) in cluster.run(os.getpid).values()
    os.kill(int(killed), signal.SIGKILL)
    assert not (folder / "weights.safetensors").exists()

    printed = project.finish(process)

    fitted = "diffurec.seed_0.fit_ranker is finished by "
    assert fitted in printed
    assert f"{fitted}{host}:{killed};" not in printed
    assert "Continuing after epoch" in printed  # which a worker logged, and the run shows
    assert "8 of 8" in printed
    _same_weights(project, tiny_study)
    assert not list(project.root.glob("data/**/checkpoint.pt"))
    assert not list(project.root.glob("data/**/*.tmp"))


def test_what_no_run_waits_for_any_more_ends(cluster, tmp_path):
    def work_until_unwanted(path):  # local, so that it is sent by value: workers cannot import the tests
        from diffurecsys.runners.worker import UnwantedError, wanted_check

        check = wanted_check()
        path.touch()
        while True:
            try:
                check()
            except UnwantedError:
                path.unlink()
                return
            time.sleep(0.05)

    path = tmp_path / "working"
    future = cluster.submit(work_until_unwanted, path, pure=False)
    deadline = time.monotonic() + 300
    while not path.exists():
        assert future.status == "pending", future.exception()
        assert time.monotonic() < deadline, "not begun within 300 s"
        time.sleep(0.05)
    future.cancel()
    while path.exists():
        assert time.monotonic() < deadline, "not ended within 300 s"
        time.sleep(0.05)


def test_kedros_pool_of_processes_makes_the_same_study_and_tracks_it(make_tiny, tiny_study):
    project = make_tiny()
    printed = project.output("run", "--env=tiny", "--pipeline=train_eval", "--runner=ParallelRunner")
    assert "tracking failed" not in printed
    assert "Best of 4 rankers" in printed
    _same_weights(project, tiny_study)
    assert not list(project.root.glob("data/**/checkpoint.pt"))
    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    runs = client.search_runs(["1"])
    assert sorted(run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags) == [
        "diffurec.seed_0",
        "popularity.seed_0",
        "sasrec.seed_0",
        "transitions.seed_0",
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    logged = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"ranks.parquet", "report.md", "report.html", "leaderboard.png"} <= logged
    assert "Best of 4 rankers" in parent.data.tags["mlflow.note.content"]
