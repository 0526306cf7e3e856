"""The linear Gaussian hierarchy, against densities, samples and formulas written another way."""

from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from toys import linear_gaussian, normal

from companion import LinearGaussianConditional, elbo, iwae_bound
from companion.exact import Blocks, LinearGaussian, LinearGaussianChain, chain_joint

SIZES = (5, 4, 3, 2)
"""Of x, z_1, z_2, z_3: pairwise distinct."""
POINTS, DRAWS = 6, 100_000
X = normal(POINTS, SIZES[0], seed=31)
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def conditional(out: int, size: int, seed: int, *, spread: float = 0.3):
    root = 0.4 * normal(out, out, seed=seed)
    covariance = root @ root.mT + spread * torch.eye(out).double()
    weight = 0.6 * normal(out, size, seed=seed + 1)
    return LinearGaussianConditional(weight, normal(out, seed=seed + 2), covariance)


def chain() -> LinearGaussianChain:
    pairs = pairwise(SIZES)
    return LinearGaussianChain([conditional(a, b, 10 * i) for i, (a, b) in enumerate(pairs)])


def poor_encoders(seed: int = 100) -> list[LinearGaussianConditional]:
    pairs = pairwise(SIZES)
    return [conditional(b, a, seed + 10 * i) for i, (a, b) in enumerate(pairs)]


ENCODERS = {"exact": lambda: chain().posterior(), "poor": poor_encoders}


def test_joint_density_is_the_product_of_the_conditionals():
    # The conditionals' log_prob at any point against one Gaussian of all levels.
    exact = chain()
    z = [normal(POINTS, size, seed=40 + i) for i, size in enumerate(SIZES)]
    product = exact.hvae().prior().log_prob(z[-1])
    for level, decoder in enumerate(exact.decoders):
        product = product + decoder(z[level + 1]).log_prob(z[level])
    joint = exact.joint().marginal().log_prob(torch.cat(z, -1))
    torch.testing.assert_close(joint, product, **CLOSE)


def test_one_level_is_the_linear_gaussian_model():
    flat = linear_gaussian(3)
    noise = flat.scale**2 * torch.eye(len(flat.bias)).double()
    exact = LinearGaussianChain([LinearGaussianConditional(flat.weight, flat.bias, noise)])
    x = normal(POINTS, len(flat.bias), seed=1)
    torch.testing.assert_close(exact.log_marginal(x), flat.log_marginal(x), **CLOSE)
    (q,) = exact.posterior()
    torch.testing.assert_close(q(x).mean, flat.posterior(x).mean, **CLOSE)
    assert isinstance(flat, LinearGaussian)


def test_exact_encoder_makes_every_weight_the_marginal():
    # Catches: levels in the wrong order, one density dropped, a posterior of the wrong neighbour.
    exact = chain()
    hvae, truth = exact.hvae(), exact.log_marginal(X)
    weights = hvae.trace(X, 7).log_weight
    torch.testing.assert_close(weights, truth.expand(7, -1), **CLOSE)
    torch.testing.assert_close(elbo(hvae, X), truth, **CLOSE)
    torch.testing.assert_close(iwae_bound(hvae, X, 3), truth, **CLOSE)
    bound = exact.reconstruction(X, exact.posterior()) - exact.rates(X, exact.posterior()).sum(0)
    torch.testing.assert_close(bound, truth, **CLOSE)


@pytest.mark.parametrize("encoders", ENCODERS)
def test_rates_and_reconstruction_are_those_of_the_trace(encoders):
    # 100,000 draws, four standard errors, level by level.
    exact, q = chain(), ENCODERS[encoders]()
    torch.manual_seed(0)
    trace = exact.hvae(q).trace(X, DRAWS)
    for drawn, known in (
        (trace.rates, exact.rates(X, q)),
        (trace.reconstruction[None], exact.reconstruction(X, q)[None]),
    ):
        error = drawn.std(1) / DRAWS**0.5
        assert ((drawn.mean(1) - known).abs() < 4 * error + 1e-12).all()


@pytest.mark.parametrize("encoders", ENCODERS)
def test_elbo_is_log_marginal_less_the_kl_to_the_posterior(encoders):
    # The gap from torch's KL of two joint Gaussians over z_1 … z_3.
    exact, q = chain(), ENCODERS[encoders]()
    bound = exact.reconstruction(X, q) - exact.rates(X, q).sum(0)
    for x, log_marginal, value in zip(X, exact.log_marginal(X), bound, strict=True):
        joints = [
            chain_joint(steps[0](x), steps[1:]).marginal() for steps in (q, exact.posterior())
        ]
        torch.testing.assert_close(log_marginal - value, kl_divergence(*joints), **CLOSE)


@pytest.mark.parametrize("encoders", ENCODERS)
def test_a_law_of_x_gives_the_average_over_points(encoders):
    exact, q = chain(), ENCODERS[encoders]()
    mean, covariance = X.mean(0), torch.cov(X.mT, correction=0)
    law = MultivariateNormal(mean, covariance)
    for of in (exact.rates, exact.closed_form_rates, exact.reconstruction):
        torch.testing.assert_close(of(law, q), of(X, q).mean(-1), **CLOSE)


@pytest.mark.parametrize("encoders", ENCODERS)
def test_closed_form_rates_are_the_mean_kl_at_sampled_neighbours(encoders):
    exact, q = chain(), ENCODERS[encoders]()
    torch.manual_seed(0)
    trace = exact.hvae(q).trace(X, 20_000)
    prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    for level, known in enumerate(exact.closed_form_rates(X, q)):
        below, above = (
            d.expand((20_000, POINTS)) for d in (trace.q[level], [*trace.p[1:-1], prior][level])
        )
        drawn = kl_divergence(below, above)
        error = drawn.std(0) / 20_000**0.5
        assert ((drawn.mean(0) - known).abs() < 4 * error + 1e-10).all()


def test_the_two_rates_differ_by_the_covariance_of_neighbours():
    # tr(Σ⁻¹ A Cov_q(z_{l+1}, z_l | z_{l−1})) at inner levels, nothing at the top.
    exact = chain()
    for q in (exact.posterior(), poor_encoders(), poor_encoders(300)):
        difference = exact.closed_form_rates(X, q) - exact.rates(X, q)
        for level in (0, 1):
            decoder = exact.decoders[level + 1]
            precision = torch.cholesky_inverse(decoder.scale_tril)
            noise = q[level].scale_tril @ q[level].scale_tril.mT
            neighbours = q[level + 1].weight @ noise
            expected = (precision @ decoder.weight @ neighbours).trace()
            torch.testing.assert_close(difference[level], expected.expand(POINTS), **CLOSE)
        torch.testing.assert_close(difference[2], torch.zeros(POINTS).double(), **CLOSE)


def test_posterior_of_the_chain_is_markov():
    # Given z_1, x says nothing more of z_2: its weight in p(z_2 | z_1, x) is zero.
    given_both = chain().joint().conditional(2, [1, 0])
    assert given_both.weight[:, : SIZES[1]].abs().max() > 0.1
    torch.testing.assert_close(
        given_both.weight[:, SIZES[1] :], torch.zeros(SIZES[2], SIZES[0]).double(), **CLOSE
    )


def test_samples_have_the_marginal_law():
    exact = chain()
    torch.manual_seed(0)
    x, law = exact.hvae().sample(DRAWS), exact.joint().marginal(0)
    white = torch.linalg.solve_triangular(law.scale_tril, (x - law.mean).mT, upper=False)
    assert (white.mean(1).abs() < 5 / DRAWS**0.5).all()
    second = white @ white.mT / DRAWS
    assert ((second - torch.eye(SIZES[0])).abs() < 5 * (2 / DRAWS) ** 0.5).all()


def test_mutual_information_is_a_kl_of_joint_and_product():
    joint = chain().joint()
    one, other = joint.marginal(1), joint.marginal(3)
    pair = joint.marginal(1, 3)
    product = MultivariateNormal(
        pair.mean, torch.block_diag(one.covariance_matrix, other.covariance_matrix)
    )
    torch.testing.assert_close(
        joint.mutual_information([1], [3]), kl_divergence(pair, product), **CLOSE
    )


def test_conditional_of_blocks_satisfies_bayes():
    joint = chain().joint()
    a, b = normal(POINTS, SIZES[2], seed=1), normal(POINTS, SIZES[0], seed=2)
    whole = joint.marginal(2, 0).log_prob(torch.cat([a, b], -1))
    parts = joint.conditional(2, [0])(b).log_prob(a) + joint.marginal(0).log_prob(b)
    torch.testing.assert_close(whole, parts, **CLOSE)


def test_blocks_that_do_not_exist():
    # Catches: a negative number that counts from the end, and blocks that leave a part out.
    joint = chain().joint()
    for block in (4, -1):
        for ask in (joint.marginal, joint.place, lambda b: joint.between(0, b)):
            with pytest.raises(ValueError, match="block"):
                ask(block)
    for sizes in ([1, 1], [2, 2]):
        with pytest.raises(ValueError, match="sizes"):
            Blocks(torch.zeros(3), torch.eye(3), sizes)


def test_chains_that_do_not_fit():
    # Nothing but the constructor checks; what torch says of the rest is an error all the same.
    exact = chain()
    for call in (
        lambda: LinearGaussianChain([]).joint(),
        lambda: LinearGaussianChain([exact.decoders[0], exact.decoders[2]]).joint(),
        lambda: LinearGaussianChain(exact.decoders[::-1]).joint(),
        lambda: exact.rates(X, exact.posterior()[:2]),
        lambda: exact.rates(X, exact.posterior()[::-1]),
        lambda: exact.rates(X[:, :4], exact.posterior()),
        lambda: exact.log_marginal(X[:, :4]),
        lambda: chain_joint(exact.joint().marginal(0), exact.decoders),
    ):
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            call()
