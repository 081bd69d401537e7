"""Cells fitted by several processes under torchrun: killed, continued by as many and by another number."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from diffurecsys.data.split import StudyData, leave_one_out, save_split
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.families.transitions import TransitionsConfig
from diffurecsys.remote import describe_cell, read_cell, run_cell
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.training.cell_files import cell_folder, load_cell_files

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "src"
HOW = TrainingConfig(epochs=25, batch_size=16, patience=None, validate_every=5, device="cpu")
WITHOUT_DRAWS = SASRecConfig(width=16, blocks=1, dropout=0.0, max_length=8, loss="cross_entropy")
NOISY = DiffuRecConfig(width=16, blocks=1, heads=2, diffusion_steps=4, max_length=8)
CELLS = (
    Cell(RankerSpec("sasrec", "sasrec", "baseline", WITHOUT_DRAWS, dataclasses.replace(HOW, scheme="window"))),
    Cell(RankerSpec("diffurec", "diffurec", "model", NOISY, dataclasses.replace(HOW, epochs=4, average=0.9))),
    Cell(RankerSpec("transitions", "transitions", "baseline", TransitionsConfig(), TrainingConfig())),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The split and the list of cells; and the data."""
    folder = tmp_path_factory.mktemp("inputs")
    store = SequenceStore.from_lists([[(3 * u + step) % 30 for step in range(4 + u % 7)] for u in range(97)], 30)
    data = StudyData(store, leave_one_out(store, max_length=8))
    save_split(data, folder / "split.npz")
    (folder / "cells.json").write_text(json.dumps([describe_cell(cell) for cell in CELLS]))
    return folder, data


def start(inputs, out, *options: str, processes: int = 2) -> subprocess.Popen[str]:
    """Start the command that users start."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    paths = [str(inputs[0] / "split.npz"), str(inputs[0] / "cells.json"), str(out)]
    return subprocess.Popen(
        [sys.executable, *command, "-m", "diffurecsys.remote", *paths, "--device", "cpu", "--weights", *options],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process) -> str:
    try:
        printed, _ = process.communicate(timeout=600)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return printed


def workers(process) -> list[int]:
    """Processes that torchrun started, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, environment = (folder / "stat").read_text(), (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if int(status.rpartition(")")[2].split()[1]) == process.pid:
            ranks = [int(value[5:]) for value in environment if value.startswith(b"RANK=")]
            found |= dict.fromkeys(ranks, int(folder.name))
    return [found[rank] for rank in sorted(found)]


@pytest.fixture(scope="module")
def unbroken(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    process = start(inputs, out)
    printed = finish(process)
    assert process.returncode == 0, printed
    return out


@pytest.fixture(scope="module")
def killed(inputs, tmp_path_factory):
    """What is left after the second process was killed, and what was printed."""
    out = tmp_path_factory.mktemp("killed")
    process = start(inputs, out)
    checkpoint = cell_folder(out, CELLS[0]) / "checkpoint.pt"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 300 s"
        time.sleep(0.005)
    os.kill(workers(process)[1], signal.SIGKILL)
    printed = finish(process)
    assert process.returncode != 0
    return out, printed


def files(out, cell, data):
    return load_cell_files(cell_folder(out, cell), data)


def test_all_cells_are_fitted_and_one_process_writes(unbroken, inputs):
    for cell in CELLS:
        names = {path.name for path in cell_folder(unbroken, cell).iterdir()}
        assert names == {"record.json", "history.json", "weights.pt", "validation_ranks.npz", "test_ranks.npz"}
        assert files(unbroken, cell, inputs[1]).record["processes"] == 2


def test_ranks_are_those_that_one_process_finds_with_the_same_weights(unbroken, inputs):
    from diffurecsys.models.weights import RankerWeights
    from diffurecsys.training.fit import rank_cell

    for cell in CELLS:
        found, data = files(unbroken, cell, inputs[1]), inputs[1]
        weights = RankerWeights(cell.spec.family, 30, cell.spec.network, found.state, "", data.fingerprint, 8)
        alone = rank_cell(weights, data, seed=0, device="cpu")
        for part, ranks in found.ranks.items():
            for name in ("greater", "tied", "greater_unseen", "tied_unseen"):
                assert np.array_equal(getattr(ranks, name), getattr(alone[part], name)), (cell.namespace, part, name)


def test_one_process_learns_the_same_where_nothing_is_drawn(unbroken, inputs, tmp_path):
    run_cell(describe_cell(CELLS[0]), inputs[0] / "split.npz", tmp_path, device="cpu", weights=True)
    together, alone = (files(out, CELLS[0], inputs[1]) for out in (unbroken, tmp_path))
    assert np.allclose([e.loss for e in together.history], [e.loss for e in alone.history], atol=1e-4, rtol=0)
    assert "processes" not in alone.record


def test_a_killed_process_ends_the_job_and_the_message_says_how_to_go_on(killed):
    out, printed = killed
    checkpoint = cell_folder(out, CELLS[0]) / "checkpoint.pt"
    assert (
        f"LostProcessError: another process of this training has ended. {checkpoint} keeps what was learnt: "
        "repeat the command, with as many processes or with another number"
    ) in " ".join(printed.split()).replace("- ", "-")
    assert not (checkpoint.parent / "record.json").exists()


def test_as_many_processes_continue_to_the_same_bits(killed, unbroken, inputs, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(killed[0], out)
    process = start(inputs, out)
    printed = finish(process)
    assert process.returncode == 0, printed
    assert files(out, CELLS[0], inputs[1]).record["resumed_from"] >= 1
    for cell in CELLS:
        again, whole = (files(place, cell, inputs[1]) for place in (out, unbroken))
        assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state), cell.namespace
        assert [e.loss for e in again.history] == [e.loss for e in whole.history]


def test_another_number_of_processes_continues(killed, unbroken, inputs, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(killed[0], out)
    run_cell(describe_cell(CELLS[0]), inputs[0] / "split.npz", out, device="cpu", weights=True)
    fewer, whole = (files(place, CELLS[0], inputs[1]) for place in (out, unbroken))
    before = fewer.record["resumed_from"]
    assert 1 <= before < len(whole.history)
    losses = [[epoch.loss for epoch in cell.history] for cell in (fewer, whole)]
    assert losses[0][:before] == losses[1][:before]
    assert np.allclose(*losses, atol=1e-4, rtol=0)


def test_what_the_list_says_is_read_back():
    assert [read_cell(describe_cell(cell)) for cell in CELLS] == list(CELLS)
