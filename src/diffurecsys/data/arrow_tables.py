"""Small tables that users bring, as Parquet or CSV: whatever is wrong with such a file is said with its name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from diffurecsys.errors import DataError


def read_arrow_table(path: Path, texts: Collection[str] | None = None) -> pa.Table:
    """Read a Parquet file (`.parquet`) or a CSV file (any other name).

    Args:
        path: of the file.
        texts: columns that are text in a CSV file, whatever they look like; None: all. An empty cell is missing.

    Raises:
        DataError: the file is missing, damaged or no such file, or names a column twice.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                table = file.read()
                table.validate(full=True)
        else:
            with pcsv.open_csv(path) as stream:
                names = stream.schema.names
            kinds = {name: pa.string() for name in names if texts is None or name in texts}
            options = pcsv.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""])
            table = pcsv.read_csv(path, convert_options=options)
        names = table.column_names
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read: a column's name is not UTF-8 ({error})") from error
    except (pa.ArrowException, OSError, OverflowError) as error:  # OSError is Parquet's for damaged pages
        said = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read: {said}") from error
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} names the column {twice[0]!r} twice")
    return table


def as_text(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """Turn identifiers into text; whole numbers become their digits.

    Raises:
        DataError: they are neither texts nor whole numbers, or not UTF-8.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_text or pa.types.is_integer(kind)):
        raise DataError(f"{path}: {name} is {kind}; identifiers are texts or whole numbers")
    return column.cast(pa.string())


def refuse_missing(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """Refuse a column with an empty cell.

    Raises:
        DataError: there is one; the first row, from 1 below the header, and how many.
    """
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{path}: {name} is empty in row {row + 1} (of {column.null_count} such rows)")
