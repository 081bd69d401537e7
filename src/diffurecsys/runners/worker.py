"""What happens on a worker of a cluster: one node of a cell, alone in the cell's folder, once a run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline.node import Node
from kedro.runner.task import Task

from diffurecsys.datasets import AtomicSave
from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path
from diffurecsys.runners.messages import Send, telling

LOCK, HOLDER, RAN = ".lock", ".holder.json", ".ran"
POLL_SECONDS = 0.5
SOURCES = Path(__file__).parents[1]
OWN_THREADS = torch.get_num_threads()
logger = logging.getLogger(__name__)


class WorkerError(UserError, RuntimeError):
    """A worker cannot do what it is asked: other code, other files, several threads of Dask."""


class UnwantedError(Exception):
    """The run no longer waits for this: it ended, or gave the cell to another worker."""


@dataclass(frozen=True)
class Assignment:
    """One node for a worker.

    Attributes:
        node: what to run.
        datasets: its inputs and outputs by name.
        folder: of the cell; its lock lies there, and what says that the node was run.
        run: mark of the run, found in `beacon`.
        beacon: a file that the run wrote, to see that files are shared.
        code: `code_digest` of the run.
        threads: of PyTorch; None: as many as the worker was started with.
    """

    node: Node
    datasets: Mapping[str, AbstractDataset[Any, Any]]
    folder: Path
    run: str
    beacon: Path
    code: str
    threads: int | None


def run_assignment(work: Assignment) -> str:
    """Run a node on the Dask worker that this is called on.

    Returns:
        Host and process, as messages call the worker.

    Raises:
        WorkerError: the worker is no part of this run; what to do.
        UnwantedError: nobody waits for the result any more.
    """
    from distributed import get_worker  # the extra `cluster`

    worker, name = get_worker(), f"{socket.gethostname()}:{os.getpid()}"
    if worker.state.nthreads != 1:
        raise WorkerError(f"the worker {name} has {worker.state.nthreads} threads of Dask: start it with --nthreads 1")

    def send(said: dict[str, Any]) -> None:
        worker.log_event(work.run, {**said, "by": name})

    check_worker(work, name)
    torch.set_num_threads(work.threads or OWN_THREADS)
    run_alone(work, name, send, wanted_check())
    return name


def wanted_check() -> Callable[[], None]:
    """Return what raises `UnwantedError` once the run no longer waits for the Dask task that this is called in."""
    from distributed import Status, get_worker  # the extra `cluster`

    worker = get_worker()
    key = worker.get_current_task()

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status not in (Status.running, Status.paused):
            raise UnwantedError(f"{key} is no longer waited for")

    return check


def check_worker(work: Assignment, name: str) -> None:
    """See that this process has the run's code and sees the run's files.

    Raises:
        WorkerError: it does not.
    """
    if code_digest() != work.code:
        raise WorkerError(
            f"the worker {name} has other code of diffurecsys, or another PyTorch or Python, than the run: install the "
            "same there, and start it again"
        )
    try:
        found = work.beacon.read_text(encoding="utf-8")
    except OSError:
        found = ""
    if found != work.run:
        raise WorkerError(
            f"the worker {name} does not see {work.beacon} as the run wrote it: the project's data folders must lie on "
            "a file system that all workers have at the same place"
        )


def run_alone(work: Assignment, name: str, send: Send, check_wanted: Callable[[], None]) -> None:
    """Run the node with the cell's lock, unless a worker that was taken for dead has done so in this run."""
    with telling(work.node.name, send, check_wanted), _alone_in(work.folder, name, check_wanted):
        ran = work.folder / RAN / work.node.name
        if ran.is_file() and ran.read_text(encoding="utf-8") == work.run:
            logger.info("was finished before by a worker that could not say so")
            return
        for output in work.node.outputs:
            forget_version(work.datasets[output])
        catalog = DataCatalog(dict(work.datasets))
        Task(node=work.node, catalog=catalog, hook_manager=_create_hook_manager(), is_async=False).execute()
        with atomic_path(ran) as temporary:
            temporary.write_text(work.run, encoding="utf-8")


def forget_version(dataset: AbstractDataset[Any, Any]) -> None:
    """Remove what a killed worker saved under this run's version; Kedro saves no version twice."""
    if isinstance(dataset, AtomicSave):
        dataset.drop_save_version()


@contextmanager
def _alone_in(folder: Path, name: str, check_wanted: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a cell; wait for it where another worker, cut off from the scheduler, is still at work."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, said = FileLock(folder / LOCK), False
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not said:
                logger.warning("waits for %s, which still works on this cell", _holder(folder))
                said = True
            check_wanted()
            time.sleep(POLL_SECONDS)
    try:
        with atomic_path(folder / HOLDER) as temporary:
            temporary.write_text(json.dumps(name), encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return str(json.loads((folder / HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # it is only about to write that
        return "another worker"


@cache
def code_digest() -> str:
    """Digest the package's sources and the versions that numbers depend on."""
    digest = hashlib.sha256(f"{platform.python_version()} {torch.__version__}".encode())
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()
