"""A search through Kedro: killed and repeated, half of it made elsewhere, tracked, its settings taken by conf."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2] / "src"
ABSENT = ("kedro", "kedro_mlflow", "mlflow", "optuna", "pandas", "pyarrow", "pydantic", "safetensors", "scipy", "yaml")
TUNING = """
tuning:
  rankers: [sasrec]
  n_trials: 3
  epochs: 3
  spaces:
    sasrec:
      network: {width: [8, 16], blocks: [1], positions: [end], negatives: [1]}
      training: {batch_size: [64]}
"""
TRIALS = "data/06_models/trials/tiny/sasrec"


@pytest.fixture(scope="module")
def tuned(make_tiny, tmp_path_factory):
    """A search whose first trial was made elsewhere without Kedro and Optuna, and which was killed in its second."""
    project = make_tiny()
    with (project.root / "conf/tiny/parameters.yml").open("a") as file:
        file.write(TUNING)
    project.output("run", "--pipelines=ingestion,preprocessing,plan", "--env=tiny")
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))")
    bare = {"PYTHONPATH": os.pathsep.join([str(site), str(SOURCE)])}
    inputs = project.root / "data/05_model_input/tiny"
    command = ("-m", "diffurecsys.tuning", str(inputs / "split.npz"), str(inputs / "trials.json"), "elsewhere")
    project.finish(project.python(*command, "--device", "cpu", "--trial", "0", environment=bare))
    (project.root / TRIALS).mkdir(parents=True)
    (project.root / "elsewhere/sasrec/trial_01.json").rename(project.root / TRIALS / "trial_01.json")

    first = project.command("run", "--pipeline=tune", "--env=tiny")
    deadline = time.monotonic() + 300
    while not (project.root / TRIALS / "trial_02.checkpoint").exists():
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    printed = project.output("run", "--pipeline=tune", "--env=tiny", "--only-missing-outputs")
    again = project.output("run", "--pipeline=tune", "--env=tiny", "--only-missing-outputs")
    return project, printed, again


def test_what_was_killed_is_continued_and_what_is_over_left_alone(tuned):
    project, printed, again = tuned
    files = sorted(path.name for path in (project.root / TRIALS).iterdir())
    assert files == ["trial_01.json", "trial_02.json", "trial_03.json"]
    assert "2 of 3 trials are still to be made" in printed
    assert "sasrec, trial 1 of 3" not in printed  # it came from elsewhere
    assert "Continuing after epoch" in printed
    assert "0 of 3 trials are still to be made" in again
    assert "trial 2 of 3" not in again


def test_the_table_has_every_trial_and_the_settings_are_the_best_ones(tuned):
    project = tuned[0]
    outcomes = [json.loads(path.read_text()) for path in sorted((project.root / TRIALS).iterdir())]
    best = max(outcomes, key=lambda outcome: outcome["value"])
    (row,) = project.read("08_reporting/tiny/tables/tuning.csv/*/tuning.csv").to_dict("records")
    assert (row["trials"], row["complete"]) == (3, 3)
    assert row["best"] == pytest.approx(best["value"])
    assert row["as_configured"] == pytest.approx(outcomes[0]["value"])
    assert len(project.read("08_reporting/tiny/tables/tuning_trials.csv/*/tuning_trials.csv")) == 3
    assert list(project.root.glob("data/08_reporting/tiny/figures/tuning.png/*/tuning.png"))
    settings = yaml.safe_load((project.root / "data/08_reporting/tiny/tuned/sasrec.yml").read_text())
    assert settings["models"]["sasrec"]["network"]["width"] == best["settings"]["network.width"]


def test_every_trial_is_one_run_inside_its_rankers(tuned):
    with sqlite3.connect(tuned[0].root / "mlflow.db") as store:
        parent = "(select value from tags t where t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId')"
        rows = store.execute(f"select r.name, r.run_uuid, {parent} from runs r").fetchall()
    trials = [row for row in rows if ".trial_" in row[0]]
    assert sorted(row[0] for row in trials) == [f"tune.sasrec.trial_{number}" for number in (1, 2, 3)]
    rankers = {row[1]: row[2] for row in rows if row[0] == "tune.sasrec"}
    runs = {row[1] for row in rows if row[0] == "tune"}
    assert {row[2] for row in trials} <= set(rankers)
    assert set(rankers.values()) <= runs


def test_conf_takes_the_settings(tuned):
    project = tuned[0]
    folder = project.root / "conf/tiny/parameters/models"
    folder.mkdir(parents=True)
    text = (project.root / "data/08_reporting/tiny/tuned/sasrec.yml").read_text()
    (folder / "sasrec.yml").write_text(text)
    own = project.root / "conf/tiny/parameters.yml"  # a setting stands in one file of an experiment
    values = yaml.safe_load(own.read_text())
    del values["models"]["sasrec"]
    own.write_text(yaml.safe_dump(values))
    with project.session("tiny") as session:
        spec = session.load_context().checked.study.spec("sasrec")
    assert spec.network.width == yaml.safe_load(text)["models"]["sasrec"]["network"]["width"]
