"""DuoRec's positives: other training histories with the same target, drawn uniformly."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from diffurecsys.data.packing import Packer
from diffurecsys.data.schemes import prefixes
from diffurecsys.data.split import StudyData, leave_one_out
from diffurecsys.data.store import SequenceStore
from diffurecsys.losses.cross_entropy import catalogue_cross_entropy
from diffurecsys.models import build_ranker
from diffurecsys.models.families.duorec import DuoRecConfig

N_ITEMS = 20
# the last two items of each are for validation and test
SEQUENCES = [[1, 2, 9, 18, 19], [3, 4, 9, 18, 19], [5, 9, 18, 19], [6, 7, 17, 16], [5, 9, 15, 14]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**changes):
    store = SequenceStore.from_lists(SEQUENCES, N_ITEMS)
    data = StudyData(store, leave_one_out(store, max_length=10))
    model = build_ranker("duorec", DuoRecConfig(width=8, max_length=10, **changes), N_ITEMS, generator())
    model.observe(data)
    examples = prefixes(data.split.train, 10)
    return model, Packer(data.store, examples).pack(torch.arange(len(examples)))[0]


def histories(batch):
    return [tuple(part.tolist()) for part in batch.items.split(list(batch.lengths))]


def test_positives_have_the_same_target_come_from_training_and_are_not_oneself():
    model, batch = make()
    target = dict(zip(histories(batch), batch.targets.tolist(), strict=True))
    assert target == {(1,): 2, (1, 2): 9, (3,): 4, (3, 4): 9, (5,): 9, (6,): 7}
    seen = Counter()
    noise = generator()
    rounds = 2000
    for _ in range(rounds):
        drawn, order = model.positives(batch, noise)
        for own, other in zip((histories(batch)[i] for i in order), histories(drawn), strict=True):
            assert target[own] == target[other]
            seen[own, other] += 1
    # equal histories (two users had 5, then 9) are positives of each other: one of the two is left out as oneself
    expected = {
        ((1,), (1,)): 1,
        ((3,), (3,)): 1,
        ((6,), (6,)): 1,
        ((1, 2), (3, 4)): 1 / 3,
        ((1, 2), (5,)): 2 / 3,
        ((3, 4), (1, 2)): 1 / 3,
        ((3, 4), (5,)): 2 / 3,
        ((5,), (1, 2)): 2 / 3,  # of two rows
        ((5,), (3, 4)): 2 / 3,
        ((5,), (5,)): 2 / 3,
    }
    assert set(seen) == set(expected)
    for pair, rate in expected.items():
        # five standard deviations of a sum of at most two draws a round
        assert seen[pair] / rounds == pytest.approx(rate, abs=5 * (0.5 / rounds) ** 0.5)


def test_the_loss_is_cross_entropy_plus_a_tenth_of_the_contrast():
    plain, batch = make(contrast=0)
    encoded = plain._encode(batch, generator())
    assert torch.equal(plain.loss(batch, generator()), catalogue_cross_entropy(encoded, plain.items(), batch.targets))
    model, _ = make(dropout=0.0)
    without, _ = make(dropout=0.0, contrast=0)
    masked, _ = make(dropout=0.0, mask_same_target=True)
    cross_entropy, whole = without.loss(batch, generator()), model.loss(batch, generator())
    assert cross_entropy < masked.loss(batch, generator()) < whole  # fewer negatives


def test_has_as_many_parameters_as_released():
    # Beauty, width 64: items, 50 positions, 2 blocks (attention, 256 hidden units, two norms), one norm of the input
    model = build_ranker("duorec", DuoRecConfig(), 12101)
    block = 4 * (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64) + 2 * 2 * 64
    assert sum(p.numel() for p in model.parameters()) == 12101 * 64 + 50 * 64 + 2 * block + 2 * 64
