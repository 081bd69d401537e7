"""Recommend: the best items of all users, or of those in a file, by one model of a finished study."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.conventions import ALWAYS
from diffurecsys.pipelines.recommend.nodes import recommend_to_users


def create_pipeline() -> Pipeline:
    """Write recommendations."""
    return pipeline(
        [
            node(
                recommend_to_users,
                inputs=[
                    "params:study",
                    "params:evaluation",
                    "params:recommend",
                    "split",
                    "study_ranks",
                    "user_vocabulary",
                    "item_vocabulary",
                    "item_details",
                    "read_record",
                    "models_folder",
                    "raw_folder",
                    "recommendations_folder",
                ],
                outputs=["recommendations_record", "recommendations_table"],
                name="recommend_to_users",
                tags=ALWAYS,
            )
        ]
    )
