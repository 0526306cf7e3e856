"""Chapter 7's checks accept right answers written differently, and know what was predicted."""

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from companion import exercises
from companion.diagnostics import log_aggregate
from companion.exact import DiscreteModel
from companion.exercises import posterior_collapse as own

CORRECT = "✓ Correct."


def information_by_torch(z, mean, scale):
    components = Independent(Normal(mean, scale), 1)
    even = Categorical(torch.ones(len(mean), dtype=mean.dtype))
    return (components.log_prob(z) - MixtureSameFamily(even, components).log_prob(z)).mean()


def information_by_the_package(z, mean, scale):
    q = Independent(Normal(mean, scale), 1)
    return (q.log_prob(z) - log_aggregate(q, z.flatten(0, 1), 5).reshape(z.shape[:2])).mean()


def information_by_loops(z, mean, scale):
    total = 0.0
    for draws in z:
        for n, draw in enumerate(draws):
            each = Normal(mean, scale).log_prob(draw).sum(1)
            total += float(each[n] - each.exp().mean().log())
    return total / (z.shape[0] * z.shape[1])


def parts_by_the_package(p_data, prior, likelihood, q):
    model = DiscreteModel(prior, likelihood)
    aggregate = p_data @ q
    mismatch = kl_divergence(Categorical(aggregate), Categorical(prior))
    return [p_data @ model.reconstruction(q), p_data @ model.rate(q) - mismatch, mismatch]


def parts_by_entropies(p_data, prior, likelihood, q):
    aggregate = torch.einsum("x,xz->z", p_data, q)
    information = Categorical(aggregate).entropy() - p_data @ Categorical(q).entropy()
    reconstruction = torch.einsum("x,xz,zx->", p_data, q, likelihood.log())
    mismatch = -Categorical(aggregate).entropy() - aggregate @ prior.log()
    return reconstruction, information, mismatch


def elbo_by_torch(x, mean, scale, eps, decode):
    q = Independent(Normal(mean, scale), 1)
    prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
    log_p = Independent(Bernoulli(logits=decode(mean + scale * eps)), 1).log_prob(x)
    return log_p.mean(0) - kl_divergence(q, prior)


def elbo_by_loops(x, mean, scale, eps, decode):
    total = torch.zeros(len(x), dtype=x.dtype)
    for noise in eps:
        p = torch.sigmoid(decode(mean + scale * noise))
        total += (x * p.log() + (1 - x) * (1 - p).log()).sum(1) / len(eps)
    return total + 0.5 * (1 + 2 * scale.log() - mean**2 - scale**2).sum(1)


def free_bits_by_max(reconstruction, rates, free):
    return float(reconstruction.mean()) - max(free, float(rates.mean()))


def free_bits_by_cases(reconstruction, rates, free):
    above = rates.mean() > free
    return (reconstruction - (rates if above else torch.full_like(rates, free))).mean()


def rates_by_where(lam, beta, sigma):
    noise = beta * sigma * sigma
    return torch.where(lam > noise, torch.log(torch.sqrt(lam / noise)), 0.0)


def rates_by_numbers(lam, beta, sigma):
    return [max(0.0, 0.5 * math.log(v) - 0.5 * math.log(beta * sigma**2)) for v in lam.tolist()]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.information_from_samples, information_by_torch),
        (own.information_from_samples, information_by_the_package),
        (own.information_from_samples, information_by_loops),
        (own.three_parts, parts_by_the_package),
        (own.three_parts, parts_by_entropies),
        (own.honest_elbo, elbo_by_torch),
        (own.honest_elbo, elbo_by_loops),
        (own.free_bits, free_bits_by_max),
        (own.free_bits, free_bits_by_cases),
        (own.linear_rates, rates_by_where),
        (own.linear_rates, rates_by_numbers),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", None)),
)
def test_right_answers_written_differently(exercise, answer):
    assert exercise.verdict(answer) == CORRECT


def test_the_predicted_cap():
    assert own.minibatch_cap.verdict(4.16).startswith(CORRECT)
    assert "whole data set" in own.minibatch_cap.verdict(math.log(50_000))
    assert "in bits" in own.minibatch_cap.verdict(6)


def test_the_catalogue_holds_the_books_mistakes():
    # Numbers 7, 11 and 19 of the known bugs: view for transpose, mean for sample, minibatches.
    names = {
        exercise: [mistake.name for mistake in exercises.chapter(7).exercises[exercise].mistakes]
        for exercise in ("information_from_samples", "honest_elbo")
    }
    assert any("transpose" in name for name in names["information_from_samples"])
    assert any("minibatches" in name for name in names["information_from_samples"])
    assert any("posterior mean" in name for name in names["honest_elbo"])
