"""Posteriors on a grid, against closed forms, scipy's integrals and scipy's minimiser."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from toys import normal

from companion.exact import (
    LinearGaussian,
    arch,
    gaussian_floor,
    kl_on_grid,
    latent_grid,
    posterior_on_grid,
)

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def two_peaks(a, weight=0.5):
    """log of weight · N(−a, 1) + (1 − weight) · N(a, 1), in float64."""
    weights = torch.tensor([weight, 1 - weight], dtype=torch.float64)
    peaks = Normal(torch.tensor([-a, a], dtype=torch.float64), torch.ones(2).double())
    return MixtureSameFamily(Categorical(weights), peaks).log_prob


# Would catch a posterior that is not normalised, or a prior left out.
@pytest.mark.parametrize("d", [1, 2])
def test_posterior_is_that_of_bayes_rule(d):
    exact = LinearGaussian(normal(3, d, seed=1), normal(3, seed=2), scale=0.7)
    x = exact.marginal().sample((4,))
    z, log_p, log_cell = posterior_on_grid(exact.vae(), x, num_points=201)
    assert log_p.shape == (len(z), 4)
    torch.testing.assert_close(log_p, exact.posterior(x).log_prob(z[:, None]), **CLOSE)
    torch.testing.assert_close(log_p.logsumexp(0) + log_cell, torch.zeros(4).double(), **CLOSE)


# Would catch a reversed KL, or a cell's volume that is dropped.
def test_kl_is_the_closed_form_one():
    z, log_cell = latent_grid(1, 4001, 20.0)
    q, p = Normal(torch.tensor([0.3, -1.0]).double(), 0.5), Normal(1.0, 2.0)
    on_grid = kl_on_grid(q.log_prob(z), p.log_prob(z).expand(-1, 2), log_cell)
    torch.testing.assert_close(on_grid, kl_divergence(q, p), rtol=1e-6, atol=1e-6)


# Would catch NaN from zero times infinity.
def test_points_where_q_is_zero_count_nothing():
    z, log_cell = latent_grid(1, 4001, 20.0)
    p = Normal(0.0, 1.0).log_prob(z)
    half = torch.where(z > 0, p + math.log(2), -math.inf)
    half = half - half.logsumexp(0) - log_cell
    torch.testing.assert_close(
        kl_on_grid(half, p, log_cell), torch.tensor([math.log(2)]).double(), rtol=0, atol=5e-3
    )


# Would catch a local minimum, a reversed KL, and moments matched instead.
# The last two have minima that are almost equally low, and the grid's points favour the wrong one.
@pytest.mark.parametrize(
    ("a", "weight"), [(1.0, 0.5), (2.5, 0.5), (3.0, 0.5), (2.0, 0.2), (2.65, 0.45), (2.65, 0.55)]
)
def test_floor_is_the_least_of_many_local_searches(a, weight):
    log_p = two_peaks(a, weight)
    z, _ = latent_grid(1, 2001, 20.0)
    least, mean, scale = gaussian_floor(z, log_p(z))

    t = np.linspace(-40, 40, 8001)
    left, right = math.log(weight), math.log(1 - weight)
    two = np.logaddexp(left + stats.norm.logpdf(t, -a), right + stats.norm.logpdf(t, a))

    def kl(parameters):
        q = stats.norm(parameters[0], math.exp(parameters[1]))
        return integrate.simpson(q.pdf(t) * (q.logpdf(t) - two), x=t)

    starts = [(m, s) for m in (-a, 0.0, a) for s in (0.0, 0.8)]
    options = {"xatol": 1e-4, "fatol": 1e-8}
    found = [optimize.minimize(kl, s, method="Nelder-Mead", options=options).fun for s in starts]
    assert least.item() == pytest.approx(min(found), abs=2e-5)
    assert least.item() == pytest.approx(kl((mean.item(), math.log(scale.item()))), abs=1e-6)


# Would catch a search that misses the density's own place and width, or a missing normaliser.
def test_floor_of_gaussians_is_zero():
    z, _ = latent_grid(1, 1601, 8.0)
    q = Normal(torch.tensor([0.0, 1.3, -3.0]).double(), torch.tensor([1.0, 0.2, 0.05]).double())
    least, mean, scale = gaussian_floor(z, q.log_prob(z) + 7.0)
    assert (least.abs() < 1e-5).all()
    torch.testing.assert_close(mean, q.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(scale, q.stddev, rtol=0.01, atol=0)


# Would catch a floor that some Gaussian undercuts.
def test_no_gaussian_undercuts_the_floor():
    model = arch()
    x = model.sample(7)
    z, log_p, log_cell = posterior_on_grid(model, x)
    floor = gaussian_floor(z, log_p)[0]
    mean, scale = 2 * torch.randn(300).double(), 0.02 + torch.rand(300).double() ** 2
    tried = 0
    for m, s in zip(mean, scale, strict=True):
        log_q = Independent(Normal(m.expand(7, 1), s.expand(7, 1)), 1).log_prob(z[:, None])
        if (log_q.logsumexp(0) + log_cell).abs().max() > 1e-6:
            continue  # too far from the middle for this grid
        tried += 1
        assert (kl_on_grid(log_q, log_p, log_cell) >= floor - 1e-6).all()
    assert tried > 200


def test_an_even_grid_in_float32_is_even():
    # Catches: steps of 0.01 at a distance of 8 whose rounding is taken for a grid that is uneven.
    z, _ = latent_grid(1, 1601, dtype=torch.float32)
    p = Normal(0.5, 0.3).log_prob(z)
    least, mean, scale = gaussian_floor(z, p)
    assert least.abs().item() < 1e-4
    assert mean.item() == pytest.approx(0.5, abs=0.01)
    assert scale.item() == pytest.approx(0.3, rel=0.01)


def test_grids_that_cannot_be_used():
    z, log_cell = latent_grid(1, 101)
    p = Normal(0.0, 1.0).log_prob(z)
    for grid in (z.flip(0), z**3, z[:43]):
        with pytest.raises(ValueError, match="z must be"):
            gaussian_floor(grid, p[: len(grid)])
    for call in (
        lambda: kl_on_grid(p, p[:-1], log_cell),
        lambda: gaussian_floor(z, p[:-1]),
        lambda: gaussian_floor(z, p.float()),
    ):
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            call()
