"""A finished cell as files: whole or refused, and compared with what is asked for."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.families.hybrid import HybridConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.remote import describe_cell, read_cell, unfinished
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.training.cell_files import (
    cell_folder,
    differences,
    find_cell,
    load_cell_files,
    read_record,
    save_cell_files,
)
from diffurecsys.training.fit import fit_cell, rank_cell

STORE = SequenceStore.from_lists([[(u + step) % 20 for step in range(4 + u % 5)] for u in range(30)], n_items=20)
DATA = StudyData(STORE, leave_one_out(STORE, max_length=10))
SHORTER = StudyData(STORE, leave_one_out(STORE, max_length=3))
NETWORK = DiffuRecConfig(width=8, blocks=1, heads=2, diffusion_steps=8)
TRAINING = TrainingConfig(epochs=2, batch_size=32, device="cpu")
CELL = Cell(RankerSpec("small", "diffurec", "model", NETWORK, TRAINING), seed=3)


def changed(**changes):
    spec = CELL.spec
    for part in ("network", "training"):
        if part in changes:
            spec = dataclasses.replace(spec, **{part: dataclasses.replace(getattr(spec, part), **changes[part])})
    return Cell(spec, changes.get("seed", CELL.seed))


@pytest.fixture(scope="module")
def fitted():
    return fit_cell(CELL, DATA)


@pytest.fixture(scope="module")
def ranks(fitted):
    return rank_cell(fitted.weights, DATA, seed=CELL.seed, device="cpu")


@pytest.fixture
def folder(tmp_path, fitted, ranks):
    path = cell_folder(tmp_path, CELL)
    save_cell_files(path, fitted, ranks, weights=True)
    return path


def test_what_was_written_is_read(folder, fitted, ranks):
    found = load_cell_files(folder, DATA)
    sealed = {name: found.record[name] for name in ("weights_digest", "files", "digest")}
    assert found.record == json.loads(json.dumps({**fitted.record, **sealed}))
    assert found.history == fitted.history
    for part, expected in ranks.items():
        for field in dataclasses.fields(expected):
            values = getattr(found.ranks[part], field.name)
            assert values.dtype == np.int64
            assert (values == getattr(expected, field.name)).all(), field.name
    assert found.state.keys() == fitted.weights.state.keys()
    assert all(torch.equal(found.state[name], value) for name, value in fitted.weights.state.items())


def test_a_cell_that_is_written_again_leaves_nothing_of_the_old_one(folder, fitted, ranks):
    save_cell_files(folder, fitted, ranks, weights=False)
    found = load_cell_files(folder, DATA)
    assert found.state is None
    assert found.record["weights_digest"] is None


def test_a_cell_whose_writing_is_interrupted_is_no_finished_one(folder, fitted):
    class Broken(dict):
        def items(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_cell_files(folder, fitted, Broken(), weights=True)
    assert read_record(folder) is None


@pytest.mark.parametrize(
    "file", ["record.json", "history.json", "validation_ranks.npz", "test_ranks.npz", "weights.pt"]
)
def test_a_damaged_file_is_refused_and_its_folder_named(file, folder):
    path = folder / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"finished cell in {folder} cannot be used .*: remove the folder"):
        load_cell_files(folder, DATA)


@pytest.mark.parametrize("file", ["record.json", "history.json", "validation_ranks.npz", "test_ranks.npz"])
def test_a_changed_digit_is_noticed(file, folder):
    """History and record are text, in which another digit is as good as the one that was written."""
    path = folder / file
    content = bytearray(path.read_bytes())
    changed = [n for n, byte in enumerate(content) if chr(byte).isdigit()]
    content[changed[len(changed) // 2]] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"finished cell in {folder} cannot be used .*: remove the folder"):
        load_cell_files(folder, DATA)


@pytest.mark.parametrize("content", ["[]", "\xff\xfe", ""])
def test_a_record_that_is_none_is_refused(content, folder):
    (folder / "record.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"record\.json: .*remove the folder"):
        read_record(folder)


def test_where_there_is_no_cell_there_is_no_record(tmp_path):
    assert read_record(tmp_path) is None
    with pytest.raises(DataError, match="no finished cell"):
        load_cell_files(tmp_path, DATA)


def test_a_cell_of_other_data_is_refused(folder):
    with pytest.raises(DataError, match="other sequences or another split"):
        load_cell_files(folder, SHORTER)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (CELL, []),
        (changed(network={"width": 16}), ["network.width 8, here 16"]),
        (changed(training={"epochs": 3}), ["training.epochs 2, here 3"]),
        (changed(seed=4), ["seed 3, here 4"]),
        (changed(training={"device": "auto", "checkpoint_every": 5}), []),
    ],
)
def test_differences_are_said_in_words(cell, expected, folder):
    assert differences(read_record(folder), cell, DATA) == expected


def test_other_data_is_a_difference(folder):
    (found,) = differences(read_record(folder), CELL, SHORTER)
    assert found == f"data {DATA.fingerprint}, here {SHORTER.fingerprint}"


def test_an_option_newer_than_the_record_had_its_default(folder):
    record = read_record(folder)
    del record["network"]["offset_noise"]
    assert differences(record, CELL, DATA) == []
    assert differences(record, changed(network={"offset_noise": True}), DATA) == [
        "network.offset_noise False, here True"
    ]


@pytest.mark.parametrize("name", ["inner.input_scale", "transitions.window", "repeats", "inner"])
def test_so_had_one_of_a_network_inside(name):
    def cell(**changes):
        config = HybridConfig(inner=SASRecConfig(**changes))
        return Cell(RankerSpec("both", "hybrid", "model", config, TrainingConfig(scheme="window")))

    record = json.loads(json.dumps({**cell().description(), "seed": 0, "data": DATA.fingerprint}))
    *outer, last = name.split(".")
    del (record["network"][outer[0]] if outer else record["network"])[last]
    assert differences(record, cell(), DATA) == []
    assert differences(record, cell(input_scale=1.0), DATA) == ["network.inner.input_scale None, here 1.0"]


def test_a_rankers_parts_and_their_versions_count():
    cell = Cell(RankerSpec("both", "hybrid", "model", HybridConfig(), TrainingConfig(scheme="window")))
    record = json.loads(json.dumps({**cell.description(), "seed": 0, "data": DATA.fingerprint}))
    assert record["parts"]
    assert differences(record, cell, DATA) == []
    (name, version), *_ = record["parts"].items()
    record["parts"][name] = version + 1
    assert differences(record, cell, DATA) == [f"parts.{name} {version + 1}, here {version}"]


@pytest.mark.parametrize("cell", [CELL, Cell(RankerSpec("both", "hybrid", "control", HybridConfig(), TRAINING), 1)])
def test_a_cell_as_plain_values_is_the_same_cell(cell):
    assert read_cell(json.loads(json.dumps(describe_cell(cell)))) == cell


def test_cells_are_unfinished_until_they_have_files_of_their_settings(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    cells = [CELL, changed(seed=4)]
    assert unfinished(cells, DATA, tmp_path) == [1]
    wider = changed(network={"width": 16})
    assert unfinished([wider], DATA, tmp_path) == [0]
    assert f"{folder} is made again: it was made with network.width 8, here 16" in caplog.messages


def test_a_cell_of_another_experiment_is_found_where_it_is_the_very_same(tmp_path, fitted, ranks, caplog):
    mine, other, later = (tmp_path / name for name in ("mine", "b_other", "c_other"))
    assert find_cell(mine, CELL, DATA) is None
    for root in (later, other):
        save_cell_files(cell_folder(root, CELL), fitted, ranks, weights=False)
    assert find_cell(mine, CELL, DATA) == cell_folder(other, CELL)
    longer = changed(training={"epochs": 3})
    assert find_cell(mine, longer, DATA) is None
    assert not caplog.messages  # others' cells need not suit
    save_cell_files(cell_folder(mine, CELL), fitted, ranks, weights=False)
    assert find_cell(mine, CELL, DATA) == cell_folder(mine, CELL)
    assert find_cell(mine, longer, DATA) is None
    assert "is not used: it was made with training.epochs" in caplog.text
