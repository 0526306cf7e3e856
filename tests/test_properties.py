"""What holds for every model, tried on many random ones; and the same for random bounds."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from toys import (
    PIXELS,
    POINTS,
    UNITS,
    Enumerated,
    discrete,
    gaussian_vae,
    gaussians,
    generator,
    linear_gaussian,
    normal,
    table,
)

from companion import beta_elbo, iwae_bound, log_marginal
from companion.exact import DiscreteModel, log_marginal_quadrature

SEEDS = range(25)


def relative(difference, scale):
    return (difference.abs() / scale.abs().clamp_min(1e-3)).max().item()


@pytest.mark.parametrize("seed", SEEDS)
def test_gap_identity_on_tables(seed):
    # log p(x) − ELBO = KL(q ‖ posterior) ≥ 0, for tables of every size.
    latents, values = 2 + seed % 5, 3 + seed % 7
    model, q = discrete(seed, values=values, latents=latents)
    gap = model.log_marginal() - model.elbo(q)
    assert relative(gap - model.gap(q), model.log_marginal()) < 1e-12
    assert (gap > 0).all()
    tight = model.log_marginal() - model.elbo(model.posterior())
    assert relative(tight, model.log_marginal()) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_gap_identity_on_linear_gaussians(seed):
    pixels, units = 3 + seed % 4, 1 + seed % 3
    exact = linear_gaussian(seed, pixels=pixels, units=units)
    x, q = normal(POINTS, pixels, seed=seed), gaussians(seed, POINTS, units)
    truth = exact.log_marginal(x)
    gap = truth - exact.elbo(x, q)
    kl = kl_divergence(q, exact.posterior(x))
    assert relative(gap - kl, kl.clamp_min(1) + truth.abs() + exact.elbo(x, q).abs()) < 1e-12
    assert (gap > 0).all()
    assert relative(truth - exact.elbo(x, exact.posterior(x)), truth) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_beats_the_posterior(seed):
    # Steps away from the posterior, of any size, lower the ELBO.
    exact = linear_gaussian(seed)
    x = normal(POINTS, PIXELS, seed=seed)
    best = exact.posterior(x)
    for size in (1e-3, 0.1, 1.0):
        shifted = best.mean + size * normal(POINTS, UNITS, seed=seed)
        for covariance in (best.covariance_matrix, (1 + size) * best.covariance_matrix):
            q = MultivariateNormal(shifted, covariance)
            assert (exact.elbo(x, q) < exact.log_marginal(x)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_k_sample_bound_rises_towards_the_marginal(seed):
    # Enumerated, so without noise; strictly, since the weights of a poor q are not constant.
    model, q = discrete(seed, values=4, latents=3)
    bounds = torch.stack([model.iwae_bound(q, k) for k in (1, 2, 3, 5, 8)])
    torch.testing.assert_close(bounds[0], model.elbo(q), rtol=1e-12, atol=1e-12)
    assert (bounds.diff(dim=0) > 1e-9).all()
    assert (bounds[-1] < model.log_marginal()).all()
    constant = model.iwae_bound(model.posterior(), 5)
    torch.testing.assert_close(constant, model.log_marginal(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_of_any_size_estimate_the_same(seed):
    model, q = discrete(seed, values=4, latents=2)
    k = 2 + seed % 5
    chunk = int(torch.randint(1, k + 3, (), generator=generator(seed)))
    fake = Enumerated(model, q, k)
    bound = fake.mean(iwae_bound(fake, fake.x, k))
    torch.testing.assert_close(bound, model.iwae_bound(q, k), rtol=1e-12, atol=1e-12)
    fake = Enumerated(model, q, k)
    bound = fake.mean(log_marginal(fake, fake.x, k, chunk))
    torch.testing.assert_close(bound, model.iwae_bound(q, k), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_beta_above_one_bounds_from_below(seed):
    model, q = discrete(seed)
    previous = None
    for beta in (0.5, 1.0, 1.5, 4.0):
        fake = Enumerated(model, q, 2)
        value = fake.mean(beta_elbo(fake, fake.x, beta, 2))
        exact = model.reconstruction(q) - beta * model.rate(q)
        torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-12)
        if beta >= 1:
            assert (value < model.log_marginal()).all()
        assert previous is None or (value < previous).all()
        previous = value


@pytest.mark.parametrize("seed", range(5))
def test_trained_or_not_a_bound_is_a_bound(seed):
    # On a random VAE, by quadrature: sampled bounds stay below, but for four standard errors.
    vae = gaussian_vae(seed, units=1)
    x = normal(POINTS, PIXELS, seed=seed)
    truth = log_marginal_quadrature(vae, x)
    torch.manual_seed(seed)
    weights = vae.trace(x, 8000).log_weight
    groups = weights.reshape(1000, 8, POINTS)
    one = weights.mean(0)
    eight = (groups.logsumexp(1) - torch.tensor(8.0).log()).mean(0)
    noise = 4 * weights.std(0) / 8000**0.5
    assert (one < truth + noise).all()
    assert (one < eight).all()
    ratio = (weights - truth).exp()
    error = ratio.std(0) / 8000**0.5
    assert ((ratio.mean(0) - 1).abs() < 5 * error).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_latents_does_not_matter(seed):
    # Catches: an index into the wrong table.
    model, q = discrete(seed, values=5, latents=3)
    order = torch.randperm(3, generator=generator(seed))
    other = DiscreteModel(model.prior[order], model.likelihood[order])
    torch.testing.assert_close(other.elbo(q[:, order]), model.elbo(q), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        other.iwae_bound(q[:, order], 3), model.iwae_bound(q, 3), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_information_never_exceeds_its_caps(seed):
    # Data uniform on the values of x: mean rate = I + KL(q(z) ‖ p(z)), and I ≤ log of their number.
    model, q = discrete(seed, values=5, latents=3)
    aggregate = q.mean(0)
    information = (q * (q / aggregate).log()).sum(-1).mean()
    marginal = (aggregate * (aggregate / model.prior).log()).sum()
    torch.testing.assert_close(model.rate(q).mean(), information + marginal, rtol=1e-12, atol=1e-13)
    assert 0 < information < torch.tensor(5.0).log()


def test_random_tables_are_tables():
    assert torch.allclose(table(3, 4, seed=0).sum(-1), torch.ones(3).double())
