import io
import zipfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data import recbole_files
from diffurecsys.data.archives import ArchiveError
from diffurecsys.data.recbole_files import AtomicFileError, read_interactions

HEADER = "user_id:token\titem_id:token\ttimestamp:float"


def inter(folder: Path, content: str | bytes) -> Path:
    path = folder / "made.inter"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(folder: Path, *lines: str) -> Path:
    return inter(folder, "\n".join([HEADER, *lines]) + "\n")


def columns(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]


def fault(path: Path, **how) -> str:
    with pytest.raises(AtomicFileError) as caught:
        read_interactions(path, **how)
    return str(caught.value)


def test_reads_the_file_in_its_order_with_declared_types(tmp_path):
    table = read_interactions(rows(tmp_path, "u2\ti1\t30", "u1\ti9\t10", "u2\ti1\t20"))
    assert table.schema == pa.schema(
        [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64()), ("row", pa.int64())]
    )
    assert columns(table) == [("u2", "i1", 30, 0), ("u1", "i9", 10, 1), ("u2", "i1", 20, 2)]


def test_reads_a_member_of_a_zip(tmp_path):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/made.inter", f"{HEADER}\na\tb\t1\n")
    assert columns(read_interactions(path)) == [("a", "b", 1, 0)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/made.inter", f"{HEADER}\na\tb\tx\n")
    assert fault(path) == "made.zip:folder/made.inter, line 2: timestamp 'x' is not a number"


ids = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), min_size=1, max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
EXTRA = ("rating:float", "tags:token_seq", "a:b:token")


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(st.tuples(ids, ids, int64), min_size=1, max_size=12),
    order=st.permutations(range(6)),
    n_extra=st.integers(0, 3),
    line_end=st.sampled_from(["\n", "\r\n"]),
    last_end=st.sampled_from([0, 1, 2]),
    block=st.integers(150, 400),
)
def test_round_trip(tmp_path_factory, data, order, n_extra, line_end, last_end, block):
    """Any ids, in any order of columns, beside any other columns, however lines end and blocks fall."""
    names = ["user_id:token", "item_id:token", "timestamp:float", *EXTRA[:n_extra]]
    order = [i for i in order if i < len(names)]
    extra = ["not a number", "\ufeff", '"'][:n_extra]
    lines = [[*row, *extra] for row in [(u, i, str(t)) for u, i, t in data]]
    text = line_end.join("\t".join(line[i] for i in order) for line in [names, *lines]) + line_end * last_end
    path = inter(tmp_path_factory.mktemp("round"), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recbole_files, "_BLOCK_BYTES", block)
        table = read_interactions(path)
    assert columns(table) == [(*row, i) for i, row in enumerate(data)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("978300760", 978300760),
        ("978300760.0", 978300760),
        ("978300760.000", 978300760),
        ("978300760.", 978300760),
        ("9.78300760e8", 978300760),
        ("9.78300760E+08", 978300760),
        ("16777217", 16777217),
        ("16777217.0", 16777217),
        ("978300761.0", 978300761),
        ("9007199254740993.0", 2**53 + 1),
        ("9.007199254740993e15", 2**53 + 1),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808.0", -(2**63)),
        ("007", 7),
        ("-0.0", 0),
        ("0e999999999", 0),
        ("1230e-1", 123),
    ],
)
def test_timestamps_are_exact(tmp_path, text, value):
    assert read_interactions(rows(tmp_path, f"u\ti\t{text}"))["timestamp"].to_pylist() == [value]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a number"),
        ("yesterday", "is not a number"),
        ("nan", "is not a number"),
        ("inf", "is not a number"),
        ("-Infinity", "is not a number"),
        ("0x10", "is not a number"),
        ("1_000", "is not a number"),
        (" 5", "is not a number"),
        ("5 ", "is not a number"),
        ("١٢", "is not a number"),
        (".", "is not a number"),
        ("1.5", "is not a whole number of seconds"),
        ("1e-999999999", "is not a whole number of seconds"),
        ("978300760.00000001", "is not a whole number of seconds"),
        ("9223372036854775808", "is out of the range of int64"),
        ("-9223372036854775809", "is out of the range of int64"),
        ("9223372036854775808.0", "is out of the range of int64"),
        ("1e19", "is out of the range of int64"),
        ("1e999999999", "is out of the range of int64"),
    ],
)
def test_other_timestamps_are_errors(tmp_path, text, reason):
    path = rows(tmp_path, "u\ti\t1", f"u\ti\t{text}", "u\ti\t3")
    assert fault(path) == f"made.inter, line 3: timestamp {text!r} {reason}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "made.inter is empty; expected a header such as user_id:token, item_id:token, …"),
        (HEADER, "made.inter has a header and no interactions"),
        (f"{HEADER}\n", "made.inter has a header and no interactions"),
        (f"{HEADER}\r\n\r\n", "made.inter has a header and no interactions"),
        (
            "user_id:token\titem_id:token\trating:float\n1\t2\t3\n",
            "made.inter, line 1: the header has no column timestamp; it has user_id, item_id, rating",
        ),
        (
            "user:token\ttimestamp:float\n1\t2\n",
            "made.inter, line 1: the header has no column user_id and none item_id; it has user, timestamp",
        ),
        (f"{HEADER}\tuser_id:token\n", "made.inter, line 1: the header names column 'user_id' twice"),
        (
            "user_id\titem_id\ttimestamp\n1\t2\t3\n",
            "made.inter, line 1: the header's column 'user_id' has no type; write it as name:type with one of the "
            "types token, token_seq, float, float_seq",
        ),
        (b"user_id:token\titem_id\xff:token\n", "made.inter, line 1: not UTF-8 (invalid start byte at byte 22)"),
        (
            f"{HEADER}\nu\ti\t1\nu\ti\t1\t5.0\n",
            "made.inter, line 3: 4 tab-separated fields where the header has 3 (user_id, item_id, timestamp): "
            r"'u\ti\t1\t5.0'",
        ),
        (
            f"{HEADER}\nu,i,1\n",
            "made.inter, line 2: 1 tab-separated fields where the header has 3 (user_id, item_id, timestamp): 'u,i,1'",
        ),
        (f"{HEADER}\nu\ti\t1\n\nu\ti\t1\n", "made.inter, line 3: the line is empty; remove it"),
        (f"{HEADER}\n\nu\ti\t1\n", "made.inter, line 2: the line is empty; remove it"),
        (f"{HEADER}\nu\ti\t1\n\n\nu\ti\t1\n", "made.inter, line 3: the line is empty; remove it"),
        (f"{HEADER}\n\n\n", "made.inter has a header and no interactions"),
        (
            f"{HEADER}\nu\ti\t1\nu\0\ti\t1\n",
            r"made.inter, line 3: the line has a null byte: 'u\x00\ti\t1'; is the file damaged?",
        ),
        (f"{HEADER}\nu\ti\t1\n\ti\t1\n", "made.inter, line 3: user_id is empty"),
        (f"{HEADER}\nu\t\t1\n", "made.inter, line 2: item_id is empty"),
        (
            f"{HEADER}\nu\ti\t1\n".encode() + b"u\t\xe9t\xe9\t1\n",
            r"made.inter, line 3: item_id is not UTF-8 (invalid continuation byte): '\\xe9t\\xe9'; save the file as "
            "UTF-8",
        ),
    ],
)
def test_errors_name_file_line_and_value(tmp_path, content, message):
    assert fault(inter(tmp_path, content)) == message


def test_the_line_is_right_far_into_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(recbole_files, "_BLOCK_BYTES", 4096)
    lines = [f"u{i}\ti\t{i}" for i in range(5000)]
    lines[4321] = "u\ti\tnoon"
    assert fault(rows(tmp_path, *lines)) == "made.inter, line 4323: timestamp 'noon' is not a number"


def test_a_long_value_is_shown_by_its_start(tmp_path):
    assert fault(rows(tmp_path, "u\ti\t" + "x" * 1000)).endswith(f"timestamp {'x' * 60 + '…'!r} is not a number")


def test_a_line_longer_than_a_block_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(recbole_files, "_BLOCK_BYTES", 200)
    path = rows(tmp_path, "u\ti\t1", "u" * 600 + "\ti\t1")
    assert fault(path) == "made.inter, line 3: the line is longer than 200 bytes"


def test_quotes_are_ordinary_characters(tmp_path):
    table = read_interactions(rows(tmp_path, 'u"\t"i\t1', '"u"\t\\N\t2', "NA\tnull\t3"))
    assert columns(table) == [('u"', '"i', 1, 0), ('"u"', "\\N", 2, 1), ("NA", "null", 3, 2)]


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path):
    assert columns(read_interactions(inter(tmp_path, f"\ufeff{HEADER}\nu\ti\t1\n"))) == [("u", "i", 1, 0)]


def test_unneeded_columns_may_hold_anything(tmp_path):
    path = inter(tmp_path, f"{HEADER}\trating:float\n".encode() + b"u\ti\t1\tn/a \xff\n")
    assert columns(read_interactions(path)) == [("u", "i", 1, 0)]


def test_min_rating_keeps_the_numbering_of_rows(tmp_path):
    header = "rating:float\tuser_id:token\titem_id:token\ttimestamp:float"
    path = inter(tmp_path, f"{header}\n3.5\tu\ta\t1\n4\tu\tb\t2\n5.0\tu\tc\t3\n")
    assert columns(read_interactions(path, min_rating=4.0)) == [("u", "b", 2, 1), ("u", "c", 3, 2)]
    assert fault(path, min_rating=6.0) == "made.inter: none of 3 interactions has a rating of at least 6.0"


@pytest.mark.parametrize("rating", ["", "good", "nan", "inf", "1e999"])
def test_a_rating_that_is_needed_must_be_a_number(tmp_path, rating):
    path = inter(tmp_path, f"{HEADER}\trating:float\nu\ti\t1\t4\nu\ti\t1\t{rating}\n")
    assert fault(path, min_rating=1.0) == f"made.inter, line 3: rating {rating!r} is not a number"
    assert fault(rows(tmp_path, "u\ti\t1"), min_rating=1.0) == (
        "made.inter, line 1: the header has no column rating; it has user_id, item_id, timestamp"
    )


def test_memory_is_near_the_size_of_the_table(tmp_path, monkeypatch):
    """No more than a few blocks are held beside the table; ids are never Python strings."""
    monkeypatch.setattr(recbole_files, "_BLOCK_BYTES", 1 << 16)
    n = 200_000
    text = io.StringIO()
    text.write(HEADER + "\n")
    np.savetxt(text, np.arange(n * 3).reshape(n, 3), fmt="A%09d\tB%09d\t%d.0")
    path = inter(tmp_path, text.getvalue())
    pool = pa.system_memory_pool()
    default = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        table = read_interactions(path)
        assert table.num_rows == n
        assert pool.max_memory() < 3 * table.nbytes
    finally:
        pa.set_memory_pool(default)
    assert table["user_id"].chunk(0).type == pa.string()


@pytest.mark.parametrize(
    ("archive", "n"),
    [("ml-100k", 100_000), ("ml-1m", 1_000_209), ("Amazon_Beauty", 198_502), ("Amazon_Toys_and_Games", 167_597)],
)
def test_real_archives(shared_data, archive, n):
    table = read_interactions(shared_data / f"{archive}.zip")
    assert table.num_rows == n
    assert table["row"].to_numpy().tolist() == list(range(n))
    if archive == "ml-100k":
        assert columns(table.slice(0, 2)) == [("196", "242", 881250949, 0), ("186", "302", 891717742, 1)]


def test_a_broken_archive_is_not_blamed_on_a_line(tmp_path):
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made.inter", f"{HEADER}\nalice\tb\t1\n")
    path.write_bytes(path.read_bytes().replace(b"alice", b"alicf"))
    with pytest.raises(ArchiveError, match=r"made\.zip"):
        read_interactions(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n", "\r\n\r\n", "\n" * 100_000])
def test_empty_lines_at_the_very_end_are_no_lines(end, tmp_path):
    path = tmp_path / "made.inter"
    path.write_bytes(f"{HEADER}\nu\ti\t1{end}".encode())
    assert read_interactions(path).select(["user_id", "item_id", "timestamp"]).to_pylist() == [
        {"user_id": "u", "item_id": "i", "timestamp": 1}
    ]


def test_line_ends_are_read_in_linear_time(tmp_path):
    """Copying what is held at every block would move (64 MB / 8 MB)² / 2 blocks, and more the longer the file is."""
    path = tmp_path / "made.inter"
    seconds = []
    for millions in (4, 64):
        path.write_bytes(f"{HEADER}\nu\ti\t1".encode() + b"\n" * (millions << 20))
        began = perf_counter()
        assert read_interactions(path).num_rows == 1
        seconds.append(perf_counter() - began)
    assert seconds[1] < 5 + 16 * 4 * seconds[0]  # 16 times the bytes; four times that for a busy machine
