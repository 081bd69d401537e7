"""Hyper-parameters of the diffusion recommenders (defaults: the paper's)."""

from __future__ import annotations

from dataclasses import dataclass

from diffurecsys.diffusion.gaussian import ReverseVariance
from diffurecsys.diffusion.samplers import Sampler
from diffurecsys.diffusion.schedules import SCHEDULES


@dataclass(frozen=True)
class ModelConfig:
    """Size, regularisation and diffusion settings shared by all variants.

    Attributes:
        width: embedding and hidden size d.
        blocks: stacked Transformer blocks.
        heads: attention heads; divides `width`.
        dropout: inside the blocks and after the last one.
        item_dropout: on the history's item embeddings.
        embedding_std: standard deviation of the initial item embeddings. N(0, 1), the published code's choice, gives
            logits of size sqrt(d) before anything is learnt and needs tens of epochs to unlearn them.
        diffusion_steps: T.
        schedule: name of the noise schedule.
        delta: λ ~ N(delta, delta), the weight of the noised target at every history position; 0 removes it.
        offset: δ_c of the offset noise N(0.1 δ_c, I), Eq. 17; only variants with offset noise read it.
        offset_per_sample: draw the offset once per example from N(0, (0.1 δ_c)²) instead of keeping it constant.
        sampler: of the reverse process, `ddpm` (ancestral, the paper's) or `ddim` (deterministic after the first draw).
        reverse_variance: of `ddpm`, `posterior` (β̃, the paper's Eq. 22) or `beta` (the published code).
    """

    width: int = 128
    blocks: int = 4
    heads: int = 4
    dropout: float = 0.1
    item_dropout: float = 0.3
    embedding_std: float = 0.02
    diffusion_steps: int = 32
    schedule: str = "truncated_linear"
    delta: float = 0.001
    offset: float = 1.0
    offset_per_sample: bool = False
    sampler: Sampler = "ddpm"
    reverse_variance: ReverseVariance = "posterior"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        for name in ("width", "blocks", "heads", "diffusion_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"model.width must be even and a multiple of model.heads, got width {self.width}, heads {self.heads}"
            )
        for name in ("dropout", "item_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.embedding_std <= 0:
            raise ValueError(f"model.embedding_std must be positive, got {self.embedding_std}")
        if self.delta < 0:
            raise ValueError(f"model.delta must not be negative, got {self.delta}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"model.schedule must be one of {', '.join(sorted(SCHEDULES))}, got {self.schedule!r}")

    @property
    def serving_steps(self) -> int:
        """Reverse steps below which recommendations get worse: with a small δ the first prediction is the last.

        Chosen from `docs/results/reverse_steps.json` (Amazon Beauty): up to δ = 0.01 one step lost nothing, at
        δ = 0.1 it lost 3 % of NDCG@10 and eight steps nothing.
        """
        return 1 if self.delta <= 0.01 else min(8, self.diffusion_steps)
