"""Chapter 8's checks accept right answers written differently."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion import exercises
from companion.exact import kl_on_grid
from companion.exercises import depth_is_not_enough as own

FUNCTIONS = [
    own.gap_on_grid,
    own.floor_by_search,
    own.one_peak_bound,
    own.mixture_density,
    own.k_sample_gap,
]


def test_the_chapter_offers_them_all():
    names = {e.name for e in [*FUNCTIONS, own.reversed_kl]}
    assert set(exercises.chapter(8).exercises) == names


def gap_as_evidence_less_elbo(log_q, log_joint, cell):
    evidence = (log_joint.exp().sum() * cell).log()
    return evidence - (log_q.exp() * (log_joint - log_q)).sum() * cell


def gap_by_the_package(log_q, log_joint, cell):
    log_p = log_joint - torch.log(log_joint.exp().sum() * cell)
    return kl_on_grid(log_q, log_p, math.log(cell))


def floor_in_loops(z, log_p, cell, means, scales):
    best = math.inf
    for m in means.tolist():
        for s in scales.tolist():
            log_q = Normal(m, s).log_prob(z)
            best = min(best, float((log_q.exp() * (log_q - log_p)).sum() * cell))
    return best


def floor_by_entropy(z, log_p, cell, means, scales):
    q = Normal(means.repeat_interleave(len(scales)), scales.repeat(len(means)))
    return -(q.entropy() + q.log_prob(z[:, None]).exp().T @ log_p * cell).max()


def bound_row_by_row(weights):
    return [-math.log(max(row)) for row in weights.tolist()]


def mixture_by_torch(z, weights, means, scales):
    return MixtureSameFamily(Categorical(weights), Normal(means, scales)).log_prob(z)


def mixture_by_hand(z, weights, means, scales):
    exponent = -0.5 * ((z[:, None] - means) / scales) ** 2
    height = weights / (scales * math.sqrt(2 * math.pi))
    return torch.logsumexp(exponent + height.log(), 1)


def k_gap_by_relative_weights(log_w, log_p):
    return -torch.logsumexp(log_w - log_p - math.log(log_w.shape[1]), 1).mean(0)


def k_gap_by_mean_weight(log_w, log_p):
    return log_p - log_w.exp().mean(1).log().mean(0)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.gap_on_grid, gap_as_evidence_less_elbo),
        (own.gap_on_grid, gap_by_the_package),
        (own.floor_by_search, floor_in_loops),
        (own.floor_by_search, floor_by_entropy),
        (own.one_peak_bound, bound_row_by_row),
        (own.mixture_density, mixture_by_torch),
        (own.mixture_density, mixture_by_hand),
        (own.k_sample_gap, k_gap_by_relative_weights),
        (own.k_sample_gap, k_gap_by_mean_weight),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_right_answers_written_differently(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


# Would catch a prediction whose answer is not what the two divergences say.
def test_the_reversed_divergence_lies_across_both_peaks():
    z = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    log_p = torch.logaddexp(Normal(-3.0, 1.0).log_prob(z), Normal(3.0, 1.0).log_prob(z))
    log_p = log_p - math.log(2)
    reversed_divergence = {
        name: kl_on_grid(log_p, Normal(m, s).log_prob(z), math.log(0.01)).item()
        for name, m, s in (("one", 3.0, 1.0), ("both", 0.0, math.sqrt(10)))
    }
    best = min(reversed_divergence, key=reversed_divergence.__getitem__)
    assert own.reversed_kl.verdict(best).startswith("✓")
    assert own.reversed_kl.verdict("one").startswith("✗ Not quite")
