"""Final fit: the model that goes into use, trained on everything once validation has chosen it."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.final_fit.nodes import fit_on_everything


def create_pipeline() -> Pipeline:
    """Fit the chosen ranker on all events."""
    return pipeline(
        [
            node(
                fit_on_everything,
                inputs=[
                    "params:study",
                    "params:evaluation",
                    "params:final_fit",
                    "split",
                    "study_ranks",
                    "study_cells",
                    "item_vocabulary",
                    "models_folder",
                    "working_folder",
                    "raw_folder",
                ],
                outputs=["final_history", "final_record", "final_catalogue", "final_weights"],
                name="fit_on_everything",
                tags=ALWAYS,
            )
        ]
    )
