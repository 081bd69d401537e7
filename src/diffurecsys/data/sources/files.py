"""Which files a source means, of what format they are, and which columns they have."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from diffurecsys.data.recbole_files import HEADER_TYPES
from diffurecsys.data.sources.spec import Format, ItemTable, SourceSpec
from diffurecsys.errors import DataError

FORMATS: dict[str, Format] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "delimited",
    ".dat": "delimited",
    ".data": "delimited",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".json": "json_lines",
    ".inter": "atomic",
    ".item": "atomic",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
DELIMITERS = (",", "\t", ";", "|", "::")
HEADER_BYTES = 1 << 16
_CHUNK = 1 << 20


class SourceError(DataError):
    """Files of one's own cannot be read as described; the message names file, line, column and value."""


@dataclass(frozen=True)
class SourceFile:
    """One file and how it is laid out.

    Attributes:
        path: where it lies.
        format: of what kind it is.
        compression: `none`, `gzip` or `zstd`.
        names: its columns, in order; for JSON lines and Parquet as their own metadata says, empty here.
        delimiter: between columns.
        quote: around values; empty: none.
        header: whether its first line names the columns.
        newline: how its lines end.
    """

    path: Path
    format: Format
    compression: str = "none"
    names: tuple[str, ...] = ()
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    newline: str = "\n"

    @property
    def delimited(self) -> bool:
        """Whether it is a table of texts."""
        return self.format in ("delimited", "atomic")


def source_path(path: str, folder: Path) -> Path:
    """Return where a source lies: relative to `folder`, or as it says."""
    return folder / Path(path).expanduser()


def find_files(path: Path) -> list[Path]:
    """Return the files that a path or pattern means, by name.

    Raises:
        SourceError: there is none; says what there is.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if _is_data(file, path)]
        if not found:
            raise SourceError(
                f"{path}: the folder holds no file ending in {', '.join(FORMATS)} (or .gz, .zst of these)"
            )
        return found
    if glob.has_magic(str(path)):
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - patterns may be absolute
        if found := [Path(name) for name in names if Path(name).is_file()]:
            return found
        raise SourceError(f"{path}: no file has such a name")
    raise SourceError(f"{path}: no such file or folder; place it there, or correct the dataset's path")


def files_of(spec: SourceSpec, folder: Path) -> list[Path]:
    """Return all files that a source reads, those of its items last.

    Raises:
        SourceError: one is not there.
    """
    items = [] if spec.items is None else find_files(source_path(spec.items.path, folder))
    return find_files(source_path(spec.path, folder)) + items


def open_source(spec: SourceSpec, path: Path) -> SourceFile:
    """Look at a file's name and first line.

    Raises:
        SourceError: the format is not known, or the file has no usable header.
    """
    return describe_file(path, spec.format, spec.delimiter, spec.quote, header=spec.header)


def open_item_table(table: ItemTable, path: Path) -> SourceFile:
    """Look at the name and the first line of a file of items.

    Raises:
        SourceError: as `open_source`.
    """
    return describe_file(path, table.format, table.delimiter)


def describe_file(
    path: Path, kind: Format | None = None, delimiter: str | None = None, quote: str = '"', *, header: bool = True
) -> SourceFile:
    """Find out what is not said about a file: format, compression, delimiter, columns.

    Raises:
        SourceError: the format is not known, or the file has no usable header.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "none") if suffixes else "none"
    inner = suffixes[-2 if compression != "none" else -1 :][:1]
    found = kind or (FORMATS.get(inner[0]) if inner else None)
    if found is None:
        hint = "unpack it first" if suffixes[-1:] == [".zip"] else "say what it is: format: delimited"
        raise SourceError(f"{path}: files of this name are not known ({', '.join(FORMATS)}, .gz, .zst); {hint}")
    if found in ("parquet", "json_lines"):
        return SourceFile(path, found, compression)
    try:
        with open_bytes(path, compression) as stream:
            start = stream.read(HEADER_BYTES)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    return _lay_out(path, found, compression, start, delimiter, quote, header)


@contextmanager
def open_bytes(path: Path, compression: str) -> Iterator[BinaryIO]:
    """Open a file's content, unpacked."""
    with path.open("rb") as raw:
        if compression == "none":
            yield raw
            return
        with pa.CompressedInputStream(pa.PythonFile(raw), compression) as stream:
            yield cast(BinaryIO, stream)


def check_whole(file: SourceFile) -> None:
    """Unpack a compressed file to its end, as DuckDB compares no checksums.

    zstd's own tool writes checksums; of a file without them only a broken structure can be seen.

    Raises:
        SourceError: it is cut off or damaged.
    """
    if file.compression == "none":
        return
    try:
        if file.compression == "gzip":
            with gzip.open(file.path) as unpacked:
                while unpacked.read(_CHUNK):
                    pass
        else:
            with open_bytes(file.path, file.compression) as stream:
                while stream.read(_CHUNK):
                    pass
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise SourceError(f"{file.path} is not a whole {file.compression} file ({error}); fetch it again") from error


def _lay_out(
    path: Path, kind: Format, compression: str, start: bytes, delimiter: str | None, quote: str, header: bool
) -> SourceFile:
    if not start.strip():
        raise SourceError(f"{path} is empty")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SourceError(f"{path} is UTF-16; save it as UTF-8")
    text = start.decode("utf-8-sig", "replace")
    newline = "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"
    if kind == "atomic":
        delimiter, quote, header = "\t", "", True
    line = text.split(newline, 1)[0]
    chosen = delimiter or max(DELIMITERS, key=line.count)
    fields = split_line(text.replace("\r\n", "\n").replace("\r", "\n"), chosen, quote)
    if kind == "atomic":
        fields = [_without_type(path, name) for name in fields]
    names = fields if header else [str(number) for number in range(1, len(fields) + 1)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(f"{path}, line 1: the header names column {repeated[0]!r} twice")
    return SourceFile(path, kind, compression, tuple(names), chosen, quote, header, newline)


def split_line(text: str, delimiter: str, quote: str) -> list[str]:
    """Return the values of a text's first line."""
    if len(delimiter) > 1:
        values = text.split("\n", 1)[0].split(delimiter)
        return [value.strip(quote) if quote else value for value in values]
    quoting: dict[str, object] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    return next(csv.reader(io.StringIO(text), delimiter=delimiter, **quoting), [])  # type: ignore[arg-type]


def _without_type(path: Path, name: str) -> str:
    plain, _, kind = name.rpartition(":")
    if not plain or kind not in HEADER_TYPES:
        raise SourceError(
            f"{path}, line 1: the column {name!r} has no type; an atomic file writes it as name:type with one of the "
            f"types {', '.join(HEADER_TYPES)}"
        )
    return plain


def _is_data(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in COMPRESSIONS]
    return file.is_file() and bool(suffixes) and suffixes[-1] in FORMATS and not any(p[0] in "._" for p in parts)
