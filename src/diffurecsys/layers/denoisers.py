"""f_θ of the diffusion recommenders: predicts x_0 from the history and the noised target. Knows no schedule.

Sources: Li, Sun, Li, "DiffuRec: A Diffusion Model for Sequential Recommendation", ACM TOIS 42 (2023), the paper's
baseline; Zolghadr, Winther, Jeha, "Generative Diffusion Models for Sequential Recommendations", ROEGEN@RecSys'24, Eq.
15 and 16. As in the published code there is no position embedding and attention looks both ways. Deviations: nothing is
padded, so no padding is attended to; no dropout on attention weights; in the cross-attention softmax attention per
sequence in place of a pooled linear attention, blocks that build on each other, and one normalisation for each
sub-layer. Its query is λ ⊙ (x_s + d_s) as it stands: normalising it would undo λ, whose size decides how much of the
noised target can be seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.encoder import NORM_EPS, Block, CrossAttention
from diffurecsys.layers.segments import Segments


class DenoiserBlock(Block):
    """A block with one more dropout, on its output."""

    def forward(
        self, x: Tensor, segments: Segments, generator: torch.Generator | None, *, last_only: bool = False
    ) -> Tensor:
        """Map `[tokens, width]` to `[tokens, width]`, or to `[batch, width]` at the last positions alone."""
        out: Tensor = self.dropout(super().forward(x, segments, generator, last_only=last_only), generator)
        return out


class AddingBlock(DenoiserBlock):
    """A block of DiffuRec: the noised target was added to the history before the first of them."""

    def condition(
        self,
        x: Tensor,
        noised: Tensor,
        segments: Segments,
        generator: torch.Generator | None,
        keys_values: Tensor | None = None,
    ) -> Tensor:
        """Leave `x` as it is."""
        return x


class CrossAttentionBlock(DenoiserBlock):
    """Cross-attention from the noised target to the history, before self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float, *, distances: int = 0) -> None:
        super().__init__(width, heads, dropout, distances=distances)
        self.cross_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attention = CrossAttention(width, heads)

    def keys_values(self, x: Tensor) -> Tensor:
        """Turn `[tokens, width]` into what the noised target attends to, keys beside values."""
        out: Tensor = self.cross_attention.key_value(self.cross_norm(x))
        return out

    def condition(
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


class Denoiser(nn.Module):
    """Stacked blocks; x̂_0 is read at the last position.

    Args:
        width: hidden size d.
        blocks: how many.
        heads: of attention; divides `width`.
        dropout: inside the blocks and after the last one.
        cross: z_i = CrossAttention(e_i, λ_i ⊙ (x_s + d_s)) in every block (Eq. 16) instead of
            z_i = e_i + λ_i ⊙ (x_s + d_s) before the first (Eq. 15).
        distances: of a learnt bias by distance in the self-attention, see `SelfAttention`; 0: none.
    """

    def __init__(self, *, width: int, blocks: int, heads: int, dropout: float, cross: bool, distances: int = 0) -> None:
        super().__init__()
        self.cross = cross
        block = CrossAttentionBlock if cross else AddingBlock
        self.blocks = nn.ModuleList(block(width, heads, dropout, distances=distances) for _ in range(blocks))
        self.output_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = Dropout(dropout)

    def prepare(self, history: Tensor) -> Tensor | None:
        """Compute once for all reverse steps what the history alone decides: the first block's keys and values."""
        first = self.blocks[0]
        return first.keys_values(history) if isinstance(first, CrossAttentionBlock) else None

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
        """Return x̂_0 `[batch, width]`.

        Args:
            history: `[tokens, width]` item representations.
            noised: `[tokens, width]`, λ ⊙ (x_s + d_s) at every history position; None where δ = 0 removes it.
            segments: the borders between histories.
            generator: for dropout; unused in evaluation.
            prepared: what `prepare` returned for this history; None computes it here.
            last_only: False returns every position's representation, `[tokens, width]`.
        """
        if self.cross:
            x, noised = history, torch.zeros_like(history) if noised is None else noised
        else:
            x = history if noised is None else history + noised
            noised = x
        for number, block in enumerate(self.blocks, start=1):
            x = block.condition(x, noised, segments, generator, prepared if number == 1 else None)  # type: ignore[operator]
            x = block(x, segments, generator, last_only=last_only and number == len(self.blocks))
        out: Tensor = self.output_norm(self.dropout(x, generator))
        return out
