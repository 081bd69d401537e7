"""Describe: what a dataset is like, on one page."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.describe.nodes import describe_dataset


def create_pipeline() -> Pipeline:
    """Describe what ingestion and preprocessing have made."""
    return pipeline(
        [
            node(
                describe_dataset,
                inputs=[
                    *("params:experiment", "params:dataset", "counts", "read_record", "sequences", "item_vocabulary"),
                    *("item_details", "split", "reporting_folder"),
                ],
                outputs=["dataset_html", "dataset_md", "dataset_facts"],
                name="describe_dataset",
            )
        ]
    )
