"""Kedro hooks around a study's runs: threads, resumption, clean-up."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from kedro.framework import project
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from diffurecsys.context import StudyContext
from diffurecsys.datasets import AtomicSave
from diffurecsys.parameters import Parameters
from diffurecsys.pipelines.conventions import ALWAYS, checkpoint_file
from diffurecsys.provenance import (
    Provenance,
    dataset_digest,
    describe_parameter,
    discard_plan,
    expected_digests,
    write_plan,
)
from diffurecsys.run_lock import ExperimentLock
from diffurecsys.start import (
    check_clock,
    check_devices,
    check_experiment_is_its_own,
    expire_damaged,
    sweep_checkpoints,
    sweep_leftovers,
)

ALL_THREADS = torch.get_num_threads()
DASK_RUNNER = "diffurecsys.runners.DaskRunner"
logger = logging.getLogger(__name__)


class StudyHooks:
    """Keeps resumed studies consistent."""

    _parameters: Parameters
    _catalog: DataCatalog
    _lock: ExperimentLock | None = None

    @hook_impl
    def after_context_created(self, context: StudyContext) -> None:
        """Take the run's threads; refuse an experiment that another folder of conf/ has for another dataset."""
        self._parameters, self._project_path = context.checked, context.project_path
        self._shared = context.config_loader["globals"]
        check_experiment_is_its_own(
            Path(context.config_loader.conf_source), self._parameters.experiment, str(self._shared["dataset"])
        )
        torch.set_num_threads(self._parameters.threads or ALL_THREADS)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog, save_version: str) -> None:
        """Remember where datasets are found, and which version this run writes."""
        self._catalog, self._save_version = catalog, save_version

    @hook_impl(tryfirst=True)  # a run that may not begin opens no run in MLflow either
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Begin alone and tidy; have `--only-missing-outputs` run what is missing, damaged or out of date.

        Kedro looks at each output's existence alone and would leave a leaderboard that lacks a retrained model.
        """
        self._process = os.getpid()
        asks = any(name.startswith("params:") and name.endswith(".cell") for name in pipeline.inputs())
        if asks and run_params["runner"] != DASK_RUNNER:  # there they are looked for where cells run
            check_devices(self._parameters)
        self._begin_alone(catalog.load("working_folder"))
        check_clock(catalog, pipeline.all_outputs(), self._save_version)
        sweep_leftovers(self._project_path, self._shared, self._parameters.experiment)
        self._provenance = Provenance(catalog.load("records_folder"))
        self._digests: dict[str, dict[str, str]] = {}  # by the archive's
        digests = self._expected()
        planned: dict[str, tuple[str, str]] = {}
        for name in digests.keys() & pipeline.all_outputs():
            if isinstance(dataset := catalog.get(name), AtomicSave):
                planned[dataset.place] = (name, digests[name])
        write_plan(catalog.load("working_folder"), catalog.load("records_folder"), planned)
        if not run_params["only_missing_outputs"]:
            return
        changed = self._changed(pipeline) | expire_damaged(catalog, pipeline.all_outputs())
        for name in sorted(changed):
            if catalog.exists(name):
                logger.info("%s was made from other parameters or data: it is made again", name)
        for name in sorted(outdated_outputs(pipeline, catalog, changed)):
            dataset = catalog.get(name)
            if isinstance(dataset, AtomicSave):
                dataset.expire()
        sweep_checkpoints(catalog, self._parameters.study.cells, catalog.load("working_folder"))

    def _begin_alone(self, folder: Path) -> None:
        self._release()  # of a run of this process that ended before its first node
        lock = ExperimentLock(folder, self._parameters.experiment)
        lock.acquire()
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        discard_plan()

    @hook_impl(trylast=True)  # tracking is not over before
    def on_pipeline_error(self) -> None:
        """Let the next run begin."""
        self._release()

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """Record that a dataset is being replaced: whichever content a kill leaves is not taken for up to date."""
        if self._knows_run() and dataset_name in (digests := self._expected()):
            self._provenance.begin(dataset_name, digests[dataset_name])

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Record what made all outputs: runners with several processes report no single node."""
        digests = self._expected()
        self._provenance.record((name, digests[name]) for name in pipeline.all_outputs() if name in digests)
        for name in pipeline.all_outputs():  # a process of a pool may have saved it
            if isinstance(dataset := self._catalog.get(name), AtomicSave) and dataset.expired:
                dataset.saved_elsewhere()
        sweep_checkpoints(self._catalog, self._parameters.study.cells, self._catalog.load("working_folder"))
        self._release()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Record what made the dataset; remove a cell's checkpoint once its weights are safe."""
        if self._knows_run() and dataset_name in (digests := self._expected()):
            self._provenance.record([(dataset_name, digests[dataset_name])])
        if not self._is_run_itself():
            return
        if dataset_name == "final_weights":
            (self._catalog.load("working_folder") / "final" / "checkpoint.pt").unlink(missing_ok=True)
        namespace, _, kind = dataset_name.rpartition(".")
        if kind == "weights":
            cell = self._catalog.load(f"params:{namespace}.cell")
            checkpoint = checkpoint_file(self._catalog.load("working_folder"), cell)
            for path in (checkpoint, checkpoint.with_name(f"again_{checkpoint.name}")):
                path.unlink(missing_ok=True)

    def _knows_run(self) -> bool:
        """Whether this process began the run or was forked from it. Kedro calls no hooks in pools that begin anew."""
        return hasattr(self, "_digests")

    def _is_run_itself(self) -> bool:
        """Whether this is the process that began the run, not one of a pool: those are told of no run when spawned."""
        return getattr(self, "_process", None) == os.getpid()

    def _expected(self) -> dict[str, str]:
        """Digests that the present configuration and archive give, over all pipelines."""
        archive = self._root_digest("raw_folder")  # the one root that a run changes: it may download it
        if archive not in self._digests:
            nodes = {node.name: node for pipeline in project.pipelines.values() for node in pipeline.nodes}
            self._digests = {archive: expected_digests(Pipeline(list(nodes.values())), self._root_digest)}
        return self._digests[archive]

    def _root_digest(self, name: str) -> str:
        if name == "raw_folder":
            return dataset_digest(self._parameters.dataset, Path(self._catalog.load(name)))
        if name.startswith("params:"):
            return describe_parameter(self._catalog.load(name))
        return name

    def _changed(self, pipeline: Pipeline) -> set[str]:
        """Outputs whose recorded digest is not the expected one; those made before there were records are kept."""
        expected = self._expected()
        return {
            name
            for name in pipeline.all_outputs()
            if (found := self._provenance.recorded(name)) is not None and found != expected.get(name)
        }


def outdated_outputs(pipeline: Pipeline, catalog: DataCatalog, changed: set[str]) -> set[str]:
    """Return the outputs of nodes that lack one, have a changed one, depend on such a node, or are `always` run."""
    outdated: set[str] = set()
    for node in pipeline.nodes:  # in order of dependence
        missing = any(name in changed or not catalog.exists(name) for name in node.outputs)
        if missing or ALWAYS in node.tags or outdated.intersection(node.inputs):
            outdated.update(node.outputs)
    return outdated
