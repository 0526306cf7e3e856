"""Chapter 9's answers are the package's."""

from itertools import pairwise

import torch
from test_chain import chain, poor_encoders
from torch.distributions import MultivariateNormal

from companion import (
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    TopDownHVAE,
    data,
    free_bits_elbo,
    mlp,
)
from companion.exact import LinearGaussianChain
from companion.exercises import hierarchical_vae as own

# --- the answers are the package's ----------------------------------------------------------------

CHAIN = chain()
LAW = MultivariateNormal(torch.ones(5).double(), 2 * torch.eye(5).double())


# Would catch a solution that agrees with itself alone.
def test_the_weight_is_that_of_a_trace():
    torch.manual_seed(0)
    encoders = [GaussianConditional(mlp(4 + 2, 8, 2 * 3)), GaussianConditional(mlp(4, 8, 2 * 2))]
    decoders = [GaussianConditional(mlp(3, 8, 2 * 4)), GaussianConditional(mlp(2, 8, 2 * 3))]
    model = TopDownHVAE(encoders, decoders, StandardNormal(2)).double()
    x = torch.randn(6, 4).double()

    def law(conditional):
        def moments(*given):
            found = conditional(*given)
            return found.mean, found.stddev

        return moments

    torch.manual_seed(1)
    trace = model.trace(x)
    noise = [(z - q.mean) / q.stddev for z, q in zip(trace.z[::-1], trace.q[::-1], strict=True)]
    weight = own.top_down_weight.solution(
        x,
        [e[0] for e in noise],
        *map(law, (*encoders[::-1], decoders[1], decoders[0])),
    )
    torch.testing.assert_close(weight, trace.log_weight[0])


def test_the_agreement_is_that_of_the_labels():
    # By the names of the package, which the exercise does not use.
    x, label = data.tree(40, noise=0.4, seed=1)
    drawn = torch.stack([data.tree(40, noise=0.4, seed=1)[0], x + 0.3, data.tree(40, seed=2)[0]])
    found = data.tree_labels(drawn.flatten(0, 1)).view(3, 40, 3)
    shares = own.agreement.solution(drawn, label[:, 2], data.tree_centres())
    torch.testing.assert_close(shares, (found == label).double().mean((0, 1)))
    assert shares[0] > shares[1] > shares[2] > 0


def test_the_threshold_is_where_the_chains_rate_changes_its_sign():
    for rho in (0.4, -0.7, 0.9):
        threshold = own.negative_rate.solution(torch.tensor(rho)).item()
        for factor, negative in ((0.98, False), (1.02, True)):
            noise = [[factor * threshold]], [[1 - rho**2]]
            exact = LinearGaussianChain(
                [
                    LinearGaussianConditional(
                        torch.tensor([[weight]]).double(),
                        torch.zeros(1).double(),
                        torch.tensor(spread).double(),
                    )
                    for weight, spread in zip((1.0, rho), noise, strict=True)
                ]
            )
            rates = exact.rates(exact.joint().marginal(0), exact.posterior())
            assert bool(rates[0] < 0) == negative


def test_the_charge_is_that_of_free_bits_at_price_one():
    # With a price of one and equal allowances it is what the package calls free bits.
    torch.manual_seed(0)
    model, x = CHAIN.hvae(poor_encoders()), LAW.sample((40,))
    trace = model.trace(x, 5)
    rates = trace.rates.mean(1)
    nats = rates.mean(1).sort().values[:2].mean()
    ones = torch.ones(3).double()
    charge = own.charge.solution(rates, nats * ones, ones, 1.0)
    torch.manual_seed(0)
    LAW.sample((40,))
    value = free_bits_elbo(model, x, nats.item(), 5)
    torch.testing.assert_close(value, trace.reconstruction.mean(0) - charge)


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
