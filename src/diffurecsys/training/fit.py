"""From a cell of the grid to a ranker and its ranks: PyTorch and NumPy alone, wherever it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from diffurecsys.collective import current_team
from diffurecsys.data.split import TRAINING, StudyData, learning_from
from diffurecsys.errors import DataError
from diffurecsys.evaluation.ranks import Ranks, Sharing, rank_targets
from diffurecsys.machine import describe_machine, forget_peak_memory, peak_memory
from diffurecsys.models.base import Ranker, scorer
from diffurecsys.models.weights import RankerWeights
from diffurecsys.study import Cell
from diffurecsys.training.device import keep_freed_memory, resolve_device, resolve_precision
from diffurecsys.training.learn import learn, total
from diffurecsys.training.records import EpochRecord, StepRecord
from diffurecsys.training.refit import refit
from diffurecsys.training.seeding import derive_generator

SPEED_USERS, UNTIMED_USERS = 512, 64  # whose ranking is timed, after that of these

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedCell:
    """A cell that has been trained, or has counted.

    Attributes:
        weights: the best weights, and what made them.
        history: one record an epoch; empty for rankers that do not train.
        record: what is worth telling, as JSON knows it; see `fit_cell`.
    """

    weights: RankerWeights
    history: tuple[EpochRecord, ...]
    record: dict[str, Any]


def fit_cell(
    cell: Cell,
    data: StudyData,
    *,
    checkpoint_path: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    stop: Callable[[Sequence[EpochRecord]], bool] | None = None,
) -> FittedCell:
    """Build the cell's ranker, let it observe, train and calibrate itself. In a team all processes end with the same.

    Args:
        cell: which ranker under which seed.
        data: sequences and split.
        checkpoint_path: where to keep, and look for, a checkpoint; None keeps none.
        on_epoch: called after every epoch.
        on_step: called after every step.
        stop: asked after epochs whether training ends there, see `train`.

    Returns:
        Weights on the host. The record holds: ranker, seed, identity, data (fingerprint), family, version, network,
        training (None where nothing trains), parameters (their number), seconds (of observing, training and
        calibrating, without validation), cpu_seconds (the same of this process, see `EpochRecord`), epochs,
        epochs_planned, best_epoch, finished_early, resumed_from, loss (of the best epoch), precision (of training),
        calibrated (what was chosen on validation), peak_memory (bytes, see `machine.peak_memory`; of all that `seconds`
        are of), users_per_second (ranked as in evaluation, of some validation users), device, machine, and processes,
        where there were several.
    """
    spec, epochs, team = cell.spec, {}, current_team()
    forget_peak_memory(resolve_device(spec.training.device if spec.trains else "cpu"))
    learnt = learn(cell, data, checkpoint_path=checkpoint_path, on_epoch=on_epoch, on_step=on_step, stop=stop)
    ranker, result, history, device = learnt.ranker, learnt.result, learnt.history, learnt.device
    if result is not None:
        epochs = {
            "epochs": len(history),
            "epochs_planned": spec.training.epochs,
            "best_epoch": result.best_epoch,
            "finished_early": result.finished_early,
            "resumed_from": result.resumed_from,
            "loss": history[result.best_epoch - 1].loss,
            "precision": resolve_precision(device, spec.training.precision),
        }
    began, spent = perf_counter(), process_time()
    calibrated = ranker.calibrate(data, derive_generator(cell.seed, "calibrate", device))
    seconds = learnt.seconds + perf_counter() - began
    cpu_seconds = total([learnt.cpu_seconds, process_time() - spent])
    peak = peak_memory(device)
    identity = cell.identity(data.fingerprint)
    record = {
        "ranker": spec.name,
        "seed": cell.seed,
        "identity": identity,
        "data": data.fingerprint,
        **cell.description(),
        "parameters": sum(parameter.numel() for parameter in ranker.parameters()),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        **epochs,
        "calibrated": calibrated,
        "peak_memory": peak,
        "users_per_second": _ranking_speed(ranker, data, cell.seed, device),
        "device": str(device),
        "machine": describe_machine(device),
        **({"processes": team.size} if team is not None else {}),
    }
    state = learnt.state() if team is None else team.from_first(learnt.state())
    weights = RankerWeights(
        spec.family, data.store.n_items, spec.network, state, identity, data.fingerprint, data.split.max_length
    )
    fitted = FittedCell(weights, history, record)
    if spec.final_fit_on == TRAINING:
        return fitted
    return _once_more(cell, data, fitted, checkpoint_path, on_step)


def _once_more(
    cell: Cell,
    data: StudyData,
    chosen: FittedCell,
    checkpoint_path: Path | None,
    on_step: Callable[[StepRecord], None] | None,
) -> FittedCell:
    """Let the chosen ranker learn from validation targets too; the record's `final_fit` says so."""
    again = checkpoint_path.with_name(f"again_{checkpoint_path.name}") if checkpoint_path else None
    found = refit(
        cell,
        chosen.weights,
        learning_from(data, cell.spec.final_fit_on),
        epochs=chosen.record.get("best_epoch"),
        checkpoint_path=again,
        on_step=on_step,
    )
    record = {
        **chosen.record,
        "seconds": chosen.record["seconds"] + found.seconds,
        "cpu_seconds": total([chosen.record["cpu_seconds"], found.cpu_seconds]),
        "final_fit": {"epochs": len(found.history), "loss": found.history[-1].loss if found.history else None},
    }
    weights = replace(chosen.weights, state=found.state, chosen=chosen.weights.state)
    return FittedCell(weights, chosen.history, record)


def _ranking_speed(ranker: Ranker, data: StudyData, seed: int, device: torch.device) -> float:
    """Rank some validation users by the clock, after a few unwatched; return users a second."""
    for users in (UNTIMED_USERS, SPEED_USERS):
        examples = data.split.validation[:users]
        began = perf_counter()
        rank_targets(
            scorer(ranker, "evaluation"),
            data,
            examples,
            generator=derive_generator(seed, "speed", device),
            device=device,
        )
    return len(examples) / (perf_counter() - began)


def rank_cell(
    weights: RankerWeights,
    data: StudyData,
    *,
    seed: int,
    batch_size: int = 512,
    device: str = "auto",
    users: int | None = None,
) -> dict[str, Ranks]:
    """Rank the validation and the test targets with a fitted cell. A team shares the work; all have all ranks.

    Args:
        weights: of the cell.
        data: the data that they were made from.
        seed: of the cell.
        batch_size: histories scored at once.
        device: where to score.
        users: only the first so many of each part.

    Returns:
        `validation` and `test`.

    Raises:
        DataError: the weights belong to other data, whose items have other numbers.
    """
    if weights.data != data.fingerprint:
        raise DataError(
            "these weights were made from other sequences or another split: items have other numbers. Train again."
        )
    where = resolve_device(device)
    ranker: Ranker = weights.build(where)
    chosen = replace(weights, state=weights.chosen, chosen={}).build(where) if weights.chosen else ranker
    if where.type == "cpu":
        keep_freed_memory()
    found, team = {}, current_team()
    for part, examples in (("validation", data.split.validation), ("test", data.split.test)):
        score = scorer(chosen if part == "validation" else ranker, "evaluation")
        found[part] = rank_targets(
            score,
            data,
            examples[:users],
            generator=derive_generator(seed, f"rank {part}", where),
            batch_size=batch_size,
            device=where,
            sharing=Sharing(team, score.skip) if team is not None else None,
        )
    return found
