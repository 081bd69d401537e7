"""Places on disk that nodes read and write by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from diffurecsys.objects import ObjectError, fetch_folder, is_remote, local_copy_of


class PathDataset(AbstractDataset[None, Path]):
    """A place on disk that a node reads or writes by itself; loading gives the absolute path."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        if is_remote(filepath):
            raise ObjectError(
                f"{filepath}: what lies there is read and written in place (archives, checkpoints, locks): it must be "
                "a folder of this machine or one that machines share; globals.yml names it"
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


class FinishedCellsDataset(PathDataset):
    """The folder of an experiment's finished cells, which nodes only read; of object storage it is a copy.

    Those of other experiments, beside it, are fetched, too: a cell of theirs may be the very same.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._place = filepath
        local = local_copy_of(filepath).as_posix() if is_remote(filepath) else filepath
        super().__init__(filepath=local, metadata=metadata)

    def load(self) -> Path:
        """Return the path, which need not exist, with what lies there now."""
        if is_remote(self._place):
            fetch_folder(self._place.rpartition("/")[0])
        return super().load()
