"""A denoiser without attention: residual layers whose scale and shift come from what an encoder said before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.layers.dropout import Dropout
from diffurecsys.layers.encoder import NORM_EPS
from diffurecsys.layers.feed_forward import FeedForward
from diffurecsys.layers.initialisation import draw_linear


class AdaptiveHead(nn.Module):
    """Predicts x_0 of each position from its condition and its noised target. Knows no schedule.

    The noised target is added to the condition, and the condition scales and shifts what every layer reads: the
    adaptive normalisation of Peebles, Xie, "Scalable Diffusion Models with Transformers" (ICCV 2023), begun without
    effect.

    Args:
        width: of everything.
        blocks: residual layers.
        inner: hidden units of each.
        dropout: inside of and on each.
    """

    def __init__(self, *, width: int, blocks: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.modulation = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.layers = nn.ModuleList(FeedForward(width, dropout, inner) for _ in range(blocks))
        self.dropout = Dropout(dropout)
        self.outer_norm = nn.LayerNorm(width, eps=NORM_EPS)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator` (on the host): Xavier for matrices, zeros for scale and shift."""
        draw_linear(self, generator)
        for weight in self.modulation.parameters():
            nn.init.zeros_(weight)

    def prepare(self, condition: Tensor) -> list[Tensor]:
        """Compute once for all reverse steps what the condition alone decides: each layer's scale beside its shift."""
        return [modulation(condition) for modulation in self.modulation]

    def forward(
        self, condition: Tensor, noised: Tensor | None, prepared: list[Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """Return x̂_0, `[positions, width]`.

        Args:
            condition: `[positions, width]`.
            noised: `[positions, width]`; None where there is none.
            prepared: what `prepare` returned for this condition.
            generator: for dropout; unused in evaluation.
        """
        x = condition if noised is None else condition + noised
        for layer, modulation in zip(self.layers, prepared, strict=True):
            scale, shift = modulation.chunk(2, dim=-1)
            x = self.dropout.add(x, layer(torch.addcmul(shift, self.norm(x), 1 + scale), generator), generator)
        out: Tensor = self.outer_norm(x)
        return out
