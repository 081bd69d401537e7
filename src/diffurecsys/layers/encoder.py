"""Transformer blocks and encoders on packed tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from diffurecsys.layers.attention import attention
from diffurecsys.layers.causal_attention import causal_attention
from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.initialisation import draw_linear
from diffurecsys.layers.products import Linear, linear
from diffurecsys.layers.relative_attention import relative_attention
from diffurecsys.layers.segments import Segments

NORM_EPS = 1e-12  # the published code's; matters only for constant rows
POSITION_STD = 0.02

Norm = Literal["pre", "post"]
Positions = Literal["none", "start", "end", "relative"]


def refuse_longer(length: int, max_length: int) -> None:
    """Check that a network with positions can read histories of `length` items.

    Raises:
        ValueError: they are longer than there are places or distances.
    """
    if length > max_length:
        raise ValueError(f"network.max_length must be at least preprocessing.max_length ({length}), got {max_length}")


class SelfAttention(nn.Module):
    """Multi-head softmax attention of a sequence over itself.

    Args:
        width: of inputs and outputs.
        heads: divides `width`.
        causal: no position sees a later one; False: all see all.
        distances: so many learnt numbers a head are added to the scores of positions 0, 1, … places apart; where all
            see all, as many again for what comes after. They begin as -distance · 0.5^(head + 1): some heads look
            near, others far.
    """

    def __init__(self, width: int, heads: int, *, causal: bool = False, distances: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query_key_value = Linear(width, 3 * width)
        self.output = Linear(width, width)
        self.distance_bias: nn.Parameter | None = None
        if distances:
            slope = 0.5 ** torch.arange(1, heads + 1)
            distance = torch.arange(0 if causal else 1 - distances, distances).abs()
            self.distance_bias = nn.Parameter(-slope[:, None] * distance)

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
        query = linear(asking, weight[:width], bias[:width])
        key_value = linear(x, weight[width:], bias[width:])
        if self.causal:
            attended = causal_attention(query, key_value, segments, self.heads, self.distance_bias)
        elif self.distance_bias is not None:
            attended = relative_attention(query, key_value, segments, self.heads, self.distance_bias)
        else:
            attended = attention(query, key_value, segments, self.heads)
        out: Tensor = self.output(attended)
        return out


class CrossAttention(nn.Module):
    """Multi-head softmax attention of one token stream over another with the same borders."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.output = Linear(width, width)

    def forward(self, query_from: Tensor, keys_values: Tensor, segments: Segments) -> Tensor:
        """Attend from `[tokens, width]` over `[tokens, 2 width]`, what `key_value` made of the other stream."""
        attended: Tensor = self.output(attention(self.query(query_from), keys_values, segments, self.heads))
        return attended


class Block(nn.Module):
    """Transformer block: self-attention, feed-forward, dropout on each.

    Args:
        width: of inputs and outputs.
        heads: attention heads; divides `width`.
        dropout: rate.
        inner: hidden units of the feed-forward; None: four times the width.
        causal: no position sees a later one.
        norm: `pre` normalises what goes into each sub-layer, `post` the sums of sub-layers and their inputs.
        distances: of the learnt bias by distance, see `SelfAttention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        *,
        inner: int | None = None,
        causal: bool = False,
        norm: Norm = "pre",
        distances: int = 0,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfAttention(width, heads, causal=causal, distances=distances)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, dropout, inner)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        pre = self.norm == "pre"
        attended = self.attention(self.attention_norm(x) if pre else x, segments, last_only=last_only)
        if last_only:
            x = x.index_select(0, segments.last)
        x = self.dropout.add(x, attended, generator)
        if not pre:
            x = self.attention_norm(x)
        x = self.dropout.add(x, self.feed_forward(self.feed_forward_norm(x) if pre else x, generator), generator)
        return x if pre else self.feed_forward_norm(x)


class Encoder(nn.Module):
    """Positions, dropout and stacked blocks: from item vectors to what each position, or each history's last, has seen.

    Args:
        width: hidden size d.
        blocks: how many.
        heads: attention heads; divides `width`.
        inner: hidden units of the feed-forward.
        dropout: on the input and inside the blocks.
        causal: no position sees a later one; False: all see all.
        norm: `pre` (with one more normalisation of the output) or `post` (with one of the input).
        positions: `none`; a learnt vector for each place counted from the `start` of the history or back from its
            `end`, as left padding would; or `relative`, a learnt number for each head and distance.
        max_length: of histories; places and distances end there.
        block: makes a block from what `Block` takes; blocks of another make map and are called as `Block` is.
    """

    def __init__(
        self,
        *,
        width: int,
        blocks: int,
        heads: int,
        inner: int,
        dropout: float,
        causal: bool,
        norm: Norm = "pre",
        positions: Positions,
        max_length: int,
        block: Callable[..., nn.Module] = Block,
    ) -> None:
        super().__init__()
        self.positions, self.max_length, self.norm = positions, max_length, norm
        absolute = positions in ("start", "end")
        self.position = nn.Embedding(max_length, width) if absolute else None
        distances = max_length if positions == "relative" else 0
        self.blocks = nn.ModuleList(
            block(width, heads, dropout, inner=inner, causal=causal, norm=norm, distances=distances)
            for _ in range(blocks)
        )
        self.outer_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = Dropout(dropout)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, N(0, 0.02) for positions."""
        draw_linear(self, generator)
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=POSITION_STD, generator=generator)

    def refuse_longer(self, length: int) -> None:
        """Check that histories of up to `length` items can be read: `preprocessing.max_length`.

        Raises:
            ValueError: they are longer than there are places or distances.
        """
        if self.positions != "none":
            refuse_longer(length, self.max_length)

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Encode packed histories.

        Args:
            x: `[tokens, width]` item vectors.
            segments: the borders between histories.
            generator: for dropout; unused in evaluation.
            last_only: return the last position of every history alone.

        Returns:
            `[tokens, width]`, or `[batch, width]`.

        Raises:
            ValueError: a history is longer than there are places or distances.
        """
        if self.positions != "none" and segments.lengths[-1] > self.max_length:
            raise ValueError(
                f"a history of {segments.lengths[-1]} items, but this network was made for at most {self.max_length} "
                "(network.max_length)"
            )
        if self.position is not None:
            place = segments.place
            if self.positions == "end":
                lengths = segments.offsets.diff().long().index_select(0, segments.sequence)
                place = place + (self.max_length - lengths)
            x = x + self.position(place)
        x = self.dropout(self.outer_norm(x) if self.norm == "post" else x, generator)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, segments, generator, last_only=last_only and number == len(self.blocks))
        out: Tensor = self.outer_norm(x) if self.norm == "pre" else x
        return out
