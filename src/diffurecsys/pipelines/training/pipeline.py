"""Training: one cell a model and seed."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import per_cell
from diffurecsys.pipelines.training.nodes import train_model
from diffurecsys.study import Study


def create_pipeline(study: Study) -> Pipeline:
    """Train every model of the study under every seed."""
    base = pipeline(
        [
            node(
                train_model,
                inputs=[
                    "params:cell",
                    "params:model",
                    "params:training",
                    "sequences",
                    "item_vocabulary",
                    "train_examples",
                    "validation_examples",
                    "test_examples",
                    "checkpoint_folder",
                ],
                outputs=["history", "training_summary", "weights"],  # weights last: then the checkpoint goes
                name="train_model",
            )
        ]
    )
    return per_cell(base, study.trained)
