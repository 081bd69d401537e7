"""Files that are whole or absent, never half-written, and that say so when they are no longer what was written."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffurecsys.errors import UnwritableError

TEMPORARY = ".tmp"
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is flushed to disk and takes `path`'s place.

    If the block raises, the temporary file is removed and whatever stood at `path` stays. The folder is flushed, too:
    after a power loss the name leads to the old or to the new content.

    Raises:
        UnwritableError: the disk is full, or may not be written; what to do.
    """
    try:
        with _temporary_beside(path) as temporary:
            yield temporary
    except Exception as error:  # DuckDB, SQLite and pyarrow have their own for a full disk
        if (reason := _unwritable(error)) and not isinstance(error, UnwritableError):
            raise UnwritableError(
                f"{path} cannot be written ({reason}): make room there, or name another place for the results in "
                "globals.yml, then run again with --only-missing-outputs. Nothing that was finished is lost"
            ) from error
        raise


def _unwritable(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return os.strerror(error.errno)
    found = re.search("no space left on device|disk is full|read-only file system", str(error), re.IGNORECASE)
    return found.group() if found else ""


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the name of a folder that the block makes; on success it takes the place of `path`.

    A kill between the removal of an old folder and the renaming leaves none at `path`, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    outer = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY))
    try:
        yield outer / "new"
        for part in (outer / "new").iterdir():
            with part.open("rb") as written:
                os.fsync(written.fileno())
        if path.exists():
            path.replace(outer / "old")
        (outer / "new").replace(path)
        flush_folder(path.parent)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Have the names in a folder survive a power loss, where the system can."""
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def seal_of(path: Path) -> Path:
    """Return where the digest of a file's content is kept."""
    return path.with_name(f".{path.name}.sha256")


def content_digest(path: Path) -> str:
    """Digest a file's bytes; of a folder the names and bytes of all files that are data."""
    if path.is_dir():
        parts = sorted(part for part in path.iterdir() if not part.name.startswith((".", "_")))
        return hashlib.sha256("".join(f"{part.name} {content_digest(part)}\n" for part in parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path, digest: str) -> None:
    """Record what was written to `path`. Call `unseal` before: a kill in between leaves a file without seal."""
    with atomic_path(seal_of(path)) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="utf-8")


def unseal(path: Path) -> None:
    """Forget what was written to `path`."""
    seal_of(path).unlink(missing_ok=True)


def is_damaged(path: Path) -> bool:
    """Whether a file is not what was written to it; one that was never sealed is trusted."""
    try:
        recorded = seal_of(path).read_text(encoding="utf-8", errors="replace").split()
    except FileNotFoundError:
        return False
    return path.exists() and recorded[:1] != [content_digest(path)]


def sweep_temporary(folder: Path) -> list[Path]:
    """Remove what killed processes left half-written under a folder in which nobody else writes."""
    found = list(folder.rglob(f".*{TEMPORARY}"))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return found
