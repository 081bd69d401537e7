"""Data folders on object storage: a real S3 server of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from diffurecsys.datasets import DamagedFileError, JSONDataset, PathDataset
from diffurecsys.objects import ObjectError

pytestmark = pytest.mark.slow
REMOTE = ("intermediate", "primary", "model_input", "model_output", "reporting")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    pytest.importorskip("s3fs", reason="s3fs is missing: pip install 'diffurecsys[servers]'")
    server = pytest.importorskip("moto.server", reason="moto is missing: pip install -r requirements-scale.lock")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("DIFFURECSYS_CACHE", str(tmp_path_factory.mktemp("copies")))
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("study")
        yield "s3://study"
    running.stop()


def test_a_study_lies_in_a_bucket_and_another_machine_goes_on(bucket, make_tiny, tmp_path, monkeypatch):
    project = make_tiny()
    folder = project.root / "conf/tiny"
    with (folder / "globals.yml").open("a") as file:
        file.writelines(f"{layer}: {bucket}/{layer}\n" for layer in REMOTE)
    params = {"study": {"rankers": ["popularity", "transitions"], "n_seeds": 1}}
    stages = ("ingestion", "preprocessing", "cells", "study")
    project.run(*stages, env="tiny", params=params)
    ranks = project.catalog("tiny", params).load("study_ranks")
    assert not list((project.root / "data").glob("0[23578]*/**/*.parquet"))

    monkeypatch.setenv("DIFFURECSYS_CACHE", str(tmp_path))  # another machine, or an emptied disk
    catalog = project.catalog("tiny", params)
    assert catalog.load("study_ranks").equals(ranks)
    assert catalog.load("split").store.n_users == ranks.loc[ranks["split"] == "test", "user"].nunique()
    before = len(catalog.get("study_ranks").list_versions())
    project.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    assert len(project.catalog("tiny", params).get("study_ranks").list_versions()) == before == 1


def test_an_object_that_is_not_what_was_written_is_refused(bucket):
    import s3fs

    dataset = JSONDataset(filepath=f"{bucket}/one.json")
    dataset.save({"a": 1})
    s3fs.S3FileSystem().pipe_file("study/one.json", b'{"a": 2}')
    s3fs.S3FileSystem().pipe_file("study/.one.json.sha256", b"0" * 64 + b"  one.json\n")
    with pytest.raises(DamagedFileError, match="damaged"):
        dataset.load()


def test_what_nodes_write_in_place_must_be_a_folder(bucket):
    with pytest.raises(ObjectError, match="folder of this machine"):
        PathDataset(filepath=f"{bucket}/models")


def test_a_process_killed_while_saving_leaves_the_old_or_the_new_object(bucket):
    import s3fs

    code = (
        "import itertools; from diffurecsys.datasets import JSONDataset\n"
        f"one = JSONDataset(filepath='{bucket}/many.json')\n"
        "for n in itertools.count(): one.save([n] * 1_000_000); print(n, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        time.sleep(0.3)  # somewhere in a later one
        os.kill(process.pid, signal.SIGKILL)
    values = JSONDataset(filepath=f"{bucket}/many.json").load()
    assert len(values) == 1_000_000
    assert len(set(values)) == 1
    names = s3fs.S3FileSystem(use_listings_cache=False).ls("study")
    assert not [name for name in names if name.endswith(".tmp")]
