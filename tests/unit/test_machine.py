"""What a computation used."""

import pytest
import torch

from diffurecsys.machine import CLEAR_PEAK, forget_peak_memory, peak_memory

MEBIBYTE = 2**20


@pytest.mark.skipif(not CLEAR_PEAK.exists(), reason="the system does not tell")
def test_the_peak_is_of_what_came_after_it_was_forgotten():
    device = torch.device("cpu")
    torch.ones(200 * MEBIBYTE // 4)  # is freed again
    before = peak_memory(device)
    forget_peak_memory(device)
    least = peak_memory(device)
    assert least < before
    held = torch.ones(100 * MEBIBYTE // 4)
    assert 90 * MEBIBYTE < peak_memory(device) - least < 150 * MEBIBYTE
    assert held.sum() == held.numel()
