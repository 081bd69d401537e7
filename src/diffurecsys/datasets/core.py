"""Files that the framework-free core reads and writes: splits, weights, catalogues of items."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, Version

from diffurecsys.data.split import StudyData, load_split, save_split
from diffurecsys.datasets.atomic import AtomicSave
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights
from diffurecsys.serving.catalogue import Catalogue


class _LocalFile(AbstractVersionedDataset[Any, Any]):
    """One local file, read and written by functions of the core."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


class _WeightsFile(_LocalFile):
    def load(self) -> RankerWeights:
        return load_weights(Path(self._get_load_path()))

    def save(self, data: RankerWeights) -> None:
        save_weights(data, Path(self._get_save_path()))


class WeightsDataset(AtomicSave, _WeightsFile):
    """Weights of one ranker as a safetensors file, saved atomically."""


class _CatalogueFile(_LocalFile):
    def load(self) -> Catalogue:
        return Catalogue.load(Path(self._get_load_path()))

    def save(self, data: Catalogue) -> None:
        data.save(Path(self._get_save_path()))


class CatalogueDataset(AtomicSave, _CatalogueFile):
    """The items of a model that is used, as Parquet, saved atomically."""


class _SplitFile(_LocalFile):
    def load(self) -> StudyData:
        return load_split(Path(self._get_load_path()))

    def save(self, data: StudyData) -> None:
        save_split(data, Path(self._get_save_path()))


class SplitDataset(AtomicSave, _SplitFile):
    """Sequences and their split as one NumPy archive, saved atomically."""
