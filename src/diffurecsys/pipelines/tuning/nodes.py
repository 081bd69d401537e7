"""Nodes of the search for settings: trials are planned, made one after another, and summed up."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.split import StudyData
from diffurecsys.pipelines.boxes import safe
from diffurecsys.progress import training_progress
from diffurecsys.reporting.tuning import (
    draw_tuning,
    duration,
    outcome_sentence,
    settings_text,
    trials_table,
    tuning_table,
)
from diffurecsys.study import RankerSpec, Study
from diffurecsys.tuning.space import TuningParameters
from diffurecsys.tuning.store import TuningStore
from diffurecsys.tuning.trial import (
    Outcome,
    Trial,
    describe_trial,
    finished_outcomes,
    read_outcome,
    read_trial,
    run_trial,
)

logger = logging.getLogger(__name__)


def plan_trials(
    study: Study, tuning: TuningParameters, split: StudyData, tuning_store: Path, trials_folder: Path
) -> list[dict[str, Any]]:
    """Draw the settings of every trial of every ranker that is tuned."""
    store = TuningStore(tuning_store)
    trials = [trial for spec in tuning.tuned(study) for trial in store.plan(spec, tuning, split.fingerprint)]
    finished = len(finished_outcomes(trials, trials_folder, split.fingerprint))
    logger.info("%d of %d trials are still to be made", len(trials) - finished, len(trials))
    return [describe_trial(trial) for trial in trials]


def tune_ranker(
    spec: RankerSpec,
    tuning: TuningParameters,
    planned_trials: list[dict[str, Any]],
    split: StudyData,
    tuning_store: Path,
    trials_folder: Path,
) -> Iterator[list[dict[str, Any]]]:
    """Make a ranker's trials, or take those that are over.

    Yields:
        All outcomes so far, after each trial that this call has made, and at the end: Kedro saves each, so that what is
        saved is never older than a trial.
    """
    everything = [read_trial(values) for values in planned_trials]
    own = [trial for trial in everything if trial.ranker == spec.name]
    store, made = TuningStore(tuning_store), False
    for trial in own:
        outcome = read_outcome(trial, trials_folder, split.fingerprint)
        if outcome is None:
            outcome = _make(trial, own, split, trials_folder, time_left(everything, trials_folder, split.fingerprint))
            made = True
        store.tell(spec, tuning, split.fingerprint, outcome)
        found = finished_outcomes(own, trials_folder, split.fingerprint)
        if made:
            left = time_left(everything, trials_folder, split.fingerprint)
            logger.info("%s%s", outcome_sentence(outcome, found, len(own)), f"; all rankers: {left}" if left else "")
        if made or trial is own[-1]:
            yield [dataclasses.asdict(one) for one in found]


def write_settings(
    spec: RankerSpec,
    tuning: TuningParameters,
    dataset: DatasetSpec,
    run: Mapping[str, str],
    trials: list[dict[str, Any]],
) -> str:
    """Write the best settings as conf takes them."""
    return settings_text(spec, tuning, [Outcome(**trial) for trial in trials], dataset=dataset.name, run=run)


def sum_up_tuning(study: Study, tuning: TuningParameters, **found: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """Put all searches side by side: a table of rankers, a table of trials, a figure."""
    outcomes = {
        spec.name: [Outcome(**trial) for trial in found[safe(f"tune.{spec.name}.trials")]]
        for spec in tuning.tuned(study)
    }
    for name, trials in outcomes.items():
        logger.info("%s", outcome_sentence(None, trials, len(trials), name=name))
    return tuning_table(outcomes), trials_table(outcomes), draw_tuning(outcomes)


def time_left(trials: list[Trial], folder: Path, fingerprint: str) -> str:
    """Say about how long the trials that are not over will take, from those of the same ranker, or else of all."""
    finished = finished_outcomes(trials, folder, fingerprint)
    over = {(outcome.ranker, outcome.number) for outcome in finished}
    seconds: dict[str, list[float]] = {}
    for outcome in finished:
        seconds.setdefault(outcome.ranker, []).append(outcome.seconds)
    everywhere = [outcome.seconds for outcome in finished]
    if not everywhere:
        return ""
    waiting = [trial for trial in trials if (trial.ranker, trial.number) not in over]
    if not waiting:
        return ""
    known = (seconds.get(trial.ranker, everywhere) for trial in waiting)
    return f"{len(waiting)} trials left, about {duration(sum(sum(one) / len(one) for one in known))}"


def _make(trial: Trial, own: list[Trial], split: StudyData, folder: Path, left: str) -> Outcome:
    changed = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
    logger.info("%s, trial %d of %d: %s", trial.ranker, trial.number + 1, len(own), changed)
    siblings = [other for other in own if other.number != trial.number]
    with training_progress(f"{trial.ranker} {trial.number + 1}/{len(own)} ({left or 'first trial'})") as on_step:
        return run_trial(
            trial,
            split,
            folder=folder,
            others=lambda: finished_outcomes(siblings, folder, split.fingerprint),
            on_step=on_step,
        )
