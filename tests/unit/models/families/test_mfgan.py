"""MFGAN's phases, what its discriminators see, and which part of its loss moves which network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import Packer, pack_histories
from diffurecsys.data.schemes import windows
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.layers.discriminator import Discriminator
from diffurecsys.layers.encoder import Encoder
from diffurecsys.layers.segments import Segments
from diffurecsys.losses.binary import binary_cross_entropy, sample_negatives
from diffurecsys.models import build_ranker
from diffurecsys.models.families.mfgan import MFGANConfig

N_ITEMS = 20
CONFIG = MFGANConfig(width=8, max_length=10, dropout=0.0, warmup=0, discriminator_every=1, fakes=4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data_of(held_out: int = 18) -> StudyData:
    rows = [[*[u % 10, 3, 4, u * 7 % 10, 5][: 2 + u % 4], held_out, held_out + 1] for u in range(12)]
    store = SequenceStore.from_lists(rows, N_ITEMS)
    return StudyData(store, leave_one_out(store, max_length=10))


def make(**changes):
    model = build_ranker("mfgan", dataclasses.replace(CONFIG, **changes), N_ITEMS, generator())
    model.observe(data_of())
    return model


def batch_of():
    data = data_of()
    packer = Packer(data.store, windows(data.split.train, 10), everywhere=True)
    return packer.pack(torch.arange(len(packer)))[0]


def gradients(model):
    model.loss(batch_of(), generator(3)).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_many_candidates_are_judged_like_whole_sequences_in_a_bidirectional_block():
    discriminator = Discriminator(N_ITEMS, 8, 2, 0.25, 6).double().eval()
    discriminator.initialise(generator())
    whole = Encoder(width=8, blocks=1, heads=2, inner=8, dropout=0.0, causal=False, positions="end", max_length=7)
    whole = whole.double().eval()
    whole.position.load_state_dict(discriminator.position.state_dict())
    whole.blocks[0].load_state_dict(discriminator.block.state_dict())
    whole.outer_norm.load_state_dict(discriminator.outer_norm.state_dict())
    histories = [[1], [2, 3], [4, 5], [4, 6, 7], [1, 2, 3, 4, 5, 6]]
    batch = pack_histories(histories)
    candidates = torch.arange(15).view(5, 3)
    found = discriminator(batch.items, Segments.of(batch), candidates, generator()).detach()
    for row, history in enumerate(histories):
        for column in range(3):
            sequence = pack_histories([[*history, int(candidates[row, column])]])
            x = whole(discriminator.embedding(sequence.items), Segments.of(sequence), None, last_only=True)
            expected = float(discriminator.verdict(x).detach())
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    changed = batch.items.clone()
    changed[-6] = 9  # the first of the longest
    other = discriminator(changed, Segments.of(batch), candidates, generator())
    assert torch.equal(other[:-1], found[:-1])
    assert not torch.equal(other[-1], found[-1])


def test_in_its_warm_up_it_is_sasrecs_loss_and_phases_follow_the_step():
    model = make(warmup=2, discriminator_every=3)
    batch = batch_of()
    noise = generator(3)
    x = model._encode(batch, Segments.of(batch), noise, last_only=False)
    expected = binary_cross_entropy(x, model.items(), batch.targets, sample_negatives(batch, N_ITEMS, 1, noise))
    torch.testing.assert_close(model.loss(batch, generator(3)), expected)
    model.step.zero_()
    learnt = []
    for _ in range(8):
        model.zero_grad(set_to_none=True)
        grads = gradients(model)
        learnt.append(grads["discriminators.0.embedding.weight"] is not None)
        assert grads["embedding.weight"] is not None
    assert learnt == [False, False, True, False, False, True, False, False]
    assert int(model.state_dict()["step"]) == 8


def test_discriminators_do_not_move_the_generator_nor_it_them():
    model = make()
    batch, segments = batch_of(), Segments.of(batch_of())
    x = model._encode(batch, segments, generator(), last_only=False)
    reward, loss = model._judge(batch, segments, x, generator(), learn=True)
    assert not reward.requires_grad
    loss.backward()
    moved = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert moved == {"discriminators"}


def test_validation_and_test_items_are_never_taken_for_real(monkeypatch):
    model, seen = make(), []
    for discriminator in model.discriminators:
        forward = discriminator.forward

        def watched(history, segments, last, noise, forward=forward):
            seen.append(torch.cat([history, last[:, 0]]))
            return forward(history, segments, last, noise)

        monkeypatch.setattr(discriminator, "forward", watched)
    model.loss(batch_of(), generator())
    items, deciles = seen
    assert int(items.max()) < 10  # 18 and 19 are held out
    other = make()
    other.observe(data_of(held_out=16))
    assert torch.equal(model.decile, other.decile)
    assert int(deciles.max()) == 9  # the most popular in training
    assert model.decile.bincount().tolist() == [2] * 10


def test_the_real_item_is_never_among_the_invented(monkeypatch):
    model, batch = make(fakes=N_ITEMS), batch_of()  # all items are the best: the real one, too
    verdicts = []

    def sure(history, segments, last, noise):
        if not verdicts:  # of items; those of deciles shall be the same
            verdicts.append(torch.where(last == last[:, :1], 50.0, -50.0))
        return verdicts[0]

    for discriminator in model.discriminators:
        monkeypatch.setattr(discriminator, "forward", sure)
        for weight in discriminator.verdict.parameters():
            torch.nn.init.zeros_(weight)
    segments = Segments.of(batch)
    x = model._encode(batch, segments, generator(), last_only=False)
    _, loss = model._judge(batch, segments, x, generator(), learn=True)
    assert verdicts[0].shape == (len(batch), N_ITEMS + 1)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
