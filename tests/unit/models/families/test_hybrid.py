"""What holds for a network together with counts, beyond the contract that every family keeps."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.calibration import mean_ndcg
from diffurecsys.models.families.hybrid import HybridConfig
from diffurecsys.models.families.position_diffusion import PositionDiffusionConfig
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.families.transitions import TransitionsConfig
from diffurecsys.models.registry import build_ranker
from diffurecsys.models.weights import config_from
from diffurecsys.parameters import ParameterError, validate_parameters
from diffurecsys.study import Cell, RankerSpec
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.fit import fit_cell, rank_cell

N_ITEMS = 30
INNER = SASRecConfig(width=16, blocks=1, heads=2, dropout=0.0, max_length=8, loss="cross_entropy")
CONFIG = HybridConfig(inner=INNER, transitions=TransitionsConfig(search=False))
TRAINING = TrainingConfig(scheme="window", epochs=2, batch_size=8, learning_rate=0.01, patience=None)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> StudyData:
    chance = generator(1)
    sequences = []
    for user in range(40):
        step = 1 + int(torch.randint(2, (), generator=chance))
        sequences.append([(user + step * place) % N_ITEMS for place in range(7)])
    store = SequenceStore.from_lists(sequences, N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=8))


@pytest.fixture(scope="module")
def fitted(data):
    return fit_cell(Cell(RankerSpec("both", "hybrid", "baseline", CONFIG, TRAINING), 0), data)


def test_the_network_is_trained_as_it_is_alone(data, fitted):
    alone = fit_cell(Cell(RankerSpec("alone", "sasrec", "baseline", INNER, TRAINING), 0), data)
    assert [record.loss for record in alone.history] == [record.loss for record in fitted.history]
    for name, value in alone.weights.state.items():
        assert torch.equal(fitted.weights.state[f"network.{name}"], value), name


def test_scores_are_the_networks_and_the_logarithm_of_the_counts(data, fitted):
    ranker = fitted.weights.build()
    batch, _ = Packer(data.store, data.split.test).pack(torch.arange(9))
    ranker.weight.fill_(1.5)
    ranker.sharpness.fill_(10.0)
    ranker.repeat_penalty.zero_()
    network, counted = (part.score(batch, generator()) for part in (ranker.network, ranker.counts))
    got = ranker.score(batch, generator())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, network + 1.5 * (1 + 10 * counted).log())
    ranker.weight.zero_()
    assert torch.equal(ranker.score(batch, generator()), network)


def test_what_joins_them_is_chosen_on_validation_and_recorded(data, fitted):
    chosen, ranker = fitted.record["calibrated"], fitted.weights.build()
    assert (ranker.weight.item(), ranker.sharpness.item()) == pytest.approx((chosen["weight"], chosen["sharpness"]))
    batch, _ = Packer(data.store, data.split.validation).pack(torch.arange(40))
    assert chosen["validation_ndcg"] == pytest.approx(mean_ndcg(lambda b: ranker.score(b, generator()), [batch]))
    alone = mean_ndcg(lambda b: ranker.network.score(b, generator()), [batch])
    assert chosen["validation_ndcg_of_inner"] == pytest.approx(alone)
    assert chosen["weight"] > 0  # two epochs leave much to be counted
    assert chosen["validation_ndcg"] > alone
    json.dumps(fitted.record)


def test_items_of_the_history_are_lowered_once_each(data, fitted):
    ranker = fitted.weights.build()
    ranker.weight.zero_()
    ranker.repeat_penalty.fill_(2.0)
    store = SequenceStore.from_lists([[3, 5, 3, 9, 4, 7], [1, 2, 8, 6, 0, 2]], N_ITEMS)
    batch, _ = Packer(store, leave_one_out(store, max_length=8).test).pack(torch.arange(2))
    expected = ranker.network.score(batch, generator())
    for row in range(2):
        first, end = batch.offsets[row : row + 2].tolist()
        for item in set(batch.items[first:end].tolist()):
            expected[row, item] -= 2
    assert torch.equal(ranker.score(batch, generator()), expected)


def test_a_penalty_is_chosen_where_nobody_returns_and_none_where_all_do(fitted):
    assert fitted.record["calibrated"]["repeat_penalty"] == 1e4  # walks of `data` never come back
    store = SequenceStore.from_lists([[user % N_ITEMS, (user + 7) % N_ITEMS] * 4 for user in range(40)], N_ITEMS)
    back = StudyData(store, leave_one_out(store, max_length=8))
    for config, allowed in (
        (CONFIG, (0.0, -0.5, -1.0, -2.0)),
        (dataclasses.replace(CONFIG, repeats="as_scored"), (0,)),
    ):
        chosen = fit_cell(Cell(RankerSpec("both", "hybrid", "baseline", config, TRAINING), 0), back).record[
            "calibrated"
        ]
        assert chosen["repeat_penalty"] in allowed


def test_counts_know_the_training_part_alone(data):
    end = data.store.offsets[1:]
    changed = data.store.items.clone()
    changed[end - 1], changed[end - 2] = 0, 0  # every test and validation item
    other = StudyData(SequenceStore(changed, data.store.offsets, N_ITEMS), data.split)
    states = []
    for observed in (data, other):
        ranker = build_ranker("hybrid", CONFIG, N_ITEMS, generator())
        ranker.observe(observed)
        states.append(ranker.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_ranks_come_from_saved_weights(data, fitted):
    ranks = rank_cell(fitted.weights, data, seed=0)["validation"]
    batch, index = Packer(data.store, data.split.validation).pack(torch.arange(40))
    scores = fitted.weights.build().score(batch, generator())
    own = scores.gather(1, batch.targets[:, None])
    assert ranks.greater[index.numpy()].tolist() == (scores > own).sum(1).tolist()


def test_the_configuration_goes_through_json():
    config = HybridConfig("position_diffusion", PositionDiffusionConfig(width=8, heads=2), TransitionsConfig(window=2))
    plain = json.loads(json.dumps(dataclasses.asdict(config)))
    assert config_from("hybrid", plain) == config


def test_capabilities_and_steps_are_the_networks():
    config = HybridConfig("position_diffusion", PositionDiffusionConfig(evaluation_steps=4))
    able = config.capabilities
    assert (able.trains, able.samples, able.steps, able.vectors) == (True, True, 32, False)
    assert config.steps_for("evaluation") == 4
    assert CONFIG.capabilities.steps == 0


def test_versions_of_both_families_are_part_of_a_cells_identity():
    assert set(Cell(RankerSpec("both", "hybrid", "baseline", CONFIG, TRAINING)).description()["parts"]) == {
        "inner",
        "transitions",
    }


def parameters(**network):
    names = {"experiment": "x", "study": {"rankers": ["both", "counts"]}}
    dataset = {"name": "d", "path": "d.zip", "archive": "d.zip"}
    models = {
        "both": {"family": "hybrid", "network": network, "training": {"scheme": "window"}},
        "counts": {"family": "transitions"},
    }
    return validate_parameters({**names, "dataset": dataset, "models": models})


def test_the_inner_network_is_checked_by_its_family():
    network = parameters(inner={"width": 32}, transitions={"window": 2}).study.spec("both").network
    assert network.inner == SASRecConfig(width=32)
    assert network.transitions == TransitionsConfig(window=2)
    other = parameters(inner_family="position_diffusion").study.spec("both").network
    assert other.inner == PositionDiffusionConfig()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"inner": {"widht": 3}},
            "network.inner.widht: no such parameter; did you mean models.both.network.inner.width?",
        ),
        ({"transitions": {"windw": 3}}, "did you mean models.both.network.transitions.window?"),
        ({"inner_family": "sasrek"}, "network.inner: no family 'sasrek'; did you mean sasrec?"),
        ({"inner_family": "transitions"}, "inner_family must be one that trains, got 'transitions'"),
        ({"inner": {"width": 3, "heads": 2}}, "network.inner.width must be a multiple of heads"),
        ({"inner": 3}, "network.inner: should be a mapping of names to values"),
    ],
)
def test_faults_of_the_inner_network_are_named(network, message):
    with pytest.raises(ParameterError) as caught:
        parameters(**network)
    assert message in str(caught.value)


def test_a_network_of_another_family_is_refused():
    with pytest.raises(ValueError, match="inner is a SASRecConfig, which inner_family 'position_diffusion' has not"):
        HybridConfig("position_diffusion", SASRecConfig())
