"""Schedules, derived coefficients and step embedding against recorded values (float64)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffurecsys.diffusion import SCHEDULES, GaussianDiffusion, make_betas
from diffurecsys.layers.step_embedding import sinusoidal

RECORDED_NAMES = {
    "linear": "linear",
    "cosine": "cosine",
    "sqrt": "sqrt",
    "truncated_cosine": "trunc_cos",
    "truncated_linear": "trunc_lin",
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "schedules.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("steps", [8, 32, 100])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_betas(recorded, schedule, steps):
    expected = recorded[f"{RECORDED_NAMES[schedule]}.{steps}"]
    np.testing.assert_allclose(SCHEDULES[schedule](steps).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("alpha_bar", "alphas_cumprod"),
        ("posterior_x0", "posterior_mean_coef1"),
        ("posterior_xt", "posterior_mean_coef2"),
        ("posterior_variance", "posterior_variance"),
    ],
)
def test_derived_coefficients(recorded, ours, theirs):
    process = GaussianDiffusion(make_betas("truncated_linear", 32))
    np.testing.assert_allclose(getattr(process, ours).numpy(), recorded[f"trunc_lin.32.{theirs}"], rtol=1e-12)


def test_step_embedding(recorded):
    embedded = sinusoidal(torch.from_numpy(recorded["time_embedding.t"]), 32)
    np.testing.assert_allclose(embedded.numpy(), recorded["time_embedding.dim32"], atol=1e-5)
