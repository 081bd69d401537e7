"""Cells fitted on another machine: exported, fitted with PyTorch and NumPy alone, killed, repeated, imported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from diffurecsys.errors import DataError

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2] / "src"
ABSENT = ("kedro", "kedro_mlflow", "mlflow", "pandas", "pyarrow", "pydantic", "safetensors", "scipy", "ibis", "plotly")
TRAINED = ("sasrec", "diffurec")
RANKERS = ("popularity", "transitions", *TRAINED)
IMPORTED = "01_raw/cells/tiny"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Environment of a Python that has PyTorch and NumPy alone, and the project's source."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(SOURCE)])}


@pytest.fixture(scope="module")
def exported(tiny_study, make_project, stages):
    """A project that has its sequences, and no cell; the list of its cells is written."""
    project = make_project()
    shutil.copytree(tiny_study.root, project.root, dirs_exist_ok=True)
    for layer in ("06_models", "07_model_output", "08_reporting"):
        shutil.rmtree(project.root / "data" / layer)
    project.run("export", env="tiny", params={"models": {"sasrec": {"training": {"epochs": 9}}}})
    project.run("export", env="tiny", only_missing_outputs=True)  # the list is there, of other parameters
    return project


@pytest.fixture(scope="module")
def fitted(exported, bare, tmp_path_factory):
    """Finished cells with weights; the command was killed while cells were being fitted, and repeated."""
    out = tmp_path_factory.mktemp("out")
    inputs = exported.root / "data/05_model_input/tiny"
    command = ("-m", "diffurecsys.remote", str(inputs / "split.npz"), str(inputs / "cells.json"), str(out))
    options = ("--processes", "2", "--device", "cpu", "--weights")
    first = exported.python(*command, *options, environment=bare)
    deadline = time.monotonic() + 300
    while not (begun := list(out.glob("*/*/checkpoint.pt"))):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not begun[0].with_name("record.json").exists()
    printed = exported.finish(exported.python(*command, *options, environment=bare))
    again = exported.finish(exported.python(*command, *options, environment=bare))
    return out, begun[0].parent, printed, again


def test_all_cells_are_listed(exported):
    listed = json.loads((exported.root / "data/05_model_input/tiny/cells.json").read_text())
    assert [(cell["name"], cell["seed"]) for cell in listed] == [(name, 0) for name in RANKERS]
    assert all(cell["training"]["epochs"] != 9 for cell in listed)


def test_what_was_killed_is_continued_and_what_is_finished_left_alone(fitted):
    out, begun, printed, again = fitted
    assert {path.parent.parent.name for path in out.glob("*/seed_0/record.json")} == set(RANKERS)
    assert json.loads((begun / "record.json").read_text())["resumed_from"] >= 1
    assert f"{begun} is finished" in printed
    assert "is finished" not in again
    assert not list(out.glob("**/checkpoint.pt"))
    assert not list(out.glob("**/log.txt"))
    assert not list(out.glob("**/*.tmp"))


def _project_with(exported, make_project, fitted, *, weights):
    """A copy of the project without cells of its own, with the finished ones where it takes them from."""
    project = make_project()
    shutil.copytree(exported.root, project.root, dirs_exist_ok=True)
    left_out = () if weights else ("weights.pt",)
    shutil.copytree(fitted[0], project.root / "data" / IMPORTED, ignore=shutil.ignore_patterns(*left_out))
    return project


def test_imported_cells_have_the_bits_of_those_trained_in_place(
    exported, fitted, tiny_study, make_project, stages, caplog
):
    project = _project_with(exported, make_project, fitted, weights=True)
    caplog.set_level("INFO", logger="diffurecsys")
    project.run(*stages, env="tiny", only_missing_outputs=True)

    assert not [message for message in caplog.messages if message.startswith("Training ")]
    for name in RANKERS:
        record = json.loads((project.root / f"data/06_models/tiny/{name}/seed_0/record.json").read_text())
        assert record["imported"] is True
        weights = f"data/06_models/tiny/{name}/seed_0/weights.safetensors"
        assert (project.root / weights).read_bytes() == (tiny_study.root / weights).read_bytes(), name
        ranks = f"07_model_output/tiny/{name}/seed_0/ranks.parquet/*/ranks.parquet"
        pd.testing.assert_frame_equal(project.read(ranks), tiny_study.read(ranks), obj=name)
    ours, theirs = (of.read("08_reporting/tiny/study/cells.parquet/*/*.parquet") for of in (project, tiny_study))
    assert ours["imported"].all()
    assert not theirs["imported"].any()
    assert list(ours["identity"]) == list(theirs["identity"])

    project.run("export", env="tiny")
    assert json.loads((project.root / "data/05_model_input/tiny/cells.json").read_text()) == []


def test_a_cell_of_another_width_is_not_used_and_is_asked_for_again(
    exported, fitted, make_project, stages, caplog, bare
):
    project = _project_with(exported, make_project, fitted, weights=False)
    params = {"models": {"sasrec": {"network": {"width": 8}}}}
    project.run("export", env="tiny", params=params)
    inputs = project.root / "data/05_model_input/tiny"
    assert [cell["name"] for cell in json.loads((inputs / "cells.json").read_text())] == ["sasrec"]

    project.run(*stages, env="tiny", params=params, only_missing_outputs=True)
    (warning,) = {message for message in caplog.messages if "is not used" in message}
    assert f"{IMPORTED}/sasrec/seed_0 is not used: it was made with network.width 16, here 8" in warning
    cells = project.read("08_reporting/tiny/study/cells.parquet/*/*.parquet").set_index("model")
    assert dict(cells["imported"]) == {name: name != "sasrec" for name in RANKERS}

    folder = project.root / "data" / IMPORTED
    command = ("-m", "diffurecsys.remote", str(inputs / "split.npz"), str(inputs / "cells.json"), str(folder))
    printed = project.finish(project.python(*command, "--device", "cpu", environment=bare))
    assert "sasrec/seed_0 is made again: it was made with network.width 16, here 8" in printed
    assert json.loads((folder / "sasrec/seed_0/record.json").read_text())["network"]["width"] == 8


def test_a_study_reports_from_cells_without_weights(exported, fitted, make_project):
    project = _project_with(exported, make_project, fitted, weights=False)
    printed = project.output("run", "--env=tiny", "--only-missing-outputs")
    assert "Training " not in printed
    page = max(project.root.glob("data/08_reporting/tiny/report.md/*/report.md")).read_text()
    assert all(f"\n| {name} " in page for name in RANKERS)
    assert "Best of 4 rankers" in printed


@pytest.mark.parametrize("file", ["record.json", "history.json", "test_ranks.npz", "validation_ranks.npz"])
def test_a_damaged_file_is_named(file, exported, fitted, make_project):
    from diffurecsys.data.split import load_split
    from diffurecsys.pipelines.cells.nodes import fit_ranker
    from diffurecsys.pipelines.export.nodes import list_missing_cells
    from diffurecsys.remote import read_cell, unfinished

    project = _project_with(exported, make_project, fitted, weights=False)
    imported = project.root / "data" / IMPORTED
    damaged = imported / "sasrec/seed_0" / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    split = load_split(project.root / "data/05_model_input/tiny/split.npz")
    listed = json.loads((project.root / "data/05_model_input/tiny/cells.json").read_text())
    (cell,) = (read_cell(values) for values in listed if values["name"] == "sasrec")
    message = rf"the finished cell in {damaged.parent} cannot be used .*: remove the folder"
    with pytest.raises(DataError, match=message):
        fit_ranker(cell, split, project.root / "data/06_models/tiny", imported)
    if file == "record.json":
        with pytest.raises(DataError, match=message):
            unfinished([cell], split, imported)
        context = project.session("tiny").load_context()
        with pytest.raises(DataError, match=message):
            list_missing_cells(context.params["study"], split, imported)
