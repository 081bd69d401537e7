"""ONNX: one model of a finished study for other runtimes."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.onnx.nodes import write_onnx


def create_pipeline() -> Pipeline:
    """Write the graph, what it takes, and the items."""
    names = ("study", "evaluation", "recommend")
    return pipeline(
        [
            node(
                write_onnx,
                inputs=[
                    *(f"params:{name}" for name in names),
                    "split",
                    "study_ranks",
                    "item_vocabulary",
                    "models_folder",
                    "working_folder",
                ],
                outputs=["onnx_record", "onnx_catalogue"],
                name="write_onnx",
                tags=ALWAYS,
            )
        ]
    )
