"""What the pipelines share: copies of a base pipeline, a tag, the checkpoints' places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kedro.pipeline import Pipeline, pipeline

from diffurecsys.study import Cell

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
    return Pipeline(  # at once: a sum would look at every node again for every cell
        [pipeline(base, namespace=cell.namespace, inputs=shared - parameters, parameters=parameters) for cell in cells]
    )
