"""Obtaining archives over good lines and bad ones, by processes that are killed or many."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_server import ARCHIVE, BREAK, DIGEST, SPEC, ArchiveServer, Fault, fetch, visible, zip_bytes
from rich.console import Console

from diffurecsys.data import transfer
from diffurecsys.data.archives import open_interactions
from diffurecsys.data.download import MIRROR_VARIABLE, ArchiveRecord, DownloadError, fetch_archive
from diffurecsys.data.specs import DatasetSpec

# ---- a good line


def test_an_archive_is_fetched_and_its_checksum_recorded(raw, server):
    record = fetch(raw, server)
    assert record == ArchiveRecord(raw / "mine.zip", DIGEST, len(ARCHIVE), f"{server.address}folder/mine.zip")
    assert (raw / "mine.zip").read_bytes() == ARCHIVE
    assert (raw / "mine.zip.sha256").read_text() == f"{DIGEST}  mine.zip\n"
    assert visible(raw) == {"mine.zip", "mine.zip.sha256"}


def test_an_archive_that_is_there_needs_no_network(raw, server):
    fetch(raw, server)
    assert fetch(raw, server) == ArchiveRecord(raw / "mine.zip", DIGEST, len(ARCHIVE), "local")
    assert server.ranges == [None]


def test_an_archive_placed_by_hand_gets_its_checksum_recorded(raw):
    raw.mkdir()
    (raw / "mine.zip").write_bytes(ARCHIVE)
    record = fetch_archive(SPEC, raw, mirror="http://127.0.0.1:1/")
    assert (record.sha256, record.source) == (DIGEST, "local")
    assert (raw / "mine.zip.sha256").exists()


def test_a_host_that_does_not_tell_the_length_serves(raw, server):
    server.has_lengths = False
    assert fetch(raw, server).sha256 == DIGEST


def test_names_are_escaped_in_the_address(raw, server):
    server.files["/a%20folder/mine%20%2B.zip"] = ARCHIVE
    spec = DatasetSpec("mine", "mine.zip", path="a folder/mine +.zip")
    assert fetch(raw, server, spec).sha256 == DIGEST


def test_a_plain_inter_file_is_fetched_too(raw, server):
    server.files["/mine.inter"] = b"user_id:token\titem_id:token\ttimestamp:float\n"
    record = fetch(raw, server, DatasetSpec("mine", "mine.inter", path="mine.inter"))
    assert record.path.read_bytes() == server.files["/mine.inter"]


@pytest.mark.parametrize("name", ["MovieLens/ml-100k.zip", "Amazon_ratings/Amazon_Beauty.zip"])
def test_real_archives_arrive_whole_over_a_bad_line(name, raw, server, shared_data):
    real = shared_data / Path(name).name
    server.files[f"/{name}"] = real.read_bytes()
    server.faults.extend([Fault(bytes_sent=2 * BREAK), Fault(status=503), Fault(bytes_sent=BREAK)])
    record = fetch(raw, server, DatasetSpec(real.stem, real.name, path=name))
    assert record.sha256 == hashlib.sha256(real.read_bytes()).hexdigest()
    assert server.ranges == [None, f"bytes={2 * BREAK}-", f"bytes={2 * BREAK}-", f"bytes={3 * BREAK}-"]
    with open_interactions(record.path) as stream:
        assert stream.readline().startswith(b"user_id:token\titem_id:token")


# ---- a bad line


def test_a_truncated_transfer_is_continued(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


def test_a_stalled_transfer_is_continued(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK, stall=1.0))
    assert fetch(raw, server, timeout=0.3).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


@pytest.mark.parametrize("lack", ["has_ranges", "has_versions"])
def test_without_ranges_or_versions_a_truncated_transfer_starts_anew(lack, raw, server):
    setattr(server, lack, False)
    server.faults.append(Fault(bytes_sent=BREAK))
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-" if lack == "has_ranges" else None]


def test_a_weak_version_is_no_ground_to_continue_on(raw, server):
    server.weak_versions = True
    server.faults.append(Fault(bytes_sent=BREAK))
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, None]


def test_a_range_that_was_not_asked_for_is_not_appended(raw, server):
    server.faults.extend([Fault(bytes_sent=BREAK), Fault(false_range=True)])
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-", None]


def test_a_host_that_sends_less_than_was_asked_for_is_asked_for_the_rest(raw, server):
    server.faults.extend([Fault(bytes_sent=BREAK), Fault(longest_range=1000)])
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-", f"bytes={BREAK + 1000}-"]


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    with pytest.raises(DownloadError, match=r"not fetched in 1 try"):
        fetch(raw, server, retries=0)
    server.files["/folder/mine.zip"] = zip_bytes(seed=1)
    assert fetch(raw, server).sha256 == hashlib.sha256(zip_bytes(seed=1)).hexdigest()
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
    assert fetch(raw, server, retries=0).sha256 == DIGEST
    assert server.ranges[-1] is None
    assert visible(raw) == {"mine.zip", "mine.zip.sha256"}


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_tried_again(status, raw, server, caplog):
    server.faults.append(Fault(status=status))
    with caplog.at_level(logging.WARNING):
        assert fetch(raw, server).sha256 == DIGEST
    assert len(server.requests) == 2
    assert f"try 1 of 5: the host answered {status}" in caplog.text


def test_a_lasting_failure_is_given_up_after_all_tries(raw, server):
    server.every_time = Fault(status=500)
    with pytest.raises(DownloadError, match=r"not fetched in 3 tries.*500 Internal Server Error.*download\.mirror"):
        fetch(raw, server, retries=2)
    assert len(server.requests) == 3
    assert visible(raw) == set()


def test_waits_double_up_to_a_limit_and_heed_the_host(raw, server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    server.faults.extend([Fault(status=500)] * 2 + [Fault(status=429, headers={"Retry-After": "30"})])
    server.faults.extend([Fault(status=503, headers={"Retry-After": "3600"}), Fault(status=503)])
    fetch(raw, server, retries=5, back_off=2.0)
    assert [wait for wait in waits if wait] == [2.0, 4.0, 30.0, transfer.LONGEST_WAIT, 32.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_not_tried_again_and_says_what_to_do(status, raw, server):
    server.every_time = Fault(status=status)
    message = rf"dataset mine: {server.address}folder/mine\.zip: the host answered {status}.*{MIRROR_VARIABLE}.*by hand"
    with pytest.raises(DownloadError, match=message):
        fetch(raw, server)
    assert len(server.requests) == 1


def test_a_refused_connection_is_given_up_after_all_tries(raw, server):
    closed = ArchiveServer()
    closed.server_close()
    with pytest.raises(DownloadError, match=r"not fetched in 2 tries.*Connection refused"):
        fetch(raw, closed, retries=1)


def test_a_part_that_cannot_be_written_is_named(raw, server):
    (raw / "mine.zip.part" / "folder").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"mine\.zip\.part cannot be written"):
        fetch(raw, server)


def test_what_arrived_before_giving_up_is_continued_at_the_next_run(raw, server):
    server.faults.append(Fault(bytes_sent=BREAK))
    with pytest.raises(DownloadError, match=rf"not fetched in 1 try.*{BREAK} bytes read, \d+ more expected"):
        fetch(raw, server, retries=0)
    assert (raw / "mine.zip.part").read_bytes() == ARCHIVE[:BREAK]
    assert not (raw / "mine.zip").exists()
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={BREAK}-"]


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
    assert fetch(raw, server).sha256 == DIGEST
    assert server.ranges == [None, f"bytes={arrived}-"]


def test_processes_that_want_the_same_archive_fetch_it_once(raw, server):
    server.seconds_a_chunk = 0.05
    processes = [_start(raw, server) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [DIGEST] * 3
    assert server.ranges == [None]


# ---- progress


def test_a_terminal_shows_progress_and_anything_else_nothing(raw, server, monkeypatch, capfd):
    fetch(raw, server)
    assert capfd.readouterr() == ("", "")
    screen = io.StringIO()
    monkeypatch.setattr(transfer, "get_console", lambda: Console(file=screen, force_terminal=True, width=120))
    (raw / "mine.zip").unlink()
    fetch(raw, server)
    assert "mine.zip" in screen.getvalue()
    assert "200.1/200.1 kB" in screen.getvalue()
