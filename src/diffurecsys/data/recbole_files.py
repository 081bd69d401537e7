"""Reader of RecBole's atomic files: tab-separated interactions under a typed header (`user_id:token`, ...).

The file is streamed through Arrow's CSV reader: memory stays near the size of the resulting table. Only when
something is wrong is the file read again, line by line, to say where.

Source of the format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from diffurecsys.columns import ITEM_ID, ROW, TIMESTAMP, USER_ID
from diffurecsys.data.archives import member_label, open_interactions
from diffurecsys.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

logger = logging.getLogger(__name__)

RATING = "rating"
HEADER_TYPES = ("token", "token_seq", "float", "float_seq")

SCHEMA = pa.schema([(USER_ID, pa.string()), (ITEM_ID, pa.string()), (TIMESTAMP, pa.int64()), (ROW, pa.int64())])
_BLOCK_BYTES = 8 << 20  # read and converted at once; also the longest line
_SHOWN_CHARACTERS = 60  # of a faulty value in an error message
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,9})?")
_INT64_DIGITS = 19


class AtomicFileError(DataError):
    """An atomic file does not hold what it must; the message names file, line and value."""


@dataclass(frozen=True)
class _Layout:
    """Where the needed columns stand.

    Attributes:
        names: all columns of the file, in its order.
        needed: columns to read.
    """

    names: tuple[str, ...]
    needed: tuple[str, ...]


def read_interactions(path: Path, *, min_rating: float | None = None) -> pa.Table:
    """Read the interactions of an atomic file into memory: `interaction_batches`, at once."""
    return pa.Table.from_batches(interaction_batches(path, min_rating=min_rating), schema=SCHEMA)


def interaction_batches(path: Path, *, min_rating: float | None = None) -> Iterator[pa.RecordBatch]:
    """Read the interactions of an atomic file, or of the one inside a zip archive, batch by batch.

    Columns may stand in any order; columns that are not needed are not even converted. Timestamps are exact int64,
    whether written `978300760`, `978300760.0` or `9.78300760e8`.

    Args:
        path: an `.inter` file, or a zip archive that holds one.
        min_rating: keep only interactions whose `rating` is at least this.

    Yields:
        `user_id` string, `item_id` string, `timestamp` int64 and `row` int64, in the order of the file; `row` counts
        the file's interactions from 0, kept or not. They hold once the last one came without an error.

    Raises:
        AtomicFileError: the header lacks a column or its types, or a line is malformed; names file, line and value.
    """
    label = member_label(path)
    needed = (USER_ID, ITEM_ID, TIMESTAMP) if min_rating is None else (USER_ID, ITEM_ID, TIMESTAMP, RATING)
    n_read = n_kept = 0
    with open_interactions(path) as stream:
        header, layout = _read_header(stream, label, needed)
        try:
            for batch in _read_body(_Body(header, stream), layout):
                interactions = _convert(batch, n_read, min_rating)
                n_read, n_kept = n_read + batch.num_rows, n_kept + interactions.num_rows
                yield interactions
            if not n_read:
                raise ValueError("no interactions")
        except ValueError as error:
            cause = error
        else:
            if not n_kept:
                raise AtomicFileError(f"{label}: none of {n_read} interactions has a rating of at least {min_rating}")
            logger.info("Read %s of %s interactions from %s", f"{n_kept:,}", f"{n_read:,}", label)
            return
    with open_interactions(path) as stream:
        fault = _find_fault(stream, layout)
    raise AtomicFileError(f"{label}{fault}" if fault else f"{label} cannot be read: {cause}") from cause


def _read_header(stream: BinaryIO, label: str, needed: tuple[str, ...]) -> tuple[bytes, _Layout]:
    """Read and check the first line.

    Raises:
        AtomicFileError: naming the column that is missing, duplicate or without a type.
    """
    line = stream.readline(_BLOCK_BYTES)
    if not line:
        raise AtomicFileError(f"{label} is empty; expected a header such as user_id:token, item_id:token, …")
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise AtomicFileError(f"{label}, line 1: not UTF-8 ({error.reason} at byte {error.start + 1})") from None
    if "\r" in text:
        raise AtomicFileError(
            f"{label}, line 1: {_shown(text)} holds a carriage return; lines that end in CR alone are not read, "
            r"convert them: tr '\r' '\n' < old > new"
        )
    names: list[str] = []
    for field in text.split("\t"):
        name, _, kind = field.rpartition(":")
        if not name or kind not in HEADER_TYPES:
            raise AtomicFileError(
                f"{label}, line 1: the header's column {_shown(field)} has no type; write it as name:type with one of "
                f"the types {', '.join(HEADER_TYPES)}"
            )
        if name in names:
            raise AtomicFileError(f"{label}, line 1: the header names column {_shown(name)} twice")
        names.append(name)
    missing = [name for name in needed if name not in names]
    if missing:
        raise AtomicFileError(
            f"{label}, line 1: the header has no column {' and none '.join(missing)}; it has {', '.join(names)}"
        )
    return line, _Layout(tuple(names), needed)


class _Body(io.RawIOBase):
    """The whole file again after its header was read, without empty lines at its very end."""

    def __init__(self, header: bytes, stream: BinaryIO) -> None:
        self._stream = stream
        content = len(header.rstrip(b"\r\n"))
        self._ready = memoryview(header[:content])
        self._held = bytearray(header[content:])  # line ends of which it is not known yet whether they are the last
        self._at_end = False

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`, whole unless the file ends: Arrow wants at least one line end in each block."""
        view, filled = memoryview(buffer), 0
        while filled < len(view):
            if not self._ready:
                if self._at_end:
                    break
                self._advance(len(view) - filled)
            size = min(len(view) - filled, len(self._ready))
            view[filled : filled + size] = self._ready[:size]
            self._ready = self._ready[size:]
            filled += size
        return filled

    def _advance(self, size: int) -> None:
        block = self._stream.read(size)
        if b"\0" in block:
            raise ValueError("null byte")  # after which Arrow's parser overlooks tabs and line ends
        if not block:
            self._at_end = True
            end = bytes(self._held[:2])  # of many line ends the first is the last row's own
            self._ready = memoryview(end if end == b"\r\n" else end[:1])
            return
        content = len(block.rstrip(b"\r\n"))
        if content:
            self._ready = memoryview(bytes(self._held) + block[:content])
            self._held = bytearray(block[content:])
        else:
            self._held += block  # never read again before it ends: time stays linear in the length


def _read_body(body: _Body, layout: _Layout) -> Iterator[pa.RecordBatch]:
    """Read the needed columns as texts.

    Raises:
        ValueError: something is wrong somewhere.
    """
    yield from pyarrow.csv.open_csv(
        body,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=layout.names, skip_rows=1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t", quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=layout.needed,
            column_types=dict.fromkeys(layout.needed, pa.string()),
            strings_can_be_null=False,
        ),
    )


def _convert(batch: pa.RecordBatch, first_row: int, min_rating: float | None) -> pa.RecordBatch:
    """Turn texts into an interactions batch.

    Raises:
        ValueError: an id is empty, or a timestamp or rating is not what it must be.
    """
    for name in (USER_ID, ITEM_ID):
        if batch.num_rows and pc.min(pc.binary_length(batch[name])).as_py() == 0:
            raise ValueError(f"empty {name}")
    rows = pa.array(np.arange(first_row, first_row + batch.num_rows))
    columns = [batch[USER_ID], batch[ITEM_ID], _whole_numbers(batch[TIMESTAMP]), rows]
    interactions = pa.record_batch(columns, schema=SCHEMA)
    if min_rating is None:
        return interactions
    ratings = pc.cast(batch[RATING], pa.float64())
    if not pc.all(pc.is_finite(ratings)).as_py():
        raise ValueError("a rating is not finite")
    return interactions.filter(pc.greater_equal(ratings, min_rating))


def _whole_numbers(texts: pa.StringArray) -> pa.Int64Array:
    """Convert to int64 exactly: never by way of floating point.

    Raises:
        ValueError: a text is not a whole number within int64.
    """
    if pc.all(pc.ascii_is_decimal(texts)).as_py():  # nearly always, and ten times as fast
        return pc.cast(texts, pa.int64())
    texts = pc.replace_substring_regex(texts, r"^(-?[0-9]+)\.0*$", r"\1")
    if pc.all(pc.match_substring_regex(texts, "^-?[0-9]+$")).as_py():
        return pc.cast(texts, pa.int64())
    encoded = texts.dictionary_encode()
    numbers = pa.array([parse_timestamp(text) for text in encoded.dictionary.to_pylist()], pa.int64())
    return numbers.take(encoded.indices)


def parse_timestamp(text: str) -> int:
    """Convert one timestamp exactly.

    Raises:
        ValueError: saying why it is not a whole number within int64.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    number = Decimal(text)
    if not number:
        return 0
    if number.adjusted() >= _INT64_DIGITS:  # before int(), which would write out 1e999999999
        raise ValueError("is out of the range of int64")
    if number != number.to_integral_value():
        raise ValueError("is not a whole number of seconds")
    if not -(2**63) <= int(number) < 2**63:
        raise ValueError("is out of the range of int64")
    return int(number)


def _find_fault(stream: BinaryIO, layout: _Layout) -> str | None:
    """Say which is the first faulty line, its value and what to do; None if there is none."""
    blank: int | None = None
    number = 1
    for number, line in enumerate(_lines(stream), start=1):
        if number == 1:
            continue
        if not line:
            blank = blank or number
        elif blank:
            return f", line {blank}: the line is empty; remove it"
        elif fault := _line_fault(line, layout):
            return f", line {number}: {fault}"
    if number == 1 or blank == 2:
        return " has a header and no interactions"
    return None


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while part := stream.readline(_BLOCK_BYTES):
        yield from part.splitlines()


def _line_fault(line: bytes, layout: _Layout) -> str | None:
    if len(line) >= _BLOCK_BYTES:
        return f"the line is longer than {_BLOCK_BYTES:,} bytes"
    if b"\0" in line:
        return f"the line has a null byte: {_shown(line.decode('utf-8', 'backslashreplace'))}; is the file damaged?"
    fields = line.split(b"\t")
    if len(fields) != len(layout.names):
        start = _shown(line.decode("utf-8", "backslashreplace"))
        return (
            f"{len(fields)} tab-separated fields where the header has {len(layout.names)} "
            f"({', '.join(layout.names)}): {start}"
        )
    for name in layout.needed:
        value = fields[layout.names.index(name)]
        try:
            fault = _value_fault(name, value.decode("utf-8"))
        except UnicodeDecodeError as error:
            shown = _shown(value.decode("utf-8", "backslashreplace"))
            return f"{name} is not UTF-8 ({error.reason}): {shown}; save the file as UTF-8"
        if fault:
            return fault
    return None


def _value_fault(name: str, text: str) -> str | None:
    if name == TIMESTAMP:
        try:
            parse_timestamp(text)
        except ValueError as error:
            return f"{name} {_shown(text)} {error}"
    elif name == RATING:
        if not _NUMBER.fullmatch(text) or not isfinite(float(text)):
            return f"{name} {_shown(text)} is not a number"
    elif not text:
        return f"{name} is empty"
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
