"""A tracking store that cannot be used is said in words, within seconds."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow.tracking import MlflowClient

from diffurecsys.tracking.store import StoreError, absolute_uri, alone_in, check_store, sqlite_file

SECONDS = 8.0  # the store has three to answer; the rest is for a busy machine


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
        connection.executemany("INSERT INTO runs VALUES (?)", [("run " * 200,)] * 200)
    connection.close()
    return path


def _refusal(uri):
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"server\.mlflow_tracking_uri in mlflow\.yml") as caught:
        check_store(uri)
    assert time.monotonic() - began < SECONDS
    return str(caught.value)


def test_a_whole_store_and_one_that_is_not_there_yet_can_be_used(store, tmp_path):
    check_store(f"sqlite:///{store}")
    check_store(f"sqlite:///{tmp_path}/new/mlflow.db")


def test_a_locked_store_is_said(store):
    other = sqlite3.connect(store, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert f"{store} is locked by another process" in _refusal(f"sqlite:///{store}")
    other.execute("ROLLBACK")
    other.close()
    check_store(f"sqlite:///{store}")


@pytest.mark.parametrize("harm", ["text", "cut", "zeroed"])
def test_a_damaged_store_is_said(harm, store):
    content = store.read_bytes()
    half = len(content) // 2
    store.write_bytes(
        {"text": b"no database at all\n" * 100, "cut": content[:half], "zeroed": content[:half] + bytes(half)}[harm]
    )
    assert "is damaged" in _refusal(f"sqlite:///{store}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_made_is_said(tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be made" in _refusal(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_server_that_is_not_there_is_said():
    with socket.socket() as taken:  # bound, but it does not listen
        taken.bind(("127.0.0.1", 0))
        assert "does not answer" in _refusal(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert "does not answer" in _refusal("http://127.0.0.1:99999")


@pytest.mark.parametrize("folder", ["plain", "a b", "é", "#", "'", "100%20", "what?", "50%"])
def test_a_store_lies_in_its_project_whatever_that_is_called(folder, tmp_path):
    project = tmp_path / folder
    project.mkdir()
    uri = absolute_uri("sqlite:///mlflow.db", project)
    assert sqlite_file(uri) == project / "mlflow.db"
    if folder in ("100%20", "what?"):  # MLflow's tables take seconds to make
        with alone_in(uri):
            MlflowClient(uri).create_experiment("mine", artifact_location=(project / "artifacts").as_uri())
        assert (project / "mlflow.db").stat().st_size > 0
        assert [path.name for path in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize("uri", ["http://host:5000", "sqlite:////abs/mlflow.db", "postgresql://u@h/d", "databricks"])
def test_other_stores_are_as_they_are_said(uri, tmp_path):
    assert absolute_uri(uri, tmp_path) == uri


def test_two_do_not_make_a_store_at_once(tmp_path):
    uri, at_work = f"sqlite:///{tmp_path}/mlflow.db", []

    def make(name):
        with alone_in(uri):
            at_work.append(name)
            alone = at_work == [name]
            time.sleep(0.2)
            at_work.remove(name)
        return alone

    with ThreadPoolExecutor(4) as several:
        assert all(several.map(make, range(4)))
