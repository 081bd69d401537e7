"""Batches of variable-length histories without padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from diffurecsys.data.store import Examples, SequenceStore


@dataclass(frozen=True)
class PackedBatch:
    """Histories laid end to end, longest last.

    Attributes:
        items: int64 `[tokens]`, the histories one after another.
        offsets: int32 `[batch + 1]`; history `b` is `items[offsets[b]:offsets[b + 1]]` (FlashAttention's `cu_seqlens`).
        lengths: history lengths on the host, ascending: shapes are known without asking the device.
        targets: int64 `[asked]`, the item that follows each asked position.
        everywhere: whether every position is asked (`asked` = tokens), or the last of each history (`asked` = batch).
    """

    items: Tensor
    offsets: Tensor
    lengths: tuple[int, ...]
    targets: Tensor
    everywhere: bool = False

    def __len__(self) -> int:
        """Number of histories."""
        return len(self.lengths)

    @property
    def max_length(self) -> int:
        """Length of the longest history."""
        return self.lengths[-1]

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the batch with its arrays on `device`."""
        arrays = {name: getattr(self, name).to(device) for name in ("items", "offsets", "targets")}
        return replace(self, **arrays)


class Packer:
    """Gathers packed batches from a store on the store's device.

    Which examples form a batch is decided on the host from lengths kept there, so that no batch makes the host wait
    for the device.

    Attributes:
        lengths: int64 `[examples]`, of histories, on the host.
        device: where batches are made.
        everywhere: whether batches ask at every position.
    """

    def __init__(
        self,
        store: SequenceStore,
        examples: Examples,
        device: torch.device | str = "cpu",
        *,
        everywhere: bool = False,
    ) -> None:
        """Keep the examples at hand.

        Args:
            store: all sequences.
            examples: what batches are made of.
            device: where batches are made.
            everywhere: whether batches ask at every position, or at the end of each history.
        """
        self._items = store.items.to(device)
        self._end = examples.end.to(device)
        self.lengths = examples.lengths.cpu()
        self.device = torch.device(device)
        self.everywhere = everywhere

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.lengths)

    def by_length(self, index: Tensor) -> Tensor:
        """Sort `index` (int64, on the host) by history length; equal lengths keep their order."""
        return index[torch.argsort(self.lengths[index], stable=True)]

    def pack(self, index: Tensor) -> tuple[PackedBatch, Tensor]:
        """Gather the examples at `index` (int64, on the host), sorted by history length.

        Returns:
            The batch, and `index` in the order of the batch (equal lengths keep their order).
        """
        index = self.by_length(index)
        lengths = self.lengths[index]
        offsets = torch.zeros(len(index) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=offsets[1:])
        total = int(offsets[-1])
        offsets_on_device = offsets.to(self.device, non_blocking=True)
        lengths_on_device = lengths.to(self.device, non_blocking=True)
        end = self._end[index.to(self.device, non_blocking=True)]
        # token t of history b sits at end[b] - length[b] + (t - offset[b]) = t + (end[b] - offset[b + 1])
        shift = torch.repeat_interleave(end - offsets_on_device[1:], lengths_on_device, output_size=total)
        position = torch.arange(total, device=self.device) + shift
        batch = PackedBatch(
            items=self._items[position].long(),
            offsets=offsets_on_device.int(),
            lengths=tuple(lengths.tolist()),
            targets=self._items[position + 1 if self.everywhere else end].long(),
            everywhere=self.everywhere,
        )
        return batch, index

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[PackedBatch, Tensor]]:
        """Yield batches of at most `batch_size` examples, taken in the order given (int64, on the host)."""
        for begin in range(0, len(order), batch_size):
            yield self.pack(order[begin : begin + batch_size])


def pack_histories(histories: list[list[int]]) -> PackedBatch:
    """Pack plain lists of item ids, sorted by length (stable); targets are zeros. For notebooks, tests and serving."""
    ordered = sorted(histories, key=len)
    lengths = [len(history) for history in ordered]
    return PackedBatch(
        items=torch.tensor([item for history in ordered for item in history], dtype=torch.int64),
        offsets=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        lengths=tuple(lengths),
        targets=torch.zeros(len(ordered), dtype=torch.int64),
    )
