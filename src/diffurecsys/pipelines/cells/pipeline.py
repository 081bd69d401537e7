"""Cells: every ranker of the study under every seed, each in a namespace of its own."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.cells.nodes import fit_ranker, rank_targets_of_cell
from diffurecsys.pipelines.conventions import per_cell
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Fit and rank every cell of the study."""
    base = pipeline(
        [
            node(
                fit_ranker,
                inputs=["params:cell", "split", "cells_folder", "imported_cells"],
                outputs=["history", "record", "weights"],  # weights last: then the checkpoint goes
                name="fit_ranker",
            ),
            node(
                rank_targets_of_cell,
                inputs=["params:cell", "params:evaluation", "split", "record", "weights", "imported_cells"],
                outputs="ranks",
                name="rank_targets",
            ),
        ]
    )
    return per_cell(base, study.cells)
