"""What is wrong with a configuration, in words that name the parameter and say what it may be."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from diffurecsys.errors import UserError
from diffurecsys.parameters.limits import most_of
from diffurecsys.parameters.sections import SweepParameters

T = TypeVar("T")
SWEEPS = "dict[str, SweepParameters]"
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}  # each takes milliseconds to make


class ParameterError(UserError, ValueError):
    """The configuration has parameters that do not exist, lacks one, or gives one a value that cannot be."""


def typed(kind: type[T], raw: Any, path: str, problems: list[str]) -> T | None:  # noqa: ANN401
    """Make a `kind` of plain values; None where that cannot be, and `problems` says why."""
    try:
        found: T = _adapter(kind).validate_python({} if raw is None else _prepared(kind, raw, path))
    except ValidationError as error:
        problems += [_explain(detail, path, kind) for detail in error.errors()]
    except _RefusedError as error:
        problems += error.problems
    else:
        return found
    return None


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


class _RefusedError(Exception):
    def __init__(self, problems: list[str]) -> None:
        super().__init__()
        self.problems = problems


def _prepared(kind: type[Any], raw: Any, path: str) -> Any:  # noqa: ANN401
    """Split texts that stand for lists, the only ones that the command line has; refuse truth values and far too much.

    Pydantic takes what YAML makes of `on` for the number 1, and NaN for any other.
    """
    if not isinstance(raw, Mapping) or not dataclasses.is_dataclass(kind):
        return raw
    types = {part.name: str(part.type) for part in dataclasses.fields(kind)}
    values, problems = dict(raw), []
    for name, value in raw.items():
        wanted = types.get(str(name), "")
        if isinstance(value, str) and wanted.startswith("tuple["):
            value = values[name] = [_number(word) for word in re.split(r"[\s;]+", value.strip("[] ")) if word]
        place = f"{path}.{name}"
        if wanted == SWEEPS and isinstance(value, Mapping):
            values[name] = {key: _prepared(SweepParameters, inner, f"{place}.{key}") for key, inner in value.items()}
        for single in value if isinstance(value, list | tuple) else [value]:
            if isinstance(single, bool) and "bool" not in wanted and "Any" not in wanted and wanted:
                problems.append(f"{place}: must not be a truth value (got {single}; quote a text like 'on' or 'yes')")
            elif isinstance(single, float) and not math.isfinite(single):
                problems.append(f"{place} must be a finite number, got {single}")
            elif isinstance(single, int | float) and not isinstance(single, bool) and single > most_of(str(name)):
                problems.append(f"{place} must be at most {most_of(str(name)):,}, got {_short(single)}")
    if problems:
        raise _RefusedError(problems)
    return values


def _short(number: float) -> str:
    """Return a number whose digits might be many."""
    return f"{number:g}" if abs(number) < sys.float_info.max else f"a number of {len(str(number))} digits"


def _number(word: str) -> int | float | str:
    """Read one word of a list as a number where it is one; YAML would make dates of some."""
    if re.fullmatch(r"[-+]?[\d.][\d.eE+-]*", word):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(word)
    return word


def plain(raw: Mapping[str, Any], name: str, kind: type[T], problems: list[str], *, optional: bool = False) -> Any:  # noqa: ANN401
    """Take a text or a whole number that stands outside of all sections."""
    value = raw.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        problems.append(f"{name}: must be {'text' if kind is str else 'a whole number'} (got {value!r})")
    return value


def _explain(detail: ErrorDetails, path: str, kind: type[Any]) -> str:
    place = [str(part) for part in detail["loc"]]
    name = ".".join([path, *place])
    if detail["type"] == "value_error":  # ours, which begin with the field's name
        return f"{name}.{detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "unexpected_keyword_argument":
        return unknown(place[-1], ".".join([path, *place[:-1]]), _field_names(kind, place[:-1]))
    if detail["type"] in ("missing_argument", "missing"):
        return f"{name}: missing"
    message = detail["msg"].replace("valid tuple", "list").replace("valid dictionary", "mapping of names to values")
    if detail["type"] == "dataclass_type":
        message = "should be a mapping of names to values"
    return f"{name}: {message} (got {detail['input']!r})"


def unknown(name: str, parent: str, siblings: list[str]) -> str:
    """Say that there is no such parameter, and which was meant."""
    close = get_close_matches(name, siblings, n=1)
    under = f"{parent}." if parent else ""
    hint = f"did you mean {under}{close[0]}?" if close else f"choose from {', '.join(siblings)}"
    return f"{under}{name}: no such parameter; {hint}"


def unknown_rankers(names: tuple[str, ...], path: str, known: Collection[str]) -> list[str]:
    """Say which of `names` are no rankers, and which were meant."""
    problems = []
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
            problems.append(f"{path}: no ranker {name!r}; {hint}")
    return problems


def _field_names(kind: type[Any], parents: list[str]) -> list[str]:
    """Names of the parameters under `parents` of `kind`, none where they are not known."""
    owner: Any = kind
    for parent in parents:
        if not dataclasses.is_dataclass(owner):
            return []
        types = {part.name: part.type for part in dataclasses.fields(owner)}
        owner = {SWEEPS: SweepParameters}.get(str(types.get(parent)), owner)
    return [part.name for part in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
