"""Broken objectives and densities, and which check sees each of them.

No one check sees every mistake: with the exact posterior all weights are equal, which hides a wrong
way of averaging them; pyro and enumeration share the densities, which hides a constant that
cancels. So the suite has four checks, and this file proves that they are needed and enough. It
runs each check on each mutant and compares with the table, in both directions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import nn
from torch.distributions import Independent, Normal
from toys import (
    PIXELS,
    POINTS,
    SAMPLES,
    UNITS,
    Enumerated,
    discrete,
    gaussian_vae,
    linear_gaussian,
    normal,
)

from companion import elbo, iwae_bound, log_marginal

X = normal(POINTS, PIXELS, seed=41)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
CHUNK = 3  # does not divide SAMPLES


def log_weights(model, x, num_samples, chunk_size=None):
    """All log-weights, drawn in chunks as the real bound draws them."""
    size = chunk_size or num_samples
    parts = [
        model.trace(x, min(size, num_samples - start)).log_weight
        for start in range(0, num_samples, size)
    ]
    return torch.cat(parts)


def right(model, x, num_samples, chunk_size=None):
    if chunk_size is None:
        return iwae_bound(model, x, num_samples)
    return log_marginal(model, x, num_samples, chunk_size)


def surrogate(model, x, num_samples, chunk_size=None):
    log_w = log_weights(model, x, num_samples, chunk_size)
    return (log_w.softmax(0).detach() * log_w).sum(0)


def weights_from_the_loss(model, x, num_samples, chunk_size=None):
    log_w = log_weights(model, x, num_samples, chunk_size)
    return (torch.softmax(-log_w, 0) * log_w).sum(0)


def log_mean_of_the_loss(model, x, num_samples, chunk_size=None):
    log_w = log_weights(model, x, num_samples, chunk_size)
    return -((-log_w).logsumexp(0) - math.log(num_samples))


def elbo_instead(model, x, num_samples, chunk_size=None):
    return log_weights(model, x, num_samples, chunk_size).mean(0)


def no_log_k(model, x, num_samples, chunk_size=None):
    return log_weights(model, x, num_samples, chunk_size).logsumexp(0)


def truncated(model, x, num_samples, chunk_size=None):
    size = chunk_size or num_samples
    whole = num_samples // size * size
    return log_weights(model, x, whole, size).logsumexp(0) - math.log(num_samples)


def over_the_batch(model, x, num_samples, chunk_size=None):
    log_w = log_weights(model, x, num_samples, chunk_size)
    return (log_w.logsumexp(1, keepdim=True).mean(0) - math.log(num_samples)).expand(len(x))


def mean_of_chunks(model, x, num_samples, chunk_size=None):
    size = chunk_size or num_samples
    bounds = [
        log_weights(model, x, n).logsumexp(0) - math.log(n)
        for n in (min(size, num_samples - start) for start in range(0, num_samples, size))
    ]
    return torch.stack(bounds).mean(0)


def minus_the_bound(model, x, num_samples, chunk_size=None):
    return -right(model, x, num_samples, chunk_size)


class Altered(nn.Module):
    """A conditional whose distribution is changed before anyone sees it."""

    def __init__(self, inner: nn.Module, change: Callable) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, *given):
        return self.change(self.inner(*given))


def shifted(distribution, constant):
    """The same distribution with a log-density that is off by a constant."""
    log_prob = distribution.log_prob
    distribution.log_prob = lambda value: log_prob(value) + constant
    return distribution


def drop_2pi(vae):
    # In p(z) and in q(z | x) alike, so that it cancels in every weight.
    constant = UNITS / 2 * math.log(2 * math.pi)
    vae.encoders[0] = Altered(vae.encoder, lambda q: shifted(q, constant))
    vae.prior = Altered(vae.prior, lambda p: shifted(p, constant))
    return vae


def average_pixels(vae):
    def change(p):
        log_prob = p.log_prob
        p.log_prob = lambda value: log_prob(value) / PIXELS
        return p

    vae.decoders[0] = Altered(vae.decoder, change)
    return vae


def scale_as_variance(vae):
    vae.decoders[0] = Altered(
        vae.decoder, lambda p: Independent(Normal(p.mean, p.stddev.sqrt()), 1)
    )
    return vae


def unchanged(vae):
    return vae


# The checks. Each takes a bound and a change to the model's densities, and asserts.


def check_exact_posterior(bound, change):
    exact = linear_gaussian(3)
    vae = change(exact.vae())
    for chunk_size in (None, CHUNK):
        value = bound(vae, X, SAMPLES, chunk_size)
        torch.testing.assert_close(value, exact.log_marginal(X), **CLOSE)


def check_enumeration(bound, change):
    model, q = discrete(1)
    for chunk_size in (None, CHUNK):
        fake = Enumerated(model, q, 4)
        value = fake.mean(bound(fake, fake.x, 4, chunk_size))
        torch.testing.assert_close(value, model.iwae_bound(q, 4), **CLOSE)


def check_pyro(bound, change):
    vae = gaussian_vae()
    encoder, decoder = vae.encoder.net, vae.decoder.net

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(UNITS).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.7).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            mu, logvar = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, (0.5 * logvar).exp()).to_event(1))

    loss = RenyiELBO(alpha=0, num_particles=SAMPLES, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(1)
    theirs = -loss.loss(model, guide, X)
    torch.manual_seed(1)
    ours = bound(change(vae), X, SAMPLES).sum().item()
    assert ours == pytest.approx(theirs, rel=1e-9)


def check_densities(bound, change):
    exact = linear_gaussian(3)
    vae = change(exact.vae())
    z = normal(POINTS, UNITS, seed=1)
    pairs = [
        (vae.prior().log_prob(z), exact.prior().log_prob(z)),
        (vae.encoder(X).log_prob(z), exact.posterior(X).log_prob(z)),
        (vae.decoder(z).log_prob(X), exact.likelihood(z).log_prob(X)),
    ]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, **CLOSE)


CHECKS = {
    "posterior": check_exact_posterior,
    "enumeration": check_enumeration,
    "pyro": check_pyro,
    "densities": check_densities,
}


@dataclass(frozen=True)
class Mutant:
    """A mistake and the names of the checks that see it; the others are blind to it."""

    name: str
    seen_by: set[str]
    bound: Callable = right
    change: Callable = unchanged


MUTANTS = [
    Mutant("none", set()),
    Mutant("surrogate's value as the bound", {"enumeration", "pyro"}, surrogate),
    Mutant("weights from +loss", {"enumeration", "pyro"}, weights_from_the_loss),
    Mutant("log-mean-exp of the loss", {"enumeration", "pyro"}, log_mean_of_the_loss),
    Mutant("ELBO in place of the bound", {"enumeration", "pyro"}, elbo_instead),
    Mutant("no log K", {"posterior", "enumeration", "pyro"}, no_log_k),
    # pyro has no chunks, so it cannot see what happens between them.
    Mutant("K truncated, log K of the request", {"posterior", "enumeration"}, truncated),
    Mutant("mean of the chunks' bounds", {"enumeration"}, mean_of_chunks),
    Mutant("logsumexp over the batch", {"posterior", "enumeration", "pyro"}, over_the_batch),
    Mutant("minus the bound", {"posterior", "enumeration", "pyro"}, minus_the_bound),
    Mutant("2π dropped in p(z) and q(z | x)", {"densities"}, change=drop_2pi),
    # Tables have neither pixels nor a scale, so enumeration has nothing to say on these two.
    Mutant("pixels averaged", {"posterior", "pyro", "densities"}, change=average_pixels),
    Mutant("scale as variance", {"posterior", "pyro", "densities"}, change=scale_as_variance),
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_who_sees_what(mutant, check):
    if check in mutant.seen_by:
        with pytest.raises(AssertionError):
            CHECKS[check](mutant.bound, mutant.change)
    else:
        CHECKS[check](mutant.bound, mutant.change)


def test_every_mutant_is_seen_and_every_check_is_needed():
    assert all(mutant.seen_by for mutant in MUTANTS if mutant.name != "none")
    assert set().union(*(mutant.seen_by for mutant in MUTANTS)) == set(CHECKS)


# The ELBO's own mistakes change its gradient as often as its value.


def detached(model, x, num_samples):
    trace = model.trace(x, num_samples)
    z = trace.z[0].detach()
    q, p = trace.q[0], trace.p[1]
    return (model.decoder(z).log_prob(x) - q.log_prob(z) + p.log_prob(z)).mean(0)


def posterior_mean(model, x, num_samples):
    q, p = model.encoder(x), model.prior()
    z = q.mean
    return model.decoder(z).log_prob(x) - q.log_prob(z) + p.log_prob(z)


def wrong_sign(model, x, num_samples):
    trace = model.trace(x, num_samples)
    return (trace.reconstruction + trace.rates.sum(0)).mean(0)


def units_averaged(model, x, num_samples):
    trace = model.trace(x, num_samples)
    return (trace.reconstruction - trace.rates.sum(0) / UNITS).mean(0)


def samples_summed(model, x, num_samples):
    return model.trace(x, num_samples).log_weight.sum(0)


def elbo_check(objective):
    """Value and gradients against pyro's Trace_ELBO, with the same noise."""
    vae = gaussian_vae()
    encoder, decoder = vae.encoder.net, vae.decoder.net

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(UNITS).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.7).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            mu, logvar = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, (0.5 * logvar).exp()).to_event(1))

    pyro.clear_param_store()
    loss = Trace_ELBO(num_particles=SAMPLES, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(1)
    theirs = loss.loss_and_grads(model, guide, X)
    gradients = [p.grad.clone() for p in vae.parameters()]
    vae.zero_grad()
    torch.manual_seed(1)
    ours = -objective(vae, X, SAMPLES).sum()
    assert ours.item() == pytest.approx(theirs, rel=1e-9)
    for found, expected in zip(
        torch.autograd.grad(ours, list(vae.parameters())), gradients, strict=True
    ):
        torch.testing.assert_close(found, expected, **CLOSE)


def test_the_elbo_passes_its_check():
    elbo_check(elbo)


@pytest.mark.parametrize(
    "mutant",
    [detached, posterior_mean, wrong_sign, units_averaged, samples_summed],
    ids=lambda f: f.__name__,
)
def test_mutants_of_the_elbo_are_seen(mutant):
    with pytest.raises(AssertionError):
        elbo_check(mutant)
