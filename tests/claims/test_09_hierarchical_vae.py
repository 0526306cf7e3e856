"""Chapter 9: hierarchies of latent codes, the parts of their bound, and what training does.

The identities hold to rounding: on a linear chain whose every law is known, on a chain of tables
that is summed over, and on networks with one unit a level, where a grid integrates. The two sides
share no code. What training does is measured on small models at thresholds far from what was seen.
"""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from test_chain import SIZES, X, chain, conditional, poor_encoders
from torch import nn
from torch.distributions import (
    Distribution,
    MultivariateNormal,
    Normal,
    constraints,
    kl_divergence,
)

from companion import data, live
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.diagnostics import level_rates
from companion.diffusion import linear_schedule, reverse_posterior
from companion.distributions import Gaussian
from companion.ensemble import Ensemble
from companion.exact import LinearGaussian, LinearGaussianChain, chain_joint, gaussian_floor
from companion.models import HVAE, VAE, TopDownHVAE
from companion.objectives import (
    beta_elbo,
    elbo,
    elbo_analytic,
    free_bits_elbo,
    iwae_bound,
    log_marginal,
)
from companion.train import fit, linear_warm_up

SEEDS = range(4)
ENCODERS = {"exact": lambda: chain().posterior(), "poor": poor_encoders}
LAW = MultivariateNormal(
    torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0]).double(),
    torch.tensor([0.4, 3.0, 1.5, 0.8, 2.2]).double().diag() + 0.3,
)
"""A law of x that is not the chain's own."""


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def close(left, right, tolerance=1e-10):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def exactly(value):
    """A number or list in float64."""
    return torch.tensor(value, dtype=torch.float64)


def noise(conditional):
    return conditional.scale_tril @ conditional.scale_tril.mT


def precision(conditional):
    return torch.linalg.inv(noise(conditional))


def step(weight, bias, variance):
    """One step of a chain with one unit a level."""
    return LinearGaussianConditional(exactly([[weight]]), exactly([bias]), exactly([[variance]]))


@cache
def network(seed=0, sizes=(1, 1, 1), width=8, gain=1.5):
    """A hierarchy of networks in float64; with one unit a level a grid can integrate it."""
    torch.manual_seed(seed)
    pairs = list(pairwise(sizes))
    between = [GaussianConditional(mlp(above, width, 2 * below)) for below, above in pairs[1:]]
    model = HVAE(
        encoders=[GaussianConditional(mlp(below, width, 2 * above)) for below, above in pairs],
        decoders=[GaussianConditional(mlp(sizes[1], width, sizes[0]), 0.5), *between],
        prior=StandardNormal(sizes[-1]),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)  # far from linear
    return model.requires_grad_(False)


@cache
def grid(bound=12.0, points=1201):
    """Points z of one unit, (n, 1), and the logarithm of their distance."""
    z = torch.linspace(-bound, bound, points, dtype=torch.float64)[:, None]
    return z, math.log(2 * bound / (points - 1))


def log_density_by_grid(model, x):
    """log p(x) of a network of two levels of one unit, (B,): the sum over both levels."""
    z, cell = grid()
    log_z1 = (model.decoders[1](z[:, None]).log_prob(z) + model.prior().log_prob(z)[:, None]).T
    log_z1 = log_z1.logsumexp(1) + cell
    return (model.decoders[0](z[:, None]).log_prob(x) + log_z1[:, None]).logsumexp(0) + cell


def stacked(trace):
    return torch.cat(trace.z, -1)


# --- the model from the top down ------------------------------------------------------------------


# Would catch a conditional of the wrong neighbour, or one left out or counted twice.
@pytest.mark.claim("hvae.factorisation")
def test_the_product_of_the_conditionals_is_the_joint_density():
    exact = chain()
    trace = exact.hvae(poor_encoders()).trace(X, 7)
    product = sum(p.log_prob(v) for p, v in zip(trace.p, (X, *trace.z), strict=True))
    # u = (x, z_1, z_2, z_3) solves u = B u + b + noise, with B the weights above the diagonal.
    starts = [sum(SIZES[:i]) for i in range(5)]
    weights, bias = torch.zeros(14, 14).double(), torch.zeros(14).double()
    spread = torch.eye(14).double()
    for i, decoder in enumerate(exact.decoders):
        here, above = slice(*starts[i : i + 2]), slice(*starts[i + 1 : i + 3])
        weights[here, above], bias[here] = decoder.weight, decoder.bias
        spread[here, here] = noise(decoder)
    solve = torch.linalg.inv(torch.eye(14).double() - weights)
    joint = MultivariateNormal(solve @ bias, solve @ spread @ solve.mT)
    points = torch.cat([X.expand(7, -1, -1), stacked(trace)], -1)
    close(product, joint.log_prob(points))
    close(exact.joint().covariance, joint.covariance_matrix)


# Would catch a product of other networks than the model's own.
@pytest.mark.claim("hvae.factorisation")
def test_the_product_by_formula_on_networks():
    model = network(1, (5, 4, 3, 2))
    trace = model.trace(X, 7)
    product = sum(p.log_prob(v) for p, v in zip(trace.p, (X, *trace.z), strict=True))

    def log_normal(value, mean, logvar):
        terms = (value - mean).square() / logvar.exp() + logvar + math.log(2 * math.pi)
        return -0.5 * terms.sum(-1)

    z1, z2, z3 = trace.z
    by_hand = log_normal(z3, 0 * z3, 0 * z3)
    for value, above, decoder in ((z2, z3, model.decoders[2]), (z1, z2, model.decoders[1])):
        by_hand = by_hand + log_normal(value, *decoder.net(above).chunk(2, -1))
    mean = model.decoders[0].net(z1)
    close(product, by_hand + log_normal(X, mean, torch.full_like(mean, 0.25).log()))


# Would catch a marginal in which a level is not integrated: a mean put in its place.
@pytest.mark.claim("hvae.marginal")
def test_the_integral_over_both_levels_is_the_marginal():
    down = [step(1.3, 0.4, 0.3), step(-0.8, 1.0, 0.5)]
    x, (z, cell) = normal(6, 1), grid()
    joint = (
        down[0](z[:, None]).log_prob(x)[:, None]  # p(x | z_1), (z_1, 1, x)
        + down[1](z).log_prob(z[:, None])[..., None]  # p(z_1 | z_2), (z_1, z_2, 1)
        + Normal(0.0, 1.0).log_prob(z)[..., None].transpose(0, 1)
    )
    integral = joint.flatten(0, 1).logsumexp(0) + 2 * cell
    close(integral, LinearGaussianChain(down).log_marginal(x))
    # By hand: variance 1.3² (0.8² + 0.5) + 0.3 about 1.3 · 1.0 + 0.4.
    variance = 1.69 * 1.14 + 0.3
    by_hand = -0.5 * ((x[:, 0] - 1.7).square() / variance + math.log(2 * math.pi * variance))
    close(integral, by_hand)


@pytest.mark.claim("hvae.marginal")
@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_draws_estimate_the_integral_of_a_network(seed):
    # The package's estimate sees only p/q, here for wide q; the grid sees only p.
    model, x = network(seed), exactly([[-1.0], [0.3], [1.5]])
    zero, wide = torch.zeros(1, 1).double(), LinearGaussianConditional
    q = [wide(zero, zero[0], exactly([[variance]])) for variance in (9.0, 2.0)]
    truth = log_density_by_grid(model, x)
    torch.manual_seed(0)
    drawn = HVAE(q, list(model.decoders), model.prior).trace(x, 40_000).log_weight
    ratio = (drawn - truth).exp()
    error = ratio.std(0) / 200
    assert ((ratio.mean(0) - 1).abs() < 4 * error).all()
    assert (error < 0.1).all()
    total = log_density_by_grid(model, grid()[0]).logsumexp(0) + grid()[1]
    close(total, torch.zeros(()).double(), 1e-6)  # a density of x


# Would catch a level drawn from its mean, a fixed top, or levels in the wrong order.
@pytest.mark.claim("hvae.generation")
@pytest.mark.parametrize("seed", SEEDS)
def test_draws_from_the_top_down_have_the_marginal_law(seed):
    model, draws = network(seed), 20_000
    torch.manual_seed(0)
    x = model.sample(draws)[:, 0].sort().values
    points, cell = grid()
    distribution = (log_density_by_grid(model, points) + cell).exp().cumsum(0)
    index = ((x - points[0, 0]) / (points[1, 0] - points[0, 0])).clamp(0, len(points) - 2)
    low = index.long()
    # The sum includes the cell's own mass: half of it lies to the right of the point.
    inner = distribution - 0.5 * (log_density_by_grid(model, points) + cell).exp()
    known = inner[low] + (index - low) * (inner[low + 1] - inner[low])
    found = (torch.arange(draws) + 0.5).double() / draws
    assert (known - found).abs().max() < 1.95 / math.sqrt(draws)  # Kolmogorov, one in a thousand


@pytest.mark.claim("hvae.generation")
def test_means_and_covariance_of_the_draws():
    exact, draws = chain(), 100_000
    torch.manual_seed(0)
    x, law = exact.hvae().sample(draws), exact.joint().marginal(0)
    white = torch.linalg.solve_triangular(law.scale_tril, (x - law.mean).mT, upper=False)
    assert (white.mean(1).abs() < 5 / math.sqrt(draws)).all()
    second = white @ white.mT / draws
    assert ((second - torch.eye(SIZES[0])).abs() < 5 * math.sqrt(2 / draws)).all()


# --- the encoder from the bottom up ---------------------------------------------------------------


# Would catch an encoder that conditions a level on x, or on the level above.
@pytest.mark.claim("hvae.encoder")
def test_the_encoder_is_a_density_of_markov_form():
    q = poor_encoders()
    trace = chain().hvae(q).trace(X, 7)
    log_q = sum(d.log_prob(z) for d, z in zip(trace.q, trace.z, strict=True))
    for index, x in enumerate(X):
        joint = chain_joint(q[0](x), q[1:]).marginal()
        close(log_q[:, index], joint.log_prob(stacked(trace)[:, index]))
    # And of networks: it integrates to one.
    model, (z, cell) = network(2), grid()
    first = model.encoders[0](exactly([0.7])).log_prob(z)
    second = model.encoders[1](z).log_prob(z[:, None]).T
    total = (first[:, None] + second).flatten().logsumexp(0) + 2 * cell
    close(total, torch.zeros(()).double(), 1e-6)


# Would catch a posterior of the chain that is no chain, or one of the wrong neighbour.
@pytest.mark.claim("hvae.encoder")
def test_the_exact_posterior_of_the_chain_is_markov():
    exact = chain()
    # By Bayes' rule on the whole joint: all of z given x at once.
    joint = exact.joint()
    split = SIZES[0]
    c = joint.covariance
    weight = c[split:, :split] @ torch.linalg.inv(c[:split, :split])
    rest = c[split:, split:] - weight @ c[:split, split:]
    z = normal(len(X), sum(SIZES[1:]))
    whole = MultivariateNormal(
        joint.mean[split:] + (X - joint.mean[:split]) @ weight.mT, (rest + rest.mT) / 2
    ).log_prob(z)
    parts = (X, *z.split(SIZES[1:], -1))
    product = sum(
        q(below).log_prob(here)
        for q, (below, here) in zip(exact.posterior(), pairwise(parts), strict=True)
    )
    close(product, whole)


def tables(seed):
    """A chain of tables: p(x | z_1), p(z_1 | z_2), p(z_2) over 5, 4 and 3 values."""
    torch.manual_seed(seed)
    return [(1.5 * normal(*shape)).softmax(-1) for shape in ((4, 5), (3, 4), (3,))]


# Nothing Gaussian here: the Markov form alone is at stake.
@pytest.mark.claim("hvae.encoder")
@pytest.mark.claim("hvae.elbo")
@pytest.mark.parametrize("seed", SEEDS)
def test_on_tables_the_markov_form_loses_nothing(seed):
    p_x, p_1, p_2 = tables(seed)
    joint = torch.einsum("ax,ba,b->xab", p_x, p_1, p_2)
    evidence = joint.sum((1, 2))
    posterior = joint / evidence[:, None, None]
    first, pair = posterior.sum(2), joint.sum(0)
    second = pair / pair.sum(1, keepdim=True)  # p(z_2 | z_1): x is not asked
    close(first[..., None] * second, posterior, 1e-12)

    def bound(first, second):
        q = first[..., None] * second
        return (q * (joint.log() - q.log())).sum((1, 2))

    close(bound(first, second), evidence.log(), 1e-12)
    for _ in range(50):
        poor = [(1.5 * normal(*shape)).softmax(-1) for shape in ((5, 4), (4, 3))]
        for q in ((poor[0], second), (first, poor[1]), poor):
            assert (bound(*q) < evidence.log() - 1e-4).all()


@pytest.mark.claim("hvae.encoder")
@pytest.mark.claim("hvae.first-level")
def test_only_the_gaussian_conditionals_lose():
    # z_1 | z_2 ~ N(0.8 z_2, 0.6²) and x | z_1 ~ N(z_1 + z_1², 0.8²): p(z_1 | x) has two peaks,
    # while p(z_2 | z_1) = N(0.8 z_1, 0.6²) is Gaussian.
    z, cell = grid(8.0, 401)
    x = exactly(1.6)
    log_1 = Normal(0.0, 1.0).log_prob(z[:, 0]) + Normal(x, 0.8).log_prob(z[:, 0] + z[:, 0] ** 2)
    log_p = log_1.logsumexp(0) + cell
    log_2_given_1 = Normal(0.8 * z, 0.6).log_prob(z[:, 0])  # (z_1, z_2)
    joint = Normal(0.0, 1.0).log_prob(z[:, 0]) + Normal(0.8 * z[:, 0], 0.6).log_prob(z)
    joint = joint + Normal(x, 0.8).log_prob(z + z**2)
    close(joint, log_1[:, None] + log_2_given_1, 1e-9)

    def bound(log_q):
        q = (log_q + 2 * cell).exp()
        return (q * (joint - log_q)).sum()

    exact = log_1[:, None] - log_p + log_2_given_1
    close(bound(exact), log_p, 1e-8)
    best = max(
        bound(Normal(mean, scale).log_prob(z) + log_2_given_1).item()
        for mean in torch.linspace(-2.5, 1.5, 17).tolist()
        for scale in (0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0)
    )
    assert 0.3 < log_p.item() - best < 0.45


# --- the bound ------------------------------------------------------------------------------------


def exact_elbo(exact, x, q):
    return exact.reconstruction(x, q) - exact.rates(x, q).sum(0)


# Would catch a rate with a wrong sign, or an encoder that is scored at other draws than its own.
@pytest.mark.claim("hvae.elbo")
def test_no_encoder_lies_above_the_evidence():
    exact = chain()
    truth = exact.log_marginal(X)
    for seed in range(100, 1600, 30):
        assert (exact_elbo(exact, X, poor_encoders(seed)) < truth).all()


@pytest.mark.claim("hvae.elbo")
def test_it_is_tight_exactly_when_every_conditional_is_exact():
    exact = chain()
    truth, q = exact.log_marginal(X), exact.posterior()
    weights = exact.hvae().trace(X, 7).log_weight
    close(weights, truth.expand(7, -1))  # for each draw
    close(exact_elbo(exact, X, q), truth)
    for level in range(3):
        moved = list(q)
        moved[level] = LinearGaussianConditional(
            q[level].weight, q[level].bias + 0.3, 1.2 * noise(q[level])
        )
        # The gap of one moved conditional is its own KL, the same for every x.
        k = SIZES[level + 1]
        shift = exactly([0.3] * k)
        gap = 0.5 * (k * 0.2 + shift @ precision(q[level]) @ shift - k * math.log(1.2))
        close(truth - exact_elbo(exact, X, moved), gap.expand(len(X)))


@pytest.mark.claim("hvae.elbo")
@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_of_a_network_stay_below_the_grid(seed):
    model, x = network(seed), exactly([[-1.0], [0.3], [1.5]])
    torch.manual_seed(0)
    truth = log_density_by_grid(model, x)
    log_w = model.trace(x, 20_000).log_weight
    assert (log_w.mean(0) < truth - 0.01).all()
    # Its gap by the grid: KL of q(z_1, z_2 | x) to the posterior.
    z, cell = grid()
    for i, point in enumerate(x):
        log_q = model.encoders[0](point).log_prob(z)[:, None]
        log_q = log_q + model.encoders[1](z[:, None]).log_prob(z)
        joint = model.decoders[0](z).log_prob(point)[:, None]
        joint = joint + model.decoders[1](z).log_prob(z[:, None]) + model.prior().log_prob(z)
        gap = ((log_q + 2 * cell).exp() * (log_q - joint + truth[i])).sum()
        error = log_w[:, i].std() / math.sqrt(20_000)
        assert abs(truth[i] - log_w[:, i].mean() - gap) < 4 * error


# Would catch a rate of the wrong pair of neighbours, and a level left out of the sum.
@pytest.mark.claim("hvae.decomposition")
@pytest.mark.parametrize("encoders", ENCODERS)
def test_the_elbo_is_reconstruction_less_the_rates(encoders):
    # The left side from the gap alone: log p(x) less torch's KL of two joints over z_1 … z_3.
    exact, q = chain(), ENCODERS[encoders]()
    gap = torch.stack(
        [
            kl_divergence(
                chain_joint(q[0](x), q[1:]).marginal(),
                chain_joint(exact.posterior()[0](x), exact.posterior()[1:]).marginal(),
            )
            for x in X
        ]
    )
    close(exact_elbo(exact, X, q), exact.log_marginal(X) - gap)
    torch.manual_seed(0)
    trace = exact.hvae(q).trace(X, 20_000)
    error = trace.rates.std(1) / math.sqrt(20_000)
    assert ((trace.rates.mean(1) - exact.rates(X, q)).abs() < 4 * error + 1e-10).all()


@pytest.mark.claim("hvae.decomposition")
@pytest.mark.parametrize("levels", [2, 3])
def test_the_objective_is_that_sum_on_networks(levels):
    model = network(levels, (5, 4, 3, 2)[: levels + 1])
    torch.manual_seed(3)
    value = elbo(model, X, 7)
    torch.manual_seed(3)
    below, steps = X, []
    for index, encoder in enumerate(model.encoders):
        mean, logvar = encoder.net(below).chunk(2, -1)
        shape = (7, *mean.shape) if index == 0 else mean.shape
        here = mean + (0.5 * logvar).exp() * torch.randn(shape, dtype=torch.float64)
        steps.append((Normal(mean, (0.5 * logvar).exp()).log_prob(here).sum(-1), here))
        below = here
    total = Normal(model.decoders[0].net(steps[0][1]), 0.5).log_prob(X).sum(-1)
    for index, (log_q, here) in enumerate(steps):
        if index + 1 < levels:
            mean, logvar = model.decoders[index + 1].net(steps[index + 1][1]).chunk(2, -1)
            log_p = Normal(mean, (0.5 * logvar).exp()).log_prob(here).sum(-1)
        else:
            log_p = Normal(0.0, 1.0).log_prob(here).sum(-1)
        total = total - (log_q - log_p)
    close(value, total.mean(0))


# Would catch an average that is no average of the points' bounds, and rates that forget x.
@pytest.mark.claim("hvae.average")
@pytest.mark.parametrize("encoders", ENCODERS)
def test_the_average_over_data_is_a_second_average(encoders):
    exact, q = chain(), ENCODERS[encoders]()
    of_points = exact_elbo(exact, X, q)
    assert of_points.std() > 0.3  # one x's bound is not the data's
    torch.manual_seed(0)
    rows = LAW.sample((40_000,))
    for of in (exact_elbo, lambda e, x, q: e.reconstruction(x, q), lambda e, x, q: e.rates(x, q)):
        averaged, drawn = of(exact, LAW, q), of(exact, rows, q)
        error = drawn.std(-1) / 200
        assert ((drawn.mean(-1) - averaged).abs() < 4 * error).all()
    # The notes' two sides, one per x and one averaged, differ at every one of these points.
    assert ((exact_elbo(exact, LAW, q) - of_points).abs() > 0.01).all()


@pytest.mark.claim("hvae.average")
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_three_sums_need_two_levels(levels):
    # First level, levels 2 … L − 1, top level: with L = 2 the middle is empty, with L = 1 first and
    # top are one term, which the three sums would charge twice.
    exact = LinearGaussianChain(chain().decoders[:levels])
    q = poor_encoders()[:levels]
    rates = exact.rates(X, q)
    first, middle, top = rates[0], rates[1 : levels - 1].sum(0), rates[-1]
    summed = exact.reconstruction(X, q) - first - middle - top
    twice = rates[0] if levels == 1 else torch.zeros(len(X)).double()
    close(summed, exact_elbo(exact, X, q) - twice)
    assert (rates[0].abs() > 0.1).all()


# --- rates are log-ratios, not closed-form KLs at drawn neighbours --------------------------------


def neighbours(q, level):
    """Cov_q(z_{l+1}, z_l | z_{l−1}) at an inner level, counted from one."""
    return q[level].weight @ noise(q[level - 1])


def excess(exact, q, level):
    """tr(Λ A Cov), with p(z_l | z_{l+1}) = N(A z_{l+1} + b, Λ⁻¹)."""
    decoder = exact.decoders[level]
    return (precision(decoder) @ decoder.weight @ neighbours(q, level)).trace()


# Would catch Σ for Λ, the covariance transposed, or a factor ½.
@pytest.mark.claim("hvae.kl-form")
@pytest.mark.parametrize("encoders", [*ENCODERS, "other"])
def test_the_closed_form_exceeds_the_rate_by_a_trace(encoders):
    exact = chain()
    q = poor_encoders(300) if encoders == "other" else ENCODERS[encoders]()
    rates, closed = exact.rates(X, q), exact.closed_form_rates(X, q)
    for level in (1, 2):
        close(closed[level - 1] - rates[level - 1], excess(exact, q, level).expand(len(X)))
        joint = chain_joint(LAW, q)  # Cov from the joint: z_l and z_{l+1} given z_{l−1}
        both = [joint.conditional(i, [level - 1]).weight for i in (level + 1, level)]
        shared = joint.between(level + 1, level) - both[0] @ joint.between(level - 1, level)
        close(neighbours(q, level), shared)
    close(closed[-1], rates[-1])  # at the top there is no neighbour above


# Would catch closed forms that are exact only on the chain: here torch's KL at the package's draws.
@pytest.mark.claim("hvae.kl-form")
def test_at_sampled_neighbours_the_kl_has_another_mean_than_the_log_ratio():
    draws = 40_000
    torch.manual_seed(0)
    trace = network(3, (5, 4, 3, 2)).trace(X[:2], draws)
    for level in (1, 2):
        q, p, z = trace.q[level - 1], trace.p[level], trace.z[level - 1]
        closed = kl_divergence(q.expand((draws, 2)), p)
        redrawn = p.log_prob(q.expand((draws, 2)).sample())  # the same neighbour, z_l anew
        difference = closed - trace.rates[level - 1]
        expected = p.log_prob(z) - redrawn
        surplus = difference - expected
        assert (surplus.mean(0).abs() < 4 * surplus.std(0) / math.sqrt(draws)).all()
        assert (difference.mean(0).abs() > 8 * difference.std(0) / math.sqrt(draws)).all()


@pytest.mark.claim("hvae.kl-form")
def test_the_difference_takes_either_sign():
    exact = LinearGaussianChain([step(1.0, 0.0, 0.1), step(0.9, 0.0, 0.19)])
    x = exactly([[1.0]])
    for weight, sign in ((0.9, 1), (-0.9, -1)):
        q = [exact.posterior()[0], step(weight, 0.0, 0.19)]
        difference = exact.closed_form_rates(x, q).sum() - exact.rates(x, q).sum()
        close(difference, exactly(sign * 0.81 / 0.19 * 0.1 / 1.1))
        notes = exact.reconstruction(x, q) - exact.closed_form_rates(x, q).sum(0)
        assert (sign * (exact_elbo(exact, x, q) - notes) > 0.3).all()
        assert (notes < exact.log_marginal(x)).all()


# Would catch a chain whose joint is not the example's.
@pytest.mark.claim("hvae.kl-form")
def test_the_example_of_the_exact_encoder():
    exact = LinearGaussianChain([step(1.0, 0.0, 0.1), step(0.9, 0.0, 0.19)])
    x, q = exactly([[1.0]]), exact.posterior()
    notes = exact.reconstruction(x, q) - exact.closed_form_rates(x, q).sum(0)
    assert round(exact_elbo(exact, x, q).item(), 3) == -1.421
    assert round(exact.log_marginal(x).item(), 3) == -1.421
    assert round(notes.item(), 3) == -1.809


@pytest.mark.claim("hvae.kl-form")
def test_the_sum_of_closed_forms_is_still_below_the_evidence():
    exact = chain()
    truth = exact.log_marginal(X)
    signs = set()
    for q in (exact.posterior(), *(poor_encoders(seed) for seed in range(100, 1300, 30))):
        notes = exact.reconstruction(X, q) - exact.closed_form_rates(X, q).sum(0)
        assert (notes < truth).all()
        signs |= set((notes - exact_elbo(exact, X, q)).sign().tolist())
    assert signs == {-1.0, 1.0}
    q = exact.posterior()
    loss = exact.closed_form_rates(X, q).sum(0) - exact.rates(X, q).sum(0)
    assert (loss > 0.1).all()  # loose where the ELBO is tight


# Why, for L = 2: it lies below the ELBO of another q, the product q(z_1 | x) q(z_2 | x).
@pytest.mark.claim("hvae.kl-form")
def test_with_two_levels_it_lies_below_the_bound_of_a_product():
    exact = LinearGaussianChain(chain().decoders[:2])
    for seed in range(100, 700, 30):
        q = poor_encoders(seed)[:2]
        notes = exact.reconstruction(X, q) - exact.closed_form_rates(X, q).sum(0)
        for i, x in enumerate(X):
            z = chain_joint(q[0](x), q[1:])
            parts = [z.marginal(0), z.marginal(1)]
            product = MultivariateNormal(
                z.mean, torch.block_diag(*(part.covariance_matrix for part in parts))
            )
            first, *rest = exact.posterior()
            gap = kl_divergence(product, chain_joint(first(x), rest).marginal())
            bound = exact.log_marginal(X[i : i + 1])[0] - gap
            # The two differ by what z_2 tells of z_1, which the closed form charges at the top.
            close(bound - notes[i], z.mutual_information([0], [1]))


# Why, for L = 3, on tables: r is a Markov chain, and s draws both neighbours from one z_1. What the
# text may not say is that r itself forgets z_1 given z_2 as s does: its entropies differ.
@pytest.mark.claim("hvae.kl-form")
def test_with_three_levels_it_lies_below_the_bound_of_neighbours_drawn_apart():
    def table(*shape):
        return (2 * normal(*shape)).softmax(-1)

    def entropy(p):
        return -torch.xlogy(p, p).sum()

    differ = []
    for seed in range(20):
        torch.manual_seed(seed)
        # Given one x: q(z_1), q(z_2 | z_1), q(z_3 | z_2), and log p(x, z_1, z_2, z_3).
        first, second, third = table(3), table(3, 4), table(4, 2)
        likelihood, p1, p2, p3 = -3 * torch.rand(3).double(), table(4, 3), table(2, 4), table(2)
        log_p = likelihood[:, None, None] + p1.T.log()[:, :, None] + p2.T.log() + p3.log()
        q = torch.einsum("a,ab,bc->abc", first, second, third)
        s = torch.einsum("a,ab,ac->abc", first, second, second @ third)
        z2 = q.sum((0, 2))
        r = first[:, None, None] * s.sum(0)  # z_1 and z_2 apart given x, z_2 and z_3 given z_1
        close(r.sum(0), s.sum(0))

        given_z2 = entropy(s.sum(0)) - entropy(z2)
        given_both = entropy(s) - entropy(s.sum(2))
        given_z1 = entropy(q.sum(1)) - entropy(first)
        close(given_both, given_z1)
        assert given_z2 >= given_both
        assert given_z1 >= entropy(q.sum(0)) - entropy(z2)
        own = entropy(r) - entropy(r.sum(2))  # H_r(z_3 | z_2, z_1)
        close(own, given_z2)
        differ.append(own - given_z1)

        closed = first @ likelihood + entropy(first) + (q.sum((0, 1)) @ p3.log())
        closed = closed + torch.einsum("a,b,ba->", first, z2, p1.log())
        closed = closed + torch.einsum("bc,cb->", s.sum(0), p2.log())
        closed = closed + entropy(q.sum(2)) - entropy(first) + entropy(q.sum(0)) - entropy(z2)
        bound = (r * log_p).sum() + entropy(r)
        assert closed <= bound + 1e-12
        assert bound <= log_p.flatten().logsumexp(0)
    assert max(differ) > 1e-3


def expected_kl(q, p, given):
    """E KL(q(u | v) ‖ p(u | v)) of two linear Gaussian conditionals over v ~ given."""
    shift = q.weight - p.weight
    mean = shift @ given.mean + q.bias - p.bias
    spread = shift @ given.covariance_matrix @ shift.mT + torch.outer(mean, mean) + noise(q)
    log_det = torch.logdet(noise(p)) - torch.logdet(noise(q))
    return 0.5 * ((precision(p) @ spread).trace() - len(mean) + log_det)


PRIOR = LinearGaussianConditional(
    torch.zeros(SIZES[-1], SIZES[-1]).double(),
    torch.zeros(SIZES[-1]).double(),
    torch.eye(SIZES[-1]).double(),
)


def test_expected_kl_is_a_mean_of_kls():
    q, p, given = conditional(3, 2, 7), conditional(3, 2, 8), chain().joint().marginal(3)
    v = given.sample((20_000,))
    drawn = kl_divergence(q(v), p(v))
    assert abs(drawn.mean() - expected_kl(q, p, given)) < 4 * drawn.std() / math.sqrt(20_000)


# Would catch a q(z_{i−1} | z_i) without x, or one that is not the encoder's own.
@pytest.mark.claim("hvae.kl-form")
@pytest.mark.parametrize("encoders", ENCODERS)
def test_the_form_that_is_right_turns_the_encoder_round(encoders):
    exact, q = chain(), ENCODERS[encoders]()
    for i, x in enumerate(X):
        z = chain_joint(q[0](x), q[1:])  # blocks 0, 1, 2 are z_1, z_2, z_3, given this x
        top = kl_divergence(z.marginal(2), PRIOR(torch.zeros(SIZES[-1]).double()))
        between = sum(
            expected_kl(z.conditional(level - 1, [level]), exact.decoders[level], z.marginal(level))
            for level in (1, 2)
        )
        close(between + top, exact.rates(X, q)[:, i].sum())


# Diffusion's q(z_{t−1} | z_t, x) is what its encoder gives when turned round.
@pytest.mark.claim("hvae.kl-form")
def test_diffusion_turns_its_encoder_round():
    schedule, x = linear_schedule(4), exactly([[0.8]])
    steps = [step(math.sqrt(1 - b), 0.0, b) for b in schedule.beta.tolist()]
    z = chain_joint(steps[0](x[0]), steps[1:])
    for t in (2, 3, 4):
        turned = z.conditional(t - 2, [t - 1])
        here = normal(3, 1)
        known = reverse_posterior(schedule, here, x.expand(3, 1), t - 1, t)
        close(turned(here).mean, known.mean, 1e-6)
        close(turned(here).variance, known.variance, 1e-6)


# --- a hierarchy is a VAE -------------------------------------------------------------------------


# Would catch a path of its own for one level.
@pytest.mark.claim("hvae.one-level")
def test_one_level_is_the_vae():
    one = network(0, (5, 3))
    vae = VAE(one.encoders[0], one.decoders[0], one.prior)
    one.requires_grad_(True)
    try:
        for objective in (elbo, elbo_analytic, lambda m, x: iwae_bound(m, x, 7)):
            values = []
            for model in (one, vae):
                torch.manual_seed(5)
                values.append(objective(model, X))
            assert torch.equal(*values)
            gradients = [torch.autograd.grad(v.sum(), [*vae.parameters()]) for v in values]
            assert all(map(torch.equal, *gradients))
    finally:
        one.requires_grad_(False)
    samples = []
    for model in (one, vae):
        torch.manual_seed(5)
        samples.append(model.sample(9))
    assert torch.equal(*samples)


# Would catch a rate of the only level that is not the KL to the prior.
@pytest.mark.claim("hvae.one-level")
def test_one_level_of_the_chain_is_the_linear_model():
    flat = LinearGaussian(normal(5, 3), normal(5), 0.6)
    spread = 0.36 * torch.eye(5).double()
    one = LinearGaussianChain([LinearGaussianConditional(flat.weight, flat.bias, spread)])
    q = conditional(3, 5, 77)
    close(one.log_marginal(X), flat.log_marginal(X))
    close(exact_elbo(one, X, [q]), flat.elbo(X, q(X)))
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    close(one.rates(X, [q])[0], kl_divergence(q(X), prior))
    close(one.closed_form_rates(X, [q]), one.rates(X, [q]))


class Chained(Distribution):
    """The law of (z_1, …, z_L) side by side, from a start and conditionals, as one distribution."""

    support = constraints.real_vector
    has_rsample = True

    def __init__(self, start, steps, *, down=False):
        self.start, self.steps, self.down = start, list(steps), down
        self.sizes = [start.event_shape[0]]
        for law in self.steps:
            like = torch.zeros(self.sizes[-1], dtype=torch.float64)
            self.sizes.append(law(like).event_shape[0])
        super().__init__(start.batch_shape, (sum(self.sizes),), validate_args=False)

    def _ordered(self, parts):
        return parts[::-1] if self.down else parts

    def rsample(self, sample_shape=()):
        parts = [self.start.rsample(sample_shape)]
        for law in self.steps:
            parts.append(law(parts[-1]).rsample())
        return torch.cat(self._ordered(parts), -1)

    def log_prob(self, value):
        sizes = list(self._ordered(self.sizes))
        parts = self._ordered(list(value.split(sizes, -1)))
        laws = [self.start, *(c(v) for c, v in zip(self.steps, parts, strict=False))]
        return sum(law.log_prob(part) for law, part in zip(laws, parts, strict=True))


class Structured(nn.Module):
    """A conditional that returns a `Chained` law; without input it is a prior."""

    def __init__(self, start, steps, *, down=False):
        super().__init__()
        self.start, self.steps, self.down = start, nn.ModuleList(steps), down

    def forward(self, *given):
        return Chained(self.start(*given), self.steps, down=self.down)


class OfFirst(nn.Module):
    """p(x | z_1) as a decoder of the whole z, of which it sees the first units alone."""

    def __init__(self, decoder, units):
        super().__init__()
        self.decoder, self.units = decoder, units

    def forward(self, z):
        return self.decoder(z[..., : self.units])


def as_vae(model):
    first = model.encoders[0](torch.zeros(model.data_size).double()).event_shape[0]
    return VAE(
        encoder=Structured(model.encoders[0], model.encoders[1:]),
        decoder=OfFirst(model.decoders[0], first),
        prior=Structured(model.prior, reversed(model.decoders[1:]), down=True),
    )


# Would catch a prior or posterior of the hierarchy that is not one density of all levels.
@pytest.mark.claim("hvae.is-a-vae")
@pytest.mark.parametrize("model", ["networks", "chain"])
def test_a_hierarchy_is_a_vae_over_all_levels(model):
    hvae = network(4, (5, 4, 3, 2)) if model == "networks" else chain().hvae(poor_encoders())
    vae = as_vae(hvae)
    traces = []
    for m in (hvae, vae):
        torch.manual_seed(5)
        traces.append(m.trace(X, 7))
    close(stacked(traces[0]), traces[1].z[0], 1e-12)
    close(traces[0].log_weight, traces[1].log_weight)
    close(traces[0].rates.sum(0), traces[1].rates[0])
    samples = []
    for m in (hvae, vae):
        torch.manual_seed(6)
        samples.append(m.sample(9))
    close(*samples, 1e-12)


@pytest.mark.claim("hvae.is-a-vae")
def test_without_the_structure_it_is_a_flat_vae():
    # p(z_1 | z_2) = N(0, I) whatever z_2 is, and q(z_2 | z_1) = N(0, I): any depth of the networks.
    torch.manual_seed(0)
    model = network(0, (5, 4, 3))
    off = [GaussianConditional(mlp(3, 6, 6, 8)), GaussianConditional(mlp(4, 6, 6, 6))]
    for part in off:
        for parameter in part.double().net[-1].parameters():
            nn.init.zeros_(parameter)
    cut = HVAE([model.encoders[0], off[1]], [model.decoders[0], off[0]], model.prior)
    flat = VAE(model.encoders[0], model.decoders[0], StandardNormal(4).double())
    trace = cut.trace(X, 7)
    close(trace.rates[1], torch.zeros(7, len(X)).double())
    log_q = flat.encoder(X).log_prob(trace.z[0])
    log_p = flat.decoder(trace.z[0]).log_prob(X) + flat.prior().log_prob(trace.z[0])
    close(trace.log_weight, log_p - log_q)


# One affine layer in each network is no depth at all, and the prior of z_1 is no Gaussian.
@pytest.mark.claim("hvae.is-a-vae")
@pytest.mark.claim("hvae.first-level")
def test_structure_makes_the_prior_of_the_first_level_richer():
    step_down = GaussianConditional(nn.Linear(1, 2)).double()
    with torch.no_grad():
        step_down.net.weight.copy_(torch.tensor([[0.5], [1.0]]))
        step_down.net.bias.zero_()
    z, cell = grid(40.0, 2001)
    with torch.no_grad():
        joint = step_down(z[:, None]).log_prob(z) + Normal(0.0, 1.0).log_prob(z)
    density = (joint.logsumexp(0) + cell).exp()
    mass = math.exp(cell) * density
    mean = (mass * z[:, 0]).sum()
    variance, fourth = ((mass * (z[:, 0] - mean) ** k).sum() for k in (2, 4))
    assert abs(mass.sum() - 1) < 1e-6
    assert abs(variance - (0.25 + math.exp(0.5))) < 1e-4
    assert fourth / variance**2 > 4  # a Gaussian's is 3, as is that of any flat VAE's prior


# --- how the rate is distributed ------------------------------------------------------------------


def parts(exact, law, q):
    """Information I_q(z_{l−1}; z_l) and mismatch KL of each level, from the joint under q."""
    joint = chain_joint(law, q)
    levels = range(1, len(joint.sizes))
    information = torch.stack([joint.mutual_information([i - 1], [i]) for i in levels])
    between = [
        expected_kl(joint.conditional(i, [i + 1]), exact.decoders[i], joint.marginal(i + 1))
        for i in levels[:-1]
    ]
    top = joint.marginal(levels[-1])
    prior = MultivariateNormal(torch.zeros_like(top.mean), torch.eye(len(top.mean)).to(top.mean))
    return information, torch.stack([*between, kl_divergence(top, prior)])


LAWS = {"other": LAW, "own": chain().joint().marginal(0)}


# Would catch the information of the wrong neighbours, and a mismatch averaged over the wrong law.
@pytest.mark.claim("hvae.distributes")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("encoders", ENCODERS)
def test_each_averaged_rate_is_information_less_information_plus_mismatch(law, encoders):
    exact, q = chain(), ENCODERS[encoders]()
    information, mismatch = parts(exact, LAWS[law], q)
    passed_on = torch.cat([information[1:], torch.zeros(1).double()])
    rates = exact.rates(LAWS[law], q)
    close(rates, information - passed_on + mismatch)
    close(rates.sum(), information[0] + mismatch.sum())  # the total telescopes
    assert (information.diff() != 0).all()
    assert (mismatch >= -1e-12).all()
    exactly = law == "own" and encoders == "exact"
    assert (mismatch.max() < 1e-10) == exactly


@pytest.mark.claim("hvae.distributes")
def test_an_averaged_inner_rate_can_be_negative():
    # x tells little of z_1, z_2 much: at the exact encoder of the model's own data.
    exact = LinearGaussianChain([step(1.0, 0.0, 10.0), step(0.9, 0.0, 0.19)])
    q, law = exact.posterior(), exact.joint().marginal(0)
    rates = exact.rates(law, q)
    by_hand = [0.5 * math.log(1.1), 0.5 * math.log(1 / 0.19)]
    close(rates, exactly([by_hand[0] - by_hand[1], by_hand[1]]))
    assert rates[0] < -0.7
    assert rates.sum() > 0
    assert rates[1] / rates.sum() > 10  # its "share" of the total
    torch.manual_seed(0)
    sampled = level_rates(exact.hvae(), law.sample((4000,)), 8)
    for estimate, known in zip(sampled, rates, strict=True):
        assert abs(estimate.mean - known) < 4 * estimate.standard_error


# Would catch a threshold on single rates, which may be negative where the level is awake.
@pytest.mark.claim("hvae.distributes")
def test_free_bits_clamp_the_mean_of_a_batch():
    exact, q = chain(), poor_encoders()
    model, x = exact.hvae(q), LAW.sample((40,))
    nats = exact.rates(x, q).mean(1).sort().values[:2].mean().item()  # between two levels' means
    torch.manual_seed(1)
    value = free_bits_elbo(model, x, nats, 5)
    torch.manual_seed(1)
    trace = model.trace(x, 5)
    rates = trace.rates.mean(1)
    above = rates.mean(1) > nats
    assert above.any()
    assert not above.all()
    assert (rates[above] < nats).any()  # single rates below it stay as they are
    charged = torch.stack(
        [rate if up else torch.full_like(rate, nats) for rate, up in zip(rates, above, strict=True)]
    )
    close(value, trace.reconstruction.mean(0) - charged.sum(0))


# --- a chain trained by its exact gradient --------------------------------------------------------


class Free(nn.Module):
    """A linear Gaussian conditional whose weight, bias and covariance are learned."""

    def __init__(self, out, size):
        super().__init__()
        self.weight = nn.Parameter(0.5 * normal(out, size))
        self.bias = nn.Parameter(0.5 * normal(out))
        self.root = nn.Parameter(0.1 * normal(out, out))
        self.log_scale = nn.Parameter(-0.5 + 0.1 * normal(out))

    def conditional(self):
        root = self.root.tril(-1) + self.log_scale.exp().diag()
        return LinearGaussianConditional(self.weight, self.bias, root @ root.mT)


@cache
def trained_chain(seed, steps=400):
    """Information, mismatch and closed forms before and after training; at the end, rates and gap.

    Two levels, fitted to LAW by Adam on the exact averaged ELBO: no draws, no network.
    """
    torch.manual_seed(seed)
    pairs = list(pairwise(SIZES[:3]))
    up = nn.ModuleList(Free(above, below) for below, above in pairs)
    down = nn.ModuleList(Free(below, above) for below, above in pairs)
    optimizer = torch.optim.Adam([*up.parameters(), *down.parameters()], lr=0.03)
    states = []
    for index in range(steps + 1):
        exact = LinearGaussianChain([free.conditional() for free in down])
        q = [free.conditional() for free in up]
        if index in (0, steps):
            with torch.no_grad():
                states.append((*parts(exact, LAW, q), exact.closed_form_rates(LAW, q)))
        if index < steps:
            optimizer.zero_grad()
            (-exact_elbo(exact, LAW, q)).backward()
            optimizer.step()
    with torch.no_grad():
        evidence = -LAW.entropy() - kl_divergence(LAW, exact.joint().marginal(0))
        return *states, exact.rates(LAW, q), evidence - exact_elbo(exact, LAW, q)


# Would catch a pair of laws that training does not bring together, and the sum of rates misread.
@pytest.mark.claim("hvae.aligned")
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_training_aligns_the_laws_that_share_their_condition(seed):
    before, after, _, gap = trained_chain(seed)
    assert (before[1] > 1).all()
    assert (after[1] < 1e-3).all()
    assert abs(gap) < 1e-3
    # The notes' pair: q(z_1 | x) and p(z_1 | z_2), in expectation. Its KL has not gone.
    assert after[2][0] > 1


@pytest.mark.claim("hvae.aligned")
def test_at_zero_gap_the_other_pair_stays_apart():
    exact = chain()
    law, q = exact.joint().marginal(0), exact.posterior()
    _, mismatch = parts(exact, law, q)
    close(exact_elbo(exact, X, q), exact.log_marginal(X))
    close(mismatch, torch.zeros(3).double())
    assert (exact.closed_form_rates(law, q) > 0.1).all()
    assert (exact.closed_form_rates(X, q) > 0.05).all()


# Why, for every encoder that climbs: what the averaged ELBO lacks to E log p_data is a sum of KLs.
@pytest.mark.claim("hvae.aligned")
@pytest.mark.parametrize("encoders", ENCODERS)
def test_what_the_averaged_elbo_lacks_to_its_ceiling(encoders):
    exact, q = chain(), ENCODERS[encoders]()
    joint = chain_joint(LAW, q)
    of_x = expected_kl(joint.conditional(0, [1]), exact.decoders[0], joint.marginal(1))
    lacks = parts(exact, LAW, q)[1].sum() + of_x
    close(exact_elbo(exact, LAW, q), -LAW.entropy() - lacks)


# How training spreads the rate: the total is I_q(x; z_1), its split the luck of the start.
@pytest.mark.claim("hvae.distributes")
def test_training_fixes_the_total_but_not_the_split():
    splits = []
    for seed in SEEDS[:3]:
        _, (information, mismatch, _), rates, _ = trained_chain(seed)
        close(rates.sum(), information[0] + mismatch.sum())
        assert abs(rates.sum() - information[0]) < 1e-3
        splits.append(rates[0] / rates.sum())
    assert max(splits) - min(splits) > 0.2


# --- where the gradients come from ----------------------------------------------------------------


def terms_and_parts(model):
    """Terms of the ELBO, reconstruction first, and the conditionals they might move."""
    torch.manual_seed(0)
    trace = model.trace(X, 7)
    terms = [trace.reconstruction.mean(), *trace.rates.mean((1, 2))]
    return terms, list(model.decoders), list(model.encoders)


def moves(term, module):
    """Whether a term has a gradient for a module, and whether that is nonzero everywhere."""
    gradients = torch.autograd.grad(
        term, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    found = [g is not None and bool(g.abs().max() > 1e-9) for g in gradients]
    assert all(found) or all(g is None or (g == 0).all() for g in gradients)
    return all(found)


# Would catch p of the wrong level in a rate, and a code that is detached on its way up.
@pytest.mark.claim("hvae.localised")
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_which_term_moves_which_conditional(seed):
    model = network(seed + 10, (5, 4, 3, 2), gain=1.0)
    model.requires_grad_(True)
    try:
        terms, decoders, encoders = terms_and_parts(model)
        found = [[moves(term, module) for term in terms] for module in decoders + encoders]
    finally:
        model.requires_grad_(False)
    # Columns: reconstruction, rates of levels 1, 2, 3.
    assert found == [
        [True, False, False, False],  # p(x | z_1)
        [False, True, False, False],  # p(z_1 | z_2)
        [False, False, True, False],  # p(z_2 | z_3)
        [True, True, True, True],  # q(z_1 | x): the reconstruction and every level
        [False, True, True, True],  # q(z_2 | z_1): the neighbour below, its own, the one above
        [False, False, True, True],  # q(z_3 | z_2)
    ]


# With an encoder that comes down, draws enter their own term and all below, none above.
@pytest.mark.claim("hvae.localised")
def test_which_term_moves_which_conditional_from_the_top_down():
    torch.manual_seed(0)
    sizes = list(pairwise(SIZES))
    decoders = [GaussianConditional(mlp(b, 6, 2 * a)) for a, b in sizes]
    reads = [SIZES[0] + above for above in SIZES[2:]] + [SIZES[0]]
    encoders = [
        GaussianConditional(mlp(size, 6, 2 * b)) for size, (_, b) in zip(reads, sizes, strict=True)
    ]
    model = TopDownHVAE(encoders, decoders, StandardNormal(SIZES[-1])).double()
    terms, _, encoders = terms_and_parts(model)
    assert [[moves(term, module) for term in terms] for module in encoders] == [
        [True, True, False, False],  # q(z_1 | z_2, x): the reconstruction and its own
        [True, True, True, False],  # q(z_2 | z_3, x)
        [True, True, True, True],  # q(z_3 | x)
    ]


# The same in expectation, without draws: the exact terms of a chain.
@pytest.mark.claim("hvae.localised")
def test_which_exact_term_moves_which_conditional():
    torch.manual_seed(0)
    up = [Free(above, below) for below, above in pairwise(SIZES)]
    down = [Free(below, above) for below, above in pairwise(SIZES)]
    exact = LinearGaussianChain([free.conditional() for free in down])
    q = [free.conditional() for free in up]
    terms = [exact.reconstruction(LAW, q), *exact.rates(LAW, q)]

    def slope(term, module):
        found = torch.autograd.grad(term, module.weight, retain_graph=True, allow_unused=True)[0]
        return 0.0 if found is None else found.abs().max().item()

    for level, free in enumerate(down):
        for index, term in enumerate(terms):
            assert (slope(term, free) > 1e-3) if index == level else (slope(term, free) == 0)
    for level, free in enumerate(up, start=1):
        for index, term in enumerate(terms):
            reached = index >= level - 1  # the neighbour below, its own level, all above
            assert (slope(term, free) > 1e-3) if reached else (slope(term, free) == 0)


# --- care: the first level's posterior ------------------------------------------------------------


# Would catch an upper level that changes the family or the draws of q(z_1 | x).
@pytest.mark.claim("hvae.first-level")
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_whatever_stands_above_the_first_level_is_one_diagonal_gaussian(levels):
    deep = network(5, (5, 4, 3, 2))
    sizes = (4, 3, 2)
    encoders, decoders = list(deep.encoders)[:levels], list(deep.decoders)[:levels]
    model = HVAE(encoders, decoders, StandardNormal(sizes[levels - 1]))
    torch.manual_seed(2)
    trace = model.double().trace(X, 7)
    assert isinstance(trace.q[0], Gaussian)
    assert trace.q[0].batch_shape == (len(X),)  # one for each x, whatever the draws above
    mean, logvar = deep.encoders[0].net(X).chunk(2, -1)
    torch.manual_seed(2)
    close(trace.z[0], mean + (0.5 * logvar).exp() * normal(7, *mean.shape))


# So its gap is at least that of q(z_1 | x) alone: levels above can only add to it.
@pytest.mark.claim("hvae.first-level")
@pytest.mark.parametrize("seed", [100, 200, 300])
def test_levels_above_cannot_close_the_first_levels_gap(seed):
    exact, poor = chain(), poor_encoders(seed)
    truth, best = exact.log_marginal(X), exact.posterior()
    alone = kl_divergence(poor[0](X), best[0](X))
    close(truth - exact_elbo(exact, X, [poor[0], *best[1:]]), alone)
    assert (truth - exact_elbo(exact, X, poor) > alone + 0.01).all()


def peaks(density):
    middle = density[1:-1]
    return int(((middle > density[:-2]) & (middle >= density[2:]) & (middle > 1e-3)).sum())


@pytest.mark.claim("hvae.first-level")
def test_the_upper_levels_law_becomes_richer():
    # q(z_1 | x) is one peak; z_2 = 2 tanh 4 z_1 + noise has two for that x. The prior of z_1 below
    # the same kind of step has two as well.
    class Bend(nn.Module):
        def forward(self, z):
            return 2 * torch.tanh(4 * z)

    bent = GaussianConditional(Bend(), scale=0.4)
    z, cell = grid(8.0, 801)
    first = Normal(exactly(0.1), exactly(0.8)).log_prob(z)
    law = (bent(z[:, None]).log_prob(z) + first).logsumexp(0) + cell
    assert abs(law.exp().sum() * math.exp(cell) - 1) < 1e-6
    assert peaks(first[:, 0].exp()) == 1
    assert peaks(law.exp()) == 2
    prior = (bent(z[:, None]).log_prob(z) + Normal(0.0, 1.0).log_prob(z)).logsumexp(0) + cell
    assert peaks(prior.exp()) == 2


# --- coarse to fine -------------------------------------------------------------------------------

SIDE = 8


@pytest.fixture(scope="module")
def sprite_hierarchies():
    """Three hierarchies of two levels on small sprites, warmed up."""
    x, _ = data.sprites(600, size=SIDE, seed=0)
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        encoders = [GaussianConditional(mlp(SIDE**2, 64, 16)), GaussianConditional(mlp(8, 64, 4))]
        lowest = GaussianConditional(mlp(8, 64, SIDE**2), scale=0.1)
        decoders = [lowest, GaussianConditional(mlp(2, 64, 16))]
        models.append(HVAE(encoders, decoders, StandardNormal(2)))
    ensemble = Ensemble(models)

    def objective(ensemble, x, beta):
        return ensemble.evaluate(beta_elbo, x, [beta] * 3).sum(0)

    warm_up = linear_warm_up(40, start=0.02)
    torch.manual_seed(0)
    fit(ensemble, x, objective, epochs=60, batch_size=100, lr=5e-3, schedule=warm_up)
    return x, ensemble.members()


def place_and_extent(pictures):
    """Centre of mass across and up, and mean square distance from it, along the last axis."""
    axis = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    light = pictures.unflatten(-1, (SIDE, SIDE)).clamp(0)
    light = light / light.sum((-1, -2), keepdim=True).clamp(min=1e-3)
    sides = [light.sum(-2), light.sum(-1)]
    means = [(side * axis).sum(-1) for side in sides]
    spread = sum(
        (side * (axis - mean[..., None]).square()).sum(-1)
        for side, mean in zip(sides, means, strict=True)
    )
    return torch.stack([*means, spread], -1)


# Would catch a redrawn top, or levels in the wrong order: then all of the place would vary.
@pytest.mark.claim("hvae.coarse-to-fine")
@pytest.mark.parametrize("member", range(3))
@torch.no_grad()
def test_redrawing_the_low_level_keeps_the_place(sprite_hierarchies, member):
    x, models = sprite_hierarchies
    model = models[member]
    torch.manual_seed(1)
    assert level_rates(model, x, 4)[1].mean > 2  # the top is awake
    top = model.prior().sample((200,))[:, None].expand(200, 20, 2)
    z1 = model.decoders[1](top).sample()
    seen = place_and_extent(model.decoders[0](z1).mean)
    within = seen.var(1).mean(0) / seen.flatten(0, 1).var(0)
    # The share of the variance that is decided below the top.
    across, up, extent = within.tolist()
    assert max(across, up) < 0.45 < 0.55 < extent
    noisy = place_and_extent(model.descend(top[:, :2], 2)[0])
    assert noisy[:, 0, 0].sub(noisy[:, 1, 0]).abs().mean() < 0.5 * noisy[:, 0, 0].std()


# The tree's levels: the top decides the cluster and leaves the place in it open.
@pytest.mark.claim("hvae.coarse-to-fine")
def test_redrawing_below_the_top_of_the_tree_keeps_the_cluster():
    model = live.tree_model()
    torch.manual_seed(5)
    x = model.descend(model.prior().sample((400,)).expand(20, -1, -1))[0]
    centre = data.tree_centres(1)[data.tree_labels(x.flatten(0, 1))[:, 0].view(20, 400)]
    within = [
        part.var(0).mean(0).sum() / part.flatten(0, 1).var(0).sum() for part in (centre, x - centre)
    ]
    assert within[0] < 0.4 < 0.6 < within[1]


# --- the encoder from the top down ----------------------------------------------------------------


# Would catch a level given the wrong neighbour, or rates of a level that is not averaged over.
@pytest.mark.claim("hvae.top-down")
def test_the_chain_from_the_top_down():
    exact = chain()
    down = exact.top_down_posterior()  # p(z_1 | x, z_2), p(z_2 | x, z_3), p(z_3 | x)
    model = TopDownHVAE(down, list(exact.decoders), StandardNormal(SIZES[-1]).double())
    trace = model.trace(X, 7)
    close(trace.log_weight, exact.log_marginal(X).expand(7, -1))
    poor = [LinearGaussianConditional(0.8 * q.weight, q.bias, 1.7 * noise(q)) for q in down]
    model = TopDownHVAE(poor, list(exact.decoders), model.prior)
    torch.manual_seed(0)
    trace = model.trace(X, 20_000)
    closed = torch.stack(
        [
            kl_divergence(q, p).expand(20_000, len(X))
            for q, p in zip(trace.q, trace.p[1:], strict=True)
        ]
    )
    assert (closed > 0).all()
    difference = trace.rates - closed
    assert (difference.mean(1).abs() < 4.5 * difference.std(1) / math.sqrt(20_000)).all()
    bound = trace.log_weight
    error = bound.std(0) / math.sqrt(20_000)
    assert (bound.mean(0) < exact.log_marginal(X) - 4 * error).all()


# Would catch a p(z_1) that has changed, or the gap of one level called that of both.
@pytest.mark.claim("hvae.top-down")
def test_a_second_level_passes_the_floor_of_one_gaussian():
    # x = |z_1| + noise at x = 1.5: the posterior of z_1 has two equal peaks, near ± 1.47.
    z, cell = grid(7.0, 1401)
    z = z[:, 0]
    seen = Normal(z.abs(), 0.15).log_prob(exactly(1.5))
    above = Normal(0.65 * z, math.sqrt(1 - 0.65**2)).log_prob(z[:, None])  # (z_1, z_2)
    log_p12 = Normal(0.0, 1.0).log_prob(z) + above
    close(log_p12.logsumexp(1)[300:-300] + cell, Normal(0.0, 1.0).log_prob(z)[300:-300], 1e-6)
    log_p1 = Normal(0.0, 1.0).log_prob(z) + seen
    log_p = log_p1.logsumexp(0) + cell
    floor, _, _ = gaussian_floor(z[:, None], (log_p1 - log_p)[:, None])
    assert abs(floor[0] - math.log(2)) < 0.01
    by_sign = Normal(1.467 * torch.where(z < 0, -1.0, 1.0), 0.148).log_prob(z[:, None])
    linear = Normal(1.467 * torch.ones_like(z), 0.148).log_prob(z[:, None])
    top = Normal(0.0, 1.2).log_prob(z)
    gaps = []
    for first in (by_sign, linear):
        log_q = first + top
        gap = log_q.exp() * (log_q - log_p12 - seen[:, None] + log_p)
        gaps.append((gap.sum() * math.exp(2 * cell)).item())
    assert gaps[0] < 0.21
    assert gaps[1] > floor[0] - 1e-3


# --- at an equal budget ---------------------------------------------------------------------------

POINTS = {
    "one": (1, (249,)),
    "two": (2, (115,)),
    "three": (3, (74,)),
    "two, deep": (2, (24,) * 2),
    "deep flat": (1, (25,) * 3),
}
"""Levels, and hidden layers of every conditional: about 3,000 parameters each."""
IMAGES = {"one": (1, (77,)), "two": (2, (56,)), "deep flat": (1, (39,) * 3)}
"""The same with about 12,900 parameters."""


def hierarchy(sizes, levels, hidden, lowest, seed):
    """Levels of these sizes; with one level and many layers a deep flat VAE."""
    torch.manual_seed(seed)
    pairs = list(pairwise(sizes[: levels + 1]))
    encoders = [GaussianConditional(mlp(below, *hidden, 2 * above)) for below, above in pairs]
    decoders = [GaussianConditional(mlp(above, *hidden, 2 * below)) for below, above in pairs[1:]]
    first = lowest(mlp(sizes[1], *hidden, sizes[0]))
    return HVAE(encoders, [first, *decoders], StandardNormal(sizes[levels]))


def of_points(levels, hidden, seed):
    sizes, lowest = (2, 2, 2, 2), lambda net: GaussianConditional(net, scale=0.1)
    return hierarchy(sizes, levels, hidden, lowest, seed)


def of_images(levels, hidden, seed):
    return hierarchy((64, 12, 8), levels, hidden, BernoulliConditional, seed)


def compare(families, build, x, test, **settings):
    """log p(x) of held-out data, a mean for each of three seeds, by family."""
    found = {}
    for name, family in families.items():
        ensemble = Ensemble([build(*family, seed) for seed in range(3)])
        torch.manual_seed(0)
        fit(ensemble, x, ensemble.objective(beta_elbo, [1.0] * 3), **settings)
        scores = [log_marginal(m, test, 200, chunk_size=100).mean() for m in ensemble.members()]
        found[name] = torch.stack(scores)
    return found


@pytest.fixture(scope="module")
def points():
    x, test = data.pinwheel(1000, seed=0), data.pinwheel(250, seed=1)
    return compare(POINTS, of_points, x, test, epochs=80, batch_size=200, lr=1e-2)


@pytest.fixture(scope="module")
def images():
    (x,), (test,) = data.split(data.binarise(data.digits()[0], seed=0))
    return compare(IMAGES, of_images, x, test, epochs=25, lr=5e-3)


@pytest.mark.parametrize(("families", "build"), [(POINTS, of_points), (IMAGES, of_images)])
def test_the_budgets_are_equal(families, build):
    models = [build(*family, 0) for family in families.values()]
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    assert max(counts) < 1.05 * min(counts)


# Would catch upper levels that do nothing for the prior of the first.
@pytest.mark.claim("hvae.observation")
def test_on_points_two_and_three_levels_do_better_than_one(points):
    for name in ("two", "three"):
        assert points[name].mean() > points["one"].mean() + 0.03
        assert (points[name] > points["one"]).sum() >= 2


@pytest.mark.claim("hvae.observation")
def test_on_small_digits_two_levels_do_not(images):
    assert (images["two"] < images["one"] + 0.5).all()


# Which of the two wins depends on the data: far ahead on digits, not on points.
@pytest.mark.claim("hvae.beats-deep-flat")
def test_against_a_deep_flat_vae(points, images):
    assert (images["two"] > images["deep flat"] + 1).all()
    for name in ("two", "three"):
        assert points[name].mean() < points["deep flat"].mean() + 0.05


# Levels and depth are two choices: deeper conditionals help a hierarchy as well.
@pytest.mark.claim("hvae.beats-deep-flat")
def test_deeper_conditionals_help_two_levels(points):
    assert points["two, deep"].mean() > points["two"].mean() + 0.05
