"""How trials of a search look in MLflow: one run a ranker, inside it one run a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from diffurecsys.tracking.runs import METRICS_A_BATCH, milliseconds

IDENTITY = "trial"
CURVE, BEST = "curve/validation_NDCG_10", "validation/NDCG_10"


class TrialLog:
    """Logs the outcomes of one ranker's trials, each once, whichever run of Kedro made it.

    Args:
        parent: the run of Kedro's run.
        ranker: name of the ranker.
        tags: of all runs.
    """

    def __init__(self, parent: str, ranker: str, tags: Mapping[str, str]) -> None:
        self._client, self._parent = MlflowClient(), parent
        self._experiment = str(self._client.get_run(parent).info.experiment_id)
        self._tags = {**tags, "model": ranker}
        self._name, self._run = f"tune.{ranker}", ""

    def log(self, outcomes: Sequence[Mapping[str, Any]]) -> None:
        """Log the outcomes that have no run yet, and in the ranker's run the best score so far."""
        new = [outcome for outcome in outcomes if not self._known(outcome["identity"])]
        if not new:
            return
        self._run = self._run or self._open(self._name, self._parent, {})
        for outcome in new:
            self._log(outcome)
        scores = [one["value"] for one in outcomes if one["state"] == "complete"]
        metrics = {"cpu_minutes": sum(one["cpu_seconds"] for one in outcomes) / 60, "trials": float(len(outcomes))}
        if scores:
            metrics[BEST] = max(scores)
        moment = milliseconds()
        self._client.log_batch(
            self._run, metrics=[Metric(name, value, moment, len(outcomes)) for name, value in metrics.items()]
        )
        self._client.set_terminated(self._run)

    def _known(self, identity: str) -> bool:
        wanted = f"tags.{IDENTITY} = '{identity}'"
        return bool(self._client.search_runs([self._experiment], filter_string=wanted, max_results=1))

    def _open(self, name: str, parent: str, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(
            self._experiment, run_name=name, tags={"mlflow.parentRunId": parent, **self._tags, **tags}
        )
        return str(run.info.run_id)

    def _log(self, outcome: Mapping[str, Any]) -> None:
        run = self._open(f"{self._name}.trial_{outcome['number'] + 1}", self._run, {IDENTITY: outcome["identity"]})
        moment = milliseconds()
        metrics = [
            Metric(CURVE, score, moment, epoch)
            for epoch, score in enumerate(outcome["curve"], start=1)
            if score is not None
        ]
        known = {
            BEST: outcome["value"],
            "training/epochs": outcome["epochs"],
            "training/best_epoch": outcome["best_epoch"],
            "training/parameters": outcome["parameters"],
            "cpu_minutes": outcome["cpu_seconds"] / 60,
        }
        metrics += [Metric(name, float(value), moment, 0) for name, value in known.items() if value is not None]
        for first in range(0, len(metrics), METRICS_A_BATCH):
            self._client.log_batch(run, metrics=metrics[first : first + METRICS_A_BATCH])
        self._client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in outcome["settings"].items()],
            tags=[RunTag(name, str(outcome[name])) for name in ("state", "ended", "error") if outcome[name]],
        )
        self._client.set_terminated(run, status="FAILED" if outcome["state"] == "failed" else "FINISHED")
