"""Expressions that DuckDB reads columns with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from diffurecsys.data.sources.spec import EPOCHS, ISO, Rule

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999, microseconds since 1970

_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?"
_ZONE = r"\s*(Z|z|UTC|[-+][0-9]{2}(:?[0-9]{2})?)"
_DAY, _CLOCK = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", r"[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
_ISO = f"{_DAY}({_CLOCK}({_ZONE})?)?"
_ZONED = f"{_DAY}{_CLOCK}{_ZONE}"
_SECONDS_BOUND = 10**18  # beyond lie no times, and products would leave DECIMAL(38, 9)


def single_row(connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Return the only row of a query; read to its end, as DuckDB wants before it answers another."""
    (row,) = connection.execute(query, list(values)).fetchall()
    return tuple(row)


def literal(text: str) -> str:
    """Write a text as SQL does."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Write a column's name as SQL does."""
    return '"' + name.replace('"', '""') + '"'


def microseconds(text: str, time_format: str, time_zone: str) -> str:
    """Return the expression for microseconds since 1970 in UTC of a text, NULL where it is no such time.

    Args:
        text: expression of the text.
        time_format: as in `SourceSpec`.
        time_zone: of times that name none.
    """
    trimmed = f"trim({text})"
    if time_format in EPOCHS:
        number = (
            f"CASE WHEN regexp_full_match({trimmed}, {literal(_NUMBER)}) THEN TRY_CAST({trimmed} AS DECIMAL(38, 9)) END"
        )
        found = (
            f"CASE WHEN abs({number}) < {_SECONDS_BOUND} "
            f"THEN TRY_CAST(trunc({number} * {EPOCHS[time_format]}) AS BIGINT) END"
        )
    elif time_format == ISO:
        zoned = f"epoch_us(TRY_CAST(replace(upper({trimmed}), 'UTC', 'Z') AS TIMESTAMPTZ))"
        local = epoch(f"TRY_CAST({trimmed} AS TIMESTAMP)", time_zone)
        found = (
            f"CASE WHEN regexp_full_match({trimmed}, {literal(_ZONED)}) THEN {zoned} "
            f"WHEN regexp_full_match({trimmed}, {literal(_ISO)}) THEN {local} END"
        )
    else:
        parsed = f"try_strptime({trimmed}, {literal(time_format)})"
        found = f"epoch_us({parsed})" if "%z" in time_format or "%Z" in time_format else epoch(parsed, time_zone)
    return f"(CASE WHEN ({found}) BETWEEN {EARLIEST} AND {LATEST} THEN ({found}) END)"


def epoch(timestamp: str, time_zone: str) -> str:
    """Return the expression for microseconds since 1970 in UTC of a timestamp without zone."""
    return f"epoch_us({timestamp})" if time_zone == "UTC" else f"epoch_us(timezone({literal(time_zone)}, {timestamp}))"


def passes(rule: Rule, text: str) -> str:
    """Return the condition under which a text obeys a rule; one that is no number passes, to be called faulty."""
    if rule.values is not None:
        return f"coalesce({text} IN ({', '.join(literal(str(value)) for value in rule.values)}), false)"
    return f"coalesce({number(text)} >= {rule.at_least!r}::DOUBLE, true)"


def number(text: str) -> str:
    """Return the expression of a text as a finite number, NULL where it is none."""
    return f"CASE WHEN regexp_full_match(trim({text}), {literal(_NUMBER)}) THEN TRY_CAST(trim({text}) AS DOUBLE) END"
