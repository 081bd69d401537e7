"""Digests of what makes a dataset, and what they are made of."""

from __future__ import annotations

import dataclasses
import os

import pytest
from kedro.pipeline import Pipeline, node

from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.provenance import (
    PLAN,
    Provenance,
    describe_parameter,
    discard_plan,
    expected_digests,
    file_digest,
    recorded_as_planned,
    write_plan,
)
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig


def double(x):
    return 2 * x


def add(x, y):
    return x + y


def other(x):
    return x


PIPELINE = Pipeline(
    [
        node(add, ["twice", "params:b"], "sum"),
        node(double, "params:a", "twice"),
        node(other, ["file"], "read"),
        node(add, ["file", "params:download"], "fetched"),
    ]
)


def digests(pipeline=PIPELINE, **roots):
    return expected_digests(pipeline, lambda name: roots.get(name.removeprefix("params:"), "same"))


def changed(**roots):
    before, after = digests(), digests(**roots)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("root", "expected"),
    [("a", {"twice", "sum"}), ("b", {"sum"}), ("file", {"read", "fetched"}), ("download", set())],
)
def test_a_changed_root_changes_all_that_depends_on_it_and_no_more(root, expected):
    assert changed(**{root: "other"}) == expected


def test_the_order_of_the_nodes_does_not_count():
    assert digests(Pipeline(list(reversed(PIPELINE.nodes)))) == digests()


def test_another_function_makes_something_else():
    renamed = Pipeline(
        [node(other, "params:a", "twice"), *(part for part in PIPELINE.nodes if part.func is not double)]
    )
    before, after = digests(), digests(renamed)
    assert {name for name in before if before[name] != after[name]} == {"twice", "sum"}


def test_two_outputs_of_one_node_differ():
    both = digests(Pipeline([node(double, "params:a", ["one", "two"])]))
    assert both["one"] != both["two"]


def cell(**changes):
    spec = RankerSpec("a", "diffurec", "model", DiffuRecConfig(width=8, heads=2), TrainingConfig())
    network = {name: value for name, value in changes.items() if name in ("width", "delta")}
    training = {name: value for name, value in changes.items() if name in ("epochs", "device", "checkpoint_every")}
    spec = dataclasses.replace(
        spec,
        name=changes.get("name", "a"),
        role=changes.get("role", "model"),
        network=dataclasses.replace(spec.network, **network),
        training=dataclasses.replace(spec.training, **training),
    )
    return Cell(spec, changes.get("seed", 0))


@pytest.mark.parametrize("change", [{"width": 16}, {"delta": 0.5}, {"epochs": 3}, {"seed": 1}, {"name": "b"}])
def test_what_changes_a_cells_results_changes_its_description(change):
    assert describe_parameter(cell(**change)) != describe_parameter(cell())


@pytest.mark.parametrize("change", [{"device": "cpu"}, {"checkpoint_every": 7}, {"role": "baseline"}])
def test_what_does_not_change_a_cells_results_does_not(change):
    assert describe_parameter(cell(**change)) == describe_parameter(cell())


def test_a_files_digest_is_of_its_content(tmp_path):
    path = tmp_path / "archive.zip"
    assert file_digest(path) == "absent"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    first = file_digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(2, 2))
    assert file_digest(path) not in (first, "absent")
    path.write_bytes(b"one")
    os.utime(path, ns=(3, 3))
    assert file_digest(path) == first


def test_records_are_kept_by_dataset_and_written_only_where_they_change(tmp_path):
    provenance = Provenance(tmp_path / "made_from")
    assert provenance.recorded("sasrec.seed_0.weights") is None
    provenance.record([("sasrec.seed_0.weights", "1"), ("study_ranks", "2")])
    assert provenance.recorded("sasrec.seed_0.weights") == "1"
    file = tmp_path / "made_from/study_ranks"
    os.utime(file, ns=(1, 1))
    provenance.record([("sasrec.seed_0.weights", "3"), ("study_ranks", "2")])
    assert provenance.recorded("sasrec.seed_0.weights") == "3"
    assert file.stat().st_mtime_ns == 1


def test_another_process_records_as_the_run_wrote_down(tmp_path, monkeypatch):
    monkeypatch.delenv(PLAN, raising=False)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    write_plan(tmp_path, tmp_path / "records", {"data/one.csv": ("one", "digest")})
    with recorded_as_planned("data/one.csv"):
        pass
    assert not (tmp_path / "records").exists()  # the run itself, whose hooks record

    monkeypatch.setattr(os, "getpid", lambda: 2)
    records = Provenance(tmp_path / "records")
    with recorded_as_planned("data/other.csv"):
        pass
    with recorded_as_planned("data/one.csv"):
        assert records.recorded("one") == "unfinished"
    assert records.recorded("one") == "digest"
    discard_plan()
    assert PLAN in os.environ  # that run goes on
    monkeypatch.setattr(os, "getpid", lambda: 1)
    discard_plan()
    assert PLAN not in os.environ
    assert not (tmp_path / ".plan.json").exists()
