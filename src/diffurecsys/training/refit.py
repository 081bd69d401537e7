"""A ranker that validation has chosen learns once more, from more events, for as many epochs. Nothing is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import torch
from torch import Tensor

from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker
from diffurecsys.models.weights import RankerWeights
from diffurecsys.study import Cell
from diffurecsys.training.learn import learn, total
from diffurecsys.training.records import EpochRecord, StepRecord


@dataclass(frozen=True)
class Refitted:
    """What came of it.

    Attributes:
        state: tensors by name, on the host.
        history: one record an epoch, none validated; empty for rankers that do not train.
        seconds: of observing and training.
        cpu_seconds: the process's own; None where they are not known.
        device: where it was trained.
    """

    state: dict[str, Tensor]
    history: tuple[EpochRecord, ...]
    seconds: float
    cpu_seconds: float | None
    device: torch.device


def refit(
    cell: Cell,
    chosen: RankerWeights,
    data: StudyData,
    *,
    epochs: int | None,
    start: Callable[[Ranker], None] | None = None,
    checkpoint_path: Path | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Refitted:
    """Fit the cell's ranker on all that `data` lets it learn from.

    Args:
        cell: which ranker under which seed.
        chosen: its weights after validation, whose calibrated settings are taken over.
        data: with a training part that may hold validation and test targets, see `learning_from`.
        epochs: how many validation chose; None for rankers that do not train.
        start: called with the drawn ranker before it is trained, to begin from elsewhere.
        checkpoint_path: where to keep, and look for, a checkpoint; None keeps none.
        on_step: called after every step.

    Raises:
        DataError: the chosen weights were left behind where they were made, or the number of epochs is missing.
    """
    if cell.spec.trains and not epochs:
        raise DataError(f"how many epochs {cell.namespace} needs is not known: its record has no best_epoch")
    settings = chosen.build()
    learnt = learn(cell, data, start=start, stop_after=epochs, checkpoint_path=checkpoint_path, on_step=on_step)
    began, spent = perf_counter(), process_time()
    learnt.ranker.adopt(settings, data)
    seconds, cpu = learnt.seconds + perf_counter() - began, total([learnt.cpu_seconds, process_time() - spent])
    return Refitted(learnt.state(), learnt.history, seconds, cpu, learnt.device)
