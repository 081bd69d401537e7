"""Diffusion in embedding space: schedules, the Gaussian process and samplers. Knows no network."""

from diffurecsys.diffusion.gaussian import GaussianDiffusion
from diffurecsys.diffusion.samplers import Sampler, sample_ddim, sample_ddpm
from diffurecsys.diffusion.schedules import SCHEDULES, make_betas

__all__ = ["SCHEDULES", "GaussianDiffusion", "Sampler", "make_betas", "sample_ddim", "sample_ddpm"]
