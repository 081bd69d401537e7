"""Cells: every ranker of the study under every seed, each in a namespace of its own."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.models.imported import IMPORTED
from diffurecsys.pipelines.cells.nodes import (
    fit_ranker,
    note_imported_ranker,
    rank_targets_of_cell,
    read_ranks_of_cell,
)
from diffurecsys.pipelines.conventions import per_cell
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Fit and rank every cell of the study; read the ranks of other tools."""
    base = pipeline(
        [
            node(
                fit_ranker,
                inputs=["params:cell", "split", "working_folder", "imported_cells"],
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
    elsewhere = pipeline(
        [
            node(
                note_imported_ranker,
                inputs=["params:cell", "split"],
                outputs=["history", "record", "weights"],
                name="note_imported_ranker",
            ),
            node(
                read_ranks_of_cell,
                inputs=[
                    "params:cell",
                    "params:evaluation",
                    "split",
                    "user_vocabulary",
                    "item_vocabulary",
                    "imported_cells",
                ],
                outputs="ranks",
                name="read_ranks",
            ),
        ]
    )
    imported = [cell for cell in study.cells if cell.spec.family == IMPORTED]
    return per_cell(base, [cell for cell in study.cells if cell not in imported]) + per_cell(elsewhere, imported)
