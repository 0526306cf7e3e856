"""Objectives against sums written out, enumeration and closed forms."""

import math
from itertools import product

import mpmath
import pytest
import torch
from torch.distributions import Normal, kl_divergence
from toys import (
    PIXELS,
    POINTS,
    SAMPLES,
    UNITS,
    Enumerated,
    bernoulli_vae,
    bits,
    discrete,
    gaussian_vae,
    linear_gaussian,
    normal,
    seeded,
)

from companion import (
    VAE,
    Autoencoder,
    GaussianConditional,
    LatentVariableModel,
    LinearGaussianConditional,
    StandardNormal,
    Trace,
    beta_elbo,
    elbo,
    elbo_analytic,
    free_bits_elbo,
    gaussian_kl,
    iwae_bound,
    log_marginal,
    log_reconstruction,
    mlp,
    objectives,
)

X = normal(POINTS, PIXELS, seed=11)


def test_elbo_is_the_mean_log_weight():
    vae = gaussian_vae()
    log_weight = seeded(vae.trace, X, SAMPLES).log_weight
    assert torch.equal(seeded(elbo, vae, X, SAMPLES), log_weight.mean(0))


def test_iwae_bound_is_the_log_mean_weight():
    # Catches: no log K, a logsumexp over the batch, the mean of logs.
    vae = gaussian_vae()
    log_weight = seeded(vae.trace, X, SAMPLES).log_weight
    by_hand = [
        math.log(sum(math.exp(w) for w in log_weight[:, b].tolist()) / SAMPLES)
        for b in range(POINTS)
    ]
    bound = seeded(iwae_bound, vae, X, SAMPLES)
    torch.testing.assert_close(
        bound, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


def test_one_sample_bounds_agree():
    vae = gaussian_vae()
    values = [
        seeded(elbo, vae, X, 1),
        seeded(iwae_bound, vae, X, 1),
        seeded(beta_elbo, vae, X, 1.0, 1),
    ]
    torch.testing.assert_close(values[0], values[1], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(values[0], values[2], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("num_samples", [1, 2, 4])
def test_expectations_by_enumeration(num_samples):
    # Every tuple of draws of a poor q, weighted by its probability; nothing is sampled.
    model, q = discrete(1)
    log_weight = [
        [
            math.log(model.prior[z] * model.likelihood[z, x] / q[x, z])
            for z in range(len(model.prior))
        ]
        for x in range(len(q))
    ]
    by_hand = []
    for x in range(len(q)):
        total = 0.0
        for draws in product(range(len(model.prior)), repeat=num_samples):
            weights = [math.exp(log_weight[x][z]) for z in draws]
            chance = math.prod(q[x, z].item() for z in draws)
            total += chance * math.log(sum(weights) / num_samples)
        by_hand.append(total)
    fake = Enumerated(model, q, num_samples)
    exact = fake.mean(iwae_bound(fake, fake.x, num_samples))
    torch.testing.assert_close(
        exact, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(exact, model.iwae_bound(q, num_samples), rtol=1e-12, atol=1e-13)

    fake = Enumerated(model, q, num_samples)
    exact = fake.mean(elbo(fake, fake.x, num_samples))
    torch.testing.assert_close(exact, model.elbo(q), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 100])
def test_chunks_change_nothing(chunk_size):
    # Catches: log K of the request with K rounded to whole chunks; a mean of chunk means.
    model, q = discrete(1)
    whole, parts = Enumerated(model, q, 4), Enumerated(model, q, 4)
    expected = iwae_bound(whole, whole.x, 4)
    torch.testing.assert_close(
        log_marginal(parts, parts.x, 4, chunk_size), expected, rtol=1e-13, atol=1e-13
    )
    assert parts.used == 4


def held_at_once(vae, *args, **options):
    """How many draws reach the decoder in each of its calls."""
    sizes = []
    handle = vae.decoder.register_forward_hook(lambda _, z, __: sizes.append(len(z[0])))
    log_marginal(vae, *args, **options)
    handle.remove()
    return sizes


def test_chunks_bound_the_samples_held_at_once():
    assert held_at_once(gaussian_vae(), X, 10_000, chunk_size=4_000) == [4_000, 4_000, 2_000]


def test_without_a_chunk_size_memory_is_bounded_all_the_same(monkeypatch):
    # Catches: all K at once, a chunk of no draws for large data, draws lost in the last chunk.
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", 4 * X.numel() + 1)
    assert held_at_once(gaussian_vae(), X, 10) == [4, 4, 2]
    monkeypatch.setattr(objectives, "CHUNK_NUMBERS", X.numel() - 1)
    assert held_at_once(gaussian_vae(), X, 3) == [1, 1, 1]


def test_chunks_share_one_pass_of_the_encoder():
    vae, calls = gaussian_vae(), []
    vae.encoder.register_forward_hook(lambda *_: calls.append(None))
    log_marginal(vae, X, 10, chunk_size=3)
    assert len(calls) == 1


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_rate_alone(beta):
    vae = gaussian_vae()
    trace = seeded(vae.trace, X, SAMPLES)
    by_hand = (trace.reconstruction - beta * trace.rates[0]).mean(0)
    torch.testing.assert_close(
        seeded(beta_elbo, vae, X, beta, SAMPLES), by_hand, rtol=1e-13, atol=1e-13
    )


def test_free_bits_charge_what_is_above_the_threshold():
    # Catches: points clamped one by one; a threshold taken off a rate that is above it.
    vae = gaussian_vae()
    trace = seeded(vae.trace, X, SAMPLES)
    rate = trace.rates[0].mean(0)
    mean = rate.mean().item()
    assert rate.min() < 0.9 * mean < rate.max()
    reconstruction = trace.reconstruction.mean(0)
    for free_nats, charged in ((0.9 * mean, rate), (1.1 * mean, torch.full_like(rate, 1.1 * mean))):
        torch.testing.assert_close(
            seeded(free_bits_elbo, vae, X, free_nats, SAMPLES),
            reconstruction - charged,
            rtol=1e-13,
            atol=1e-13,
        )
    torch.testing.assert_close(
        seeded(free_bits_elbo, vae, X, 0.0, SAMPLES),
        seeded(elbo, vae, X, SAMPLES),
        rtol=1e-13,
        atol=1e-13,
    )


def test_free_bits_give_no_push_below_the_threshold():
    vae = gaussian_vae()
    (-seeded(free_bits_elbo, vae, X, 1e3, SAMPLES).mean()).backward()
    below = [p.grad.clone() for p in vae.encoder.parameters()]
    vae.zero_grad()
    (-seeded(beta_elbo, vae, X, 0.0, SAMPLES).mean()).backward()
    for gradient, parameter in zip(below, vae.encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=1e-14)


def test_analytic_rate_is_the_mean_of_the_sampled_rate():
    # Catches: KL sign, KL direction, a missing ½, the rate averaged over units.
    vae = gaussian_vae()
    torch.manual_seed(0)
    trace = vae.trace(X, 20_000)
    analytic = seeded(elbo_analytic, vae, X, SAMPLES)
    rate = seeded(vae.trace, X, SAMPLES).reconstruction.mean(0) - analytic
    error = trace.rates[0].std(0) / 20_000**0.5
    assert ((trace.rates[0].mean(0) - rate).abs() < 4 * error).all()
    mu, logvar = vae.encoder.net(X).chunk(2, -1)
    torch.testing.assert_close(rate, gaussian_kl(mu, logvar).sum(-1), rtol=1e-11, atol=1e-12)


def test_analytic_elbo_refuses_what_has_no_closed_form():
    model, q = discrete(1)
    fake = Enumerated(model, q, 1)
    torch.testing.assert_close(
        fake.mean(elbo_analytic(fake, fake.x)), model.elbo(q), rtol=1e-12, atol=1e-13
    )
    vae = gaussian_vae()

    class Cauchy(torch.nn.Module):
        def forward(self):
            return torch.distributions.Independent(
                torch.distributions.Cauchy(torch.zeros(UNITS).double(), 1), 1
            )

    with pytest.raises(NotImplementedError):
        elbo_analytic(VAE(vae.encoder, vae.decoder, Cauchy()), X)


def test_full_covariances_have_a_closed_form():
    # Catches: a covariance taken for its Cholesky factor, KL(p ‖ q) for KL(q ‖ p).
    exact = linear_gaussian(3)
    poor = LinearGaussianConditional(
        normal(UNITS, PIXELS, seed=1), normal(UNITS, seed=2), 0.3 * torch.eye(UNITS).double() + 0.1
    )
    vae = exact.vae(poor)
    torch.manual_seed(0)
    trace = vae.trace(X, 20_000)
    analytic = seeded(elbo_analytic, vae, X, SAMPLES)
    rate = seeded(vae.trace, X, SAMPLES).reconstruction.mean(0) - analytic
    error = trace.rates[0].std(0) / 20_000**0.5
    assert ((trace.rates[0].mean(0) - rate).abs() < 4 * error).all()
    q = poor(X)
    prior = torch.distributions.MultivariateNormal(q.mean * 0, torch.eye(UNITS).double())
    torch.testing.assert_close(rate, kl_divergence(q, prior), rtol=1e-11, atol=1e-11)


def test_two_levels_inferred_from_the_bottom_up_have_no_closed_form():
    class Tall(LatentVariableModel):
        def trace(self, x, num_samples=1):
            trace = gaussian_vae().trace(x, num_samples)
            return Trace(trace.x, trace.z * 2, trace.q * 2, (*trace.p, trace.p[1]))

        def sample(self, num_samples):
            raise NotImplementedError

    with pytest.raises(ValueError, match="infers from the bottom up"):
        elbo_analytic(Tall(), X)


def test_gaussian_kl_is_torchs():
    mu, logvar = normal(SAMPLES, POINTS, UNITS, seed=1), normal(SAMPLES, POINTS, UNITS, seed=2)
    reference = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, logvar), reference, rtol=1e-12, atol=1e-14)


def test_gaussian_kl_in_float32():
    # Catches: exp(v) − 1 − v in place of expm1, which loses every digit near v = 0.
    rungs = [0.0, 1e-20, 1e-8, 1e-6, 1e-4, 2e-3, 0.03, 1.0, 7.0, 40.0, 1e3, 1e10, 1e18]
    values = [s * r for r in rungs for s in (1, -1)]
    mu, logvar = torch.tensor(list(product(values, values)), dtype=torch.float32).T
    mu, logvar = mu[logvar < 89].requires_grad_(), logvar[logvar < 89].requires_grad_()
    kl = gaussian_kl(mu, logvar)
    assert (kl >= -1e-12).all()
    limit = torch.finfo(torch.float32).max / 4
    with mpmath.workdps(60):
        for m, v, got in zip(mu.tolist(), logvar.tolist(), kl.tolist(), strict=True):
            exact = (mpmath.mpf(m) ** 2 + mpmath.expm1(v) - v) / 2
            if exact > limit:
                continue
            assert math.isfinite(got), (m, v)
            if exact > 1e-6:
                assert abs(got - exact) <= 1e-3 * exact, (m, v, got, exact)
    kl[kl < limit].sum().backward()
    assert mu.grad.isfinite().all()
    assert logvar.grad.isfinite().all()


def test_exact_posterior_makes_every_bound_exact():
    exact = linear_gaussian(3)
    vae, truth = exact.vae(), exact.log_marginal(X)
    for value in (elbo(vae, X), elbo(vae, X, 3), iwae_bound(vae, X, 7), log_marginal(vae, X, 7)):
        torch.testing.assert_close(value, truth, rtol=1e-12, atol=1e-12)
    weights = vae.trace(X, SAMPLES).log_weight
    torch.testing.assert_close(weights, truth.expand(SAMPLES, -1), rtol=1e-12, atol=1e-12)


def test_a_poor_encoder_has_the_exact_elbo_on_average():
    # Catches a bias: 20,000 draws, four standard errors.
    exact = linear_gaussian(3)
    torch.manual_seed(0)
    encoder = GaussianConditional(mlp(PIXELS, 2 * UNITS).double())
    vae = exact.vae(encoder)
    draws = vae.trace(X, 20_000).log_weight
    error = draws.std(0) / 20_000**0.5
    difference = draws.mean(0) - exact.elbo(X, encoder(X))
    assert (difference.abs() < 4 * error).all()


def test_gradient_of_the_elbo_is_the_exact_one():
    # Catches: a detached encoder (sample() for rsample()). Exact ELBO, differentiated.
    exact = linear_gaussian(3)
    torch.manual_seed(0)
    encoder = GaussianConditional(mlp(PIXELS, 2 * UNITS).double())
    vae = exact.vae(encoder)
    parameters = list(encoder.parameters())
    truth = torch.autograd.grad(exact.elbo(X, encoder(X)).sum(), parameters)
    estimates = []
    for seed in range(200):
        torch.manual_seed(seed)
        gradient = torch.autograd.grad(elbo(vae, X, 20).sum(), parameters)
        estimates.append(torch.cat([g.flatten() for g in gradient]))
    stack = torch.stack(estimates)
    error = stack.std(0) / len(stack) ** 0.5
    flat = torch.cat([g.flatten() for g in truth])
    assert ((stack.mean(0) - flat).abs() < 5 * error).all()
    assert (flat.abs() > 20 * error).any()  # else a zero gradient would pass


def test_log_marginal_is_the_bound_without_gradient():
    vae = gaussian_vae()
    assert torch.equal(seeded(log_marginal, vae, X, 9), seeded(iwae_bound, vae, X, 9))
    assert not log_marginal(vae, X, 2).requires_grad
    assert iwae_bound(vae, X, 2).requires_grad


def test_log_marginal_approaches_the_truth():
    exact = linear_gaussian(4, pixels=3, units=2)
    x = normal(POINTS, 3, seed=1)
    posterior = exact.posterior(x)
    # A q twice as wide as the posterior has weights of finite variance.
    encoder = exact.vae().encoder
    wide = type(encoder)(encoder.weight, encoder.bias, 4 * posterior.covariance_matrix[0])
    torch.manual_seed(0)
    log_weight = exact.vae(wide).trace(x, 50_000).log_weight
    truth = exact.log_marginal(x)
    ratio = (log_weight - truth).exp()
    error = ratio.std(0) / 50_000**0.5
    assert ((ratio.mean(0) - 1).abs() < 4 * error).all()
    torch.manual_seed(0)
    estimate = log_marginal(exact.vae(wide), x, 50_000)
    torch.testing.assert_close(estimate, truth + ratio.mean(0).log(), rtol=1e-12, atol=1e-12)


def test_objectives_return_a_number_a_row_even_for_one_row():
    vae = bernoulli_vae()
    x = bits(1, PIXELS)
    for value in (
        elbo(vae, x),
        elbo_analytic(vae, x),
        beta_elbo(vae, x, 2.0),
        iwae_bound(vae, x, 3),
        log_marginal(vae, x, 3),
    ):
        assert value.shape == (1,)


def test_a_rate_that_is_nan_is_not_free():
    # Catches: NaN that is not above the threshold and so is charged as if it were below.
    vae = gaussian_vae()
    vae.prior.register_forward_hook(
        lambda *_: torch.distributions.Independent(
            torch.distributions.Normal(torch.full((UNITS,), math.nan).double(), 1.0, False), 1
        )
    )
    with pytest.raises(FloatingPointError):
        free_bits_elbo(vae, X, 0.5)


def test_a_row_at_a_time_under_vmap():
    # Catches: a look at the data, for the support of binary pixels, that no map can follow.
    vae, x = bernoulli_vae(), bits(POINTS, PIXELS)
    alone = torch.vmap(lambda row: elbo(vae, row[None])[0], randomness="different")(x)
    assert alone.shape == (POINTS,)
    with pytest.raises(ValueError, match="binarise"):
        torch.vmap(lambda row: elbo(vae, row[None])[0], randomness="different")(0.5 * x)


@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf])
def test_nan_is_loud_and_minus_infinity_is_a_bound(entry):
    # A point that p(x | z) cannot produce has log p(x) = −∞; NaN is nobody's bound.
    vae = gaussian_vae()
    vae.decoder.register_forward_hook(
        lambda _, __, p: torch.distributions.Independent(_Constant(p, entry), 0)
    )
    for objective, extra in (
        (elbo, ()),
        (elbo_analytic, ()),
        (beta_elbo, (0.5,)),
        (free_bits_elbo, (0.1,)),
        (iwae_bound, (3,)),
        (log_marginal, (3,)),
    ):
        if entry != -math.inf:
            with pytest.raises(FloatingPointError, match="the objective is NaN or"):
                objective(vae, X, *extra)
        else:
            values = objective(vae, X, *extra)
            assert values[1] == -math.inf
            assert values[[0, 2, 3, 4]].isfinite().all()


class _Constant(torch.distributions.Distribution):
    """A distribution whose log-density of the second row of x is the given number."""

    arg_constraints = {}  # noqa: RUF012
    support = torch.distributions.constraints.real_vector

    def __init__(self, inner, entry):
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)
        self.inner, self.entry = inner, entry

    def log_prob(self, x):
        second = torch.arange(POINTS) == 1
        return torch.where(second, self.entry, self.inner.log_prob(x))


def test_objectives_do_not_depend_on_eval_mode():
    vae = gaussian_vae()
    assert torch.equal(seeded(elbo, vae.train(), X, 3), seeded(elbo, vae.eval(), X, 3))


def test_reconstruction_of_an_autoencoder():
    # Catches: pixels averaged; the normaliser dropped.
    torch.manual_seed(0)
    ae = Autoencoder(
        mlp(PIXELS, UNITS), GaussianConditional(mlp(UNITS, PIXELS), scale=0.3)
    ).double()
    error = (X - ae(X)).square().sum(1)
    sigma = float(ae.decoder.scale)
    by_hand = -error / (2 * sigma**2) - PIXELS / 2 * math.log(2 * math.pi * sigma**2)
    torch.testing.assert_close(log_reconstruction(ae, X), by_hand, rtol=1e-12, atol=1e-12)


def test_prior_of_another_dtype_is_converted_with_the_model():
    vae = VAE(
        GaussianConditional(mlp(PIXELS, 2 * UNITS)),
        GaussianConditional(mlp(UNITS, PIXELS), scale=0.5),
        StandardNormal(UNITS),
    ).double()
    assert elbo(vae, X).dtype == torch.float64
