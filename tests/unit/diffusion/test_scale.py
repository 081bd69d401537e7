"""Targets, noise and how much of the former can be seen."""

from __future__ import annotations

import math

import pytest
import torch

from diffurecsys.diffusion import GaussianDiffusion, make_betas, signal_to_noise, told_apart, unit_rms, with_least_noise


def test_unit_rms_keeps_the_direction():
    x = torch.tensor([[3.0, 4.0], [-0.06, 0.08]])
    # rms of (3, 4) is √(25 / 2)
    torch.testing.assert_close(unit_rms(x), x / torch.tensor([[12.5**0.5], [0.005**0.5]]))


@pytest.mark.parametrize("rms", [1.0, 0.1])
def test_signal_to_noise_is_what_the_process_makes(rms):
    process = GaussianDiffusion(make_betas("truncated_linear", 32))
    ratio = signal_to_noise(process.alpha_bar, rms)
    assert ratio.dtype == torch.float64
    assert bool((ratio.diff() < 0).all())
    step = torch.tensor([0, 5, 20])
    x_0, nothing = torch.full((3, 4), rms), torch.zeros(3, 4)
    signal = process.diffuse(x_0, step, nothing).square().mean(1)
    noise = process.diffuse(nothing, step, torch.ones(3, 4)).square().mean(1)
    torch.testing.assert_close(signal / noise, ratio[step].float())


@pytest.mark.parametrize("least", [0.0, 0.5, 0.9])
def test_least_noise_dims_every_step_alike(least):
    plain = make_betas("truncated_linear", 32)
    dimmed = GaussianDiffusion(with_least_noise(plain, least)).alpha_bar
    torch.testing.assert_close(dimmed, GaussianDiffusion(plain).alpha_bar * (1 - least))
    assert float(1 - dimmed[0]) > least


def test_targets_are_told_apart_where_the_channel_holds_their_names():
    ratio = told_apart(64, 12_101)
    assert 64 / 2 * math.log1p(ratio) == pytest.approx(math.log(12_101))
    assert told_apart(128, 12_101) < ratio < told_apart(64, 1_000_000)
