"""Building blocks on packed tokens: attention and step embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.models.attention import attention
from diffurecsys.models.segments import Segments

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


class StepEmbedding(nn.Module):
    """Embedding d_s of the diffusion step: sinusoids of s·1000/T (cosines first), then a two-layer MLP with SiLU."""

    sinusoids: Tensor

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.register_buffer("sinusoids", sinusoidal(torch.arange(steps) * (1000 / steps), width), persistent=False)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(self, step: Tensor) -> Tensor:
        """Embed int64 `[batch]` steps (0-based) as `[batch, width]`."""
        embedded: Tensor = self.outer(F.silu(self.inner(self.sinusoids[step])))
        return embedded


def sinusoidal(position: Tensor, width: int) -> Tensor:
    """Return `[len(position), width]`: cosines, then sines, at periods 2π … 2π·10,000."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half)
    angle = position.float()[:, None] * frequency  # (positions, half)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
