"""From a cell to weights and ranks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models import Capabilities, CountRanker, Family, RankerConfig, registry
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.training.device import resolve_precision
from diffurecsys.training.fit import fit_cell, rank_cell

STORE = SequenceStore.from_lists([[(u + step) % 20 for step in range(4 + u % 5)] for u in range(30)], n_items=20)
DATA = StudyData(STORE, leave_one_out(STORE, max_length=10))
SPEC = RankerSpec(
    "small",
    "diffurec",
    "model",
    DiffuRecConfig(width=8, blocks=1, heads=2, diffusion_steps=8),
    TrainingConfig(epochs=2, batch_size=32, device="cpu"),
)


class Counting(CountRanker):
    def observe(self, data):
        self.register_buffer("popularity", data.popularity.float())

    def calibrate(self, data, generator):
        assert not self.training
        self.register_buffer("weight", torch.tensor(0.5))
        return {"weight": 0.5}

    def score(self, batch, generator, steps=None):
        return (self.weight * self.popularity).repeat(len(batch), 1)


@dataclasses.dataclass(frozen=True)
class CountingConfig(RankerConfig):
    @property
    def capabilities(self):
        return Capabilities(trains=False)


@pytest.fixture
def counting(monkeypatch):
    """A spec of a ranker that counts and calibrates."""
    known = {**registry.families(), "counting": Family("counting", CountingConfig, Counting, version=3)}
    monkeypatch.setattr(registry, "families", lambda: known)
    return RankerSpec("counts", "counting", "baseline", CountingConfig(), TrainingConfig())


def test_a_trained_cell_says_all_that_is_worth_telling():
    fitted = fit_cell(Cell(SPEC, 1), DATA)
    record = fitted.record
    assert json.loads(json.dumps(record)) == record
    assert (record["ranker"], record["seed"], record["family"], record["device"]) == ("small", 1, "diffurec", "cpu")
    assert record["identity"] == fitted.weights.identity == Cell(SPEC, 1).identity(DATA.fingerprint)
    assert record["data"] == fitted.weights.data == DATA.fingerprint
    assert record["parameters"] == sum(value.numel() for value in fitted.weights.state.values())
    assert (record["epochs"], record["epochs_planned"], record["resumed_from"]) == (2, 2, 0)
    assert record["loss"] == fitted.history[record["best_epoch"] - 1].loss
    assert record["network"]["width"] == 8
    assert record["training"]["batch_size"] == 32
    assert fitted.weights.max_length == 10
    assert record["users_per_second"] > 0
    assert record["peak_memory"] is None or record["peak_memory"] > 2**20
    trained = sum(epoch.cpu_seconds for epoch in fitted.history)
    assert 0 < trained <= record["cpu_seconds"]
    assert record["precision"] == resolve_precision(torch.device("cpu"), SPEC.training.precision)


def test_the_same_cell_gives_the_same_bits_and_another_seed_others():
    one, again, other = (fit_cell(Cell(SPEC, seed), DATA).weights.state for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])


def test_a_counting_cell_observes_and_calibrates(counting):
    fitted = fit_cell(Cell(counting), DATA)
    assert fitted.history == ()
    assert fitted.record["calibrated"] == {"weight": 0.5}
    assert (fitted.record["training"], fitted.record["parameters"], fitted.record["version"]) == (None, 0, 3)
    assert torch.equal(fitted.weights.state["popularity"], DATA.popularity.float())
    ranks = rank_cell(fitted.weights, DATA, seed=0)
    order = DATA.popularity[ranks["test"].target]
    assert ranks["test"].greater.tolist() == [int((DATA.popularity > count).sum()) for count in order]


def test_both_parts_are_ranked_by_whom_they_ask():
    ranks = rank_cell(fit_cell(Cell(SPEC), DATA).weights, DATA, seed=0, batch_size=7)
    for part, examples in (("validation", DATA.split.validation), ("test", DATA.split.test)):
        assert np.array_equal(ranks[part].target, STORE.items[examples.end].numpy())
        assert np.array_equal(ranks[part].user, np.arange(30))


def test_weights_of_other_data_are_not_ranked():
    weights = fit_cell(Cell(SPEC), DATA).weights
    other = StudyData(STORE, leave_one_out(STORE, max_length=3))
    with pytest.raises(DataError, match=r"other sequences or another split.*Train again"):
        rank_cell(weights, other, seed=0)
