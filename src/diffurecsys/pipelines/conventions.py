"""What the pipelines share: copies of base pipelines, the pairs to compare, a tag, the checkpoints' places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from kedro.pipeline import Pipeline, pipeline

from diffurecsys.study import Cell, Study

ALWAYS = "always"  # tag of nodes that sum up the study and are never up to date


def checkpoint_file(folder: Path, cell: Cell) -> Path:
    """Return where a cell's training keeps its checkpoint, under the models' `folder`."""
    return folder / cell.group / f"seed_{cell.seed}" / "checkpoint.pt"


def per_cell(base: Pipeline, cells: Iterable[Cell], *, own: Iterable[str] = ()) -> Pipeline:
    """Put a copy of `base` into each cell's namespace.

    Args:
        base: nodes that read `params:cell` and, among their inputs, datasets and parameters that all cells share.
        cells: the cells.
        own: inputs of `base` that belong to the cell and not to the study.
    """
    private = {*own, "params:cell"}
    shared = base.inputs() - private
    parameters = {name for name in shared if name.startswith("params:")}
    return sum(
        (pipeline(base, namespace=cell.namespace, inputs=shared - parameters, parameters=parameters) for cell in cells),
        start=Pipeline([]),
    )


def per_model(base: Pipeline, cells: Sequence[Cell], *, own: Mapping[str, Sequence[Cell]]) -> Pipeline:
    """Put a copy of `base`, which sums up one model's cells, into the model's namespace.

    Its outputs leave the model's namespace as `<model>_<output>`, those of a sweep's variant stay in the sweep's.

    Args:
        base: nodes whose inputs from cells are named `<dataset>_<seed>`.
        cells: the model's cells.
        own: the datasets of cells that `base` reads, each with the cells it reads them of.
    """
    first = cells[0]
    names = {f"{name}_{cell.seed}": f"{cell.namespace}.{name}" for name, of in own.items() for cell in of}
    shared = base.inputs() - set(names) - {"params:cell"}
    parameters = {name for name in shared if name.startswith("params:")}
    return pipeline(
        base,
        namespace=first.group,
        inputs={**names, **{name: name for name in shared - parameters}},
        parameters=parameters,
        outputs={name: f"{first.group}_{name}" for name in base.outputs()},
    )


def study_pairs(study: Study) -> list[tuple[str, str]]:
    """Return (model, reference): each model against those named before it, then each against every baseline."""
    models = [(model, reference) for reference, model in combinations(study.models, 2)]
    return models + [(model, baseline) for model in study.models for baseline in study.baselines]
