"""Tables on Spark, in a real session of this machine, against DuckDB's: row for row."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffurecsys.data.sources.files import SourceError
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

    def compare(
        dataset: str,
        archive: Path | None = None,
        params: dict | None = None,
        more: tuple[str, ...] = (),
        source: dict | None = None,
    ):
        places = {}
        entry = {} if source is None else {dataset: {"name": dataset, "source": source}}
        for connection in ({"backend": "duckdb"}, SPARK):
            name = f"{dataset}-{connection['backend']}-{len(list((project.root / 'conf').iterdir()))}"
            globals_yml = json.dumps({"experiment": name, "dataset": dataset, "connection": connection})
            datasets_yml = json.dumps({"datasets": entry})
            project.add_experiment(name, globals=globals_yml, parameters="{}", datasets=datasets_yml)
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
        for file in ("counts", "read_record"):
            texts = [
                (project.root / f"data/02_intermediate/{name}/{file}.json").read_text() for name in places.values()
            ]
            assert texts[0] == texts[1]
        return project, places

    (project.root / "data/01_raw").mkdir(parents=True, exist_ok=True)
    compare.project = project
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


@pytest.fixture(scope="module")
def sample(compared):
    """The sample in both backends, described."""
    return compared("sample", more=("describe",))


def test_the_sample_is_the_same_and_is_described_alike(sample):
    project, places = sample
    assert (project.root / f"data/03_primary/{places['pyspark']}/sequences.parquet").is_dir()
    pages = [project.root / f"data/08_reporting/{name}/dataset_facts.json" for name in places.values()]
    assert pages[0].read_text() == pages[1].read_text()


def test_imported_ranks_and_lists_are_the_same(sample):
    project, places = sample
    users, items = (
        _read(project.root / f"data/03_primary/{places['duckdb']}/{kind}_vocabulary.parquet")[f"{kind}_id"].to_pylist()
        for kind in ("user", "item")
    )
    draw = random.Random(0)
    ranks = pa.table({"user_id": users, "rank": [draw.randint(1, len(items)) for _ in users]})
    listed = [(user, item, draw.random()) for user in users for item in draw.sample(items, 25)]
    lists = pa.table(dict(zip(("user_id", "item_id", "score"), zip(*listed, strict=True), strict=True)))
    params = {
        "study": {"rankers": ["popularity"], "n_seeds": 1},
        "import_ranks": {"one": {"file": "ranks.parquet"}, "other": {"file": "lists.parquet"}},
    }
    found = []
    for name in places.values():
        folder = project.root / f"data/01_raw/cells/{name}"
        folder.mkdir(parents=True)
        pq.write_table(ranks, folder / "ranks.parquet")
        pq.write_table(lists, folder / "lists.parquet")
        project.run("cells", "study", env=name, params=params)
        found.append(project.catalog(name, params).load("study_ranks"))
    assert found[0].equals(found[1])
    own = found[0][found[0]["model"] == "one"].sort_values("user")
    assert own["greater"].tolist() == [rank - 1 for rank in ranks["rank"].to_pylist()]
    assert set(found[0]["model"]) == {"popularity", "one", "other"}


def test_a_split_in_time_and_single_interactions_are_the_same(compared):
    points = {"protocol": "temporal", "validation_from": 0.8, "test_from": 0.9}
    compared("sample", params={"split": points, "preprocessing": {"duplicates": "first"}})


def _events() -> list[tuple[str, str, str, str]]:
    """Events of 60 users with 20 items: some rows are of another kind, or cannot be read; a few come at one time."""
    draw, rows = random.Random(1), []
    for user in range(60):
        moment = datetime(2024, 1, 1, tzinfo=UTC)
        for _ in range(draw.randint(8, 14)):
            moment += timedelta(minutes=draw.choice((0, 7, 900)))
            item = f"kettle; no. {draw.randrange(20)}"
            rows.append((f"{user:03d}", item, moment.isoformat(), draw.choice(("view", "buy", "search"))))
    draw.shuffle(rows)
    rows[100] = (*rows[100][:2], "yesterday", "buy")
    rows[500] = ("", *rows[500][1:3], "view")
    return rows


def test_csv_files_of_ones_own_are_the_same_and_what_cannot_be_read_is_said_alike(compared):
    rows, folder = _events(), compared.project.root / "data/01_raw/events"
    folder.mkdir()
    lines = [";".join(f'"{value}"' for value in row) + "\n" for row in [("who", "what", "when", "event"), *rows]]
    (folder / "1.csv").write_text("".join(lines[:301]))
    (folder / "2.csv.gz").write_bytes(gzip.compress("".join(lines[:1] + lines[301:]).encode()))
    titles = [f'"kettle; no. {n}";"Kettle é {n}"\n' for n in range(20)]
    (compared.project.root / "data/01_raw/titles.csv").write_text("".join(['"what";"title"\n', *titles]))
    source = {
        "path": "events",
        "columns": {"user": "who", "item": "what", "time": "when"},
        "time_format": "iso",
        "keep": [{"column": "event", "values": ["view", "buy"]}],
        "items": {"path": "titles.csv", "item": "what", "title": "title"},
    }
    project, places = compared("events", source={**source, "on_bad_rows": "drop"})
    record = json.loads((project.root / f"data/02_intermediate/{places['pyspark']}/read_record.json").read_text())
    assert record["rows"] == len(rows)
    assert [(group["file"], group["place"], group["column"]) for group in record["bad"]] == [
        ("1.csv", "line 102", "when"),
        ("2.csv.gz", "line 202", "who"),
    ]
    assert _read(project.root / f"data/02_intermediate/{places['pyspark']}/item_details.parquet").num_rows == 20
    with pytest.raises(SourceError, match=r"1\.csv, line 102, column when: 'yesterday' is not a date"):
        compared("strict", source=source)
    strict = json.dumps({"experiment": "strict", "dataset": "strict", "connection": SPARK})
    entry = json.dumps({"datasets": {"strict": {"name": "strict", "source": source}}})
    project.add_experiment("strict-spark", globals=strict, parameters="{}", datasets=entry)
    with pytest.raises(SourceError, match=r"1\.csv, line 102, column when: 'yesterday' is not a date"):
        project.run("ingestion", env="strict-spark")
    assert not list((project.root / "data/06_models").rglob(".reading.*"))


def test_a_folder_of_parquet_files_of_ones_own_is_the_same(compared):
    rows = [row for row in _events() if row[0] and row[2] != "yesterday"]
    folder = compared.project.root / "data/01_raw/parts/2024"
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "user": [int(user) for user, *_ in rows],
            "item": [item for _, item, *_ in rows],
            "time": pa.array([datetime.fromisoformat(time) for _, _, time, _ in rows], pa.timestamp("ms", "UTC")),
        }
    )
    for number in range(3):
        pq.write_table(table.slice(number * 200, 200 if number < 2 else None), folder / f"{number}.parquet")
    compared("parts", source={"path": "parts", "columns": {"user": "user", "item": "item", "time": "time"}})


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
