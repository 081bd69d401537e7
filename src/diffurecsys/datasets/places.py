"""Places on disk that nodes read and write by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from diffurecsys.objects import ObjectError, fetch_folder, is_remote, local_copy_of, tidy


class PathDataset(AbstractDataset[None, Path]):
    """A place on disk that a node reads or writes by itself; loading gives the absolute path."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        if is_remote(filepath):
            raise ObjectError(
                f"{filepath}: what lies there is read and written in place (archives, checkpoints, locks): it must be "
                "a folder of this machine or one that machines share; globals.yml names it (where `models` is object "
                "storage's, `working` names such a folder)"
            )
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the path, which need not exist."""
        return self._filepath

    def save(self, data: None) -> None:
        """Refuse: what lies there is written by nodes.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{self._filepath} is written by nodes, not by the catalog")

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}


class WrittenFolderDataset(PathDataset):
    """A folder whose files nodes write and read one by one; of object storage a place for their copies.

    `diffurecsys.objects.publish_copy` sends a file that is whole, `fetch_copy` gets one.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._place = tidy(filepath) if is_remote(filepath) else ""
        super().__init__(
            filepath=local_copy_of(filepath).as_posix() if is_remote(filepath) else filepath, metadata=metadata
        )

    def load(self) -> Path:
        """Return the path, which need not exist, on the machine that asks."""
        return local_copy_of(self._place) if self._place else super().load()


class ReadFolderDataset(WrittenFolderDataset):
    """A folder whose files are listed and read; of object storage a copy, made anew of what has changed."""

    def load(self) -> Path:
        """Return the path, which need not exist, with what lies there now."""
        return fetch_folder(self._place) if self._place else super().load()


class FinishedCellsDataset(ReadFolderDataset):
    """The folder of an experiment's finished cells.

    Those of other experiments, beside it, are fetched, too: a cell of theirs may be the very same.
    """

    def load(self) -> Path:
        """Return the path, which need not exist, with what lies there now."""
        above, _, own = self._place.rpartition("/")
        return fetch_folder(above) / own if self._place else super().load()
