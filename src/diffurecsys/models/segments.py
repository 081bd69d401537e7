"""How a packed batch divides into sequences, and attention that never crosses their borders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch

FULL_BUCKET = 24  # sequences: a run of equal lengths this long is worth a call of its own
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
        occupied: bool `[count, 1, 1, length]`: the places that may be attended to.
    """

    count: int
    tokens: int
    length: int
    slot: Tensor | None = None
    source: Tensor | None = None
    occupied: Tensor | None = None

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
        return cls(
            count, tokens, longest, slot.to(device), source.flatten().to(device), occupied[:, None, None].to(device)
        )


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
        index = torch.arange(len(self.lengths), device=self.offsets.device)
        return torch.repeat_interleave(index, self.offsets.diff(), output_size=sum(self.lengths))

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
        borders.append(len(lengths))
        return tuple(Bucket.of(lengths[begin:end], self.offsets.device) for begin, end in pairwise(borders))

    @cached_property
    def ones(self) -> Tensor:
        """int32 `[batch + 1]`: offsets of one query a sequence."""
        return torch.arange(len(self.lengths) + 1, device=self.offsets.device, dtype=torch.int32)


def attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """Softmax attention of every token over all tokens of its own sequence.

    Args:
        query: `[tokens, heads, head_dim]`; or one query a sequence, `[batch, heads, head_dim]`.
        key: `[tokens, heads, head_dim]`.
        value: `[tokens, heads, head_dim]`.
        segments: the borders between sequences.

    Returns:
        Like `query`. On CUDA in half precision one variable-length FlashAttention call; elsewhere a few dense calls,
        each for sequences of one or nearly one length.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _flash_attention(query, key, value, segments)
    return _bucket_attention(query, key, value, segments)


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = segments.lengths[-1]
    one_each = len(query) == len(segments.lengths) != len(key)
    query_offsets, longest_query = (segments.ones, 1) if one_each else (segments.offsets, longest)
    attended = varlen_attn(query, key, value, query_offsets, segments.offsets, longest_query, longest)
    assert isinstance(attended, Tensor)  # it adds auxiliary outputs only when asked
    return attended


def _bucket_attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    one_each = len(query) == len(segments.lengths) != len(key)
    buckets = segments.buckets
    token_counts = [bucket.tokens for bucket in buckets]
    query_counts = [bucket.count for bucket in buckets] if one_each else token_counts
    parts = [
        _attend_in_bucket(bucket, q, k, v, one_each=one_each)
        for bucket, q, k, v in zip(
            buckets, query.split(query_counts), key.split(token_counts), value.split(token_counts), strict=True
        )
    ]
    return torch.cat(parts)


def _attend_in_bucket(bucket: Bucket, query: Tensor, key: Tensor, value: Tensor, *, one_each: bool) -> Tensor:
    if bucket.length == 1:  # softmax over one key
        return value

    def dense(x: Tensor, *, spread: bool = True) -> Tensor:
        if spread and bucket.source is not None:
            x = _Spread.apply(x, bucket.source, bucket.slot)
        return x.view(bucket.count, -1, *x.shape[1:]).transpose(1, 2)  # (count, heads, length or 1, head_dim)

    attended = F.scaled_dot_product_attention(
        dense(query, spread=not one_each), dense(key), dense(value), attn_mask=bucket.occupied
    )
    attended = attended.transpose(1, 2).flatten(0, 1)  # (places, heads, head_dim)
    return attended if one_each or bucket.slot is None else attended[bucket.slot]


class _Spread(torch.autograd.Function):
    """Copy tokens to their places; empty places hold copies that nothing depends on, so no gradient comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, slot: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(slot)
        return x.index_select(0, source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (slot,) = ctx.saved_tensors
        return grad.index_select(0, slot), None, None
