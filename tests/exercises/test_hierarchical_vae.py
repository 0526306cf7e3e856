"""Chapter 9's answers are the package's."""

from itertools import pairwise

import torch
from test_chain import chain, poor_encoders
from torch.distributions import MultivariateNormal

from companion.exercises import hierarchical_vae as own

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
