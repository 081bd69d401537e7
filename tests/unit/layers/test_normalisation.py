from __future__ import annotations

import torch
from torch.nn import functional as F

from diffurecsys.layers.normalisation import unit_rows


def test_rows_have_unit_length_and_the_gradient_is_that_of_pytorch():
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(unit_rows(x), F.normalize(x, dim=1))
    assert torch.autograd.gradcheck(unit_rows, [x])


def test_a_row_of_zeros_stays():
    assert torch.equal(unit_rows(torch.zeros(2, 3)), torch.zeros(2, 3))
