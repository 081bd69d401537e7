"""Samples, ensembles and steps: with scores made by hand, and with a small model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffurecsys.data.store import SequenceStore, leave_one_out
from diffurecsys.evaluation.inference import (
    ENSEMBLE,
    SAMPLE,
    STEPS,
    choose_users,
    probe_sampling,
    probe_steps,
    probe_training_seeds,
    probed_ranks_table,
    ranks_at,
    recommendations_table,
    recommended_items,
)
from diffurecsys.evaluation.ranks import rank_targets
from diffurecsys.evaluation.representations import reconstruct_targets, sample_targets
from diffurecsys.models import ModelConfig, build_model

N_ITEMS = 12


@pytest.fixture
def store():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([4, 7, 5, 9, 4, 6])
    items = torch.randint(N_ITEMS, (int(lengths.sum()),), generator=generator).int()
    return SequenceStore(items, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]), N_ITEMS)


@pytest.fixture
def examples(store):
    return leave_one_out(store, max_length=8).test


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(width=8, blocks=1, heads=2, diffusion_steps=4, delta=0.5)
    return build_model("diffurec", N_ITEMS, config, torch.Generator().manual_seed(1)).eval()


def generators(n, first=0):
    return [torch.Generator().manual_seed(first + number) for number in range(n)]


def of_sample(table):
    """A scorer that knows which sample is drawn by its generator's seed and gives every user the same scores."""

    def score(batch, generator):
        return table[generator.initial_seed()].expand(len(batch), -1).clone()

    return score


def test_an_ensemble_ranks_by_the_mean_of_distributions(store, examples):
    table = 2 * torch.randn(4, N_ITEMS, generator=torch.Generator().manual_seed(2))
    probe = probe_sampling(of_sample(table), store, examples, generators=generators(4), sizes=(1, 2, 4), top_k=3)
    targets = store.items[examples.end].long()
    for size in (1, 2, 4):
        mean = table[:size].double().softmax(-1).mean(0)
        expected = [1 + int((mean > mean[target]).sum()) for target in targets]
        assert probe.ensemble_ranks[size].tolist() == expected
    for number in range(4):
        expected = [1 + int((table[number] > table[number][target]).sum()) for target in targets]
        assert probe.ranks[number].tolist() == expected
        assert (probe.items[number] == table[number].topk(3).indices.numpy()).all()


def test_unlikely_items_are_not_tied_by_underflow(store, examples):
    table = -400.0 * torch.arange(N_ITEMS, dtype=torch.float32)[None]  # a float32 softmax gives 0 from item 1 on
    probe = probe_sampling(of_sample(table.expand(2, -1)), store, examples, generators=generators(2), sizes=(1, 2))
    expected = 1 + store.items[examples.end].numpy()
    assert (probe.ranks[0] == expected).all()
    assert (probe.ensemble_ranks[1] == expected).all()
    assert (probe.ensemble_ranks[2] == expected).all()


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_sample_ranks_like_the_evaluation(store, examples, model, exclude_seen):
    popularity = torch.zeros(N_ITEMS, dtype=torch.int64)
    how = {"exclude_seen": exclude_seen, "batch_size": 4}
    expected = rank_targets(model.score, store, examples, generator=generators(1)[0], popularity=popularity, **how).rank
    probe = probe_sampling(model.score, store, examples, generators=generators(1), sizes=(1,), **how)
    assert (probe.ranks[0] == expected).all()
    if exclude_seen:
        first = int(store.offsets[0])
        assert not set(probe.items[0, 0, :3]) & set(store.items[first : int(examples.end[0])].tolist())


def test_the_same_seeds_give_the_same_probes(store, examples, model):
    first, again = (
        probe_sampling(model.score, store, examples, generators=generators(3), sizes=(1, 3)) for _ in range(2)
    )
    assert (first.items == again.items).all()
    assert (first.ensemble_ranks[3] == again.ensemble_ranks[3]).all()
    other = probe_sampling(model.score, store, examples, generators=generators(3, first=9), sizes=(1, 3))
    assert (first.items != other.items).any()


def test_an_ensemble_needs_as_many_samples(store, examples, model):
    with pytest.raises(ValueError, match="an ensemble of 4 cannot be made of 2 sampling seeds"):
        probe_sampling(model.score, store, examples, generators=generators(2), sizes=(1, 4))


def test_training_seeds_are_averaged_as_far_as_there_are_any(store, examples):
    table = torch.randn(3, N_ITEMS, generator=torch.Generator().manual_seed(3))
    scorers = [of_sample(table)] * 3  # told apart by their generators
    found = probe_training_seeds(scorers, store, examples, generators=generators(3), sizes=(1, 2, 4, 8))
    assert list(found) == [1, 2, 3]
    mean = table.double().softmax(-1).mean(0)
    targets = store.items[examples.end].long()
    assert found[3].tolist() == [1 + int((mean > mean[target]).sum()) for target in targets]


def test_steps_are_those_asked_for(store, examples, model):
    asked = {steps: generators(1, first=steps)[0] for steps in (1, 2, 4)}
    probe = probe_steps(model.score, store, examples, generators=asked, batch_size=4)
    assert list(probe.ranks) == list(probe.seconds) == [1, 2, 4]
    assert min(probe.seconds.values()) > 0

    def two(batch, generator):
        return model.score(batch, generator, 2)

    expected = probe_sampling(two, store, examples, generators=generators(1, first=2), sizes=(1,), batch_size=4)
    assert (probe.ranks[2] == expected.ranks[0]).all()
    with pytest.raises(ValueError, match=r"1 … 4"):
        probe_steps(model.score, store, examples, generators={8: generators(1)[0]})


def test_users_are_drawn_once_and_in_order():
    few = choose_users(100, 10, seed=1)
    assert len(few.unique()) == 10
    assert (few.diff() > 0).all()
    assert choose_users(100, 10, seed=1).equal(few)
    assert not choose_users(100, 10, seed=2).equal(few)
    assert choose_users(5, None, seed=0).equal(torch.arange(5))
    assert choose_users(5, 9, seed=0).equal(torch.arange(5))


def test_tables_hold_what_was_put_in():
    users = np.array([3, 5])
    ranks = {SAMPLE: {0: np.array([1.0, 2.5])}, ENSEMBLE: {2: np.array([7.0, 1.0])}, STEPS: {32: np.array([4.0, 4.0])}}
    table = probed_ranks_table(users, ranks)
    assert table["user"].tolist() == [3, 5] * 3
    for kind, levels in ranks.items():
        found = ranks_at(table, kind)
        assert found.keys() == levels.keys()
        assert all((found[level] == levels[level]).all() for level in levels)
    items = np.arange(12, dtype=np.int32).reshape(2, 2, 3)  # (samples, users, K)
    lists = recommendations_table(users, items)
    assert lists["user"].tolist() == [3, 5, 3, 5]
    assert lists["items"][1].tolist() == [3, 4, 5]
    assert (recommended_items(lists) == items).all()


def test_representations_keep_the_order_of_the_examples(store, examples):
    def predict(batch, generator):
        return batch.targets[:, None].float().repeat(1, 2)

    expected = store.items[examples.end].float()
    for batch_size in (1, 4, 100):
        found = reconstruct_targets(predict, store, examples, generator=generators(1)[0], batch_size=batch_size)
        assert found[:, 0].equal(expected)
    samples = sample_targets(predict, store, examples[:2], samples=3, generator=generators(1)[0])
    assert samples.shape == (2, 3, 2)
    assert samples[:, :, 0].tolist() == [[float(expected[user])] * 3 for user in range(2)]
    with pytest.raises(ValueError, match="no user"):
        reconstruct_targets(predict, store, examples[:0], generator=generators(1)[0])


def test_samples_of_one_user_differ_by_the_noise_alone(store, examples, model):
    samples = sample_targets(model.predict, store, examples[:2], samples=5, generator=generators(1)[0])
    assert samples.std(dim=1).min() > 0
    quiet = build_model("diffurec", N_ITEMS, ModelConfig(width=8, blocks=1, heads=2, diffusion_steps=4, delta=0.0))
    quiet.initialise(torch.Generator().manual_seed(1))
    same = sample_targets(quiet.eval().predict, store, examples[:2], samples=5, generator=generators(1)[0])
    assert same.std(dim=1).max() < 1e-6
