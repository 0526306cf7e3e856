"""Chapter 11's predictions, and what its exercises ask, computed in other ways."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence

from companion.diffusion import (
    Schedule,
    forward_marginal,
    log_snr_schedule,
    reverse_posterior,
)
from companion.exercises import diffusion_preview as own


def weights(schedule):
    """What the diffusion terms weigh the error of the noise with, t = 2 … T."""
    return 0.5 * torch.expm1(-schedule.log_snr.diff())


def test_predictions():
    straight = weights(log_snr_schedule(50, 6.0, -6.0))
    assert own.straight_weight.answer == pytest.approx(straight[0].item(), abs=1e-3)
    assert straight.max() - straight.min() < 1e-12
    assert own.straight_weight.verdict(0.1387).startswith("✓ Correct.")
    assert own.straight_weight.verdict(0.2773).startswith("✗ Not quite: that is SNR")
    two, three = weights(Schedule(torch.tensor([0.9, 0.8, 0.5]).logit())).tolist()
    assert own.weight_ratio.answer == pytest.approx(three / two, abs=1e-5)
    assert own.weight_ratio.verdict(12 / 5).startswith("✓ Correct.")
    assert own.weight_ratio.verdict(0.6).startswith("✗ Not quite: those are the weights")
    assert own.enough_steps.verdict(50).startswith("✓ Correct.")
    assert own.enough_steps.verdict(20).startswith("✗ Not quite: at T = 20")


def test_the_underflow_is_real():
    # The far z of the ideal denoiser would otherwise not ask for logarithms at all.
    points = MixtureSameFamily(
        Categorical(torch.ones(2)), Normal(torch.tensor([0.0, 1.0]), 0.1**0.5)
    )
    assert points.log_prob(torch.tensor(20.0)).double().exp() < 1e-300


def test_the_guess_of_blobs_is_the_posterior_mean():
    # By a sum over a fine grid of x, without a formula for Gaussians.
    centres = torch.tensor([[-1.0], [0.4], [2.0]], dtype=torch.float64)
    x = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    prior = Normal(centres, 0.6).log_prob(x).logsumexp(0)
    for alpha_bar in (0.2, 0.7):
        for z in (-2.5, 0.1, 1.3):
            noise = Normal(alpha_bar**0.5 * x, (1 - alpha_bar) ** 0.5)
            weight = (prior + noise.log_prob(torch.tensor(z))).softmax(0)
            at = torch.tensor([[z]], dtype=torch.float64)
            found = own.ideal_guess.solution(at, centres, 0.6, alpha_bar)
            assert found.item() == pytest.approx((weight * x).sum().item(), abs=1e-6)


def test_information_grows_at_half_the_smallest_error():
    eigenvalues = torch.tensor([2.0, 0.3, 0.0], dtype=torch.float64)
    snr = torch.tensor([0.01, 0.5, 4.0, 60.0], dtype=torch.float64, requires_grad=True)
    information = 0.5 * torch.log1p(snr[:, None] * eigenvalues).sum(-1)  # (11.16)
    information.sum().backward()
    error = own.ideal_error.solution(eigenvalues, snr.detach())
    torch.testing.assert_close(2 * snr.grad, error)


def test_the_loss_is_the_bounds_own_term():
    # As three_terms has it: the KL of two conditionals, for a network that guesses x.
    schedule, x, eps = log_snr_schedule(6, 4.0, -3.0), torch.randn(5, 3), torch.randn(5, 3)
    x, eps, t = x.double(), eps.double(), torch.tensor([2, 3, 4, 6, 6])
    marginal = forward_marginal(schedule, x, t)
    z = marginal.mean + marginal.stddev * eps
    q = reverse_posterior(schedule, z, x, t - 1, t)
    p = reverse_posterior(schedule, z, z.tanh(), t - 1, t)
    found = own.elbo_loss.solution(lambda z, t: z.tanh(), x, eps, t, schedule.alpha_bar)
    torch.testing.assert_close(found, kl_divergence(q, p).reshape(5, -1).sum(-1).mean())
