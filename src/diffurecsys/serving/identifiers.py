"""Histories as clients send them: lists of texts or whole numbers, and sentences about everything else."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np


class BadHistoryError(ValueError):
    """What stands in a history's place is none. The message says what it is, for the client to read."""


def read_history(history: Any) -> list[str]:  # noqa: ANN401 - whatever a client sends
    """Return a history's identifiers as text; whole numbers become their decimal digits.

    Raises:
        BadHistoryError: it is no list, or holds something else than texts and whole numbers.
    """
    if isinstance(history, str | bytes) or not isinstance(history, Sequence | np.ndarray):
        raise BadHistoryError(f"a history is a list of item identifiers, got {_describe(history)}")
    return [item if type(item) is str else _text(item, place) for place, item in enumerate(history)]


def _text(item: Any, place: int) -> str:  # noqa: ANN401
    if isinstance(item, str):
        return str(item)
    if isinstance(item, Integral) and not isinstance(item, bool | np.bool_):
        return str(int(item))
    raise BadHistoryError(
        f"identifiers are texts or whole numbers; the history's item {place + 1} is {_describe(item)}"
    )


def _describe(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "null"
    kind = {"str": "the text", "float": "the number", "bool": "the truth value", "dict": "the object"}
    shown = repr(value)
    return f"{kind.get(type(value).__name__, type(value).__name__)} {shown[:40]}{'…' if len(shown) > 40 else ''}"
