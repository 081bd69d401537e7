"""What holds for the paper's three models, beyond the contract that every family keeps."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.diffusion import sample_ddpm
from diffurecsys.layers.segments import Segments
from diffurecsys.models import build_ranker
from diffurecsys.models.families.diffurec import DiffuRecConfig

CONFIG = DiffuRecConfig(width=16, blocks=2, heads=2, diffusion_steps=8)
MODELS = {  # as the report calls them
    "diffurec": {},
    "cross_attention": {"conditioning": "cross"},
    "diffurecsys": {"conditioning": "cross", "offset_noise": True},
}
N_ITEMS = 30


def make(name: str, seed: int = 0, **changes):
    config = dataclasses.replace(CONFIG, **{**MODELS[name], **changes})
    return build_ranker("diffurec", config, N_ITEMS, torch.Generator().manual_seed(seed))


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
    noised = torch.randn(len(batch.items), CONFIG.width, generator=generator())
    return model.embed_history(batch.items, None), noised, Segments.of(batch)


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
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])
    assert float(one["embedding.weight"].std()) == pytest.approx(CONFIG.embedding_std, rel=0.1)


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
        noise = generator()
        x_t = torch.randn(2, CONFIG.width, generator=noise)
        walked = sample_ddpm(
            model.process,
            lambda *_: model.denoiser(history, None, segments, None),
            x_t,
            lambda: torch.randn(x_t.shape, generator=noise),
        )
        torch.testing.assert_close(model.users(batch, generator()), walked)


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


@pytest.mark.parametrize(("delta", "steps", "expected"), [(0.001, 32, 1), (0.01, 32, 1), (0.1, 32, 8), (1, 4, 4)])
def test_serving_walks_more_steps_where_the_noised_target_counts(delta, steps, expected):
    config = DiffuRecConfig(delta=delta, diffusion_steps=steps)
    assert config.steps_for("serving") == expected
    assert dataclasses.replace(config, serving_steps=2).steps_for("serving") == 2


@pytest.mark.parametrize(("purpose", "field"), [("validation", "validation_steps"), ("evaluation", "evaluation_steps")])
def test_every_purpose_has_its_steps(purpose, field):
    assert dataclasses.replace(CONFIG, **{field: 3}).steps_for(purpose) == 3
    assert DiffuRecConfig().steps_for("evaluation") is None  # all of them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"width": 15}, "width must be even and a multiple of heads, got width 15, heads 2"),
        ({"heads": 3}, "width must be even and a multiple of heads, got width 16, heads 3"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"delta": -0.1}, "delta must be at least 0, got -0.1"),
        ({"delta": float("nan")}, "delta must be at least 0, got nan"),
        ({"embedding_std": 0.0}, "embedding_std must be positive, got 0.0"),
        ({"conditioning": "sum"}, "conditioning must be one of add, cross, got 'sum'"),
        ({"schedule": "quadratic"}, "schedule must be one of cosine, linear, .*got 'quadratic'"),
        ({"negatives": 0}, "negatives must be at least 1, got 0"),
        ({"validation_steps": 9}, r"validation_steps must lie in 1 … diffusion_steps \(8\), got 9"),
        ({"serving_steps": 0}, "serving_steps must lie in 1"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_without_noised_target_there_is_nothing_to_sample_or_to_walk():
    noised, plain = CONFIG.capabilities, dataclasses.replace(CONFIG, delta=0).capabilities
    assert (noised.samples, noised.steps) == (True, 8)
    assert (plain.samples, plain.steps) == (False, 0)


def test_negatives_are_drawn_as_observed_and_are_no_part_of_the_weights():
    store = SequenceStore.from_lists([[1, 1, 1, 1, 2, 3, 4]] * 3, N_ITEMS)  # 1 is all but alone in the training part
    model = make("diffurec", negatives=4000, negatives_power=1.0)
    assert model.state_dict().keys() == make("diffurec").state_dict().keys()
    model.observe(StudyData(store, leave_one_out(store, max_length=5)))
    counts = torch.bincount(model.sampler.draw(generator()), minlength=N_ITEMS)
    # (12 + 1) of 12 + 3 + 30 = 45 draws, five standard deviations of 4000 draws
    assert abs(int(counts[1]) - 4000 * 13 / 45) < 5 * (4000 * 13 / 45 * 32 / 45) ** 0.5
