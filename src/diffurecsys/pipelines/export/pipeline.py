"""Export: what another machine needs to fit the study's cells, beside the split itself."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.export.nodes import list_missing_cells


def create_pipeline() -> Pipeline:
    """List the cells that are still to be fitted."""
    return pipeline(
        [
            node(
                list_missing_cells,
                inputs=["params:study", "split", "imported_cells"],
                outputs="missing_cells",
                name="list_missing_cells",
                tags=ALWAYS,  # cells may have been finished elsewhere
            )
        ]
    )
