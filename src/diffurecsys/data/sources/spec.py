"""What a dataset's entry says about files of one's own: where they lie, what their columns mean, what is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

Format = Literal["delimited", "parquet", "json_lines", "atomic"]

EPOCHS = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds in one
ISO = "iso"
TIME_FORMATS = (*EPOCHS, ISO)
MICROSECONDS = 1_000_000  # in a second: the unit of all timestamps read from files of one's own

_LONGEST_DELIMITER = 4  # bytes, in DuckDB


class _Strict:
    """Unknown names are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True)
class ColumnNames(_Strict):
    """Which column says what; files without a header have columns `1`, `2`, ….

    Attributes:
        user: who.
        item: what.
        time: when; None: the order of the rows is the order in time.
    """

    user: str
    item: str
    time: str | None = None


@dataclass(frozen=True)
class Rule(_Strict):
    """What a row must say to be kept: one of `values`, or a number that is `at_least` so large.

    Attributes:
        column: where.
        values: allowed texts, such as [view, buy].
        at_least: smallest number.
    """

    column: str
    values: tuple[str | int, ...] | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that rules nothing, or two things.

        Raises:
            ValueError: naming what is wrong.
        """
        if (self.values is None) == (self.at_least is None):
            raise ValueError("column needs either values: [view, buy] or at_least: 4 beside it")
        if self.values is not None and (not self.values or any(isinstance(value, bool) for value in self.values)):
            raise ValueError(f"values must be texts, at least one; quote true and false, got {list(self.values)}")
        if self.at_least is not None and not math.isfinite(self.at_least):
            raise ValueError(f"at_least must be a finite number, got {self.at_least}")

    def __str__(self) -> str:
        """Return `event in view, buy`, or `rating >= 4`."""
        if self.values is not None:
            return f"{self.column} in {', '.join(map(str, self.values))}"
        return f"{self.column} >= {self.at_least:g}"


@dataclass(frozen=True)
class ItemTable(_Strict):
    """A table of what is known about items, for reports and recommendations.

    Attributes:
        path: of the file, as of the interactions.
        item: column with the identifier.
        title: column to call items by.
        category: column to group them by.
        format: of the file; None: told by its name.
        delimiter: between columns; None: told by the first line.
    """

    path: str
    item: str
    title: str | None = None
    category: str | None = None
    format: Format | None = None
    delimiter: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _check_path(self.path)
        _check_delimiter(self.delimiter)


@dataclass(frozen=True)
class SourceSpec(_Strict):
    """Files of interactions.

    Attributes:
        path: a file, a folder or a pattern such as `events-*.parquet`; relative to the raw folder, or absolute.
        columns: which column says what.
        time_format: `s`, `ms`, `us` (since 1970), `iso`, or a pattern such as `%d.%m.%Y %H:%M`; columns of a type for
            times need none.
        time_zone: of times that name none.
        format: of the files; None: told by their names.
        delimiter: between columns; None: told by the first line.
        quote: around values that hold a delimiter; empty: none is special.
        header: whether the first line names the columns.
        keep: rules for rows; all must hold.
        on_bad_rows: what cannot be read is an error, or dropped and counted.
        items: what is known about items.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    path: str
    columns: ColumnNames
    time_format: str = "s"
    time_zone: str = "UTC"
    format: Format | None = None
    delimiter: str | None = None
    quote: str = '"'
    header: bool = True
    keep: tuple[Rule, ...] = ()
    on_bad_rows: Literal["error", "drop"] = "error"
    items: ItemTable | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        _check_path(self.path)
        _check_delimiter(self.delimiter)
        if len(self.quote.encode()) > 1:
            raise ValueError(f"quote must be one character or none, got {self.quote!r}")
        if self.time_format not in TIME_FORMATS and "%" not in self.time_format:
            raise ValueError(
                f"time_format must be one of {', '.join(TIME_FORMATS)}, or a pattern like %Y-%m-%d %H:%M:%S, "
                f"got {self.time_format!r}"
            )
        try:
            ZoneInfo(self.time_zone)
        except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"time_zone {self.time_zone!r} is not known; write it like Europe/Berlin") from error
        except KeyError:
            raise ValueError(f"time_zone {self.time_zone!r} is not known; write it like Europe/Berlin") from None


def _check_path(path: str) -> None:
    if not path.strip() or "\0" in path:
        raise ValueError(f"path must name a file, a folder or a pattern, got {path!r}")
    if "://" in path:
        raise ValueError(f"path must be one of this machine: copy what lies there into data/01_raw, got {path!r}")


def _check_delimiter(delimiter: str | None) -> None:
    if delimiter is not None and not (1 <= len(delimiter.encode()) <= _LONGEST_DELIMITER and delimiter.isprintable()):
        if delimiter == "\t":
            return
        raise ValueError(f"delimiter must be 1 to {_LONGEST_DELIMITER} characters, got {delimiter!r}")
