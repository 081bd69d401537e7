"""ACVAE's noise, and which part of its loss moves which network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.next_sequence import next_sequence
from diffurecsys.layers.recurrent import shift
from diffurecsys.layers.segments import Segments
from diffurecsys.models import build_ranker
from diffurecsys.models.families.acvae import ACVAEConfig

N_ITEMS = 20
CONFIG = ACVAEConfig(width=8, hidden=6, latent=4, dropout=0.0)
HISTORIES = [[1, 2], [3, 4, 5], [6, 7, 8, 9, 10, 11, 12]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**changes):
    return build_ranker("acvae", dataclasses.replace(CONFIG, **changes), N_ITEMS, generator())


def batch_of():
    batch = pack_histories(HISTORIES)
    return dataclasses.replace(batch, targets=(batch.items + 1) % N_ITEMS, everywhere=True)


def gradients(**changes):
    model = make(**changes)
    model.loss(batch_of(), generator(3)).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_the_density_ratio_learns_from_its_own_part_alone_and_moves_latents_in_the_other():
    with_weight, without = gradients(), gradients(divergence=0.0)
    ratio = [name for name in without if name.startswith("ratio.")]
    assert all(torch.equal(with_weight[name], without[name]) for name in ratio)
    assert not torch.equal(with_weight["to_latent.weight"], without["to_latent.weight"])


def test_the_critic_moves_latents_as_much_as_its_weight_says():
    none, some, twice = (gradients(contrast=weight)["to_latent.weight"] for weight in (0.0, 0.1, 0.2))
    torch.testing.assert_close(twice - none, 2 * (some - none), atol=1e-6, rtol=1e-3)


@torch.inference_mode()
def test_noise_at_scoring_is_an_option_and_averages_out():
    batch = pack_histories(HISTORIES)
    still, noisy, mean = (make(scoring_draws=draws).eval() for draws in (0, 1, 400))
    assert [m.config.capabilities.samples for m in (still, noisy, mean)] == [False, True, True]
    assert torch.equal(still.score(batch, generator(1)), still.score(batch, generator(2)))
    assert not torch.equal(noisy.score(batch, generator(1)), noisy.score(batch, generator(2)))
    assert torch.equal(noisy.score(batch, generator(1)), noisy.score(batch, generator(1)))
    one, other = (noisy.users(batch, generator(seed)) for seed in (1, 2))
    spread = float((one - other).square().mean())
    one, other = (mean.users(batch, generator(seed)) for seed in (1, 2))
    assert float((one - other).square().mean()) < spread / 100  # of 400 draws, a 400th is left


def test_no_position_sees_a_later_one():
    model = make(scoring_draws=0).eval()
    segments = Segments.of(pack_histories(HISTORIES))
    items = pack_histories(HISTORIES).items
    changed = items.clone()
    changed[-2] = 0
    one, other = (model._latents(model.embedding(i), segments, generator(), noisy=False) for i in (items, changed))
    same = (one == other).all(1)
    assert same[:-2].all()
    assert not same[-2:].any()


def test_shifts_and_partners_stay_in_their_sequences():
    segments = Segments.of(pack_histories(HISTORIES))
    x = torch.arange(1.0, 13.0)[:, None]
    assert shift(x, 2, segments)[:, 0].tolist() == [0, 0, 0, 0, 3, 0, 0, 6, 7, 8, 9, 10]
    assert next_sequence(segments).tolist() == [2, 3, 5, 6, 7, 0, 1, 1, 1, 1, 1, 1]


def test_has_as_many_parameters_as_its_layers_say():
    gru, linear = (lambda i, h: 3 * h * (i + h + 2)), (lambda i, o: i * o + o)
    encoder = gru(128, 100) + linear(100, 100) * 2 + linear(500, 200) + linear(200, 100) + linear(100, 64)
    ratio = linear(192, 128) + 4 * linear(128, 128) + linear(128, 64)
    critic = gru(192, 128) + linear(128, 1)
    items = N_ITEMS * 128 + linear(128, N_ITEMS) + linear(64, 128)
    model = build_ranker("acvae", ACVAEConfig(), N_ITEMS)
    assert sum(p.numel() for p in model.parameters()) == encoder + ratio + critic + items


def test_negative_draws_are_refused():
    with pytest.raises(ValueError, match="scoring_draws must be at least 0, got -1"):
        ACVAEConfig(scoring_draws=-1)
