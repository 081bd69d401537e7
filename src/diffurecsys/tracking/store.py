"""The tracking store: where it is, whether it can be used, in seconds, and in words if not."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from diffurecsys.errors import UserError
from diffurecsys.files import flush_folder

SQLITE = "sqlite:///"
SETTING = "server.mlflow_tracking_uri in mlflow.yml"
PATIENCE = 3.0  # seconds that a store has to answer
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_FEW_RETRIES = {  # MLflow's own are minutes long
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class StoreError(UserError, RuntimeError):
    """The tracking store cannot be used."""


def absolute_uri(uri: str, project: Path) -> str:
    """Place a relative SQLite file in the project, wherever the command runs; other stores are as they are.

    SQLAlchemy reads `?` and `%` of a path as parts of an address: they are escaped.
    """
    if not uri.startswith(SQLITE) or uri.removeprefix(SQLITE) in ("", ":memory:"):
        return uri
    path = uri.removeprefix(SQLITE)
    if Path(path).is_absolute():
        return uri
    return _uri_of(project / path)


def _uri_of(file: Path) -> str:
    path = file.as_posix()
    return SQLITE + (quote(path, safe="/:") if set("?%") & set(path) else path)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for other stores."""
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(unquote(path)) if uri.startswith(SQLITE) and path not in ("", ":memory:") else None


@contextmanager
def alone_in(uri: str) -> Iterator[None]:
    """Hold the lock of a SQLite store while its tables are made: two first runs must not both do so."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock"), timeout=120):
        if not file.exists():
            _make(file)
        yield
    remove_misread_folders(uri)


def check_store(uri: str) -> None:
    """Refuse a store that cannot be used now.

    Raises:
        StoreError: it is locked, damaged, cannot be written, or does not answer; which setting names it.
    """
    for name, value in _FEW_RETRIES.items():
        os.environ.setdefault(name, value)
    if (file := sqlite_file(uri)) is not None:
        _check_file(file)
        return
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if not parts.hostname or scheme not in _PORTS:
        return
    try:
        address = (parts.hostname, parts.port or _PORTS[scheme])
        with socket.create_connection(address, timeout=PATIENCE):
            pass
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the MLflow server {parts.hostname} does not answer ({error}): start it, or name another one as {SETTING}"
        ) from error


def _check_file(file: Path) -> None:
    if not file.exists():
        if not os.access(_existing(file.parent), os.W_OK):
            raise StoreError(f"the MLflow store {file} cannot be made, its folder cannot be written; see {SETTING}")
        return
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise StoreError(
                f"the MLflow store {file} is locked by another process: end that one (another run, a copy in "
                f"progress), or name another store as {SETTING}"
            ) from error
        raise StoreError(f"the MLflow store {file} cannot be used ({error}); see {SETTING}") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(file, error) from error
    if found != "ok":
        raise _damaged(file, found)


def _make(file: Path) -> None:
    """Make the tables beside the file's place and move them there: a kill leaves no half of them."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine  # a second, for first runs alone

    half = file.with_name(f".{file.name}.new")
    half.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(_uri_of(half))  # type: ignore[no-untyped-call]
    try:
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
    half.replace(file)
    flush_folder(file.parent)


def _damaged(file: Path, reason: object) -> StoreError:
    return StoreError(
        f"the MLflow store {file} is damaged ({reason}): move it away, and the next run makes a new one and tracks all "
        f"finished cells again from their files; or name another store as {SETTING}"
    )


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def remove_misread_folders(uri: str) -> None:
    """Remove the empty folder of the escaped path, which MLflow makes whenever it opens the file of the real one."""
    file = sqlite_file(uri)
    if file is None:
        return
    escaped = Path(uri.removeprefix(SQLITE)).parent
    while escaped != file.parent and escaped not in file.parents and escaped != escaped.parent:
        with suppress(OSError):
            escaped.rmdir()
        escaped = escaped.parent
