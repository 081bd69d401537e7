"""Ingestion: from an archive at its host, or files of one's own, to tables of interactions and of items."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.ingestion.nodes import obtain_archive, read_interaction_files, read_item_table


def create_pipeline() -> Pipeline:
    """Obtain the files, and read them."""
    return pipeline(
        [
            node(
                obtain_archive,
                inputs=["params:dataset", "params:download", "raw_folder"],
                outputs="archive",
                name="obtain_archive",
            ),
            node(
                read_interaction_files,
                inputs=["params:dataset", "archive", "raw_folder", "scratch_folder"],
                outputs=["interactions", "read_record"],
                name="read_interaction_files",
            ),
            node(
                read_item_table,
                inputs=["params:dataset", "archive", "raw_folder", "scratch_folder"],
                outputs="item_details",
                name="read_item_table",
            ),
        ]
    )
