"""What made each stored dataset: a digest of the nodes, parameters and files behind it, kept beside the results.

A dataset is up to date where its recorded digest equals the one that the present configuration and data would give. So
a changed parameter, a replaced archive or another configuration of a ranker is noticed, however the files look.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from diffurecsys.data.sources.files import SourceError, files_of
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.files import atomic_path
from diffurecsys.objects import publish_copy
from diffurecsys.study import Cell

INCONSEQUENTIAL = (
    "params:download",
    "params:run",
    "params:recommend",
    "params:final_fit",
    "imported_cells",
    "models_folder",
    "reporting_folder",
    "scratch_folder",
    "tuning_store",
    "trials_folder",
    "working_folder",
)  # change no result


UNFINISHED = "unfinished"  # in place of a digest
PLAN = "DIFFURECSYS_PLAN"  # environment variable: the file of `write_plan`


class Provenance:
    """Digests of stored datasets, one small file each.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recorded(self, dataset: str) -> str | None:
        """Return what was recorded when the dataset was saved; None where nothing was."""
        path = self._folder / dataset
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def begin(self, dataset: str, digest: str) -> None:
        """Record that the dataset is about to be made by something else than before."""
        if self.recorded(dataset) != digest:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / dataset).write_text(UNFINISHED, encoding="utf-8")  # half of it says the same
            publish_copy(self._folder / dataset)

    def record(self, digests: Iterable[tuple[str, str]]) -> None:
        """Record by what each dataset was made."""
        for dataset, digest in digests:
            if self.recorded(dataset) != digest:
                with atomic_path(self._folder / dataset) as temporary:
                    temporary.write_text(digest + "\n", encoding="utf-8")
                publish_copy(self._folder / dataset)


def write_plan(folder: Path, records: Path, planned: Mapping[str, tuple[str, str]]) -> None:
    """Write down what a run is to make, for processes of a pool that know of their run its environment alone.

    Args:
        folder: for the file.
        records: folder of a `Provenance`.
        planned: dataset and digest by the dataset's file; digests are of the archive that lies there now.
    """
    path = folder / ".plan.json"
    content = {"process": os.getpid(), "records": str(records), "planned": planned}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    os.environ[PLAN] = str(path)


def discard_plan() -> None:
    """Forget this process's plan: its run is over."""
    path = Path(os.environ.get(PLAN, ""))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["process"] == os.getpid():
        path.unlink()
        del os.environ[PLAN]


@contextmanager
def recorded_as_planned(file: str) -> Iterator[None]:
    """Record what makes a dataset while it is saved, in another process than the run's own, whose hooks do that."""
    path = Path(os.environ.get(PLAN, ""))
    plan = _read_plan(path, path.stat().st_mtime_ns) if path.is_file() else {}
    if not plan or plan["process"] == os.getpid() or file not in plan["planned"]:
        yield
        return
    provenance, (dataset, digest) = Provenance(Path(plan["records"])), plan["planned"][file]
    provenance.begin(dataset, digest)
    yield
    provenance.record([(dataset, digest)])


@lru_cache(maxsize=1)
def _read_plan(path: Path, written: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def expected_digests(pipeline: Pipeline, root: Callable[[str], str]) -> dict[str, str]:
    """Return the digest of every output of a pipeline.

    Args:
        pipeline: all nodes, whether or not they are to run.
        root: gives the digest of a parameter, or of a dataset that no node of the pipeline makes.
    """
    digests: dict[str, str] = {}
    for node in pipeline.nodes:  # in order of dependence
        inputs = {}
        for name in node.inputs:
            if name not in INCONSEQUENTIAL:
                inputs[name] = digests[name] if name in digests else root(name)
        for output in node.outputs:
            digests[output] = _digest(_function(node), output, inputs)
    return digests


def describe_parameter(value: Any) -> str:  # noqa: ANN401 - any parameter
    """Return a text that differs where a parameter's value would give other results."""
    if isinstance(value, Cell):
        return json.dumps([value.spec.name, value.identity("")])
    return repr(value)


def dataset_digest(dataset: DatasetSpec, raw_folder: Path) -> str:
    """Digest the dataset's archive, or all files of its source under their names; `absent` where there is none."""
    if dataset.source is None:
        return file_digest(raw_folder / str(dataset.archive))
    try:
        files = files_of(dataset.source, raw_folder)
    except SourceError:
        return "absent"
    return _digest([(file.name, file_digest(file)) for file in files])


def file_digest(path: Path) -> str:
    """Digest a file; `absent` where there is none."""
    if not path.is_file():
        return "absent"
    status = path.stat()
    return _file_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _function(node: Node) -> str:
    return f"{node.func.__module__}.{node.func.__qualname__}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
