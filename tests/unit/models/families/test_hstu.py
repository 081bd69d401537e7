from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.hstu import HSTUConfig, TransducerBlock

N_ITEMS = 40
CONFIG = HSTUConfig(width=12, blocks=2, heads=2, max_length=8, embedding_std=0.5, negatives=60, temperature=0.1)
HISTORIES = [[0], [39, 3], [5, 5, 7, 0], [1, 2, 3, 4, 5, 6, 7, 39], [8, 9, 10], [39]]
LOSSES = ("sampled", "cross_entropy")


def ranker(checks, seed=0, **changes):
    return checks.make("hstu", dataclasses.replace(CONFIG, **changes), N_ITEMS, seed)


def reference(checks, model, history: list[int]) -> torch.Tensor:
    """Score one history in float64 with every step written out."""
    config, weights = model.config, checks.doubles(model)
    items = weights["embedding.weight"]
    x = items[history] * config.width**0.5 + weights["encoder.position.weight"][: len(history)]
    step = config.width // config.heads
    for block in (f"encoder.blocks.{number}" for number in range(config.blocks)):
        mapped = checks.linear(weights, f"{block}.gate_value_query_key", checks.norm(weights, f"{block}.norm", x, 1e-6))
        gate, value, query, key = F.silu(mapped).chunk(4, dim=1)
        out = torch.zeros_like(x)
        for t in range(len(x)):
            for s in range(t + 1):
                for part in (slice(head * step, (head + 1) * step) for head in range(config.heads)):
                    score = query[t, part] @ key[s, part] + weights[f"{block}.distance_bias"][t - s]
                    out[t, part] += score * torch.sigmoid(score) / config.max_length * value[s, part]
        out = checks.norm(weights, f"{block}.attention_norm", out, 1e-6) * gate
        x = x + checks.linear(weights, f"{block}.output", out)
    user = checks.norm(weights, "encoder.outer_norm", x)[-1]
    return (items / items.norm(dim=1, keepdim=True)) @ (user / user.norm()) / config.temperature


def test_scores_equal_a_loop_over_histories_in_float64(checks):
    model = ranker(checks)
    found = checks.scores(model, HISTORIES)
    expected = torch.stack([reference(checks, model, history) for history in sorted(HISTORIES, key=len)])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_a_history_scores_the_same_in_any_company(checks):
    checks.lone(ranker(checks), HISTORIES)


def test_a_later_item_changes_no_earlier_vector(checks):
    model = ranker(checks).eval()
    before, after = (
        model._encode(pack_histories([history]), checks.generator(), last_only=False)
        for history in ([*range(6)], [0, 1, 2, 9, 4, 5])
    )
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])


def test_attention_tells_how_often_an_item_stands_there_which_softmax_does_not():
    block = TransducerBlock(4, 1, 0.0, max_length=8)
    batch = pack_histories([[0], [0, 0], [0, 0, 0]])
    same = torch.tensor([[1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])  # value, query, key
    sums = block._attend(same.expand(6, -1), Segments.of(batch))
    once = F.silu(torch.tensor(4.0)) / 8 * same[0, :4]
    expected = torch.tensor([1, 1, 2, 1, 2, 3])[:, None] * once
    torch.testing.assert_close(sums, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_overfits_fifty_sequences(checks, loss):
    model = ranker(checks, loss=loss, dropout=0.0, width=32, embedding_std=0.1)
    assert checks.overfit(model, steps=150, rate=5e-3) > 0.95


@pytest.mark.parametrize("loss", LOSSES)
def test_the_seed_decides_every_bit_and_every_weight_learns(checks, loss):
    batch = checks.windows([[*range(n)] for n in (2, 5, 9, 20)], N_ITEMS)
    checks.bits(lambda seed: ranker(checks, seed, loss=loss), batch)
    assert not checks.gradients(ranker(checks, loss=loss), batch)


def test_its_number_of_parameters(checks):
    model = checks.make("hstu", HSTUConfig(), 12_101)
    # a block: four maps without biases, one with, two normalisations, a number for each of 50 distances
    block = 5 * 64**2 + 5 * 64 + 50
    assert sum(p.numel() for p in model.parameters()) == 12_101 * 64 + 50 * 64 + 2 * block + 2 * 64


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0.0"):
        HSTUConfig(temperature=0.0)
