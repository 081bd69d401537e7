"""Learning once more from more events, and beginning from an earlier model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.split import StudyData, learning_from, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.errors import DataError
from diffurecsys.models import build_ranker
from diffurecsys.models.families.bert4rec import BERT4RecConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.weights import RankerWeights, load_weights, save_weights
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training import TrainingConfig
from diffurecsys.training.fit import fit_cell
from diffurecsys.training.refit import refit
from diffurecsys.training.warm_start import warm_start

LISTS = [[0, 1, 2, 3], [4, 5, 6], [1, 2, 3, 4, 5]]


def make_data(lists=LISTS, n_items=8) -> StudyData:
    store = SequenceStore.from_lists(lists, n_items)
    return StudyData(store, leave_one_out(store, max_length=5))


def learnt(data: StudyData) -> list[list[int]]:
    train = data.split.train
    return [data.store.items[a:b].tolist() for a, b in zip(train.start.tolist(), train.end.tolist(), strict=True)]


def test_what_is_learnt_from():
    data = make_data()
    assert learnt(learning_from(data, "training")) == [[0, 1], [4], [1, 2, 3]]
    assert learnt(learning_from(data, "training_and_validation")) == [[0, 1, 2], [4, 5], [1, 2, 3, 4]]
    assert learnt(learning_from(data, "everything")) == LISTS
    assert learning_from(data, "everything").split.test is data.split.test


NETWORK = SASRecConfig(width=8, blocks=1, max_length=5, dropout=0.0)
TRAINING = TrainingConfig(
    scheme="window", epochs=6, batch_size=2, learning_rate=0.01, lr_schedule="cosine", patience=None, device="cpu"
)


def cell(**training) -> Cell:
    return Cell(RankerSpec("sasrec", "sasrec", "model", NETWORK, dataclasses.replace(TRAINING, **training)))


def test_on_the_same_events_as_many_epochs_give_the_same_weights():
    data = make_data()
    fitted = fit_cell(cell(), data)
    epochs = fitted.record["best_epoch"]
    found = refit(cell(), fitted.weights, data, epochs=epochs)
    assert len(found.history) == epochs
    assert all(record.validation is None for record in found.history)
    assert all(torch.equal(found.state[name], value) for name, value in fitted.weights.state.items())


def test_the_schedule_is_the_one_that_was_validated():
    data = make_data()
    fitted = fit_cell(cell(), data)
    rates = [record.learning_rate for record in refit(cell(), fitted.weights, data, epochs=3).history]
    assert rates == [record.learning_rate for record in fitted.history[:3]]


def test_a_killed_refit_goes_on_and_ends_the_same(tmp_path):
    data, weights = make_data(), fit_cell(cell(), make_data()).weights
    whole = refit(cell(), weights, data, epochs=3)

    def die(step):
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refit(cell(), weights, data, epochs=3, checkpoint_path=tmp_path / "c.pt", on_step=die)
    resumed = refit(cell(), weights, data, epochs=3, checkpoint_path=tmp_path / "c.pt")
    assert all(torch.equal(whole.state[name], value) for name, value in resumed.state.items())


def test_without_a_number_of_epochs_nothing_is_trained():
    with pytest.raises(DataError, match=r"how many epochs sasrec\.seed_0 needs is not known"):
        refit(cell(), fit_cell(cell(), make_data()).weights, make_data(), epochs=None)


def test_both_states_survive_the_file(tmp_path):
    spec = dataclasses.replace(cell().spec, final_fit_on="training_and_validation")
    weights = fit_cell(Cell(spec), make_data()).weights
    save_weights(weights, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors")
    for part in ("state", "chosen"):
        assert getattr(loaded, part).keys() == getattr(weights, part).keys()
        assert all(torch.equal(getattr(loaded, part)[name], value) for name, value in getattr(weights, part).items())


def weights_of(family, config, n_items, seed=0) -> RankerWeights:
    ranker = build_ranker(family, config, n_items, torch.Generator().manual_seed(seed))
    return RankerWeights(family, n_items, config, ranker.state_dict(), "", "", 5)


def test_items_are_taken_over_by_identifier_and_new_ones_stay_as_drawn():
    earlier = weights_of("sasrec", NETWORK, 3)
    ranker = build_ranker("sasrec", NETWORK, 4, torch.Generator().manual_seed(1))
    drawn = ranker.state_dict()["embedding.weight"].clone()
    warm_start(earlier, ["b", "c", "d"], ["a", "b", "d", "e"])(ranker)
    old, new = earlier.state["embedding.weight"], ranker.state_dict()["embedding.weight"]
    assert torch.equal(new, torch.stack([drawn[0], old[0], old[2], drawn[3]]))
    for name, value in ranker.named_parameters():
        if name != "embedding.weight":
            assert torch.equal(value, earlier.state[name]), name


def test_rows_beyond_the_items_keep_their_meaning():
    config = BERT4RecConfig(width=8, blocks=1, heads=2, max_length=6)
    earlier = weights_of("bert4rec", config, 3)
    ranker = build_ranker("bert4rec", config, 5, torch.Generator().manual_seed(1))
    warm_start(earlier, ["b", "c", "d"], ["a", "b", "c", "d", "e"])(ranker)
    for name, value in ranker.named_parameters():
        old = earlier.state[name]
        if old.shape == value.shape:
            assert torch.equal(value, old), name
        else:
            assert torch.equal(value[1:4], old[:3]), name
            assert torch.equal(value[5:], old[3:]), name


def test_what_does_not_fit_is_refused():
    ranker = build_ranker("sasrec", NETWORK, 4, torch.Generator())
    with pytest.raises(DataError, match="knows none of the items"):
        warm_start(weights_of("sasrec", NETWORK, 2), ["x", "y"], ["a", "b", "c", "d"])(ranker)
    wider = dataclasses.replace(NETWORK, width=16)
    with pytest.raises(DataError, match="no SASRec of this size"):
        warm_start(weights_of("sasrec", wider, 2), ["a", "b"], ["a", "b", "c", "d"])(ranker)
