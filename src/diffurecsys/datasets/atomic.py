"""What makes a file dataset whole or absent, notice damage, and learn that it is out of date."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io import DatasetError

from diffurecsys.errors import UserError
from diffurecsys.files import atomic_path, content_digest, is_damaged, seal, unseal
from diffurecsys.objects import RemoteFile, is_remote, local_copy_of, tidy
from diffurecsys.provenance import recorded_as_planned


class DamagedFileError(UserError, DatasetError):
    """A file does not hold what was written to it."""


class AtomicSave:
    """Mixin for file datasets, local ones and those of object storage, which are sent once they are whole.

    Data is written beside its destination, flushed and moved into place: a run killed while saving leaves no
    half-written file where `--only-missing-outputs` would take it for a finished one. An `expire`d dataset counts as
    missing until it is saved again. Beside the file lies the digest of what was written (`.<name>.sha256`); reading
    anything else is an error.
    """

    _writing_to: Path | None = None
    _expired = False
    _remote: RemoteFile | None = None

    def __init__(self, *, filepath: str, **arguments: Any) -> None:  # noqa: ANN401 - of the wrapped dataset
        if is_remote(filepath):
            self._remote = RemoteFile(tidy(filepath), local_copy_of(filepath))
            filepath = self._remote.local.as_posix()
        super().__init__(filepath=filepath, **arguments)  # type: ignore[call-arg]

    def expire(self) -> None:
        """Count as missing from now on, whatever lies on disk."""
        self._expired = True

    @property
    def place(self) -> str:
        """Its file on this machine, or the folder of its versions."""
        return str(self._filepath)  # type: ignore[attr-defined]

    @property
    def expired(self) -> bool:
        """Whether it counts as missing, whatever lies on disk."""
        return self._expired

    def saved_elsewhere(self) -> None:
        """Count as there again: another process has saved it."""
        self._expired = False
        self.release()  # type: ignore[attr-defined]

    def drop_save_version(self) -> None:
        """Remove the version that this run writes, which a killed process of it may have left."""
        if self._version is not None:  # type: ignore[attr-defined]
            version = self.resolve_save_version()  # type: ignore[attr-defined]
            path = Path(self._get_versioned_path(version))  # type: ignore[attr-defined]
            path.unlink(missing_ok=True)
            unseal(path)

    def save(self, data: Any) -> None:  # noqa: ANN401 - whatever the wrapped dataset takes
        """Write beside the destination, then replace it in one step."""
        with recorded_as_planned(self.place):
            self._put(data)

    def _put(self, data: Any) -> None:  # noqa: ANN401 - not _save, which kedro would take for save
        write = super().save.__wrapped__  # type: ignore[misc]  # without kedro's wrapper, which wants the file in place
        path = Path(self._get_save_path())
        with atomic_path(path) as temporary:
            self._writing_to = temporary
            try:
                write(self, data)
            finally:
                self._writing_to = None
            digest = content_digest(temporary)
            unseal(path)
        seal(path, digest)
        self._send(path)
        self._expired = False

    def _send(self, path: Path) -> None:
        if self._remote is not None:
            self._remote.publish(path)

    def load(self) -> Any:  # noqa: ANN401 - whatever the wrapped dataset gives
        """Read, unless the file is not what was written.

        Raises:
            DamagedFileError: naming the file and what to do.
            DatasetError: the object is not there, whatever a copy holds.
        """
        if self._remote is not None:
            path = Path(self._get_load_path())  # type: ignore[attr-defined]
            if not self._remote.exists(path):
                raise DatasetError(f"{self._remote.url_of(path)} does not exist")
        if self.damaged:
            self._refuse_damaged()
        return super().load.__wrapped__(self)  # type: ignore[misc]

    def _refuse_damaged(self) -> NoReturn:
        raise DamagedFileError(
            f"{self._get_load_path()} is damaged: it does not hold what was written to it. Run again with "  # type: ignore[attr-defined]
            "--only-missing-outputs, which makes it anew, or delete it"
        )

    @property
    def damaged(self) -> bool:
        """Whether there is a file that is not what was written."""
        if not self.exists():  # type: ignore[attr-defined]
            return False
        path = self.local_file()
        damaged = is_damaged(path)
        if damaged and self._remote is not None:  # the copy, or the object?
            self._remote.fetch(path, anew=True)
            damaged = is_damaged(path)
        return damaged

    def local_file(self) -> Path:
        """Return where what would be loaded lies on this machine; of object storage a copy."""
        path = Path(self._get_load_path())  # type: ignore[attr-defined]
        if self._remote is not None:
            self._remote.fetch(path)
        return path

    @property
    def newest_version(self) -> str:
        """Name of the newest version on disk; empty where there is none."""
        versions = self._get_versions()
        return Path(versions[0]).parent.name if versions else ""

    def _get_versions(self) -> list[str]:
        """List versions, newest first; the base class would take `[` in a folder's name for a pattern."""
        if self._version is None:  # type: ignore[attr-defined]
            return []
        path = Path(self._filepath)  # type: ignore[attr-defined]
        if self._remote is not None:
            return sorted(((path / name / path.name).as_posix() for name in self._remote.versions()), reverse=True)
        found = (folder / path.name for folder in path.iterdir()) if path.is_dir() else ()
        return sorted((file.as_posix() for file in found if file.exists()), reverse=True)

    def _get_save_path(self) -> PurePosixPath:
        if self._writing_to is not None:
            return PurePosixPath(self._writing_to)
        path: PurePosixPath = super()._get_save_path()  # type: ignore[misc]
        return path

    def _exists(self) -> bool:
        if self._remote is not None and not self._expired:
            return self._remote.exists(Path(self._get_load_path()))  # type: ignore[attr-defined]
        return not self._expired and bool(super()._exists())  # type: ignore[misc]
