"""What a run looks after before its first node: leftovers of killed runs, damage, clocks, names that two share."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kedro.io import DataCatalog

from diffurecsys.datasets import AtomicSave
from diffurecsys.errors import UserError
from diffurecsys.files import sweep_temporary
from diffurecsys.objects import is_remote, local_copy_of
from diffurecsys.parameters import ParameterError, Parameters
from diffurecsys.pipelines.conventions import checkpoint_file
from diffurecsys.study import Cell
from diffurecsys.training.device import resolve_device

LAYERS = ("intermediate", "primary", "model_input", "models", "working", "model_output", "reporting")
logger = logging.getLogger(__name__)


class ClockError(UserError, RuntimeError):
    """Results lie there that are newer than now."""


def check_devices(parameters: Parameters) -> None:
    """Look for every device that the study asks for before anything runs, not when its turn comes.

    Raises:
        ParameterError: one is not here; which parameter asks for it.
    """
    asked = {"evaluation.device": parameters.evaluation.device}
    for cell in parameters.study.cells:
        if cell.spec.trains:
            asked[f"models.{cell.spec.name}.training.device"] = cell.spec.training.device
    for name, device in asked.items():
        try:
            resolve_device(device)
        except ValueError as error:
            raise ParameterError(f"{name}: {error}") from error


def check_experiment_is_its_own(conf: Path, experiment: str, dataset: str) -> None:
    """Look for another folder of the configuration that gives the same experiment another dataset.

    Raises:
        ParameterError: there is one; the results of both would lie in one place.
    """
    others = {}
    for path in sorted(conf.glob("*/globals.yml")):
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeError, yaml.YAMLError):
            continue  # whoever runs it is told
        if isinstance(found, Mapping) and str(found.get("experiment")) == experiment and "dataset" in found:
            others[path.parent.name] = str(found["dataset"])
    for folder, name in others.items():
        if name != dataset:
            here = next((one for one, own in others.items() if own == dataset), "this run")
            raise ParameterError(
                f"{conf.name}/{folder}/globals.yml and {here} both have the experiment {experiment!r}, one on the "
                f"dataset {name}, the other on {dataset}: their results would lie in one place. "
                "Give one of them another name"
            )


def check_clock(catalog: DataCatalog, names: Iterable[str], now: str) -> None:
    """Compare the version that this run would write with those on disk.

    Args:
        catalog: of the run.
        names: what the run writes.
        now: its version.

    Raises:
        ClockError: newer ones exist: later runs would read those in place of this one's.
    """
    for name in names:
        dataset = catalog.get(name)
        if isinstance(dataset, AtomicSave) and dataset.newest_version > now:
            raise ClockError(
                f"{dataset._filepath} has a version of {dataset.newest_version}, later than now ({now}): "
                "the clock was set back, and what this run makes would count as older. Set the clock right, or remove "
                "those versions"
            )


def expire_damaged(catalog: DataCatalog, names: Iterable[str]) -> set[str]:
    """Return which datasets lie there but are not what was written; they count as missing from now on."""
    damaged: set[str] = set()
    for name in sorted(names):
        dataset = catalog.get(name)
        if isinstance(dataset, AtomicSave) and dataset.damaged:
            logger.warning("%s is damaged (%s): it is made again", name, dataset._get_load_path())
            dataset.expire()
            damaged.add(name)
    return damaged


def sweep_leftovers(project: Path, shared: Mapping[str, Any], experiment: str) -> None:
    """Remove what killed runs of the experiment left half-written; its lock must be held."""
    for place in dict.fromkeys(str(shared[layer]) for layer in LAYERS if layer in shared):
        folder = (local_copy_of(place) if is_remote(place) else project / place) / experiment
        if folder.is_dir() and (found := sweep_temporary(folder)):
            logger.info("Removed %d half-written file(s) of an interrupted run from %s", len(found), folder)


def sweep_checkpoints(catalog: DataCatalog, cells: Iterable[Cell], folder: Path) -> None:
    """Remove checkpoints of cells whose weights are there: their run was killed just between the two."""
    for cell in cells:
        checkpoint = checkpoint_file(folder, cell)
        both = (checkpoint, checkpoint.with_name(f"again_{checkpoint.name}"))
        if any(path.exists() for path in both) and catalog.exists(f"{cell.namespace}.weights"):
            for path in both:
                path.unlink(missing_ok=True)
