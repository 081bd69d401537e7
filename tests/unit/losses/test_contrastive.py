"""InfoNCE against a double loop."""

from __future__ import annotations

import math

import pytest
import torch

from diffurecsys.losses.contrastive import info_nce


@pytest.mark.parametrize("groups", [None, torch.tensor([0, 1, 0, 2])])
def test_equals_a_double_loop(groups):
    a, b = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    views, total = [*a, *b], 0.0
    for i in range(8):
        partner = (i + 4) % 8
        others = [
            j for j in range(8) if j == partner or (j != i and (groups is None or groups[i % 4] != groups[j % 4]))
        ]
        scores = {j: float(views[i] @ views[j]) / 0.7 for j in others}
        total -= scores[partner] - math.log(sum(math.exp(s) for s in scores.values()))
    assert float(info_nce(a, b, 0.7, groups)) == pytest.approx(total / 8, rel=1e-5)


def test_of_equal_views_alone_is_zero_and_of_equal_scores_the_logarithm_of_their_number():
    one = torch.ones(1, 3)
    assert float(info_nce(one, one, 1.0)) == 0.0
    assert float(info_nce(torch.zeros(5, 3), torch.zeros(5, 3), 1.0)) == pytest.approx(math.log(9))
