"""What is known about a dataset before it is fetched: its archive, where that lies, and what it must hold."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from diffurecsys.data.sources.spec import MICROSECONDS, SourceSpec

HOST = "https://recbole.s3-accelerate.amazonaws.com/ProcessedDatasets/"
"""The public host of RecSysDatasets' archives; `DatasetSpec.path` is relative to it."""

SAMPLE = "sample"
"""The name of the dataset that is generated, not fetched."""

MIRRORS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss")
"""What an address of archives may begin with: all but the first two are fsspec's."""

ARCHIVE_SUFFIXES = (".zip", ".inter")

_NO_FILE_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f]|^\.|^\s|[.\s]$')
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Counts:
    """Size of an interaction table.

    Attributes:
        users: distinct users.
        items: distinct items.
        interactions: rows.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    users: int
    items: int
    interactions: int

    def __post_init__(self) -> None:
        """Refuse numbers that count nothing.

        Raises:
            ValueError: naming the count and its value.
        """
        for name in ("users", "items", "interactions"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"a count of {name} must be at least 0, got {value}")

    def __str__(self) -> str:
        """Return `943 users, 1,682 items, 100,000 interactions`."""
        return f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"


@dataclass(frozen=True)
class DatasetSpec:
    """One entry of the registry of datasets.

    Attributes:
        name: the dataset's name.
        archive: file name in the raw folder: a zip with one `.inter` file, or the `.inter` file itself.
        source: files of any other kind, in place of an archive.
        path: where the archive lies, relative to `HOST`; None: it is generated, or placed in the raw folder by hand.
        raw_counts: what the file may hold, one entry for each known release; empty: not checked.
        core_counts: what may be left after filtering with thresholds `core_k`; empty: not checked.
        core_k: thresholds of users and items that `core_counts` hold for.
        sha256: of the archive, 64 hexadecimal digits; None: whatever is fetched first is trusted.
        min_rating: interactions with a lower rating are left out; None keeps all.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    archive: str | None = None
    path: str | None = None
    raw_counts: tuple[Counts, ...] = ()
    core_counts: tuple[Counts, ...] = ()
    core_k: int = 5
    sha256: str | None = None
    min_rating: float | None = None
    source: SourceSpec | None = None

    @property
    def ticks(self) -> int:
        """Timestamps in a second: microseconds from files of one's own, whatever an archive holds taken for seconds."""
        return 1 if self.source is None else MICROSECONDS

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        if not self.name.strip():
            raise ValueError(f"name must not be empty, got {self.name!r}")
        if (self.archive is None) == (self.source is None):
            raise ValueError("source needs to be there, or archive, and not both")
        for name in ("path", "sha256", "min_rating") if self.source is not None else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} belongs to an archive, not to a source; a source has source.keep and source.path"
                )
        if self.archive is not None and (
            _NO_FILE_NAME.search(self.archive) or not self.archive.endswith(ARCHIVE_SUFFIXES)
        ):
            raise ValueError(
                f"archive must be a plain file name ending in {' or '.join(ARCHIVE_SUFFIXES)}, "
                f"got {self.archive!r}; folders belong into path, and other files into source"
            )
        if self.path is not None and not _is_relative_address(self.path):
            raise ValueError(
                f"path must be relative to the host, like MovieLens/{self.archive}, got {self.path!r}; "
                "another host is named by download.mirror"
            )
        if self.core_k < 1:
            raise ValueError(f"core_k must be at least 1, got {self.core_k}")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, got {self.sha256!r}")
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise ValueError(f"min_rating must be a finite number, got {self.min_rating}")


def check_mirror(host: str) -> None:
    """Refuse what is neither the address of a host and a folder nor a place of object storage.

    Raises:
        ValueError: `mirror must be an address like https://host/folder or s3://bucket/folder, got 'abc'`.
    """
    try:
        parts = urlsplit(host)
        whole = parts.scheme in MIRRORS and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:  # brackets that do not close
        whole = False
    if not whole:
        raise ValueError(f"mirror must be an address like https://host/folder or s3://bucket/folder, got {host!r}")


def _is_relative_address(path: str) -> bool:
    return bool(path.strip()) and not re.search(
        r"\\|[\x00-\x1f?#]|^/|^[A-Za-z][A-Za-z0-9+.-]*:|(^|/)\.\.?(/|$)|/$", path
    )
