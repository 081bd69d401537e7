"""What holds for the diffusion at every position, beyond the contract that every family keeps."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.schemes import windows
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.adaptive_head import AdaptiveHead
from diffurecsys.models.families.position_diffusion import PositionDiffusionConfig
from diffurecsys.models.registry import build_ranker

CONFIG = PositionDiffusionConfig(width=16, blocks=1, heads=2, diffusion_steps=8)
N_ITEMS = 30
SETTINGS = {
    "plain": {},
    "control": {"delta": 0.0},
    "raw": {"target_scale": "raw", "similarity": "dot"},
    "dot": {"similarity": "dot"},
    "raw_cosine": {"target_scale": "raw"},
    "several": {"marginal_samples": 3},
    "noisy": {"least_noise": 0.5, "noise_power": 2.0, "input_scaled": True},
}


def make(name: str = "plain", seed: int = 0, **changes):
    config = dataclasses.replace(CONFIG, **{**SETTINGS[name], **changes})
    return build_ranker("position_diffusion", config, N_ITEMS, torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def data() -> StudyData:
    store = SequenceStore.from_lists([[(u + step) % N_ITEMS for step in range(6 + u % 3)] for u in range(12)], N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=6))


@pytest.mark.parametrize("name", SETTINGS)
def test_overfits_one_batch_asked_everywhere(name, data):
    batch, _ = Packer(data.store, windows(data.split.train, 6), everywhere=True).pack(torch.arange(12))
    # of 8 steps the last would still show half of the target, and to begin with noise alone would be new to the head
    model, noise = make(name, dropout=0.0, diffusion_steps=32), generator()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        loss = model.loss(batch, noise)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3  # of a guess: log 30, 3.4
    model.eval()
    of_ends = batch.targets[batch.offsets[1:].long() - 1]
    assert torch.equal(model.score(batch, noise, 1).argmax(1), of_ends)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_weight_learns(name):
    model = make(name)
    batch = pack_histories([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    model.loss(batch, generator()).backward()
    still = {key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    unseen = {key for key in model.state_dict() if key.startswith("step_embedding.")}
    assert still == (unseen if name == "control" else set())  # the control has the same weights, and leaves these


def test_the_control_has_the_same_weights_but_nothing_to_draw():
    model, control = make(), make("control").eval()
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in control.state_dict().items()}
    assert (CONFIG.capabilities.samples, CONFIG.capabilities.steps) == (True, 8)
    able = control.config.capabilities
    assert (able.samples, able.steps, able.vectors, able.schemes) == (False, 0, True, ("window", "prefix"))
    batch = pack_histories([[1, 2, 3], [4, 5]])
    one, other = (control.score(batch, generator(seed), steps) for seed, steps in ((1, None), (2, 3)))
    assert torch.equal(one, other)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("name", ["plain", "several", "noisy", "raw"])
def test_the_generator_decides_everything(name, sampler):
    batch = pack_histories([[1, 2, 3], [4, 5]])
    model = make(name, sampler=sampler)
    state = torch.get_rng_state()
    losses = [model.loss(batch, generator(seed)).item() for seed in (1, 1, 2)]
    model.eval()
    scores = [model.score(batch, generator(seed), 3) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_history_is_encoded_once_however_many_steps(monkeypatch):
    model, batch = make().eval(), pack_histories([[1, 2, 3], [4, 5]])
    calls = {"encoder": 0, "head": 0}
    for name in calls:
        module = getattr(model, name)

        def counted(*arguments, module=module, name=name, original=module.forward, **named):
            calls[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(module, "forward", counted)
    model.score(batch, generator(), None)
    assert calls == {"encoder": 1, "head": 8}


def test_every_position_has_a_step_and_noise_of_its_own(monkeypatch, data):
    batch, _ = Packer(data.store, windows(data.split.train, 6), everywhere=True).pack(torch.arange(12))
    model, seen = make(), {}
    original = model.process.diffuse

    def diffuse(x_0, step, noise):
        seen.update(x_0=x_0, step=step, noise=noise)
        return original(x_0, step, noise)

    monkeypatch.setattr(model.process, "diffuse", diffuse)
    model.loss(batch, generator())
    assert len(seen["step"]) == len(batch.targets) == len(batch.items)
    assert len(seen["step"].unique()) == 8
    assert len(seen["noise"].unique(dim=0)) == len(batch.items)
    torch.testing.assert_close(seen["x_0"].square().mean(1), torch.ones(len(batch.items)))  # of unit size


def test_powers_of_noise_are_how_often_steps_are_drawn():
    model = make("noisy", noise_power=3.0)
    expected = (1 - model.process.alpha_bar) ** 3
    torch.testing.assert_close(model.step_weight.double(), expected, rtol=1e-6, atol=0)
    assert torch.equal(make().step_weight, torch.ones(8))  # uniform


def test_scaled_input_is_nothing_where_there_is_only_noise():
    model = make("noisy", diffusion_steps=32)
    noise = torch.randn(5, 16, generator=generator())
    last = torch.tensor([31])
    told = model.step_embedding(last)
    faint = model._noised(noise, last, told) - told
    assert (faint.norm() / noise.norm()).item() == pytest.approx(float(model.process.alpha_bar[31].sqrt()), rel=1e-3)
    torch.testing.assert_close(make("plain", diffusion_steps=32)._noised(noise, last, told), noise + told)


def test_the_head_begins_as_if_the_condition_scaled_nothing():
    head = AdaptiveHead(width=8, blocks=2, inner=16, dropout=0.0)
    head.initialise(generator())
    condition = torch.randn(4, 8, generator=generator())
    assert not any(part.any() for part in head.prepare(condition))


def test_a_result_does_not_depend_on_batch_mates():
    model = make("control").eval()
    histories = [[1], [2, 3], [4, 5, 6], [7, 8, 9, 10, 11]]
    together = model.score(pack_histories(histories), generator())
    for row, history in enumerate(histories):
        torch.testing.assert_close(together[row], model.score(pack_histories([history]), generator())[0])


def test_longer_histories_than_places_are_refused(data):
    with pytest.raises(ValueError, match=r"max_length must be at least preprocessing.max_length \(6\), got 5"):
        make(max_length=5).observe(data)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 15, "heads": 1}, "width must be even"),
        ({"least_noise": 1.0}, "least_noise"),
        ({"evaluation_steps": 9}, "evaluation_steps must lie in 1 … diffusion_steps \\(8\\), got 9"),
        ({"target_scale": "units"}, "target_scale must be one of raw, unit"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **wrong)


def test_one_step_is_served_but_where_embeddings_are_expected():
    assert CONFIG.steps_for("serving") == 1
    assert CONFIG.steps_for("evaluation") is None
    assert dataclasses.replace(CONFIG, rounding="expected").steps_for("serving") is None


def test_steps_for_each_purpose():
    config = dataclasses.replace(CONFIG, validation_steps=2, serving_steps=4)
    assert [config.steps_for(purpose) for purpose in ("validation", "evaluation", "serving")] == [2, None, 4]
