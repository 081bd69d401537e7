"""Data folders on object storage: a real S3 server of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from kedro.io import DatasetError

from diffurecsys import objects
from diffurecsys.data.download import DownloadError, fetch_archive
from diffurecsys.data.recbole_files import read_interactions
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.datasets import DamagedFileError, IbisFileDataset, JSONDataset, PathDataset, WrittenFolderDataset
from diffurecsys.objects import ObjectError, fetch_folder, publish_copy

pytestmark = pytest.mark.slow
REMOTE = ("intermediate", "primary", "model_input", "models", "model_output", "reporting")


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
    import s3fs

    def anew():
        project = make_tiny()
        with (project.root / "conf/tiny/globals.yml").open("a") as file:
            file.writelines(f"{layer}: {bucket}/{layer}/\n" for layer in REMOTE)  # as people write folders
            file.write("working: data/06_models\n")
        return project

    project = anew()
    params = {"study": {"rankers": ["popularity", "sasrec"], "n_seeds": 1}, "recommend": {"model": "sasrec"}}
    project.run("train_eval", env="tiny", params=params)
    said = project.catalog("tiny", params).load("report_txt")
    assert re.search(r"The report: s3://study/reporting/tiny/report\.html/\S+/report\.html", said)
    ranks = project.catalog("tiny", params).load("study_ranks")
    left = [path for path in (project.root / "data").glob("0[235678]*/**/*") if path.is_file()]
    assert not [path for path in left if path.suffix in (".parquet", ".safetensors", ".npz", ".html", ".csv", ".png")]

    monkeypatch.setenv("DIFFURECSYS_CACHE", str(tmp_path))  # another machine, of which nothing is known
    other = anew()
    shutil.copytree(project.root / "data/01_raw", other.root / "data/01_raw", dirs_exist_ok=True)
    other.run("train_eval", env="tiny", params=params, only_missing_outputs=True)
    catalog = other.catalog("tiny", params)
    assert catalog.load("study_ranks").equals(ranks)
    assert len(catalog.get("study_ranks").list_versions()) == 1
    assert not list((other.root / "data/06_models").rglob("checkpoint.pt"))
    other.run("final_fit", "recommend", env="tiny", params=params)
    record = catalog.load("recommendations_record")
    store = s3fs.S3FileSystem(use_listings_cache=False)
    with store.open(f"study/model_output/tiny/recommendations/{record['file']}") as file:
        assert len(pd.read_parquet(file)) == record["rows"] > 0
    some = params | {"study": {"rankers": ["popularity", "sasrec"], "n_seeds": 3, "unfinished": "leave_out"}}
    assert [spec.name for spec in other.session("tiny", some).load_context().checked.study.specs] == [
        "popularity",
        "sasrec",
    ]
    changed = params | {"models": {"sasrec": {"training": {"learning_rate": 0.01}}}}
    other.run("train_eval", env="tiny", params=changed, only_missing_outputs=True)
    catalog = other.catalog("tiny", changed)
    assert catalog.load("sasrec.seed_0.record")["training"]["learning_rate"] == 0.01
    assert not catalog.load("study_ranks").equals(ranks)


def test_an_object_that_is_not_what_was_written_is_refused(bucket):
    import s3fs

    dataset = JSONDataset(filepath=f"{bucket}/one.json")
    dataset.save({"a": 1})
    s3fs.S3FileSystem().pipe_file("study/one.json", b'{"a": 2}')
    s3fs.S3FileSystem().pipe_file("study/.one.json.sha256", b"0" * 64 + b"  one.json\n")
    with pytest.raises(DamagedFileError, match="damaged"):
        dataset.load()


def test_a_copy_is_not_taken_for_its_object(bucket, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.setenv("DIFFURECSYS_CACHE", str(tmp_path))
    dataset = JSONDataset(filepath=f"{bucket}//two.json/")
    dataset.save({"a": 1})
    copy = dataset.local_file()
    copy.write_text('{"a": 2}')  # damaged here, whole there
    assert not dataset.damaged
    assert dataset.load() == {"a": 1}
    s3fs.S3FileSystem(use_listings_cache=False).rm_file("study/two.json")
    with pytest.raises(DatasetError, match=r"s3://study/two\.json does not exist"):
        dataset.load()
    place = WrittenFolderDataset(filepath=f"{bucket}/out/")
    (place.load() / "deep").mkdir(parents=True)
    (place.load() / "deep/a b.txt").write_text("x")
    publish_copy(place.load() / "deep/a b.txt")
    assert s3fs.S3FileSystem(use_listings_cache=False).cat_file("study/out/deep/a b.txt") == b"x"
    (tmp_path / "own.txt").write_text("y")
    publish_copy(tmp_path / "own.txt")  # beside the copies: none


def test_archives_come_from_a_bucket_into_the_folder_of_raw_data(bucket, tmp_path):
    import s3fs

    store, raw = s3fs.S3FileSystem(use_listings_cache=False), tmp_path / "raw"
    store.pipe_file("study/archives/a b/one.inter", b"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n")
    spec = DatasetSpec("one", archive="one.inter", path="a b/one.inter")
    record = fetch_archive(spec, raw, mirror=f"{bucket}/archives")
    assert record.source == "s3://study/archives/a b/one.inter"
    assert read_interactions(record.path).to_pylist() == [{"user_id": "u", "item_id": "i", "timestamp": 1, "row": 0}]
    store.rm_file("study/archives/a b/one.inter")
    assert fetch_archive(spec, raw, mirror=f"{bucket}/archives").source == "local"
    with pytest.raises(DownloadError, match=r"dataset two: s3://study/archives/two\.inter cannot be fetched"):
        fetch_archive(DatasetSpec("two", archive="two.inter", path="two.inter"), raw, mirror=f"{bucket}/archives")
    assert not [path.name for path in raw.iterdir() if "two" in path.name and not path.name.endswith(".lock")]


def test_a_folder_of_copies_follows_its_objects_and_fetches_what_changed_alone(bucket, monkeypatch):
    import s3fs

    store = s3fs.S3FileSystem(use_listings_cache=False)
    for name, content in {"a/x": b"1", "a/y": b"2", "b/z": b"3"}.items():
        store.pipe_file(f"study/copied/{name}", content)
    folder = fetch_folder(f"{bucket}/copied")

    def found():
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    assert found() == {"a/x": b"1", "a/y": b"2", "b/z": b"3"}
    store.pipe_file("study/copied/a/y", b"4")  # as long as before
    store.rm_file("study/copied/b/z")
    store.touch("study/copied/a/")  # as consoles make folders
    fetched = []
    monkeypatch.setattr(
        objects, "_get", lambda files, place, path: fetched.append(place) or files.get_file(place, path)
    )
    fetch_folder(f"{bucket}/copied")
    assert found() == {"a/x": b"1", "a/y": b"4"}
    assert fetched == ["study/copied/a/y"]
    (folder / "a/x").write_bytes(b"not sent")
    assert (fetch_folder(f"{bucket}/copied/") / "a/x").read_bytes() == b"1"
    assert [path.name for path in fetch_folder(f"{bucket}/copied", only="y").rglob("[!.]*")] == ["a", "y"]
    assert list(fetch_folder(f"{bucket}/nothing").iterdir()) == [fetch_folder(f"{bucket}/nothing") / ".objects.json"]


def test_objects_that_lead_out_of_their_folder_are_refused(bucket):
    import boto3

    storage = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    storage.put_object(Bucket="study", Key="hostile/../../out", Body=b"1")
    with pytest.raises(ObjectError, match=r"leads out of the folder"):
        fetch_folder(f"{bucket}/hostile")


def test_finished_cells_and_ranks_of_other_tools_are_read_from_a_bucket(bucket, make_tiny, tmp_path):
    import s3fs

    project = make_tiny()
    params = {"study": {"rankers": ["popularity", "transitions"], "n_seeds": 1}}
    project.run("ingestion", "preprocessing", "export", env="tiny", params=params)
    split, cells = (project.root / f"data/05_model_input/tiny/{name}" for name in ("split.npz", "cells.json"))
    remote = (str(path) for path in (split, cells, tmp_path / "cells/tiny"))
    project.finish(project.python("-m", "diffurecsys.remote", *remote))
    users = project.read("03_primary/tiny/user_vocabulary.parquet")["user_id"]
    pd.DataFrame({"user_id": users, "rank": 1}).to_parquet(tmp_path / "cells/tiny/oracle.parquet")
    s3fs.S3FileSystem().put(str(tmp_path / "cells"), "study/cells", recursive=True)
    with (project.root / "conf/tiny/globals.yml").open("a") as file:
        file.write(f"imported_cells: {bucket}/cells\n")
    params |= {"import_ranks": {"oracle": {"file": "oracle.parquet"}}}
    project.run("cells", "study", env="tiny", params=params)
    catalog = project.catalog("tiny", params)
    assert all(catalog.load(f"{name}.seed_0.record")["imported"] for name in ("popularity", "transitions", "oracle"))
    ranks = catalog.load("study_ranks")
    assert ranks.loc[ranks["model"] == "oracle", "greater"].eq(0).all()
    assert not (project.root / "data/01_raw/cells").exists()


def test_what_nodes_write_in_place_must_be_a_folder(bucket):
    with pytest.raises(ObjectError, match=r"folder of this machine.*`working` names"):
        PathDataset(filepath=f"{bucket}/models")
    with pytest.raises(ObjectError, match="tables of Spark must lie in folders that all its machines share"):
        IbisFileDataset(filepath=f"{bucket}/table.parquet", connection={"backend": "pyspark"})


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
