"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small, in several processes: more threads only wait

CHECKOUT = Path(__file__).resolve().parents[1]
BESIDE_CHECKOUT = CHECKOUT.parent / "shared"

TINY_GLOBALS = """
experiment: tiny
dataset: sample
width: 16
blocks: 1
heads: 2
epochs: 3
batch_size: 512
learning_rate: 0.01
"""
TINY_PARAMETERS = """
threads: 1
preprocessing: {max_length: 10}
study:
  rankers: [popularity, transitions, sasrec, diffurec]
  n_seeds: 1
  sweeps: {delta: {n_seeds: 0}}
models:
  sasrec:
    network: {width: 16, blocks: 1, max_length: 10}
    training: {epochs: 2, learning_rate: 0.005}
significance: {n_resamples: 100}
probes: {rankers: []}
maps: {rankers: []}
"""


def _folder_or_skip(folder: Path, content: str) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{content} not present beside the checkout ({folder})")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real RecSysDatasets archives under their own names."""
    return _folder_or_skip(BESIDE_CHECKOUT / "data" / "recsysdatasets", "real archives")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Folder with reference tensors of the published code."""
    return _folder_or_skip(BESIDE_CHECKOUT / "golden", "reference tensors")


@dataclass(frozen=True)
class Project:
    """A copy of the project's configuration with data layers of its own, run by the installed code."""

    root: Path

    def session(self, env: str | None = None, params: dict[str, Any] | None = None):
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project

        bootstrap_project(self.root)
        return KedroSession.create(project_path=self.root, env=env, runtime_params=params)

    def add_experiment(self, name: str, **files: str) -> None:
        """Write an experiment's configuration files."""
        folder = self.root / "conf" / name
        folder.mkdir()
        for file, content in files.items():
            (folder / f"{file}.yml").write_text(content)

    def run(self, *pipelines: str, env: str | None = None, params: dict | None = None, **how: Any):
        with self.session(env, params) as session:
            return session.run(pipeline_names=list(pipelines or ("train_eval",)), **how)

    def catalog(self, env: str | None = None, params: dict | None = None):
        with self.session(env, params) as session:
            return session.load_context().catalog

    def python(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start Python with `arguments` in the project's folder."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env={**os.environ, "COLUMNS": "200", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be killed with all that it started
        )

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `kedro` with `arguments` in the project's folder."""
        return self.python("-m", "kedro", *arguments, environment=environment)

    def output(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run `kedro` with `arguments` to its end and return what it printed."""
        return self.finish(self.command(*arguments, environment=environment))

    @staticmethod
    def finish(process: subprocess.Popen[str], *, fails: bool = False) -> str:
        """Wait for a process that must succeed, or must not, and return what it printed."""
        try:
            printed, _ = process.communicate()
        except BaseException:  # the test's time is over, or somebody interrupts
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert (process.returncode != 0) == fails, printed
        return printed

    def read(self, pattern: str) -> pd.DataFrame:
        """Read the newest table of this name under `data`."""
        path = max(self.root.glob(f"data/{pattern}"))
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)

    def stamps(self, *patterns: str) -> dict[str, int]:
        """Return when the files under `data` were last written; those with a dot, seals and locks, are left out."""
        found = [path for pattern in patterns for path in self.root.glob(f"data/{pattern}") if path.is_file()]
        paths = [path for path in found if not path.name.startswith(".")]
        return {str(path.relative_to(self.root / "data")): path.stat().st_mtime_ns for path in paths}


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Factory of fresh projects."""

    def make() -> Project:
        root = tmp_path_factory.mktemp("project")
        shutil.copytree(CHECKOUT / "conf", root / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(CHECKOUT / name, root / name)
        (root / "src").mkdir()
        return Project(root)

    return make


@pytest.fixture(scope="session")
def make_tiny(make_project: Callable[[], Project]) -> Callable[[], Project]:
    """Factory of projects with the experiment `tiny`: the sample with the smallest rankers, seconds a run."""

    def make() -> Project:
        project = make_project()
        project.add_experiment("tiny", globals=TINY_GLOBALS, parameters=TINY_PARAMETERS)
        return project

    return make


def _seed() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _seeded_module() -> None:
    """What a module's fixtures draw from PyTorch's global stream is the same in every run."""
    _seed()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws from PyTorch's global stream is the same in every run."""
    _seed()


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    """A fresh project."""
    return make_project()
