"""Files of object storage (`s3://…` and whatever else fsspec knows), worked on as copies on this machine.

A file is written here, whole, then sent: an object is there as a whole or not at all. Beside each object lies its seal,
the digest of what was written, as beside local files; a copy is fetched again where its seal is not the object's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path, seal_of, unseal

CACHE = "DIFFURECSYS_CACHE"  # environment variable: where copies lie


class ObjectError(UserError, OSError):
    """Object storage cannot be used."""


def is_remote(place: str) -> bool:
    """Whether a place is object storage's."""
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme != "file"


def local_copy_of(url: str) -> Path:
    """Return where the copy of an object lies: under `$DIFFURECSYS_CACHE`, by default ~/.cache/diffurecsys."""
    root = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "diffurecsys")
    scheme, _, rest = url.partition("://")
    return root / scheme / rest


@dataclass(frozen=True)
class RemoteFile:
    """A file, or a folder with its versions, of object storage.

    Attributes:
        url: of it.
        local: its copy; what lies under it there corresponds by relative path.
    """

    url: str
    local: Path

    @cached_property
    def _fs(self) -> Any:  # noqa: ANN401 - fsspec has no annotations
        try:
            return fsspec.core.url_to_fs(self.url)[0]
        except ImportError as error:
            raise ObjectError(
                f"{self.url} needs a package that is not installed ({error}): pip install 'diffurecsys[servers]'"
            ) from error

    def url_of(self, path: Path) -> str:
        """Return the object of a copy."""
        folder = self.url.rpartition("/")[0]
        return f"{folder}/{path.relative_to(self.local.parent).as_posix()}"

    def exists(self, path: Path) -> bool:
        """Whether there is an object, as of now."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self.url_of(path)))

    def versions(self) -> list[str]:
        """Names of what lies under the folder."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self.url, detail=False)
        except FileNotFoundError:
            return []
        return [str(name).rstrip("/").rpartition("/")[2] for name in found]

    def fetch(self, path: Path) -> None:
        """Make the copy what the object is."""
        remote_seal = self.url_of(seal_of(path))
        self._fs.invalidate_cache()
        said = self._fs.cat_file(remote_seal) if self._fs.exists(remote_seal) else b""
        if path.is_file() and said and seal_of(path).is_file() and seal_of(path).read_bytes() == said:
            return
        with atomic_path(path) as temporary:
            self._fs.get_file(self.url_of(path), str(temporary))
            unseal(path)
        if said:
            with atomic_path(seal_of(path)) as temporary:
                temporary.write_bytes(said)

    def publish(self, path: Path) -> None:
        """Send a copy and its seal; a kill in between leaves an object without seal.

        Raises:
            ObjectError: the storage does not take it.
        """
        remote_seal = self.url_of(seal_of(path))
        try:
            if self._fs.exists(remote_seal):
                self._fs.rm_file(remote_seal)
            self._fs.put_file(str(path), self.url_of(path))
            if seal_of(path).is_file():
                self._fs.put_file(str(seal_of(path)), remote_seal)
        except OSError as error:
            raise ObjectError(
                f"{self.url_of(path)} cannot be written ({error}): {path} holds what was to go there"
            ) from (error)
