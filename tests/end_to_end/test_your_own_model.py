"""The page on a model of one's own, executed: its files, outside the source tree, to the report and to serving."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs/your_own_model.md"
SERVE = """
import json

import mlflow
import pandas as pd
from mlflow.tracking import MlflowClient

mlflow.set_tracking_uri("sqlite:///mlflow.db")
client = MlflowClient()
found = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
run = next(run for run in found if run.info.run_name == "mean_of_items.seed_1")
model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
items = pd.read_parquet("data/03_primary/mine/item_vocabulary.parquet")["item_id"].tolist()
asked = [items[:2], [items[2], "never seen"]]
found = model.predict(pd.DataFrame({"history": asked}), params={"k": 3, "exclude_history": True})
print("served:", json.dumps({"items": items, "asked": asked, "found": found["items"].tolist()}))
"""


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the page's package is installed: a folder with its module, and what an installer writes beside it."""
    site = tmp_path_factory.mktemp("site")
    (module,) = _blocks("python")
    (declared,) = _blocks("toml")
    ((group, entries),) = tomllib.loads(declared)["project"]["entry-points"].items()
    (site / "mean_of_items.py").write_text(module)
    (site / "mean_of_items-0.1.dist-info").mkdir()
    (site / "mean_of_items-0.1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: mean_of_items\nVersion: 0.1\n"
    )
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (site / "mean_of_items-0.1.dist-info/entry_points.txt").write_text(f"[{group}]\n{lines}")
    return {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture(scope="module")
def project(make_project):
    """A project with the page's settings, its experiment made as small as tests can wait for."""
    own = make_project()
    ranker, names, study = _blocks("yaml")
    assert yaml.safe_load(names) == {"experiment": "mine", "dataset": "sample"}
    (own.root / "conf/base/parameters/models/mean_of_items.yml").write_text(ranker)
    own.add_experiment("mine", globals=names, parameters=f"{study}\nsignificance: {{n_resamples: 100}}\nthreads: 1\n")
    return own


@pytest.fixture(scope="module")
def printed(project, environment):
    (first, *_) = _blocks("bash")
    program, *arguments = first.split()
    assert program == "kedro"
    return project.output(*arguments, environment=environment)


def test_the_file_has_fewer_than_60_lines():
    (module,) = _blocks("python")
    assert len(module.splitlines()) < 60


def test_it_is_trained_compared_and_reported(project, printed):
    assert "Best of 3 rankers" in printed
    board = project.read("08_reporting/mine/tables/leaderboard.csv/*/leaderboard.csv")
    test = board[(board["split"] == "test") & (board["ranking"] == "all")].set_index("model")
    assert list(test.index) == ["popularity", "transitions", "mean_of_items"]
    assert test.loc["mean_of_items", "n_seeds"] == 2
    # it knows what users had last, popularity does not
    assert test.loc["mean_of_items", "NDCG@10_mean"] > test.loc["popularity", "NDCG@10_mean"]
    page = max(project.root.glob("data/08_reporting/mine/report.html/*/report.html")).read_text()
    assert "mean_of_items" in page


def test_it_is_served(project, environment, printed):
    assert printed
    answered = project.finish(project.python("-c", SERVE, environment=environment))
    (line,) = [line for line in answered.splitlines() if line.startswith("served: ")]
    served = json.loads(line.removeprefix("served: "))
    for asked, found in zip(served["asked"], served["found"], strict=True):
        assert len(set(found)) == 3
        assert set(found) <= set(served["items"]) - set(asked)


def test_a_misspelt_setting_is_named(project, environment):
    misspelt = "--params=models.mean_of_items.network.decai=0.9"
    printed = project.finish(project.command("run", "--env=mine", misspelt, environment=environment), fails=True)
    message = "models.mean_of_items.network.decai: no such parameter; did you mean models.mean_of_items.network.decay?"
    assert message in " ".join(printed.split())
