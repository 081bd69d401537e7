"""One run at a time in an experiment: what lies there is not written by two, nor read while another writes it."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path

LOCK, HOLDER = ".lock", ".run.json"


class BusyError(UserError, RuntimeError):
    """Another run works in the same experiment."""


class ExperimentLock:
    """The lock of an experiment's results, which the operating system frees should the process be killed.

    Args:
        folder: of the experiment's models.
        experiment: its name, for messages.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self._folder, self._experiment = folder, experiment
        self._lock = FileLock(folder / LOCK)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            BusyError: another process has it; which, and what to do.
            UnwritableError: nothing can be written there.
        """
        with atomic_path(self._folder / f"{LOCK}.try") as temporary:  # says why, where nothing can be written
            temporary.touch()
        (self._folder / f"{LOCK}.try").unlink(missing_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                f"another run of the experiment {self._experiment!r} is at work{self._holder()}: its results would be "
                "mixed with this one's. Wait for its end or stop it, or give this run an experiment of its own "
                "(a folder in conf/ with another name in its globals.yml)"
            ) from None
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()[:19]}
        with atomic_path(self._folder / HOLDER) as temporary:
            temporary.write_text(json.dumps(holder), encoding="utf-8")

    def release(self) -> None:
        """Give the lock back; without effect where it is not held."""
        self._lock.release()

    def _holder(self) -> str:
        try:
            holder = json.loads((self._folder / HOLDER).read_text(encoding="utf-8"))
            return f" (process {holder['process']} on {holder['host']}, since {holder['since']} UTC)"
        except (OSError, ValueError, KeyError, TypeError):  # it is only about to write that
            return ""
