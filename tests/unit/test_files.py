"""Files: whole or absent, sealed, and an error that says why one cannot be written."""

from __future__ import annotations

import errno
import os

import pytest

from diffurecsys.errors import UnwritableError
from diffurecsys.files import atomic_path, content_digest, is_damaged, seal, sweep_temporary


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "whatever the system says"),
        OSError(errno.EROFS, "whatever the system says"),
        RuntimeError("IO Error: Could not write file: No space left on device"),  # DuckDB's
        ValueError("database or disk is full"),  # SQLite's
    ],
)
def test_a_full_disk_is_said_with_the_file_and_the_way_on(error, tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")

    def write():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(UnwritableError, match=rf"{path} cannot be written .*make room.*--only-missing-outputs"):
        write()
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["kept"]


def test_other_errors_are_left_alone(tmp_path):
    with pytest.raises(ValueError, match=r"^what$"), atomic_path(tmp_path / "file"):
        raise ValueError("what")


def test_a_seal_holds_for_the_bytes_that_were_sealed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert not is_damaged(path)
    seal(path, content_digest(path))
    assert not is_damaged(path)
    path.write_bytes(b"Content")
    assert is_damaged(path)


def test_only_half_written_files_are_swept(tmp_path):
    kept = [tmp_path / "a.tmp", tmp_path / "folder/.hidden", tmp_path / "folder/file"]
    half = [tmp_path / ".a.x.tmp", tmp_path / "folder/.file.y.tmp"]
    (tmp_path / "folder").mkdir()
    for path in (*kept, *half):
        path.touch()
    assert set(sweep_temporary(tmp_path)) == set(half)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in half)


def test_the_folder_is_flushed_after_the_file_took_its_place(tmp_path, monkeypatch):
    flushed = []
    flush = os.fsync

    def record(handle):
        flushed.append(os.path.realpath(f"/proc/self/fd/{handle}"))
        flush(handle)

    monkeypatch.setattr(os, "fsync", record)
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("x")
    assert flushed[0].endswith(".tmp")
    assert flushed[1] == os.path.realpath(tmp_path)
