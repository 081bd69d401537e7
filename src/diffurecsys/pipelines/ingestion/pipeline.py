"""Ingestion: from an archive at its host, or generated, to a table of interactions."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node, pipeline

from diffurecsys.pipelines.ingestion.nodes import obtain_archive, read_archive


def create_pipeline() -> Pipeline:
    """Fetch or generate the archive, and read it."""
    return pipeline(
        [
            node(
                obtain_archive,
                inputs=["params:dataset", "params:download", "raw_folder"],
                outputs="archive",
                name="obtain_archive",
            ),
            node(
                read_archive,
                inputs=["params:dataset", "archive", "raw_folder"],
                outputs="interactions",
                name="read_archive",
            ),
        ]
    )
