"""Lays the rows of all files into one DuckDB table of texts: nothing is converted on the way, nothing is lost."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from diffurecsys.data.sources.files import SourceError, SourceFile, check_whole
from diffurecsys.data.sources.lines import lines_at
from diffurecsys.data.sources.sql import epoch, identifier, literal, microseconds

_NO_TEXT = secrets.token_hex(16)  # what would be read as missing: nothing, as no file holds it
_ONE_COLUMN = "\x01"  # delimits nothing: JSON has no control characters
_NESTED = ("[", "STRUCT", "MAP", "UNION", "LIST")


@dataclass(frozen=True)
class Reject:
    """A line that does not even have the header's columns.

    Attributes:
        file: number of the file.
        line: in it, counted from 1.
        reason: as DuckDB calls it.
        text: the line.
    """

    file: int
    line: int
    reason: str
    text: str


def load_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    files: Sequence[SourceFile],
    columns: Mapping[str, str],
    *,
    time: str | None = None,
    time_format: str = "s",
    time_zone: str = "UTC",
) -> list[Reject]:
    """Fill a new table with the rows of all files.

    Args:
        connection: to an in-memory database.
        table: name of the new table: `file` (number of the file), `row` (in it, from 0), `broken` (text of a line that
            is no JSON object), the columns asked for as VARCHAR, `type_<column>`, and for `time` a column
            `microseconds` (NULL: no time).
        files: what to read.
        columns: name in the new table by name in the files.
        time: which of the new table's columns is a time.
        time_format: of texts and numbers, as in `SourceSpec`.
        time_zone: of times without zone.

    Raises:
        SourceError: a file lacks a column, is damaged or cannot be read.
    """
    rejects: list[Reject] = []
    for number, file in enumerate(files):
        check_whole(file)
        relation, texts, types, native = _columns(connection, file, columns, time_zone)
        selected = []
        for name, text in texts.items():
            selected += [f"{text} AS {identifier(name)}", f"{types[name]} AS {identifier('type_' + name)}"]
        if time is not None:
            instant = native.get(time) or microseconds(texts[time], time_format, time_zone)
            selected.append(f"{instant} AS microseconds")
        broken = "CASE WHEN NOT valid THEN line END" if file.format == "json_lines" else "NULL::VARCHAR"
        query = (
            f"SELECT {number}::INTEGER AS file, row_number() OVER () - 1 AS row, {broken} AS broken, "
            f"{', '.join(selected)} FROM {relation}"
        )
        how = f"INSERT INTO {table} {query}" if number else f"CREATE TABLE {table} AS {query}"
        try:
            connection.execute(how)
        except duckdb.Error as error:
            said = _first_line(error)
            hint = f"; time_format is {time_format!r}" if "format specifier" in said else ""
            raise SourceError(f"{file.path} cannot be read: {said}{hint}") from error
        if file.format != "parquet":
            rejects += _take_rejects(connection, number, file)
    return rejects


def column_names(connection: duckdb.DuckDBPyConnection, file: SourceFile, sample: int = 1000) -> list[str]:
    """Return the columns that a file has; of JSON lines those of its first objects."""
    if file.delimited:
        return list(file.names)
    if file.format == "parquet":
        return list(_parquet_types(connection, file))
    query = (
        f"SELECT DISTINCT unnest(json_keys(line)) FROM (SELECT line FROM {_lines(file)} WHERE "
        f"CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' END LIMIT {sample})"
    )
    try:
        found = connection.execute(query).fetchall()
    except duckdb.Error as error:
        raise SourceError(f"{file.path} cannot be read: {_first_line(error)}") from error
    _drop_rejects(connection)
    return sorted(name for (name,) in found)


def _columns(
    connection: duckdb.DuckDBPyConnection, file: SourceFile, columns: Mapping[str, str], time_zone: str
) -> tuple[str, dict[str, str], dict[str, str], dict[str, str]]:
    """Return the relation to read, and by column of the new table: its text, its type, and its time if it has one."""
    names = column_names(connection, file)
    if missing := [name for name in columns if name not in names]:
        raise SourceError(
            f"{file.path} has no column {' and none '.join(map(repr, missing))}; it has {', '.join(map(repr, names))}"
        )
    if file.delimited:
        texts = {new: f"c{names.index(old)}" for old, new in columns.items()}
        return _read_csv(file), texts, dict.fromkeys(texts, "'VARCHAR'"), {}
    if file.format == "json_lines":
        paths = {
            new: literal('$."' + old.replace("\\", "\\\\").replace('"', '\\"') + '"') for old, new in columns.items()
        }
        texts = {new: f"json_extract_string(object, {path})" for new, path in paths.items()}
        types = {new: f"json_type(object, {path})" for new, path in paths.items()}
        relation = (
            f"(SELECT line, valid, CASE WHEN valid THEN line END AS object FROM "
            f"(SELECT line, coalesce(CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' END, false) AS valid "
            f"FROM {_lines(file)}))"
        )
        return relation, texts, types, {}
    kinds = _parquet_types(connection, file)
    for old in columns:
        if any(part in kinds[old] for part in _NESTED):
            raise SourceError(f"{file.path}: the column {old!r} holds {kinds[old]}, not single values")
    texts = {new: f"CAST({identifier(old)} AS VARCHAR)" for old, new in columns.items()}
    types = {new: literal(kinds[old]) for old, new in columns.items()}
    native = {}
    for old, new in columns.items():
        if kinds[old].startswith(("TIMESTAMP WITH", "TIMESTAMPTZ")):  # the latter: nanoseconds, as pandas writes
            native[new] = f"epoch_us({identifier(old)}::TIMESTAMPTZ)"
        elif kinds[old].startswith(("TIMESTAMP", "DATE")):
            native[new] = epoch(f"{identifier(old)}::TIMESTAMP", time_zone)
    return f"read_parquet({literal(str(file.path))}, hive_partitioning=false)", texts, types, native


def _read_csv(file: SourceFile) -> str:
    columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(file.names)))
    newline = r"new_line='\r', " if file.newline == "\r" else ""  # others are found; `\r\n` would find no rows
    return (
        f"read_csv({literal(str(file.path))}, columns={{{columns}}}, header={str(file.header).lower()}, "
        f"delim={literal(file.delimiter)}, quote={literal(file.quote)}, escape={literal(file.quote)}, "
        f"{newline}compression={literal(file.compression)}, nullstr={literal(_NO_TEXT)}, "
        "auto_detect=false, strict_mode=true, store_rejects=true, rejects_limit=0)"
    )


def _lines(file: SourceFile) -> str:
    """The relation of a text file's lines, empty ones left out."""
    return (
        f"(SELECT line FROM read_csv({literal(str(file.path))}, columns={{'line': 'VARCHAR'}}, header=false, "
        f"delim={literal(_ONE_COLUMN)}, quote='', escape='', compression={literal(file.compression)}, "
        f"nullstr={literal(_NO_TEXT)}, auto_detect=false, max_line_size=16777216, store_rejects=true, rejects_limit=0))"
    )


def _parquet_types(connection: duckdb.DuckDBPyConnection, file: SourceFile) -> dict[str, str]:
    try:
        found = connection.execute(
            f"DESCRIBE SELECT * FROM read_parquet({literal(str(file.path))}, hive_partitioning=false)"
        ).fetchall()
    except duckdb.Error as error:
        raise SourceError(f"{file.path} cannot be read: {_first_line(error)}") from error
    return {row[0]: row[1] for row in found}


def _take_rejects(connection: duckdb.DuckDBPyConnection, number: int, file: SourceFile) -> list[Reject]:
    """Read and remove DuckDB's list of lines that it left out; byte positions become lines of the file."""
    found = connection.execute(
        "SELECT line_byte_position, error_type, csv_line FROM reject_errors "
        "QUALIFY row_number() OVER (PARTITION BY line_byte_position ORDER BY byte_position) = 1 ORDER BY 1"
    ).fetchall()
    _drop_rejects(connection)
    if not found:
        return []
    before = [len(text) - len(text.lstrip("\r\n")) for _, _, text in found]
    lines = lines_at([place + skipped for (place, _, _), skipped in zip(found, before, strict=True)], file)
    return [
        Reject(number, line, reason, text.strip("\r\n")) for line, (_, reason, text) in zip(lines, found, strict=True)
    ]


def _drop_rejects(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DROP TABLE IF EXISTS reject_errors")
    connection.execute("DROP TABLE IF EXISTS reject_scans")


def _first_line(error: Exception) -> str:
    said = str(error).split("\n", 1)[0]
    if "invalid state" in said:  # DuckDB's word for it
        said += " Do some of its lines end in CR LF and others in LF? Convert them to one kind, with dos2unix"
    return said
