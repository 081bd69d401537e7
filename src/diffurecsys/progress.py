"""Progress of a training on the terminal: epochs, steps, loss, labels a second, time to go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from diffurecsys.training.records import StepRecord

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5  # reading the loss makes the host wait for a GPU: not at every step

_listener: ContextVar[Callable[[str, StepRecord], None] | None] = ContextVar("listener", default=None)


@contextmanager
def reporting_to(listener: Callable[[str, StepRecord], None]) -> Iterator[None]:
    """Have trainings of this thread call `listener` with their title and every step, and show nothing themselves."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def training_progress(title: str) -> Iterator[Callable[[StepRecord], None]]:
    """Show a training's progress; yields the callback for `train(on_step=…)`. Silent when not on a terminal."""
    if (listener := _listener.get()) is not None:
        yield partial(listener, title)
        return
    console = get_console()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} labels/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task(title, total=None, loss="–", speed="–")
    labels, since = 0, time.monotonic()

    def show(step: StepRecord) -> None:
        nonlocal labels, since
        labels += step.labels
        elapsed = time.monotonic() - since
        if elapsed < REFRESH_SECONDS and step.step < step.steps:
            return
        progress.update(
            task,
            description=f"{title}, epoch {step.epoch}/{step.epochs}",
            completed=(step.epoch - 1) * step.steps + step.step,
            total=step.epochs * step.steps,
            loss=f"{float(step.loss):.4f}",
            speed=f"{labels / max(elapsed, 1e-9):,.0f}",
        )
        labels, since = 0, time.monotonic()

    with progress:
        yield show if console.is_terminal else _ignore


LOG_SECONDS = 30.0


@contextmanager
def users_progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many users are done and the time left; where there is no terminal, as a line every half minute."""
    console = get_console()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("users"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task(title, total=total)
    began = said = time.monotonic()

    def show(done: int) -> None:
        nonlocal said
        progress.update(task, completed=done)
        now = time.monotonic()
        if not console.is_terminal and now - said >= LOG_SECONDS:
            left = (now - began) / done * (total - done)
            logger.info("%s: %s of %s users, about %.0f s to go", title, f"{done:,}", f"{total:,}", left)
            said = now

    with progress:
        yield show


def _ignore(step: StepRecord) -> None:
    """Show nothing."""
