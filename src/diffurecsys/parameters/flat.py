"""Parameters as single values under dotted names, for trackers and reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from diffurecsys.parameters.sections import OF_USE, Parameters


def flatten(values: Any, prefix: str = "") -> dict[str, str]:  # noqa: ANN401 - dataclasses and mappings of anything
    """Return all single values of nested dataclasses and mappings under dotted names (`network.width`), as text."""
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {part.name: getattr(values, part.name) for part in dataclasses.fields(values)}
    if not isinstance(values, Mapping):
        return {prefix: str(values)}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def leaves(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Yield every single value that belongs to the study as a whole, under its dotted name."""
    for name, section in parameters.sections.items():
        if name in OF_USE:
            continue
        if name == "study":
            study = parameters.study
            yield "study.rankers", ", ".join(study.names)
            yield "study.n_seeds", str(study.n_seeds)
            yield "study.references", ", ".join(study.references)
            yield "study.final_fit_on", study.final_fit_on
        elif name != "tuning":  # of no weight but to the trials, which have runs of their own
            yield from flatten(section, name).items()
