"""The Gaussian diffusion process in embedding space: forward marginals and the posterior."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ReverseVariance = Literal["posterior", "beta"]


class GaussianDiffusion(nn.Module):
    """Coefficients of q(x_s | x_0) and q(x_{s-1} | x_s, x_0), indexed by step 0 … T-1.

    A step index s here is the paper's s + 1, as in both published implementations. Everything is computed in float64;
    the forward process's coefficients are float32 buffers that move with the model, the reverse process's stay on the
    host, where the sampling loop runs.

    Attributes:
        betas: float64 `[T]`.
        steps: int64 `[T]`, the step of the trained process that each step stands for (0 … T-1 unless strided); what
            the denoiser is told.
        told: the same as numbers.
        alpha_bar: float64 `[T]`.
        posterior_x0: float64 `[T]`, weight of x_0 in the posterior mean (Eq. 23).
        posterior_xt: float64 `[T]`, weight of x_s in the posterior mean (Eq. 23 with Eq. 7's √α_s).
        posterior_variance: float64 `[T]`, β̃_s.
    """

    signal: Tensor
    noise_level: Tensor

    def __init__(
        self, betas: Tensor, steps: Tensor | None = None, reverse_variance: ReverseVariance = "posterior"
    ) -> None:
        """Derive every coefficient from the betas.

        Args:
            betas: float64 `[T]`, each within (0, 1).
            steps: what the denoiser is told at each step; default 0 … T-1.
            reverse_variance: β̃ as in the paper's Eq. 22-23 (`posterior`), or β, the larger bound, as in the published
                code.
        """
        super().__init__()
        self.betas = betas
        self.steps = torch.arange(len(betas)) if steps is None else steps
        self.reverse_variance = reverse_variance
        alpha = 1 - betas
        self.alpha_bar = alpha.cumprod(0)
        previous = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])
        self.posterior_x0 = previous.sqrt() * betas / (1 - self.alpha_bar)
        self.posterior_xt = alpha.sqrt() * (1 - previous) / (1 - self.alpha_bar)
        self.posterior_variance = (1 - previous) / (1 - self.alpha_bar) * betas
        self.told: list[int] = self.steps.tolist()
        noise = self.posterior_variance if reverse_variance == "posterior" else betas
        self._mean: list[tuple[float, float]] = list(
            zip(self.posterior_x0.tolist(), self.posterior_xt.tolist(), strict=True)
        )
        self._std: list[float] = noise.sqrt().tolist()
        self._shorter: dict[int, GaussianDiffusion] = {}
        self.register_buffer("signal", self.alpha_bar.sqrt().float(), persistent=False)
        self.register_buffer("noise_level", (1 - self.alpha_bar).sqrt().float(), persistent=False)

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.betas)

    def strided(self, steps: int) -> GaussianDiffusion:
        """Return a shorter process through evenly spaced steps of this one, with the same marginals there.

        Always includes the noisiest step, from which sampling starts (improved DDPM, section 4).

        Raises:
            ValueError: `steps` is not within 1 … T.
        """
        if not 1 <= steps <= len(self):
            raise ValueError(f"reverse steps must lie in 1 … {len(self)} (the model's diffusion steps), got {steps}")
        if steps == len(self):
            return self
        if steps not in self._shorter:
            self._shorter[steps] = self._strided(steps)
        return self._shorter[steps]

    def _strided(self, steps: int) -> GaussianDiffusion:
        kept = torch.linspace(len(self) - 1, 0, steps + 1, dtype=torch.float64)[:-1].round().long().flip(0)
        alpha_bar = self.alpha_bar[kept]
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        return GaussianDiffusion(1 - alpha_bar / previous, self.steps[kept], self.reverse_variance)

    def diffuse(self, x_0: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Draw x_s ~ q(x_s | x_0) given standard noise (Eq. 18-20).

        Args:
            x_0: `[batch, width]` target embeddings.
            step: int64 `[batch]`, 0-based.
            noise: like `x_0`.
        """
        return self.signal[step, None] * x_0 + self.noise_level[step, None] * noise

    def reverse_mean(self, x_0: Tensor, x_s: Tensor, step: int) -> Tensor:
        """Mean of q(x_{s-1} | x_s, x_0) (Eq. 23)."""
        of_x_0, of_x_s = self._mean[step]
        return of_x_0 * x_0 + of_x_s * x_s

    def reverse_std(self, step: int) -> float:
        """Standard deviation of the noise added when stepping from s to s-1; 0 at the last step (s = 0)."""
        return self._std[step] if step else 0.0
