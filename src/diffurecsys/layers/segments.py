"""How a packed batch divides into sequences, and these into few groups that dense operations can take at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from diffurecsys.data.packing import PackedBatch

FULL_BUCKET = 24  # sequences: a run of equal lengths this long is worth a call of its own
# causal: scores of empty places, of each head, that cost less than a call of its own: so many, or this share of all
SPARE_SCORES, SPARE_SHARE = 4096, 0.1
MAX_STRETCH = 1.25  # shorter runs share a call while their longest sequence is at most this much longer than the first


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sequences that are attended to in one dense call.

    Attributes:
        count: sequences.
        tokens: their tokens.
        length: of the longest.
        slot: int64 `[tokens]`, where each token stands among the `count * length` places of the call; None where all
            sequences have this length, so that tokens and places coincide.
        source: int64 `[count * length]`, the token each place is filled from (any token where the place is empty).
        bias: float32 `[count, 1, 1, length]`, for attention scores: 0 at places with a token, -inf at empty ones.
    """

    count: int
    tokens: int
    length: int
    slot: Tensor | None = None
    source: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Bucket:
        """Make the bucket of sequences with these (ascending) lengths."""
        count, longest, tokens = len(lengths), lengths[-1], sum(lengths)
        if lengths[0] == longest:
            return cls(count, tokens, longest)
        length = torch.tensor(lengths)
        place = torch.arange(longest)
        occupied = place < length[:, None]  # (count, longest)
        source = (length.cumsum(0) - length)[:, None] + torch.minimum(place, length[:, None] - 1)
        slot = torch.nonzero(occupied.flatten()).flatten()
        bias = torch.zeros(count, 1, 1, longest).masked_fill_(~occupied[:, None, None], float("-inf"))
        return cls(count, tokens, longest, slot.to(device), source.flatten().to(device), bias.to(device))

    def spread(self, x: Tensor) -> Tensor:
        """Lay `[tokens, …]` out over the places, `[count * length, …]`."""
        return x if self.source is None else x.index_select(0, self.source)

    def spread_zeros(self, x: Tensor) -> Tensor:
        """Lay `[tokens, …]` out over the places, with zeros where a place is empty."""
        if self.slot is None:
            return x
        return x.new_zeros((self.count * self.length, *x.shape[1:])).index_copy_(0, self.slot, x)

    def gather(self, x: Tensor) -> Tensor:
        """Take `[tokens, …]` from the places, `[count * length, …]`."""
        return x if self.slot is None else x.index_select(0, self.slot)


@dataclass(frozen=True)
class Segments:
    """The borders between the sequences of one batch; shapes are known on the host.

    Attributes:
        offsets: int32 `[batch + 1]` on the device.
        lengths: ascending, on the host.
    """

    offsets: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, batch: PackedBatch) -> Segments:
        """Read the borders off a batch."""
        return cls(batch.offsets, batch.lengths)

    @cached_property
    def last(self) -> Tensor:
        """int64 `[batch]`: token index of every sequence's last position."""
        return self.offsets[1:].long() - 1

    @cached_property
    def sequence(self) -> Tensor:
        """int64 `[tokens]`: the sequence every token belongs to."""
        if len(self.lengths) == 1:
            return torch.zeros(self.lengths[0], dtype=torch.int64, device=self.offsets.device)
        index = torch.arange(len(self.lengths), device=self.offsets.device)
        return torch.repeat_interleave(index, self.offsets.diff(), output_size=sum(self.lengths))

    @cached_property
    def place(self) -> Tensor:
        """int64 `[tokens]`: how many tokens of the same sequence stand before each."""
        index = torch.arange(sum(self.lengths), device=self.offsets.device)
        if len(self.lengths) == 1:
            return index
        return index - self.offsets.long().index_select(0, self.sequence)

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """The whole batch in as few dense calls as pay, shortest sequences first."""
        lengths = self.lengths
        runs = [0, *(b for b in range(1, len(lengths)) if lengths[b] != lengths[b - 1]), len(lengths)]
        borders = [0]
        for begin, end in pairwise(runs):
            first = borders[-1]
            stretched = lengths[begin] > MAX_STRETCH * lengths[first]
            if begin > first and (stretched or begin - first >= FULL_BUCKET or end - begin >= FULL_BUCKET):
                borders.append(begin)
        return self._bucketed([*borders, len(lengths)])

    @cached_property
    def causal_buckets(self) -> tuple[Bucket, ...]:
        """The whole batch in as few calls as pay where no row reaches an empty place, so that these cost time alone."""
        borders, held = [0], 0
        for number, own in enumerate(self.lengths):
            held += own**2
            places = (number + 1 - borders[-1]) * own**2
            if places - held > max(SPARE_SCORES, SPARE_SHARE * places):
                borders.append(number)
                held = own**2
        return self._bucketed([*borders, len(self.lengths)])

    def _bucketed(self, borders: list[int]) -> tuple[Bucket, ...]:
        return tuple(Bucket.of(self.lengths[begin:end], self.offsets.device) for begin, end in pairwise(borders))

    @cached_property
    def ones(self) -> Tensor:
        """int32 `[batch + 1]`: offsets of one query a sequence."""
        return torch.arange(len(self.lengths) + 1, device=self.offsets.device, dtype=torch.int32)
