"""The scale of what is diffused: noise has variance 1, so the size of a target decides how much of it can be seen."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

TargetScale = Literal["raw", "unit"]


def unit_rms(x: Tensor) -> Tensor:
    """Bring each row of `[rows, width]` to a root mean square of 1, the size of the noise."""
    return F.normalize(x, dim=-1) * math.sqrt(x.shape[-1])


def to_scale(x: Tensor, scale: TargetScale) -> Tensor:
    """Bring targets, or predictions of them, `[rows, width]`, to the scale of the process: `raw` is as they stand."""
    return unit_rms(x) if scale == "unit" else x


def signal_to_noise(alpha_bar: Tensor, target_rms: float = 1.0) -> Tensor:
    """Power of the target in x_s over that of the noise, at each step: ᾱ rms² / (1 - ᾱ), float64 `[T]`.

    Args:
        alpha_bar: float64 `[T]`, of `GaussianDiffusion`.
        target_rms: root mean square of the targets' components.
    """
    return alpha_bar * target_rms**2 / (1 - alpha_bar)


def told_apart(width: int, n_items: int) -> float:
    """Signal to noise from which a target can be told from all other items by what it looks like.

    There width / 2 · log(1 + ratio), the capacity of a Gaussian channel, is log `n_items`: above it a denoiser need not
    look at the history, far below it sees the history alone.
    """
    return math.expm1(2 / width * math.log(n_items))
