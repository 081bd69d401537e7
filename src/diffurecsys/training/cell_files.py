"""A finished cell as a few small files, to be carried between machines and kept: PyTorch and NumPy alone.

| file | content |
|---|---|
| record.json | what made it, what it cost, what it ran on; see `fit_cell` |
| history.json | one object an epoch |
| validation_ranks.npz, test_ranks.npz | `greater`, `tied`, `greater_unseen`, `tied_unseen` in the order of the users |
| weights.pt | tensors by name; may be left out |
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffurecsys.data.split import StudyData
from diffurecsys.data.store import Examples
from diffurecsys.errors import DataError
from diffurecsys.evaluation.ranks import Ranks
from diffurecsys.files import atomic_path, content_digest
from diffurecsys.models.weights import digest_state
from diffurecsys.study import INCIDENTAL, Cell
from diffurecsys.training.fit import FittedCell
from diffurecsys.training.records import EpochRecord

logger = logging.getLogger(__name__)

RECORD, HISTORY, WEIGHTS = "record.json", "history.json", "weights.pt"
PLACES = ("greater", "tied", "greater_unseen", "tied_unseen")


@dataclass(frozen=True)
class CellFiles:
    """A cell as read from its files.

    Attributes:
        record: what made it and what it cost.
        history: one record an epoch.
        ranks: of `validation` and `test`.
        state: the weights; None where they were left out.
    """

    record: dict[str, Any]
    history: tuple[EpochRecord, ...]
    ranks: dict[str, Ranks]
    state: dict[str, Tensor] | None


def cell_folder(root: Path, cell: Cell) -> Path:
    """Return where a cell's files lie under `root`: `diffurec/seed_0`, `sweep.diffurec_delta_0/seed_0`."""
    return root / cell.group / f"seed_{cell.seed}"


def save_cell_files(folder: Path, fitted: FittedCell, ranks: Mapping[str, Ranks], *, weights: bool) -> None:
    """Write a cell's files in place of others; a folder with a record is whole, so that goes first and comes last."""
    for outdated in (RECORD, WEIGHTS):
        (folder / outdated).unlink(missing_ok=True)
    if weights:
        with atomic_path(folder / WEIGHTS) as temporary:
            torch.save(fitted.weights.state, temporary)
    for part, found in ranks.items():
        arrays = {name: _smallest(getattr(found, name)) for name in PLACES}
        with atomic_path(folder / f"{part}_ranks.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes names for options
    _write_json(folder / HISTORY, [dataclasses.asdict(record) for record in fitted.history])
    digest = digest_state(fitted.weights.state) if weights else None
    files = {name: content_digest(folder / name) for name in (HISTORY, *(f"{part}_ranks.npz" for part in ranks))}
    record = {**fitted.record, "weights_digest": digest, "files": files}
    _write_json(folder / RECORD, {**record, "digest": _record_digest(record)})


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read what made the cell in a folder; None where there is no finished one.

    Raises:
        DataError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        if "digest" in record and _record_digest(record) != record["digest"]:  # older ones have none
            raise ValueError("it is not what was written")
    except ValueError as error:  # of JSON and of UTF-8, too
        raise DataError(
            f"the finished cell in {folder} cannot be used ({RECORD}: {error}): remove the folder"
        ) from error
    return record


def find_cell(folder: Path, cell: Cell, data: StudyData) -> Path | None:
    """Return where this very cell lies finished: among an experiment's own, or else among those of another experiment.

    Args:
        folder: with the experiment's finished cells; other experiments' lie beside it.
        cell: with the settings and the seed that it must have been made with.
        data: that it must have been made from.

    Raises:
        DataError: a record is damaged.
    """
    own = cell_folder(folder, cell)
    if (record := read_record(own)) is not None:
        if not (others := differences(record, cell, data)):
            return own
        logger.warning("The finished cell in %s is not used: it was made with %s", own, "; ".join(others[:5]))
    for experiment in sorted(path for path in folder.parent.glob("*") if path.is_dir() and path != folder):
        place = cell_folder(experiment, cell)
        if (record := read_record(place)) is not None and not differences(record, cell, data):
            return place
    return None


def load_cell_files(folder: Path, data: StudyData) -> CellFiles:
    """Read a cell's files.

    Args:
        folder: that holds them.
        data: which the cell was made from.

    Raises:
        DataError: a file is missing or damaged, or belongs to other data.
    """
    if (record := read_record(folder)) is None:
        raise DataError(f"there is no finished cell in {folder}")
    try:
        for name, digest in record.get("files", {}).items():
            if content_digest(folder / name) != digest:
                raise DataError(f"{name} is damaged")
        history = tuple(EpochRecord(**row) for row in json.loads((folder / HISTORY).read_text(encoding="utf-8")))
        if record["data"] != data.fingerprint:
            raise DataError("it was made from other sequences or another split")
        ranks = {
            part: _ranks(folder / f"{part}_ranks.npz", data, examples)
            for part, examples in (("validation", data.split.validation), ("test", data.split.test))
        }
        state = None
        if (folder / WEIGHTS).is_file():
            state = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
            if digest_state(state) != record["weights_digest"]:
                raise DataError(f"{WEIGHTS} is damaged")
    except Exception as error:
        raise DataError(f"the finished cell in {folder} cannot be used ({error}): remove the folder") from error
    return CellFiles(record, history, ranks, state)


def differences(record: Mapping[str, Any], cell: Cell, data: StudyData | None) -> list[str]:
    """Say how what made a cell's files differs from what the cell asks for: `network.width 64, here 128`.

    Data are compared where they are given.
    """
    fingerprint = record.get("data") if data is None else data.fingerprint
    now = _leaves("", {**cell.description(), "seed": cell.seed, "data": fingerprint})
    made_from = ("family", "version", "parts", "network", "training", "final_fit_on", "seed", "data")
    then = _leaves("", {name: record[name] for name in made_from if name in record})
    for part in ("network", "training"):
        if record.get(part) is not None:
            then |= _newer(part, getattr(cell.spec, part), record[part])
    absent = "absent"
    return [
        f"{name} {then.get(name, absent)}, here {now.get(name, absent)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name, absent) != now.get(name, absent) and name.removeprefix("training.") not in INCIDENTAL
    ]


def _newer(name: str, config: Any, record: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return the options that are newer than a record: they had their defaults, those of a network inside, too."""
    found: dict[str, Any] = {}
    for option in dataclasses.fields(config):
        place, value = f"{name}.{option.name}", getattr(config, option.name)
        if option.name in record:
            if dataclasses.is_dataclass(value) and isinstance(record[option.name], Mapping):
                found |= _newer(place, value, record[option.name])
        elif option.default_factory is dataclasses.MISSING:
            found |= _leaves(place, option.default)
        else:
            found |= _leaves(place, dataclasses.asdict(option.default_factory()))
    return found


def _ranks(path: Path, data: StudyData, examples: Examples) -> Ranks:
    with np.load(path) as file:
        places = {name: file[name].astype(np.int64) for name in PLACES}
    for name, values in places.items():
        if values.shape != (len(examples),) or (values.size and values.max() >= data.store.n_items):
            raise DataError(f"{path.name} does not rank {len(examples)} users in {data.store.n_items} items ({name})")
    target = data.store.items[examples.end].long()
    return Ranks(
        user=examples.users(data.store).numpy(),
        target=target.numpy(),
        **places,
        history_length=examples.lengths.numpy(),
        target_popularity=data.popularity[target].numpy(),
    )


def _record_digest(record: Mapping[str, Any]) -> str:
    known = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _smallest(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON knows
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _leaves(prefix: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, Mapping):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    return found
