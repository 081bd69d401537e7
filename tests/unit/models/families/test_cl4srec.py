"""CL4SRec's copies of histories, and its losses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import windows
from diffurecsys.data.split import leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models import build_ranker
from diffurecsys.models.families.cl4srec import CL4SRecConfig

N_ITEMS = 40
CONFIG = CL4SRecConfig(width=16, max_length=12, dropout=0.0)
STORE = SequenceStore.from_lists([list(range(u, u + 4 + u % 9)) for u in range(25)] + [[7, 8, 9, 10]], N_ITEMS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**changes):
    return build_ranker("cl4srec", dataclasses.replace(CONFIG, **changes), N_ITEMS, generator())


def batch_of(store: SequenceStore):
    packer = Packer(store, windows(leave_one_out(store, max_length=12).train, 12), everywhere=True)
    return packer.pack(torch.arange(len(packer)))[0]


def histories(batch):
    return [part.tolist() for part in batch.items.split(list(batch.lengths))]


def test_the_two_copies_come_from_two_operations_and_leave_the_batch_alone():
    model, batch, noise = make(), batch_of(STORE), generator()
    own, before = histories(batch), STORE.items.clone()
    found = set()
    for _ in range(20):
        copies = []
        for view, order in model.views(batch, noise):
            copies.append([histories(view)[row] for row in order.argsort()])
        for whole, first, second in zip(own, *copies, strict=True):
            kinds = {kind(whole, copy) for copy in (first, second)}
            if len(whole) < 4:  # nothing is masked of three items
                continue
            assert len(kinds - {"same"}) == 2 or "same" in kinds  # a shuffle may leave all where it was
            found |= kinds
    assert found == {"crop", "mask", "reorder", "same"}
    assert histories(batch) == own
    assert torch.equal(STORE.items, before)


def kind(whole: list[int], copy: list[int]) -> str:
    if len(copy) < len(whole):
        assert len(copy) == int(0.6 * len(whole))
        return "crop"
    if N_ITEMS in copy:
        assert copy.count(N_ITEMS) == int(0.3 * len(whole))
        return "mask"
    assert sorted(copy) == sorted(whole)
    return "reorder" if copy != whole else "same"


def test_single_items_stay():
    batch = batch_of(SequenceStore.from_lists([[u, u + 1, u + 2, u + 3] for u in range(9)], N_ITEMS))
    assert set(batch.lengths) == {1}
    for view, order in make().views(batch, generator()):
        assert torch.equal(view.items, batch.items[order])


def test_without_contrast_it_is_its_main_loss():
    batch = batch_of(STORE)
    plain = make(loss="cross_entropy", contrast=0)
    encoded = plain._encode(batch, generator(), last_only=False)
    expected = catalogue_cross_entropy(encoded, plain.items(), batch.targets)
    assert torch.equal(plain.loss(batch, generator()), expected)


def test_the_sampled_loss_tends_to_cross_entropy():
    batch = batch_of(STORE)
    exact = float(make(loss="cross_entropy", contrast=0).loss(batch, generator()).detach())
    sampled = make(contrast=0, negatives=200_000)
    # the estimate of log Σ exp strays by about the spread of exp(score) over the root of the sample's size
    assert float(sampled.loss(batch, generator()).detach()) == pytest.approx(exact, abs=0.01)


def test_no_position_sees_a_later_one():
    model, batch = make().eval(), batch_of(STORE)
    changed = dataclasses.replace(batch, items=batch.items.clone())
    longest = int(batch.offsets[-2])
    changed.items[longest + 3] = (changed.items[longest + 3] + 1) % N_ITEMS
    one, other = (model._encode(b, generator(), last_only=False) for b in (batch, changed))
    same = (one == other).all(1)
    assert same[: longest + 3].all()
    assert not same[longest + 3 :].any()


def test_the_item_that_hides_others_is_never_scored():
    model = make()
    assert model.embedding.weight.shape == (N_ITEMS + 1, 16)
    assert model.items().shape == (N_ITEMS, 16)
