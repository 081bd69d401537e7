"""Preprocessing: from interactions to sequences and examples."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.preprocessing.nodes import (
    build_user_sequences,
    count_dataset,
    filter_interactions,
    split_sequences,
)


def create_pipeline() -> Pipeline:
    """Filter, order, count, check and split."""
    return pipeline(
        [
            node(
                filter_interactions,
                inputs=["interactions", "params:preprocessing", "params:split", "params:dataset"],
                outputs=["core_interactions", "raw_counts", "split_counts"],
                name="filter_interactions",
            ),
            node(
                count_dataset,
                inputs=["raw_counts", "core_interactions", "read_record", "split_counts"],
                outputs="counts",
                name="count_dataset",
            ),
            node(
                build_user_sequences,
                inputs=["params:dataset", "params:preprocessing", "params:split", "counts", "core_interactions"],
                outputs=["sequences", "user_vocabulary", "item_vocabulary"],
                name="build_user_sequences",
            ),
            node(
                split_sequences,
                inputs=["sequences", "item_vocabulary", "params:preprocessing", "params:split"],
                outputs="split",
                name="split_sequences",
            ),
        ]
    )
