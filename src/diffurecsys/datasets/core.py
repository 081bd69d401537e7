"""Files that the framework-free core reads and writes: splits, weights, catalogues of items."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro.io import AbstractVersionedDataset, Version

from diffurecsys.data.split import load_split, save_split
from diffurecsys.datasets.atomic import AtomicSave
from diffurecsys.models.weights import load_weights, save_weights
from diffurecsys.serving.catalogue import Catalogue


class _LocalFile(AbstractVersionedDataset[Any, Any]):
    """One local file, read and written by functions of the core: `read(path)` and `write(data, path)`."""

    read: ClassVar[Any]
    write: ClassVar[Any]

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def load(self) -> Any:  # noqa: ANN401
        return type(self).read(Path(self._get_load_path()))

    def save(self, data: Any) -> None:  # noqa: ANN401
        type(self).write(data, Path(self._get_save_path()))

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


class WeightsDataset(AtomicSave, _LocalFile):
    """Weights of one ranker as a safetensors file, saved atomically."""

    read, write = staticmethod(load_weights), staticmethod(save_weights)


class CatalogueDataset(AtomicSave, _LocalFile):
    """The items of a model that is used, as Parquet, saved atomically."""

    read, write = staticmethod(Catalogue.load), staticmethod(Catalogue.save)


class SplitDataset(AtomicSave, _LocalFile):
    """Sequences and their split as one NumPy archive, saved atomically."""

    read, write = staticmethod(load_split), staticmethod(save_split)
