"""Several jobs at once, each in a Python process of one thread."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one process does.

    Attributes:
        place: as messages call it.
        arguments: of Python.
        log: what it prints goes here; removed once it succeeds.
    """

    place: str
    arguments: tuple[str, ...]
    log: Path


def run_jobs(jobs: Sequence[Job], *, processes: int, minutes: float | None) -> int:
    """Run jobs in order, several at once.

    Returns:
        How many failed; none begins once the minutes are over, and those running then are stopped, to be continued.
    """
    waiting, failed = list(jobs), 0
    running: list[tuple[Job, subprocess.Popen[bytes]]] = []
    deadline = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    while (waiting or running) and time.monotonic() < deadline:
        while waiting and len(running) < processes:
            job = waiting.pop(0)
            job.log.parent.mkdir(parents=True, exist_ok=True)
            with job.log.open("wb") as log:
                command = [sys.executable, *job.arguments]
                running.append((job, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)))
        time.sleep(0.2)
        for job, process in list(running):
            if process.poll() is None:
                continue
            running.remove((job, process))
            if process.returncode:
                failed += 1
                logger.error("%s failed: %s", job.place, _last_line(job.log))
            else:
                job.log.unlink()
                logger.info("%s is finished; %d of %d left", job.place, len(waiting) + len(running), len(jobs))
    for _, process in running:
        process.kill()
    for _, process in running:
        process.wait()
    if waiting or running:
        logger.warning("%d of %d are unfinished: repeat the command", len(waiting) + len(running), len(jobs))
    return failed


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
