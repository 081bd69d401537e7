from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.encoder import Block
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.bsarec import BSARecConfig, FrequencyBlock, low_pass

N_ITEMS = 40
CONFIG = BSARecConfig(width=12, blocks=2, heads=2, inner=2, dropout=0.2, max_length=8, embedding_std=0.5, cutoff=3)
HISTORIES = [[0], [39, 3], [5, 5, 7, 0], [1, 2, 3, 4, 5, 6, 7, 39], [8, 9, 10], [39]]
FILTERS = ("whole", "causal")


def ranker(checks, seed=0, **changes):
    return checks.make("bsarec", dataclasses.replace(CONFIG, **changes), N_ITEMS, seed)


def filtered(x: torch.Tensor, config: BSARecConfig) -> torch.Tensor:
    """Keep the low frequencies of one sequence `[length, width]` behind zeros that fill all places."""
    padded = torch.cat([x.new_zeros(config.max_length - len(x), x.shape[1]), x])
    spectrum = torch.fft.rfft(padded, dim=0, norm="ortho")
    spectrum[config.cutoff // 2 + 1 :] = 0
    return torch.fft.irfft(spectrum, n=config.max_length, dim=0, norm="ortho")[-len(x) :]


def reference(checks, model, history: list[int]) -> torch.Tensor:
    """Score one history in float64 with every step written out."""
    config, weights = model.config, checks.doubles(model)
    x = weights["embedding.weight"][history] + weights["encoder.position.weight"][config.max_length - len(history) :]
    x = checks.norm(weights, "encoder.outer_norm", x)
    for block in (f"encoder.blocks.{number}" for number in range(config.blocks)):
        if config.filter == "whole":
            low = filtered(x, config)
        else:  # each place as if it were the last
            low = torch.stack([filtered(x[: place + 1], config)[-1] for place in range(len(x))])
        mixed = low + weights[f"{block}.sqrt_beta"] ** 2 * (x - low)
        attended = checks.attend(weights, f"{block}.attention", x, config.heads, causal=True)
        x = config.alpha * checks.norm(weights, f"{block}.filter_norm", x + mixed) + (1 - config.alpha) * checks.norm(
            weights, f"{block}.attention_norm", x + attended
        )
        x = checks.norm(
            weights, f"{block}.feed_forward_norm", x + checks.feed_forward(weights, f"{block}.feed_forward", x)
        )
    return weights["embedding.weight"] @ x[-1]


@pytest.mark.parametrize("filter", FILTERS)
def test_scores_equal_a_loop_over_histories_in_float64(checks, filter):
    model = ranker(checks, filter=filter)
    found = checks.scores(model, HISTORIES)
    expected = torch.stack([reference(checks, model, history) for history in sorted(HISTORIES, key=len)])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("filter", FILTERS)
def test_a_history_scores_the_same_in_any_company(checks, filter):
    checks.lone(ranker(checks, filter=filter), HISTORIES)


@pytest.mark.parametrize("filter", FILTERS)
def test_only_the_whole_filter_lets_a_later_item_change_earlier_vectors(checks, filter):
    model = ranker(checks, filter=filter).eval()
    before, after = (
        model._encode(pack_histories([history]), checks.generator(), last_only=False)
        for history in ([*range(6)], [0, 1, 2, 9, 4, 5])
    )
    assert torch.allclose(before[:3], after[:3]) == (filter == "causal")
    assert not torch.allclose(before[3], after[3])
    assert model.config.capabilities.schemes == (("window", "prefix") if filter == "causal" else ("prefix",))


def test_both_filters_are_one_model_in_one_block(checks):
    whole, causal = (ranker(checks, filter=filter, blocks=1) for filter in FILTERS)
    torch.testing.assert_close(checks.scores(whole, HISTORIES), checks.scores(causal, HISTORIES))


def test_without_the_filter_a_block_is_self_attention(checks):
    plain = Block(12, 2, 0.0, inner=24, causal=True, norm="post")
    low = low_pass(8, 3, causal=False)
    mixed = FrequencyBlock(12, 2, 0.0, inner=24, causal=True, norm="post", low=low, alpha=0.0)
    mixed.load_state_dict(plain.state_dict(), strict=False)
    batch = pack_histories(HISTORIES)
    x, segments = torch.randn(len(batch.items), 12, generator=checks.generator()), Segments.of(batch)
    for last_only in (False, True):
        torch.testing.assert_close(
            mixed(x, segments, None, last_only=last_only), plain(x, segments, None, last_only=last_only)
        )


def test_what_passes_the_filter():
    places = torch.arange(8)
    waves = torch.stack([torch.ones(8), torch.cos(2 * torch.pi * places / 8), torch.cos(4 * torch.pi * places / 8)], 1)
    passed = low_pass(8, 3, causal=False) @ waves
    torch.testing.assert_close(passed, waves * torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(low_pass(8, 8, causal=False), torch.eye(8))


@pytest.mark.parametrize(("filter", "scheme"), [("whole", "prefix"), ("causal", "window")])
def test_overfits_fifty_sequences(checks, filter, scheme):
    model = ranker(checks, filter=filter, dropout=0.0, width=32, embedding_std=0.1)
    assert checks.overfit(model, scheme=scheme, steps=120, rate=5e-3) > 0.95


@pytest.mark.parametrize("filter", FILTERS)
def test_the_seed_decides_every_bit_and_every_weight_learns(checks, filter):
    scheme = "window" if filter == "causal" else "prefix"
    batch = checks.windows([[*range(n)] for n in (2, 5, 9, 20)], N_ITEMS, scheme=scheme)
    checks.bits(lambda seed: ranker(checks, seed, filter=filter), batch)
    assert not checks.gradients(ranker(checks, filter=filter), batch)


def test_it_has_the_published_number_of_parameters(checks):
    model = checks.make("bsarec", BSARecConfig(), 12_101)
    assert sum(p.numel() for p in model.parameters()) == 878_208 - 64  # the authors' log for Beauty; a row for padding


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], got 1.2"):
        BSARecConfig(alpha=1.2)
