"""Nodes that obtain a dataset's files and read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import ibis

from diffurecsys.data.download import fetch_archive
from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.sources.files import files_of
from diffurecsys.data.sources.items import read_items
from diffurecsys.data.sources.read import read_source
from diffurecsys.data.specs import DatasetSpec
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
    dataset: DatasetSpec, archive: dict[str, Any], raw_folder: Path
) -> tuple[ibis.Table, dict[str, Any]]:
    """Read the interactions in the order of the files.

    Returns:
        The interactions; of a source also what was read, left out and dropped: see `SourceRecord`.
    """
    if dataset.source is not None:
        interactions, record = read_source(dataset.source, raw_folder)
        return ibis.memtable(interactions), record.as_json()
    return ibis.memtable(read_interactions(raw_folder / archive["path"], min_rating=dataset.min_rating)), {}


def read_item_table(dataset: DatasetSpec, _archive: dict[str, Any], raw_folder: Path) -> ibis.Table:
    """Read what is known about items: `item_id`, `title`, `category`; no rows where the dataset has no such table."""
    return ibis.memtable(read_items(dataset.source.items if dataset.source else None, raw_folder))
