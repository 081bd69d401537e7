"""VSAN's latents: their divergence, its annealing, and what it is without them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import windows
from diffurecsys.data.split import leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models import build_ranker
from diffurecsys.models.families.vsan import VSANConfig, gaussian_divergence

N_ITEMS = 20
CONFIG = VSANConfig(width=8, max_length=10, dropout=0.0, annealing=4, cap=0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**changes):
    return build_ranker("vsan", dataclasses.replace(CONFIG, **changes), N_ITEMS, generator())


def batch_of():
    store = SequenceStore.from_lists([[u % N_ITEMS, 3, 4, (u * 7) % N_ITEMS, 5, 6, 7] for u in range(9)], N_ITEMS)
    packer = Packer(store, windows(leave_one_out(store, max_length=10).train, 10), everywhere=True)
    return packer.pack(torch.arange(len(packer)))[0]


def test_the_divergence_equals_torchs():
    mean, log_variance = torch.randn(2, 5, 3, generator=generator()).unbind()
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), expected)


def test_its_weight_rises_to_the_cap_and_evaluation_does_not_count():
    model, plain, batch = make(), make(cap=0.0), batch_of()
    expected = [0.0, 0.25, 0.5, 0.5]
    for beta in expected:
        added = model.loss(batch, generator()) - plain.loss(batch, generator())
        assert float(added.detach()) == pytest.approx(beta * float(model.divergence), abs=1e-5)
    assert int(model.step) == len(expected) == int(model.state_dict()["step"])
    model.eval().loss(batch, generator())
    assert int(model.step) == len(expected)


def test_without_variance_and_divergence_it_is_two_stacks_trained_by_cross_entropy():
    model, batch = make(cap=0.0), batch_of()
    with torch.no_grad():
        model.log_variance.weight.zero_()
        model.log_variance.bias.fill_(-200.0)  # a standard deviation of 4e-44
        model.mean.weight.copy_(torch.eye(8))
    segments = Segments.of(batch)
    x = model.encoder(model.embedding(batch.items) * math.sqrt(8), segments, generator())
    x = model.decoder(x, segments, generator())
    with torch.no_grad():
        model.output.bias.copy_(torch.randn(N_ITEMS, generator=generator()))
    logits = model.output(x)
    expected = torch.nn.functional.cross_entropy(logits, batch.targets)
    torch.testing.assert_close(model.loss(batch, generator()), expected)
    ones = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    torch.testing.assert_close(catalogue_cross_entropy(ones, model.items(), batch.targets), expected)


def test_scores_use_the_means():
    model, batch = make().eval(), batch_of()
    assert not model.config.capabilities.samples
    assert torch.equal(model.score(batch, generator(1)), model.score(batch, generator(2)))


def test_no_position_sees_a_later_one():
    model, batch = make().eval(), batch_of()
    changed = dataclasses.replace(batch, items=batch.items.clone())
    changed.items[-2] = (changed.items[-2] + 1) % N_ITEMS
    segments = Segments.of(batch)

    def decoded(b):
        return model._decode(model._latents(b, segments, generator())[0], segments, generator(), last_only=False)

    same = (decoded(batch) == decoded(changed)).all(1)
    assert same[:-2].all()
    assert not same[-2:].any()
