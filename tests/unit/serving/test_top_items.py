"""Streaming retrieval against a sort of all scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffurecsys.serving import top_items
from diffurecsys.serving.top_items import best_scores
from diffurecsys.serving.top_items import top_items as find


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_items=st.integers(1, 80),
    k=st.integers(1, 40),
    block=st.integers(1, 400),
    stretch=st.integers(1, 5),
    values=st.sampled_from([3, 1000]),
)
def test_equals_a_stable_sort_of_all_scores_ties_included(seed, n_items, k, block, stretch, values):
    k, generator = min(k, n_items), torch.Generator().manual_seed(seed)
    x = torch.randint(-2, values, (4, 3), generator=generator).float()  # whole numbers: exact scores, many ties or few
    items = torch.randint(-2, values, (n_items, 3), generator=generator).float()
    banned, for_all = (torch.rand(rows, n_items, generator=generator) < 0.3 for rows in (4, 1))
    scores = (x @ items.T).masked_fill(banned | for_all, float("-inf"))
    expected = scores.sort(dim=1, descending=True, stable=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_items, "BLOCK_SCORES", block)
        patch.setattr(top_items, "STRETCH", stretch)
        pairs = tuple(banned.nonzero().T)
        found = find(x, items, k, pairs, for_all[0]), best_scores(x @ items.T, k, pairs, for_all[0])
    for best in found:
        torch.testing.assert_close(best.scores, expected.values[:, :k])
        torch.testing.assert_close(best.items, expected.indices[:, :k])


@pytest.mark.parametrize("k", [0, 6])
def test_more_than_the_catalogue_cannot_be_recommended(k):
    with pytest.raises(ValueError, match=f"k must lie in 1 … 5 .*got {k}"):
        find(torch.zeros(1, 2), torch.zeros(5, 2), k)
    with pytest.raises(ValueError, match=f"k must lie in 1 … 5 .*got {k}"):
        best_scores(torch.zeros(1, 5), k)
