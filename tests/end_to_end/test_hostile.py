"""Identifiers, titles and categories that are commands elsewhere: to no output are they more than text."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

HOSTILE = (
    *(
        "<script>alert(1)</script>",
        "</svg><img src=x onerror=alert(1)>",
        '=HYPERLINK("http://x.test")',
        "@SUM(1)",
        "+1",
    ),
    *(
        "\\input{/etc/passwd}",
        "$\\write18{id}$",
        "../../outside",
        "/etc/passwd",
        "'; DROP TABLE items; --",
        "${oc.env:HOME}",
    ),
    *(
        "{{ 7 * 7 }}",
        "%s%n",
        "$(id)",
        "`id`",
        "a,b",
        'say "x"',
        "two\nlines",
        "é\u202e",
        "]]>",
        "NaN",
        "007",
        "[link](x)",
    ),
)
GLOBALS = """
experiment: hostile
dataset: hostile
width: 8
blocks: 1
heads: 2
epochs: 1
batch_size: 512
learning_rate: 0.01
"""
DATASETS = """
datasets:
  hostile:
    name: hostile
    source:
      path: events.csv
      columns: {user: who, item: what, time: when}
      items: {path: items.csv, item: what, title: name, category: kind}
"""
PARAMETERS = """
threads: 1
preprocessing: {user_k: 1, item_k: 1, max_length: 10}
study:
  rankers: [popularity, diffurec]
  n_seeds: 1
  sweeps: {delta: {n_seeds: 0}}
significance: {n_resamples: 100}
probes: {users: 50, ensemble_sizes: [1, 2], reverse_steps: [1, 2]}
maps: {samples: 4}
recommend: {format: csv, k: 3, model: popularity, titles: titles.csv}
"""


class Page(HTMLParser):
    """Counts elements that act, and attributes that do."""

    def __init__(self) -> None:
        super().__init__()
        self.acting: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs if name.startswith("on")]
        if tag in ("script", "img", "iframe", "object") or names:
            self.acting.append(f"{tag} {attrs}")


@pytest.fixture(scope="module")
def hostile(make_project):
    project = make_project()
    project.add_experiment("hostile", globals=GLOBALS, datasets=DATASETS, parameters=PARAMETERS)
    raw = project.root / "data/01_raw"
    raw.mkdir(parents=True)
    users = [f"{name} {number}" for number, name in enumerate(HOSTILE)] + list(HOSTILE)
    tables = {
        "events.csv": [
            ("who", "what", "when"),
            *(
                (user, HOSTILE[(number + 3 * time) % len(HOSTILE)], time)
                for number, user in enumerate(users)
                for time in range(8)
            ),
        ],
        "items.csv": [("what", "name", "kind"), *((name, f"{name} {name}", name) for name in HOSTILE)],
        "titles.csv": [("item_id", "title"), *((name, f"{name} {name}") for name in HOSTILE)],
    }
    for name, lines in tables.items():
        with (raw / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    before = {path.name for path in project.root.parent.iterdir()}
    for pipeline in ("describe", "train_eval", "recommend"):
        project.run(pipeline, env="hostile")
    assert {path.name for path in project.root.parent.iterdir()} == before
    return project


def _all(project, pattern):
    found = [
        path
        for folder in ("data/08_reporting", "data/07_model_output", "mlartifacts")
        for path in (project.root / folder).rglob(pattern)
    ]
    assert found, pattern
    return [path for path in found if path.is_file()]


def test_pages_hold_nothing_that_acts(hostile):
    for path in _all(hostile, "*.html"):
        text = path.read_text(encoding="utf-8")
        if "plotly" in text[:5000].lower():
            continue  # plotly's own script
        page = Page()
        page.feed(text)
        assert page.acting == [], path


def test_what_is_looked_for_would_be_found():
    page = Page()
    page.feed(" ".join(HOSTILE))
    assert len(page.acting) == 2


def test_drawings_and_plots_are_whole(hostile):
    for path in _all(hostile, "*.svg"):
        assert not [element for element in ET.parse(path).iter() if element.tag.endswith("script")]
    for path in _all(hostile, "*.json"):
        json.loads(path.read_text(encoding="utf-8"))


def test_latex_runs_no_command_of_an_identifier(hostile):
    for path in _all(hostile, "*.tex"):
        assert not re.search(r"\\(input|write18)", path.read_text(encoding="utf-8"))


def test_tables_of_the_report_hold_no_formula(hostile):
    for path in _all(hostile, "*.csv"):
        if path.name == "recommendations.csv":
            continue
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert not [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?![\d.]|inf)", cell)], path


def test_recommendations_hold_identifiers_and_titles_as_they_were(hostile):
    (path,) = (hostile.root / "data/07_model_output").rglob("recommendations.csv")
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert set(HOSTILE) <= set(found["user_id"])
    assert set(found["item_id"]) <= set(HOSTILE)
    assert (found["title"] == found["item_id"] + " " + found["item_id"]).all()
