"""What all rankers with a reverse process share: its settings, which purpose walks how far, the walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from diffurecsys.checks import at_least, one_of
from diffurecsys.diffusion import (
    SCHEDULES,
    GaussianDiffusion,
    Sampler,
    TargetScale,
    make_betas,
    sample_ddim,
    sample_ddpm,
)
from diffurecsys.models.base import Purpose, RankerConfig


@dataclass(frozen=True)
class ReverseConfig(RankerConfig):
    """Settings of a diffusion over the target's embedding; families add theirs.

    Attributes:
        diffusion_steps: T.
        schedule: name of the noise schedule.
        delta: weight of the noised target in what the denoiser sees; 0 removes it.
        target_scale: what is diffused, and predictions on the way back, are embeddings as they stand (`raw`) or brought
            to the size of the noise (`unit`).
        sampler: of the reverse process, `ddpm` (ancestral) or `ddim` (deterministic after the first draw).
        validation_steps: reverse steps walked in validation.
        evaluation_steps: in the final evaluation; None walks all.
        serving_steps: for recommendations.
    """

    diffusion_steps: int = 32
    schedule: str = "truncated_linear"
    delta: float = 1.0
    target_scale: TargetScale = "unit"
    sampler: Sampler = "ddpm"
    validation_steps: int = 1
    evaluation_steps: int | None = None
    serving_steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ValueError: naming the parameter, its value and what is allowed.
        """
        at_least(self, 1, "diffusion_steps")
        at_least(self, 0, "delta")
        one_of(self, sorted(SCHEDULES), "schedule")
        one_of(self, get_args(TargetScale), "target_scale")
        one_of(self, get_args(Sampler), "sampler")
        for name in ("validation_steps", "evaluation_steps", "serving_steps"):
            steps = getattr(self, name)
            if steps is not None and not 1 <= steps <= self.diffusion_steps:
                raise ValueError(f"{name} must lie in 1 … diffusion_steps ({self.diffusion_steps}), got {steps}")

    @property
    def betas(self) -> Tensor:
        """The noise schedule β_1 … β_T, float64 `[T]`."""
        return make_betas(self.schedule, self.diffusion_steps)

    def steps_for(self, purpose: Purpose) -> int | None:
        """Reverse steps as configured; None walks all."""
        by_purpose = {"validation": self.validation_steps, "evaluation": self.evaluation_steps}
        return by_purpose.get(purpose, self.serving_steps)


def walk_back(
    sampler: Sampler,
    process: GaussianDiffusion,
    denoise: Callable[[Tensor, int], Tensor],
    noise: Callable[[], Tensor],
) -> Tensor:
    """Walk from noise to x_0 by the sampler; arguments as those of `sample_ddpm`."""
    if sampler == "ddim":
        return sample_ddim(process, denoise, noise())
    return sample_ddpm(process, denoise, noise(), noise)
