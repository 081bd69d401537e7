"""Nodes that obtain a dataset's files and read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import ibis

from diffurecsys.data.download import fetch_archive
from diffurecsys.data.recbole_files import SCHEMA, interaction_batches
from diffurecsys.data.sources import items
from diffurecsys.data.sources.files import files_of
from diffurecsys.data.sources.read import open_source_rows
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.staged import stage
from diffurecsys.parameters import DownloadParameters
from diffurecsys.provenance import dataset_digest


def obtain_archive(dataset: DatasetSpec, download: DownloadParameters, raw_folder: Path) -> dict[str, Any]:
    """Fetch the archive, generate it, or find it, or the files of a source, where they already lie."""
    if dataset.source is not None:
        size = sum(file.stat().st_size for file in files_of(dataset.source, raw_folder))
        digest = dataset_digest(dataset, raw_folder)
        return {"path": dataset.source.path, "sha256": digest, "bytes": size, "source": "local"}
    record = fetch_archive(dataset, raw_folder, mirror=download.mirror, retries=download.retries)
    return {**dataclasses.asdict(record), "path": record.path.name}


def read_interaction_files(
    dataset: DatasetSpec, archive: dict[str, Any], raw_folder: Path, scratch_folder: Path
) -> tuple[ibis.Table, dict[str, Any]]:
    """Read the interactions in the order of the files, by way of a file in `scratch_folder`.

    Returns:
        The interactions; of a source also what was read, left out and dropped: see `SourceRecord`.
    """
    if dataset.source is not None:
        with open_source_rows(dataset.source, raw_folder, scratch_folder) as (rows, record):
            return stage(rows, SCHEMA, scratch_folder), record.as_json()
    batches = interaction_batches(raw_folder / archive["path"], min_rating=dataset.min_rating)
    return stage(batches, SCHEMA, scratch_folder), {}


def read_item_table(
    dataset: DatasetSpec, _archive: dict[str, Any], raw_folder: Path, scratch_folder: Path
) -> ibis.Table:
    """Read what is known about items: `item_id`, `title`, `category`; no rows where the dataset has no such table."""
    with items.open_items(dataset.source.items if dataset.source else None, raw_folder, scratch_folder) as rows:
        return stage(rows, items.SCHEMA, scratch_folder)
