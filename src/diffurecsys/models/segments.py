"""How a packed batch divides into sequences, and attention that never crosses their borders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from diffurecsys.data.packing import PackedBatch


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sequences of one length: tokens `token:token + count * length`, sequences `first:first + count`."""

    first: int
    token: int
    count: int
    length: int


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
        """Runs of equal length, shortest first."""
        lengths = self.lengths
        borders = [0, *(b for b in range(1, len(lengths)) if lengths[b] != lengths[b - 1]), len(lengths)]
        buckets, token = [], 0
        for first, end in pairwise(borders):
            buckets.append(Bucket(first, token, end - first, lengths[first]))
            token += (end - first) * lengths[first]
        return tuple(buckets)

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
        Like `query`. On CUDA in half precision one variable-length FlashAttention call; elsewhere one dense call for
        each length that occurs, without masks.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _flash_attention(query, key, value, segments)
    return _bucket_attention(query, key, value, segments)


def _flash_attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = segments.lengths[-1]
    one_each = len(query) == len(segments.lengths) != len(key)
    query_offsets, longest_query = (segments.ones, 1) if one_each else (segments.offsets, longest)
    attended: Tensor = varlen_attn(query, key, value, query_offsets, segments.offsets, longest_query, longest)
    return attended


def _bucket_attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    one_each = len(query) == len(segments.lengths) != len(key)
    heads, head_dim = query.shape[1:]
    buckets = segments.buckets
    query_sizes = [b.count if one_each else b.count * b.length for b in buckets]
    key_sizes = [b.count * b.length for b in buckets]
    parts = []
    for bucket, q, k, v in zip(
        buckets, query.split(query_sizes), key.split(key_sizes), value.split(key_sizes), strict=True
    ):
        if bucket.length == 1:  # softmax over one key
            parts.append(v)
            continue
        # (sequences, heads, length, head_dim)
        q, k, v = (x.view(bucket.count, -1, heads, head_dim).transpose(1, 2) for x in (q, k, v))
        parts.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, heads, head_dim))
    return torch.cat(parts)
