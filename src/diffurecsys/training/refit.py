"""A ranker that validation has chosen learns once more, from more events, for as many epochs. Nothing is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.models.base import Ranker
from diffurecsys.models.registry import build_ranker, find_family
from diffurecsys.models.weights import RankerWeights
from diffurecsys.study import Cell
from diffurecsys.training.records import EpochRecord, StepRecord
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.trainer import train


@dataclass(frozen=True)
class Refitted:
    """What came of it.

    Attributes:
        state: tensors by name, on the host.
        history: one record an epoch, none validated; empty for rankers that do not train.
        seconds: of observing and training.
        device: where it was trained.
    """

    state: dict[str, Tensor]
    history: tuple[EpochRecord, ...]
    seconds: float
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
        DataError: the chosen weights were left behind where they were made.
    """
    spec = cell.spec
    ranker = build_ranker(spec.family, spec.network, data.store.n_items, derive_generator(cell.seed, "weights"))
    settings = chosen.build()
    began = perf_counter()
    ranker.observe(data)
    seconds, device = perf_counter() - began, torch.device("cpu")
    history: tuple[EpochRecord, ...] = ()
    if start is not None:
        start(ranker)
    if spec.trains:
        if not epochs:
            raise DataError(f"how many epochs {cell.namespace} needs is not known: its record has no best_epoch")
        result = train(
            ranker,
            data,
            spec.training,
            seed=cell.seed,
            version=find_family(spec.family).version,
            stop_after=epochs,
            checkpoint_path=checkpoint_path,
            on_step=on_step,
        )
        history, device, seconds = result.history, torch.device(result.device), seconds + result.seconds
    began = perf_counter()
    ranker.eval().adopt(settings, data)
    seconds += perf_counter() - began
    state = {name: value.detach().cpu().clone() for name, value in ranker.state_dict().items()}
    return Refitted(state, history, seconds, device)
