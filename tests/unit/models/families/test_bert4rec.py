from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.bert4rec import BERT4RecConfig

N_ITEMS = 40
MASK = N_ITEMS
CONFIG = BERT4RecConfig(width=12, blocks=2, heads=2, inner=2, dropout=0.2, max_length=8, embedding_std=0.5)
HISTORIES = [[0], [39, 3], [5, 5, 7, 0], [1, 2, 3, 4, 5, 6, 7, 39], [8, 9, 10], [39]]


def ranker(checks, seed=0, **changes):
    model = checks.make("bert4rec", dataclasses.replace(CONFIG, **changes), N_ITEMS, seed)
    torch.nn.init.normal_(model.bias, generator=checks.generator(9))
    return model


def encode(checks, model, tokens: list[int]) -> torch.Tensor:
    """Encode one sequence of tokens in float64 with every step written out."""
    weights = checks.doubles(model)
    x = weights["embedding.weight"][tokens]
    begin = model.config.max_length - len(tokens) if model.config.positions == "end" else 0
    x = x + weights["encoder.position.weight"][begin : begin + len(tokens)]
    x = checks.norm(weights, "encoder.outer_norm", x)
    for block in (f"encoder.blocks.{number}" for number in range(model.config.blocks)):
        attended = checks.attend(weights, f"{block}.attention", x, model.config.heads, causal=False)
        x = checks.norm(weights, f"{block}.attention_norm", x + attended)
        x = checks.norm(
            weights, f"{block}.feed_forward_norm", x + checks.feed_forward(weights, f"{block}.feed_forward", x)
        )
    return x


def logits(checks, model, x: torch.Tensor) -> torch.Tensor:
    weights = checks.doubles(model)
    x = checks.norm(weights, "head_norm", checks.gelu(checks.linear(weights, "head", x)))
    return x @ weights["embedding.weight"][:N_ITEMS].T + weights["bias"]


@pytest.mark.parametrize("positions", ["start", "end"])
def test_scores_equal_a_loop_over_histories_in_float64(checks, positions):
    model = ranker(checks, positions=positions)
    found = checks.scores(model, HISTORIES)
    for row, history in zip(found, sorted(HISTORIES, key=len), strict=True):
        expected = logits(checks, model, encode(checks, model, [*history[-7:], MASK])[-1])  # the mask takes a place
        torch.testing.assert_close(row.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_history_scores_the_same_in_any_company(checks):
    checks.lone(ranker(checks), HISTORIES)


def test_a_later_item_changes_earlier_vectors(checks):
    model = ranker(checks, positions="start").eval()
    one, other = (pack_histories([history]) for history in ([0, 1, 2, 3], [0, 1, 2, 9]))
    before, after = (model.encoder(model.embedding(batch.items), Segments.of(batch), None) for batch in (one, other))
    assert not torch.allclose(before[0], after[0])


@pytest.mark.parametrize("everywhere", [True, False])
def test_windows_are_read_with_what_follows_them(checks, everywhere):
    scheme = "window" if everywhere else "prefix"
    batch = checks.windows([[1, 2, 3], [*range(10, 19)]], N_ITEMS, max_length=8, scheme=scheme)
    following = batch.targets[Segments.of(batch).last] if everywhere else batch.targets
    tokens, segments = ranker(checks)._followed_by(following, batch)
    read = [part.tolist() for part in tokens.split(list(segments.lengths))]
    if everywhere:
        assert read == [[1, 2, 3], [*range(11, 19)]]  # nine events, eight places: the newest stay
    else:
        assert {tuple(part) for part in read} >= {
            (1, 2),
            (1, 2, 3),
            (10, 11),
            tuple(range(10, 18)),
            tuple(range(11, 19)),
        }


def hide(checks, lengths: list[int], seed=0, **changes):
    segments = Segments.of(pack_histories([[0] * length for length in lengths]))
    hidden, repeated = ranker(checks, **changes)._hide(segments, checks.generator(seed))
    kept = hidden[~repeated]
    return SimpleNamespace(
        segments=segments, kept=kept, counts=segments.sequence[kept].bincount(minlength=len(lengths)).tolist()
    )


def test_the_share_that_is_hidden(checks):
    drawn = hide(checks, [1, 1, 2, 5, 8], last_only=0.0)
    assert drawn.counts == [1, 1, 1, 3, 5]  # max(1, round(0.6 m))
    assert len(drawn.kept.unique()) == len(drawn.kept)
    often = torch.stack(
        [torch.zeros(8).index_fill(0, hide(checks, [8], seed, last_only=0.0).kept, 1) for seed in range(400)]
    ).mean(0)
    torch.testing.assert_close(often, torch.full((8,), 5 / 8), atol=0.09, rtol=0)


def test_the_last_item_alone_is_hidden_as_often_as_asked(checks):
    drawn = hide(checks, [8] * 4000, last_only=0.25)
    alone = torch.tensor(drawn.counts) == 1
    assert float(alone.float().mean()) == pytest.approx(0.25, abs=0.03)
    sequence = drawn.segments.sequence[drawn.kept]
    assert torch.equal(drawn.kept[alone[sequence]], drawn.segments.last[alone])


@pytest.mark.parametrize("last_only", [0.0, 0.5])
def test_the_loss_is_the_mean_over_hidden_positions(checks, last_only):
    model = ranker(checks, dropout=0.0, last_only=last_only)
    batch = checks.windows([[1, 2, 3], [*range(10, 18)], [30, 31], [5, 4, 3, 2, 1, 0]], N_ITEMS)
    tokens, segments = model._followed_by(batch.targets[Segments.of(batch).last], batch)
    hidden, repeated = model._hide(segments, checks.generator(3))
    losses = []
    for number, (begin, length) in enumerate(zip(segments.offsets.tolist(), segments.lengths, strict=False)):
        own = [int(k) - begin for k in hidden[~repeated] if segments.sequence[k] == number]
        sequence = tokens[begin : begin + length].tolist()
        x = encode(checks, model, [MASK if place in own else item for place, item in enumerate(sequence)])
        found = logits(checks, model, x).log_softmax(1)
        losses += [-found[place, sequence[place]] for place in own]
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(model.loss(batch, checks.generator(3)).double(), expected, atol=1e-5, rtol=1e-5)


def test_overfits_fifty_sequences(checks):
    model = ranker(checks, dropout=0.0, width=32, last_only=0.5, embedding_std=0.1, positions="end")
    assert checks.overfit(model, steps=250, rate=5e-3) > 0.95


def test_the_seed_decides_every_bit_and_every_weight_learns(checks):
    batch = checks.windows([[*range(n)] for n in (2, 5, 9, 20)], N_ITEMS)
    checks.bits(lambda seed: ranker(checks, seed), batch)
    assert not checks.gradients(ranker(checks), checks.windows([[*range(9)]] * 30, N_ITEMS))


def test_its_number_of_parameters(checks):
    model = checks.make("bert4rec", BERT4RecConfig(), 12_101)
    block = 12 * 64**2 + 13 * 64  # BERT's: four square maps, two of four times the width, biases, two normalisations
    head = 64**2 + 64 + 2 * 64 + 12_101
    assert sum(p.numel() for p in model.parameters()) == 12_102 * 64 + 50 * 64 + 2 * 64 + 2 * block + head


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="positions must be one of start, end, none, got 'relative'"):
        BERT4RecConfig(positions="relative")
