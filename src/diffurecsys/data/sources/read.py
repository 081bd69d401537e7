"""From files of one's own to interactions, and a record of what was read, left out and refused."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from diffurecsys.columns import ITEM_ID, ROW, TIMESTAMP, USER_ID
from diffurecsys.data.recbole_files import SCHEMA
from diffurecsys.data.sources.files import SourceError, SourceFile, find_files, open_source, source_path
from diffurecsys.data.sources.lines import line_of_row
from diffurecsys.data.sources.rows import Reject, load_rows
from diffurecsys.data.sources.spec import EPOCHS, ISO, SourceSpec
from diffurecsys.data.sources.sql import identifier, microseconds, number, passes, single_row
from diffurecsys.data.staged import ROWS_A_BATCH, reading_rows

logger = logging.getLogger(__name__)

ROWS = "source_rows"
WHOLE_LINE = "line"

_SHOWN = 60  # characters of a value in a message
_REASONS = {
    "MISSING COLUMNS": "has fewer values than the header has columns",
    "TOO MANY COLUMNS": "has more values than the header has columns",
    "UNQUOTED VALUE": "has a quote that does not end, or text after it",
    "INVALID ENCODING": "is not UTF-8",
    "INVALID UNICODE": "is not UTF-8",
    "LINE SIZE OVER MAXIMUM": "is too long",
}


@dataclass(frozen=True)
class BadRows:
    """Rows that cannot be read, all for one reason.

    Attributes:
        column: as the file calls it; `line`: the row as a whole.
        reason: what is wrong.
        rows: how many.
        file: of the first.
        place: of the first in its file: `line 7`, or `row 7` where files have no lines.
        value: of the first.
    """

    column: str
    reason: str
    rows: int
    file: str
    place: str
    value: str

    def __str__(self) -> str:
        """Return `events.csv, line 7, column time: 'yesterday' is no date …; 3 rows like it`."""
        where = f"{self.file}, {self.place}" + ("" if self.column == WHOLE_LINE else f", column {self.column}")
        return f"{where}: {self.value} {self.reason} ({self.rows:,} row{'s' if self.rows != 1 else ''} like it)"


@dataclass(frozen=True)
class SourceRecord:
    """What was made of the files.

    Attributes:
        files: their names.
        rows: in all of them.
        kept: interactions.
        left_out: rows that each rule left out, the first that did.
        bad: rows that could not be read and were dropped.
        types: of the identifiers in the files, DuckDB's names, by the project's column.
        time: the column of times; None: the order of the rows.
    """

    files: tuple[str, ...]
    rows: int
    kept: int
    left_out: dict[str, int] = field(default_factory=dict)
    bad: tuple[BadRows, ...] = ()
    types: dict[str, str] = field(default_factory=dict)
    time: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)


def read_source(spec: SourceSpec, folder: Path) -> tuple[pa.Table, SourceRecord]:
    """Read the interactions of all files of a source into memory: `open_source_rows`, at once."""
    with open_source_rows(spec, folder) as (batches, record):
        return batches.read_all().cast(SCHEMA), record


@contextmanager
def open_source_rows(
    spec: SourceSpec, folder: Path, scratch: Path | None = None
) -> Iterator[tuple[pa.RecordBatchReader, SourceRecord]]:
    """Check all files of a source, then give their interactions batch by batch; no memory need hold them.

    Timestamps are microseconds since 1970 in UTC (without a time column: all 0). Rules are applied before anything else
    is looked at, so that rows of other kinds may lack what an interaction needs.

    Args:
        spec: where they lie and what they mean.
        folder: what relative paths start from.
        scratch: where rows may lie on disk meanwhile; None: where the system has temporary files.

    Returns:
        `user_id` string, `item_id` string, `timestamp` int64 and `row` int64, in the order of the files' names, then
        of their rows; and what was read.

    Raises:
        SourceError: files, columns or rows are not what they must be, or nothing is left.
    """
    files = [open_source(spec, path) for path in find_files(source_path(spec.path, folder))]
    with reading_rows(scratch) as connection:
        rejects = load_rows(connection, ROWS, files, _wanted(spec), **_times(spec))
        bad = _find_bad(connection, spec, files, rejects)
        if bad and spec.on_bad_rows == "error":
            raise SourceError(_refusal(bad))
        for group in bad:
            logger.warning("Dropped %s", group)
        types = {name: _one_type(connection, name, spec, files) for name in (USER_ID, ITEM_ID)}
        interactions = f"{_kept(spec)} AND {_fault(spec)} IS NULL"
        n_rows, n_kept = _count(connection, "true") + len(rejects), _count(connection, interactions)
        left_out = _left_out(connection, spec)
        names = tuple(file.path.name for file in files)
        if not n_kept:
            raise SourceError(
                f"{names[0]}: of {n_rows:,} rows none is left; left out: {left_out or 'none'}, bad: {len(bad)}"
            )
        logger.info("Read %s of %s rows from %s", f"{n_kept:,}", f"{n_rows:,}", ", ".join(names[:3]))
        found = connection.sql(  # rows lie in their order, which OVER () keeps without sorting them
            f"SELECT {USER_ID}, {ITEM_ID}, {'microseconds' if spec.columns.time else '0::BIGINT'} AS {TIMESTAMP}, "
            f"row_number() OVER () - 1 AS {ROW} FROM {ROWS} WHERE {interactions}"
        )
        record = SourceRecord(names, n_rows, n_kept, left_out, tuple(bad), types, spec.columns.time)
        yield found.to_arrow_reader(ROWS_A_BATCH), record


def _wanted(spec: SourceSpec) -> dict[str, str]:
    """The table's columns by the files': one column may serve twice."""
    own = {spec.columns.user: USER_ID, spec.columns.item: ITEM_ID}
    if len(own) < 2:
        raise SourceError(f"columns.user and columns.item both name {spec.columns.user!r}")
    if spec.columns.time is not None:
        own.setdefault(spec.columns.time, TIMESTAMP)
    for place, rule in enumerate(spec.keep):
        own.setdefault(rule.column, f"rule_{place}")
    return own


def _times(spec: SourceSpec) -> dict[str, Any]:
    time = spec.columns.time
    return {
        "time": None if time is None else _wanted(spec)[time],
        "time_format": spec.time_format,
        "time_zone": spec.time_zone,
    }


def _kept(spec: SourceSpec) -> str:
    wanted = _wanted(spec)
    return " AND ".join(
        ["true", *(f"(broken IS NOT NULL OR {passes(rule, wanted[rule.column])})" for rule in spec.keep)]
    )


def _fault(spec: SourceSpec) -> str:
    """The expression of the column of the files that makes a row bad, NULL where none does."""
    wanted = _wanted(spec)
    cases = ["WHEN broken IS NOT NULL THEN 'broken'"]
    cases += [f"WHEN coalesce({name}, '') = '' THEN '{name}'" for name in (USER_ID, ITEM_ID)]
    if spec.columns.time is not None:
        cases.append("WHEN microseconds IS NULL THEN 'microseconds'")
    for rule in spec.keep:
        if rule.at_least is not None:
            cases.append(f"WHEN {number(wanted[rule.column])} IS NULL THEN '{wanted[rule.column]}'")
    return f"CASE {' '.join(cases)} END"


def _count(connection: duckdb.DuckDBPyConnection, condition: str) -> int:
    return int(single_row(connection, f"SELECT count(*) FROM {ROWS} WHERE {condition}")[0])


def _left_out(connection: duckdb.DuckDBPyConnection, spec: SourceSpec) -> dict[str, int]:
    found, before = {}, "broken IS NULL"
    for rule in spec.keep:
        condition = passes(rule, _wanted(spec)[rule.column])
        found[str(rule)] = _count(connection, f"{before} AND NOT ({condition})")
        before += f" AND ({condition})"
    return found


def _find_bad(
    connection: duckdb.DuckDBPyConnection, spec: SourceSpec, files: Sequence[SourceFile], rejects: Sequence[Reject]
) -> list[BadRows]:
    """Group what cannot be read by what is wrong with it, and look up where the first of each group stands."""
    bad = []
    for reason in dict.fromkeys(reject.reason for reject in rejects):
        alike = [reject for reject in rejects if reject.reason == reason]
        first = alike[0]
        said = _REASONS.get(reason, f"cannot be read ({reason.lower()})")
        bad.append(
            BadRows(WHOLE_LINE, said, len(alike), files[first.file].path.name, f"line {first.line}", _shown(first.text))
        )
    found = connection.execute(
        f"SELECT fault, count(*), min((file, row)) FROM (SELECT file, row, {_fault(spec)} AS fault FROM {ROWS} "
        f"WHERE {_kept(spec)}) WHERE fault IS NOT NULL GROUP BY fault ORDER BY 3"
    ).fetchall()
    names = {new: old for old, new in _wanted(spec).items()}
    for fault, n_rows, (number_of_file, row) in found:
        file = files[number_of_file]
        time = _wanted(spec).get(spec.columns.time or "")
        column = time if fault == "microseconds" and time else fault
        where = f"WHERE file = {number_of_file} AND row = {row}"
        (text,) = single_row(connection, f"SELECT {identifier(column)} FROM {ROWS} {where}")
        value = "nothing" if text is None or text == "" else _shown(text)
        reason = "is empty" if value == "nothing" else _reason(connection, fault, text, spec)
        place = _place(row, file, {reject.line for reject in rejects if reject.file == number_of_file})
        what = "the value" if value == "nothing" else value
        bad.append(BadRows(names.get(column, WHOLE_LINE), reason, n_rows, file.path.name, place, what))
    return bad


def _place(row: int, file: SourceFile, rejected: Collection[int]) -> str:
    return f"row {row + 1}" if file.format == "parquet" else f"line {line_of_row(row, file, rejected)}"


def _reason(connection: duckdb.DuckDBPyConnection, fault: str, text: str, spec: SourceSpec) -> str:
    if fault == "broken":
        return "is no JSON object"
    if fault != "microseconds":
        return "is not a number"
    wanted = {
        **{unit: f"a time in {unit} since 1970 (years 1 to 9999)" for unit in EPOCHS},
        ISO: "a date and time as ISO 8601 writes it (2024-03-05T12:00:00+01:00)",
    }
    said = wanted.get(spec.time_format, f"a time of the pattern {spec.time_format}")
    for other in (*EPOCHS, ISO):
        query = f"SELECT {microseconds('text', other, 'UTC')} FROM (SELECT ?::VARCHAR AS text)"
        (us,) = single_row(connection, query, [text])
        if us is not None and us > 0:
            return f"is not {said}; is time_format {other}?"
    return f"is not {said}"


def _refusal(bad: Sequence[BadRows]) -> str:
    lines = "\n".join(f"  {group}" for group in bad)
    rows = sum(group.rows for group in bad)
    return (
        f"{rows:,} row{'s' if rows != 1 else ''} cannot be read:\n{lines}\n"
        "Correct the file or the dataset's entry, or have such rows left out and counted: on_bad_rows: drop"
    )


def _one_type(connection: duckdb.DuckDBPyConnection, name: str, spec: SourceSpec, files: Sequence[SourceFile]) -> str:
    """Return the type of a column of identifiers.

    Raises:
        SourceError: it holds numbers and texts, of which `1` and `"1"` could not be told apart.
    """
    found = connection.execute(
        f"SELECT type_{name}, min((file, row)) FROM {ROWS} WHERE {_kept(spec)} AND {_fault(spec)} IS NULL "
        f"GROUP BY 1 ORDER BY 2"
    ).fetchall()
    kinds = [kind for kind, _ in found]
    json = all(file.format == "json_lines" for file in files)
    if json and kinds and set(kinds) <= {"BIGINT", "UBIGINT"}:  # integers with and without sign
        kinds = ["BIGINT" if _fits(connection, name) else "HUGEINT"]
    if len(kinds) > 1:
        where = [
            f"{files[number].path.name}, {_place(row, files[number], ())}: {kind}" for kind, (number, row) in found
        ]
        old = {new: old for old, new in _wanted(spec).items()}[name]
        raise SourceError(
            f'the column {old!r} holds values of several types ({"; ".join(where)}), of which 1 and "1" could not be '
            "told apart; write all as texts or all as numbers"
        )
    return kinds[0] if kinds else "VARCHAR"


def _fits(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    return not _count(connection, f"{name} IS NOT NULL AND TRY_CAST({name} AS BIGINT) IS NULL")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
