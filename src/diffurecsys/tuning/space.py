"""What a search may change of a ranker, and how: declared in conf/base/parameters/tuning.yml."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

from diffurecsys.checks import at_least, each_once, positive
from diffurecsys.study import RankerSpec, Study

PARTS = ("network", "training")
T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        values: numbers, texts, truth values or None.
    """

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:  # noqa: ANN401 - any parameter's value
        """Tell whether a value is one of them."""
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A number between two others.

    Attributes:
        low: the least.
        high: the largest.
        log: whether its logarithm is drawn uniformly, instead of itself.
    """

    low: float
    high: float
    log: bool = False

    def holds(self, value: Any) -> bool:  # noqa: ANN401
        """Tell whether a value lies between them."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Axis = Choice | Range
Space = dict[str, Axis]  # by dotted name: `network.width`


@dataclass(frozen=True)
class PruningParameters:
    """The median rule, which ends trials that fall behind.

    Attributes:
        after: validations before a trial may be ended.
        others: finished trials of the ranker that must be there to compare with.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    after: int = 4
    others: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 1, "after", "others")


@dataclass(frozen=True)
class TuningParameters:
    """How rankers are tuned: all alike, whatever they are.

    Attributes:
        spaces: by name of a ranker, or of a family for all of its rankers: under `network` and `training` a list of
            values or `{low, high, log}` for each setting that is searched.
        rankers: which are tuned; None: all of the study that have a space.
        n_trials: of each ranker, the first with its settings as configured.
        seed: of draws and trainings.
        epochs: of a trial at most; None: the ranker's own.
        patience: of a trial; None: the ranker's own.
        cpu_minutes: after so many a trial ends with the next validation and counts as it stands; None: no limit.
        pruning: which trials are ended early; None: none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    rankers: tuple[str, ...] | None = None
    n_trials: int = 12
    seed: int = 0
    epochs: int | None = None
    patience: int | None = None
    cpu_minutes: float | None = None
    pruning: PruningParameters | None = field(default_factory=PruningParameters)

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        at_least(self, 1, "n_trials", "epochs", "patience")
        at_least(self, 0, "seed")
        positive(self, "cpu_minutes")
        each_once(self, "rankers")

    def entry_of(self, spec: RankerSpec) -> str | None:
        """Return which entry of `spaces` is a ranker's; None where there is none."""
        return next((name for name in (spec.name, spec.family) if name in self.spaces), None)

    def space_of(self, spec: RankerSpec) -> Space | None:
        """Return what may be searched of a ranker; None where nothing is declared.

        Raises:
            ValueError: naming the entry that is no space, or that the ranker does not have.
        """
        name = self.entry_of(spec)
        if name is None:
            return None
        space = read_space(self.spaces[name], f"spaces.{name}")
        for setting in space:
            try:
                value_of(spec, setting)
            except ValueError as error:
                raise ValueError(f"spaces.{name}.{setting}: {error}") from None
        return space

    def tuned(self, study: Study) -> tuple[RankerSpec, ...]:
        """Return the rankers of a study that are tuned, in its order."""
        if self.rankers is not None:
            return tuple(spec for spec in study.specs if spec.name in self.rankers)
        return tuple(spec for spec in study.specs if self.space_of(spec))

    def limited(self, spec: RankerSpec) -> RankerSpec:
        """Return a ranker with the trials' limits of epochs and patience."""
        training = spec.training
        epochs = min(training.epochs, self.epochs or training.epochs)
        return dataclasses.replace(
            spec, training=dataclasses.replace(training, epochs=epochs, patience=self.patience or training.patience)
        )


def space_problems(tuning: TuningParameters, study: Study) -> list[str]:
    """Return a sentence for everything wrong with the spaces of a study's rankers, each value looked at alone."""
    problems = []
    for spec in study.specs:
        try:
            space = tuning.space_of(spec)
            for setting, axis in (space or {}).items():
                for value in axis.values if isinstance(axis, Choice) else (axis.low, axis.high):
                    _try(spec, setting, value, f"spaces.{tuning.entry_of(spec)}.{setting}")
        except ValueError as error:
            problems.append(f"tuning.{error}")
            continue
        if space is None and spec.name in (tuning.rankers or ()):
            problems.append(
                f"tuning.rankers: {spec.name} has no entry in tuning.spaces, nor has its family {spec.family}"
            )
    return problems


def _try(spec: RankerSpec, setting: str, value: Any, path: str) -> None:  # noqa: ANN401
    try:
        with_settings(spec, {setting: value})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {spec.name} cannot have {value!r}: {error}") from None


def read_space(raw: Mapping[str, Any], path: str) -> Space:
    """Make a space of what conf says.

    Raises:
        ValueError: naming the entry.
    """
    unknown = sorted(set(raw) - set(PARTS))
    if unknown:
        raise ValueError(f"{path}.{unknown[0]}: settings stand under network or training")
    space: Space = {}
    for part in PARTS:
        space |= _axes(raw.get(part) or {}, part, path)
    if not space:
        raise ValueError(f"{path}: names no setting")
    return space


def value_of(spec: RankerSpec, setting: str) -> Any:  # noqa: ANN401 - any parameter's value
    """Return a setting of a ranker by its dotted name.

    Raises:
        ValueError: it has none of this name; which was perhaps meant.
    """
    value: Any = spec
    for name in setting.split("."):
        known = [part.name for part in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{spec.name} ({spec.family}) has no such parameter{hint}")
        value = getattr(value, name)
    return value


def with_settings(spec: RankerSpec, settings: Mapping[str, Any]) -> RankerSpec:
    """Return a ranker with other settings, given by dotted names.

    Raises:
        ValueError: they cannot stand together.
    """
    return _replaced(spec, nested(settings))


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into mappings in mappings, as conf has them."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return tree


def _axes(raw: Any, prefix: str, path: str) -> Space:  # noqa: ANN401 - whatever conf holds
    here = f"{path}.{prefix}"
    if isinstance(raw, list | tuple):
        values = tuple(raw)
        if not values or not all(value is None or isinstance(value, bool | int | float | str) for value in values):
            raise ValueError(f"{here}: must list numbers, texts or truth values, got {list(values)}")
        return {prefix: Choice(values)}
    if not isinstance(raw, Mapping):
        raise ValueError(f"{here}: must be a list of values or {{low, high, log}}, got {raw!r}")
    if "low" in raw or "high" in raw:
        return {prefix: _range(raw, here)}
    space: Space = {}
    for name, value in raw.items():
        space |= _axes(value, f"{prefix}.{name}", path)
    return space


def _range(raw: Mapping[str, Any], here: str) -> Range:
    try:
        found = Range(**{**raw, "low": float(raw["low"]), "high": float(raw["high"])})
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{here}: a range has low, high and perhaps log, got {dict(raw)}") from None
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise ValueError(f"{here}: low must lie below high, got {dict(raw)}")
    if found.log and found.low <= 0:
        raise ValueError(f"{here}: low must be positive where log is true, got {found.low:g}")
    return found


def _replaced(config: T, changes: Mapping[str, Any]) -> T:
    values = {
        name: _replaced(getattr(config, name), value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(config, **values)  # type: ignore[type-var]
