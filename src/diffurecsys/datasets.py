"""Catalog datasets that are whole or absent, notice damage, and can be told that they are out of date."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NoReturn

from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version
from kedro_datasets import ibis, json, matplotlib, pandas, plotly, text
from matplotlib.figure import Figure

from diffurecsys.data.spark import connect_spark, write_parquet_folder
from diffurecsys.data.split import StudyData, load_split, save_split
from diffurecsys.data.staged import put_into_place, staged_file
from diffurecsys.data.stored import DUCKDB, SPARK
from diffurecsys.errors import UserError
from diffurecsys.files import atomic_folder, atomic_path, content_digest, is_damaged, seal, unseal
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights
from diffurecsys.objects import ObjectError, RemoteFile, fetch_folder, is_remote, local_copy_of
from diffurecsys.serving.catalogue import Catalogue


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
            self._remote = RemoteFile(filepath, local_copy_of(filepath))
            filepath = self._remote.local.as_posix()
        super().__init__(filepath=filepath, **arguments)  # type: ignore[call-arg]

    def expire(self) -> None:
        """Count as missing from now on, whatever lies on disk."""
        self._expired = True

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
        """
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
        if self._remote is not None:
            self._remote.fetch(Path(self._get_load_path()))  # type: ignore[attr-defined]
        return is_damaged(Path(self._get_load_path()))  # type: ignore[attr-defined]

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


class _TableFile(ibis.FileDataset):
    def save(self, data: Any) -> None:  # noqa: ANN401 - an Ibis table
        if (staged := staged_file(data)) is not None:
            put_into_place(staged, Path(self._get_save_path()))
        else:
            super().save.__wrapped__(self, data)


class IbisFileDataset(AtomicSave, _TableFile):
    """`ibis.FileDataset`, saved atomically, with a connection a thread: DuckDB's take one query at a time.

    DuckDB writes files. Spark writes folders of them; DuckDB reads those, too.
    """

    def __init__(
        self,
        *,
        filepath: str,
        connection: dict[str, Any] | None = None,
        **arguments: Any,  # noqa: ANN401
    ) -> None:
        if is_remote(filepath) and (connection or {}).get("backend") == SPARK:
            raise ObjectError(
                f"{filepath}: tables of Spark must lie in folders that all its machines share, as no object storage "
                "puts a folder into place in one step: name such folders for intermediate and primary in globals.yml, "
                "or take connection: {backend: duckdb}"
            )
        super().__init__(filepath=filepath, connection=connection, **arguments)

    def load(self) -> Any:  # noqa: ANN401 - an Ibis table
        """Read a file, or a folder of Parquet files.

        Raises:
            DamagedFileError: naming the file and what to do.
        """
        path = Path(self._get_load_path())
        if not path.is_dir() or self._backend != DUCKDB:
            return super().load()
        if self.damaged:
            self._refuse_damaged()
        return self.connection.read_parquet(f"{path}/*.parquet")

    def save(self, data: Any) -> None:  # noqa: ANN401 - an Ibis table
        """Write beside the destination, then replace it in one step."""
        path = Path(self._get_save_path())
        if self._backend == DUCKDB:
            if path.is_dir():  # Spark's, before the experiment's connection was changed
                shutil.rmtree(path)
            super().save(data)
            return
        with atomic_folder(path) as temporary:
            write_parquet_folder(data, self.connection, temporary)
            digest = content_digest(temporary)
            unseal(path)
        seal(path, digest)
        self._expired = False

    @property
    def _backend(self) -> str:
        return str(self._connection_config["backend"])

    def _connect(self) -> Any:  # noqa: ANN401 - any Ibis backend
        if self._backend == SPARK:
            return connect_spark({name: v for name, v in self._connection_config.items() if name != "backend"})
        return super()._connect()

    @property
    def _connection(self) -> Any:  # noqa: ANN401 - any Ibis backend
        key = (os.getpid(), threading.get_ident(), repr(sorted(self._connection_config.items())))
        if key not in self._connections:
            self._connections[key] = self._connect()
        return self._connections[key]

    @classmethod
    def close_connections(cls) -> None:
        """Leave all backends; the next load or save connects again."""
        while cls._connections:
            cls._connections.popitem()[1].disconnect()


# DuckDB complains of connections that outlive Python's modules; finalizers run newest first, cached tables before this
weakref.finalize(IbisFileDataset, IbisFileDataset.close_connections)


class ParquetDataset(AtomicSave, pandas.ParquetDataset):
    """`pandas.ParquetDataset`, saved atomically."""


class CSVDataset(AtomicSave, pandas.CSVDataset):
    """`pandas.CSVDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8", "newline": ""}}


class JSONDataset(AtomicSave, json.JSONDataset):
    """`json.JSONDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {"open_args_save": {"mode": "w", "encoding": "utf-8"}}


class TextDataset(AtomicSave, text.TextDataset):
    """`text.TextDataset`, saved atomically, in UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
    }


class PlotlyDataset(AtomicSave, plotly.JSONDataset):
    """`plotly.JSONDataset`, saved atomically."""


class MatplotlibDataset(AtomicSave, matplotlib.MatplotlibDataset):
    """`matplotlib.MatplotlibDataset`, saved atomically."""


class FigureDataset(MatplotlibDataset):
    """A Matplotlib figure as PNG, and beside it as SVG for papers."""

    def save(self, data: Figure) -> None:
        """Write both files."""
        svg = Path(self._get_save_path()).with_suffix(".svg")
        super().save(data)
        with atomic_path(svg) as temporary:
            data.savefig(temporary, format="svg", metadata={"Date": None})
        self._send(svg)


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
