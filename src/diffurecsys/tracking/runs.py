"""How one cell of a study looks in MLflow: its parameters, curves, metrics and model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.io import DataCatalog
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from diffurecsys import columns
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import ALL, RANKINGS
from diffurecsys.models.base import RankerConfig
from diffurecsys.models.weights import load_weights
from diffurecsys.parameters import flatten
from diffurecsys.pipelines.arrays import ranks_from_table
from diffurecsys.study import Cell

MODEL_CODE = Path(__file__).with_name("served_model.py")
METRICS_A_BATCH = 1000  # MLflow's limit
PACKAGE = Path(__file__).parents[1]  # models carry the code: the package is on no index
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pyarrow", "safetensors")  # inferring them takes a minute


@dataclass(frozen=True)
class TrackedCell:
    """What is known of a cell once it is fitted.

    Attributes:
        history: one row an epoch.
        record: of the fitting; its configuration is the weights', whatever conf says now.
        weights: file with the weights.
        item_vocabulary: file that maps item numbers to identifiers.
    """

    history: pd.DataFrame
    record: Mapping[str, Any]
    weights: Path
    item_vocabulary: Path

    @classmethod
    def load(cls, cell: Cell, catalog: DataCatalog) -> TrackedCell:
        """Collect a cell's outputs from the catalog."""
        return cls(
            history=catalog.load(f"{cell.namespace}.history"),
            record=catalog.load(f"{cell.namespace}.record"),
            weights=_file(catalog, f"{cell.namespace}.weights"),
            item_vocabulary=_file(catalog, "item_vocabulary"),
        )


def metric_key(group: str, name: str) -> str:
    """Name a metric as MLflow allows and its UI groups: `test/NDCG_10` for NDCG@10 on test."""
    return f"{group}/{name.replace('@', '_')}"


def start_cell_run(parent: str, cell: Cell, record: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Open a cell's run inside the run `parent` and return its identifier."""
    client = MlflowClient()
    own = {"model": cell.spec.name, "role": cell.spec.role, "seed": str(record["seed"])}
    run = client.create_run(
        client.get_run(parent).info.experiment_id,
        run_name=cell.namespace,
        tags={"mlflow.parentRunId": parent, **tags, **own},
    )
    made_from = {name: record[name] for name in ("family", "version", "network", "training", "identity", "data")}
    made_from["training"] = made_from["training"] or {}
    parameters = {**own, **flatten(made_from)}
    client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in parameters.items()])
    return str(run.info.run_id)


def log_fitting(run_id: str, tracked: TrackedCell) -> None:
    """Log a fitted cell's curves by epoch, its summary and its model."""
    client, now, record = MlflowClient(), milliseconds(), tracked.record
    metrics = [
        Metric(metric_key("curve", str(name)), float(value), now, int(row[columns.EPOCH]))
        for _, row in tracked.history.iterrows()
        for name, value in row.items()
        if name != columns.EPOCH and pd.notna(value)
    ]
    for key in ("seconds", "epochs", "best_epoch", "parameters"):
        if key in record:
            metrics.append(Metric(metric_key("training", key), float(record[key]), now, 0))
    for first in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_BATCH])
    client.log_batch(run_id, tags=[RunTag("device", record["device"]), RunTag("cpu", record["machine"]["cpu"])])
    weights = load_weights(tracked.weights)
    if not weights.state:  # imported without weights: there is nothing to serve
        return
    with mlflow.start_run(run_id=run_id, nested=True):
        mlflow.pyfunc.log_model(
            name=str(record["ranker"]),
            python_model=str(MODEL_CODE),
            artifacts={"weights": str(tracked.weights), "item_vocabulary": str(tracked.item_vocabulary)},
            code_paths=[str(PACKAGE)],
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
            signature=model_signature(weights.config),
        )


def model_signature(config: RankerConfig) -> ModelSignature:
    """Say what a served model takes and gives, with defaults that suit this configuration."""
    params = [ParamSpec("k", DataType.long, 10), ParamSpec("exclude_history", DataType.boolean, False)]
    if all_steps := config.capabilities.steps:
        params.append(ParamSpec("reverse_steps", DataType.long, config.steps_for("serving") or all_steps))
    return ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.string), "history")]),
        outputs=Schema([ColSpec(Array(DataType.string))]),
        params=ParamSchema(params),
    )


def log_evaluation(run_id: str, ranks: pd.DataFrame, cutoffs: Sequence[int]) -> None:
    """Log a cell's final metrics, `test/NDCG_10` among all items and `test_unseen/NDCG_10`, and close its run."""
    client, now = MlflowClient(), milliseconds()
    final = [Metric(metric_key(group, name), value, now, 0) for group, name, value in _metrics(ranks, cutoffs)]
    client.log_batch(run_id, metrics=final)
    client.set_terminated(run_id)


def log_means(run_id: str, study_ranks: pd.DataFrame, cutoffs: Sequence[int]) -> None:
    """Log every ranker's metrics, averaged over its seeds, in the study's run."""
    now = milliseconds()
    means = [
        Metric(metric_key(str(model), f"{group}_{name}"), value, now, 0)
        for model, part in study_ranks.groupby(columns.MODEL, sort=False, observed=True)
        for group, name, value in _metrics(part, cutoffs)
    ]
    for first in range(0, len(means), METRICS_A_BATCH):
        MlflowClient().log_batch(run_id, metrics=means[first : first + METRICS_A_BATCH])


def _metrics(ranks: pd.DataFrame, cutoffs: Sequence[int]) -> Iterator[tuple[str, str, float]]:
    for split in columns.SPLITS:
        found = ranks_from_table(ranks[ranks[columns.SPLIT] == split])
        for ranking in RANKINGS:
            group = split if ranking == ALL else f"{split}_{ranking}"
            for name, value in metrics_from_ranks(found, cutoffs, ranking).items():
                yield group, name, value


def log_counts(run_id: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Log the dataset's sizes before and after filtering in the study's run."""
    now = milliseconds()
    sizes = [
        Metric(metric_key("counts", f"{stage}_{name}"), float(count), now, 0)
        for stage, found in counts.items()
        for name, count in found.items()
    ]
    MlflowClient().log_batch(run_id, metrics=sizes)


def log_file(run_id: str, catalog: DataCatalog, name: str) -> None:
    """Log the file of a catalog entry as an artifact."""
    MlflowClient().log_artifact(run_id, str(_file(catalog, name)))


def _file(catalog: DataCatalog, name: str) -> Path:
    """Return where a file dataset lies."""
    return Path(str(catalog.get(name)._get_load_path()))  # type: ignore[union-attr]  # kedro has no public way


def milliseconds() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return int(time.time() * 1000)
