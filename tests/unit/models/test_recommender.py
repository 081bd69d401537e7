"""What holds for every model of the registry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.store import SequenceStore, leave_one_out
from diffurecsys.diffusion import sample_ddpm
from diffurecsys.models import MODELS, ModelConfig, build_model
from diffurecsys.layers.segments import Segments

CONFIG = ModelConfig(width=16, blocks=2, heads=2, diffusion_steps=8)
N_ITEMS = 30


def make(name: str, seed: int = 0, **changes):
    config = ModelConfig(**{**CONFIG.__dict__, **changes})
    return build_model(name, N_ITEMS, config, torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=12), min_size=1, max_size=8)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(histories=histories)
def test_a_sequences_result_does_not_depend_on_its_batch_mates(name, histories):
    model = make(name).eval()

    def denoise(sequences):
        batch = pack_histories(sequences)
        segments = Segments.of(batch)
        history = model.embed_history(batch.items, None)
        # noise that depends on the item alone, so that it is the same in every batch
        noised = torch.sin(batch.items[:, None] + torch.arange(CONFIG.width)).float()
        return model.denoiser(history, noised, segments, None)

    with torch.inference_mode():
        together = denoise(histories)
        for row, history in enumerate(sorted(histories, key=len)):
            torch.testing.assert_close(together[row], denoise([history])[0], atol=1e-5, rtol=1e-4)


def denoiser_inputs(model):
    """Return a history, a noised target and the borders of three histories."""
    batch = pack_histories([[1, 2, 3], [4], [5, 6, 7, 8]])
    return model.embed_history(batch.items, None), torch.randn(len(batch.items), CONFIG.width), Segments.of(batch)


@pytest.mark.parametrize("name", MODELS)
def test_the_last_block_at_the_last_position_equals_the_whole_block(name):
    model = make(name).eval()
    with torch.inference_mode():
        history, noised, segments = denoiser_inputs(model)
        short = model.denoiser(history, noised, segments, None)
        whole = model.denoiser(history, noised, segments, None, last_only=False)
    torch.testing.assert_close(short, whole[segments.last], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_prepared_once_for_all_steps_changes_no_bit(name):
    model = make(name).eval()
    with torch.inference_mode():
        history, noised, segments = denoiser_inputs(model)
        prepared = model.denoiser.prepare(history)
        assert (prepared is None) == (name == "diffurec")
        assert torch.equal(
            model.denoiser(history, noised, segments, None, prepared=prepared),
            model.denoiser(history, noised, segments, None),
        )


@pytest.mark.parametrize("name", MODELS)
def test_overfits_one_batch(name):
    store = SequenceStore.from_lists([[(u + step) % N_ITEMS for step in range(6)] for u in range(12)], N_ITEMS)
    batch, _ = Packer(store, leave_one_out(store, max_length=6).test).pack(torch.arange(12))
    model, noise = make(name, dropout=0.0, item_dropout=0.0), generator()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    first = model.loss(batch, noise).item()
    for _ in range(200):
        optimiser.zero_grad()
        loss = model.loss(batch, noise)
        loss.backward()
        optimiser.step()
    assert first > 3.0  # about log 30
    assert loss.item() < 0.2
    model.eval()
    assert torch.equal(model.score(batch, noise).argmax(1), batch.targets)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name):
    model = make(name)
    batch = pack_histories([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    model.loss(batch, generator()).backward()
    still = [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


@pytest.mark.parametrize("name", MODELS)
def test_the_generator_decides_everything(name):
    batch = pack_histories([[1, 2, 3], [4, 5]])
    model = make(name)
    state = torch.get_rng_state()
    losses = [model.loss(batch, generator(seed)).item() for seed in (1, 1, 2)]
    model.eval()
    scores = [model.score(batch, generator(seed), 3) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_decide_the_first_weights():
    one, same, other = (make("diffurecsys", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["items.weight"], other["items.weight"])
    assert float(one["items.weight"].std()) == pytest.approx(CONFIG.embedding_std, rel=0.1)


def test_offset_noise_is_what_sets_diffurecsys_apart():
    x = torch.zeros(4000, 16)
    plain = make("cross_attention")._training_noise(x, generator())
    constant = make("diffurecsys", offset=2.0)._training_noise(x, generator())
    torch.testing.assert_close(constant, plain + 0.2)  # Eq. 17: ε + 0.1 · offset
    per_sample = make("diffurecsys", offset=2.0, offset_per_sample=True)._training_noise(x, generator()) - plain
    torch.testing.assert_close(per_sample, per_sample[:, :1].expand_as(per_sample), atol=1e-5, rtol=0)
    assert float(per_sample[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    assert float(per_sample[:, 0].mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_without_delta_the_noised_target_plays_no_part(name):
    model = make(name, delta=0.0).eval()
    batch = pack_histories([[1, 2, 3], [4, 5]])
    assert torch.equal(model.score(batch, generator(1)), model.score(batch, generator(2)))
    with torch.inference_mode():  # one call of the network is what the whole walk ends at
        history, segments = model.embed_history(batch.items, None), Segments.of(batch)
        x_t = torch.randn(2, CONFIG.width)
        walked = sample_ddpm(
            model.process, lambda *_: model.denoiser(history, None, segments, None), x_t, lambda: torch.randn(x_t.shape)
        )
        torch.testing.assert_close(model.predict(batch, generator()), walked)


@pytest.mark.parametrize("name", MODELS)
def test_few_reverse_steps_are_possible_and_too_many_refused(name):
    model = make(name).eval()
    batch = pack_histories([[1, 2, 3], [4, 5]])
    assert model.score(batch, generator(), 1).shape == (2, N_ITEMS)
    with pytest.raises(ValueError, match="reverse steps must lie in 1 … 8"):
        model.score(batch, generator(), 9)


@pytest.mark.parametrize("name", MODELS)
def test_the_deterministic_sampler_draws_other_scores_of_the_same_shape(name):
    model = make(name, delta=0.5, sampler="ddim").eval()
    batch = pack_histories([[1, 2, 3], [4, 5]])
    scores = model.score(batch, generator(), 4)
    assert scores.shape == (2, N_ITEMS)
    assert torch.equal(scores, model.score(batch, generator(), 4))
    assert not torch.equal(scores, make(name, delta=0.5).eval().score(batch, generator(), 4))


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown model 'sasrec'; choose one of diffurec, cross_attention"):
        make("sasrec")


@pytest.mark.parametrize(("delta", "steps", "expected"), [(0.001, 32, 1), (0.01, 32, 1), (0.1, 32, 8), (1, 4, 4)])
def test_serving_walks_more_steps_where_the_noised_target_counts(delta, steps, expected):
    assert ModelConfig(delta=delta, diffusion_steps=steps).serving_steps == expected
