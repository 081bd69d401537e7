"""Tables on Spark, in a real session of this machine, against DuckDB's: row for row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffurecsys.data.split import load_split

pytestmark = pytest.mark.slow

DATA = ("ingestion", "preprocessing")
TABLES = (
    "02_intermediate/{}/interactions",
    "02_intermediate/{}/core_interactions",
    "02_intermediate/{}/item_details",
    "03_primary/{}/sequences",
    "03_primary/{}/user_vocabulary",
    "03_primary/{}/item_vocabulary",
)
SPARK = {
    "backend": "pyspark",
    "spark.master": "local[1]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "2",
}
ARCHIVES = {"ml-1m": "ml-1m.zip", "amazon_beauty": "Amazon_Beauty.zip"}


@pytest.fixture(scope="module")
def compared(make_project):
    """Runs the data's pipelines in two experiments that differ in their connection, and compares all that they leave.

    One session of Spark serves all tests; it ends with them, as processes forked later would have MLflow ask it.
    """
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is missing: pip install 'diffurecsys[spark]'")
    if shutil.which("java") is None:
        pytest.skip("Java is missing: apt-get install openjdk-17-jre-headless")
    project = make_project()

    def compare(dataset: str, archive: Path | None = None, params: dict | None = None, more: tuple[str, ...] = ()):
        places = {}
        for connection in ({"backend": "duckdb"}, SPARK):
            name = f"{dataset}-{connection['backend']}-{len(list((project.root / 'conf').iterdir()))}"
            globals_yml = json.dumps({"experiment": name, "dataset": dataset, "connection": connection})
            project.add_experiment(name, globals=globals_yml, parameters="{}")
            if archive is not None:
                shutil.copy(archive, project.root / "data/01_raw" / ARCHIVES[dataset])
            project.run(*DATA, *more, env=name, params=params)
            places[connection["backend"]] = name
        for table in TABLES:
            known, found = (_read(project.root / "data" / f"{table.format(name)}.parquet") for name in places.values())
            assert found.num_rows == known.num_rows, table
            assert found.equals(known), table
        known, found = (load_split(project.root / f"data/05_model_input/{name}/split.npz") for name in places.values())
        assert found.fingerprint == known.fingerprint
        counts = [
            json.loads((project.root / f"data/02_intermediate/{name}/counts.json").read_text())
            for name in places.values()
        ]
        assert counts[0] == counts[1]
        return project, places

    (project.root / "data/01_raw").mkdir(parents=True, exist_ok=True)
    yield compare
    if session := sql.SparkSession.getActiveSession():
        session.stop()
    assert sql.SparkSession.getActiveSession() is None


def _read(path: Path) -> pa.Table:
    """Read a file, or a folder's files in their order; both backends' types, all of them nullable."""
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    table = pa.concat_tables(pq.read_table(part) for part in parts).combine_chunks()
    kinds = [pa.list_(kind.value_type) if pa.types.is_list(kind) else kind for kind in table.schema.types]
    return table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True))))


def test_the_sample_is_the_same_and_is_described_alike(compared):
    project, places = compared("sample", more=("describe",))
    assert (project.root / f"data/03_primary/{places['pyspark']}/sequences.parquet").is_dir()
    pages = [project.root / f"data/08_reporting/{name}/dataset_facts.json" for name in places.values()]
    assert pages[0].read_text() == pages[1].read_text()


def test_a_split_in_time_and_single_interactions_are_the_same(compared):
    points = {"protocol": "temporal", "validation_from": 0.8, "test_from": 0.9}
    compared("sample", params={"split": points, "preprocessing": {"duplicates": "first"}})


@pytest.mark.parametrize("dataset", sorted(ARCHIVES))
def test_real_data_are_the_same(dataset, compared, shared_data):
    compared(dataset, shared_data / ARCHIVES[dataset])


def test_duckdb_reads_what_spark_wrote_and_damage_is_noticed(compared, make_project):
    from diffurecsys.datasets import DamagedFileError, IbisFileDataset

    folder = make_project().root / "table.parquet"
    spark = IbisFileDataset(filepath=str(folder), connection=SPARK)
    spark.save(ibis.memtable({"user": [2, 1], "name": ["é", None]}))
    spark.save(spark.load().order_by("user"))
    duckdb = IbisFileDataset(filepath=str(folder), connection={"backend": "duckdb"})
    assert duckdb.load().to_pyarrow().to_pylist() == [{"user": 1, "name": None}, {"user": 2, "name": "é"}]
    next(folder.glob("part-*")).write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"table\.parquet is damaged"):
        spark.load()
