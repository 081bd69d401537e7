"""How one cell of a study looks in MLflow: its parameters, curves, metrics and model."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
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
from mlflow.types.schema import AnyType, Array

from diffurecsys import columns
from diffurecsys.datasets import AtomicSave
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.evaluation.ranks import ALL, RANKINGS
from diffurecsys.models.base import RankerConfig
from diffurecsys.models.weights import load_weights
from diffurecsys.parameters import flatten
from diffurecsys.pipelines.arrays import ranks_from_table
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.study import Cell

MODEL_CODE = Path(__file__).with_name("served_model.py")
logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it tells of every example that it looks at
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for every model that is looked at

DESCRIPTION = "mlflow.note.content"  # the tag that MLflow's UI shows as such
METRICS_A_BATCH = 1000  # MLflow's limit
MOST_CELLS = 10_000  # milliseconds by which a cell's run begins after its study's, at most
PACKAGE = Path(__file__).parents[1]  # models carry the code: the package is on no index
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pyarrow", "safetensors")  # inferring them takes a minute


@dataclass(frozen=True)
class TrackedCell:
    """What is known of a cell once it is fitted.

    Attributes:
        history: one row an epoch.
        record: of the fitting; its configuration is the weights', whatever conf says now.
        weights: file with the weights.
        catalogue: the items.
    """

    history: pd.DataFrame
    record: Mapping[str, Any]
    weights: Path
    catalogue: Catalogue

    @classmethod
    def load(cls, cell: Cell, catalog: DataCatalog, catalogue: Catalogue) -> TrackedCell:
        """Collect a cell's outputs from the catalog."""
        return cls(
            history=catalog.load(f"{cell.namespace}.history"),
            record=catalog.load(f"{cell.namespace}.record"),
            weights=saved_file(catalog, f"{cell.namespace}.weights"),
            catalogue=catalogue,
        )


def metric_key(group: str, name: str) -> str:
    """Name a metric as MLflow allows and its UI groups: `test/NDCG_10` for NDCG@10 on test."""
    return f"{group}/{name.replace('@', '_')}"


def start_cell_run(parent: str, cell: Cell, record: Mapping[str, Any], tags: Mapping[str, str], place: int = 0) -> str:
    """Open a cell's run inside the run `parent` and return its identifier.

    Args:
        parent: of the study.
        cell: the cell.
        record: of its fitting.
        tags: of all runs of the study.
        place: of the cell in the study. MLflow's UI shows the run that began last first, so cells begin in the reverse
            order, milliseconds apart, with the study's run: what they took is `training/seconds`.
    """
    client = MlflowClient()
    own = {"model": cell.spec.name, "role": cell.spec.role, "seed": str(record["seed"])}
    info = client.get_run(parent).info
    run = client.create_run(
        info.experiment_id,
        start_time=info.start_time + MOST_CELLS - min(place, MOST_CELLS),
        run_name=cell.namespace,
        tags={"mlflow.parentRunId": parent, **tags, **own},
    )
    parameters = {**own, **made_from(record)}
    client.log_batch(run.info.run_id, params=[Param(name, value) for name, value in parameters.items()])
    return str(run.info.run_id)


def made_from(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what made a cell, as dotted names and texts."""
    parts = {name: record[name] for name in ("family", "version", "network", "training", "identity", "data")}
    parts |= {name: record[name] for name in ("final_fit_on",) if name in record}
    parts["training"] = parts["training"] or {}
    return flatten(parts)


def log_fitting(run_id: str, tracked: TrackedCell) -> None:
    """Log a fitted cell's curves by epoch, its summary and its model."""
    client, now, record = MlflowClient(), milliseconds(), tracked.record
    metrics = [
        Metric(metric_key("curve", str(name)), float(value), now, int(row[columns.EPOCH]))
        for _, row in tracked.history.iterrows()
        for name, value in row.items()
        if name != columns.EPOCH and pd.notna(value)
    ]
    for key in ("seconds", "cpu_seconds", "epochs", "best_epoch", "parameters"):
        if record.get(key) is not None:
            metrics.append(Metric(metric_key("training", key), float(record[key]), now, 0))
    for first in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_BATCH])
    ran = {"device": record["device"], "cpu": record["machine"]["cpu"], "precision": record.get("precision")}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in ran.items() if value is not None])
    log_served_model(run_id, tracked)


def log_served_model(run_id: str, tracked: TrackedCell) -> None:
    """Log what serves a fitted cell: weights, items, code, exact requirements, signature and example."""
    weights, record = load_weights(tracked.weights), tracked.record
    if not weights.state:  # imported without weights: there is nothing to serve
        return
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id, nested=True):
        catalogue = Path(folder) / "catalogue.parquet"
        tracked.catalogue.save(catalogue)
        # MLflow reads a path as an address: a project's folder may hold ?, # or %, a temporary one does not
        copied = shutil.copyfile(tracked.weights, Path(folder) / tracked.weights.name)
        mlflow.pyfunc.log_model(
            name=str(record["ranker"]),
            python_model=str(MODEL_CODE),
            artifacts={"weights": str(copied), "catalogue": str(catalogue)},
            code_paths=[str(PACKAGE)],
            pip_requirements=requirements(),
            signature=model_signature(weights.config),
            input_example=pd.DataFrame({"history": [tracked.catalogue.identifiers[:3]]}),
            params={"ranker": record["ranker"], "seed": str(record["seed"]), **made_from(record)},
            tags={"dataset_hash": weights.data, "identity": weights.identity},
        )


def requirements() -> list[str]:
    """Return what a served model needs, each at the version that is installed here."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def logged_model(run_id: str) -> str | None:
    """Return the identifier of the model that a cell's run logged; None where there is none."""
    outputs = MlflowClient().get_run(run_id).outputs
    models = outputs.model_outputs if outputs is not None else []
    return str(models[-1].model_id) if models else None


def model_signature(config: RankerConfig) -> ModelSignature:
    """Say what a served model takes and gives, with defaults that suit this configuration.

    Histories are of any type: MLflow would refuse whole requests for one item's type, where the model says which row.
    """
    params = [ParamSpec("k", DataType.long, 10), ParamSpec("exclude_history", DataType.boolean, False)]
    if all_steps := config.capabilities.steps:
        params.append(ParamSpec("reverse_steps", DataType.long, config.steps_for("serving") or all_steps))
    anything = AnyType()  # type: ignore[no-untyped-call]
    outputs: dict[str, Any] = {
        "items": Array(DataType.string),
        "scores": Array(DataType.double),
        "source": DataType.string,
        "unknown": DataType.long,
        "error": anything,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(anything, "history")]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        params=ParamSchema(params),
    )


def log_evaluation(run_id: str, ranks: pd.DataFrame, cutoffs: Sequence[int]) -> None:
    """Log a cell's final metrics, `test/NDCG_10` among all items and `test_unseen/NDCG_10`, and close its run.

    They stand on the page of its model, too.
    """
    client, now, model = MlflowClient(), milliseconds(), logged_model(run_id)
    final = [
        Metric(metric_key(group, name), value, now, 0, model_id=model, run_id=run_id if model else None)
        for group, name, value in _metrics(ranks, cutoffs)
    ]
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
        part = ranks[ranks[columns.SPLIT] == split]
        if part.empty:  # imported ranks may be of the test split alone
            continue
        found = ranks_from_table(part)
        for ranking in RANKINGS:
            group = split if ranking == ALL else f"{split}_{ranking}"
            for name, value in metrics_from_ranks(found, cutoffs, ranking).items():
                yield group, name, value


def cell_metrics(ranks: pd.DataFrame, cutoffs: Sequence[int]) -> dict[str, float]:
    """Return a cell's metrics as `test/NDCG_10` among all items and `test_unseen/NDCG_10`."""
    return {metric_key(group, name): value for group, name, value in _metrics(ranks, cutoffs)}


def describe_run(run_id: str, report: str) -> None:
    """Show a report's first words, before its first section, as the description of the study's run.

    Args:
        run_id: of the study.
        report: Markdown.
    """
    words = report.partition("\n## ")[0].partition("\n")[2].strip()  # without its title
    MlflowClient().set_tag(run_id, DESCRIPTION, words)


def describe_experiment(experiment_id: str, dataset: str) -> None:
    """Describe an experiment in MLflow's list, unless somebody has."""
    client = MlflowClient()
    if DESCRIPTION not in client.get_experiment(experiment_id).tags:
        client.set_experiment_tag(
            experiment_id,
            DESCRIPTION,
            f"Rankers on {dataset}: a run for every `kedro run`, in it one for every cell, a ranker under one seed.",
        )


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
    MlflowClient().log_artifact(run_id, str(saved_file(catalog, name)))


def saved_file(catalog: DataCatalog, name: str) -> Path:
    """Return where what a dataset holds lies on this machine."""
    dataset = catalog.get(name)
    assert isinstance(dataset, AtomicSave)
    return dataset.local_file()


def milliseconds() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return int(time.time() * 1000)
