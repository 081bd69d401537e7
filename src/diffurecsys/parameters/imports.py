"""Rankers of other tools, of which nothing but ranks is known."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffurecsys.models.imported import IMPORTED, ImportedConfig
from diffurecsys.parameters.errors import ParameterError, typed
from diffurecsys.parameters.sections import ImportParameters, Parameters
from diffurecsys.study import RankerSpec
from diffurecsys.training.config import TrainingConfig


def read_imports(raw: Mapping[str, Any], problems: list[str]) -> list[RankerSpec]:
    """Make rankers of the tables that other tools wrote."""
    entries, found = raw.get("import_ranks") or {}, []
    if not isinstance(entries, Mapping):
        problems.append(f"import_ranks: must map names to files (got {entries!r})")
        return []
    for name, entry in entries.items():
        known = typed(ImportParameters, entry, f"import_ranks.{name}", problems)
        if str(name) in (raw.get("models") or {}):
            problems.append(f"import_ranks.{name}: there is a ranker of this name in models; choose another")
        elif known is not None:
            found.append(RankerSpec(str(name), IMPORTED, known.role, ImportedConfig(known.file), TrainingConfig()))
    return found


def with_digests(parameters: Parameters, folder: Path) -> Parameters:
    """Put the digests of imported tables into their rankers, so that another file is another ranker.

    Args:
        parameters: as validated.
        folder: where the tables lie.

    Raises:
        ParameterError: a table is not there.
    """
    specs = []
    for spec in parameters.study.specs:
        network = spec.network
        if isinstance(network, ImportedConfig):
            path = folder / network.file
            if not path.is_file():
                raise ParameterError(f"import_ranks.{spec.name}.file: there is no file {path}")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            spec = dataclasses.replace(spec, network=dataclasses.replace(network, digest=digest))
        specs.append(spec)
    return dataclasses.replace(parameters, study=dataclasses.replace(parameters.study, specs=tuple(specs)))
