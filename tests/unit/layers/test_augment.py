"""Augmentations: what they keep, and that their input stays as it was."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.data.packing import pack_histories
from diffurecsys.layers.augment import crop, mask, reorder

MASK = 99


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def histories(batch):
    return [part.tolist() for part in batch.items.split(list(batch.lengths))]


def counts(batch, share: float) -> torch.Tensor:
    return (torch.tensor(batch.lengths) * share).long()


@settings(max_examples=50, deadline=None)
@given(
    sequences=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=10), min_size=1, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_each_does_what_it_says_and_leaves_its_input_alone(sequences, share, seed):
    batch = pack_histories(sequences)
    before = batch.items.clone()
    count, own = counts(batch, share), histories(batch)
    cropped, order = crop(batch, count.clamp(min=1), generator(seed))
    assert list(cropped.lengths) == sorted(cropped.lengths)
    for row, kept in enumerate(histories(cropped)):
        whole, length = own[order[row]], max(1, int(count[order[row]]))
        assert len(kept) == length
        assert any(whole[i : i + length] == kept for i in range(len(whole)))
    masked_rows = histories(mask(batch, count, MASK, generator(seed)))
    shuffled_rows = histories(reorder(batch, count, generator(seed)))
    for row, (masked, shuffled) in enumerate(zip(masked_rows, shuffled_rows, strict=True)):
        assert masked.count(MASK) == int(count[row])
        assert all(new in (MASK, old) for new, old in zip(masked, own[row], strict=True))
        assert Counter(shuffled) == Counter(own[row])
        moved = [i for i, (new, old) in enumerate(zip(shuffled, own[row], strict=True)) if new != old]
        assert not moved or moved[-1] - moved[0] < int(count[row])
    assert torch.equal(batch.items, before)


def test_places_are_drawn_uniformly():
    n = 3000
    batch = pack_histories([[0, 1, 2, 3]] * n)
    two = torch.full((n,), 2)
    five_sigma = 5 * (0.25 / n) ** 0.5
    begins = torch.tensor([kept[0] for kept in histories(crop(batch, two, generator())[0])])
    assert (begins.bincount(minlength=3) / n).tolist() == pytest.approx([1 / 3] * 3, abs=five_sigma)
    masked = mask(batch, two, MASK, generator()).items.view(n, 4) == MASK
    assert masked.float().mean(0).tolist() == pytest.approx([1 / 2] * 4, abs=five_sigma)
    shuffled = reorder(batch, torch.full((n,), 4), generator()).items.view(n, 4)
    for place in range(4):
        assert (shuffled[:, place].bincount(minlength=4) / n).tolist() == pytest.approx([1 / 4] * 4, abs=five_sigma)
