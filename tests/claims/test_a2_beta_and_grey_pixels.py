"""Appendix A2: what weight on the KL buys on sprites, and what cross-entropy of grey pixels is."""

import math

import mpmath
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from companion import data
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    mlp,
)
from companion.diagnostics import mutual_information_gap
from companion.distributions import gaussian_kl
from companion.ensemble import Ensemble
from companion.exact import latent_grid, log_marginal_quadrature
from companion.models import VAE
from companion.objectives import beta_elbo
from companion.train import fit


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def sprites(num, seed):
    _, factors = data.sprites(num, size=8, seed=seed)
    factors = factors * torch.tensor([1.0, 0.8, 0.4, 1.0])
    return data.draw_sprites(factors, size=8), factors


def sprite_vae(seed):
    torch.manual_seed(seed)
    return VAE(
        GaussianConditional(mlp(64, 48, 2 * 5)),
        GaussianConditional(mlp(5, 48, 64), scale=0.1),
        StandardNormal(5),
    )


# Would catch a weight on the wrong term; and a measure that a rotation leaves alone.
@pytest.mark.claim("gauss.beta-disentangles")
def test_a_larger_weight_costs_reconstruction_and_factorises_the_code():
    betas, seeds = [1.0, 16.0], [0, 1, 2]
    ensemble = Ensemble([sprite_vae(seed) for seed in seeds for _ in betas])
    torch.manual_seed(0)
    x, _ = sprites(2000, seed=0)
    objective = ensemble.objective(beta_elbo, betas * len(seeds))
    fit(ensemble, x, objective, epochs=50, batch_size=125, lr=5e-3)
    held_out, factors = sprites(2000, seed=1)
    error, rate, gap, codes = [], [], [], []
    with torch.no_grad():
        for model in ensemble.members():
            q = model.encoder(held_out)
            error.append((held_out - model.decoder(q.sample()).mean).square().mean())
            rate.append(gaussian_kl(q.mean, q.variance.log()).sum(-1).mean())
            codes.append(q.mean)
            gap.append(mutual_information_gap(q.mean, factors).mean())
    error, rate, gap = (torch.stack(v).reshape(3, 2) for v in (error, rate, gap))
    assert (error[:, 1] > 1.5 * error[:, 0]).all()
    assert (rate[:, 1] < 0.5 * rate[:, 0]).all()
    assert gap[:, 1].mean() > gap[:, 0].mean() + 0.02
    best = codes[2 * int(gap[:, 1].argmax()) + 1]
    torch.manual_seed(0)
    turned = best @ torch.linalg.qr(torch.randn(5, 5)).Q
    assert mutual_information_gap(turned, factors).mean() < 0.7 * gap[:, 1].max()


# --- grey pixels ---------------------------------------------------------------------------------


def binary_pictures(pixels):
    bit = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[bit] * pixels)


# Would catch the claim that the grey objective bounds log p of the grey picture.
@pytest.mark.claim("gauss.grey-bce")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_grey_objective_bounds_the_average_over_binary_pictures(seed):
    torch.manual_seed(seed)
    vae = VAE(
        GaussianConditional(mlp(3, 8, 2)), BernoulliConditional(mlp(1, 8, 3)), StandardNormal(1)
    ).double()
    for parameter in vae.parameters():
        nn.init.normal_(parameter)
    x = torch.rand(3, dtype=torch.float64)
    b = binary_pictures(3)
    weight = (x**b * (1 - x) ** (1 - b)).prod(-1)
    close(weight.sum(), torch.tensor(1.0).double())
    with torch.no_grad():
        z, log_cell = latent_grid(1, 8001, 12.0)
        logits = vae.decoder.net(z)
        minus_bce = (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(-1)
        average = vae.decoder(z[:, None]).log_prob(b) @ weight
        close(minus_bce, average, 1e-11)
        q = vae.encoder(x)
        density = (q.log_prob(z) + log_cell).exp()
        assert abs(density.sum() - 1) < 1e-6
        bound = (density * minus_bce).sum() - gaussian_kl(q.mean, q.variance.log()).sum()
        truth = weight @ log_marginal_quadrature(vae, b)
    assert bound < truth


@pytest.mark.claim("gauss.grey-bce")
@pytest.mark.parametrize("lam", [0.01, 0.3, 0.6, 0.97])
def test_the_mass_of_the_grey_exponential(lam):
    exact = mpmath.quad(lambda x: mpmath.mpf(lam) ** x * (1 - mpmath.mpf(lam)) ** (1 - x), [0, 1])
    assert abs((2 * lam - 1) / math.log(lam / (1 - lam)) - exact) < 1e-12
    assert exact < 0.5
