"""Files of object storage (`s3://…` and whatever else fsspec knows), worked on as copies on this machine.

A file is written here, whole, then sent: an object is there as a whole or not at all. Beside each object lies its seal,
the digest of what was written, as beside local files; a copy is fetched again where its seal is not the object's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path, seal_of, unseal

CACHE = "DIFFURECSYS_CACHE"  # environment variable: where copies lie
_VERSIONS = ".objects.json"  # in a folder of copies: of which version of its object each one is


class ObjectError(UserError, OSError):
    """Object storage cannot be used."""


def is_remote(place: str) -> bool:
    """Whether a place is object storage's."""
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme != "file"


def local_copy_of(url: str) -> Path:
    """Return where the copy of an object lies: under `$DIFFURECSYS_CACHE`, by default ~/.cache/diffurecsys."""
    scheme, _, rest = url.partition("://")
    return _copies() / scheme / rest


def _copies() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "diffurecsys")


def publish_copy(path: Path) -> None:
    """Send a file, and its seal, to the object whose copy it is; a file that is none's copy stays where it is.

    Raises:
        ObjectError: the storage does not take it.
    """
    if path.is_relative_to(_copies()):
        scheme, *rest = path.relative_to(_copies()).parts
        RemoteFile(f"{scheme}://{'/'.join(rest)}", path).publish(path)


def fetch_file(url: str, path: Path) -> None:
    """Copy an object into a file that is whole or absent.

    Raises:
        ObjectError: there is no such object, or it cannot be had.
    """
    files = _storage(url)
    with atomic_path(path) as temporary:
        _get(files, url, temporary)


def fetch_folder(url: str) -> Path:
    """Make the folder of copies what lies under a place; what has not changed there is not fetched again.

    Returns:
        The folder; empty where nothing lies there.

    Raises:
        ObjectError: the storage does not answer.
    """
    files, folder = _storage(url), local_copy_of(url)
    root = files._strip_protocol(url).rstrip("/")
    files.invalidate_cache()
    try:
        found = files.find(root, detail=True)
    except OSError as error:
        raise ObjectError(f"{url} cannot be listed ({error})") from error
    # fsspec's storages have no common name for a version: ETag, generation, time of writing; all they say is compared
    versions = {name[len(root) + 1 :]: repr(sorted(said.items())) for name, said in found.items() if name != root}
    if strange := [name for name in versions if ".." in name.split("/") or name.startswith("/")]:
        raise ObjectError(f"{url} holds {strange[0]!r}, which leads out of the folder: remove that object")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # of several processes of this machine the first fetches
        _update(folder, versions, lambda name, path: _get(files, f"{root}/{name}", path))
    return folder


def _update(folder: Path, versions: Mapping[str, str], get: Callable[[str, Path], None]) -> None:
    record = folder / _VERSIONS
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    record.unlink(missing_ok=True)  # a kill from here on leaves copies of which nothing is known
    for name, version in versions.items():
        if known.get(name) != version or not (folder / name).is_file():
            with atomic_path(folder / name) as temporary:
                get(name, temporary)
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in versions:
            path.unlink()
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(versions), encoding="utf-8")


def _storage(url: str) -> Any:  # noqa: ANN401 - fsspec has no annotations
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:  # ValueError: of a protocol that it does not know
        raise ObjectError(
            f"{url} needs a package that is not installed ({error}): pip install 'diffurecsys[servers]'"
        ) from error


def _get(files: Any, place: str, path: Path) -> None:  # noqa: ANN401
    try:
        files.get_file(place, str(path))
    except OSError as error:
        raise ObjectError(f"{place} cannot be fetched ({error or type(error).__name__})") from error


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
        return _storage(self.url)

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
