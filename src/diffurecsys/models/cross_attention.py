"""DiffuRecSys's denoiser: the noised target queries the history by cross-attention.

Source: Zolghadr, Winther, Jeha, "Generative Diffusion Models for Sequential Recommendations", ROEGEN@RecSys'24, Eq. 16.
Deviations from the published code: softmax attention per sequence in place of a pooled linear attention, blocks that
build on each other, and one normalisation for each sub-layer. The query is λ ⊙ (x_s + d_s) as it stands: normalising
it would undo λ, whose size decides how much of the noised target can be seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.models.config import ModelConfig
from diffurecsys.models.denoiser import Denoiser
from diffurecsys.models.diffurec import Block
from diffurecsys.models.dropout import Dropout
from diffurecsys.models.layers import NORM_EPS, CrossAttention
from diffurecsys.models.segments import Segments


class CrossAttentionBlock(Block):
    """Cross-attention from the noised target to the history, before self-attention and feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.cross_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.cross_attention = CrossAttention(config.width, config.heads)

    def keys_values(self, x: Tensor) -> Tensor:
        """Turn `[tokens, width]` into what the noised target attends to, keys beside values."""
        out: Tensor = self.cross_attention.key_value(self.cross_norm(x))
        return out

    def cross(
        self,
        x: Tensor,
        noised: Tensor,
        segments: Segments,
        generator: torch.Generator | None,
        keys_values: Tensor | None = None,
    ) -> Tensor:
        """Add what the noised target finds in the history; all `[tokens, width]`."""
        keys_values = self.keys_values(x) if keys_values is None else keys_values
        return self.dropout.add(x, self.cross_attention(noised, keys_values, segments), generator)


class CrossAttentionDenoiser(Denoiser):
    """Stacked blocks, each z_i = CrossAttention(e_i, λ_i ⊙ (x_s + d_s)) first; x̂_0 is read at the last position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrossAttentionBlock(config) for _ in range(config.blocks))
        self.output_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.dropout = Dropout(config.dropout)

    def prepare(self, history: Tensor) -> Tensor:
        """Return keys and values of the first cross-attention: the history alone decides them."""
        first = self.blocks[0]
        assert isinstance(first, CrossAttentionBlock)
        return first.keys_values(history)

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
        noised = torch.zeros_like(history) if noised is None else noised
        x = history
        for number, block in enumerate(self.blocks, start=1):
            assert isinstance(block, CrossAttentionBlock)
            x = block.cross(x, noised, segments, generator, prepared if number == 1 else None)
            x = block(x, segments, generator, last_only=last_only and number == len(self.blocks))
        out: Tensor = self.output_norm(self.dropout(x, generator))
        return out
