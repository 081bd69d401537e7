from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.recurrent import time_major
from diffurecsys.layers.segments import Segments
from diffurecsys.models.families.gru4rec import GRU4RecConfig, bpr_max

N_ITEMS = 40
CONFIG = GRU4RecConfig(width=12, hidden=20, layers=2, dropout=0.2, loss="cross_entropy", embedding_std=0.5)
HISTORIES = [[0], [39, 3], [5, 5, 7, 0], [1, 2, 3, 4, 5, 6, 7, 39], [8, 9, 10], [39]]
LOSSES = ("bpr_max", "sampled", "cross_entropy")


def ranker(checks, seed=0, **changes):
    return checks.make("gru4rec", dataclasses.replace(CONFIG, **changes), N_ITEMS, seed)


def reference(model, history: list[int]) -> torch.Tensor:
    """Score one history with the recurrence written out, in float64."""
    weights = {name: weight.double() for name, weight in model.state_dict().items()}
    inputs = weights["embedding.weight"][history]
    for layer in range(model.config.layers):
        from_input, from_state = weights[f"gru.weight_ih_l{layer}"], weights[f"gru.weight_hh_l{layer}"]
        state, states = torch.zeros(model.config.hidden, dtype=torch.float64), []
        for x in inputs:
            (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (
                (from_input @ x).chunk(3),
                (from_state @ state).chunk(3),
            )
            reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
            state = (1 - update) * torch.tanh(new_x + reset * new_h) + update * state
            states.append(state)
        inputs = states
    mapped = weights["output.weight"] @ inputs[-1] + weights["output.bias"]
    return weights["embedding.weight"] @ mapped


def test_scores_equal_a_loop_over_histories_in_float64(checks):
    model = ranker(checks)
    found = checks.scores(model, HISTORIES)
    expected = torch.stack([reference(model, history) for history in sorted(HISTORIES, key=len)])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_history_scores_the_same_in_any_company(checks):
    checks.lone(ranker(checks), HISTORIES)


def test_tokens_lie_as_pytorch_packs_them():
    batch = pack_histories([[1], [2, 3], [4, 5], [6, 7, 8, 9]])
    slot, counts = time_major(Segments.of(batch))
    packed = pack_sequence([torch.tensor(h) for h in ([6, 7, 8, 9], [4, 5], [2, 3], [1])])
    assert torch.equal(packed.data[slot], batch.items)
    assert torch.equal(counts, packed.batch_sizes)


def test_a_later_item_changes_no_earlier_vector(checks):
    model = ranker(checks).eval()
    one, other = ([*range(6)], [0, 1, 2, 9, 4, 5])
    before, after = (
        model._encode(pack_histories([history]), checks.generator(), last_only=False) for history in (one, other)
    )
    assert torch.equal(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])
    assert not torch.allclose(before[5], after[5])


@pytest.mark.parametrize("loss", LOSSES)
def test_overfits_fifty_sequences(checks, loss):
    model = ranker(
        checks, loss=loss, hidden=64, width=32, layers=1, dropout=0.0, negatives=40, negatives_power=0.0, penalty=0.0
    )
    assert checks.overfit(model) > 0.95


@pytest.mark.parametrize("loss", LOSSES)
def test_the_seed_decides_every_bit_and_every_weight_learns(checks, loss):
    batch = checks.windows([[*range(n)] for n in (2, 5, 9, 20)], N_ITEMS)
    checks.bits(lambda seed: ranker(checks, seed, loss=loss), batch)
    assert not checks.gradients(ranker(checks, loss=loss), batch)


def test_bpr_max_is_its_definition_and_bpr_for_one_negative():
    draw = torch.Generator().manual_seed(0)
    x, items = torch.randn(5, 4, generator=draw), torch.randn(9, 4, generator=draw)
    targets, negatives = torch.tensor([0, 8, 3, 3, 1]), torch.tensor([2, 5, 7])
    rows = []
    for vector, target in zip(x, targets, strict=True):
        own, others = vector @ items[target], items[negatives] @ vector
        share = others.softmax(0)
        rows.append(-(share * torch.sigmoid(own - others)).sum().log() + 0.3 * (share * others**2).sum())
    torch.testing.assert_close(bpr_max(x, items, targets, negatives, penalty=0.3), torch.stack(rows).mean())
    margin = (x * (items[targets] - items[2])).sum(1)
    one = bpr_max(x, items, targets, negatives[:1], penalty=0.0)
    torch.testing.assert_close(one, -torch.sigmoid(margin).log().mean())


def test_its_number_of_parameters(checks):
    model = checks.make("gru4rec", GRU4RecConfig(), 12_101)
    # items; three gates from 64 inputs and 128 states, as RecBole's without biases; the map back to 64
    assert sum(p.numel() for p in model.parameters()) == 12_101 * 64 + 3 * 128 * (64 + 128) + 128 * 64 + 64


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="loss must be one of bpr_max, sampled, cross_entropy, got 'top1'"):
        GRU4RecConfig(loss="top1")
