"""Obtaining archives from a real HTTP server on the loopback interface, on good lines and bad ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from diffurecsys.data import download, transfer
from diffurecsys.data.archives import open_interactions
from diffurecsys.data.download import MIRROR_VARIABLE, ArchiveRecord, DownloadError, fetch_archive
from diffurecsys.data.specs import HOST, DatasetSpec

SPEC = DatasetSpec("mine", "mine.zip", path="folder/mine.zip")


def _zip_bytes(seed: int = 0, size: int = 200_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mine/mine.inter"), random.Random(seed).randbytes(size))
    return buffer.getvalue()


ARCHIVE = _zip_bytes()
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
BREAK = 15 * transfer.CHUNK


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request: an error status, or a body that ends or stalls after some bytes."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    bytes_sent: int | None = None
    stall: float = 0.0
    false_range: bool = False
    longest_range: int | None = None


class ArchiveServer(ThreadingHTTPServer):
    """Serves `files` by path; the faults befall one request after another."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {"/folder/mine.zip": ARCHIVE}
        self.faults: deque[Fault] = deque()
        self.every_time: Fault | None = None
        self.has_ranges = True
        self.has_versions = True
        self.has_lengths = True
        self.weak_versions = False
        self.seconds_a_chunk = 0.0
        self.requests: list[tuple[str, str | None]] = []  # path, Range

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def version(self, content: bytes) -> str:
        return f'{"W/" * self.weak_versions}"{hashlib.md5(content).hexdigest()}"'

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        fault = self.server.every_time or (self.server.faults.popleft() if self.server.faults else Fault())
        content = self.server.files.get(self.path)
        status = fault.status or (200 if content is not None else 404)
        if status != 200 or content is None:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **fault.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        start = self._start(asked, content)
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(content, start, fault)

    def _start(self, asked: str | None, content: bytes) -> int | None:
        condition = self.headers.get("If-Range")
        if asked is None or not self.server.has_ranges or condition not in (None, self.server.version(content)):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, content: bytes, start: int | None, fault: Fault) -> None:
        longest = fault.longest_range if start is not None else None
        body = content[start or 0 :][:longest]
        self.send_response(200 if start is None else 206)
        if start is not None:
            named = 0 if fault.false_range else start
            self.send_header("Content-Range", f"bytes {named}-{named + len(body) - 1}/{len(content)}")
        if self.server.has_versions:
            self.send_header("ETag", self.server.version(content))
        if self.server.has_lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body[: fault.bytes_sent]
        with contextlib.suppress(ConnectionError):  # clients hang up
            for position in range(0, len(sent), 10_000):
                self.wfile.write(sent[position : position + 10_000])
                time.sleep(self.server.seconds_a_chunk)
            self.wfile.flush()
            time.sleep(fault.stall)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server():
    with ArchiveServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _only_the_loopback_interface(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)


@pytest.fixture
def raw(tmp_path) -> Path:
    return tmp_path / "01_raw"


def _fetch(raw: Path, server: ArchiveServer, spec: DatasetSpec = SPEC, **how) -> ArchiveRecord:
    return fetch_archive(spec, raw, **{"mirror": server.address, "back_off": 0.0, "timeout": 5.0, **how})


def _visible(raw: Path) -> set[str]:
    return {path.name for path in raw.iterdir() if not path.name.startswith(".")}


# ---- a good line


def test_an_archive_is_fetched_and_its_checksum_recorded(raw, server):
    record = _fetch(raw, server)
    assert record == ArchiveRecord(raw / "mine.zip", DIGEST, len(ARCHIVE), f"{server.address}folder/mine.zip")
    assert (raw / "mine.zip").read_bytes() == ARCHIVE
    assert (raw / "mine.zip.sha256").read_text() == f"{DIGEST}  mine.zip\n"
    assert _visible(raw) == {"mine.zip", "mine.zip.sha256"}


def test_an_archive_that_is_there_needs_no_network(raw, server):
    _fetch(raw, server)
    assert _fetch(raw, server) == ArchiveRecord(raw / "mine.zip", DIGEST, len(ARCHIVE), "local")
    assert server.ranges == [None]


def test_an_archive_placed_by_hand_gets_its_checksum_recorded(raw):
    raw.mkdir()
    (raw / "mine.zip").write_bytes(ARCHIVE)
    record = fetch_archive(SPEC, raw, mirror="http://127.0.0.1:1/")
    assert (record.sha256, record.source) == (DIGEST, "local")
    assert (raw / "mine.zip.sha256").exists()


def test_a_host_that_does_not_tell_the_length_serves(raw, server):
    server.has_lengths = False
    assert _fetch(raw, server).sha256 == DIGEST


def test_names_are_escaped_in_the_address(raw, server):
    server.files["/a%20folder/mine%20%2B.zip"] = ARCHIVE
    spec = DatasetSpec("mine", "mine.zip", path="a folder/mine +.zip")
    assert _fetch(raw, server, spec).sha256 == DIGEST


def test_a_plain_inter_file_is_fetched_too(raw, server):
    server.files["/mine.inter"] = b"user_id:token\titem_id:token\ttimestamp:float\n"
    record = _fetch(raw, server, DatasetSpec("mine", "mine.inter", path="mine.inter"))
    assert record.path.read_bytes() == server.files["/mine.inter"]


@pytest.mark.parametrize("name", ["MovieLens/ml-100k.zip", "Amazon_ratings/Amazon_Beauty.zip"])
def test_real_archives_arrive_whole_over_a_bad_line(name, raw, server, shared_data):
    real = shared_data / Path(name).name
    server.files[f"/{name}"] = real.read_bytes()
    server.faults.extend([Fault(bytes_sent=2 * BREAK), Fault(status=503), Fault(bytes_sent=BREAK)])
    record = _fetch(raw, server, DatasetSpec(real.stem, real.name, path=name))
    assert record.sha256 == hashlib.sha256(real.read_bytes()).hexdigest()
    assert server.ranges == [None, f"bytes={2 * BREAK}-", f"bytes={2 * BREAK}-", f"bytes={3 * BREAK}-"]
    with open_interactions(record.path) as stream:
        assert stream.readline().startswith(b"user_id:token\titem_id:token")


# ---- a bad line


def test_a_truncated_transfer_is_continued(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


def test_a_stalled_transfer_is_continued(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK, stall=1.0))
    assert _fetch(raw, server, timeout=0.3).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


@pytest.mark.parametrize("lack", ["has_ranges", "has_versions"])
def test_without_ranges_or_versions_a_truncated_transfer_starts_anew(lack, raw, server):
    setattr(server, lack, False)
    server.faults.append(Fault(bytes_sent=BREAK))
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-" if lack == "has_ranges" else None]


def test_a_weak_version_is_no_ground_to_continue_on(raw, server):
    server.weak_versions = True
    server.faults.append(Fault(bytes_sent=BREAK))
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, None]


def test_a_range_that_was_not_asked_for_is_not_appended(raw, server):
    server.faults.extend([Fault(bytes_sent=BREAK), Fault(false_range=True)])
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-", None]


def test_a_host_that_sends_less_than_was_asked_for_is_asked_for_the_rest(raw, server):
    server.faults.extend([Fault(bytes_sent=BREAK), Fault(longest_range=1000)])
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-", f"bytes={BREAK + 1000}-"]


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    with pytest.raises(DownloadError, match=r"not fetched in 1 try"):
        _fetch(raw, server, retries=0)
    server.files["/folder/mine.zip"] = _zip_bytes(seed=1)
    assert _fetch(raw, server).sha256 == hashlib.sha256(_zip_bytes(seed=1)).hexdigest()
    assert server.ranges == [None, f"bytes={BREAK}-"]  # If-Range: the host sends the new file at once


@pytest.mark.parametrize("left", ["longer than the file", "of another address", "without its origin", "unreadable"])
def test_a_useless_part_of_an_earlier_download_is_dropped(left, raw, server):
    raw.mkdir()
    part = raw / "mine.zip.part"
    part.write_bytes(b"x" * (len(ARCHIVE) if left == "longer than the file" else 1000))
    address = f"{server.address}{'elsewhere' if left == 'of another address' else 'folder'}/mine.zip"
    if left != "without its origin":
        origin = json.dumps({"address": address, "version": server.version(ARCHIVE)})
        (raw / "mine.zip.part.json").write_text("{" if left == "unreadable" else origin)
    assert _fetch(raw, server, retries=0).sha256 == DIGEST
    assert server.ranges[-1] is None
    assert _visible(raw) == {"mine.zip", "mine.zip.sha256"}


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_tried_again(status, raw, server, caplog):
    server.faults.append(Fault(status=status))
    with caplog.at_level(logging.WARNING):
        assert _fetch(raw, server).sha256 == DIGEST
    assert len(server.requests) == 2
    assert f"try 1 of 5: the host answered {status}" in caplog.text


def test_a_lasting_failure_is_given_up_after_all_tries(raw, server):
    server.every_time = Fault(status=500)
    with pytest.raises(DownloadError, match=r"not fetched in 3 tries.*500 Internal Server Error.*download\.mirror"):
        _fetch(raw, server, retries=2)
    assert len(server.requests) == 3
    assert _visible(raw) == set()


def test_waits_double_up_to_a_limit_and_heed_the_host(raw, server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    server.faults.extend([Fault(status=500)] * 2 + [Fault(status=429, headers={"Retry-After": "30"})])
    server.faults.extend([Fault(status=503, headers={"Retry-After": "3600"}), Fault(status=503)])
    _fetch(raw, server, retries=5, back_off=2.0)
    assert [wait for wait in waits if wait] == [2.0, 4.0, 30.0, transfer.LONGEST_WAIT, 32.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_tried_again_and_says_what_to_do(status, raw, server):
    server.every_time = Fault(status=status)
    message = rf"dataset mine: {server.address}folder/mine\.zip: the host answered {status}.*{MIRROR_VARIABLE}.*by hand"
    with pytest.raises(DownloadError, match=message):
        _fetch(raw, server)
    assert len(server.requests) == 1


def test_a_refused_connection_is_given_up_after_all_tries(raw, server):
    closed = ArchiveServer()
    closed.server_close()
    with pytest.raises(DownloadError, match=r"not fetched in 2 tries.*Connection refused"):
        _fetch(raw, closed, retries=1)


def test_a_part_that_cannot_be_written_is_named(raw, server):
    (raw / "mine.zip.part" / "folder").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"mine\.zip\.part cannot be written"):
        _fetch(raw, server)


def test_what_arrived_before_giving_up_is_continued_at_the_next_run(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    with pytest.raises(DownloadError, match=rf"not fetched in 1 try.*{BREAK} bytes read, \d+ more expected"):
        _fetch(raw, server, retries=0)
    assert (raw / "mine.zip.part").read_bytes() == ARCHIVE[:BREAK]
    assert not (raw / "mine.zip").exists()
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


# ---- what is not accepted


@pytest.mark.parametrize(
    "content", [b"<html>please log in</html>", ARCHIVE[:-100], ARCHIVE.replace(b"mine", b"ours", 1)]
)
def test_what_is_not_a_whole_zip_is_removed(content, raw, server):
    server.files["/folder/mine.zip"] = content
    with pytest.raises(DownloadError, match=r"folder/mine\.zip sent something that is not a whole zip file"):
        _fetch(raw, server)
    assert _visible(raw) == set()
    server.files["/folder/mine.zip"] = ARCHIVE
    assert _fetch(raw, server).sha256 == DIGEST


def test_a_damaged_archive_placed_by_hand_is_named_and_kept(raw, server):
    raw.mkdir()
    (raw / "mine.zip").write_bytes(ARCHIVE[:-100])
    with pytest.raises(DownloadError, match=r"mine\.zip is not a whole zip file .*remove it"):
        _fetch(raw, server)
    assert _visible(raw) == {"mine.zip"}
    assert not server.requests


def test_the_registrys_checksum_must_be_that_of_what_is_fetched(raw, server):
    wrong = DatasetSpec("mine", "mine.zip", path="folder/mine.zip", sha256="0" * 64)
    with pytest.raises(DownloadError, match=rf"has the sha256 {DIGEST}, but the registry's entry .* says 0{{64}}"):
        _fetch(raw, server, wrong)
    assert _visible(raw) == set()
    right = DatasetSpec("mine", "mine.zip", path="folder/mine.zip", sha256=DIGEST.upper())
    assert _fetch(raw, server, right).sha256 == DIGEST


def test_the_registrys_checksum_must_be_that_of_what_is_there(raw, server):
    _fetch(raw, server)
    with pytest.raises(DownloadError, match=r"mine\.zip has the sha256 .* registry's entry .* correct the entry"):
        _fetch(raw, server, DatasetSpec("mine", "mine.zip", sha256="0" * 64))
    assert (raw / "mine.zip").exists()


def test_an_archive_that_changed_since_its_first_use_is_refused(raw, server):
    _fetch(raw, server)
    (raw / "mine.zip").write_bytes(_zip_bytes(seed=1))
    with pytest.raises(DownloadError, match=rf"mine\.zip\.sha256, from its first use, says {DIGEST}.*remove that file"):
        _fetch(raw, server)
    (raw / "mine.zip.sha256").unlink()
    assert _fetch(raw, server).sha256 != DIGEST


def test_a_new_download_must_have_the_recorded_checksum(raw, server):
    _fetch(raw, server)
    (raw / "mine.zip").unlink()
    server.files["/folder/mine.zip"] = _zip_bytes(seed=1)
    with pytest.raises(
        DownloadError, match=rf"what {server.address}.* sent \(removed\) has the sha256 .* says {DIGEST}"
    ):
        _fetch(raw, server)
    assert _visible(raw) == {"mine.zip.sha256"}


@pytest.mark.parametrize("content", ["", "not a checksum  mine.zip\n"])
def test_an_unreadable_record_is_named(content, raw, server):
    _fetch(raw, server)
    (raw / "mine.zip.sha256").write_text(content)
    with pytest.raises(DownloadError, match=r"mine\.zip\.sha256 should start with a sha256.*remove it"):
        _fetch(raw, server)


# ---- where from


def test_the_parameter_comes_before_the_variable_and_that_before_the_public_host(raw, server, monkeypatch):
    addresses: list[str] = []

    def refuse(address: str, *_: object, **__: object) -> None:
        addresses.append(address)
        raise transfer.TransferError("refused")

    monkeypatch.setattr(download, "transfer", refuse)
    for variable, mirror in (
        ("", None),
        ("http://variable/here", None),
        ("http://variable", "http://parameter/there/"),
    ):
        monkeypatch.setenv(MIRROR_VARIABLE, variable)
        with pytest.raises(DownloadError, match="refused"):
            fetch_archive(SPEC, raw, mirror=mirror)
    assert addresses == [
        f"{HOST}folder/mine.zip",
        "http://variable/here/folder/mine.zip",
        "http://parameter/there/folder/mine.zip",
    ]


def test_a_file_placed_by_hand_may_be_corrected(raw, server, caplog):
    by_hand = DatasetSpec("mine", "mine.zip")
    raw.mkdir(exist_ok=True)
    (raw / "mine.zip").write_bytes(ARCHIVE)
    assert _fetch(raw, server, by_hand).sha256 == DIGEST
    corrected = _zip_bytes(seed=1)
    (raw / "mine.zip").write_bytes(corrected)

    record = _fetch(raw, server, by_hand)

    assert record.sha256 == hashlib.sha256(corrected).hexdigest()
    assert any("is not the file that was used before" in message for message in caplog.messages)
    caplog.clear()
    assert _fetch(raw, server, by_hand).sha256 == record.sha256
    assert not caplog.messages
    (raw / "mine.zip").write_bytes(corrected[: len(corrected) // 2])
    with pytest.raises(DownloadError, match="not a whole zip file"):
        _fetch(raw, server, by_hand)


def test_the_variable_names_a_mirror(raw, server, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, server.address.rstrip("/"))
    assert fetch_archive(SPEC, raw).source == f"{server.address}folder/mine.zip"


@pytest.mark.parametrize("mirror", ["host/folder", "ftp://host", "/data", "http://", "https://host/?folder=1"])
def test_a_mirror_that_is_no_address_is_refused(mirror, raw):
    with pytest.raises(
        ValueError, match=rf"download\.mirror .* must be an address like .*, got '{mirror}'".replace("?", r"\?")
    ):
        fetch_archive(SPEC, raw, mirror=mirror)


def test_a_password_in_the_mirrors_address_is_not_shown(raw, server, caplog):
    mirror = server.address.replace("//", "//me:secret@")
    server.faults.extend([Fault(bytes_sent=1000), Fault(status=404)])
    with caplog.at_level(logging.DEBUG, "diffurecsys"), pytest.raises(DownloadError) as caught:
        _fetch(raw, server, mirror=mirror)
    record = _fetch(raw, server, mirror=mirror)
    assert "secret" not in f"{caught.value}{caplog.text}{record}"
    assert record.source == f"{server.address}folder/mine.zip"


def test_negative_retries_are_refused(raw, server):
    with pytest.raises(ValueError, match=r"download\.retries must be at least 0, got -1"):
        _fetch(raw, server, retries=-1)


def test_without_a_path_the_file_is_to_be_placed(raw):
    with pytest.raises(DownloadError, match=r"dataset mine: .*mine\.zip is not there.*place the file there"):
        fetch_archive(DatasetSpec("mine", "mine.zip"), raw)


def test_the_sample_is_generated_anew_whatever_was_recorded_of_an_earlier_one(raw, monkeypatch):
    generator = ModuleType("synthetic")
    generator.write_sample = lambda path, *, seed: path.write_bytes(_zip_bytes(seed))
    monkeypatch.setitem(sys.modules, "diffurecsys.data.synthetic", generator)
    raw.mkdir()
    (raw / "sample.zip.sha256").write_text(f"{'0' * 64}  sample.zip\n")
    spec = DatasetSpec("sample", "sample.zip")
    assert fetch_archive(spec, raw) == ArchiveRecord(raw / "sample.zip", DIGEST, len(ARCHIVE), "generated")
    assert fetch_archive(spec, raw).source == "local"


# ---- several processes, and killed ones

PROGRAM = """
import sys
from pathlib import Path
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.data.download import fetch_archive
spec = DatasetSpec("mine", "mine.zip", path="folder/mine.zip")
print(fetch_archive(spec, Path(sys.argv[1]), mirror=sys.argv[2]).sha256)
"""


def _start(raw: Path, server: ArchiveServer) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(raw), server.address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_a_killed_download_leaves_no_archive_and_is_continued(raw, server):
    server.seconds_a_chunk = 0.05
    process = _start(raw, server)
    part = raw / "mine.zip.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    arrived = part.stat().st_size
    assert 0 < arrived < len(ARCHIVE)
    assert not (raw / "mine.zip").exists()
    assert _fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={arrived}-"]


def test_processes_that_want_the_same_archive_fetch_it_once(raw, server):
    server.seconds_a_chunk = 0.05
    processes = [_start(raw, server) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [DIGEST] * 3
    assert server.ranges == [None]


# ---- progress


def test_a_terminal_shows_progress_and_anything_else_nothing(raw, server, monkeypatch, capfd):
    _fetch(raw, server)
    assert capfd.readouterr() == ("", "")
    screen = io.StringIO()
    monkeypatch.setattr(transfer, "get_console", lambda: Console(file=screen, force_terminal=True, width=120))
    (raw / "mine.zip").unlink()
    _fetch(raw, server)
    assert "mine.zip" in screen.getvalue()
    assert "200.1/200.1 kB" in screen.getvalue()
