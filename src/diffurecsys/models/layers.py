"""Building blocks on packed tokens: dropout, attention, feed-forward and step embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffurecsys.models.segments import Segments, attention

NORM_EPS = 1e-12  # the published code's; matters only for constant rows


class Dropout(nn.Module):
    """Inverted dropout whose mask comes from an explicit generator; the rate is exact to 2^-16."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Zero elements with probability `rate` and rescale the rest; the identity in evaluation."""
        if not self.training or self.rate == 0:
            return x
        # 16 random bits decide one element: four elements for each 64-bit draw
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: x.numel()].view(x.shape)
        dropped = round(self.rate * 2**16)
        mask = torch.where(bits >= dropped - 2**15, 2**16 / (2**16 - dropped), 0.0)
        return x * mask.to(x.dtype)


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
        if last_only:
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            query = F.linear(x[segments.last], weight[:width], bias[:width])
            key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        else:
            query, key, value = self.query_key_value(x).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in (query, key, value))
        attended: Tensor = self.output(attention(query, key, value, segments).flatten(-2))
        return attended


class CrossAttention(nn.Module):
    """Multi-head softmax attention of one token stream over another with the same borders."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, query_from: Tensor, context: Tensor, segments: Segments) -> Tensor:
        """Attend from `query_from` over `context`, both `[tokens, width]`, within each sequence."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in (self.query(query_from), key, value))
        attended: Tensor = self.output(attention(query, key, value, segments).flatten(-2))
        return attended


class FeedForward(nn.Module):
    """Two linear maps with a tanh-approximated GELU between (the published code's; the paper says ReLU)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`."""
        hidden = F.gelu(self.inner(x), approximate="tanh")
        mapped: Tensor = self.outer(self.dropout(hidden, generator))
        return mapped


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
