"""A real HTTP server of the loopback interface that serves archives, on good lines and bad ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import time
import zipfile
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from diffurecsys.data import transfer
from diffurecsys.data.download import ArchiveRecord, fetch_archive
from diffurecsys.data.specs import DatasetSpec

SPEC = DatasetSpec("mine", "mine.zip", path="folder/mine.zip")


def zip_bytes(seed: int = 0, size: int = 200_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mine/mine.inter"), random.Random(seed).randbytes(size))
    return buffer.getvalue()


ARCHIVE = zip_bytes()
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


def fetch(raw: Path, server: ArchiveServer, spec: DatasetSpec = SPEC, **how) -> ArchiveRecord:
    return fetch_archive(spec, raw, **{"mirror": server.address, "back_off": 0.0, "timeout": 5.0, **how})


def visible(raw: Path) -> set[str]:
    return {path.name for path in raw.iterdir() if not path.name.startswith(".")}
