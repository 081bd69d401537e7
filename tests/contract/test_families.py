"""What every ranker keeps, whatever its kind: a new family is held to it unasked."""

from __future__ import annotations

import dataclasses
import json
import math
from unittest.mock import patch

import numpy as np
import pytest
import torch

from diffurecsys.data.packing import PackedBatch, Packer, pack_histories
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.base import Ranker, VectorRanker, scorer
from diffurecsys.models.weights import config_from, load_weights, save_weights
from diffurecsys.serving.one_history import Draws, batch_of, one_history_at_a_time
from diffurecsys.serving.recommender import Recommender
from diffurecsys.study import Cell
from diffurecsys.training.fit import fit_cell, rank_cell

# Parameters that a loss may leave alone, by ranker: names, and why
WITHOUT_GRADIENT: dict[str, dict[str, str]] = {
    "position_diffusion_control": {  # it has the model's weights, and is told of no step
        f"step_embedding.{part}": "without noise there are no steps"
        for part in ("inner.weight", "inner.bias", "outer.weight", "outer.bias")
    }
}
MAX_LENGTH, N_ITEMS = 10, 24
HISTORIES = [[3], [0], [N_ITEMS - 1], [5, 6, 7], [7, 6, 5], [1, 1, 1, 2], list(range(4, 4 + MAX_LENGTH)), [9, 2]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores_of(ranker: Ranker, histories: list[list[int]] = HISTORIES, seed: int = 0) -> torch.Tensor:
    """Score histories, in their own order."""
    order = sorted(range(len(histories)), key=lambda row: len(histories[row]))
    with torch.inference_mode():
        scores = ranker.score(pack_histories(histories), generator(seed))
    return scores[torch.tensor(order).argsort()]


def training_batch(data: StudyData, scheme: str) -> PackedBatch:
    """All training examples at once."""
    cut = SCHEMES[scheme].cut(data.split.train, data.split.max_length)
    packer = Packer(data.store, cut, everywhere=SCHEMES[scheme].everywhere)
    return packer.pack(torch.arange(len(packer)))[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def _trains(case):
    if not case.capabilities.trains:
        pytest.skip("does not train")


@pytest.fixture
def constant_noise(monkeypatch):
    """Let every normal draw be the same number: what depends on batch-mates then, does so by mistake."""
    draw, draw_like = torch.randn, torch.randn_like
    monkeypatch.setattr(torch, "randn", lambda *size, **how: draw(*size, **how).fill_(0.5))
    monkeypatch.setattr(torch, "randn_like", lambda x, **how: draw_like(x, **how).fill_(0.5))


def test_the_configuration_survives_json(case):
    values = json.loads(json.dumps(dataclasses.asdict(case.network)))
    assert config_from(case.family, values) == case.network
    assert hash(case.network) == hash(dataclasses.replace(case.network))


def test_it_has_what_its_capabilities_say(case):
    ranker, can = case.build(), case.capabilities
    assert (type(ranker).loss is not Ranker.loss) == can.trains
    assert not can.vectors or isinstance(ranker, VectorRanker)
    assert hasattr(ranker, "users_from_last_item") or not can.from_last_item
    assert set(can.schemes) <= set(SCHEMES)
    assert case.training.scheme in can.schemes or not can.trains
    assert can.steps >= 0


def test_scores_are_finite_float32_of_the_whole_catalogue(ranker):
    scores = scores_of(ranker)  # histories of a single item, of the longest length, with the first and the last item
    assert (scores.shape, scores.dtype) == ((len(HISTORIES), N_ITEMS), torch.float32)
    assert bool(scores.isfinite().all())


def test_scores_are_their_own_memory(ranker):
    batch = pack_histories(HISTORIES)
    with torch.inference_mode():
        first = ranker.score(batch, generator())
        expected = first.clone()
        first[0] = -1.0  # as ranking among unseen items does, row by row
        assert torch.equal(first[1:], expected[1:])
        first.fill_(-1.0)
        assert torch.equal(ranker.score(batch, generator()), expected)


def test_scoring_leaves_ranker_batch_and_global_stream_alone(ranker):
    batch, before = pack_histories(HISTORIES), torch.get_rng_state()
    state = {name: value.clone() for name, value in ranker.state_dict().items()}
    items = batch.items.clone()
    with torch.inference_mode():
        ranker.score(batch, generator())
    assert same(ranker.state_dict(), state)
    assert torch.equal(batch.items, items)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_generator_decides_and_only_where_it_samples(ranker):
    one, again, other = (scores_of(ranker, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (not ranker.config.capabilities.samples)


@pytest.mark.parametrize("steps", [None, 2])
def test_skipping_a_batch_draws_what_scoring_it_does(case, ranker, steps):
    if not case.capabilities.samples:
        pytest.skip("draws nothing")
    batch, scoring, skipping = pack_histories(HISTORIES), generator(), generator()
    with torch.inference_mode():
        ranker.score(batch, scoring, steps)
        ranker.skip(batch, skipping, steps)
    assert torch.equal(scoring.get_state(), skipping.get_state())


def test_vectors_reproduce_scores(case, ranker):
    if not case.capabilities.vectors:
        pytest.skip("has no vectors")
    batch = pack_histories(HISTORIES)
    with torch.inference_mode():
        users, items = ranker.users(batch, generator()), ranker.items()
        scores = ranker.score(batch, generator())
        found = users @ items.T
    assert users.dtype == items.dtype == torch.float32
    assert users.shape == (len(HISTORIES), items.shape[1])
    assert len(items) == N_ITEMS
    torch.testing.assert_close(found, scores, atol=1e-5, rtol=1e-5)


def test_the_last_position_is_asked_whatever_the_batch_says(ranker):
    batch = pack_histories(HISTORIES)
    everywhere = dataclasses.replace(batch, targets=torch.zeros_like(batch.items), everywhere=True)
    with torch.inference_mode():
        assert torch.equal(ranker.score(everywhere, generator()), ranker.score(batch, generator()))


@pytest.mark.usefixtures("constant_noise")
def test_a_sequence_scores_the_same_alone_among_others_and_in_another_order(ranker):
    together = scores_of(ranker)
    alone = torch.cat([scores_of(ranker, [history]) for history in HISTORIES])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores_of(ranker, HISTORIES[::-1]).flip(0), together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores_of(ranker, [[8], *HISTORIES[3:]])[1:], together[3:], atol=1e-5, rtol=1e-5)


def test_every_number_of_reverse_steps_can_be_walked(case, ranker):
    can = case.capabilities
    if not can.steps:
        pytest.skip("walks no reverse process")
    batch = pack_histories(HISTORIES)
    with torch.inference_mode():
        for steps in (1, can.steps // 2, can.steps, None):
            assert bool(ranker.score(batch, generator(), steps).isfinite().all())
    for purpose in ("validation", "evaluation", "serving"):
        steps = case.network.steps_for(purpose)
        assert steps is None or 1 <= steps <= can.steps


def test_saved_and_loaded_it_gives_the_same_scores(weights, ranker, tmp_path):
    save_weights(weights, tmp_path / "weights.safetensors")
    loaded = load_weights(tmp_path / "weights.safetensors")
    assert same(loaded.state, weights.state)
    assert loaded.config == weights.config
    assert torch.equal(scores_of(loaded.build()), scores_of(ranker))


def test_the_same_seed_gives_the_same_bits(case, data, weights):
    assert same(case.fit(data).state, weights.state)


def test_another_seed_gives_other_weights_where_it_trains(case, data, weights):
    assert same(case.fit(data, seed=1, epochs=1).state, weights.state) == (not case.capabilities.trains)


def test_it_observes_the_training_part_alone(case, data, other_targets):
    one, other = case.build(data=data), case.build(data=other_targets)
    assert same(one.state_dict(), other.state_dict())
    if case.capabilities.trains:
        batch = training_batch(data, case.training.scheme)
        assert one.loss(batch, generator()).item() == other.loss(batch, generator()).item()
    assert torch.equal(scores_of(one.eval()), scores_of(other.eval()))


@pytest.mark.usefixtures("_trains")
def test_validation_and_test_items_are_never_trained_on(case, data, other_targets):
    # in buffers lies what may be chosen on validation
    trained = [name for name, _ in case.build().named_parameters()]
    one, other = (case.fit(learnt_from, epochs=1).state for learnt_from in (data, other_targets))
    assert all(torch.equal(one[name], other[name]) for name in trained)


@pytest.mark.usefixtures("_trains")
def test_under_every_scheme_offered_the_loss_is_a_finite_number_that_the_generator_decides(case, data):
    ranker, before = case.build(data=data), torch.get_rng_state()
    state = {name: value.clone() for name, value in ranker.state_dict().items()}
    for scheme in case.capabilities.schemes:
        batch = training_batch(data, scheme)
        items = batch.items.clone()
        losses = []
        for _ in range(2):
            ranker.load_state_dict(state)  # a loss may count steps
            losses.append(ranker.loss(batch, generator(1)))
        one, again = losses
        assert one.shape == ()
        assert one.requires_grad
        assert math.isfinite(one.item())
        assert one.item() == again.item()
        assert torch.equal(batch.items, items)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("_trains")
def test_gradients_reach_every_parameter_that_should_learn(case, data):
    ranker = case.build(data=data)
    ranker.loss(training_batch(data, case.training.scheme), generator()).backward()
    still = {name for name, weight in ranker.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert still == set(WITHOUT_GRADIENT.get(case.name, {}))
    grouped = [id(weight) for group in ranker.parameter_groups() for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in ranker.parameters())


@pytest.mark.usefixtures("_trains")
def test_overfits_fifty_short_sequences(case):
    # no two begin alike, and any item says which comes next and which came before: all of it can be learnt by heart
    order = torch.randperm(50, generator=generator()).tolist()
    store = SequenceStore.from_lists([[order[(user + step) % 50] for step in range(6)] for user in range(50)], 50)
    data = StudyData(store, leave_one_out(store, max_length=MAX_LENGTH))
    quiet = {field.name: 0.0 for field in dataclasses.fields(case.network) if field.name.endswith("dropout")}
    if hasattr(case.network, "warmup"):
        quiet["warmup"] = 1000  # adversaries that come later need not lose
    ranker, noise = case.build(n_items=50, data=data, **quiet), generator()
    optimiser = torch.optim.Adam(ranker.parameter_groups(), lr=1e-2)
    batch = training_batch(data, case.training.scheme)
    losses: list[float] = []
    while len(losses) < 150 and (len(losses) < 5 or sum(losses[-5:]) / 5 >= 0.4 * losses[0]):
        optimiser.zero_grad()
        loss = ranker.loss(batch, noise)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.4 * losses[0]


def test_the_first_and_the_last_item_can_be_recommended(case):
    # all take the two in turn, so whatever learns or counts puts them first
    lists = [[(N_ITEMS - 1) * ((user + step) % 2) for step in range(7)] for user in range(16)]
    store = SequenceStore.from_lists(lists, N_ITEMS)
    data = StudyData(store, leave_one_out(store, max_length=MAX_LENGTH))
    fitted = case.fit(data, epochs=6, batch_size=8, learning_rate=1e-2, lr_schedule="constant", validate_every=6)
    best = scores_of(fitted.build(), [[0, N_ITEMS - 1], [N_ITEMS - 1, 0]]).topk(2).indices
    assert best.sort().values.tolist() == [[0, N_ITEMS - 1]] * 2


@pytest.mark.usefixtures("constant_noise")
def test_what_is_served_is_what_evaluation_ranks(case, data, ranker):
    """Whole histories in identifiers against the cut ones of evaluation, from one event to more than the longest."""
    names = [f"item {number}" for number in range(N_ITEMS)]
    steps = case.network.steps_for("evaluation") or case.capabilities.steps or None
    store, examples = data.store, data.split.test
    whole = [
        [names[item] for item in store.items[first:end].tolist()]
        for first, end in zip(store.offsets[:-1].tolist(), examples.end.tolist(), strict=True)
    ]
    whole += [history[-length:] for history, length in zip(whole, (1, 2, 3), strict=False)]
    cut = [[names.index(item) for item in history[-MAX_LENGTH:]] for history in whole]
    assert {len(history) for history in whole} > {1, 2, MAX_LENGTH, MAX_LENGTH + 1}

    served = Recommender(ranker, names, data.split.max_length).recommend(
        whole, N_ITEMS, exclude_history=False, steps=steps
    )
    order = sorted(range(len(cut)), key=lambda row: len(cut[row]))
    with torch.inference_mode():
        evaluated = scorer(ranker, "evaluation")(pack_histories(cut), generator())
    for place, row in enumerate(order):
        numbers = [names.index(item) for item in served[row].items]
        assert sorted(numbers) == list(range(N_ITEMS))
        in_its_order = evaluated[place][numbers]
        assert torch.allclose(in_its_order, torch.tensor(served[row].scores), rtol=1e-4, atol=1e-4)
        assert torch.allclose(in_its_order, in_its_order.sort(descending=True).values, rtol=1e-4, atol=1e-4)


def test_what_was_calibrated_can_be_taken_over(case, data):
    one, other = case.build(data=data).eval(), case.build(data=data).eval()
    one.calibrate(data, generator())
    other.adopt(one, data)
    assert same(one.state_dict(), other.state_dict())


def test_learning_from_validation_too_changes_what_is_tested_and_not_what_validation_says(case, data, weights):
    spec = dataclasses.replace(case.spec(), final_fit_on="training_and_validation")
    cell = Cell(spec, 0)
    both = fit_cell(cell, data).weights
    assert both.identity != weights.identity == Cell(case.spec(), 0).identity(data.fingerprint)
    assert same(both.chosen, weights.state)
    alone, together = rank_cell(weights, data, seed=0), rank_cell(both, data, seed=0)
    assert np.array_equal(alone["validation"].greater, together["validation"].greater)
    assert not same(both.state, weights.state)


def test_test_items_are_never_learnt_from(case, data):
    """Not even where validation targets are."""
    lists = [data.store.items[a:b].tolist() for a, b in zip(data.store.offsets, data.store.offsets[1:], strict=False)]
    other = SequenceStore.from_lists([[*items[:-1], (items[-1] + 7) % N_ITEMS] for items in lists], N_ITEMS)
    changed = StudyData(other, leave_one_out(other, max_length=MAX_LENGTH))
    spec = dataclasses.replace(case.spec(epochs=1), final_fit_on="training_and_validation")
    one, again = (fit_cell(Cell(spec, 0), part).weights.state for part in (data, changed))
    assert same(one, again)


def test_one_history_by_whole_matrices_gives_the_packed_ones_vector(case, ranker):
    """What exporters follow is what is evaluated, at every length."""
    if not case.capabilities.vectors:
        pytest.skip("has no vectors")
    steps = 2 if case.capabilities.steps else None
    with torch.inference_mode(), patch("torch.randn", Draws()):
        for history in ([3], [7, 6], list(range(MAX_LENGTH)), [1, 1, 5]):
            packed = ranker.users(pack_histories([history]), generator(), steps)
            with one_history_at_a_time():
                whole = ranker.users(batch_of(torch.tensor(history)), generator(), steps)
            torch.testing.assert_close(whole, packed, rtol=1e-4, atol=1e-5)
