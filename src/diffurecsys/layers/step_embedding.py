"""Embedding of the diffusion step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
