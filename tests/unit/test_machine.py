"""What a computation used."""

import mmap

import pytest
import torch

from diffurecsys.machine import CLEAR_PEAK, forget_peak_memory, peak_memory

MEBIBYTE = 2**20


def _touched(mebibytes: int) -> mmap.mmap:
    """Memory of the system's own, which no allocator of this process has kept from earlier."""
    memory = mmap.mmap(-1, mebibytes * MEBIBYTE)
    for place in range(0, len(memory), mmap.PAGESIZE):
        memory[place] = 1
    return memory


@pytest.mark.skipif(not CLEAR_PEAK.exists(), reason="the system does not tell")
def test_the_peak_is_of_what_came_after_it_was_forgotten():
    device = torch.device("cpu")
    _touched(400).close()
    before = peak_memory(device)
    forget_peak_memory(device)
    least = peak_memory(device)
    assert before - least > 100 * MEBIBYTE
    held = _touched(300)
    assert peak_memory(device) - least > 200 * MEBIBYTE
    held.close()
