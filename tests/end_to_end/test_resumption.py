"""Studies that are interrupted, resumed, enlarged and repeated in part."""

from __future__ import annotations

import os
import signal
import time

import pytest
from safetensors.numpy import load_file

SMALL = {
    "study": {"models": ["diffurec", "diffurecsys"], "n_seeds": 1, "sweep": {"n_seeds": 0}},
    "training": {"epochs": 3, "patience": None},
    "significance": {"n_resamples": 200},
    "probes": {"users": 50, "ensemble_sizes": [1, 2], "reverse_steps": [1, 32]},
    "maps": {"users": 60, "sampled_users": 2, "samples": 10},
}
SMALL_ON_COMMAND_LINE = (
    "--params=study.n_seeds=1,study.sweep.n_seeds=0,training.epochs=4,training.patience=100,probes.users=50,"
    "maps.users=60,significance.n_resamples=200"
)


def _outputs(project, *names):
    catalog = project.catalog(params=SMALL)
    return {name: catalog.load(name) for name in names}


def _stamps(project, pattern):
    return {str(path.relative_to(project.root)): path.stat().st_mtime_ns for path in project.root.glob(pattern)}


@pytest.fixture
def finished(project):
    project.run(params=SMALL)
    return project


def test_a_finished_study_has_nothing_to_train(finished):
    before = _stamps(finished, "data/0[1-7]*/**/*.*")
    finished.run(params=SMALL, only_missing_outputs=True)
    assert _stamps(finished, "data/0[1-7]*/**/*.*") == before


def test_only_the_missing_cell_is_trained_again_and_the_leaderboard_follows(finished):
    cell = "data/06_models/sample/diffurec/seed_0"
    weights = load_file(finished.root / cell / "weights.safetensors")
    others = _stamps(finished, "data/06_models/sample/diffurecsys/**/*.*")
    ranks = _stamps(finished, "data/07_model_output/**/*ranks.parquet/*/*.parquet")
    leaderboards = _stamps(finished, "data/08_reporting/sample/leaderboard.csv/*/*")
    (finished.root / cell / "weights.safetensors").unlink()

    finished.run(params=SMALL, only_missing_outputs=True)

    again = load_file(finished.root / cell / "weights.safetensors")
    assert all((again[name] == tensor).all() for name, tensor in weights.items())
    assert _stamps(finished, "data/06_models/sample/diffurecsys/**/*.*") == others
    new_ranks = _stamps(finished, "data/07_model_output/**/*ranks.parquet/*/*.parquet").keys() - ranks.keys()
    assert len(new_ranks) == 3  # validation, test, probes
    assert all("/diffurec/" in path for path in new_ranks)
    assert len(_stamps(finished, "data/08_reporting/sample/leaderboard.csv/*/*")) == len(leaderboards) + 1


def test_a_larger_study_trains_only_the_new_cells_and_its_leaderboard_has_them(finished):
    larger = {**SMALL, "study": {**SMALL["study"], "n_seeds": 2}}
    before = _stamps(finished, "data/06_models/sample/*/seed_0/*.*")

    finished.run(params=larger, only_missing_outputs=True)

    assert _stamps(finished, "data/06_models/sample/*/seed_0/*.*") == before
    assert len(_stamps(finished, "data/06_models/sample/*/seed_1/weights.safetensors")) == 2


def test_one_cell_runs_alone(finished):
    before = _stamps(finished, "data/06_models/sample/**/weights.safetensors")
    finished.run(params=SMALL, namespaces=["diffurec.seed_0"])
    after = _stamps(finished, "data/06_models/sample/**/weights.safetensors")
    assert {path for path in after if after[path] != before[path]} == {
        "data/06_models/sample/diffurec/seed_0/weights.safetensors"
    }


def test_a_run_killed_while_training_ends_with_the_same_bits(project, make_project):
    unbroken = make_project()
    unbroken.output("run", SMALL_ON_COMMAND_LINE)

    process = project.command("run", SMALL_ON_COMMAND_LINE)
    checkpoint = project.root / "data/06_models/sample/diffurec/seed_0/checkpoint.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not checkpoint.with_name("weights.safetensors").exists()
    finished_cells = _stamps(project, "data/06_models/sample/*/*/weights.safetensors")

    printed = project.output("run", SMALL_ON_COMMAND_LINE, "--only-missing-outputs")

    assert "Continuing after epoch" in printed
    weights = sorted(path.relative_to(unbroken.root) for path in unbroken.root.glob("data/06_models/**/*.safetensors"))
    assert len(weights) == 3
    for path in weights:
        assert (project.root / path).read_bytes() == (unbroken.root / path).read_bytes(), path
    now = _stamps(project, "data/06_models/sample/*/*/weights.safetensors")
    assert {path: now[path] for path in finished_cells} == finished_cells
    assert not list(project.root.glob("data/06_models/**/checkpoint.pt"))
    assert not list(project.root.glob("data/**/*.tmp"))
