"""Inference: what samples, ensembles, Algorithm 3 and fewer reverse steps do; only of rankers that have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.boxes import box, of_cells
from diffurecsys.pipelines.conventions import ALWAYS, per_cell
from diffurecsys.pipelines.inference.nodes import (
    Probes,
    probe_from_last_item,
    probe_samples,
    probe_steps,
    probe_training_seeds,
    summarise_probes,
)
from diffurecsys.study import Cell, Study

SHARED = {"evaluation": "params:evaluation", "probes": "params:probes", "data": "split"}
OF_CELL = {"cell": "params:cell", "weights": "weights", **SHARED}

PROBES: dict[str, tuple[Callable[..., Any], str | list[str]]] = {
    "probe_samples": (probe_samples, ["sampled_ranks", "recommendations"]),
    "probe_from_last_item": (probe_from_last_item, "algorithm_3_ranks"),
    "probe_steps": (probe_steps, ["stepped_ranks", "step_times"]),
}


def create_pipeline(study: Study) -> Pipeline:
    """Probe every cell whose ranker samples or walks reverse steps, the sweeps' included; sum up by ranker."""
    probes = Probes.of(study)
    if not probes.cells:
        return Pipeline([])
    asked = {
        "probe_samples": probes.sampling,
        "probe_from_last_item": probes.from_last_item,
        "probe_steps": probes.stepping,
    }
    single = [_per_cell(name, cells) for name, cells in asked.items() if cells]
    together = [_ensembles(cells) for cells in probes.repeated]
    return Pipeline([*single, *together, _summary(probes)])


def _per_cell(name: str, cells: tuple[Cell, ...]) -> Pipeline:
    function, outputs = PROBES[name]
    return per_cell(pipeline([node(function, inputs=OF_CELL, outputs=outputs, name=name)]), cells, own=["weights"])


def _ensembles(cells: tuple[Cell, ...]) -> Pipeline:
    """Average a ranker's training seeds inside its box."""
    weights = of_cells(cells, "weights")
    ensembles = node(
        probe_training_seeds,
        inputs={**SHARED, **{name: name for name in weights}},
        outputs="training_ensembles",
        name="probe_training_seeds",
    )
    return box([ensembles], cells[0].group, renamed=weights, prefix=True)


def _summary(probes: Probes) -> Pipeline:
    tables = {
        **of_cells(probes.sampling, "sampled_ranks", "recommendations"),
        **of_cells(probes.from_last_item, "algorithm_3_ranks"),
        **of_cells(probes.stepping, "stepped_ranks", "step_times"),
        **probes.ensembles,
    }
    names = ["study", "evaluation", "groups", "significance"]
    summary = node(
        summarise_probes,
        inputs={**{name: f"params:{name}" for name in names}, "data": "split", **{name: name for name in tables}},
        outputs={name: f"{name}_table" for name in probes.tables},
        name="summarise_probes",
        tags=ALWAYS,
    )
    return box([summary], "inference", renamed=tables)
