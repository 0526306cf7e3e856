"""Chapter 9's checks accept right answers written differently."""

from itertools import pairwise

import pytest
import torch
from test_chain import chain, poor_encoders
from torch.distributions import MultivariateNormal

from companion import exercises
from companion.exercises import hierarchical_vae as own

FUNCTIONS = [
    own.level_rates,
    own.log_weight,
    own.draw_down,
    own.rates_from_information,
    own.closed_form_excess,
]
PREDICTIONS = [own.redrawn_level]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(9).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently -----------------------------------------------------------


def rates_level_by_level(z, q, p):
    rates = []
    for level in range(len(z)):
        model = p[level + 1].log_prob(z[level])
        rates.append(q[level].log_prob(z[level]) - model)
    return torch.stack(rates)


def rates_in_two_stacks(z, q, p):
    ours = torch.stack([law.log_prob(value) for law, value in zip(q, z, strict=True)])
    theirs = torch.stack([law.log_prob(value) for law, value in zip(p[1:], z, strict=True)])
    return ours - theirs


def rates_unit_by_unit(z, q, p):
    def score(law, value):
        return law.base_dist.log_prob(value).sum(-1)

    return torch.stack([score(q[i], z[i]) - score(p[i + 1], z[i]) for i in range(len(z))])


def weight_as_a_ratio(x, z, q, p):
    values = [x, *z]
    log_joint = sum(law.log_prob(value) for law, value in zip(p, values, strict=True))
    log_q = sum(law.log_prob(value) for law, value in zip(q, z, strict=True))
    return log_joint - log_q


def weight_by_the_rates(x, z, q, p):
    total = p[0].log_prob(x)
    for rate in rates_in_two_stacks(z, q, p):
        total = total - rate
    return total


def weight_from_the_top(x, z, q, p):
    total = p[-1].log_prob(z[-1]) - q[-1].log_prob(z[-1])
    for level in reversed(range(len(z) - 1)):
        total = total + p[level + 1].log_prob(z[level]) - q[level].log_prob(z[level])
    return total + p[0].log_prob(x)


def down_by_linear(z_top, steps, noise):
    z = z_top
    for index in range(len(steps)):
        weight, bias, scale = steps[index]
        z = torch.nn.functional.linear(z, weight, bias)
        z = z.add(noise[index], alpha=scale)
    return z


def down_row_by_row(z_top, steps, noise):
    rows = []
    for row, z in enumerate(z_top):
        for (weight, bias, scale), epsilon in zip(steps, noise, strict=True):
            z = weight @ z + bias + scale * epsilon[row]
        rows.append(z)
    return torch.stack(rows)


def down_by_recursion(z_top, steps, noise):
    if not steps:
        return z_top
    weight, bias, scale = steps[0]
    below = torch.einsum("oi,bi->bo", weight, z_top) + bias + scale * noise[0]
    return down_by_recursion(below, steps[1:], noise[1:])


def rates_with_a_zero_on_top(information, mismatch):
    above = torch.zeros_like(information)
    above[:-1] = information[1:]
    return information - above + mismatch


def rates_by_a_loop(information, mismatch):
    rates = []
    for level in range(len(information)):
        rate = information[level] + mismatch[level]
        if level + 1 < len(information):
            rate = rate - information[level + 1]
        rates.append(rate)
    return rates


def rates_by_differences(information, mismatch):
    last = torch.zeros(1, dtype=information.dtype)
    return mismatch - torch.diff(information, append=last)


def excess_by_a_solve(A, covariance, W, noise):
    return torch.trace(torch.linalg.solve(covariance, A @ (W @ noise)))


def excess_by_einsum(A, covariance, W, noise):
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    return torch.einsum("ij,jk,kl,li->", precision, A, W, noise)


def excess_turned_round(A, covariance, W, noise):
    # tr(M) = tr(Mᵀ), with the factors in their cyclic order.
    neighbours = noise @ W.mT  # Cov(z_l, z_{l+1})
    return (neighbours @ A.mT @ torch.linalg.inv(covariance)).trace().item()


RIGHT = [
    (own.level_rates, rates_level_by_level),
    (own.level_rates, rates_in_two_stacks),
    (own.level_rates, rates_unit_by_unit),
    (own.log_weight, weight_as_a_ratio),
    (own.log_weight, weight_by_the_rates),
    (own.log_weight, weight_from_the_top),
    (own.draw_down, down_by_linear),
    (own.draw_down, down_row_by_row),
    (own.draw_down, down_by_recursion),
    (own.rates_from_information, rates_with_a_zero_on_top),
    (own.rates_from_information, rates_by_a_loop),
    (own.rates_from_information, rates_by_differences),
    (own.closed_form_excess, excess_by_a_solve),
    (own.closed_form_excess, excess_by_einsum),
    (own.closed_form_excess, excess_turned_round),
]


# Would catch a check that wants one way of writing.
@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=lambda v: getattr(v, "__name__", ""))
def test_a_right_answer_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


# --- the answers are the package's ----------------------------------------------------------------

CHAIN = chain()
LAW = MultivariateNormal(torch.ones(5).double(), 2 * torch.eye(5).double())


# Would catch a solution that agrees with itself alone.
def test_rates_and_weights_are_those_of_a_trace():
    trace = CHAIN.hvae(poor_encoders()).trace(LAW.sample((6,)), 7)
    rates = own.level_rates.solution(trace.z, trace.q, trace.p)
    torch.testing.assert_close(rates, trace.rates)
    weight = own.log_weight.solution(trace.x, trace.z, trace.q, trace.p)
    torch.testing.assert_close(weight, trace.log_weight)


def test_the_excess_is_the_chains():
    q = poor_encoders()
    x = LAW.sample((3,))
    difference = CHAIN.closed_form_rates(x, q) - CHAIN.rates(x, q)
    for level in (1, 2):
        p, here, above = CHAIN.decoders[level], q[level - 1], q[level]
        spreads = [c.scale_tril @ c.scale_tril.mT for c in (p, here)]
        found = own.closed_form_excess.solution(p.weight, spreads[0], above.weight, spreads[1])
        torch.testing.assert_close(difference[level - 1], found.expand(3))


def test_what_is_drawn_down_is_a_draw_of_the_chain():
    # From the top's own law, with a scale for each step: moments of x.
    torch.manual_seed(0)
    draws, sizes = 100_000, (2, 3, 5)
    steps = [
        (torch.randn(below, above).double(), torch.randn(below).double(), 0.5)
        for above, below in pairwise(sizes)
    ]
    noise = [torch.randn(draws, size).double() for size in sizes[1:]]
    x = own.draw_down.solution(torch.randn(draws, 2).double(), steps, noise)
    (w1, b1, s1), (w2, b2, s2) = steps
    covariance = w2 @ (w1 @ w1.mT + s1**2 * torch.eye(3).double()) @ w2.mT
    covariance = covariance + s2**2 * torch.eye(5).double()
    white = torch.linalg.solve(torch.linalg.cholesky(covariance), (x - w2 @ b1 - b2).mT)
    assert (white.mean(1).abs() < 5 / draws**0.5).all()
    assert ((white @ white.mT / draws - torch.eye(5)).abs() < 5 * (2 / draws) ** 0.5).all()


# --- predictions ----------------------------------------------------------------------------------


def test_the_redrawn_level():
    assert own.redrawn_level.verdict(" Shape ").startswith("✓")
    assert "does the blob move" in own.redrawn_level.verdict("position")
    assert "kept" in own.redrawn_level.verdict("nothing")
    assert "Answer with one of: nothing, position, shape" in own.redrawn_level.verdict("colour")
