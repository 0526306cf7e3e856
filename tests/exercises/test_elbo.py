"""Chapter 3's checks name each catalogued mistake and accept right answers written differently."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from companion import exercises
from companion.exact import DiscreteModel
from companion.exercises import elbo as own

FUNCTIONS = [
    own.elbo_from_samples,
    own.kl_tables,
    own.gap_from_tables,
    own.k_sample_bound,
    own.bound_in_chunks,
]
PREDICTIONS = [own.constant_weights, own.best_width]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(3).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently -----------------------------------------------------------


def elbo_sample_by_sample(z, log_joint, log_q):
    total = sum(log_joint(sample[None])[0] - log_q(sample[None])[0] for sample in z)
    return total / len(z)


def elbo_in_two_averages(z, log_joint, log_q):
    return log_joint(z).mean(dim=0) - log_q(z).mean(dim=0)


def kl_by_distributions(q, p):
    return kl_divergence(Categorical(probs=q), Categorical(probs=p))


def kl_row_by_row(q, p):
    rows = []
    for q_row, p_row in zip(q.tolist(), p.tolist(), strict=True):
        terms = [a * math.log(a / b) for a, b in zip(q_row, p_row, strict=True) if a > 0]
        rows.append(math.fsum(terms))
    return torch.tensor(rows)


def kl_with_a_mask(q, p):
    ratio = torch.where(q > 0, q / p, torch.ones_like(q))
    return torch.sum(q * torch.log(ratio), dim=-1)


def gap_by_the_elbo(prior, likelihood, q):
    model = DiscreteModel(prior, likelihood)
    return model.log_marginal() - model.elbo(q)


def gap_by_its_definition(prior, likelihood, q):
    evidence = prior @ likelihood
    log_w = (prior * likelihood.T).log() - q.log()
    return evidence.log() - torch.einsum("xz,xz->x", q, log_w)


def bound_by_the_largest(log_w):
    top = log_w.max(dim=0).values
    return top + (log_w - top).exp().mean(0).log()


def bound_inside(log_w):
    return torch.logsumexp(log_w - math.log(log_w.shape[0]), dim=0)


def bound_column_by_column(log_w):
    return [torch.logsumexp(column, 0) - math.log(len(column)) for column in log_w.T]


def chunks_one_after_the_other(chunks):
    total, count = torch.full_like(chunks[0][0], -math.inf), 0
    for chunk in chunks:
        total = torch.logaddexp(total, chunk.logsumexp(0))
        count += len(chunk)
    return total - math.log(count)


def chunks_weighted_by_their_length(chunks):
    lengths = torch.tensor([len(chunk) for chunk in chunks])
    means = torch.stack([own.k_sample_bound.solution(chunk) for chunk in chunks])
    return torch.logsumexp(means + (lengths / lengths.sum()).log()[:, None], dim=0)


RIGHT = [
    (own.elbo_from_samples, elbo_sample_by_sample),
    (own.elbo_from_samples, elbo_in_two_averages),
    (own.kl_tables, kl_by_distributions),
    (own.kl_tables, kl_row_by_row),
    (own.kl_tables, kl_with_a_mask),
    (own.gap_from_tables, gap_by_the_elbo),
    (own.gap_from_tables, gap_by_its_definition),
    (own.k_sample_bound, bound_by_the_largest),
    (own.k_sample_bound, bound_inside),
    (own.k_sample_bound, bound_column_by_column),
    (own.bound_in_chunks, chunks_one_after_the_other),
    (own.bound_in_chunks, chunks_weighted_by_their_length),
]


# Would catch a check that wants one way of writing.
@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=lambda v: getattr(v, "__name__", ""))
def test_a_right_answer_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


# --- predictions ----------------------------------------------------------------------------------


# Would catch a right number that does not belong to the question's model.
def test_constant_weights():
    posterior = torch.tensor([0.25, 0.45, 0.3], dtype=torch.float64)
    q = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    gap = own.kl_tables.solution(q, posterior).item()
    assert own.constant_weights.verdict(round(gap, 2)).startswith("✓")
    assert own.constant_weights.verdict(gap).startswith("✓")
    assert "log p(x) of the part" in own.constant_weights.verdict(0)
    assert "above log p(x)" in own.constant_weights.verdict(-1.39)
    assert "in bits" in own.constant_weights.verdict(2)
    assert "where does the logarithm go" in own.constant_weights.verdict(0.25)
    assert "Not 17" in own.constant_weights.verdict(17)


# The chapter's model: z ~ N(0, 1), x | z ~ N(z + z², 0.8²), at x = 1.6.
def test_the_best_gaussian_is_narrower_than_the_posterior():
    z = torch.linspace(-8, 8, 4001).double()
    log_joint = -0.5 * z.square() - 0.5 * ((1.6 - z - z.square()) / 0.8).square()
    posterior = log_joint.softmax(0)
    mean = (posterior * z).sum()
    deviation = (posterior * (z - mean).square()).sum().sqrt()

    def gap(mean, scale):
        q = (-0.5 * ((z - mean) / scale).square()).softmax(0)
        return own.kl_tables.solution(q, posterior).item()

    gaps = {(m / 20, s / 20): gap(m / 20, s / 20) for m in range(-50, 31) for s in range(3, 31)}
    assert min(gaps, key=gaps.__getitem__)[1] < 0.6 * deviation
    assert own.best_width.verdict("Narrower").startswith("✓")
    assert "nearly zero" in own.best_width.verdict("wider")
    assert "moments" in own.best_width.verdict("equal")
