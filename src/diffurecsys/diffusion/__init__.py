"""Diffusion in embedding space: schedules, the Gaussian process and samplers. Knows no network."""

from diffurecsys.diffusion.gaussian import GaussianDiffusion
from diffurecsys.diffusion.samplers import sample_ddpm
from diffurecsys.diffusion.schedules import SCHEDULES, make_betas

__all__ = ["SCHEDULES", "GaussianDiffusion", "make_betas", "sample_ddpm"]
