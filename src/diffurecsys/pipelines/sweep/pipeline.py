"""Sweep: rankers beside the same rankers with other values of one parameter."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from diffurecsys.pipelines.boxes import box
from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.inference.nodes import Probes
from diffurecsys.pipelines.sweep.nodes import tabulate_sweeps
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Set every varied ranker beside its variants; nothing where nothing is varied."""
    if not study.varied:
        return Pipeline([])
    probed = [name for name in Probes.of(study).tables if name in ("spread", "probe_comparisons")]
    parameters = {name: f"params:{name}" for name in ("study", "evaluation", "significance")}
    sweeps = node(
        tabulate_sweeps,
        inputs={
            **parameters,
            "study_ranks": "study_ranks",
            "study_cells": "study_cells",
            **{name: f"{name}_table" for name in probed},
        },
        outputs="sweeps_table",
        name="tabulate_sweeps",
        tags=ALWAYS,
    )
    return box([sweeps], "sweeps")  # `sweep` holds the cells
