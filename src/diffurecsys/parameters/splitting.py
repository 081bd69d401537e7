"""How events are split: the section `split`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from diffurecsys.checks import one_of
from diffurecsys.data.split import LEAVE_ONE_OUT, PROTOCOLS, TEMPORAL, Protocol


@dataclass(frozen=True)
class SplitParameters:
    """How events are divided into training, validation and test; `split: temporal` is short for its protocol.

    Attributes:
        protocol: `leave_one_out`: each user's last event is the test target, the one before the validation target;
            `temporal`: targets are what users did last, or first, after points in time for all.
        validation_from: first of these points: share of all interactions that lie before it, or a date (ISO 8601, UTC).
        test_from: second of them.
        target: which of a user's events of a period a temporal split asks for; histories of `last` ones go on after the
            point, those of `first` ones end before it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    protocol: Protocol = LEAVE_ONE_OUT
    validation_from: float | str | None = None
    test_from: float | str | None = None
    target: Literal["last", "first"] = "last"

    def __post_init__(self) -> None:
        """Refuse values that cannot work, and fill in the points of a temporal split."""
        one_of(self, PROTOCOLS, "protocol")
        for name, usual in (("validation_from", 0.8), ("test_from", 0.9)):
            value = getattr(self, name)
            if self.protocol != TEMPORAL:
                if value is not None:
                    raise ValueError(f"{name} has a meaning under protocol: {TEMPORAL} alone, got {value!r}")
            elif value is None:
                object.__setattr__(self, name, usual)
            else:
                _check_point(name, value)
        first, second = self.validation_from, self.test_from
        if isinstance(first, float | int) and isinstance(second, float | int) and first >= second:
            raise ValueError(f"validation_from must lie before test_from, got {first} and {second}")


def _check_point(name: str, value: float | str) -> None:
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{name} must be a share like 0.8 or a date like 2024-03-01, got {value!r}") from None
    elif not 0 < value < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, or a date like 2024-03-01, got {value}")
