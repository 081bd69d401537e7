"""Noise schedules: β_1 … β_T in float64.

The formulas are those of DDPM, improved DDPM and Diffusion-LM as DiffuRec uses them; the truncated ones start at 0.01
instead of near 0, so that even the first step leaves the target embedding visibly noised.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BETA_FIRST = 1e-4  # of the linear schedule at T = 1000 (DDPM)
BETA_LAST = 0.02
TRUNCATION = 0.01  # added to β by the truncated schedules
BETA_MAX = 0.999  # keeps ᾱ_T positive


def _from_alpha_bar(alpha_bar: Callable[[float], float], steps: int) -> Tensor:
    betas = [1 - alpha_bar((t + 1) / steps) / alpha_bar(t / steps) for t in range(steps)]
    return torch.tensor([min(beta, BETA_MAX) for beta in betas], dtype=torch.float64)


def linear(steps: int) -> Tensor:
    """β rises linearly, scaled so that ᾱ_T hardly depends on T (DDPM)."""
    scale = 1000 / steps
    return torch.linspace(scale * BETA_FIRST, scale * BETA_LAST, steps, dtype=torch.float64)


def cosine(steps: int) -> Tensor:
    """ᾱ falls like a squared cosine (improved DDPM, Eq. 17)."""
    return _from_alpha_bar(lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2, steps)


def sqrt(steps: int) -> Tensor:
    """ᾱ = 1 - √(t + 0.0001) (Diffusion-LM)."""
    return _from_alpha_bar(lambda t: 1 - math.sqrt(t + 1e-4), steps)


def truncated_cosine(steps: int) -> Tensor:
    """Squared cosine that begins at t = 0.1, with the loss of signal before it as the first β."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.1) / 1.1 * math.pi / 2) ** 2

    first = torch.tensor([1 - alpha_bar(0)], dtype=torch.float64)
    return torch.cat([first, _from_alpha_bar(alpha_bar, steps)[: steps - 1]])


def truncated_linear(steps: int) -> Tensor:
    """The linear schedule plus 0.01; for few steps, where it would pass 1, it ends at 1/T + 0.01 instead."""
    scale = 1000 / steps
    last = scale * BETA_LAST + TRUNCATION
    if last > 1:
        last = scale * 0.001 + TRUNCATION
    return torch.linspace(scale * BETA_FIRST + TRUNCATION, last, steps, dtype=torch.float64)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": linear,
    "cosine": cosine,
    "sqrt": sqrt,
    "truncated_cosine": truncated_cosine,
    "truncated_linear": truncated_linear,
}


def make_betas(schedule: str, steps: int) -> Tensor:
    """Return β_1 … β_T, float64 `[steps]`, of a schedule in `SCHEDULES`.

    Raises:
        ValueError: the schedule is unknown, or gives a β outside (0, 1) for so few steps.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(sorted(SCHEDULES))}")
    betas = SCHEDULES[schedule](steps)
    if bool((betas <= 0).any()) or bool((betas >= 1).any()):
        raise ValueError(
            f"schedule {schedule!r} with {steps} steps has β from {betas.min():.4g} to {betas.max():.4g}; "
            "every β must lie between 0 and 1: use more steps or a truncated schedule"
        )
    return betas


def with_least_noise(betas: Tensor, least: float) -> Tensor:
    """Return the schedule with ᾱ times 1 - `least` at every step, by its first β alone.

    So x_s has a noise variance of more than `least` from the first step on, and a denoiser is never shown a target that
    it need only copy.

    Args:
        betas: float64 `[T]`.
        least: in [0, 1); 0 changes nothing.
    """
    first = 1 - (1 - betas[:1]) * (1 - least)
    return torch.cat([first, betas[1:]])
