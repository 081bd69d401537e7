"""Kedro hooks around a study's runs: threads, resumption, clean-up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from kedro.framework import project
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from diffurecsys.context import StudyContext
from diffurecsys.datasets import AtomicSave
from diffurecsys.parameters import Parameters
from diffurecsys.pipelines.conventions import ALWAYS, checkpoint_file
from diffurecsys.provenance import Provenance, describe_parameter, expected_digests, file_digest

ALL_THREADS = torch.get_num_threads()
MADE_FROM = ".made_from"  # folder with digests, beside the cells
logger = logging.getLogger(__name__)


class StudyHooks:
    """Keeps resumed studies consistent."""

    _parameters: Parameters
    _catalog: DataCatalog

    @hook_impl
    def after_context_created(self, context: StudyContext) -> None:
        """Take the run's threads."""
        self._parameters = context.checked
        torch.set_num_threads(self._parameters.threads or ALL_THREADS)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Remember where datasets are found."""
        self._catalog = catalog

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Have `--only-missing-outputs` also run what was made from other parameters or data, and what depends on it.

        Kedro looks at each output's existence alone and would leave a leaderboard that lacks a retrained model.
        """
        self._provenance = Provenance(catalog.load("cells_folder") / MADE_FROM)
        self._digests: dict[str, dict[str, str]] = {}  # by the archive's
        if not run_params["only_missing_outputs"]:
            return
        changed = self._changed(pipeline)
        for name in sorted(changed):
            if catalog.exists(name):
                logger.info("%s was made from other parameters or data: it is made again", name)
        for name in sorted(outdated_outputs(pipeline, catalog, changed)):
            dataset = catalog.get(name)
            if isinstance(dataset, AtomicSave):
                dataset.expire()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Record what made the node's outputs."""
        digests = self._expected()
        self._provenance.record((name, digests[name]) for name in node.outputs if name in digests)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Record what made all outputs: runners with several processes report no single node."""
        digests = self._expected()
        self._provenance.record((name, digests[name]) for name in pipeline.all_outputs() if name in digests)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remove a cell's checkpoint once its weights are safe."""
        if dataset_name == "final_weights":
            (self._catalog.load("cells_folder") / "final" / "checkpoint.pt").unlink(missing_ok=True)
        namespace, _, kind = dataset_name.rpartition(".")
        if kind == "weights":
            cell = self._catalog.load(f"params:{namespace}.cell")
            checkpoint = checkpoint_file(self._catalog.load("cells_folder"), cell)
            for path in (checkpoint, checkpoint.with_name(f"again_{checkpoint.name}")):
                path.unlink(missing_ok=True)

    def _expected(self) -> dict[str, str]:
        """Digests that the present configuration and archive give, over all pipelines."""
        archive = self._root_digest("raw_folder")  # the one root that a run changes: it may download it
        if archive not in self._digests:
            self._digests = {archive: expected_digests(project.pipelines["__default__"], self._root_digest)}
        return self._digests[archive]

    def _root_digest(self, name: str) -> str:
        if name == "raw_folder":
            return file_digest(Path(self._catalog.load(name)) / self._parameters.dataset.archive)
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
