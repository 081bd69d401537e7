"""Where in a text file something stands: asked only when something is wrong with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence

from diffurecsys.data.sources.files import SourceFile, open_bytes

_CHUNK = 1 << 20


def lines_at(positions: Sequence[int], file: SourceFile) -> list[int]:
    """Return the lines, from 1, in which bytes of the unpacked file stand; `positions` ascend."""
    end = b"\r" if file.newline == "\r" else b"\n"
    found, line, begin = [], 1, 0
    waiting = list(positions)
    with open_bytes(file.path, file.compression) as stream:
        while waiting and (chunk := stream.read(_CHUNK)):
            last = 0
            while waiting and waiting[0] < begin + len(chunk):
                here = waiting.pop(0) - begin
                line += chunk.count(end, last, here)
                last = here
                found.append(line)
            line += chunk.count(end, last)
            begin += len(chunk)
    return found + [line] * len(waiting)


def line_of_row(row: int, file: SourceFile, rejected: Collection[int]) -> int:
    """Return the line, from 1, on which the row-th row begins that was read.

    Args:
        row: from 0.
        file: of texts.
        rejected: lines whose rows were not read.
    """
    header = file.header and file.delimited
    read = (line for line in _record_lines(file) if line not in rejected)
    return next(line for number, line in enumerate(read, start=-1 if header else 0) if number == row)


def _record_lines(file: SourceFile) -> Iterator[int]:
    """Yield the line on which each record begins, the header's included; empty lines are none."""
    with open_bytes(file.path, file.compression) as stream:
        decoded = io.TextIOWrapper(stream, "utf-8", "replace", newline="")
        if len(file.delimiter) > 1 or not file.quote or not file.delimited:
            yield from (number for number, line in enumerate(decoded, start=1) if line.strip("\r\n"))
            return
        csv.field_size_limit(1 << 30)
        reader, begin = csv.reader(decoded, delimiter=file.delimiter, quotechar=file.quote), 1
        for record in reader:
            if record:
                yield begin
            begin = reader.line_num + 1
