"""Invariants of the noise schedules; their values are held by tests/parity."""

from __future__ import annotations

import pytest
import torch

from diffurecsys.diffusion import SCHEDULES, make_betas


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [32, 100, 1000])
def test_signal_fades_step_by_step(name, steps):
    betas = make_betas(name, steps)
    alpha_bar = (1 - betas).cumprod(0)
    assert betas.dtype == torch.float64
    assert len(betas) == steps
    assert (alpha_bar.diff() < 0).all()
    assert alpha_bar[-1] > 0


@pytest.mark.parametrize("name", ["truncated_linear", "truncated_cosine"])
def test_truncated_schedules_noise_the_first_step_visibly(name):
    plain = name.removeprefix("truncated_")
    assert make_betas(name, 1000)[0] > 50 * make_betas(plain, 1000)[0]


def test_an_unknown_schedule_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown schedule 'quadratic'; choose one of cosine, linear, sqrt"):
        make_betas("quadratic", 32)


def test_too_few_steps_for_the_linear_schedule_are_refused():
    with pytest.raises(ValueError, match="every β must lie between 0 and 1"):
        make_betas("linear", 8)
