"""What needs PyTorch and NumPy alone: machines with a GPU often have nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).parents[2]
ABSENT = (
    "kedro",
    "kedro_mlflow",
    "mlflow",
    "pandas",
    "pyarrow",
    "safetensors",
    "scipy",
    "sklearn",
    "statsmodels",
    "ibis",
)
CORE = (
    "diffurecsys.data.packing",
    "diffurecsys.data.store",
    "diffurecsys.diffusion",
    "diffurecsys.evaluation.ranks",
    "diffurecsys.models",
    "diffurecsys.serving.top_items",
    "diffurecsys.training",
)
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))"  # None there makes an import fail


@pytest.fixture
def environment(tmp_path):
    """Environment of a Python that has PyTorch and NumPy alone, and the project's source."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(PROJECT / "src")])}


def run(environment, *arguments):
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("module", CORE)
def test_core_imports_with_torch_and_numpy_alone(environment, module):
    run(environment, "-c", f"import {module}")


def test_libraries_are_really_absent(environment):
    with pytest.raises(AssertionError, match="pandas"):
        run(environment, "-c", "import pandas")


def test_gpu_check_runs_whole_on_the_cpu(environment, tmp_path):
    lengths = np.random.default_rng(0).integers(5, 30, 100)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.random.default_rng(1).integers(0, 50, offsets[-1]).astype(np.int32)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data/made_up.npz", items=items, offsets=offsets, n_items=50)
    out = tmp_path / "out.json"
    script = str(PROJECT / "benchmarks/gpu_check.py")

    run(environment, script, "check", "--small", "--device=cpu", f"--data={tmp_path / 'data'}", f"--out={out}")

    result = json.loads(out.read_text())
    failed = {part: found["failed"] for part, found in result.items() if isinstance(found, dict) and "failed" in found}
    assert not failed
    differences = result["difference_from_the_host"]
    assert max(value for part, value in differences.items() if "float32" in part) == 0
    assert max(value for part, value in differences.items() if "bfloat16" in part) < 0.05
    assert all(found["milliseconds_per_step"] > 0 for found in result["training"].values())
