"""Data of a few users or items: what can be made is made, what cannot is left out with a sentence."""

from __future__ import annotations

import pytest

from diffurecsys.errors import DataError, user_error_in

pytestmark = pytest.mark.slow

PARAMETERS = """
threads: 1
preprocessing: {user_k: 3, item_k: 1, max_length: 10}
study:
  rankers: [popularity, diffurec]
  n_seeds: 1
  sweeps: {delta: {n_seeds: 0}}
significance: {n_resamples: 100}
probes: {users: 50, ensemble_sizes: [1, 2], reverse_steps: [1, 2]}
maps: {samples: 4}
"""
GLOBALS = """
experiment: few
dataset: few
width: 8
blocks: 1
heads: 2
epochs: 1
batch_size: 512
learning_rate: 0.01
"""
DATASETS = "datasets:\n  few: {name: few, archive: few.inter}\n"
DATA = {
    "one item": [(f"u{u}", "i", t) for u in range(20) for t in range(6)],
    "two users": [(f"u{u}", f"i{(7 * t + u) % 20}", t) for u in range(2) for t in range(60)],
    "one long user": [("long", f"i{t * t % 53}", t) for t in range(100_000)]
    + [(f"u{u}", f"i{(7 * t + u) % 50}", t) for u in range(12) for t in range(8)],
    "nobody": [(f"u{u}", f"i{u}", 0) for u in range(20)],
}


@pytest.fixture
def few(project):
    def place(name):
        project.add_experiment("few", globals=GLOBALS, datasets=DATASETS, parameters=PARAMETERS)
        raw = project.root / "data/01_raw"
        raw.mkdir(parents=True)
        lines = [f"{user}\t{item}\t{time}\n" for user, item, time in DATA[name]]
        (raw / "few.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(lines))
        return project

    return place


@pytest.mark.parametrize("name", ["two users", "one long user"])
def test_a_report_of_few_data_says_what_it_lacks(name, few):
    project = few(name)
    printed = project.output("run", "--env=few")
    (report,) = project.root.glob("data/08_reporting/few/report.md/*/report.md")
    assert "popularity" in report.read_text(encoding="utf-8")
    assert ("The map of users is left out" in printed) == (name != "one long user")


@pytest.mark.parametrize("name", ["one item", "nobody"])
def test_where_nothing_can_be_recommended_or_to_nobody_nothing_trains(name, few):
    project = few(name)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Kedro's, from ours
        project.run(env="few")
    assert isinstance(user_error_in(caught.value), DataError)
    assert not list(project.root.glob("data/06_models/few/*/*/weights.safetensors"))
