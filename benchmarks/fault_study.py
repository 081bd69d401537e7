"""A study small enough to be interrupted hundreds of times: a project of its own, runs in forked processes, digests."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import traceback
from pathlib import Path

import pandas as pd

from common import PROJECT

EXPERIMENT = "small"
STAGES = ("ingestion", "preprocessing", "cells", "study", "significance", "groups", "reporting")
GLOBALS = f"""
experiment: {EXPERIMENT}
dataset: sample
width: 8
blocks: 1
heads: 2
epochs: 2
batch_size: 1024
learning_rate: 0.01
"""
PARAMETERS = """
threads: 1
preprocessing: {max_length: 5}
study:
  rankers: [popularity, transitions, sasrec, diffurec]
  n_seeds: 1
  sweeps: {delta: {n_seeds: 0}}
models:
  sasrec:
    network: {width: 8, blocks: 1, max_length: 5}
    training: {epochs: 2}
significance: {n_resamples: 100}
probes: {rankers: []}
maps: {rankers: []}
"""
TIMES = ("seconds", "labels_per_second", "users_per_second", "peak_mebibytes")
ABOUT_TIMES = ("report.tex", "training_times.csv")


def make_project(root: Path) -> Path:
    """Copy the configuration to `root` and add the experiment."""
    shutil.copytree(PROJECT / "conf", root / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, root / name)
    (root / "src").mkdir()
    folder = root / "conf" / EXPERIMENT
    folder.mkdir()
    (folder / "globals.yml").write_text(GLOBALS, encoding="utf-8")
    (folder / "parameters.yml").write_text(PARAMETERS, encoding="utf-8")
    return root


def start_run(root: Path, log: Path, stages: tuple[str, ...] = STAGES) -> multiprocessing.process.BaseProcess:
    """Start a run in a forked process: what is imported already need not be imported again for every kill."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(root, log, stages))
    process.start()
    return process


def _run(root: Path, log: Path, stages: tuple[str, ...]) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(root)
    try:
        with KedroSession.create(project_path=root, env=EXPERIMENT) as session:
            session.run(pipeline_names=list(stages), only_missing_outputs=True)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def import_all() -> None:
    """Import what a run needs, once."""
    import diffurecsys.tracking.hooks  # noqa: F401


def artefacts(root: Path) -> dict[str, str]:
    """Digest every result of a finished study that does not tell the time."""
    data, found = root / "data", {}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(data).parts):
            continue
        parts = [part for part in name.split("/") if not part.startswith("20")]  # a version
        if path.name in ABOUT_TIMES:
            continue
        if path.suffix in (".parquet", ".csv"):
            table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
            table = table.drop(columns=[column for column in TIMES if column in table.columns])
            found["/".join(parts)] = hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
        elif path.suffix in (".safetensors", ".npz", ".zip"):
            found["/".join(parts)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return {name: digest for name, digest in found.items() if "study/cells" not in name and "leaderboard" not in name}


def leftovers(root: Path) -> list[str]:
    """Name half-written files and checkpoints."""
    found = [*root.glob("data/**/.*.tmp"), *root.glob("data/**/checkpoint.pt")]
    return [str(path.relative_to(root)) for path in found]
