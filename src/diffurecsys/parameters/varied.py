"""Values that sweeps and searches put in the place of configured ones: held to the same types as these."""

from __future__ import annotations

import dataclasses
from typing import Any

from diffurecsys.parameters.errors import typed
from diffurecsys.study import RankerSpec, Study
from diffurecsys.tuning.space import Choice, TuningParameters


def unfit_value(spec: RankerSpec, setting: str, value: Any, path: str) -> list[str]:  # noqa: ANN401 - as YAML gave it
    """Say why a ranker's setting cannot have a value; nothing where it can, or where there is no such setting.

    Args:
        spec: of the ranker.
        setting: dotted, `network.width`.
        value: in place of the configured one.
        path: of the list that holds it.
    """
    *parts, name = setting.split(".")
    owner: Any = spec
    for part in parts:
        owner = getattr(owner, part, None)
    if not dataclasses.is_dataclass(owner) or isinstance(owner, type | RankerSpec) or not hasattr(owner, name):
        return []  # said elsewhere
    if value is not None and not isinstance(value, bool | int | float | str):
        return [f"{path} must hold single values, got {value!r}"]
    problems: list[str] = []
    configured = {part.name: getattr(owner, part.name) for part in dataclasses.fields(owner) if part.init}
    found = typed(type(owner), {**configured, name: value}, f"{spec.name}.{'.'.join(parts)}", problems)
    if found is not None and getattr(found, name) != value:
        problems.append(f"{spec.name}.{setting}: {value!r} is a text; write {getattr(found, name)!r} without quotes")
    return [f"{path}: {problem}" for problem in problems]


def unfit_spaces(tuning: TuningParameters, study: Study) -> list[str]:
    """Say which listed values of the searched spaces are none of their settings'."""
    return [
        problem
        for spec in study.specs
        for setting, axis in (tuning.space_of(spec) or {}).items()
        for value in (axis.values if isinstance(axis, Choice) else ())
        for problem in unfit_value(spec, setting, value, f"tuning.spaces.{tuning.entry_of(spec)}.{setting}")
    ]
