"""Studies that are interrupted, resumed, enlarged and repeated in part."""

from __future__ import annotations

import os
import signal
import time

import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

CELLS = "06_models/tiny"
RESULTS = ("0[1-7]*/**/*", "08_reporting/tiny/study/**/*")


def test_a_finished_study_has_nothing_to_do(finished, stages):
    before = finished.stamps("**/*")
    finished.run(*stages, env="tiny", only_missing_outputs=True)
    assert finished.stamps("**/*") == before
    assert before.keys() >= {f"{CELLS}/diffurec/seed_0/weights.safetensors", f"{CELLS}/.made_from/study_ranks"}


def test_only_the_missing_cell_is_trained_again_and_the_study_follows(finished, stages):
    path = finished.root / "data" / CELLS / "diffurec/seed_0/weights.safetensors"
    weights, before = load_file(path), finished.stamps(*RESULTS)
    path.unlink()

    finished.run(*stages, env="tiny", only_missing_outputs=True)

    again = load_file(path)
    assert all((again[name] == tensor).all() for name, tensor in weights.items())
    after = finished.stamps(*RESULTS)
    changed = {name for name in after if after[name] != before.get(name)}
    files = {f"{CELLS}/diffurec/seed_0/{name}" for name in ("weights.safetensors", "history.parquet", "record.json")}
    assert {name for name in changed if name.startswith("06")} == files
    ranks = [name for name in changed if name.startswith("07")]
    assert [name.split("/")[2:4] for name in ranks] == [["diffurec", "seed_0"]]
    assert len([name for name in changed if name.startswith("08")]) == 3  # the study's three tables, once more


def test_a_larger_study_trains_only_the_new_cells_and_its_tables_have_them(finished, stages):
    before = finished.stamps(f"{CELLS}/*/seed_0/*")

    finished.run(*stages, env="tiny", params={"study": {"n_seeds": 2}}, only_missing_outputs=True)

    assert finished.stamps(f"{CELLS}/*/seed_0/*") == before
    assert len(finished.stamps(f"{CELLS}/*/seed_1/weights.safetensors")) == 2
    cells = finished.read("08_reporting/tiny/study/cells.parquet/*/*.parquet")
    assert list(cells.groupby("model", sort=False)["seed"].count().items()) == [
        ("popularity", 1),
        ("transitions", 1),
        ("sasrec", 2),
        ("diffurec", 2),
    ]


def test_a_report_of_what_is_finished_trains_nothing_and_names_the_rest(finished):
    before = finished.stamps(f"{CELLS}/*/seed_*/*")

    command = ("run", "--env=tiny", "--only-missing-outputs", "--params=study.n_seeds=4,study.unfinished=leave_out")
    printed = finished.output(*command)

    assert finished.stamps(f"{CELLS}/*/seed_*/*") == before
    said = "sasrec, diffurec (1 of 4 seeds are finished)"
    assert f"Left out as not finished: {said}" in " ".join(printed.split())
    report = max(finished.root.glob("data/08_reporting/tiny/report.md/*/report.md"))
    assert f"- Not finished, left out: {said}\n" in report.read_text()


def test_one_cell_runs_alone(finished):
    before = finished.stamps(f"{CELLS}/**/weights.safetensors")
    finished.run(env="tiny", namespaces=["sasrec.seed_0"])
    after = finished.stamps(f"{CELLS}/**/weights.safetensors")
    assert {path for path in after if after[path] != before[path]} == {f"{CELLS}/sasrec/seed_0/weights.safetensors"}


def test_a_run_killed_while_training_ends_with_the_same_bits(make_tiny, tiny_study, stages):
    project = make_tiny()
    command = ("run", "--env=tiny", f"--pipelines={','.join(stages)}")
    process = project.command(*command)
    checkpoint = project.root / "data" / CELLS / "diffurec/seed_0/checkpoint.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not checkpoint.with_name("weights.safetensors").exists()
    finished_cells = project.stamps(f"{CELLS}/*/*/weights.safetensors")

    printed = project.output(*command, "--only-missing-outputs")

    assert "Continuing after epoch" in printed
    unbroken = tiny_study.root / "data" / CELLS
    weights = sorted(path.relative_to(unbroken) for path in unbroken.glob("**/*.safetensors"))
    assert len(weights) == 4
    for path in weights:
        assert (project.root / "data" / CELLS / path).read_bytes() == (unbroken / path).read_bytes(), path
    now = project.stamps(f"{CELLS}/*/*/weights.safetensors")
    assert {path: now[path] for path in finished_cells} == finished_cells
    assert not list(project.root.glob("data/06_models/**/checkpoint.pt"))
    assert not list(project.root.glob("data/**/*.tmp"))
