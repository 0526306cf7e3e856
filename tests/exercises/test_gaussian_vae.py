"""Chapter 5's checks name each catalogued mistake and accept right answers written differently."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.exercises import gaussian_vae as own
from companion.models import VAE
from companion.objectives import elbo_analytic, log_marginal

PREDICTIONS = [own.implied_scale, own.beta_scale]


# --- right answers, written differently ---------------------------------------------------------


def kl_of_full_covariances(mu, logvar):
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    return kl_divergence(q, MultivariateNormal(torch.zeros_like(mu), torch.eye(mu.shape[1])))


def test_a_kl_of_full_covariances_is_right():
    assert own.closed_form_kl.verdict(kl_of_full_covariances) == "✓ Correct."


# --- the solutions against the package ------------------------------------------------------------


# Would catch a solution that is itself wrong: the check would then teach the mistake.
def test_the_elbo_solution_is_the_packages_bound():
    torch.manual_seed(0)
    model = VAE(
        GaussianConditional(mlp(7, 5, 2 * 3)),
        GaussianConditional(mlp(3, 7), scale=0.3),
        StandardNormal(3),
    ).double()
    x = torch.randn(12, 7, dtype=torch.float64)

    def encode(rows):
        return model.encoder.net(rows).chunk(2, dim=-1)

    torch.manual_seed(1)
    expected = elbo_analytic(model, x).mean()
    torch.manual_seed(1)
    eps = torch.randn(12, 3, dtype=torch.float64)
    found = own.mean_elbo.solution(
        x.split(5), eps.split(5), encode, model.decoder.net, float(model.decoder.scale)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_chunked_solution_is_the_packages_estimate():
    torch.manual_seed(0)
    model = VAE(
        GaussianConditional(mlp(7, 2 * 3)),
        GaussianConditional(mlp(3, 7), scale=0.5),
        StandardNormal(3),
    ).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    torch.manual_seed(1)
    expected = log_marginal(model, x, num_samples=11, chunk_size=4)
    torch.manual_seed(1)
    found = own.log_marginal_in_chunks.solution(lambda k: model.trace(x, k).log_weight, 11, 4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# --- predictions --------------------------------------------------------------------------------


def test_predictions():
    assert own.implied_scale.verdict(5.66).startswith("✓")
    assert "variance" in own.implied_scale.verdict(32)
    assert "1/(2σ²)" in own.implied_scale.verdict(8)
    assert "averaged" in own.implied_scale.verdict(1)
    assert own.beta_scale.verdict(0.2).startswith("✓")
    assert "multiplies the variance" in own.beta_scale.verdict(0.4)
    assert "variance βσ²" in own.beta_scale.verdict(0.04)


# Would catch a change of the question's sizes that leaves the answers behind.
def test_the_answers_are_what_their_words_say():
    error = torch.rand(64, dtype=torch.float64)
    sigma = own.implied_scale.answer
    torch.testing.assert_close(error.square().mean(), error.square().sum() / (2 * sigma**2))
    assert own.beta_scale.answer == pytest.approx(math.sqrt(4 * 0.1**2))
