"""The page on data of one's own, executed: from a CSV file to the report, under both splits."""

from __future__ import annotations

import csv
import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from pydantic import TypeAdapter

from diffurecsys.cli import cli
from diffurecsys.data.specs import DatasetSpec
from diffurecsys.parameters import SplitParameters

PAGE = Path(__file__).resolve().parents[2] / "docs/your_own_data.md"
USERS, ITEMS = 120, 30


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def write_events(folder):
    """Users step through a ring of items, so that order tells nearly everything; some rows are of another kind."""
    draw, rows = random.Random(0), []
    for user in range(USERS):
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=draw.random() * 1500)
        item = draw.randrange(ITEMS)
        for _ in range(draw.randint(8, 20)):
            moment += timedelta(minutes=draw.randint(1, 2000))
            item = (item + draw.choice((1, 1, 1, 2))) % ITEMS
            rows.append((f"{user:04d}", f"i {item:03d}", moment.isoformat(), draw.choice(("view", "buy"))))
    rows += [(f"{user:04d}", "", "never", "search") for user in range(50)]
    with (folder / "events.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("visitorid", "itemid", "timestamp", "event"), *rows])
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        products = [(f"i {item:03d}", f"Tea <no. {item}>", "tea") for item in range(ITEMS)]
        csv.writer(file).writerows([("itemid", "name", "kind"), *products])
    return len(rows) - 50


@pytest.fixture(scope="module")
def commands():
    """The page's commands, without `kedro`."""
    found = [block.split() for block in _blocks("bash")]
    assert len(found) == 3
    assert {program for program, *_ in found} == {"kedro"}
    return [arguments for _, *arguments in found]


@pytest.fixture(scope="module")
def own(make_project, commands):
    """A project after the page's first command, its study made as small as tests can wait for; and what was printed."""
    project = make_project()
    n_rows = write_events(project.root)
    printed = project.output(*commands[0])
    assert f"Rows        {n_rows + 50:,}, of which {n_rows:,} are interactions" in printed
    settings = project.root / "conf/mine/parameters.yml"
    study = yaml.safe_load(settings.read_text())
    assert study["study"]["rankers"] == ["popularity", "transitions", "sasrec", "diffurec"]
    study["study"] |= {"rankers": ["popularity", "last_item_transition"], "n_seeds": 1}
    settings.write_text(yaml.safe_dump({**study, "threads": 1, "significance": {"n_resamples": 100}}))
    return project, printed, n_rows


def test_the_first_command_says_what_it_understood(own):
    _, printed, _ = own
    for line in (
        "Columns     user = visitorid, item = itemid, time = timestamp (iso)",
        "Left out    50 by the rule event in view, buy",
        f"Users       {USERS}",
        f"Items       {ITEMS}",
        "Next: kedro run --pipeline=describe --env=mine",
    ):
        assert line in printed


def test_the_second_command_writes_a_page(own, commands):
    project, _, n_rows = own
    project.output(*commands[1])
    folder = project.root / "data/08_reporting/mine"
    page = (folder / "dataset.html").read_text()
    assert f"{n_rows + 50:,} rows; 50 left out by rules, 0 dropped as unreadable" in page
    assert "Tea &lt;no. " in page  # titles of the most popular items, as text
    assert "Order matters" in page
    facts = json.loads((folder / "dataset_facts.json").read_text())
    assert facts["order"]["real"]["mean"] > 2 * facts["order"]["shuffled"]["mean"]
    users = pd.read_parquet(project.root / "data/03_primary/mine/user_vocabulary.parquet")
    assert users["user_id"].tolist() == [f"{user:04d}" for user in range(USERS)]  # leading zeros
    record = json.loads((project.root / "data/02_intermediate/mine/read_record.json").read_text())
    assert record["types"] == {"user_id": "VARCHAR", "item_id": "VARCHAR"}


@pytest.mark.slow
def test_the_third_command_reports_it(own, commands):
    project, _, _ = own
    project.output(*commands[2])
    page = max(project.root.glob("data/08_reporting/mine/report.html/*/report.html")).read_text()
    assert "rows; 50 left out by rules, 0 dropped as unreadable" in page
    assert "leave-one-out: each user" in page
    board = project.read("08_reporting/mine/tables/leaderboard.csv/*/leaderboard.csv")
    test = board[(board["split"] == "test") & (board["ranking"] == "all")].set_index("model")
    assert test.loc["last_item_transition", "HR@5_mean"] > 0.9  # one of two successors


@pytest.mark.slow
def test_every_ranker_learns_and_is_reported_under_a_temporal_split(own):
    project, _, _ = own
    (project.root / "conf/later").mkdir()
    for name, text in {
        "globals": "experiment: later\ndataset: mine\nwidth: 8\nblocks: 1\nheads: 2\nepochs: 1\n",
        "datasets": (project.root / "conf/mine/datasets.yml").read_text(),
        "parameters": """
threads: 1
split: {protocol: temporal, validation_from: 2024-02-20, test_from: 0.9}
study: {rankers: [popularity, sasrec, diffurec], n_seeds: 1, sweeps: {delta: {n_seeds: 0}}}
models: {sasrec: {network: {width: 8, blocks: 1}, training: {epochs: 1}}}
significance: {n_resamples: 100}
probes: {rankers: []}
maps: {rankers: []}
""",
    }.items():
        (project.root / f"conf/later/{name}.yml").write_text(text)
    project.run(env="later")
    page = max(project.root.glob("data/08_reporting/later/report.md/*/report.md")).read_text()
    assert "- Split: temporal: targets are what users did after points in time" in page
    assert "validation from 2024-02-20 00:00, test from 2024-" in page
    counts = json.loads((project.root / "data/02_intermediate/later/split_counts.json").read_text())
    ranks = project.read("08_reporting/later/study/ranks.parquet/*/ranks.parquet")
    asked = ranks.groupby(["model", "split"], observed=True).size()
    assert set(asked.xs("test", level="split")) == {counts["test_asked"]}
    assert set(asked.xs("validation", level="split")) == {counts["validation_asked"]}
    groups = project.read("08_reporting/later/tables/groups.csv/*/groups.csv")
    new = groups[groups["group"] == "new user"]["n_users"]
    assert set(new) == ({counts["test_new_users"]} if counts["test_new_users"] else set())


@pytest.fixture
def ask(project, monkeypatch):
    """Run `new-experiment` in this process, in a fresh project."""
    write_events(project.root)
    monkeypatch.chdir(project.root)

    def run(*arguments):
        return CliRunner().invoke(cli, ["new-experiment", *arguments], obj=SimpleNamespace(project_path=project.root))

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("base", "--file", "events.csv"), "'base' cannot name an experiment"),
        (("beauty", "--file", "events.csv"), "conf/beauty is there already"),
        (("mine", "--file", "absent.csv"), "absent.csv: no such file or folder"),
        (("mine", "--file", "products.csv"), "looks like the user; say which with --user"),
        (("mine", "--file", "events.csv"), "column itemid: the value is empty (50 rows like it)"),
        (("mine", "--file", "events.csv", "--keep", "event~view"), "write a rule like event=view,buy or rating>=4"),
    ],
)
def test_what_cannot_become_an_experiment_is_said_and_nothing_is_written(arguments, message, ask, project):
    before = sorted(project.root.glob("conf/*"))
    result = ask(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert sorted(project.root.glob("conf/*")) == before


def test_the_pages_entry_and_split_are_what_they_say():
    entry, split = _blocks("yaml")
    spec = TypeAdapter(DatasetSpec).validate_python(yaml.safe_load(entry)["datasets"]["mine"])
    assert spec.source.columns.user == "visitorid"
    assert [str(rule) for rule in spec.source.keep] == ["event in view, buy", "rating >= 4"]
    values = {name: str(value) if "from" in name else value for name, value in yaml.safe_load(split)["split"].items()}
    assert TypeAdapter(SplitParameters).validate_python(values).validation_from == "2024-03-01"
