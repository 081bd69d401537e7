"""MLflow: one run a `kedro run`, inside it one run a cell. Its hooks mix with nothing else."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import mlflow
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig
from kedro_mlflow.framework.hooks import MlflowHook
from kedro_mlflow.framework.hooks.utils import _assert_mlflow_enabled
from mlflow.tracking import MlflowClient

from diffurecsys import pipeline_registry
from diffurecsys.context import StudyContext
from diffurecsys.data.stored import read_table
from diffurecsys.datasets import AtomicSave
from diffurecsys.machine import git_revision
from diffurecsys.parameters import leaves
from diffurecsys.serving.catalogue import Catalogue
from diffurecsys.study import Cell
from diffurecsys.tracking.interrupted import PLACE, close_interrupted, place_of, tracked_identities
from diffurecsys.tracking.registry import CHAMPION, FINAL, register_best, register_final
from diffurecsys.tracking.runs import (
    TrackedCell,
    describe_experiment,
    describe_run,
    log_counts,
    log_evaluation,
    log_file,
    log_fitting,
    log_means,
    start_cell_run,
)
from diffurecsys.tracking.store import SETTING, StoreError, absolute_uri, alone_in, check_store, remove_misread_folders
from diffurecsys.tracking.trials import TrialLog

logger = logging.getLogger(__name__)

ARTIFACT = "artifact"  # value of a catalog entry's `metadata.mlflow`


class TrackingHooks(MlflowHook):  # type: ignore[misc]
    """kedro-mlflow's hooks for the parent run, and a nested run for every cell.

    A store that fails costs no training: with `tracking.on_failure: warn` the run goes on without it, and the next one
    tracks from their files all cells that are not tracked yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tracking = False
        self._cells: dict[str, Cell] = {}
        self._runs: dict[str, str] = {}
        self._items: Catalogue | None = None
        self._open: set[str] = set()
        self._trials: dict[str, TrialLog] = {}
        self._seen: set[str] = set()  # datasets that this process saved
        self._process = 0

    @hook_impl
    def after_context_created(self, context: StudyContext) -> None:
        """Say where the store is, in the project wherever the command runs; it is not opened before a tracked run."""
        loader = context.config_loader
        assert isinstance(loader, OmegaConfigLoader)  # settings.py keeps Kedro's default
        loader.config_patterns.setdefault("mlflow", ["mlflow*", "mlflow*/**", "**/mlflow*"])
        conf = loader["mlflow"]
        conf["server"]["mlflow_tracking_uri"] = absolute_uri(
            conf["server"]["mlflow_tracking_uri"], context.project_path
        )
        loader["mlflow"] = conf
        self._context, self._project_path, self._parameters = context, context.project_path, context.checked
        self._uri = conf["server"]["mlflow_tracking_uri"]
        if mlflow.active_run():  # an orchestrator's, whose store is in use already
            super().after_context_created(context=context)
            return
        self._already_active_mlflow = False
        self.mlflow_config = KedroMlflowConfig.model_validate({**conf})
        context.__setattr__("mlflow", self.mlflow_config)
        mlflow.set_tracking_uri(self._uri)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog, save_version: str) -> None:
        """Keep the catalog: cells are logged from it."""
        self._catalog, self._save_version = catalog, save_version

    def before_node_run(self) -> None:
        """Not a hook here: kedro-mlflow would log every typed parameter as one string."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Open the parent run, and close those of killed processes."""
        self._runs, self._open, self._trials, self._items = {}, set(), {}, None
        self._process, self._seen = os.getpid(), set()
        self._tracking = self._is_mlflow_enabled = False
        if not _assert_mlflow_enabled(run_params["pipeline_names"] or ["__default__"], self.mlflow_config):
            return
        with self._may_fail():
            self._open_store()
            super().before_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
            self._cells = {cell.namespace: cell for cell in pipeline_registry.current_study().cells}
            self._tags = {
                "experiment": self.mlflow_config.tracking.experiment.name,
                "dataset": self._parameters.dataset.name,
                "git_revision": git_revision(self._project_path),
                PLACE: place_of(self._project_path),
            }
            mlflow.set_tags(self._tags)
            if not run_params["pipeline_names"]:
                mlflow.set_tag("mlflow.runName", "train_eval")  # what the default pipeline is
            mlflow.log_params(dict(leaves(self._parameters)))
            self._tracking = True

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:  # noqa: ANN401 - any dataset's data
        """Log a cell when it is fitted and when it has ranked, and the study's tables and figures."""
        if not self._tracking or os.getpid() != self._process:
            return
        self._seen.add(dataset_name)
        began = time.perf_counter()
        with self._may_fail():
            self._log(dataset_name, lambda: data)
        logger.debug("Tracking %s took %.2f s", dataset_name, time.perf_counter() - began)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Track what earlier runs finished and did not track, then close the parent run."""
        if self._tracking:
            with self._may_fail():
                self._log_unseen(pipeline)
        if self._tracking and "study_ranks" in pipeline.all_outputs():
            with self._may_fail():
                self._complete()
                self._register()
        if self._tracking:
            with self._may_fail():
                super().after_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
            remove_misread_folders(self._uri)  # of the registry's store
        self._tracking = False

    @hook_impl
    def on_pipeline_error(
        self, error: Exception, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Close all runs as failed; what went wrong is more important than a store that fails, too."""
        if not self._tracking:
            return
        with suppress(Exception):
            for run_id in self._open:
                MlflowClient().set_terminated(run_id, "FAILED")
            super().on_pipeline_error(error=error, run_params=run_params, pipeline=pipeline, catalog=catalog)
        self._tracking = False

    def _open_store(self) -> None:
        if self._already_active_mlflow:
            return
        check_store(self._uri)
        with alone_in(self._uri):
            self.mlflow_config.setup(self._context)
        experiment = self.mlflow_config.tracking.experiment._experiment
        close_interrupted(MlflowClient(), experiment.experiment_id, self._project_path, self._uri)
        describe_experiment(experiment.experiment_id, self._parameters.dataset.name)

    @contextmanager
    def _may_fail(self) -> Iterator[None]:
        """Stop, or go on without tracking, where the store fails."""
        try:
            yield
        except Exception as error:  # whatever MLflow, SQLAlchemy and requests make of a store that fails
            self._tracking = self._is_mlflow_enabled = False
            with suppress(Exception):
                mlflow.end_run("FAILED")  # forgets it, even where the store no longer takes it
            message = str(error) if isinstance(error, StoreError) else f"tracking failed: {_first_line(error)}"
            if self._parameters.tracking.on_failure == "error":
                raise StoreError(
                    f"{message}. The store is {SETTING}; `tracking.on_failure: warn` runs without it"
                ) from error
            logger.warning(
                "%s. This run goes on untracked; the next one tracks what it finishes (the store is %s; "
                "`tracking.on_failure: error` stops instead)",
                message,
                SETTING,
            )
            logger.debug("Tracking failed", exc_info=error)

    def _log(self, dataset_name: str, load: Callable[[], Any]) -> None:
        """Log a dataset; `load` is asked for what only some need: figures, for one, can only be saved."""
        namespace, _, kind = dataset_name.rpartition(".")
        if namespace in self._cells and kind in ("weights", "ranks"):
            run_id = self._cell_run(self._cells[namespace])
            if kind == "ranks":
                log_evaluation(run_id, load(), self._parameters.evaluation.cutoffs)
                self._open.discard(run_id)
        elif namespace.startswith("tune.") and kind == "trials":
            ranker = namespace.removeprefix("tune.")
            self._trials.setdefault(ranker, TrialLog(self.run_id, ranker, self._tags)).log(load())
        elif dataset_name == "counts":
            log_counts(self.run_id, load())
        elif (getattr(self._catalog.get(dataset_name), "metadata", None) or {}).get("mlflow") == ARTIFACT:
            log_file(self.run_id, self._catalog, dataset_name)
            if dataset_name == "report_md":
                describe_run(self.run_id, load())
            if dataset_name == "study_ranks":
                log_means(self.run_id, load(), self._parameters.evaluation.cutoffs)
        elif dataset_name == "final_weights":
            experiment, dataset = (self._tags[key] for key in ("experiment", "dataset"))
            name = register_final(self.run_id, experiment, dataset, self._catalog, self._tags)
            logger.info("MLflow: models:/%s@%s", name, FINAL)

    def _log_unseen(self, pipeline: Pipeline) -> None:
        """Log what processes of a pool saved in this run, whose hooks are not this process's."""
        for node in pipeline.nodes:
            for name in node.outputs:
                dataset = self._catalog.get(name)
                if name in self._seen or not isinstance(dataset, AtomicSave):
                    continue
                dataset.release()
                if dataset.newest_version == self._save_version:
                    self._log(name, partial(self._catalog.load, name))

    def _cell_run(self, cell: Cell) -> str:
        """Return the cell's nested run; open it and log its fitting where that has not happened in this run."""
        if cell.namespace not in self._runs:
            tracked = TrackedCell.load(cell, self._catalog, self._catalogue())
            run_id = start_cell_run(
                self.run_id, cell, tracked.record, self._tags, list(self._cells).index(cell.namespace)
            )
            self._runs[cell.namespace] = run_id
            self._open.add(run_id)
            log_fitting(run_id, tracked)
        return self._runs[cell.namespace]

    def _register(self) -> None:
        evaluation = self._parameters.evaluation
        names = register_best(
            self._tags["experiment"],
            self._tags["dataset"],
            self._parameters.study,
            self._catalog.load("study_ranks"),
            self._catalog.load("split").fingerprint,
            evaluation.ranking,
            evaluation.cutoffs,
        )
        logger.info("MLflow: registered %s, each @%s", ", ".join(names) or "no model", CHAMPION)

    def _catalogue(self) -> Catalogue:
        """Return the study's items, read once a run."""
        if self._items is None:
            vocabulary = read_table(self._catalog.load("item_vocabulary"))
            self._items = Catalogue.of(self._catalog.load("split"), vocabulary)
        return self._items

    def _complete(self) -> None:
        """Track from their files the cells that no finished run has: those of killed or untracked runs."""
        experiment = self.mlflow_config.tracking.experiment._experiment
        known = tracked_identities(MlflowClient(), experiment.experiment_id)
        late = []
        for namespace, cell in self._cells.items():
            if namespace in self._runs or not self._catalog.exists(f"{namespace}.ranks"):
                continue
            if (namespace, str(self._catalog.load(f"{namespace}.record")["identity"])) not in known:
                log_evaluation(
                    self._cell_run(cell),
                    self._catalog.load(f"{namespace}.ranks"),
                    self._parameters.evaluation.cutoffs,
                )
                self._open.discard(self._runs[namespace])
                late.append(namespace)
        if late:
            logger.info("Tracked %d cell(s) of earlier runs from their files: %s", len(late), ", ".join(late))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
