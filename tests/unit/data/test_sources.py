"""Files of one's own: what is read, exactly."""

from __future__ import annotations

import csv
import gzip
import io
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from source_files import MOMENT, read, rows, zstd

from diffurecsys.data.sources.files import SourceError
from diffurecsys.data.sources.identifiers import restore_identifiers
from diffurecsys.data.sources.items import read_items
from diffurecsys.data.sources.spec import ColumnNames, ItemTable, Rule

ODD = [
    "007",
    "NA",
    "nan",
    "1e5",
    "true",
    " anna ",
    "null",
    "",
    "日本",
    "a,b",
    'say "x"',
    "<script>",
    "=1+1",
    "two\nlines",
]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t"), ("a.txt", "|"), ("a.csv.gz", ","), ("a.tsv.zst", "\t")],
)
def test_identifiers_stay_the_text_of_the_file(name, delimiter, tmp_path):
    ids = [text for text in ODD if text]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["what", "more", "who", "when"])
    writer.writerows(
        [item, "x", user, place] for place, (item, user) in enumerate(zip(ids, reversed(ids), strict=True))
    )
    content = text.getvalue().encode()
    packed = gzip.compress(content) if name.endswith("gz") else zstd(content) if name.endswith("zst") else content
    table, record = read(tmp_path, name, packed)
    assert rows(table) == [(u, i, n * 1_000_000) for n, (i, u) in enumerate(zip(ids, reversed(ids), strict=True))]
    assert table["row"].to_pylist() == list(range(len(ids)))
    assert record.types == {"user_id": "VARCHAR", "item_id": "VARCHAR"}
    assert (record.rows, record.kept) == (len(ids), len(ids))


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT, st.integers(-(10**9), 10**10)), min_size=1, max_size=8))
@example([("\ufeff", "\x01", 0), ("\x02", "'", 1), ("\u2028", "\x85", 2)])
def test_any_text_comes_back_from_csv_and_json_lines(tmp_path, found):
    """Written by Python's own writers, every value quoted."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("who", "what", "when"), *found])
    lines = "\n".join(json.dumps(dict(zip(("who", "what", "when"), row, strict=True))) for row in found)
    expected = [(user, item, time * 1_000_000) for user, item, time in found]
    assert rows(read(tmp_path, "a.csv", text.getvalue())[0]) == expected
    assert rows(read(tmp_path, "a.jsonl", lines)[0]) == expected


@pytest.mark.parametrize(
    ("time_format", "text", "expected"),
    [
        ("s", "1709632800", MOMENT),
        ("s", "1709632800.5", MOMENT + 500_000),
        ("s", "1.7096328e9", MOMENT),
        ("s", "-1", -1_000_000),
        ("ms", "1709632800123", MOMENT + 123_000),
        ("us", "1709632800123456", MOMENT + 123_456),
        ("iso", "2024-03-05T10:00:00Z", MOMENT),
        ("iso", "2024-03-05 12:00:00+02:00", MOMENT),
        ("iso", "2024-03-05T05:30:00.25-0430", MOMENT + 250_000),
        ("iso", "2024-03-05", MOMENT - 36_000_000_000),
        ("%d.%m.%Y %H:%M", "05.03.2024 10:00", MOMENT),
        ("%d.%m.%Y %H:%M %z", "05.03.2024 11:00 +0100", MOMENT),
    ],
)
def test_times_become_microseconds_of_utc(time_format, text, expected, tmp_path):
    table, _ = read(tmp_path, "a.csv", f"who,what,when\nu,i,{text}\n", time_format=time_format)
    assert table["timestamp"].to_pylist() == [expected]


def test_times_without_zone_are_of_the_zone_that_is_named(tmp_path):
    content = "who,what,when\nu,i,2024-03-05T11:00\nu,i,2024-07-05T12:00\nu,i,2024-03-05T10:00Z\n"
    table, _ = read(tmp_path, "a.csv", content, time_format="iso", time_zone="Europe/Berlin")
    summer = int(datetime(2024, 7, 5, 10, tzinfo=UTC).timestamp()) * 1_000_000
    assert table["timestamp"].to_pylist() == [MOMENT, summer, MOMENT]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-14 * 60, 14 * 60))
def test_iso_times_are_what_python_takes_them_for(tmp_path, moment, minutes):
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    table, _ = read(tmp_path, "a.csv", f"who,what,when\nu,i,{zoned.isoformat()}\n", time_format="iso")
    assert table["timestamp"].to_pylist() == [(zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)]


IDENTIFIERS = {
    "BIGINT": pa.array([2**62, -3, 7], pa.int64()),
    "UBIGINT": pa.array([2**64 - 1, 0, 7], pa.uint64()),
    "DOUBLE": pa.array([0.1, 1e300, 7.0]),
    "BOOLEAN": pa.array([True, False, True]),
    "DECIMAL(12,3)": pa.array([Decimal("1.500"), Decimal("-7.000"), Decimal("0.001")], pa.decimal128(12, 3)),
    "DATE": pa.array([datetime(2024, 3, 5), datetime(1999, 1, 1), datetime(2000, 2, 29)], pa.date32()),
    "BLOB": pa.array([b"\x00\xff", b"a", b"\\"]),
    "VARCHAR": pa.array(["007", "NA", "7"]),
}


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_identifiers_of_parquet_come_back_with_their_type(kind, tmp_path):
    ids = IDENTIFIERS[kind]
    times = pa.array([1, 2, 3], pa.timestamp("ms"))
    pq.write_table(pa.table({"who": ids, "what": ids, "when": times}), tmp_path / "a.parquet")
    table, record = read(tmp_path, "a.parquet")
    assert record.types == {"user_id": kind, "item_id": kind}
    assert table["timestamp"].to_pylist() == [1000, 2000, 3000]
    back = restore_identifiers(table, record.types)
    assert back["user_id"].to_pylist() == back["item_id"].to_pylist() == ids.to_pylist()
    assert back["row"].to_pylist() == [0, 1, 2]


def test_uuids_come_back_as_such(tmp_path):
    import duckdb

    ids = [str(uuid.UUID(int=number)) for number in (1, 2**127)]
    values = ", ".join(f"('{text}'::UUID, '{text}'::UUID, 5)" for text in ids)
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {values}) AS t(who, what, \"when\")) TO '{tmp_path}/a.parquet'")
    table, record = read(tmp_path, "a.parquet")
    assert table["user_id"].to_pylist() == ids
    assert record.types["user_id"] == "UUID"
    assert restore_identifiers(table, record.types)["user_id"].type == pa.uuid()


def test_numbers_of_json_lines_come_back_as_numbers(tmp_path):
    lines = '{"who": 1, "what": "1", "when": 5}\n\n{"who": -9007199254740993, "what": "NA", "when": 6}\n'
    table, record = read(tmp_path, "a.jsonl", lines)
    assert record.types == {"user_id": "BIGINT", "item_id": "VARCHAR"}
    assert restore_identifiers(table, record.types)["user_id"].to_pylist() == [1, -9007199254740993]


def test_folders_and_patterns_are_read_in_the_order_of_names(tmp_path):
    (tmp_path / "days").mkdir()
    for name in ("b.csv", "a.csv", "_c.csv", ".d.csv", "readme.md"):
        (tmp_path / "days" / name).write_text(
            f"when,who,what\n1,{name},i\n" if name != "b.csv" else "who,what,when\nb.csv,i,1\n"
        )
    assert [row[0] for row in rows(read(tmp_path, "days")[0])] == ["a.csv", "b.csv"]
    assert [row[0] for row in rows(read(tmp_path, "days/[ab]*.csv")[0])] == ["a.csv", "b.csv"]
    pq.write_table(pa.table({"who": [1], "what": [2], "when": [3]}), tmp_path / "part.parquet")
    pq.write_table(pa.table({"who": [4], "what": [5], "when": [6]}), tmp_path / "rest.parquet")
    assert [row[0] for row in rows(read(tmp_path, "*.parquet")[0])] == ["1", "4"]


def test_atomic_files_and_files_without_header(tmp_path):
    content = 'who:token\twhat:token\twhen:float\tmore:token_seq\n"a"\t007\t1.5\tx y\n'
    assert rows(read(tmp_path, "a.inter", content)[0]) == [('"a"', "007", 1_500_000)]
    table, _ = read(tmp_path, "u.dat", "1::07::5::3\n1::8::4::4\n", columns=ColumnNames("1", "2", "4"), header=False)
    assert rows(table) == [("1", "07", 3_000_000), ("1", "8", 4_000_000)]


def test_without_times_the_order_of_rows_is_the_order_in_time(tmp_path):
    table, record = read(tmp_path, "a.csv", "who,what\nu,b\nu,a\n", columns=ColumnNames("who", "what"))
    assert rows(table) == [("u", "b", 0), ("u", "a", 0)]
    assert table["row"].to_pylist() == [0, 1]
    assert record.time is None


def test_rules_leave_out_rows_that_need_not_be_whole(tmp_path):
    content = "who,what,when,event,stars\nu,a,1,view,5\nu,,never,search,\nu,b,2,buy,3.5\nu,c,3,buy,4\nu,d,4,VIEW,4\n"
    keep = (Rule("event", ("view", "buy")), Rule("stars", at_least=4))
    table, record = read(tmp_path, "a.csv", content, keep=keep)
    assert rows(table) == [("u", "a", 1_000_000), ("u", "c", 3_000_000)]
    assert record.left_out == {"event in view, buy": 2, "stars >= 4": 1}
    with pytest.raises(SourceError, match=r"a.csv, line 2, column stars: 'many' is not a number \(1 row like it\)"):
        read(tmp_path, "a.csv", "who,what,when,event,stars\nu,a,1,view,many\n", keep=keep)


def test_items_have_titles_and_categories_where_these_are_known(tmp_path):
    (tmp_path / "items.csv").write_text('id,name,kind\n007,"Tea, green",drink\n8,,drink\n007,other,x\n,none,x\n')
    found = read_items(ItemTable("items.csv", "id", title="name", category="kind"), tmp_path).to_pylist()
    assert found == [
        {"item_id": "007", "title": "Tea, green", "category": "drink"},
        {"item_id": "8", "title": None, "category": "drink"},
    ]
    assert read_items(ItemTable("items.csv", "id", title="name"), tmp_path)["category"].to_pylist() == [None, None]
    assert read_items(None, tmp_path).num_rows == 0
    with pytest.raises(SourceError, match="has no column 'label'"):
        read_items(ItemTable("items.csv", "id", title="label"), tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_they_do_anywhere(end, tmp_path):
    content = end.join(["who,what,when", 'u,"i, j",1', "", "v,k,2", ""])
    assert rows(read(tmp_path, "a.csv", content.encode())[0]) == [("u", "i, j", 1_000_000), ("v", "k", 2_000_000)]
    bad = end.join(["who,what,when", "u,i,1", "", "v,k", "w,l,never", ""])
    with pytest.raises(SourceError, match=r"line 4: 'v,k' has fewer values[^\0]*line 5, column when: 'never'"):
        read(tmp_path, "a.csv", bad.encode())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_json_and_atomic_files_too(end, tmp_path):
    lines = end.join(['{"who": "u", "what": "i", "when": 1}', '{"who": "v", "what": "j", "when": 2}', ""])
    assert rows(read(tmp_path, "a.jsonl", lines.encode())[0]) == [("u", "i", 1_000_000), ("v", "j", 2_000_000)]
    lines = end.join(["who:token\twhat:token\twhen:float", "u\ti\t1", "v\tj\t2", ""])
    assert rows(read(tmp_path, "a.inter", lines.encode())[0]) == [("u", "i", 1_000_000), ("v", "j", 2_000_000)]


def test_a_gzip_file_of_several_members_is_one_text(tmp_path):
    members = gzip.compress(b"who,what,when\na,b,1\n") + gzip.compress(b"c,d,2\n")
    assert rows(read(tmp_path, "a.csv.gz", members)[0]) == [("a", "b", 1_000_000), ("c", "d", 2_000_000)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_timestamps_of_parquet_of_any_unit_and_zone(unit, zone, tmp_path):
    moment = pa.array([MOMENT // 1_000_000], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    pq.write_table(pa.table({"who": ["a"], "what": ["b"], "when": moment}), tmp_path / "a.parquet")
    assert rows(read(tmp_path, "a.parquet")[0]) == [("a", "b", MOMENT)]
