"""Trials in Optuna's embedded SQLite store: it draws their settings, and knows every trial's course and end.

Settings are drawn at random, each trial's from a stream of its own, so that a plan depends on no trial's outcome:
trials may run in any order, anywhere, and a plan that is made again, also without its store, is the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from diffurecsys.errors import DataError
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.tuning.space import Axis, Range, Space, TuningParameters, value_of, with_settings
from diffurecsys.tuning.trial import Outcome, Trial

DIGITS = 3  # of what is drawn from a range, for conf to be read
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

optuna.logging.set_verbosity(optuna.logging.WARNING)
logger = logging.getLogger(__name__)


class TuningStore:
    """All searches of an experiment, one Optuna study each.

    Args:
        path: of the SQLite file, which is made where there is none. `optuna-dashboard` can open it, too.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")

    def plan(self, spec: RankerSpec, tuning: TuningParameters, fingerprint: str) -> list[Trial]:
        """Return the trials of a ranker, those that an earlier run has planned or finished first.

        Raises:
            DataError: a drawn combination of settings cannot be.
            ValueError: the ranker has no space.
        """
        space = tuning.space_of(spec)
        if space is None:
            raise ValueError(f"tuning.spaces has no entry for {spec.name}, nor for its family {spec.family}")
        configured = {name: value_of(spec, name) for name in space}
        study = self._study(spec.name, _digest(spec, tuning, space, fingerprint))
        distributions = {name: _distribution(axis) for name, axis in space.items()}
        planned_before = sum(trial.state != TrialState.WAITING for trial in study.trials)
        for number in range(planned_before, tuning.n_trials):
            if number == 0:  # the store takes no value from outside a distribution
                inside = {name: value for name, value in configured.items() if space[name].holds(value)}
                study.enqueue_trial(inside, skip_if_exists=True)
                study.ask({name: distributions[name] for name in inside})
            else:
                study.sampler = optuna.samplers.RandomSampler(seed=_seed(tuning.seed, spec.name, number))
                study.ask(distributions)
        base = tuning.limited(spec)
        planned = []
        for known in study.trials[: tuning.n_trials]:
            settings = _rounded(known.params, space) if known.number else configured
            try:
                varied = with_settings(base, settings)
            except ValueError as error:
                raise DataError(
                    f"trial {known.number + 1} of {spec.name} cannot be: {error} (drawn: {settings}). Take values that "
                    "do not go together out of its entry in tuning.spaces."
                ) from error
            cell = Cell(varied, tuning.seed)
            planned.append(Trial(known.number, settings, cell, tuning.cpu_minutes, tuning.pruning))
        return planned

    def tell(self, spec: RankerSpec, tuning: TuningParameters, fingerprint: str, outcome: Outcome) -> None:
        """Record what a planned trial found, unless it is known."""
        space = tuning.space_of(spec) or {}
        study = self._study(spec.name, _digest(spec, tuning, space, fingerprint))
        known = study.trials[outcome.number]
        if known.state.is_finished():
            return
        trial = optuna.Trial(study, known._trial_id)
        for epoch, score in enumerate(outcome.curve, start=1):
            if score is not None:
                trial.report(score, epoch)
        for name in ("identity", "settings", "ended", "best_epoch", "cpu_seconds", "parameters", "error", "date"):
            trial.set_user_attr(name, getattr(outcome, name))
        state = STATES[outcome.state]
        study.tell(outcome.number, outcome.value if state == TrialState.COMPLETE else None, state)

    def _study(self, ranker: str, digest: str) -> optuna.Study:
        """Open the study of a ranker's search: another space, configuration or limit is another study."""
        return optuna.create_study(
            storage=self._storage, study_name=f"{ranker} {digest[:12]}", direction="maximize", load_if_exists=True
        )


def _digest(spec: RankerSpec, tuning: TuningParameters, space: Space, fingerprint: str) -> str:
    base = Cell(tuning.limited(spec), tuning.seed)
    parts = [base.identity(fingerprint), space, tuning.cpu_minutes, tuning.pruning]
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()


def _seed(seed: int, ranker: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {ranker} {number}".encode()).digest()[:4], "big")


def _distribution(axis: Axis) -> BaseDistribution:
    if isinstance(axis, Range):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    return CategoricalDistribution(axis.values)


def _rounded(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(space[name], Range) else value
        for name, value in params.items()
    }
