"""What a denoising network has to offer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffurecsys.models.segments import Segments


class Denoiser(nn.Module):
    """f_θ: predicts x_0 from the history and the noised target. Knows no schedule."""

    def prepare(self, history: Tensor) -> Tensor | None:
        """Compute once for all reverse steps what the history alone decides; None where nothing is."""
        return None

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
        raise NotImplementedError
