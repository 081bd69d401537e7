"""Files of events for tests of their readers."""

from __future__ import annotations

import pyarrow as pa

from diffurecsys.data.sources.read import read_source
from diffurecsys.data.sources.spec import ColumnNames, SourceSpec

COLUMNS = ColumnNames("who", "what", "when")
MOMENT = 1_709_632_800_000_000  # 2024-03-05 10:00:00 UTC, microseconds


def rows(table):
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))


def read(folder, path, content=None, **spec):
    if content is not None:
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_source(SourceSpec(path, **{"columns": COLUMNS, **spec}), folder)


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()
