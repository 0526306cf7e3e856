"""Chapter 5's checks name each catalogued mistake and accept right answers written differently."""

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn.functional import binary_cross_entropy, gaussian_nll_loss

from companion import exercises
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.exercises import gaussian_vae as own
from companion.models import VAE
from companion.objectives import elbo_analytic, log_marginal, score_function

FUNCTIONS = [
    own.closed_form_kl,
    own.clamped_encoder,
    own.mean_elbo,
    own.reconstruction_term,
    own.binary_reconstruction,
    own.learned_scale,
    own.log_marginal_in_chunks,
    own.grey_mass,
]
PREDICTIONS = [own.implied_scale, own.beta_scale]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(5).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently ---------------------------------------------------------


def kl_by_torch(mu, logvar):
    q = Normal(mu, logvar.exp().sqrt())
    return kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=1)


def kl_as_the_formula_stands(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1)


def kl_of_full_covariances(mu, logvar):
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    return kl_divergence(q, MultivariateNormal(torch.zeros_like(mu), torch.eye(mu.shape[1]).to(mu)))


def clamp_with_limits(mu, logvar, eps):
    logvar = torch.minimum(torch.maximum(logvar, torch.tensor(-4.0)), torch.tensor(4.0))
    sigma = logvar.exp().sqrt()
    return torch.addcmul(mu, sigma, eps), kl_by_torch(mu, logvar)


def elbo_with_running_sum(batches, noise, encode, decode, sigma):
    total, count = 0.0, 0
    for x, eps in zip(batches, noise, strict=True):
        mu, logvar = encode(x)
        mean = decode(mu + logvar.exp().sqrt() * eps)
        variance = torch.full_like(x, sigma**2)
        nll = gaussian_nll_loss(mean, x, variance, full=True, reduction="none").sum(1)
        total = total - nll.sum() - kl_by_torch(mu, logvar).sum()
        count += len(x)
    return total / count


def elbo_of_all_at_once(batches, noise, encode, decode, sigma):
    x, eps = torch.cat(batches), torch.cat(noise)
    mu, logvar = encode(x)
    z = mu + logvar.exp().sqrt() * eps
    reconstruction = Independent(Normal(decode(z), sigma), 1).log_prob(x)
    return float((reconstruction - kl_as_the_formula_stands(mu, logvar)).mean())


def reconstruction_by_hand(q, log_likelihood, num_samples):
    eps = torch.randn(num_samples, *q.mean.shape, dtype=torch.float64)
    return log_likelihood(q.mean + q.stddev * eps).sum(0) / num_samples


def reconstruction_in_a_loop(q, log_likelihood, num_samples):
    total = sum(log_likelihood(q.rsample((num_samples // 10,))).mean(0) for _ in range(10))
    return total / 10


def reconstruction_by_score_function(q, log_likelihood, num_samples):
    # Also unbiased; its noise is larger, so it takes more samples than it is asked for.
    return score_function(q, log_likelihood, 20 * num_samples).mean(0)


def binary_by_torch(x, logits, u):
    return Bernoulli(logits=logits).log_prob(torch.where(u < x, 1.0, 0.0).double()).sum(-1)


def binary_by_probabilities(x, logits, u):
    bits = (x > u).double()
    return -binary_cross_entropy(logits.sigmoid(), bits, reduction="none").sum(-1)


def scale_by_torch(x, mean, log_sigma):
    return Independent(Normal(mean, log_sigma.exp()), 1).log_prob(x)


def scale_by_nll(x, mean, log_sigma):
    variance = torch.exp(2 * log_sigma).expand_as(x)
    return -gaussian_nll_loss(mean, x, variance, full=True, reduction="none", eps=0).sum(-1)


def chunks_with_running_logsumexp(draw, num_samples, chunk_size):
    log_sum, left = torch.tensor(-math.inf, dtype=torch.float64), num_samples
    while left:
        log_weight = draw(min(left, chunk_size))
        left -= len(log_weight)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 0))
    return log_sum - math.log(num_samples)


def chunks_all_at_once(draw, num_samples, chunk_size):
    log_weight = draw(num_samples)
    top = log_weight.max(0).values
    return top + (log_weight - top).exp().mean(0).log()


def mass_by_torch(lam):
    # Its log-density at x = 0 is the log-normaliser plus log(1 − λ).
    log_constant = ContinuousBernoulli(lam).log_prob(torch.zeros_like(lam)) - torch.log1p(-lam)
    return torch.exp(-log_constant)


def mass_by_quadrature(lam):
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None]
    return torch.trapezoid(lam**x * (1 - lam) ** (1 - x), x, dim=0)


def mass_in_a_loop(lam):
    values = [0.5 if v == 0.5 else (2 * v - 1) / math.log(v / (1 - v)) for v in lam.tolist()]
    return torch.tensor(values)


RIGHT = [
    (own.closed_form_kl, kl_by_torch),
    (own.closed_form_kl, kl_as_the_formula_stands),
    (own.closed_form_kl, kl_of_full_covariances),
    (own.clamped_encoder, clamp_with_limits),
    (own.mean_elbo, elbo_with_running_sum),
    (own.mean_elbo, elbo_of_all_at_once),
    (own.reconstruction_term, reconstruction_by_hand),
    (own.reconstruction_term, reconstruction_in_a_loop),
    (own.reconstruction_term, reconstruction_by_score_function),
    (own.binary_reconstruction, binary_by_torch),
    (own.binary_reconstruction, binary_by_probabilities),
    (own.learned_scale, scale_by_torch),
    (own.learned_scale, scale_by_nll),
    (own.log_marginal_in_chunks, chunks_with_running_logsumexp),
    (own.log_marginal_in_chunks, chunks_all_at_once),
    (own.grey_mass, mass_by_torch),
    (own.grey_mass, mass_by_quadrature),
    (own.grey_mass, mass_in_a_loop),
]


# Would catch a check that wants one way of writing, or one order of random draws.
@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=lambda v: getattr(v, "__name__", ""))
def test_a_right_answer_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


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
