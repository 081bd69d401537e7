"""Builds a cell's ranker, lets it observe and trains it: what fitting and fitting once more have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import torch
from torch import Tensor

from diffurecsys.data.split import StudyData
from diffurecsys.models.base import Ranker
from diffurecsys.models.registry import build_ranker, find_family
from diffurecsys.study import Cell
from diffurecsys.training.records import EpochRecord, StepRecord, TrainingResult
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.trainer import train


@dataclass(frozen=True)
class Learnt:
    """A ranker that has observed, and was trained if it is one that trains.

    Attributes:
        ranker: on `device`, in evaluation mode.
        result: of the training; None where nothing trains.
        seconds: of observing and training, without validation.
        cpu_seconds: the process's own; None where they are not known, as on a GPU.
    """

    ranker: Ranker
    result: TrainingResult | None
    seconds: float
    cpu_seconds: float | None

    @property
    def device(self) -> torch.device:
        """Where it was trained; the host where nothing trains."""
        return torch.device(self.result.device if self.result else "cpu")

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """One record an epoch; empty where nothing trains."""
        return self.result.history if self.result else ()

    def state(self) -> dict[str, Tensor]:
        """Copy all tensors to the host, by name."""
        return {name: value.detach().cpu().clone() for name, value in self.ranker.state_dict().items()}


def learn(
    cell: Cell,
    data: StudyData,
    *,
    start: Callable[[Ranker], None] | None = None,
    stop_after: int | None = None,
    checkpoint_path: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    stop: Callable[[Sequence[EpochRecord]], bool] | None = None,
) -> Learnt:
    """Build, observe, train.

    Args:
        cell: which ranker under which seed.
        data: sequences and split.
        start: called with the drawn ranker before it is trained, to begin from elsewhere.
        stop_after: see `train`, as all that follow.
        checkpoint_path: see `train`.
        on_epoch: see `train`.
        on_step: see `train`.
        stop: see `train`.
    """
    spec, result = cell.spec, None
    ranker = build_ranker(spec.family, spec.network, data.store.n_items, derive_generator(cell.seed, "weights"))
    began, spent = perf_counter(), process_time()
    ranker.observe(data)
    seconds = perf_counter() - began
    cpu: list[float | None] = [process_time() - spent]
    if start is not None:
        start(ranker)
    if spec.trains:
        result = train(
            ranker,
            data,
            spec.training,
            seed=cell.seed,
            version=find_family(spec.family).version,
            title=cell.namespace,
            stop_after=stop_after,
            checkpoint_path=checkpoint_path,
            on_epoch=on_epoch,
            on_step=on_step,
            stop=stop,
        )
        seconds += result.seconds
        cpu += [record.cpu_seconds for record in result.history]
    return Learnt(ranker.eval(), result, seconds, total(cpu))


def total(parts: Iterable[float | None]) -> float | None:
    """Add up what is known of every part; None where one is not."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)
