"""Tables as Ibis expressions, through DuckDB or Spark."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

from kedro_datasets import ibis

from diffurecsys.data.spark import connect_spark, write_parquet_folder
from diffurecsys.data.staged import put_into_place, staged_file
from diffurecsys.data.stored import DUCKDB, SPARK
from diffurecsys.datasets.atomic import AtomicSave
from diffurecsys.files import atomic_folder, content_digest, seal, unseal
from diffurecsys.objects import ObjectError, is_remote
from diffurecsys.provenance import recorded_as_planned


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
        with recorded_as_planned(self.place):
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
