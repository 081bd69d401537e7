"""Recurrent networks and shifts over packed tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from diffurecsys.layers.segments import Segments


def time_major(segments: Segments) -> tuple[Tensor, Tensor]:
    """Say where PyTorch's packed sequences keep tokens: all first ones, longest history first, then all second ones.

    Args:
        segments: the borders between histories, whose lengths ascend.

    Returns:
        int64 `[tokens]`, each token's place there; int64 `[longest]` on the host, how many histories have a first,
        second, … token.
    """
    lengths = torch.tensor(segments.lengths)
    counts = len(lengths) - torch.searchsorted(lengths, torch.arange(int(lengths[-1])), right=True)
    begin = (counts.cumsum(0) - counts).to(segments.offsets.device, non_blocking=True)
    rank = len(lengths) - 1 - segments.sequence
    return begin.index_select(0, segments.place) + rank, counts


def run_gru(gru: nn.GRU, x: Tensor, segments: Segments) -> Tensor:
    """Return the state after every token, float32 `[tokens, hidden]`, for inputs `[tokens, width]`."""
    slot, counts = time_major(segments)
    order = torch.empty_like(slot).index_copy_(0, slot, torch.arange(len(slot), device=slot.device))
    weight = gru.weight_ih_l0
    assert isinstance(weight, Tensor)
    with torch.autocast(x.device.type, enabled=False):  # cuDNN's would be float16, whatever type autocast is set to
        packed = PackedSequence(x.to(weight.dtype).index_select(0, order), counts)
        states: Tensor = gru(packed)[0].data
    return states.index_select(0, slot)


def shift(x: Tensor, places: int, segments: Segments) -> Tensor:
    """Move `[tokens, width]` so many places on within each sequence; what has nothing before it becomes 0."""
    if not places:
        return x
    moved = x.roll(places, dims=0)
    return moved.masked_fill((segments.place < places)[:, None], 0.0)
