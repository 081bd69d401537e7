"""Nodes that obtain an archive and read its interactions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import ibis

from diffurecsys.data.download import fetch_archive
from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.parameters import DownloadParameters


def obtain_archive(dataset: DatasetSpec, download: DownloadParameters, raw_folder: Path) -> dict[str, Any]:
    """Fetch the archive, generate it, or find it where it already lies."""
    record = fetch_archive(dataset, raw_folder, mirror=download.mirror, retries=download.retries)
    return {**dataclasses.asdict(record), "path": record.path.name}


def read_archive(dataset: DatasetSpec, archive: dict[str, Any], raw_folder: Path) -> ibis.Table:
    """Read the interactions in the order of the file."""
    return ibis.memtable(read_interactions(raw_folder / archive["path"], min_rating=dataset.min_rating))
