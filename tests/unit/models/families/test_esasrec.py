from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.encoder import SelfAttention
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.esasrec import ESASRecConfig, GatedBlock

N_ITEMS = 40
CONFIG = ESASRecConfig(width=12, blocks=2, heads=2, inner=2, max_length=8, embedding_std=0.5, negatives=60)
HISTORIES = [[0], [39, 3], [5, 5, 7, 0], [1, 2, 3, 4, 5, 6, 7, 39], [8, 9, 10], [39]]
LOSSES = ("sampled", "cross_entropy")


def ranker(checks, seed=0, **changes):
    return checks.make("esasrec", dataclasses.replace(CONFIG, **changes), N_ITEMS, seed)


def reference(checks, model, history: list[int]) -> torch.Tensor:
    """Score one history in float64 with every step written out."""
    config, weights = model.config, checks.doubles(model)
    x = weights["embedding.weight"][history] + weights["encoder.position.weight"][config.max_length - len(history) :]
    for block in (f"encoder.blocks.{number}" for number in range(config.blocks)):
        normed = checks.norm(weights, f"{block}.attention_norm", x)
        attended = checks.attend(weights, f"{block}.attention", normed, config.heads, causal=True)
        x = x + torch.sigmoid(checks.linear(weights, f"{block}.attention_gate", x)) * attended
        normed = checks.norm(weights, f"{block}.feed_forward_norm", x)
        gate, value = checks.linear(weights, f"{block}.feed_forward.inner", normed).chunk(2, dim=1)
        mapped = checks.linear(weights, f"{block}.feed_forward.outer", gate * torch.sigmoid(gate) * value)
        x = x + torch.sigmoid(checks.linear(weights, f"{block}.feed_forward_gate", x)) * mapped
    return weights["embedding.weight"] @ checks.norm(weights, "encoder.outer_norm", x)[-1]


def test_scores_equal_a_loop_over_histories_in_float64(checks):
    model = ranker(checks)
    found = checks.scores(model, HISTORIES)
    expected = torch.stack([reference(checks, model, history) for history in sorted(HISTORIES, key=len)])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_history_scores_the_same_in_any_company(checks):
    checks.lone(ranker(checks, positions="relative"), HISTORIES)


def test_a_later_item_changes_no_earlier_vector(checks):
    model = ranker(checks, positions="start").eval()
    before, after = (
        model._encode(pack_histories([history]), checks.generator(), last_only=False)
        for history in ([*range(6)], [0, 1, 2, 9, 4, 5])
    )
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])


def test_shut_gates_let_nothing_pass_and_open_ones_all():
    block = GatedBlock(12, 2, 0.0, inner=24, causal=True, norm="pre", distances=0)
    batch = pack_histories(HISTORIES)
    x, segments = torch.randn(len(batch.items), 12), Segments.of(batch)
    with torch.no_grad():
        for gate in (block.attention_gate, block.feed_forward_gate):
            gate.weight.zero_()
            gate.bias.fill_(-100)
        assert torch.equal(block(x, segments, None), x)
        block.attention_gate.bias.fill_(100)
        plain = SelfAttention(12, 2, causal=True)
        plain.load_state_dict(block.attention.state_dict())
        expected = x + plain(F.layer_norm(x, (12,), eps=1e-12), segments)
        torch.testing.assert_close(block(x, segments, None), expected)


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
    model = checks.make("esasrec", ESASRecConfig(), 12_101)
    # a block: attention 4d² + 4d, SwiGLU without biases 3 · 4d², two gates 2d² + 2d, two normalisations 4d
    block = 18 * 64**2 + 10 * 64
    assert sum(p.numel() for p in model.parameters()) == 12_101 * 64 + 50 * 64 + 2 * block + 2 * 64


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="loss must be one of sampled, cross_entropy, got 'bce'"):
        ESASRecConfig(loss="bce")
