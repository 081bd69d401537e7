"""Readers of files of interactions and of other tools' ranks, each beside a plain second reader."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.sources.read import read_source
from diffurecsys.data.sources.spec import ColumnNames, SourceSpec
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.imported_ranks import read_imported_ranks
from fuzz_inputs import Fault, Silent, Target, damage, mutate

Rows = list[tuple[str, str, int]]
EVENTS = [(f"u{n % 4}", f"i{n * 7 % 5}", 1_700_000_000 + 60 * n) for n in range(12)]
LATEST = 253_402_300_799_999_999
EARLIEST = -62_135_596_800_000_000
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")
ATOMIC_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,9})?")
KINDS = ("token", "token_seq", "float", "float_seq")


def rows_of(table: pa.Table) -> Rows:
    """Return users, items and times of a table of interactions."""
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))


def atomic_text(rating: bool = True) -> bytes:
    """Write the events as an atomic file."""
    more = (":float\trating:float", "\t3.5") if rating else (":float", "")
    lines = [f"user_id:token\titem_id:token\ttimestamp{more[0]}"]
    return "\n".join([*lines, *(f"{user}\t{item}\t{time}{more[1]}" for user, item, time in EVENTS), ""]).encode()


def expect_atomic(content: bytes) -> Rows | Fault:
    """Read an atomic file line by line."""
    body = content.removeprefix(b"\xef\xbb\xbf")
    head, *lines = re.split(rb"\r\n|\n|\r", body) if b"\n" in body else [body]
    while lines and not lines[-1]:
        lines.pop()
    if re.search(rb"\r(?!\n)", body.split(b"\n", 1)[0]):
        return Fault()  # a line end to some, a character to others
    try:
        columns = head.decode().split("\t")
    except UnicodeDecodeError:
        return Fault(1)
    names = [column.rpartition(":")[0] for column in columns]
    if any(not name or column.rpartition(":")[2] not in KINDS for name, column in zip(names, columns, strict=True)):
        return Fault(1)
    if len(set(names)) < len(names) or not {"user_id", "item_id", "timestamp"} <= set(names):
        return Fault(1)
    found: Rows = []
    for number, line in enumerate(lines, start=2):
        values = line.split(b"\t")
        if len(values) != len(names) or b"\0" in line:
            return Fault(number)
        try:
            user, item, time = (values[names.index(name)].decode() for name in ("user_id", "item_id", "timestamp"))
        except UnicodeDecodeError:
            return Fault(number)
        if not user or not item or not ATOMIC_NUMBER.fullmatch(time):
            return Fault(number)
        exact = Decimal(time)
        if exact and (exact.adjusted() > 19 or exact.adjusted() < -30 or exact != exact.to_integral_value()):
            return Fault(number)
        if not -(2**63) <= int(exact) < 2**63:
            return Fault(number)
        found.append((user, item, int(exact)))
    return found or Fault()


def seconds(text: str) -> int | None:
    """Read a time in seconds as microseconds; None where it is none."""
    text = text.strip(" ")
    if not NUMBER.fullmatch(text):
        return None
    try:
        exact = Decimal(text)
    except InvalidOperation:
        return None
    if abs(exact) >= 10**18:
        return None
    found = int(exact.quantize(Decimal("1e-9"), rounding="ROUND_HALF_UP") * 1_000_000)
    return found if EARLIEST <= found <= LATEST else None


def make_rows(records: Iterable[tuple[int, Any, Any, Any]]) -> Rows | Fault:
    """Check identifiers and times as documented; records begin with their line."""
    found: Rows = []
    for line, user, item, time in records:
        at = None if time is None else seconds(time)
        if not user or not item or at is None:
            return Fault(line)
        found.append((user, item, at))
    return found or Fault()


def expect_csv(content: bytes) -> Rows | Fault | Silent:
    """Read a delimited file with Python's own module."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lone = re.search(rb"\r(?!\n)|\"", content)  # a line end to some, a character to others; what quotes hold
        return Fault(None if lone else 1 + content.count(b"\n", 0, error.start))
    if "\0" in text or '"' in text.replace('""', "") or re.search("\r(?!\n)", text) or "\x1a" in text:
        return Silent()  # where quotes stand inside values readers differ
    head = re.split("\r\n|\r|\n", text, maxsplit=1)[0]
    delimiter = max((",", "\t", ";", "|", "::"), key=head.count)
    if delimiter == "::" or '"' in text:
        return Silent()
    names, *records = [(n, line.split(delimiter)) for n, line in enumerate(re.split("\r\n|\n", text), 1) if line] or [
        (1, [])
    ]
    header = names[1]
    if names[0] != 1 or len(set(header)) < len(header) or not {"user", "item", "time"} <= set(header):
        return Fault(1)
    for line, record in records:
        if len(record) != len(header):
            return Fault(line)
    places = [header.index(name) for name in ("user", "item", "time")]
    return make_rows((line, *(record[place] for place in places)) for line, record in records)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise KeyError
    return dict(pairs)


def expect_json(content: bytes) -> Rows | Fault | Silent:
    """Read JSON lines with Python's own module."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Fault()
    if re.search("\r(?!\n)|[\0\x01\x1a]|\\\\ud|\\\\u0000", text):
        return Silent()
    records, kinds = [], set()
    for number, line in enumerate(re.split("\r\n|\n", text), 1):
        if not line:
            continue
        try:
            found = json.loads(line, parse_float=str, object_pairs_hook=_pairs)
        except KeyError:
            return Silent()  # a name twice
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            before = make_rows(records)
            return before if isinstance(before, Fault) and before.line else Fault(number)
        values = [found.get(name) for name in ("user", "item", "time")]
        if any(isinstance(value, dict | list | bool) for value in values):
            return Silent()
        if re.search(r"[eE][-+]?\d{3,}$", str(values[2])):
            return Silent()  # a number that is 0 or endless to most readers of JSON
        if any(isinstance(found.get(name), int) != isinstance(EVENTS[0][0], int) for name in ("user", "item")):
            kinds.add("number")
        records.append((number, *(None if value is None else str(value) for value in values)))
    return Silent() if kinds else make_rows(records)


def unpacked(expect: Callable[[bytes], Any], unpack: Callable[[bytes], bytes]) -> Callable[[bytes], Any]:
    """Judge what a compressed file holds."""

    def judge(content: bytes) -> Any:
        try:
            return expect(unpack(content))
        except Exception:
            return Fault()

    return judge


def unzip(content: bytes) -> bytes:
    """Return the table in a zip, checked by its CRC."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [one.orig_filename for one in archive.infolist()]
        if any(re.search(r"\\|^/|\.\.(/|$)|\0", name) for name in names):
            raise ValueError("hostile")
        tables = [
            one for one in archive.namelist() if one.lower().endswith(".inter") and not one.startswith("__MACOSX/")
        ]
        (name,) = [one for one in tables if len(tables) == 1 or one.rsplit("/", 1)[-1] == "set.inter"]
        return archive.read(name)


def zips(draw: random.Random) -> bytes:
    """Write an archive of one kind or another, and damage it or its table."""
    table, buffer = atomic_text(), io.BytesIO()
    inside = draw.random() < 0.3
    method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        names = (
            "set.inter",
            "set/set.inter",
            "../set.inter",
            "/set.inter",
            "set.INTER",
            "é.inter",
            "__MACOSX/._set.inter",
        )
        for name in draw.sample(names, draw.choice((1, 1, 1, 2))):
            archive.writestr(name, mutate(table, draw) if inside else table)
        if draw.random() < 0.3:
            archive.writestr("set.item", b"item_id:token\n")
    return buffer.getvalue() if inside else damage(buffer.getvalue(), draw)


def zst(content: bytes) -> bytes:
    """Compress with zstd's own tool, which writes checksums."""
    return subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True).stdout


def unzst(content: bytes) -> bytes:
    """Unpack with zstd's own tool."""
    return subprocess.run(["zstd", "-qdc"], input=content, capture_output=True, check=True).stdout


def parquet_values(draw: random.Random) -> tuple[pa.Table, Rows | Fault | Silent]:
    """Draw a table of odd types and say what must be read."""
    users, items, times = ([event[place] for event in EVENTS] for place in range(3))
    columns: dict[str, pa.Array] = {"user": pa.array(users), "item": pa.array(items), "time": pa.array(times)}
    expected: Rows | Fault | Silent = [(user, item, 1_000_000 * time) for user, item, time in EVENTS]
    kind = draw.choice(
        ("plain", "null", "empty", "integers", "seconds", "stamps", "zoned", "large", "list", "bytes", "late")
    )
    row, name = draw.randrange(len(EVENTS)), draw.choice(("user", "item", "time"))
    if kind == "null":
        values = columns[name].to_pylist()
        columns[name] = pa.array([*values[:row], None, *values[row + 1 :]], columns[name].type)
        expected = Fault(row + 1)
    elif kind == "empty":
        columns["user"], expected = pa.array([*users[:row], "", *users[row + 1 :]]), Fault(row + 1)
    elif kind == "integers":
        width = draw.choice((pa.int8(), pa.uint16(), pa.int32(), pa.uint64()))
        columns["item"] = pa.array([int(item[1:]) for item in items], width)
        expected = [(user, item[1:], 1_000_000 * time) for user, item, time in EVENTS]
    elif kind == "seconds":
        columns["time"] = pa.array([float(time) for time in times])
    elif kind in ("stamps", "zoned"):
        unit = draw.choice(("s", "ms", "us", "ns"))
        zone = "Asia/Tokyo" if kind == "zoned" else None
        columns["time"] = pa.array(times, pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    elif kind == "large":
        columns["user"] = columns["user"].cast(pa.large_string()).dictionary_encode()
    elif kind == "list":
        columns[name], expected = pa.array([[1, 2]] * len(EVENTS)), Fault()
    elif kind == "bytes":
        columns["item"], expected = pa.array([item.encode() for item in items]), Silent()
    elif kind == "late":
        columns["time"], expected = pa.array([*times[:row], 10**17, *times[row + 1 :]]), Fault(row + 1)
    return pa.table(columns), expected


class Parquets:
    """Parquet files of odd types, written in odd ways, some damaged."""

    def __init__(self) -> None:
        self._expected: Any = None

    def make(self, draw: random.Random) -> bytes:
        """Draw one."""
        table, self._expected = parquet_values(draw)
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression=draw.choice(("none", "snappy", "gzip", "zstd")),
            use_dictionary=draw.random() < 0.5,
            row_group_size=draw.choice((3, 100)),
            data_page_version=draw.choice(("1.0", "2.0")),
            write_page_checksum=draw.random() < 0.5,
        )
        content = sink.getvalue().to_pybytes()
        if draw.random() < 0.5:
            return content
        changed = damage(content, draw)
        if changed != content:
            self._expected = Silent()  # what damage makes of numbers without checksums no reader can see
        return changed

    def expect(self, _content: bytes) -> Any:
        """Return what was drawn."""
        return self._expected


RANKS = b"user_id,rank,rank_unseen\nu0,2,1\nu1,3,3\nu2,1,1\nu3,5,2\n"
LISTS = b"user_id,item_id,score\n" + b"".join(
    b"u%d,i%d,%.1f\n" % (user, item, 3 - item / 2) for user in range(4) for item in (0, 3, 4)
)


class ImportedRanks:
    """Ranks and lists of other tools for four users and five items."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "peer.csv"
        self._users, self._items = [f"u{n}" for n in range(4)], [f"i{n}" for n in range(5)]
        histories = [[(user + step) % 5 for step in range(4)] for user in range(4)]
        store = SequenceStore.from_lists(histories, 5)
        self._data = StudyData(store, leave_one_out(store, max_length=5))
        self._targets = [history[-1] for history in histories]

    def make(self, draw: random.Random) -> bytes:
        """Mutate one of the two kinds."""
        return mutate(draw.choice((RANKS, LISTS)), draw)

    def read(self, content: bytes) -> object:
        """Return each user's number of better and equal items."""
        self._path.write_bytes(content)
        ranks = read_imported_ranks(self._path, self._data, self._users, self._items, 2)["test"]
        return list(zip(ranks.greater.tolist(), ranks.tied.tolist(), strict=True))

    def expect(self, content: bytes) -> Any:
        """Count by hand."""
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return Silent()
        if re.search('["\0]|\r(?!\n)', text):
            return Silent()
        lines = [line.split(",") for line in re.split("\r\n|\n", text) if line]
        if not lines or len(set(lines[0])) < len(lines[0]) or any(len(line) != len(lines[0]) for line in lines):
            return Fault()
        table = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        if not table or "split" in table[0] or "user_id" not in table[0]:
            return Silent()
        if {row["user_id"] for row in table} != set(self._users):
            return Fault()
        return self._of_lists(table) if "item_id" in table[0] else self._of_ranks(table)

    def _of_ranks(self, table: list[dict[str, str]]) -> Any:
        found = {}
        for row in table:
            try:
                exact = {name: Decimal(row[name]) for name in ("rank", "rank_unseen") if name in row}
            except InvalidOperation:
                return Fault()
            if row["user_id"] in found or "rank" not in exact:
                return Fault()
            if any(not value.is_finite() or value not in range(1, 6) for value in exact.values()):
                return Fault()
            found[row["user_id"]] = (int(exact["rank"]) - 1, 0)
        return [found[user] for user in self._users]

    def _of_lists(self, table: list[dict[str, str]]) -> Any:
        name = "score" if "score" in table[0] else "rank"
        lists: dict[str, dict[str, float]] = {user: {} for user in self._users}
        for row in table:
            try:
                value = float(row[name]) * (1 if name == "score" else -1)
            except (ValueError, KeyError):
                return Fault()
            own = lists[row["user_id"]]
            if value != value or row["item_id"] in own or row["item_id"] not in self._items:
                return Fault()
            own[row["item_id"]] = value
        if max(map(len, lists.values())) < 2:
            return Fault()
        found = []
        for user, target in zip(self._users, self._targets, strict=True):
            own = lists[user]
            if (value := own.get(f"i{target}")) is None:
                found.append((4, 0))
                continue
            found.append((sum(x > value for x in own.values()), sum(x == value for x in own.values()) - 1))
        return found


class OneDatabase:
    """DuckDB connections of one process-wide database: to start one each time would be most of the work."""

    def __init__(self) -> None:
        self._database = duckdb.connect(config={"threads": 1})

    def connect(self) -> OneDatabase:
        """Stand for `duckdb.connect`."""
        return self

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        """Give a connection without tables."""
        for name in ("source_rows", "reject_errors", "reject_scans"):
            self._database.execute(f"DROP TABLE IF EXISTS {name}")
        return self._database

    def __exit__(self, *_: object) -> None:
        """Leave it open."""


def file_targets(folder: Path) -> list[Target]:
    """Return the readers of files."""
    duckdb.connect = OneDatabase().connect  # type: ignore[assignment,method-assign]

    def source(name: str) -> Callable[[bytes], object]:
        spec = SourceSpec(name, ColumnNames("user", "item", "time"))

        def read(content: bytes) -> object:
            (folder / name).write_bytes(content)
            return rows_of(read_source(spec, folder)[0])

        return read

    def atomic(name: str) -> Callable[[bytes], object]:
        def read(content: bytes) -> object:
            (folder / name).write_bytes(content)
            return rows_of(read_interactions(folder / name))

        return read

    table = "\n".join(["user,item,time", *(f"{u},{i},{t}" for u, i, t in EVENTS), ""]).encode()
    lines = "".join(json.dumps({"user": u, "item": i, "time": t}) + "\n" for u, i, t in EVENTS).encode()
    longer = table + b"".join(b"u%d,i%d,%d\n" % (n % 9, n % 7, 1_700_000_000 + n) for n in range(6000))
    packed = {"gz": gzip.compress(longer), "zst": zst(longer)}
    parquets, ranks = Parquets(), ImportedRanks(folder)

    def compressed(kind: str) -> Callable[[random.Random], bytes]:
        def make(draw: random.Random) -> bytes:
            if draw.random() < 0.1:
                return gzip.compress(mutate(table, draw)) if kind == "gz" else zst(mutate(table, draw))
            return damage(packed[kind], draw)

        return make

    return [
        Target("RecBole atomic", "set.inter", atomic("set.inter"), expect_atomic, lambda d: mutate(atomic_text(), d)),
        Target("zip", "set.zip", atomic("set.zip"), unpacked(expect_atomic, unzip), zips),
        Target("CSV", "e.csv", source("e.csv"), expect_csv, lambda d: mutate(table, d)),
        Target("JSON lines", "e.jsonl", source("e.jsonl"), expect_json, lambda d: mutate(lines, d)),
        Target("Parquet", "e.parquet", source("e.parquet"), parquets.expect, parquets.make),
        Target("gz", "e.csv.gz", source("e.csv.gz"), unpacked(expect_csv, gzip.decompress), compressed("gz")),
        Target("zst", "e.csv.zst", source("e.csv.zst"), unpacked(expect_csv, unzst), compressed("zst")),
        Target("imported ranks", "peer.csv", ranks.read, ranks.expect, ranks.make),
    ]
