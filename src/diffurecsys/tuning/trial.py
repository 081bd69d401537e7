"""One trial: a ranker with settings of its own, trained, judged by its validation score alone, and kept as a file.

The test targets are never ranked. A trial is a cell of seed `tuning.seed`; what it found lies in
`<folder>/<ranker>/trial_01.json`, …, which is written once it is over. Killed trials continue from checkpoints.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from diffurecsys.data.split import StudyData
from diffurecsys.errors import DataError
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.files import TEMPORARY, atomic_path
from diffurecsys.machine import describe_machine, git_revision
from diffurecsys.models.base import scorer
from diffurecsys.remote import describe_cell, read_cell
from diffurecsys.study import Cell
from diffurecsys.training.device import resolve_device
from diffurecsys.training.fit import FittedCell, fit_cell
from diffurecsys.training.records import EpochRecord, StepRecord
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.trainer import VALIDATION_METRIC, NonFiniteLossError
from diffurecsys.tuning.space import PruningParameters

logger = logging.getLogger(__name__)

State = Literal["complete", "pruned", "failed"]
PRUNED, MINUTES, PATIENCE, EPOCHS, ERROR = "pruned", "cpu_minutes", "patience", "epochs", "error"


@dataclass(frozen=True)
class Trial:
    """A planned trial.

    Attributes:
        number: 0 has the settings as configured.
        settings: what is searched, by dotted name.
        cell: the ranker with these settings, within the trials' limits.
        cpu_minutes: as of `TuningParameters`.
        pruning: as of `TuningParameters`.
    """

    number: int
    settings: Mapping[str, Any]
    cell: Cell
    cpu_minutes: float | None = None
    pruning: PruningParameters | None = None

    @property
    def ranker(self) -> str:
        """Name of the ranker that is tuned."""
        return self.cell.spec.name

    def identity(self, fingerprint: str) -> str:
        """Digest of all that decides the trial's outcome besides the trials before it."""
        rule = dataclasses.asdict(self.pruning) if self.pruning else None
        parts = [self.cell.identity(fingerprint), self.cpu_minutes, rule]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def file(self, folder: Path) -> Path:
        """Return where the outcome is kept."""
        return folder / self.ranker / f"trial_{self.number + 1:02d}.json"


@dataclass(frozen=True)
class Outcome:
    """What a trial found and what it cost.

    Attributes:
        ranker: which was tuned.
        number: of the trial.
        identity: of the trial.
        settings: that were tried.
        state: `complete`, `pruned` (ended because it fell behind) or `failed` (its loss was no number).
        value: best validation NDCG@10, all items ranked; after calibration where the ranker has one; None if failed.
        ended: what ended training: `epochs`, `patience`, `cpu_minutes`, `pruned` or `error`.
        epochs: that were trained; 0 for rankers that count.
        best_epoch: that the value is from; 0 for rankers that count.
        curve: validation NDCG@10 of every epoch; None where an epoch was not validated.
        parameters: their number.
        cpu_seconds: of the whole trial with its validations, over all runs that contributed.
        seconds: the same on the clock.
        error: what failed.
        machine: that it ran on.
        date: of its end.
        revision: of the code.
    """

    ranker: str
    number: int
    identity: str
    settings: Mapping[str, Any]
    state: State
    value: float | None
    ended: str
    epochs: int
    best_epoch: int
    curve: Sequence[float | None]
    parameters: int
    cpu_seconds: float
    seconds: float
    error: str
    machine: Mapping[str, Any]
    date: str
    revision: str

    def reached(self, epoch: int) -> float | None:
        """Return the best score up to an epoch; None where the trial was ended before it, or failed."""
        scores = [score for score in self.curve[:epoch] if score is not None]
        known = self.state == "complete" or (self.state == "pruned" and len(self.curve) >= epoch)
        return max(scores) if known and scores else None


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain values; `read_trial` is the way back."""
    return {
        "number": trial.number,
        "settings": dict(trial.settings),
        "cell": describe_cell(trial.cell),
        "cpu_minutes": trial.cpu_minutes,
        "pruning": dataclasses.asdict(trial.pruning) if trial.pruning else None,
    }


def read_trial(values: Mapping[str, Any]) -> Trial:
    """Make a trial of what `describe_trial` gave."""
    pruning = PruningParameters(**values["pruning"]) if values["pruning"] else None
    return Trial(values["number"], values["settings"], read_cell(values["cell"]), values["cpu_minutes"], pruning)


def read_outcome(trial: Trial, folder: Path, fingerprint: str) -> Outcome | None:
    """Read what a trial found; None where it is not over, or what lies there is of other settings.

    Raises:
        DataError: the file is damaged.
    """
    path = trial.file(folder)
    if not path.is_file():
        return None
    try:
        outcome = Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be used ({error}): remove it, and the trial is made again") from error
    return outcome if outcome.identity == trial.identity(fingerprint) else None


def finished_outcomes(trials: Iterable[Trial], folder: Path, fingerprint: str) -> list[Outcome]:
    """Return the outcomes of the trials that are over, in order."""
    found = (read_outcome(trial, folder, fingerprint) for trial in trials)
    return [outcome for outcome in found if outcome is not None]


def falls_behind(curve: Sequence[float | None], others: Iterable[Outcome], rule: PruningParameters) -> bool:
    """Tell whether a trial is to be ended: its best score is below the median of what others had by the same epoch."""
    scores = [score for score in curve if score is not None]
    if len(scores) < rule.after:
        return False
    known = [value for other in others if (value := other.reached(len(curve))) is not None]
    return len(known) >= rule.others and max(scores) < statistics.median(known)


def run_trial(
    trial: Trial,
    data: StudyData,
    *,
    folder: Path,
    others: Callable[[], Iterable[Outcome]],
    device: str | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
) -> Outcome:
    """Train one trial, or what is left of it, and keep what it found.

    Args:
        trial: what to try; number 0 is never pruned.
        data: sequences and split.
        folder: of all trials.
        others: gives the finished trials of the same ranker, at any time.
        device: in place of the configured one.
        on_step: called after every step.
    """
    cell = trial.cell
    if device is not None:
        training = dataclasses.replace(cell.spec.training, device=device)
        cell = dataclasses.replace(cell, spec=dataclasses.replace(cell.spec, training=training))
    path = trial.file(folder)
    rule = trial.pruning if trial.number else None
    watch = _Watch(path.with_suffix(".cost.json"), trial.identity(data.fingerprint), trial.cpu_minutes, rule, others)
    checkpoint = path.with_suffix(".checkpoint")
    try:
        fitted = fit_cell(cell, data, checkpoint_path=checkpoint, on_step=on_step, stop=watch)
    except NonFiniteLossError as error:
        outcome = _outcome(trial, data, watch, state="failed", value=None, ended=ERROR, error=str(error))
    else:
        state: State = "pruned" if watch.ended == PRUNED else "complete"
        reason = watch.ended or (PATIENCE if fitted.record.get("finished_early") else EPOCHS)
        value = _value(fitted, cell, data)
        outcome = _outcome(trial, data, watch, state=state, value=value, ended=reason, fitted=fitted)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(outcome), indent=1) + "\n", encoding="utf-8")
    left = path.parent.glob(f".{path.stem}.*{TEMPORARY}")  # by a kill in the middle of writing
    for outdated in (checkpoint, watch.path, *left):
        outdated.unlink(missing_ok=True)
    return outcome


class _Watch:
    """Counts what a trial costs, over kills too, and decides after every epoch whether it goes on."""

    def __init__(
        self,
        path: Path,
        identity: str,
        cpu_minutes: float | None,
        rule: PruningParameters | None,
        others: Callable[[], Iterable[Outcome]],
    ) -> None:
        self.path, self._identity = path, identity
        self._minutes, self._rule, self._others = cpu_minutes, rule, others
        self.curve: list[float | None] = []
        self.ended = ""
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._before = before if before.get("identity") == identity else {"cpu": 0.0, "clock": 0.0}
        self._cpu, self._clock = time.process_time(), time.perf_counter()

    @property
    def cost(self) -> dict[str, float]:
        """CPU seconds (`cpu`) and seconds (`clock`) so far."""
        return {
            "cpu": self._before["cpu"] + time.process_time() - self._cpu,
            "clock": self._before["clock"] + time.perf_counter() - self._clock,
        }

    def __call__(self, history: Sequence[EpochRecord]) -> bool:
        """Look at all epochs so far."""
        self.curve = [record.validation[VALIDATION_METRIC] if record.validation else None for record in history]
        cost = self.cost
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps({**cost, "identity": self._identity}), encoding="utf-8")
        if not self.curve or self.curve[-1] is None:
            return False
        if self._rule is not None and falls_behind(self.curve, self._others(), self._rule):
            self.ended = PRUNED
        elif self._minutes is not None and cost["cpu"] >= 60 * self._minutes:
            self.ended = MINUTES
        return bool(self.ended)


def _value(fitted: FittedCell, cell: Cell, data: StudyData) -> float:
    """Return the validation score of the best weights; as ranked again where training did not see it."""
    best = fitted.record.get("best_epoch")
    if best and not fitted.record["calibrated"]:
        found = fitted.history[best - 1].validation
        assert found is not None
        return float(found[VALIDATION_METRIC])
    where = resolve_device(cell.spec.training.device)
    ranks = rank_targets(
        scorer(fitted.weights.build(where), "validation"),
        data,
        data.split.validation,
        generator=derive_generator(cell.seed, "validation", where),
        device=where,
    )
    return float(metrics_from_ranks(ranks)[VALIDATION_METRIC])


def _outcome(
    trial: Trial,
    data: StudyData,
    watch: _Watch,
    *,
    state: State,
    value: float | None,
    ended: str,
    error: str = "",
    fitted: FittedCell | None = None,
) -> Outcome:
    record = fitted.record if fitted else {}
    if fitted is not None:
        watch.curve = [epoch.validation[VALIDATION_METRIC] if epoch.validation else None for epoch in fitted.history]
    return Outcome(
        ranker=trial.ranker,
        number=trial.number,
        identity=trial.identity(data.fingerprint),
        settings=dict(trial.settings),
        state=state,
        value=value,
        ended=ended,
        epochs=record.get("epochs", len(watch.curve)),
        best_epoch=record.get("best_epoch", 0),
        curve=watch.curve,
        parameters=record.get("parameters", 0),
        cpu_seconds=watch.cost["cpu"],
        seconds=watch.cost["clock"],
        error=error,
        machine=record.get("machine") or describe_machine(torch.device("cpu")),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=os.environ.get("DIFFURECSYS_REVISION") or git_revision(Path(__file__).parent),
    )
