"""Reverse processes: from pure noise to a predicted target embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from diffurecsys.diffusion.gaussian import GaussianDiffusion

Sampler = Literal["ddpm", "ddim"]


def sample_ddpm(
    process: GaussianDiffusion,
    denoise: Callable[[Tensor, int], Tensor],
    x: Tensor,
    noise: Callable[[], Tensor],
) -> Tensor:
    """Run the ancestral sampler through every step of `process` (Eq. 21-23).

    For fewer steps pass `process.strided(steps)`.

    Args:
        process: the steps to walk back through.
        denoise: `(x_s, step of the trained process) -> x̂_0`.
        x: x_T, `[batch, width]`, standard normal.
        noise: returns fresh standard noise like `x`; called once for every step but the last.

    Returns:
        x_0 after the last step, which is x̂_0 itself: the posterior mean at the first step has no weight on x_s.
    """
    for step in reversed(range(len(process))):
        x_0 = denoise(x, process.told[step])
        x = process.reverse_mean(x_0, x, step)
        std = process.reverse_std(step)
        if std > 0:
            x = x + std * noise()
    return x


def sample_ddim(process: GaussianDiffusion, denoise: Callable[[Tensor, int], Tensor], x: Tensor) -> Tensor:
    """Run the deterministic sampler through every step of `process`: DDIM's Eq. 12 with σ = 0.

    The noise that x̂_0 implies is kept from step to step instead of being drawn anew. Source: Song, Meng, Ermon,
    "Denoising Diffusion Implicit Models", ICLR 2021.

    Args:
        process: the steps to walk back through; fewer of them with `process.strided(steps)`.
        denoise: `(x_s, step of the trained process) -> x̂_0`.
        x: x_T, `[batch, width]`, standard normal.

    Returns:
        x̂_0 of the last step.
    """
    for step in reversed(range(1, len(process))):
        x_0 = denoise(x, process.told[step])
        here, before = float(process.alpha_bar[step]), float(process.alpha_bar[step - 1])
        noise = (x - here**0.5 * x_0) / (1 - here) ** 0.5
        x = before**0.5 * x_0 + (1 - before) ** 0.5 * noise
    return denoise(x, int(process.steps[0]))
