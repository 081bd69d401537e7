"""The Gaussian process against its definition, computed the long way."""

from __future__ import annotations

import pytest
import torch

from diffurecsys.diffusion import GaussianDiffusion, make_betas, sample_ddim, sample_ddpm

BETAS = make_betas("truncated_linear", 32)


def test_diffusing_at_once_has_the_moments_of_diffusing_step_by_step():
    generator = torch.Generator().manual_seed(0)
    process = GaussianDiffusion(BETAS)
    x_0 = torch.full((200_000, 1), 2.0)
    walked = x_0.double()
    for beta in BETAS[:10]:
        walked = (1 - beta).sqrt() * walked + beta.sqrt() * torch.randn(x_0.shape, generator=generator)
    at_once = process.diffuse(x_0, torch.full((len(x_0),), 9), torch.randn(x_0.shape, generator=generator))
    assert float(at_once.mean()) == pytest.approx(float(walked.mean()), abs=0.01)
    assert float(at_once.std()) == pytest.approx(float(walked.std()), abs=0.01)


@pytest.mark.parametrize("step", [1, 7, 31])
def test_posterior_is_bayes_rule_on_two_gaussians(step):
    process = GaussianDiffusion(BETAS)
    alpha, beta, before = 1 - BETAS[step], BETAS[step], process.alpha_bar[step - 1]
    x_0, x_s = 0.7, -1.3
    # prior N(√ᾱ_{s-1} x_0, 1 - ᾱ_{s-1}), likelihood N(x_s; √α_s x_{s-1}, β_s): precisions add
    precision = 1 / (1 - before) + alpha / beta
    mean = (before.sqrt() * x_0 / (1 - before) + alpha.sqrt() * x_s / beta) / precision
    got = process.reverse_mean(torch.tensor([x_0]), torch.tensor([x_s]), step)
    assert float(got) == pytest.approx(float(mean), abs=1e-6)
    assert process.reverse_std(step) == pytest.approx(float((1 / precision).sqrt()))


def test_the_last_step_returns_the_prediction_without_noise():
    process = GaussianDiffusion(BETAS)
    x_0, x_s = torch.tensor([0.25]), torch.tensor([9.0])
    assert process.reverse_mean(x_0, x_s, 0) == x_0
    assert process.reverse_std(0) == 0.0
    assert GaussianDiffusion(BETAS, reverse_variance="beta").reverse_std(0) == 0.0


def test_reverse_variance_may_be_beta():
    assert GaussianDiffusion(BETAS, reverse_variance="beta").reverse_std(5) == pytest.approx(float(BETAS[5].sqrt()))


@pytest.mark.parametrize("steps", [1, 2, 5, 31, 32])
def test_a_strided_process_has_the_marginals_of_the_whole_one(steps):
    process = GaussianDiffusion(BETAS)
    short = process.strided(steps)
    assert len(short) == steps
    assert short.steps[-1] == 31
    assert short.steps.diff().gt(0).all()
    torch.testing.assert_close(short.alpha_bar, process.alpha_bar[short.steps])


@pytest.mark.parametrize("steps", [0, 33])
def test_a_strided_process_needs_a_possible_number_of_steps(steps):
    with pytest.raises(ValueError, match=r"must lie in 1 … 32"):
        GaussianDiffusion(BETAS).strided(steps)


@pytest.mark.parametrize("steps", [4, 32])
def test_the_sampler_with_a_perfect_denoiser_returns_the_truth(steps):
    truth = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    process = GaussianDiffusion(BETAS).strided(steps)
    told = []

    def denoise(x, step):
        told.append(step)
        return truth

    generator = torch.Generator().manual_seed(2)
    sampled = sample_ddpm(process, denoise, torch.randn(3, 8), lambda: torch.randn(3, 8, generator=generator))
    torch.testing.assert_close(sampled, truth)
    assert told == process.steps.flip(0).tolist()


def test_sampling_with_the_exact_denoiser_of_a_gaussian_draws_from_it():
    # x_0 ~ N(1, 0.5²): E[x_0 | x_s] is linear, so the whole chain is known
    process = GaussianDiffusion(BETAS)
    mean, variance = 1.0, 0.25

    def denoise(x, step):
        signal, noise = process.alpha_bar[step].sqrt(), 1 - process.alpha_bar[step]
        gain = signal * variance / (signal**2 * variance + noise)
        return (mean + gain * (x - signal * mean)).float()

    generator = torch.Generator().manual_seed(3)

    def noise():
        return torch.randn(100_000, 1, generator=generator)

    sampled = sample_ddpm(process, denoise, noise(), noise)
    assert float(sampled.mean()) == pytest.approx(mean, abs=0.05)
    assert 0.2 < float(sampled.std()) < 0.55  # predicting x_0 by its mean loses some spread in 32 coarse steps


@pytest.mark.parametrize("steps", [1, 4, 32])
def test_ddim_with_a_perfect_denoiser_returns_the_truth(steps):
    truth, process = torch.randn(5, 3), GaussianDiffusion(BETAS).strided(steps)
    assert torch.equal(sample_ddim(process, lambda _x, _step: truth, torch.randn(5, 3)), truth)


def test_ddim_follows_the_exact_flow_of_a_gaussian_target():
    # x_0 ~ N(0, v): E[x_0 | x_s] is linear, and the deterministic flow scales x_T by the ratio of deviations
    process, variance = GaussianDiffusion(make_betas("linear", 4000)), 0.25
    marginal = process.alpha_bar * variance + 1 - process.alpha_bar

    def denoise(x, step):
        return float(process.alpha_bar[step].sqrt() * variance / marginal[step]) * x

    x_t = torch.randn(1000, 1, dtype=torch.float64)
    expected = x_t * float((variance / marginal[-1]).sqrt())
    torch.testing.assert_close(sample_ddim(process, denoise, x_t), expected, rtol=0.01, atol=1e-6)
