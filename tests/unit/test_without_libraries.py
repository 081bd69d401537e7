"""What needs PyTorch and NumPy alone: machines with a GPU often have nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffurecsys.data.split import StudyData, leave_one_out, save_split
from diffurecsys.data.store import SequenceStore

PROJECT = Path(__file__).parents[2]
ABSENT = (
    "duckdb",
    "filelock",
    "ibis",
    "jinja2",
    "kedro",
    "kedro_datasets",
    "kedro_mlflow",
    "matplotlib",
    "mlflow",
    "omegaconf",
    "openTSNE",
    "pandas",
    "plotly",
    "pyarrow",
    "pydantic",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "statsmodels",
    "optuna",
    "yaml",
)
CORE = (
    "diffurecsys.data.packing",
    "diffurecsys.data.schemes",
    "diffurecsys.data.split",
    "diffurecsys.diffusion",
    "diffurecsys.evaluation.metrics",
    "diffurecsys.evaluation.ranks",
    "diffurecsys.models",
    "diffurecsys.models.registry",
    "diffurecsys.models.weights",
    "diffurecsys.remote",
    "diffurecsys.serving.recommender",
    "diffurecsys.study",
    "diffurecsys.training",
    "diffurecsys.training.fit",
    "diffurecsys.tuning.trial",
)
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))"  # None there makes an import fail


@pytest.fixture
def environment(tmp_path):
    """Environment of a Python that has PyTorch and NumPy alone, and the project's source."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(PROJECT / "src")])}


def run(environment, *arguments):
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    return done


def test_the_core_and_all_families_import_with_torch_and_numpy_alone(environment):
    imports = "; ".join(f"import {module}" for module in CORE)  # in one process: PyTorch alone takes seconds
    done = run(environment, "-c", f"{imports}; print(*diffurecsys.models.registry.families())")
    files = {path.stem for path in (PROJECT / "src/diffurecsys/models/families").glob("*.py")} - {"__init__"}
    assert set(done.stdout.split()) >= files


def test_libraries_are_really_absent(environment):
    with pytest.raises(AssertionError, match="pandas"):
        run(environment, "-c", "import pandas")


UNIT_ROUNDOFF = 2**-8  # of bfloat16: 8 bits of a number are kept
LONGEST = 100  # the longest history that gpu_check attends over
N_TOKENS = 243  # and the items that its loss ranks
SMALL_BLOCKS = 2  # of its small networks

# How far the same computation in bfloat16, from the same inputs, may be from float32, relative to the result's size.
# One rounding moves a result by UNIT_ROUNDOFF of its size at most, and several add up at worst. A sum over n terms that
# is kept in bfloat16 as it grows moves by about sqrt(n) times that, since its roundings have either sign. Roundings one
# after another, and the longest sum:
# - attention: scores, weights, output, and back: output, weights, scores (two), query or key; over a history. What is
#   rounded off the scores, below 6 here, their exponentials multiply by the scores' size.
# - loss: scores, the gradient's probabilities and their products with items; over all items.
# - a network: some 10 a block (norm, map, scores, weights, output, map; norm, map, GELU, map), as many back, and
#   embedding, norms and loss at the ends; norms keep sizes near one, and its sums are products' own, kept in float32.
ALLOWED = {
    "attention": UNIT_ROUNDOFF * (8 + 6 + LONGEST**0.5),
    "loss": UNIT_ROUNDOFF * (3 + N_TOKENS**0.5),
    "network": UNIT_ROUNDOFF * (2 * 10 * SMALL_BLOCKS + 6),
}


def test_gpu_check_runs_whole_on_the_cpu(environment, tmp_path):
    lengths = np.random.default_rng(0).integers(5, 30, 100)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.random.default_rng(1).integers(0, 50, offsets[-1]).astype(np.int32)
    store = SequenceStore(torch.from_numpy(items), torch.from_numpy(offsets), 50)
    save_split(StudyData(store, leave_one_out(store, max_length=20)), tmp_path / "data" / "made_up.npz")
    out = tmp_path / "out.json"
    script = str(PROJECT / "benchmarks/gpu_check.py")

    run(environment, script, "check", "--small", "--device=cpu", f"--data={tmp_path / 'data'}", f"--out={out}")

    result = json.loads(out.read_text())
    failed = {part: found["failed"] for part, found in result.items() if isinstance(found, dict) and "failed" in found}
    assert not failed
    for part, difference in result["difference_from_the_host"].items():
        what, precision = part.partition(",")[0].split()
        if precision == "float32":
            assert difference == 0  # the host itself
        else:
            assert 0 < difference < ALLOWED.get(what, ALLOWED["network"]), part
    assert all(found["milliseconds_per_step"] > 0 for found in result["training"].values())
