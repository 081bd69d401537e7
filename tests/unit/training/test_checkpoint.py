"""Checkpoints are whole, of this very run, or not used."""

from __future__ import annotations

import logging
from collections import OrderedDict

import numpy as np
import pytest
import torch

from diffurecsys.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint


def make_state():
    generator = torch.Generator().manual_seed(0)
    return {
        "model": OrderedDict(weight=torch.randn(5, 4, generator=generator), steps=torch.tensor(3)),
        "optimiser": {"state": {0: {"exp_avg": torch.randn(5, 4, generator=generator)}}, "betas": (0.9, 0.999)},
        "history": [{"epoch": 1, "loss": 0.1 + 0.2, "validation": None}],
        "best_metric": float("-inf"),
        "shuffle": generator.get_state(),
    }


def test_a_state_comes_back(tmp_path):
    save_checkpoint(tmp_path / "deep" / "run.pt", make_state(), "run")
    loaded = load_checkpoint(tmp_path / "deep" / "run.pt", "run")
    assert fingerprint(loaded) == fingerprint(make_state())
    assert loaded["history"] == make_state()["history"]


def test_no_file_is_no_checkpoint_and_no_warning(tmp_path, caplog):
    assert load_checkpoint(tmp_path / "run.pt", "run") is None
    assert not caplog.records


def test_of_another_run_it_is_not_used(tmp_path, caplog):
    save_checkpoint(tmp_path / "run.pt", make_state(), "run")
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path / "run.pt", "another") is None
    assert "belongs to other settings, data or seed: training starts afresh" in caplog.text


def test_a_changed_number_is_noticed(tmp_path, caplog):
    path = tmp_path / "run.pt"
    save_checkpoint(path, make_state(), "run")
    saved = torch.load(path, weights_only=True)
    saved["state"]["model"]["weight"][2, 1] += 1e-7
    torch.save(saved, path)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path, "run") is None
    assert f"Checkpoint {path} is damaged" in caplog.text


def test_a_checkpoint_without_digest_is_not_used(tmp_path, caplog):
    torch.save({"fingerprint": "run", "state": make_state()}, tmp_path / "run.pt")
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path / "run.pt", "run") is None
    assert "cannot be read" in caplog.text


def test_a_flipped_bit_anywhere_costs_the_checkpoint_or_nothing(tmp_path, caplog):
    path, expected = tmp_path / "run.pt", fingerprint(make_state())
    save_checkpoint(path, make_state(), "run")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    # storages stand behind one another near the end of the file, their numbers make up a part of it alone
    numbers = whole.index(make_state()["model"]["weight"].numpy().tobytes())
    in_numbers = numbers + rng.integers(0, 5 * 4 * 4, 30)
    refused = []
    for position in [*rng.choice(len(whole), 200, replace=False), *in_numbers]:
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ 1 << int(rng.integers(8))]) + whole[position + 1 :]
        )
        caplog.clear()
        loaded = load_checkpoint(path, "run")
        if loaded is None:
            assert str(path) in caplog.text
            refused.append(position)
        else:
            assert fingerprint(loaded) == expected
    assert set(refused) >= set(in_numbers)


@pytest.mark.parametrize("length", [0, 1, 100, -100, -1])
def test_a_cut_file_is_not_used(length, tmp_path, caplog):
    path = tmp_path / "run.pt"
    save_checkpoint(path, make_state(), "run")
    path.write_bytes(path.read_bytes()[:length])
    assert load_checkpoint(path, "run") is None
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2).int()},
        {"b": torch.zeros(3, 2)},
        {"a": [torch.zeros(3, 2)]},
        {"a": torch.zeros(3, 2), "b": None},
        {"a": -torch.zeros(3, 2)},
    ],
)
def test_fingerprints_tell_nested_things_apart(other):
    assert fingerprint(other) != fingerprint({"a": torch.zeros(3, 2)})
    assert fingerprint([1, 2], 3) != fingerprint([1], [2, 3])
