"""Each density against torch.distributions, built by hand from the network's numbers."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal
from toys import PIXELS, POINTS, SAMPLES, UNITS, bits, gaussians, normal

from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)

LOG_2PI = math.log(2 * math.pi)


@pytest.fixture
def given() -> torch.Tensor:
    return normal(SAMPLES, POINTS, UNITS, seed=1)


def test_learned_gaussian_is_mean_and_log_variance(given):
    # Catches: scale and variance confused, halves swapped, 2π dropped, units averaged.
    net = mlp(UNITS, 6, 2 * PIXELS).double()
    y = normal(POINTS, PIXELS, seed=2)
    out = net(given)
    mu, logvar = out[..., :PIXELS], out[..., PIXELS:]
    by_hand = -0.5 * (LOG_2PI + logvar + (y - mu) ** 2 / logvar.exp()).sum(-1)
    q = GaussianConditional(net)(given)
    torch.testing.assert_close(q.log_prob(y), by_hand, rtol=1e-13, atol=1e-13)
    reference = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    torch.testing.assert_close(q.log_prob(y), reference.log_prob(y), rtol=1e-13, atol=1e-13)
    assert q.batch_shape == (SAMPLES, POINTS)
    assert q.event_shape == (PIXELS,)


def test_fixed_scale_is_a_standard_deviation(given):
    # Catches: the scale taken as a variance or its logarithm; a scale rounded to float32.
    net = mlp(UNITS, PIXELS).double()
    y = normal(POINTS, PIXELS, seed=3)
    by_hand = Independent(Normal(net(given), torch.tensor(0.3, dtype=torch.float64)), 1)
    p = GaussianConditional(net, scale=0.3)(given)
    torch.testing.assert_close(p.log_prob(y), by_hand.log_prob(y), rtol=1e-14, atol=1e-13)
    error = (y - net(given)).square().sum(-1)
    mse = -error / (2 * 0.3**2) - PIXELS / 2 * math.log(2 * math.pi * 0.3**2)
    torch.testing.assert_close(p.log_prob(y), mse, rtol=1e-13, atol=1e-13)


def test_bernoulli_takes_logits(given):
    # Catches: probabilities taken as logits, pixels averaged, the sign of the cross-entropy.
    net = mlp(UNITS, PIXELS).double()
    y = bits(POINTS, PIXELS)
    p = BernoulliConditional(net)(given)
    bce = nn.functional.binary_cross_entropy(
        net(given).sigmoid(), y.expand(SAMPLES, -1, -1), reduction="none"
    )
    torch.testing.assert_close(p.log_prob(y), -bce.sum(-1), rtol=1e-12, atol=1e-12)
    reference = Independent(Bernoulli(net(given).sigmoid()), 1)
    torch.testing.assert_close(p.log_prob(y), reference.log_prob(y), rtol=1e-12, atol=1e-12)
    # Sums over all pictures to one: a mass, not a density.
    pictures = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * PIXELS)
    total = BernoulliConditional(net)(given[0, :1]).log_prob(pictures).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_bernoulli_keeps_its_digits_at_large_logits():
    # Catches: log(sigmoid) computed by way of a probability that has rounded to 0 or 1.
    logits = torch.tensor([[-60.0, 60.0]], dtype=torch.float64)
    value = BernoulliConditional(nn.Identity())(logits).log_prob(
        torch.tensor([[1.0, 0.0]]).double()
    )
    assert value.item() == pytest.approx(-120, abs=1e-9)


def test_linear_gaussian_has_full_covariance(given):
    # Catches: W transposed, a Cholesky factor passed as a covariance or the other way round.
    weight, bias = normal(PIXELS, UNITS, seed=4), normal(PIXELS, seed=5)
    covariance = gaussians(6, 1, PIXELS).covariance_matrix[0]
    y = normal(POINTS, PIXELS, seed=7)
    mean = torch.einsum("ij,kbj->kbi", weight, given) + bias
    residual = y - mean
    quadratic = (residual @ torch.linalg.inv(covariance) * residual).sum(-1)
    by_hand = -0.5 * (PIXELS * LOG_2PI + torch.logdet(covariance) + quadratic)
    p = LinearGaussianConditional(weight, bias, covariance)(given)
    torch.testing.assert_close(p.log_prob(y), by_hand, rtol=1e-12, atol=1e-12)
    reference = MultivariateNormal(mean, covariance)
    torch.testing.assert_close(p.log_prob(y), reference.log_prob(y), rtol=1e-12, atol=1e-12)


def test_standard_normal(given):
    prior = StandardNormal(UNITS).double()()
    by_hand = -0.5 * (UNITS * LOG_2PI + given.square().sum(-1))
    torch.testing.assert_close(prior.log_prob(given), by_hand, rtol=1e-13, atol=1e-13)
    assert prior.batch_shape == ()


@pytest.mark.parametrize("learned", [True, False])
def test_draws_have_the_law_of_the_density(learned):
    # Catches: noise scaled by the variance. Standard errors of mean and variance, seven sigma.
    torch.manual_seed(0)
    count, units = 40_000, 3
    net = mlp(2, 2 * units if learned else units).double()
    q = GaussianConditional(net, scale=None if learned else 0.4)(normal(2, seed=8))
    z = q.rsample((count,))
    assert ((z.mean(0) - q.mean).abs() < 5 * (q.variance / count).sqrt()).all()
    assert ((z.var(0) / q.variance - 1).abs() < 5 * math.sqrt(2 / count)).all()
    assert z.requires_grad


def test_mlp_is_affine_with_two_sizes_and_not_with_three():
    u, v = normal(2, 5, seed=9)
    for net, affine in ((mlp(5, 3), True), (mlp(5, 7, 3), False)):
        net = net.double()
        middle = (net(u) + net(v)) / 2
        assert torch.allclose(net((u + v) / 2), middle, atol=1e-12) == affine
    assert [layer.out_features for layer in mlp(5, 7, 3) if isinstance(layer, nn.Linear)] == [7, 3]


def test_constants_follow_the_model():
    # Catches: a constant kept as a plain attribute, left behind by .to(…) or a checkpoint.
    p = GaussianConditional(mlp(2, 3), scale=0.5)
    assert p.double()(torch.zeros(4, 2).double()).stddev.dtype == torch.float64
    assert "scale" in p.state_dict()
    assert StandardNormal(2).double()().mean.dtype == torch.float64
    assert not list(
        LinearGaussianConditional(torch.ones(3, 2), torch.zeros(3), torch.eye(3)).parameters()
    )


def test_eval_changes_nothing():
    # Catches: the posterior mean returned in place of a draw, or another density, in eval mode.
    q = GaussianConditional(mlp(2, 6))
    y = torch.zeros(5, 3)
    before = q(torch.ones(5, 2)).log_prob(y)
    after = q.eval()(torch.ones(5, 2))
    assert torch.equal(before, after.log_prob(y))
    assert not torch.equal(after.rsample(), after.rsample())


def test_a_diverged_network_is_named():
    net = mlp(2, 6)
    nn.init.constant_(net[0].weight, math.nan)
    with pytest.raises(FloatingPointError, match="Normal parameters that are NaN"):
        GaussianConditional(net)(torch.ones(5, 2))
    nn.init.constant_(net[0].weight, 0)
    nn.init.constant_(net[0].bias, -1e6)  # a log-variance whose exponential is zero
    with pytest.raises(FloatingPointError, match="out of range"):
        GaussianConditional(net)(torch.ones(5, 2))
