"""Each density against torch.distributions, built by hand from the network's numbers."""

import math

import mpmath
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from toys import PIXELS, POINTS, SAMPLES, UNITS, bits, gaussian_vae, gaussians, normal

from companion import (
    VAE,
    BernoulliConditional,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    elbo,
    elbo_analytic,
    mlp,
)
from companion.conditionals import GaussianPrior
from companion.distributions import Gaussian, Pixels, diagonal

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
    vae = gaussian_vae()
    nn.init.constant_(vae.encoder.net[0].weight, math.nan)
    with pytest.raises(FloatingPointError, match="look for NaN in the weights"):
        elbo(vae, normal(POINTS, PIXELS, seed=2))


# The Gaussian's numbers, from a log-variance that underflows twice over to one of e^60.

both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["32", "64"])
LOGVARS = [-400.0, -300.0, -210.0, -180.0, -174.0, -150.0, -90.0, -40.0, -8.0, 0.0, 9.0, 60.0]


def constant_encoder(logvar, dtype):
    """A VAE whose q(z | x) is the same for every x; its last bias is (μ, log σ²)."""
    torch.manual_seed(0)
    last = nn.Linear(PIXELS, 2 * UNITS)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.cat([torch.arange(UNITS) / 2.0, torch.full((UNITS,), logvar)]))
    decoder = GaussianConditional(mlp(UNITS, PIXELS), scale=1.0)
    return VAE(GaussianConditional(last), decoder, StandardNormal(UNITS)).to(dtype), last.bias


@both
@pytest.mark.parametrize("logvar", LOGVARS)
@pytest.mark.parametrize("bound", [elbo, elbo_analytic])
def test_no_log_variance_makes_a_bound_nan(bound, logvar, dtype):
    # Catches: a logarithm of a scale that underflowed, 0 / 0 in the density of its own draw.
    vae, bias = constant_encoder(logvar, dtype)
    x = normal(POINTS, PIXELS, seed=2).to(dtype)
    torch.manual_seed(1)
    values = bound(vae, x, SAMPLES)
    (gradient,) = torch.autograd.grad(values.mean(), bias)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    if logvar < -20:
        # σ does nothing to the reconstruction any more: what is left is the rate's −½ log σ².
        pull = torch.full((UNITS,), 0.5, dtype=dtype)
        torch.testing.assert_close(gradient[UNITS:], pull, rtol=0, atol=2e-4)
    if logvar > 20:
        assert (gradient[UNITS:] < 0).all()


@both
@pytest.mark.parametrize("logvar", LOGVARS)
def test_a_rate_keeps_its_digits_whatever_its_log_variance(logvar, dtype):
    # Both forms against 60 digits: the closed one, and that of a draw with its own ε.
    mu = torch.tensor([0.3, -2.0], dtype=dtype)
    given = torch.cat([mu, torch.full((2,), logvar, dtype=dtype)]).requires_grad_()
    q = GaussianConditional(nn.Identity())(given)
    p = StandardNormal(2).to(dtype)()
    torch.manual_seed(0)
    noise = torch.randn(1, 2, dtype=dtype)[0].tolist()
    torch.manual_seed(0)
    z = q.rsample((1,))
    sampled = (q.log_prob(z) - p.log_prob(z)).sum()
    closed = kl_divergence(q, p)
    with mpmath.workdps(60):
        scale = mpmath.exp(mpmath.mpf(logvar) / 2)
        exact = sum((mpmath.mpf(m) ** 2 + scale**2 - 1 - logvar) / 2 for m in mu.tolist())
        draws = [m + scale * e for m, e in zip(mu.tolist(), noise, strict=True)]
        known = sum((d**2 - e**2 - logvar) / 2 for d, e in zip(draws, noise, strict=True))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert abs(closed.item() - exact) < tolerance * abs(exact)
    # ε itself is lost in z = μ + σε where σ is small beside μ; ½ε² is what that may cost.
    lost = sum(e**2 for e in noise) / 2 if logvar < -20 else 0
    assert abs(sampled.item() - known) <= 20 * tolerance * abs(known) + lost
    for rate, truth in (
        (closed, [(scale**2 - 1) / 2] * 2),
        (sampled, [(d * scale * e - 1) / 2 for d, e in zip(draws, noise, strict=True)]),
    ):
        (gradient,) = torch.autograd.grad(rate, given, retain_graph=True)
        for got, expected in zip(gradient[2:].tolist(), truth, strict=True):
            assert abs(got - expected) < 1e-3 * max(abs(expected), 0.5), (logvar, got, expected)


def test_a_scale_that_underflows_keeps_its_logarithm():
    # Catches: log(exp(−200)) in float32, which is −∞ or the logarithm of the smallest number.
    q = Gaussian(torch.zeros(1), torch.full((1,), -400.0))
    assert q.log_prob(torch.zeros(1)).item() == pytest.approx(200 - LOG_2PI / 2, rel=1e-6)
    assert 0 < q.stddev.item() < 1e-25
    assert (1 / q.stddev).isfinite()


@both
@pytest.mark.parametrize("shared", [False, True], ids=["own scales", "one scale"])
def test_where_torchs_normal_works_this_is_torchs_normal(dtype, shared):
    # Catches: a shared scale that counts for one unit alone, axes summed that are batch.
    mean, log_scale = (normal(SAMPLES, POINTS, UNITS, seed=s).to(dtype) for s in (1, 2))
    if shared:
        log_scale = log_scale[0, 0, 0]
    ours, theirs = (
        Gaussian(mean, 2 * log_scale),
        Independent(Normal(mean, log_scale.exp()), 1),
    )
    y = normal(SAMPLES, POINTS, UNITS, seed=3).to(dtype)
    close = (
        {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 1e-13}
    )
    for name, args in (("log_prob", (y,)), ("entropy", ())):
        torch.testing.assert_close(*(getattr(d, name)(*args) for d in (ours, theirs)), **close)
    for name in ("mean", "stddev", "variance", "mode"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **close)
    assert ours.support.check(y).all()
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    for same in (diagonal(ours), diagonal(theirs)):
        torch.testing.assert_close(same.log_prob(y), theirs.log_prob(y), **close)
    draws = []
    for d in (ours, theirs):
        torch.manual_seed(4)
        draws.append(d.rsample((9,)))
    torch.testing.assert_close(*draws, **close)
    wide = ours.expand((9, SAMPLES, POINTS))
    assert isinstance(wide, Gaussian)
    assert torch.equal(wide.log_prob(draws[0]), ours.log_prob(draws[0]))
    torch.manual_seed(4)
    assert torch.equal(wide.rsample(), draws[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_likely_pixels_keep_their_digits(dtype):
    # Catches: a − softplus(a), of which all digits cancel; they are what a trained model scores.
    logits = torch.tensor([-60.0, -20.0, -17.0, -9.0, -1.0, 3.0, 20.0, 60.0], dtype=dtype)
    logits.requires_grad_()
    for flip in (0.0, 1.0):
        likely = ((logits.detach() > 0) ^ bool(flip)).to(dtype)
        values = Pixels.of(logits[:, None]).log_prob(likely[:, None])
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        for a, y, found, slope in zip(logits, likely, values, gradient, strict=True):
            a, y = mpmath.mpf(a.item()), int(y)
            known = -mpmath.log1p(mpmath.exp(-a if y else a))
            tolerance = 4 * torch.finfo(dtype).eps
            assert found.item() == pytest.approx(float(known), rel=tolerance)
            pull = y - 1 / (1 + mpmath.exp(-a))
            assert slope.item() == pytest.approx(float(pull), rel=tolerance)


def test_pixels_are_torchs_bernoulli():
    logits = torch.linspace(-200, 200, PIXELS * POINTS).double().reshape(POINTS, PIXELS)
    ours, theirs = Pixels.of(logits), Independent(Bernoulli(logits=logits), 1)
    for y in (torch.zeros(PIXELS), torch.ones(PIXELS), bits(5, seed=1)[:, None]):
        torch.testing.assert_close(
            ours.log_prob(y.double()), theirs.log_prob(y.double()), rtol=1e-15, atol=1e-15
        )
    assert isinstance(ours.expand((5, POINTS)), Pixels)
    assert ours.sample((5,)).shape == (5, POINTS, PIXELS)


@both
def test_divergences_of_gaussians_are_torchs(dtype):
    # Catches: KL(p ‖ q), a scale that divides the wrong way, a fixed scale that is not broadcast.
    mean, other = (normal(SAMPLES, POINTS, UNITS, seed=s).to(dtype) for s in (1, 2))
    log_scale, above = (0.5 * normal(SAMPLES, POINTS, UNITS, seed=s).to(dtype) for s in (3, 4))
    close = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    )
    for q_scale, p_scale in (
        (log_scale, above),
        (log_scale, above[0, 0, 0]),
        (log_scale[0, 0, 0], above),
        (log_scale[0, 0, 0], above[0, 0, 0]),
    ):
        ours = Gaussian(mean, 2 * q_scale), Gaussian(other, 2 * p_scale)
        torchs = [
            Independent(Normal(m, s.exp()), 1) for m, s in ((mean, q_scale), (other, p_scale))
        ]
        known = kl_divergence(*torchs)
        for q in (ours[0], torchs[0]):
            for p in (ours[1], torchs[1]):
                torch.testing.assert_close(kl_divergence(q, p), known, **close)
    prior = StandardNormal(UNITS).to(dtype)()
    known = kl_divergence(torchs[0], Independent(Normal(0 * mean, 1 + 0 * mean), 1))
    torch.testing.assert_close(kl_divergence(ours[0], prior), known, **close)


def test_divergences_with_a_full_covariance():
    # Independent units on either side, against a full covariance, by the formula written out.
    full = gaussians(5)
    mean, log_scale = normal(POINTS, UNITS, seed=3), 0.5 * normal(POINTS, UNITS, seed=4)
    diagonal = MultivariateNormal(mean, torch.diag_embed((2 * log_scale).exp()))
    ours = Gaussian(mean, 2 * log_scale)
    close = {"rtol": 1e-12, "atol": 1e-12}
    for found, (q, p) in (
        (kl_divergence(ours, full), (diagonal, full)),
        (kl_divergence(full, ours), (full, diagonal)),
    ):
        precision = torch.linalg.inv(p.covariance_matrix)
        away = p.mean - q.mean
        by_hand = 0.5 * (
            (precision @ q.covariance_matrix).diagonal(dim1=-2, dim2=-1).sum(-1)
            + (away[:, None] @ precision @ away[..., None])[:, 0, 0]
            - UNITS
            + torch.logdet(p.covariance_matrix)
            - torch.logdet(q.covariance_matrix)
        )
        torch.testing.assert_close(found, by_hand, **close)
    for stranger in (
        Independent(torch.distributions.Laplace(mean, 1.0), 1),
        Independent(Normal(mean[0, :, None].expand(-1, UNITS), 1.0), 2),
    ):
        with pytest.raises(NotImplementedError):
            kl_divergence(stranger, full)


def test_a_variance_that_underflows_does_not_make_a_divergence_infinite():
    # Catches: √(σ²) for σ, which is zero in float32 long before σ is.
    logvar = torch.full((UNITS,), -110.0, requires_grad=True)
    standard = MultivariateNormal(torch.zeros(UNITS), torch.eye(UNITS))
    for q in (
        Gaussian(torch.zeros(UNITS), logvar),
        Independent(Normal(torch.zeros(UNITS), (0.5 * logvar).exp()), 1),
    ):
        kl = kl_divergence(q, standard)
        assert kl.item() == pytest.approx(109 / 2 * UNITS, rel=1e-3)
        (gradient,) = torch.autograd.grad(kl, logvar, retain_graph=True)
        torch.testing.assert_close(gradient, torch.full((UNITS,), -0.5), rtol=0.02, atol=0)


def test_several_things_given_stand_side_by_side():
    # (K, B, u) beside (B, v): the one without samples serves all of them.
    net = mlp(UNITS + 2, 2 * PIXELS).double()
    z, x = normal(SAMPLES, POINTS, UNITS, seed=1), normal(POINTS, 2, seed=2)
    given = torch.cat([z, x.expand(SAMPLES, -1, -1)], dim=-1)
    assert torch.equal(GaussianConditional(net)(z, x).mean, GaussianConditional(net)(given).mean)
    assert GaussianConditional(net)(z, x).batch_shape == (SAMPLES, POINTS)
    linear = LinearGaussianConditional(
        normal(PIXELS, UNITS + 2, seed=3), normal(PIXELS, seed=4), torch.eye(PIXELS).double()
    )
    assert torch.equal(linear(z, x).mean, linear(given).mean)


def test_an_odd_number_of_outputs_is_no_mean_and_log_variance():
    with pytest.raises(ValueError, match="mean and log-variance, got 5 outputs"):
        GaussianConditional(mlp(2, 5))(torch.ones(3, 2))


def test_a_prior_of_any_mean_and_covariance():
    mean, covariance = normal(UNITS, seed=1), gaussians(2, 1).covariance_matrix[0]
    y = normal(POINTS, UNITS, seed=3)
    p = GaussianPrior(mean, covariance)()
    torch.testing.assert_close(
        p.log_prob(y), MultivariateNormal(mean, covariance).log_prob(y), rtol=1e-12, atol=1e-12
    )
    assert GaussianPrior(mean, covariance).state_dict().keys() == {"mean", "scale_tril"}
    with pytest.raises(ValueError, match="symmetric and positive definite"):
        GaussianPrior(mean, -covariance)
