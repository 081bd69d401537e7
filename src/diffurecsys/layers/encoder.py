"""Transformer blocks on packed tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.layers.attention import attention
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.segments import Segments

NORM_EPS = 1e-12  # the published code's; matters only for constant rows


class SelfAttention(nn.Module):
    """Multi-head softmax attention of a sequence over itself, in both directions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, segments: Segments, *, last_only: bool = False) -> Tensor:
        """Attend within each sequence.

        Args:
            x: `[tokens, width]`.
            segments: the borders between sequences.
            last_only: ask with the last position of every sequence alone.

        Returns:
            `[tokens, width]`, or `[batch, width]` for the last positions.
        """
        width = x.shape[-1]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        asking = x.index_select(0, segments.last) if last_only else x
        query = F.linear(asking, weight[:width], bias[:width])
        key_value = F.linear(x, weight[width:], bias[width:])
        attended: Tensor = self.output(attention(query, key_value, segments, self.heads))
        return attended


class CrossAttention(nn.Module):
    """Multi-head softmax attention of one token stream over another with the same borders."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, query_from: Tensor, keys_values: Tensor, segments: Segments) -> Tensor:
        """Attend from `[tokens, width]` over `[tokens, 2 width]`, what `key_value` made of the other stream."""
        attended: Tensor = self.output(attention(self.query(query_from), keys_values, segments, self.heads))
        return attended


class Block(nn.Module):
    """Pre-norm Transformer block: self-attention, feed-forward, dropout on each and on the output."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfAttention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        attended = self.attention(self.attention_norm(x), segments, last_only=last_only)
        if last_only:
            x = x.index_select(0, segments.last)
        x = self.dropout.add(x, attended, generator)
        x = self.dropout.add(x, self.feed_forward(self.feed_forward_norm(x), generator), generator)
        out: Tensor = self.dropout(x, generator)
        return out
