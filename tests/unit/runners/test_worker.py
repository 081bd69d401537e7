"""What keeps the workers of a cluster from writing one cell together, or for a run that is not theirs."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from kedro.io import MemoryDataset, Version
from kedro.pipeline import node

from diffurecsys.datasets import JSONDataset
from diffurecsys.progress import training_progress
from diffurecsys.runners.messages import telling
from diffurecsys.runners.worker import (
    Assignment,
    UnwantedError,
    WorkerError,
    check_worker,
    code_digest,
    run_alone,
)
from diffurecsys.training.records import StepRecord

CALLS = []


def _count(value):
    CALLS.append(value)
    return {"value": value}


@pytest.fixture
def work(tmp_path):
    CALLS.clear()
    beacon = tmp_path / ".cluster"
    beacon.write_text("run 1")
    version = Version(None, "2026-01-01T00.00.00.000Z")
    return Assignment(
        node=node(_count, "value", "ranks", name="count"),
        datasets={
            "value": MemoryDataset(3),
            "ranks": JSONDataset(filepath=str(tmp_path / "ranks.json"), version=version),
        },
        folder=tmp_path / "cell",
        run="run 1",
        beacon=beacon,
        code=code_digest(),
        threads=1,
    )


def _wanted() -> None:
    """Nothing ends."""


def _unwanted() -> None:
    raise UnwantedError("the run is over")


def test_a_node_runs_once_a_run_and_again_in_the_next(work):
    for run in ("run 1", "run 1", "run 2"):
        run_alone(dataclasses.replace(work, run=run), "host:1", lambda said: None, _wanted)
    assert CALLS == [3, 3]
    assert work.datasets["ranks"].load() == {"value": 3}


def test_what_a_killed_worker_saved_under_this_version_is_replaced(work):
    path = Path(work.datasets["ranks"]._get_save_path())
    path.parent.mkdir(parents=True)
    path.write_text('{"value": "half')  # of a process that died before it could say that it had finished
    run_alone(work, "host:1", lambda said: None, _wanted)
    assert work.datasets["ranks"].load() == {"value": 3}


def test_a_second_worker_waits_for_the_first(work):
    work.folder.mkdir()
    said = []
    first = FileLock(work.folder / ".lock")
    first.acquire()
    (work.folder / ".holder.json").write_text('"host:1"')
    second = threading.Thread(target=run_alone, args=(work, "host:2", said.append, _wanted))
    second.start()
    deadline = time.monotonic() + 60
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert said == [
        {"node": "count", "level": logging.WARNING, "message": "waits for host:1, which still works on this cell"}
    ]
    assert CALLS == []
    first.release()
    second.join(60)
    assert CALLS == [3]


def test_waiting_ends_with_the_run(work):
    work.folder.mkdir()
    with FileLock(work.folder / ".lock"), pytest.raises(UnwantedError):
        run_alone(work, "host:2", lambda said: None, _unwanted)
    assert CALLS == []


def test_training_ends_with_the_run_and_is_told_of_until_then():
    said = []
    step = StepRecord(epoch=2, epochs=3, step=4, steps=4, labels=1, loss=torch.tensor(0.0))
    with telling("fit", said.append, _wanted), training_progress("cell") as on_step:
        on_step(step)
    assert said == [{"node": "fit", "title": "cell, epoch 2/3", "done": 8, "total": 12}]
    with telling("fit", said.append, _unwanted), training_progress("cell") as on_step, pytest.raises(UnwantedError):
        on_step(step)


def test_a_worker_of_other_code_or_other_files_is_refused(work):
    check_worker(work, "host:1")
    with pytest.raises(WorkerError, match="host:1 has other code"):
        check_worker(dataclasses.replace(work, code="another"), "host:1")
    work.beacon.write_text("run 2")
    with pytest.raises(WorkerError, match="does not see"):
        check_worker(work, "host:1")
