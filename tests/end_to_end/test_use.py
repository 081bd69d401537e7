"""From a finished study to recommendations, a model trained on everything, and models that are served."""

from __future__ import annotations

import json
import shutil

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from diffurecsys.data.split import load_split
from diffurecsys.errors import UserError
from diffurecsys.evaluation.metrics import metrics_from_ranks
from diffurecsys.models.weights import load_weights
from diffurecsys.pipelines.arrays import ranks_from_table
from diffurecsys.serving.catalogue import Catalogue

pytestmark = pytest.mark.slow

OUT = "data/07_model_output/tiny/recommendations"


def _vocabulary(project, kind):
    return pq.read_table(project.root / f"data/03_primary/tiny/{kind}_vocabulary.parquet")[f"{kind}_id"].to_pylist()


def _validation(project, ranker):
    ranks = project.read(f"07_model_output/tiny/{ranker}/seed_0/ranks.parquet/*/ranks.parquet")
    return metrics_from_ranks(ranks_from_table(ranks[ranks["split"] == "validation"]), (10,))["NDCG@10"]


def _client(project):
    mlflow.set_tracking_uri(f"sqlite:///{project.root}/mlflow.db")
    return MlflowClient()


def test_everybody_gets_ten_unseen_items_of_the_best_model_on_validation(finished):
    finished.run("recommend", env="tiny")
    table = pd.read_parquet(finished.root / OUT / "recommendations.parquet")
    users, items = _vocabulary(finished, "user"), _vocabulary(finished, "item")
    assert table["user_id"].unique().tolist() == users
    assert set(table["item_id"]) <= set(items)
    assert (table.groupby("user_id")["rank"].max() <= 10).all()
    store = load_split(finished.root / "data/05_model_input/tiny/split.npz").store
    first, end = store.offsets[5:7].tolist()
    own = set(table.loc[table["user_id"] == users[5], "item_id"])
    assert len(own) == 10
    assert not own & {items[item] for item in store.items[first:end].tolist()}
    record = json.loads((finished.root / OUT / "record.json").read_text())
    rankers = ("popularity", "transitions", "sasrec", "diffurec")
    assert record["model"] == max(rankers, key=lambda name: _validation(finished, name)) + ".seed_0"
    assert (record["users"], record["rows"]) == (len(users), len(table))
    preview = finished.read("08_reporting/tiny/tables/recommendations.csv/*/recommendations.csv")
    assert preview["rank"].tolist() == table["rank"].head(100).tolist()


def test_files_say_who_and_what(finished, caplog):
    raw, items, users = finished.root / "data/01_raw", _vocabulary(finished, "item"), _vocabulary(finished, "user")
    (raw / "who.csv").write_text(f"user_id,item_id\nnewcomer,{items[3]}\nnewcomer,unheard\nstranger,\n")
    (raw / "deny.csv").write_text(f"item_id\n{items[0]}\nunheard\n")
    (raw / "allow.csv").write_text("item_id\n" + "\n".join(items[:5]) + "\n")
    (raw / "titles.csv").write_text(f"item_id,title\n{items[1]},The first\n")
    how = {
        "users": "who.csv",
        "deny": "deny.csv",
        "allow": "allow.csv",
        "titles": "titles.csv",
        "format": "csv",
        "k": 9,
    }
    (finished.root / OUT).mkdir(parents=True, exist_ok=True)
    (finished.root / OUT / "recommendations.parquet").touch()
    finished.run("recommend", env="tiny", params={"recommend": {**how, "model": "sasrec"}})
    assert any(f"{OUT}/recommendations.parquet beside it is of an earlier run" in text for text in caplog.messages)
    table = pd.read_csv(finished.root / OUT / "recommendations.csv", dtype=str, keep_default_na=False)
    newcomer, stranger = (table[table["user_id"] == name] for name in ("newcomer", "stranger"))
    assert set(newcomer["item_id"]) == {items[1], items[2], items[4]}
    assert set(stranger["item_id"]) == set(items[1:5])
    assert set(newcomer["source"]) == {"model"}
    assert set(stranger["source"]) == {"popularity"}
    assert set(table.loc[table["item_id"] == items[1], "title"]) == {"The first"}
    assert not set(table["user_id"]) & set(users)


def test_a_model_that_is_not_there_is_named(finished):
    with pytest.raises(UserError, match=r"recommend\.model: no ranker 'sasrek'; did you mean sasrec\?"):
        finished.run("recommend", env="tiny", params={"recommend": {"model": "sasrek"}})
    with pytest.raises(FileNotFoundError, match=r"no weights at .*final"):
        finished.run("recommend", env="tiny", params={"recommend": {"model": "final"}})


def test_the_final_model_has_learnt_from_everything_and_can_be_started_from(finished):
    finished.run("final_fit", env="tiny", params={"final_fit": {"model": "sasrec"}})
    folder = finished.root / "data/06_models/tiny/final"
    weights, record = load_weights(folder / "weights.safetensors"), json.loads((folder / "record.json").read_text())
    chosen = json.loads((finished.root / "data/06_models/tiny/sasrec/seed_0/record.json").read_text())
    assert record["epochs"] == chosen["best_epoch"] == len(pd.read_parquet(folder / "history.parquet"))
    assert (record["final_fit_on"], record["identity"]) == ("everything", weights.identity)
    data = load_split(finished.root / "data/05_model_input/tiny/split.npz")
    items = Catalogue.load(folder / "catalogue.parquet")
    assert int(items.popularity.sum()) == len(data.store.items)
    assert not (folder / "checkpoint.pt").exists()

    finished.run("recommend", env="tiny", params={"recommend": {"model": "final"}})
    assert json.loads((finished.root / OUT / "record.json").read_text())["identity"] == weights.identity
    client = _client(finished)
    version = client.get_model_version_by_alias("tiny-sasrec", "final")
    assert version.tags["identity"] == weights.identity

    shutil.copytree(folder, finished.root / "data/01_raw/earlier")
    losses = {}
    for start in ("earlier", None):
        how = {"model": "sasrec", "warm_start": start, "epochs": 1}
        finished.run("final_fit", env="tiny", params={"final_fit": how})
        losses[start] = pd.read_parquet(folder / "history.parquet")["loss"].tolist()
    assert losses["earlier"][0] < losses[None][0]


@pytest.fixture(scope="module")
def registered(tiny_study):
    return _client(tiny_study)


def test_every_ranker_has_a_champion_with_all_that_describes_it(registered, tiny_study):
    data = load_split(tiny_study.root / "data/05_model_input/tiny/split.npz").fingerprint
    names = [f"tiny-{name}" for name in ("popularity", "transitions", "sasrec", "diffurec")]
    assert {model.name for model in registered.search_registered_models()} >= {*names, "tiny"}
    best = max(("popularity", "transitions", "sasrec", "diffurec"), key=lambda name: _validation(tiny_study, name))
    champion = registered.get_model_version_by_alias("tiny", "champion")
    assert (
        champion.tags["identity"] == registered.get_model_version_by_alias(f"tiny-{best}", "champion").tags["identity"]
    )
    for name in names:
        version = registered.get_model_version_by_alias(name, "champion")
        assert version.tags["dataset_hash"] == data
        expected = _validation(tiny_study, name.removeprefix("tiny-"))
        assert float(version.tags["validation/NDCG_10"]) == pytest.approx(expected, rel=1e-4)
        assert "test/NDCG_10" in version.tags
        assert f"validation NDCG@10 {expected:.4f}" in version.description
        info = mlflow.models.get_model_info(f"models:/{name}@champion")
        assert info.signature.inputs.input_names() == ["history"]
        assert info.saved_input_example_info is not None
        logged = registered.get_logged_model(info.model_id)
        assert {"test/NDCG_10", "validation/NDCG_10"} <= {metric.key for metric in logged.metrics}
        assert logged.params["family"] == name.removeprefix("tiny-")


def test_a_repeated_study_registers_nothing_twice(finished, stages):
    client = _client(finished)
    before = len(client.search_model_versions("name = 'tiny-sasrec'"))
    finished.run(*stages, env="tiny", only_missing_outputs=True)
    finished.run("study", env="tiny")
    assert len(client.search_model_versions("name = 'tiny-sasrec'")) == before == 1


def test_cells_stand_in_the_studys_order_in_mlflow(registered, tiny_study):
    experiment = registered.get_experiment_by_name("tiny").experiment_id
    runs = registered.search_runs([experiment], order_by=["attributes.start_time DESC"])
    children = [run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert children == [f"{name}.seed_0" for name in ("popularity", "transitions", "sasrec", "diffurec")]


def test_learning_from_validation_too_is_another_cell_and_said_in_the_report(make_tiny):
    project = make_tiny()
    params = {"study": {"rankers": ["popularity", "sasrec"], "final_fit_on": "training_and_validation"}}
    project.run(env="tiny", params=params)
    record = json.loads((project.root / "data/06_models/tiny/sasrec/seed_0/record.json").read_text())
    assert record["final_fit_on"] == "training_and_validation"
    assert record["final_fit"]["epochs"] == record["best_epoch"]
    page = max(project.root.glob("data/08_reporting/tiny/report.md/*/report.md")).read_text()
    assert "training and validation targets, by every ranker" in page
    assert not list(project.root.glob("data/06_models/tiny/**/*checkpoint*"))
    weights = load_weights(project.root / "data/06_models/tiny/popularity/seed_0/weights.safetensors")
    split = load_split(project.root / "data/05_model_input/tiny/split.npz")
    assert int(weights.state["count"].sum()) == int(weights.chosen["count"].sum()) + split.store.n_users


def test_another_tools_ranks_become_a_ranker_of_the_study_with_tests_and_tables(make_tiny):
    project = make_tiny()
    params = {"study": {"rankers": ["popularity", "transitions"]}}
    project.run("ingestion", "preprocessing", env="tiny", params=params)
    users, folder = _vocabulary(project, "user"), project.root / "data/01_raw/cells/tiny"
    folder.mkdir(parents=True)
    pd.DataFrame({"user_id": users, "rank": 1}).to_csv(folder / "oracle.csv", index=False)
    imported = {**params, "import_ranks": {"oracle": {"file": "oracle.csv", "role": "model"}}}
    project.run(env="tiny", params=imported)
    board = project.read("08_reporting/tiny/tables/leaderboard.csv/*/leaderboard.csv").set_index(
        ["split", "ranking", "model"]
    )
    assert board.loc[("test", "all", "oracle"), "HR@5_mean"] == 1.0
    assert pd.isna(board.loc[("validation", "all", "oracle"), "HR@5_mean"])
    tested = project.read("08_reporting/tiny/tables/comparisons.csv/*/comparisons.csv")
    assert "oracle" in set(tested["model"]) | set(tested["reference"])
    page = max(project.root.glob("data/08_reporting/tiny/report.md/*/report.md")).read_text()
    assert "oracle" in page
    assert "nan" not in page

    before = project.stamps("07_model_output/tiny/*/*/ranks*/**/*")
    pd.DataFrame({"user_id": users, "rank": 9}).to_csv(folder / "oracle.csv", index=False)
    project.run(env="tiny", params=imported, only_missing_outputs=True)
    after = project.stamps("07_model_output/tiny/*/*/ranks*/**/*")
    assert {name.split("/")[2] for name in after if after[name] != before.get(name)} == {"oracle"}
    with pytest.raises(UserError, match=r"import_ranks\.oracle\.file: there is no file .*absent\.csv"):
        project.run(env="tiny", params={**params, "import_ranks": {"oracle": {"file": "absent.csv"}}})
