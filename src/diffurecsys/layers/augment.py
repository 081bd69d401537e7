"""Changed copies of packed histories: cropped, masked, reordered. What they are made from is never written to."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch
from diffurecsys.layers.segments import Segments


def pack_spans(items: Tensor, start: Tensor, lengths: Tensor) -> tuple[PackedBatch, Tensor]:
    """Gather histories `items[start:start + length]` into a batch that asks nothing: its targets are zeros.

    Args:
        items: int64 or int32 `[events]`.
        start: int64 `[batch]`.
        lengths: int64 `[batch]`, at least 1.

    Returns:
        The batch, and int64 `[batch]`: the number of each of its histories among those asked for.
    """
    lengths, order = torch.sort(lengths, stable=True)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    on_host = tuple(lengths.tolist())
    shift = torch.repeat_interleave(start[order] - offsets[:-1], lengths, output_size=sum(on_host))
    position = torch.arange(len(shift), device=items.device) + shift
    targets = torch.zeros(len(order), dtype=torch.int64, device=items.device)
    return PackedBatch(items[position].long(), offsets.int(), on_host, targets), order


def crop(batch: PackedBatch, kept: Tensor, generator: torch.Generator) -> tuple[PackedBatch, Tensor]:
    """Keep a stretch of every history, from a place drawn uniformly.

    Args:
        batch: histories.
        kept: int64 `[batch]`, items to keep, between 1 and a history's length.
        generator: on the batch's device.

    Returns:
        The stretches, sorted by length again, and int64 `[batch]`: the history that each was cut from.
    """
    return pack_spans(batch.items, batch.offsets[:-1] + _begin(batch, kept, generator), kept)


def mask(batch: PackedBatch, count: Tensor, item: int, generator: torch.Generator) -> PackedBatch:
    """Put `item` in `count` (int64 `[batch]`) places of every history, drawn without repetition."""
    segments = Segments.of(batch)
    order = torch.argsort(segments.sequence + _uniform(len(batch.items), generator))
    drawn = order[segments.place < count[segments.sequence]]
    return replace(batch, items=batch.items.index_fill(0, drawn, item))


def reorder(batch: PackedBatch, count: Tensor, generator: torch.Generator) -> PackedBatch:
    """Shuffle a stretch of `count` (int64 `[batch]`, at most its length) items of every history."""
    segments = Segments.of(batch)
    begin = _begin(batch, count, generator)[segments.sequence]
    count = count[segments.sequence]
    inside = (segments.place >= begin) & (segments.place < begin + count)
    moved = begin + count * _uniform(len(batch.items), generator)  # somewhere in the stretch
    key = segments.offsets[:-1].long()[segments.sequence] + torch.where(inside, moved, segments.place.double())
    return replace(batch, items=batch.items[torch.argsort(key, stable=True)])


def _begin(batch: PackedBatch, count: Tensor, generator: torch.Generator) -> Tensor:
    """int64 `[batch]`: where a stretch of `count` items begins, uniformly among all places where it fits."""
    choices = batch.offsets.diff().long() - count + 1
    return (_uniform(len(batch), generator) * choices).long()


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
