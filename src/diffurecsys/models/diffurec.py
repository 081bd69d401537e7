"""DiffuRec: the noised target is added to every history position.

Source: Li, Sun, Li, "DiffuRec: A Diffusion Model for Sequential Recommendation", ACM TOIS 42 (2023); the paper's
baseline, Eq. 15. As in the published code there is no position embedding and attention looks both ways. Deviations:
nothing is padded, so no padding is attended to; no dropout on attention weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.models.config import ModelConfig
from diffurecsys.models.denoiser import Denoiser
from diffurecsys.models.dropout import Dropout
from diffurecsys.models.feed_forward import FeedForward
from diffurecsys.models.layers import NORM_EPS, SelfAttention
from diffurecsys.models.segments import Segments


class Block(nn.Module):
    """Pre-norm Transformer block: self-attention, feed-forward, dropout on each and on the output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attention = SelfAttention(config.width, config.heads)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.feed_forward = FeedForward(config.width, config.dropout)
        self.dropout = Dropout(config.dropout)

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


class DiffuRecDenoiser(Denoiser):
    """z_i = e_i + λ_i ⊙ (x_s + d_s) through stacked blocks; x̂_0 is read at the last position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.output_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        history: Tensor,
        noised: Tensor | None,
        segments: Segments,
        generator: torch.Generator | None,
        *,
        prepared: Tensor | None = None,
        last_only: bool = True,
    ) -> Tensor:
        """Return x̂_0 `[batch, width]`, or every position's representation `[tokens, width]`."""
        x = history if noised is None else history + noised
        *others, final = self.blocks
        for block in others:
            x = block(x, segments, generator)
        x = final(x, segments, generator, last_only=last_only)
        out: Tensor = self.output_norm(self.dropout(x, generator))
        return out
