"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
BESIDE_CHECKOUT = CHECKOUT.parent / "shared"


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

    def run(self, pipeline: str = "train_eval", *, env: str | None = None, params: dict | None = None, **how: Any):
        with self.session(env, params) as session:
            return session.run(pipeline_names=[pipeline], **how)

    def catalog(self, env: str | None = None, params: dict | None = None):
        with self.session(env, params) as session:
            return session.load_context().catalog

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `kedro` with `arguments` in the project's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.root,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self, *arguments: str) -> str:
        """Run `kedro` with `arguments` to its end and return what it printed."""
        process = self.command(*arguments)
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        return printed


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


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws from PyTorch's global stream is the same in every run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    """A fresh project."""
    return make_project()
