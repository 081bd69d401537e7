"""Diffusion in embedding space: schedules, the Gaussian process and samplers. Knows no network."""

from diffurecsys.diffusion.gaussian import GaussianDiffusion
from diffurecsys.diffusion.samplers import Sampler, sample_ddim, sample_ddpm
from diffurecsys.diffusion.scale import TargetScale, signal_to_noise, to_scale, told_apart, unit_rms
from diffurecsys.diffusion.schedules import SCHEDULES, make_betas, with_least_noise

__all__ = [
    "SCHEDULES",
    "GaussianDiffusion",
    "Sampler",
    "TargetScale",
    "make_betas",
    "sample_ddim",
    "sample_ddpm",
    "signal_to_noise",
    "to_scale",
    "told_apart",
    "unit_rms",
    "with_least_noise",
]
