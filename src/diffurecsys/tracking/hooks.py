"""MLflow: one run a `kedro run`, inside it one run a cell. Its hooks mix with nothing else."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro_mlflow.framework.hooks import MlflowHook

from diffurecsys import pipeline_registry
from diffurecsys.context import StudyContext
from diffurecsys.machine import git_revision
from diffurecsys.parameters import leaves
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.study import Cell
from diffurecsys.tracking.registry import CHAMPION, FINAL, register_best, register_final
from diffurecsys.tracking.runs import (
    TrackedCell,
    log_counts,
    log_evaluation,
    log_file,
    log_fitting,
    log_means,
    start_cell_run,
)

logger = logging.getLogger(__name__)

SQLITE = "sqlite:///"
ARTIFACT = "artifact"  # value of a catalog entry's `metadata.mlflow`


class TrackingHooks(MlflowHook):  # type: ignore[misc]
    """kedro-mlflow's hooks for the parent run, and a nested run for every cell."""

    def __init__(self) -> None:
        super().__init__()
        self._tracking = False
        self._cells: dict[str, Cell] = {}
        self._runs: dict[str, str] = {}
        self._items: Catalogue | None = None

    @hook_impl
    def after_context_created(self, context: StudyContext) -> None:
        """Place the store in the project, wherever the command runs, and set MLflow up."""
        loader = context.config_loader
        assert isinstance(loader, OmegaConfigLoader)  # settings.py keeps Kedro's default
        loader.config_patterns.setdefault("mlflow", ["mlflow*", "mlflow*/**", "**/mlflow*"])
        conf = context.config_loader["mlflow"]
        uri = conf["server"]["mlflow_tracking_uri"]
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_absolute():
            store = context.project_path / uri.removeprefix(SQLITE)
            store.parent.mkdir(parents=True, exist_ok=True)
            conf["server"]["mlflow_tracking_uri"] = f"{SQLITE}{store}"
            context.config_loader["mlflow"] = conf
        self._project_path = context.project_path
        self._parameters = context.checked
        super().after_context_created(context=context)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalog: cells are logged from it."""
        self._catalog = catalog

    def before_node_run(self) -> None:
        """Not a hook here: kedro-mlflow would log every typed parameter as one string."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Open the parent run."""
        super().before_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
        self._runs, self._items = {}, None
        self._tracking = self._is_mlflow_enabled
        if not self._tracking:
            return
        self._cells = {cell.namespace: cell for cell in pipeline_registry.current_study().cells}
        self._tags = {
            "experiment": self.mlflow_config.tracking.experiment.name,
            "dataset": self._parameters.dataset.name,
            "git_revision": git_revision(self._project_path),
        }
        mlflow.set_tags(self._tags)
        if not run_params["pipeline_names"]:
            mlflow.set_tag("mlflow.runName", "train_eval")  # what the default pipeline is
        mlflow.log_params(dict(leaves(self._parameters)))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:  # noqa: ANN401 - any dataset's data
        """Log a cell when it is fitted and when it has ranked, and the study's tables and figures."""
        if not self._tracking:
            return
        began = time.perf_counter()
        namespace, _, kind = dataset_name.rpartition(".")
        if namespace in self._cells and kind in ("weights", "ranks"):
            run_id = self._cell_run(self._cells[namespace])
            if kind == "ranks":
                log_evaluation(run_id, data, self._parameters.evaluation.cutoffs)
        elif dataset_name == "counts":
            log_counts(self.run_id, data)
        elif (getattr(self._catalog.get(dataset_name), "metadata", None) or {}).get("mlflow") == ARTIFACT:
            log_file(self.run_id, self._catalog, dataset_name)
            if dataset_name == "study_ranks":
                log_means(self.run_id, data, self._parameters.evaluation.cutoffs)
                self._register(data)
        elif dataset_name == "final_weights":
            name = register_final(
                self.run_id, *(self._tags[key] for key in ("experiment", "dataset")), self._catalog, self._tags
            )
            logger.info("MLflow: models:/%s@%s", name, FINAL)
        logger.debug("Tracking %s took %.2f s", dataset_name, time.perf_counter() - began)

    def _cell_run(self, cell: Cell) -> str:
        """Return the cell's nested run; open it and log its fitting where that has not happened in this run."""
        if cell.namespace not in self._runs:
            tracked = TrackedCell.load(cell, self._catalog, self._catalogue())
            run_id = start_cell_run(
                self.run_id, cell, tracked.record, self._tags, list(self._cells).index(cell.namespace)
            )
            self._runs[cell.namespace] = run_id
            log_fitting(run_id, tracked)
        return self._runs[cell.namespace]

    def _register(self, study_ranks: pd.DataFrame) -> None:
        evaluation = self._parameters.evaluation
        names = register_best(
            self._tags["experiment"],
            self._tags["dataset"],
            self._parameters.study,
            study_ranks,
            self._catalog.load("split").fingerprint,
            evaluation.ranking,
            evaluation.cutoffs,
        )
        logger.info("MLflow: registered %s, each @%s", ", ".join(names) or "no model", CHAMPION)

    def _catalogue(self) -> Catalogue:
        """Return the study's items, read once a run."""
        if self._items is None:
            vocabulary = self._catalog.load("item_vocabulary").to_pyarrow()
            self._items = Catalogue.of(self._catalog.load("split"), vocabulary)
        return self._items
