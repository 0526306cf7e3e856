"""Chapter 7's checks accept right answers written differently, and know what was predicted."""

import math

import torch
from torch.distributions import Normal
from torch.nn.functional import logsigmoid

from companion import exercises
from companion.exercises import posterior_collapse as own

CORRECT = "✓ Correct."


def information_by_loops(z, mean, scale):
    total = 0.0
    for draws in z:
        for n, draw in enumerate(draws):
            each = Normal(mean, scale).log_prob(draw).sum(1)
            total += float(each[n] - each.logsumexp(0)) + math.log(len(mean))
    return total / (z.shape[0] * z.shape[1])


def elbo_by_loops(x, mean, scale, eps, decode):
    total = torch.zeros(len(x), dtype=x.dtype)
    for noise in eps:
        logits = decode(mean + scale * noise)
        total += torch.where(x > 0, logsigmoid(logits), logsigmoid(-logits)).sum(1) / len(eps)
    return total + 0.5 * (1 + 2 * scale.log() - mean**2 - scale**2).sum(1)


def test_loops_are_right():
    assert own.information_from_samples.verdict(information_by_loops) == CORRECT
    assert own.honest_elbo.verdict(elbo_by_loops) == CORRECT


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
