"""A Transformer block that judges many last items of one history at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.layers.encoder import NORM_EPS, POSITION_STD, Block
from diffurecsys.layers.segments import Segments


class Discriminator(nn.Module):
    """Says for sequences that differ in their last value alone whether they are real: a logarithm of odds each.

    One bidirectional block read at the last position: what stands before it is the same for all candidates, so its
    keys and values are computed once.

    Args:
        n_values: what a place may hold: items, or properties of items.
        width: hidden size.
        heads: divides `width`.
        dropout: on embeddings and inside the block.
        max_length: of what stands before the last value.
    """

    def __init__(self, n_values: int, width: int, heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length, self.heads = max_length, heads
        self.embedding, self.position = nn.Embedding(n_values, width), nn.Embedding(max_length + 1, width)
        self.block = Block(width, heads, dropout, inner=width)
        self.outer_norm, self.verdict = nn.LayerNorm(width, eps=NORM_EPS), nn.Linear(width, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, N(0, 0.02) for tables."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=POSITION_STD, generator=generator)

    def forward(self, history: Tensor, segments: Segments, last: Tensor, generator: torch.Generator) -> Tensor:
        """Judge every candidate.

        Args:
            history: int64 `[tokens]` values before the last.
            segments: the borders between histories.
            last: int64 `[batch, candidates]` values for the last place.
            generator: for dropout.

        Returns:
            float32 `[batch, candidates]`.
        """
        block, (n, candidates) = self.block, last.shape
        lengths = segments.offsets.diff().long().index_select(0, segments.sequence)
        before = self.embedding(history) + self.position(self.max_length - lengths + segments.place)
        before = block.attention_norm(block.dropout(before, generator))
        x = block.dropout(self.embedding(last.flatten()) + self.position.weight[-1], generator)
        width, projection = x.shape[1], block.attention.query_key_value
        keys_values = F.linear(before, projection.weight[width:], projection.bias[width:])
        own = projection(block.attention_norm(x)).view(n, candidates, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        parts, begin = [], 0
        for bucket, part in zip(
            segments.buckets, keys_values.split([bucket.tokens for bucket in segments.buckets]), strict=True
        ):
            query, key, value = own[:, begin : begin + bucket.count]  # (count, heads, candidates, head width) each
            begin += bucket.count
            spread = bucket.spread(part).view(bucket.count, bucket.length, 2, self.heads, -1)
            keys, values = spread.permute(2, 0, 3, 1, 4)
            scores = query @ keys.mT  # (count, heads, candidates, length)
            if bucket.bias is not None:
                scores = scores + bucket.bias.to(scores.dtype)
            scores = torch.cat([scores, (query * key).sum(-1, keepdim=True)], dim=-1)
            weight = (scores * query.shape[-1] ** -0.5).softmax(-1)
            parts.append((weight[..., :-1] @ values + weight[..., -1:] * value).transpose(1, 2).flatten(2))
        attended = block.attention.output(torch.cat(parts).flatten(0, 1))
        x = block.dropout.add(x, attended, generator)
        x = block.dropout.add(x, block.feed_forward(block.feed_forward_norm(x), generator), generator)
        verdict: Tensor = self.verdict(self.outer_norm(x)).float().view(n, candidates)
        return verdict
