"""Files of object storage (`s3://…` and whatever else fsspec knows), worked on as copies on this machine.

A file is written here, whole, then sent: an object is there as a whole or not at all. Beside each object lies its seal,
the digest of what was written, as beside local files; a copy is fetched again where its seal is not the object's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path, seal_of, unseal

CACHE = "DIFFURECSYS_CACHE"  # environment variable: where copies lie
_FILES, _FOLDERS = "files", "folders"  # copies of single files, and of folders that follow their objects
_VERSIONS = ".objects.json"  # in a folder of copies: of which version of its object each one is


class ObjectError(UserError, OSError):
    """Object storage cannot be used."""


def is_remote(place: str) -> bool:
    """Whether a place is object storage's."""
    scheme, found, _ = place.partition("://")
    return bool(found) and scheme.lower() != "file"


def tidy(url: str) -> str:
    """Return a place without doubled or trailing slashes, so that one object has one name."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{'/'.join(part for part in rest.split('/') if part)}"


def local_copy_of(url: str) -> Path:
    """Return where the copy of an object lies: under `$DIFFURECSYS_CACHE`, by default ~/.cache/diffurecsys."""
    return _copy_of(url, _FILES)


def _copies() -> Path:
    return Path(os.environ.get(CACHE) or "~/.cache/diffurecsys").expanduser().absolute()


def _copy_of(url: str, kind: str) -> Path:
    scheme, _, rest = tidy(url).partition("://")
    return _copies() / kind / scheme / rest


def _object_of(path: Path) -> RemoteFile | None:
    """Return the object whose copy a file is, if it is one's."""
    for kind in (_FILES, _FOLDERS):
        if path.is_relative_to(root := _copies() / kind):
            scheme, *rest = path.relative_to(root).parts
            return RemoteFile(f"{scheme}://{'/'.join(rest)}", path)
    return None


def place_of(path: Path) -> str:
    """Return where people find a file: the object whose copy it is, or its path, from here where it lies below."""
    if (remote := _object_of(path)) is not None:
        return remote.url
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def publish_copy(path: Path) -> None:
    """Send a file, and its seal, to the object whose copy it is; a file that is none's copy stays where it is.

    Raises:
        ObjectError: the storage does not take it.
    """
    if (remote := _object_of(path)) is not None:
        remote.publish(path)


def fetch_copy(path: Path) -> None:
    """Make a copy what its object is; a file that is none's copy stays as it is.

    Raises:
        ObjectError: there is no such object, or it cannot be had.
    """
    if (remote := _object_of(path)) is not None:
        remote.fetch(path)


def fetch_file(url: str, path: Path) -> None:
    """Copy an object into a file that is whole or absent.

    Raises:
        ObjectError: there is no such object, or it cannot be had.
    """
    files = _storage(url)
    with atomic_path(path) as temporary:
        _get(files, url, temporary)


def fetch_folder(url: str, only: str = "") -> Path:
    """Make the folder of copies what lies under a place; what has not changed there is not fetched again.

    Args:
        url: the place.
        only: names that end so alone, into a folder of their own.

    Returns:
        The folder; empty where nothing lies there.

    Raises:
        ObjectError: the storage does not answer.
    """
    url, folder = tidy(url), _copy_of(url, f"{_FOLDERS} {only}".strip())
    files = _storage(url)
    root = files._strip_protocol(url).rstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # of several processes of this machine the first fetches
        with _asking(url, "listed"):
            files.invalidate_cache()
            found = files.find(root, detail=True)
        # storages have no common name for a version (ETag, generation, time of writing): all that they say is compared
        said = {name[len(root) + 1 :].rstrip("/"): repr(sorted(info.items())) for name, info in found.items()}
        parents = {str(parent) for name in said for parent in Path(name).parents}  # consoles make objects of folders
        versions = {name: version for name, version in said.items() if name not in parents and name.endswith(only)}
        versions.pop("", None)
        if strange := [name for name in versions if ".." in name.split("/") or name.startswith("/")]:
            raise ObjectError(f"{url} holds {strange[0]!r}, which leads out of the folder: remove that object")
        _update(folder, versions, lambda name, path: _get(files, f"{root}/{name}", path))
    return folder


def _update(folder: Path, versions: Mapping[str, str], get: Callable[[str, Path], None]) -> None:
    record = folder / _VERSIONS
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    record.unlink(missing_ok=True)  # a kill from here on leaves copies of which nothing is known
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in versions:
            path.unlink()
    for name in sorted(versions, key=lambda name: (name.endswith(".sha256"), name)):  # seals after what they seal
        path = folder / name
        if known.get(name) != [versions[name], *_state(path)]:
            unseal(path)
            with atomic_path(path) as temporary:
                get(name, temporary)
    with atomic_path(record) as temporary:
        now = {name: [version, *_state(folder / name)] for name, version in versions.items()}
        temporary.write_text(json.dumps(now), encoding="utf-8")


def _state(path: Path) -> list[int]:
    """Size and time of a copy: it may have been written here, and not sent."""
    if not path.is_file():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _storage(url: str) -> Any:  # noqa: ANN401 - fsspec has no annotations
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:  # ValueError: of a protocol that it does not know
        raise ObjectError(
            f"{url} needs a package that is not installed ({error}): pip install 'diffurecsys[servers]'"
        ) from error


@contextmanager
def _asking(place: str, done: str) -> Iterator[None]:
    """Say of any storage's own error what could not be done where."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each storage has its own, and they share no base
        raise ObjectError(f"{place} cannot be {done} ({error or type(error).__name__})") from error


def _get(files: Any, place: str, path: Path) -> None:  # noqa: ANN401
    with _asking(place, "fetched"):
        files.get_file(place, str(path))


@dataclass(frozen=True)
class RemoteFile:
    """A file, or a folder with its versions, of object storage.

    Attributes:
        url: of it, as `tidy` gives it.
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
        with _asking(self.url_of(path), "looked for"):
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self.url_of(path)))

    def versions(self) -> list[str]:
        """Names of what lies under the folder."""
        with _asking(self.url, "listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self.url, detail=False)
            except FileNotFoundError:
                return []
            own = self._fs._strip_protocol(self.url).rstrip("/")
        names = (str(name).rstrip("/") for name in found)
        return [name.rpartition("/")[2] for name in names if name != own]

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Make the copy what the object is; `anew` also where its seal says that it is."""
        remote_seal = self.url_of(seal_of(path))
        with _asking(self.url_of(path), "fetched"):
            self._fs.invalidate_cache()
            said = self._fs.cat_file(remote_seal) if self._fs.exists(remote_seal) else b""
            same = path.is_file() and said and seal_of(path).is_file() and seal_of(path).read_bytes() == said
            if same and not anew:
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
        except Exception as error:  # each storage has its own
            raise ObjectError(
                f"{self.url_of(path)} cannot be written ({error}): {path} holds what was to go there"
            ) from (error)
