"""Two processes and one: the same losses, the same weights, the same ranks, for every family that there is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"


def _module():
    spec = importlib.util.spec_from_file_location("pair", HERE / "pair.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAIR = _module()
CASES = PAIR.contract().cases()
TRAINED = PAIR.trained(CASES)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return PAIR.everything(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def pair(out):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(HERE / "pair.py"), str(out)], check=True, env=environment)
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


def test_epochs_end_with_a_batch_of_fewer_examples_than_processes():
    data = PAIR.contract().make_data()
    assert {PAIR.with_a_single_last_example(data, scheme) > 2 for scheme in ("prefix", "window")} == {True}


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_curve_is_that_of_one_process(name, alone, pair):
    expected = torch.tensor(alone[name]["losses"])
    assert len(expected) == 50
    for process in pair:
        torch.testing.assert_close(torch.tensor(process[name]["losses"]), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_have_the_length_that_they_have_in_one_process(name, alone, pair):
    expected = torch.tensor(alone[name]["norms"])
    assert len(expected) == 50
    torch.testing.assert_close(torch.tensor(pair[0][name]["norms"]), expected, atol=1e-4, rtol=1e-3)


def test_the_first_process_alone_writes_checkpoints(out, pair):
    assert sorted(path.stem for path in (out / "process_0").iterdir()) == TRAINED
    assert not (out / "process_1").exists()


@pytest.mark.parametrize("name", TRAINED)
def test_both_processes_have_the_same_weights(name, pair):
    one, other = (process[name]["weights"] for process in pair)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[part], other[part]) for part in one)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_ranks_are_those_of_one_process(name, alone, pair):
    for process in pair:
        assert all(torch.equal(a, b) for a, b in zip(process[name]["ranks"], alone[name]["ranks"], strict=True))
