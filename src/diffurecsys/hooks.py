"""Kedro hooks that make a study of the configuration: its grid, its resumption, its clean-up."""

from __future__ import annotations

import logging
from typing import Any

import torch
from kedro.framework import project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from diffurecsys import pipeline_registry
from diffurecsys.parameters import check_dataset_name, validate_parameters
from diffurecsys.datasets import AtomicSave
from diffurecsys.pipelines.conventions import ALWAYS, checkpoint_file

ALL_THREADS = torch.get_num_threads()
logger = logging.getLogger(__name__)


class StudyHooks:
    """Carries the configured grid into pipelines and catalog, and keeps resumed studies consistent."""

    @hook_impl(tryfirst=True)  # nothing else, like a tracking store, is set up from parameters that are wrong
    def after_context_created(self, context: KedroContext) -> None:
        """Check all parameters and rebuild the pipelines for this run's grid."""
        check_dataset_name(context.config_loader["globals"])
        parameters = validate_parameters(context.config_loader["parameters"])
        torch.set_num_threads(parameters.threads or ALL_THREADS)
        pipeline_registry.set_study(parameters.study)
        project.pipelines.configure(pipeline_registry.__name__)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Tell each cell's nodes which cell they work for."""
        for cell in pipeline_registry.current_study().cells:
            catalog[f"params:{cell.namespace}.cell"] = cell
        self._catalog = catalog

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Have `--only-missing-outputs` also run what depends on missing outputs.

        Kedro looks at each output's existence alone and would leave a leaderboard that lacks a retrained model.
        """
        if not run_params["only_missing_outputs"]:
            return
        for name in sorted(outdated_outputs(pipeline, catalog)):
            logger.debug("%s is out of date", name)
            dataset = catalog.get(name)
            if isinstance(dataset, AtomicSave):
                dataset.expire()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remove a cell's checkpoint once its weights are safe."""
        namespace, _, kind = dataset_name.rpartition(".")
        if kind == "weights":
            cell = self._catalog.load(f"params:{namespace}.cell")
            checkpoint_file(self._catalog.load("checkpoint_folder"), cell).unlink(missing_ok=True)


def outdated_outputs(pipeline: Pipeline, catalog: DataCatalog) -> set[str]:
    """Return the outputs of nodes that lack an output, depend on such a node, or are tagged `always`."""
    outdated: set[str] = set()
    for node in pipeline.nodes:  # in order of dependence
        missing = any(not catalog.exists(name) for name in node.outputs)
        if missing or ALWAYS in node.tags or outdated.intersection(node.inputs):
            outdated.update(node.outputs)
    return outdated
