"""Reverse processes: from pure noise to a predicted target embedding."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffurecsys.diffusion.gaussian import GaussianDiffusion


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
        x_0 = denoise(x, int(process.steps[step]))
        x = process.reverse_mean(x_0, x, step)
        std = process.reverse_std(step)
        if std > 0:
            x = x + std * noise()
    return x
