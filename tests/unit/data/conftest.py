"""An archive server, and a folder for what comes from it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from archive_server import ArchiveServer

from diffurecsys.data.download import MIRROR_VARIABLE


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
