"""How one cell of a study looks in MLflow: its parameters, curves, metrics and model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
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
from diffurecsys.models import ModelConfig
from diffurecsys.models.weights import load_weights
from diffurecsys.study import Cell

MODEL_CODE = Path(__file__).with_name("served_model.py")
METRICS_A_BATCH = 1000  # MLflow's limit
MODEL_REQUIREMENTS = ["diffurecsys", "torch", "safetensors", "pyarrow"]  # named here: inferring them takes a minute


@dataclass(frozen=True)
class TrainedCell:
    """What is known of a cell once it is trained.

    Attributes:
        history: one row an epoch.
        summary: of the training.
        weights: file with the weights.
        item_vocabulary: file that maps item numbers to identifiers.
    """

    history: pd.DataFrame
    summary: Mapping[str, Any]
    weights: Path
    item_vocabulary: Path

    @classmethod
    def load(cls, cell: Cell, catalog: DataCatalog) -> TrainedCell:
        """Collect a cell's outputs from the catalog."""
        return cls(
            history=catalog.load(f"{cell.namespace}.history"),
            summary=catalog.load(f"{cell.namespace}.training_summary"),
            weights=_file(catalog, f"{cell.namespace}.weights"),
            item_vocabulary=_file(catalog, "item_vocabulary"),
        )


def metric_key(group: str, name: str) -> str:
    """Name a metric as MLflow allows and its UI groups: `test/NDCG_10` for NDCG@10 on test."""
    return f"{group}/{name.replace('@', '_')}"


def start_cell_run(parent: str, cell: Cell, parameters: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Open a cell's run inside the run `parent` and return its identifier."""
    client = MlflowClient()
    own = {"model": cell.model} if cell.seed is None else {"model": cell.model, "seed": str(cell.seed)}
    run = client.create_run(
        client.get_run(parent).info.experiment_id,
        run_name=cell.namespace,
        tags={"mlflow.parentRunId": parent, **tags, **own},
    )
    client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in {**own, **parameters}.items()])
    return str(run.info.run_id)


def log_training(run_id: str, trained: TrainedCell) -> None:
    """Log a trained cell's curves by epoch, its summary and its model."""
    client, now = MlflowClient(), _now()
    metrics = [
        Metric(metric_key("curve", str(name)), float(value), now, int(row[columns.EPOCH]))
        for _, row in trained.history.iterrows()
        for name, value in row.items()
        if name != columns.EPOCH and pd.notna(value)
    ]
    for key in ("seconds", "epochs", "best_epoch", "parameters"):
        metrics.append(Metric(metric_key("training", key), float(trained.summary[key]), now, 0))
    for first in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_BATCH])
    client.log_batch(run_id, tags=[RunTag("device", trained.summary["device"])])
    with mlflow.start_run(run_id=run_id, nested=True):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(MODEL_CODE),
            artifacts={"weights": str(trained.weights), "item_vocabulary": str(trained.item_vocabulary)},
            pip_requirements=MODEL_REQUIREMENTS,
            signature=model_signature(load_weights(trained.weights).config),
        )


def model_signature(config: ModelConfig) -> ModelSignature:
    """Say what a served model takes and gives, with defaults that suit this configuration."""
    return ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.string), "history")]),
        outputs=Schema([ColSpec(Array(DataType.string))]),
        params=ParamSchema(
            [
                ParamSpec("k", DataType.long, 10),
                ParamSpec("reverse_steps", DataType.long, config.serving_steps),
                ParamSpec("exclude_history", DataType.boolean, False),
            ]
        ),
    )


def log_evaluation(run_id: str, metrics: Mapping[str, Any]) -> None:
    """Log a cell's final metrics and close its run."""
    client, now = MlflowClient(), _now()
    final = [
        Metric(metric_key(split, name), value, now, 0)
        for split in ("validation", "test")
        for name, value in metrics[split].items()
    ]
    client.log_batch(run_id, metrics=final)
    client.set_terminated(run_id)


def log_means(run_id: str, model: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Log a model's metrics on test and validation, averaged over its seeds, in the study's run."""
    now = _now()
    means = [
        Metric(metric_key(model, f"{split}_{name}"), fmean(cell[split][name] for cell in results), now, 0)
        for split in ("test", "validation")
        for name in results[0][split]
    ]
    MlflowClient().log_batch(run_id, metrics=means)


def log_counts(run_id: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Log the dataset's sizes before and after filtering in the study's run."""
    now = _now()
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


def _now() -> int:
    return int(time.time() * 1000)
