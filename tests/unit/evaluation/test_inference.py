"""Samples, ensembles and steps: with scores made by hand, and with a small model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.evaluation.inference import (
    ENSEMBLE,
    SAMPLE,
    STEPS,
    choose_users,
    places_at,
    probe_sampling,
    probe_steps,
    probed_ranks_table,
    recommendations_table,
    recommended_items,
)
from diffurecsys.evaluation.ranks import RANKINGS, UNSEEN, rank_targets
from diffurecsys.evaluation.representations import reconstruct_targets, sample_targets
from diffurecsys.models.families.diffurec import DiffuRecConfig
from diffurecsys.models.registry import build_ranker

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
    return build(delta=0.5)


def build(delta):
    config = DiffuRecConfig(width=8, blocks=1, heads=2, diffusion_steps=4, delta=delta, embedding_std=1.0)
    return build_ranker("diffurec", config, N_ITEMS, torch.Generator().manual_seed(1)).eval()


def generators(n, first=0):
    return [torch.Generator().manual_seed(first + number) for number in range(n)]


def of_sample(table):
    """A scorer that knows which sample is drawn by its generator's seed and gives every user the same scores."""

    def score(batch, generator):
        return table[generator.initial_seed()].expand(len(batch), -1).clone()

    return score


def places_of(scores, targets):
    """Items ahead of the targets, and items tied with them, by hand."""
    ahead = [int((scores > scores[target]).sum()) for target in targets]
    tied = [int((scores == scores[target]).sum()) - 1 for target in targets]
    return [ahead, tied]


def test_an_ensemble_ranks_by_the_mean_of_distributions(store, examples):
    table = 2 * torch.randn(4, N_ITEMS, generator=torch.Generator().manual_seed(2))
    probe = probe_sampling([of_sample(table)] * 4, store, examples, generators=generators(4), sizes=(1, 2, 4), top_k=3)
    targets = store.items[examples.end].long()
    for size in (1, 2, 4):
        mean = table[:size].double().softmax(-1).mean(0)
        assert probe.ensembles[size].tolist() == places_of(mean, targets)
    for number in range(4):
        assert probe.single[number].tolist() == places_of(table[number], targets)
        assert (probe.items[number] == table[number].topk(3).indices.numpy()).all()


def test_ties_are_counted(store, examples):
    table = (torch.arange(N_ITEMS) // 3).float()[None]  # four places of three items each
    probe = probe_sampling([of_sample(table)], store, examples, generators=generators(1), sizes=(1,))
    assert (probe.single[0][1] == 2).all()
    assert set(probe.single[0][0]) <= {0, 3, 6, 9}
    assert (probe.ensembles[1] == probe.single[0]).all()


def test_unlikely_items_are_not_tied_by_underflow(store, examples):
    table = -400.0 * torch.arange(N_ITEMS, dtype=torch.float32)[None]  # a float32 softmax gives 0 from item 1 on
    scorers = [of_sample(table.expand(2, -1))] * 2
    probe = probe_sampling(scorers, store, examples, generators=generators(2), sizes=(1, 2))
    expected = store.items[examples.end].numpy()
    for places in (probe.single[0], probe.ensembles[1], probe.ensembles[2]):
        assert (places[0] == expected).all()
        assert (places[1] == 0).all()


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_sample_ranks_like_the_evaluation(store, examples, model, ranking):
    data = StudyData(store, leave_one_out(store, max_length=8))
    expected = rank_targets(model.score, data, examples, generator=generators(1)[0], batch_size=4).places(ranking)
    how = {"sizes": (1,), "ranking": ranking, "batch_size": 4}
    probe = probe_sampling([model.score], store, examples, generators=generators(1), **how)
    assert (probe.single[0] == np.stack(expected)).all()
    if ranking == UNSEEN:
        first = int(store.offsets[0])
        assert not set(probe.items[0, 0, :3]) & set(store.items[first : int(examples.end[0])].tolist())


def test_the_same_seeds_give_the_same_probes(store, examples, model):
    scorers = [model.score] * 3
    first, again = (probe_sampling(scorers, store, examples, generators=generators(3), sizes=(1, 3)) for _ in range(2))
    assert (first.items == again.items).all()
    assert (first.ensembles[3] == again.ensembles[3]).all()
    other = probe_sampling(scorers, store, examples, generators=generators(3, first=9), sizes=(1, 3))
    assert (first.items != other.items).any()


def test_an_ensemble_needs_as_many_samples(store, examples, model):
    with pytest.raises(ValueError, match="an ensemble of 4 cannot be made of 2 samples"):
        probe_sampling([model.score] * 2, store, examples, generators=generators(2), sizes=(1, 4))


def test_steps_are_those_asked_for(store, examples, model):
    asked = {steps: generators(1, first=steps)[0] for steps in (1, 2, 4)}
    probe = probe_steps(model.score, store, examples, generators=asked, batch_size=4)
    assert list(probe.places) == list(probe.seconds) == [1, 2, 4]
    assert min(probe.seconds.values()) > 0

    def two(batch, generator):
        return model.score(batch, generator, 2)

    expected = probe_sampling([two], store, examples, generators=generators(1, first=2), sizes=(1,), batch_size=4)
    assert (probe.places[2] == expected.single[0]).all()
    with pytest.raises(ValueError, match=r"1 … 4"):
        probe_steps(model.score, store, examples, generators={8: generators(1)[0]})


class TestAlgorithm3:
    """One call from the history's last item, diffused to the last step."""

    def test_it_is_the_network_s_answer_to_the_diffused_last_item(self, store, examples, model, monkeypatch):
        batch, _ = Packer(store, examples).pack(torch.arange(len(examples)))
        seen = []
        diffuse = model.process.diffuse

        def watched(x_0, step, noise):
            seen.append((x_0, step, noise))
            return diffuse(x_0, step, noise)

        monkeypatch.setattr(model.process, "diffuse", watched)
        calls = []
        hook = model.denoiser.register_forward_pre_hook(lambda *arguments: calls.append(arguments))
        with torch.inference_mode():
            found = model.users_from_last_item(batch, generators(1)[0])
        hook.remove()
        ((x_0, step, noise),) = seen
        last = batch.items[batch.offsets[1:].long() - 1]
        assert x_0.equal(model.embedding(last))
        assert step.tolist() == [len(model.process) - 1]
        assert noise.equal(torch.randn(noise.shape, generator=generators(1)[0]))
        assert len(calls) == 1
        assert found.shape == (len(batch), 8)
        assert found.dtype == torch.float32

    def test_only_models_with_noised_targets_have_it(self):
        assert build(delta=0.5).config.capabilities.from_last_item
        assert not build(delta=0.0).config.capabilities.from_last_item


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
    places = {
        SAMPLE: {0: np.array([[0, 2], [1, 0]])},
        ENSEMBLE: {2: np.array([[7, 1], [0, 0]])},
        STEPS: {1: np.array([[3, 3], [0, 4]]), 32: np.array([[4, 4], [0, 0]])},
    }
    table = probed_ranks_table(users, places)
    assert table["user"].tolist() == [3, 5] * 4
    for kind, levels in places.items():
        found = places_at(table, kind)
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
    samples = sample_targets(model.users, store, examples[:2], samples=5, generator=generators(1)[0])
    assert samples.std(dim=1).min() > 0
    quiet = build(delta=0.0)
    same = sample_targets(quiet.users, store, examples[:2], samples=5, generator=generators(1)[0])
    assert same.std(dim=1).max() < 1e-6
