"""SASRec: whole sequences teach what all their prefixes teach, and nothing of what comes later."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import SCHEMES
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.models.families.sasrec import SASRecConfig
from diffurecsys.models.registry import build_ranker
from diffurecsys.training.config import TrainingConfig
from diffurecsys.training.seeding import derive_generator
from diffurecsys.training.trainer import train

N_ITEMS = 40
LOSSES = {
    "bce": {},
    "gbce": {"negatives": 3},
    "sampled": {"negatives": 12, "negatives_power": 0.5},
    "cross_entropy": {},
}
POSITIONS = ("none", "start", "end", "relative")


def make_data(*, max_length=12, users=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 20, (users,), generator=generator).tolist()
    sequences = [torch.randint(N_ITEMS, (length,), generator=generator).tolist() for length in lengths]
    store = SequenceStore.from_lists(sequences, N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=max_length))


def make_ranker(data, **changes):
    config = SASRecConfig(**{"width": 16, "heads": 2, "inner": 2, "dropout": 0.0, "max_length": 20, **changes})
    ranker = build_ranker("sasrec", config, N_ITEMS, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in ranker.named_parameters():
        if "position" in name or "distance" in name:  # large enough to matter
            torch.nn.init.normal_(parameter, generator=generator)
    ranker.observe(data)
    return ranker


def batch_of(data, scheme, examples=None):
    scheme = SCHEMES[scheme]
    examples = scheme.cut(data.split.train, data.split.max_length) if examples is None else examples
    packer = Packer(data.store, examples, everywhere=scheme.everywhere)
    return packer.pack(torch.arange(len(examples)))[0]


@pytest.mark.parametrize("positions", ["none", "start", "relative"])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_whole_sequences_and_prefixes_give_the_same_loss_and_gradients(positions, similarity):
    """Where no history is cut: the mean over all positions is the mean over all prefixes."""
    data = make_data(max_length=20)
    ranker = make_ranker(data, positions=positions, similarity=similarity, loss="cross_entropy")
    results = []
    for scheme in ("window", "prefix"):
        ranker.zero_grad()
        loss = ranker.loss(batch_of(data, scheme), torch.Generator())
        loss.backward()
        results.append((loss.detach(), {name: p.grad.clone() for name, p in ranker.named_parameters()}))
    (window, window_grads), (prefix, prefix_grads) = results
    torch.testing.assert_close(window, prefix, atol=1e-5, rtol=1e-5)
    for name, grad in window_grads.items():
        torch.testing.assert_close(grad, prefix_grads[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_position_of_a_window_is_scored_as_its_prefix_is(loss):
    data = make_data(max_length=20)
    ranker = make_ranker(data, positions="relative", loss=loss, **LOSSES[loss]).eval()
    window, prefix = batch_of(data, "window"), batch_of(data, "prefix")
    at_all = ranker._encode(window, torch.Generator(), last_only=False)
    at_ends = ranker._encode(prefix, torch.Generator(), last_only=True)
    # both hold the same rows in another order: pair them by their scores of a few items and their labels
    order = [torch.argsort(rows @ torch.linspace(-1, 1, rows.shape[1])) for rows in (at_all, at_ends)]
    torch.testing.assert_close(at_all[order[0]], at_ends[order[1]], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
def test_no_position_sees_a_later_item(positions):
    data = make_data(users=1)
    ranker = make_ranker(data, positions=positions).eval()
    batch = batch_of(data, "window", SCHEMES["window"].cut(data.split.train, 12)[-1:])
    before = ranker._encode(batch, torch.Generator(), last_only=False)
    for changed in range(len(batch.items)):
        items = batch.items.clone()
        items[changed] = (items[changed] + 1) % N_ITEMS
        after = ranker._encode(dataclasses.replace(batch, items=items), torch.Generator(), last_only=False)
        assert torch.equal(before[:changed], after[:changed])
        assert (before[changed:] != after[changed:]).any(dim=1).all()


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_history_does_not_feel_its_batch_mates(positions):
    data = make_data()
    ranker = make_ranker(data, positions=positions).eval()
    packer = Packer(data.store, data.split.test)
    batch, index = packer.pack(torch.arange(len(packer)))
    together = ranker.score(batch, torch.Generator())
    for row, example in enumerate(index):
        alone = ranker.score(packer.pack(example[None])[0], torch.Generator())
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scheme", ["window", "prefix"])
@pytest.mark.parametrize("loss", LOSSES)
def test_validation_and_test_items_are_never_trained_on(loss, scheme):
    """Other held-out items: the same weights after an epoch."""
    data = make_data()
    held_out = torch.cat([data.split.validation.end, data.split.test.end])
    items = data.store.items.clone()
    items[held_out] = (items[held_out] + 7) % N_ITEMS
    other = StudyData(dataclasses.replace(data.store, items=items), data.split)
    states = []
    for version in (data, other):
        ranker = make_ranker(version, loss=loss, dropout=0.2, **LOSSES[loss])
        config = TrainingConfig(scheme=scheme, epochs=1, batch_size=8, device="cpu", lr_schedule="constant")
        train(ranker, version, config, seed=0)
        states.append(ranker.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("loss", LOSSES)
def test_every_parameter_learns_and_a_small_batch_is_learnt_by_heart(loss):
    data = make_data(users=8)
    ranker = make_ranker(data, loss=loss, positions="relative", **LOSSES[loss])
    batch, generator = batch_of(data, "window"), derive_generator(0, "noise")
    optimiser = torch.optim.Adam(ranker.parameters(), lr=0.01)
    losses = []
    for step in range(120):
        optimiser.zero_grad()
        value = ranker.loss(batch, generator)
        value.backward()
        if not step:
            for name, parameter in ranker.named_parameters():
                assert parameter.grad is not None, name
                # all that a bias of the keys adds to a row of scores is one number, which the softmax takes away
                assert parameter.grad.abs().sum() > 0, name
        optimiser.step()
        losses.append(float(value.detach()))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


@pytest.mark.parametrize(("similarity", "scale"), [("dot", None), ("cosine", None), ("cosine", 1.5)])
def test_scores_are_those_of_a_plain_transformer_in_float64(similarity, scale):
    """A loop over histories with PyTorch's own parts, in double precision."""
    data = make_data()
    ranker = make_ranker(data, positions="relative", similarity=similarity, input_scale=scale).eval()
    batch = batch_of(data, "prefix")
    state = {name: value.double() for name, value in ranker.state_dict().items()}

    def norm(x, name):
        return F.layer_norm(x, (16,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-12)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    scores = ranker.score(batch, torch.Generator())
    items = state["embedding.weight"]
    for row, history in enumerate(batch.items.split(list(batch.lengths))):
        x, place = items[history] * (scale or 4), torch.arange(len(history))
        distance = place[:, None] - place
        for number in range(2):
            block = f"encoder.blocks.{number}"
            parts = linear(norm(x, f"{block}.attention_norm"), f"{block}.attention.query_key_value")
            q, k, v = (part.unflatten(-1, (2, 8)).transpose(0, 1) for part in parts.chunk(3, dim=-1))
            bias = state[f"{block}.attention.distance_bias"][:, distance.clamp(min=0)]
            weight = (q @ k.mT / 8**0.5 + bias).masked_fill(distance < 0, float("-inf")).softmax(dim=-1)
            x = x + linear((weight @ v).transpose(0, 1).flatten(1), f"{block}.attention.output")
            hidden = linear(norm(x, f"{block}.feed_forward_norm"), f"{block}.feed_forward.inner")
            x = x + linear(F.gelu(hidden, approximate="tanh"), f"{block}.feed_forward.outer")
        user = norm(x, "encoder.outer_norm")[-1]
        if similarity == "cosine":
            expected = F.normalize(items, dim=1) @ F.normalize(user, dim=0) / ranker.config.temperature
        else:
            expected = items @ user
        torch.testing.assert_close(scores[row].double(), expected, atol=1e-4, rtol=1e-4)


def test_histories_longer_than_the_network_are_refused_before_training():
    with pytest.raises(ValueError, match=r"max_length must be at least preprocessing.max_length \(12\), got 5"):
        make_ranker(make_data(), max_length=5)
    make_ranker(make_data(), max_length=5, positions="none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "ce"},
        {"positions": "absolute"},
        {"similarity": "cos"},
        {"heads": 3},
        {"temperature": 0.0},
        {"input_scale": 0.0},
        {"calibration": 1.5},
        {"negatives": 0},
        {"dropout": 1.0},
    ],
)
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SASRecConfig(**wrong)
