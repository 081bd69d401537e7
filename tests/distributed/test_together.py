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
from diffurecsys.models.weights import RankerWeights
from diffurecsys.remote import describe_cell, read_cell, run_cell
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.training.cell_files import cell_folder, load_cell_files
from diffurecsys.training.fit import fit_cell, rank_cell

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "src"
HOW = TrainingConfig(epochs=12, batch_size=32, patience=None, validate_every=4, device="cpu")
WITHOUT_DRAWS = SASRecConfig(width=16, blocks=1, dropout=0.0, max_length=8, loss="cross_entropy")
NOISY = DiffuRecConfig(width=16, blocks=1, heads=2, diffusion_steps=4, max_length=8)
DRAWS = Cell(
    RankerSpec("diffurec", "diffurec", "model", NOISY, dataclasses.replace(HOW, average=0.9), "training_and_validation")
)
SASREC = Cell(
    RankerSpec("sasrec", "sasrec", "baseline", WITHOUT_DRAWS, dataclasses.replace(HOW, scheme="window", epochs=20))
)
COUNTS = Cell(RankerSpec("transitions", "transitions", "baseline", TransitionsConfig(), TrainingConfig()))
CELLS = (DRAWS, SASREC, COUNTS)


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


def wait_for(checkpoint: Path, process) -> list[int]:
    """Wait until a checkpoint is there; return the workers."""
    deadline, found = time.monotonic() + 600, []
    while not checkpoint.exists():
        found = found if len(found) == 2 else workers(process)
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 600 s"
        time.sleep(0.005)
    return found


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
    checkpoint = cell_folder(out, DRAWS) / "checkpoint.pt"
    try:
        ranked = wait_for(checkpoint, process)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    os.kill(ranked[1], signal.SIGKILL)
    printed = finish(process)
    assert process.returncode != 0
    return out, printed


def files(out, cell, data):
    return load_cell_files(cell_folder(out, cell), data)


def losses(cell) -> list[float]:
    return [epoch.loss for epoch in cell.history]


def test_all_cells_are_fitted_and_one_process_writes(unbroken, inputs):
    for cell in CELLS:
        names = {path.name for path in cell_folder(unbroken, cell).iterdir()}
        assert names == {"record.json", "history.json", "weights.pt", "validation_ranks.npz", "test_ranks.npz"}
        assert files(unbroken, cell, inputs[1]).record["processes"] == 2


def test_ranks_are_those_that_one_process_finds_with_the_same_weights(unbroken, inputs):
    for cell in CELLS:
        found, data = files(unbroken, cell, inputs[1]), inputs[1]
        weights = RankerWeights(cell.spec.family, 30, cell.spec.network, found.state, "", data.fingerprint, 8)
        alone = rank_cell(weights, data, seed=0, device="cpu")
        for part, ranks in found.ranks.items():
            if part == "validation" and cell is DRAWS:  # validation targets are ranked with what was not kept
                continue
            for name in ("greater", "tied", "greater_unseen", "tied_unseen"):
                assert np.array_equal(getattr(ranks, name), getattr(alone[part], name)), (cell.namespace, part, name)


def test_one_process_learns_the_same_where_nothing_is_drawn(unbroken, inputs, tmp_path):
    run_cell(describe_cell(SASREC), inputs[0] / "split.npz", tmp_path, device="cpu", weights=True)
    together, alone = (files(out, SASREC, inputs[1]) for out in (unbroken, tmp_path))
    assert np.allclose(losses(together), losses(alone), atol=1e-4, rtol=0)
    assert "processes" not in alone.record


def test_a_killed_process_ends_the_job_and_the_message_says_how_to_go_on(killed):
    out, printed = killed
    checkpoint = cell_folder(out, DRAWS) / "checkpoint.pt"
    assert (
        "LostProcessError: another process of this training has ended, or all were told to. "
        f"{checkpoint} keeps what was learnt: repeat the command, with as many processes or with another number"
    ) in printed, printed
    assert not (checkpoint.parent / "record.json").exists()


@pytest.fixture(scope="module")
def continued(killed, inputs, tmp_path_factory):
    """Two processes go on: with the killed cell, and with one that a single process began."""
    out = tmp_path_factory.mktemp("continued") / "out"
    shutil.copytree(killed[0], out)

    def end(record) -> None:
        if record.epoch == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_cell(SASREC, inputs[1], checkpoint_path=cell_folder(out, SASREC) / "checkpoint.pt", on_epoch=end)
    process = start(inputs, out)
    printed = finish(process)
    assert process.returncode == 0, printed
    return out


def test_as_many_processes_continue_to_the_same_bits(continued, unbroken, inputs):
    again, whole = (files(place, DRAWS, inputs[1]) for place in (continued, unbroken))
    assert again.record["resumed_from"] >= 1
    assert again.state.keys() == whole.state.keys()
    assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state)
    assert losses(again) == losses(whole)


def test_two_processes_continue_what_one_began(continued, unbroken, inputs):
    more, whole = (files(place, SASREC, inputs[1]) for place in (continued, unbroken))
    assert (more.record["resumed_from"], len(more.history)) == (7, 20)
    assert np.allclose(losses(more), losses(whole), atol=1e-4, rtol=0)


def test_one_process_continues_what_two_began(killed, unbroken, inputs, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(killed[0], out)
    run_cell(describe_cell(DRAWS), inputs[0] / "split.npz", out, device="cpu", weights=True)
    fewer, whole = (files(place, DRAWS, inputs[1]) for place in (out, unbroken))
    before = fewer.record["resumed_from"]
    assert 1 <= before < len(whole.history) == len(fewer.history)
    assert losses(fewer)[:before] == losses(whole)[:before]
    assert losses(fewer)[before:] != losses(whole)[before:]  # other draws


def test_what_the_list_says_is_read_back():
    assert [read_cell(describe_cell(cell)) for cell in CELLS] == list(CELLS)
