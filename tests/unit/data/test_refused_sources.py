"""Files of one's own that cannot be read, or not whole: what is said."""

from __future__ import annotations

import contextlib
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import COLUMNS, MOMENT, read, rows, zstd

from diffurecsys.data.sources.files import SourceError
from diffurecsys.data.sources.spec import Rule, SourceSpec

BAD = 'who,what,when\nu,"two\nlines",1\n\nu,i\nu,j,never\n,j,3\nu,"k"k,4\nu,l,later\nu,m,5\n'


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from(["a.csv", "a.jsonl", "a.inter", "a.csv.gz", "a.parquet"]))
def test_any_bytes_are_read_or_refused_by_the_projects_own_error(tmp_path, content, name):
    start = {"a.csv": b"who,what,when\n", "a.inter": b"who:token\twhat:token\twhen:float\n"}.get(name, b"")
    with contextlib.suppress(SourceError):
        table, record = read(tmp_path, name, start + content)
        assert table.num_rows == record.kept == record.rows > 0


def test_a_number_and_the_same_text_are_not_taken_for_one(tmp_path):
    message = r"'who' holds values of several types \(a.jsonl, line 1: .*; a.jsonl, line 3: VARCHAR\)"
    with pytest.raises(SourceError, match=message):
        read(tmp_path, "a.jsonl", '{"who": 1, "what": "x", "when": 5}\n\n{"who": "1", "what": "x", "when": 5}\n')


def test_bad_rows_are_refused_with_place_and_number(tmp_path):
    with pytest.raises(SourceError) as raised:
        read(tmp_path, "a.csv", BAD)
    lines = str(raised.value).splitlines()
    assert lines[0] == "5 rows cannot be read:"
    assert lines[1:-1] == [
        "  a.csv, line 5: 'u,i' has fewer values than the header has columns (1 row like it)",
        "  a.csv, line 8: 'u,\"k\"k,4' has a quote that does not end, or text after it (1 row like it)",
        "  a.csv, line 6, column when: 'never' is not a time in s since 1970 (years 1 to 9999) (2 rows like it)",
        "  a.csv, line 7, column who: the value is empty (1 row like it)",
    ]
    assert "on_bad_rows: drop" in lines[-1]


@pytest.mark.parametrize("packed", [False, True])
def test_bad_rows_may_be_dropped_and_are_counted(packed, tmp_path):
    content = gzip.compress(BAD.encode()) if packed else BAD
    table, record = read(tmp_path, "a.csv.gz" if packed else "a.csv", content, on_bad_rows="drop")
    assert rows(table) == [("u", "two\nlines", 1_000_000), ("u", "m", 5_000_000)]
    assert [(group.column, group.rows) for group in record.bad] == [("line", 1), ("line", 1), ("when", 2), ("who", 1)]
    assert (record.rows, record.kept) == (7, 2)


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        ("who,what,when\nu,i,1709632800000\n", {}, "is time_format ms?"),
        ("who,what,when\nu,i,2024-03-05T10:00Z\n", {}, "is time_format iso?"),
        ("who,what,when\nu,i,2024-02-30\n", {"time_format": "iso"}, "'2024-02-30' is not a date and time"),
        ("who,what,when\nu,i,nan\n", {}, "'nan' is not a time"),
        ("user,what,when\nu,i,1\n", {}, "has no column 'who'; it has 'user', 'what', 'when'"),
        ("who,what,when,who\nu,i,1,2\n", {}, "line 1: the header names column 'who' twice"),
        ("who,what,when\n", {}, "of 0 rows none is left"),
        ("", {}, "is empty"),
        ("who,what,when\nu,i,1\n", {"time_format": "%Q"}, "time_format"),
        (b"\xff\xfew\x00", {}, "is UTF-16"),
        (b"who,what,when\n\xff,i,1\n", {}, "line 2: '?,i,1' is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said(content, spec, message, tmp_path):
    with pytest.raises(SourceError) as raised:
        read(tmp_path, "a.csv", content, **spec)
    assert message in str(raised.value)
    assert "a.csv" in str(raised.value)


def test_what_is_not_there_is_said(tmp_path):
    for path, message in (
        ("absent.csv", "no such file"),
        ("*.csv", "no file has such a name"),
        (".", "holds no file"),
        ("a.xlsx", "are not known"),
        ("a.zip", "unpack it"),
    ):
        (tmp_path / "a.xlsx").touch()
        (tmp_path / "a.zip").touch()
        with pytest.raises(SourceError, match=message):
            read(tmp_path, path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time_format": "unix"}, "time_format must be one of"),
        ({"time_zone": "Mars/Olympus"}, "time_zone 'Mars/Olympus' is not known"),
        ({"quote": "''"}, "quote must be one character"),
        ({"delimiter": ""}, "delimiter must be"),
        ({"path": " "}, "path must name"),
        ({"path": "s3://bucket/events.csv"}, "path must be one of this machine"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SourceSpec(**{"path": "a.csv", "columns": COLUMNS, **values})
    with pytest.raises(ValueError, match="either values"):
        Rule("event")
    with pytest.raises(ValueError, match="quote true and false"):
        Rule("event", (True,))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.csv.zst"])
def test_a_compressed_file_that_is_damaged_far_behind_its_start_is_refused(name, tmp_path):
    rows_of_it = [(f"u{n % 9}", f"i{n % 7}", MOMENT // 1_000_000 + n) for n in range(9000)]
    if "jsonl" in name:
        text = "".join(json.dumps(dict(zip(("who", "what", "when"), row, strict=True))) + "\n" for row in rows_of_it)
    else:
        text = "who,what,when\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows_of_it)
    packed = gzip.compress(text.encode()) if name.endswith("gz") else zstd(text.encode())
    assert read(tmp_path, name, packed)[0].num_rows == 9000
    place = len(packed) - 5  # the checksum of gzip's content, which DuckDB does not look at
    for changed in (
        packed[: len(packed) * 2 // 3],
        *([packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]] if name.endswith("gz") else []),
    ):
        with pytest.raises(SourceError, match=rf"{name} is not a whole (gzip|zstd) file .*; fetch it again"):
            read(tmp_path, name, changed)


def test_lines_that_end_in_two_ways_are_read_or_said_so(tmp_path):
    text = "who,what,when\n" + "a,b,1\n" * 6 + "a,b,17\r\n00c,d,1\n" + "a,b,1\n" * 4
    with pytest.raises(SourceError, match=r"a\.csv cannot be read: .* CR LF and others in LF\? Convert them"):
        read(tmp_path, "a.csv", text)
