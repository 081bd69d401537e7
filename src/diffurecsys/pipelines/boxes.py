"""Nodes put into a namespace, one box in kedro-viz, and the names under which they take datasets of many cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kedro.pipeline import Node, Pipeline, pipeline

from diffurecsys.study import Cell


def safe(dataset: str) -> str:
    """Name a dataset as a keyword argument: `sasrec__seed_0__weights` for `sasrec.seed_0.weights`."""
    return dataset.replace(".", "__")


def of_cells(cells: Iterable[Cell], *datasets: str) -> dict[str, str]:
    """Return the datasets of cells by their `safe` names."""
    names = [f"{cell.namespace}.{dataset}" for cell in cells for dataset in datasets]
    return {safe(name): name for name in names}


def box(
    nodes: Sequence[Node], name: str, *, renamed: Mapping[str, str] | None = None, prefix: bool = False
) -> Pipeline:
    """Put nodes into the namespace `name`.

    Args:
        nodes: which read and write study datasets under their own names.
        name: of the box.
        renamed: inputs whose datasets are called otherwise, as `of_cells` returns them (Kedro warns of nodes that name
            datasets with dots).
        prefix: whether outputs get the namespace's name in front.
    """
    names, base = dict(renamed or {}), Pipeline(nodes)
    shared = base.inputs() - set(names)
    parameters = {dataset for dataset in shared if dataset.startswith("params:")}
    return pipeline(
        base,
        namespace=name,
        inputs={**names, **{dataset: dataset for dataset in shared - parameters}},
        parameters=parameters,
        prefix_datasets_with_namespace=prefix,
    )
