"""What a worker tells the run that it works for: how far a cell is, and what it logs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import get_console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from diffurecsys.progress import REFRESH_SECONDS, reporting_to
from diffurecsys.training.records import StepRecord

PACKAGE = "diffurecsys"
Send = Callable[[dict[str, Any]], None]
logger = logging.getLogger(__name__)


class _Forward(logging.Handler):
    """Sends what the project logs in the thread of one node."""

    def __init__(self, node: str, send: Send) -> None:
        super().__init__(logging.INFO)
        self._node, self._send, self._thread = node, send, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record as plain text."""
        if record.thread == self._thread:
            self._send({"node": self._node, "level": record.levelno, "message": record.getMessage()})


@contextmanager
def telling(node: str, send: Send, check_wanted: Callable[[], None]) -> Iterator[None]:
    """Send what the node logs in this thread, and its steps, a few a second.

    Args:
        node: its name.
        send: takes plain values.
        check_wanted: asked at every step; raises where the node is to end.
    """
    said = 0.0

    def tell(title: str, step: StepRecord) -> None:
        nonlocal said
        check_wanted()
        if time.monotonic() - said < REFRESH_SECONDS and step.step < step.steps:
            return
        said = time.monotonic()
        done = (step.epoch - 1) * step.steps + step.step
        title = f"{title}, epoch {step.epoch}/{step.epochs}"
        send({"node": node, "title": title, "done": done, "total": step.epochs * step.steps})

    package, handler = logging.getLogger(PACKAGE), _Forward(node, send)
    level = package.level
    package.addHandler(handler)
    if not package.isEnabledFor(logging.INFO):
        package.setLevel(logging.INFO)
    try:
        with reporting_to(tell):
            yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


class Board:
    """All nodes that run on workers: a bar each on a terminal; what they log under their name and worker.

    Args:
        total: nodes that workers are to run.
    """

    def __init__(self, total: int) -> None:
        console = get_console()
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total, self._done = total, 0
        self._all = self._progress.add_task("nodes of cells", total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it."""
        with self._progress:
            yield

    def hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take what a worker sends, as Dask hands it on."""
        _, said = event
        node, worker = said["node"], said["by"]  # Dask adds the worker's address as `worker`
        if "message" in said:
            logger.log(said["level"], "%s on %s: %s", node, worker, said["message"])
            return
        if node not in self._bars:
            self._bars[node] = self._progress.add_task(node)
        self._progress.update(
            self._bars[node], description=f"{said['title']} on {worker}", completed=said["done"], total=said["total"]
        )

    def finished(self, node: str, worker: str) -> None:
        """Say that a node is finished."""
        self._done += 1
        self._progress.update(self._all, completed=self._done)
        if node in self._bars:
            self._progress.remove_task(self._bars.pop(node))
        logger.info("%s is finished by %s; %d of %d", node, worker, self._done, self._total)
