"""Chapter 3's checks know what was predicted, and their solutions hold against other truths."""

import math

import pytest
import torch
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence

from companion.data import digits
from companion.exact import DiscreteModel, optimal_linear_vae
from companion.exercises import elbo as own

PREDICTIONS = [
    own.same_weights,
    own.price_of_a_nat,
    own.silent_from,
    own.cured_by_samples,
    own.constant_weights,
    own.posterior_deviation,
    own.best_width,
    own.em_by_pencil,
    own.bound_from_above,
]


# --- predictions ----------------------------------------------------------------------------------


# Along the exact curve of figure 3.10, by differences; and where its rate ends.
def test_what_a_nat_buys_and_where_the_code_falls_silent():
    x = digits()[0].double()

    def rate_and_distortion(beta):
        model, encoder = optimal_linear_vae(x, 16, scale=0.15, beta=beta)
        q, prior = encoder(x), MultivariateNormal(torch.zeros(16).double(), torch.eye(16).double())
        rate = kl_divergence(q, prior).mean()
        return rate, -(model.elbo(x, q).mean() + rate)

    (rate, distortion), (less, more) = rate_and_distortion(0.999), rate_and_distortion(1.001)
    price = (more - distortion) / (rate - less)
    assert own.price_of_a_nat.verdict(round(price.item(), 3)).startswith("✓")
    last = own.silent_from.answer
    assert rate_and_distortion(last - 0.1)[0] > 1e-6
    assert rate_and_distortion(last + 0.1)[0] < 1e-9
    for said in (0.7 / 0.15**2, 31, round(last, 2)):
        assert own.silent_from.verdict(said).startswith("✓")
    assert "with its square" in own.silent_from.verdict(0.7 / 0.15)
    assert "rate at β = 1" in own.silent_from.verdict(1.72)
    assert "upside down" in own.silent_from.verdict(0.0322)
    assert "slider stands" in own.price_of_a_nat.verdict(2)
    assert "slope of the curve" in own.price_of_a_nat.verdict(-1)


# The model of figure 3.11, z ~ N(0, 1), x | z ~ N(z, 0.8²) at x = 1.6: what K = 100 leave of a gap.
def test_samples_cure_a_wide_q():
    torch.manual_seed(0)
    log_p = Normal(0.0, 1.64**0.5).log_prob(torch.tensor(1.6))

    def left(scale):
        q = Normal(0.0, scale)
        z = q.sample((100, 4000))
        log_w = Normal(z, 0.8).log_prob(torch.tensor(1.6)) + Normal(0.0, 1.0).log_prob(z)
        bound = (log_w - q.log_prob(z)).logsumexp(0).mean() - math.log(100)
        return (log_p - bound).item()

    # The two that the text compares start equally low: both gaps in closed form.
    mean, scale = 1.6 / 1.64, 0.64**0.5 / 1.64**0.5
    posterior = Normal(torch.tensor(mean), scale)
    start = [kl_divergence(Normal(0.0, s), posterior).item() for s in (0.3, 1.0)]
    assert start == pytest.approx([1.57, 1.53], abs=0.005)
    assert 0 < left(1.0) < 0.03 < 0.65 < left(0.3) < 0.72
    assert 0 < left(2.0) < 0.03
    assert own.cured_by_samples.verdict("wide").startswith("✓")
    assert "which green line" in own.cured_by_samples.verdict("narrow")
    assert "still 0.7 nats away" in own.cured_by_samples.verdict("both alike")


# Of the three q of section 3.3, by hand: the weights that they draw, and the gaps.
def test_two_of_three_q_have_constant_weights():
    joint = torch.tensor([0.05, 0.15, 0.18], dtype=torch.float64)
    cut = torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64)
    spread, gap = {}, {}
    for name, q in [
        ("posterior", joint / 0.38),
        ("poor", torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)),
        ("cut", cut),
    ]:
        log_w = (joint / q)[q > 0].log()
        spread[name] = (log_w.max() - log_w.min()).item()
        gap[name] = (math.log(0.38) - q[q > 0] @ log_w).item()
    assert spread == pytest.approx({"posterior": 0, "poor": 3.07, "cut": 0}, abs=0.005)
    assert gap == pytest.approx({"posterior": 0, "poor": 0.673, "cut": 0.642}, abs=0.0005)
    assert own.same_weights.verdict("the posterior and the cut one").startswith("✓")
    assert "0.083, 0.5 and 1.8" in own.same_weights.verdict("all")
    assert "z = 0 and z = 1" in own.same_weights.verdict("the posterior")


# The chapter's three codes; the other side of the gap identity, by the package.
def test_the_average_under_the_posterior_is_a_bound_from_above():
    given = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    model = DiscreteModel(prior, torch.stack([given, 1 - given], 1))
    q = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).expand(2, 3)
    log_w = model.log_joint() - q.log()
    posterior, log_p, below = model.posterior(), model.log_marginal()[0], model.elbo(q)[0]
    above = (posterior * log_w).sum(1)[0]
    divergence = kl_divergence(Categorical(posterior), Categorical(q))[0]
    assert abs(above - log_p - divergence) < 1e-12
    assert below < log_p < above
    assert abs(above - below - divergence - model.gap(q)[0]) < 1e-12
    for said in (above.item(), round(above.item(), 2)):
        assert own.bound_from_above.verdict(said).startswith("✓")
    joint = model.log_joint()[0].exp()
    for value, says in (
        (below.item(), "the ELBO"),
        (log_p.item(), "average weight"),
        ((above - log_p).item(), "add log p(x)"),
        ((above - below).item(), "the two bounds"),
        ((joint * log_w[0]).sum().item(), "divide by p(x)"),
        ((prior * log_w[0]).sum().item(), "under the prior"),
        (log_w[0].mean().item(), "plain mean"),
    ):
        assert says in own.bound_from_above.verdict(value)


# Would catch a right number that does not belong to the question's model: x | z ~ N(z², 0.05²) in
# each of two units, x = 1. The units are independent, so the gap is twice that of one.
def test_constant_weights():
    z = torch.linspace(-2, 2, 160_001).double()
    log_posterior = (-0.5 * z.square() - 0.5 * ((1 - z.square()) / 0.05).square()).log_softmax(0)

    def gap_and_scatter(mean, scale):
        log_q = (-0.5 * ((z - mean) / scale).square()).log_softmax(0)
        log_w, q = log_posterior - log_q, log_q.exp()
        bound = (q * log_w).sum()
        return -2 * bound.item(), (2 * (q * (log_w - bound).square()).sum()).sqrt().item()

    tries = [(0.99 + m / 1000, s / 1000) for m in range(21) for s in range(22, 29)]
    gap, scatter = min(gap_and_scatter(*q) for q in tries)
    assert round(gap, 2) == 1.39
    assert abs(scatter - 0.045) < 0.01
    assert own.constant_weights.verdict(round(gap, 2)).startswith("✓")
    assert own.constant_weights.verdict(gap).startswith("✓")
    assert "that you never draw" in own.constant_weights.verdict(0)
    assert "above log p(x)" in own.constant_weights.verdict(-1.39)
    assert "in bits" in own.constant_weights.verdict(2)
    assert "two peaks" in own.constant_weights.verdict(0.69)
    assert "three of how many" in own.constant_weights.verdict(1.1)
    assert "its logarithm" in own.constant_weights.verdict(4)
    assert "where does the logarithm go" in own.constant_weights.verdict(0.25)
    assert "the scatter" in own.constant_weights.verdict(0.05)
    assert "Not 17" in own.constant_weights.verdict(17)


# The chapter's model: z ~ N(0, 1), x | z ~ N(z + z², 0.8²), at x = 2.5.
def test_the_best_gaussian_is_narrower_than_the_posterior():
    z = torch.linspace(-8, 8, 4001).double()
    log_joint = -0.5 * z.square() - 0.5 * ((2.5 - z - z.square()) / 0.8).square()
    posterior = log_joint.softmax(0)
    mean = (posterior * z).sum()
    deviation = (posterior * (z - mean).square()).sum().sqrt()

    def gap(mean, scale):
        q = (-0.5 * ((z - mean) / scale).square()).softmax(0)
        return kl_divergence(Categorical(q), Categorical(posterior)).item()

    gaps = {(m / 20, s / 20): gap(m / 20, s / 20) for m in range(-50, 31) for s in range(3, 31)}
    assert min(gaps, key=gaps.__getitem__)[1] < 0.6 * deviation
    assert own.posterior_deviation.verdict(deviation.item()).startswith("✓")
    assert abs(deviation - 1.18) < 0.01
    right, left = z > -0.5, z <= -0.5  # the two peaks, as the reason names them
    share = posterior[right].sum()
    apart = (posterior * z)[right].sum() / share - (posterior * z)[left].sum() / (1 - share)
    assert abs(share - 0.81) < 0.005
    assert abs(apart - 2.94) < 0.005
    assert abs(deviation**2 - share * (1 - share) * apart**2 - 0.09) < 0.005
    # The variance is not taken for the deviation.
    assert "taken its root" in own.posterior_deviation.verdict((deviation**2).item())
    assert "within one peak" in own.posterior_deviation.verdict(0.29)
    assert "weigh it" in own.posterior_deviation.verdict(2.94)
    assert "height times its width" in own.posterior_deviation.verdict(17)
    assert own.best_width.verdict("Narrower").startswith("✓")
    assert "nearly zero" in own.best_width.verdict("wider")
    assert "moments" in own.best_width.verdict("equal")


# The model x | z ~ N(φz, 1) at φ = 1 and x = 2: the ELBO's top, found by a fine search.
def test_a_round_of_em_by_pencil():
    z = torch.linspace(-9, 11, 8001).double()
    q = (-0.5 * z.square() - 0.5 * (2 - z).square()).softmax(0)
    phis = torch.linspace(0, 3, 3001).double()
    tops = -0.5 * (q * (2 - phis[:, None] * z).square()).sum(1)
    best = phis[tops.argmax()].item()
    assert own.em_by_pencil.verdict(round(best, 2)).startswith("✓")
    assert "spread of q" in own.em_by_pencil.verdict(2)
    assert "where EM ends" in own.em_by_pencil.verdict(1.732)
    assert "turns the decoder round" in own.em_by_pencil.verdict(2 * 2 / (2**2 + 0.5))
    assert "not plus the variance²" in own.em_by_pencil.verdict(2 / (1 + 0.5**2))
    # Rounds end where they stand still, at φ² = mean of x² less 1, or at 0.
    x = torch.tensor([2.0, -1.5, 0.5]).double()
    phi = torch.tensor(0.3).double()
    for _ in range(300):
        phi = own.em_round.solution(phi, x)
    assert abs(phi**2 - (x.square().mean() - 1)) < 1e-9


# Would catch an inspection that lets an honest q pass, or none.
def test_a_test_is_deceived():
    lower_peak = (0.6, 2.6, -2.7, 0.34)
    scatter, gap = own._scatter_and_gap(*lower_peak)
    assert scatter < 0.25
    assert 3.2 < gap < 3.4
    assert own.deceiving_q.verdict(*lower_peak).startswith("✓ Deceived.")
    assert "covers most" in own.deceiving_q.verdict(0.6, 2.6, 1.2, 0.3)
    # Nearly there: this q misses 89 % of the posterior, and its draws look alike.
    nearly = (0.75, 2.0, -2.2, 0.3)
    scatter, gap = own._scatter_and_gap(*nearly)
    assert scatter < 0.4
    assert 2.1 < gap < 2.3
    assert "the peak under q smaller" in own.deceiving_q.verdict(*nearly)
    assert "scatter of log w is above" in own.deceiving_q.verdict(0.6, 2.6, -2.7, 0.8)
    assert "outside figure 3.1" in own.deceiving_q.verdict(2, 2.6, -2.7, 0.34)
    assert "Not attempted" in own.deceiving_q.verdict(None, None, None, None)
    # The scatter and the gap of a q that is the posterior, with a straight decoder.
    exact = (0.0, 1.0, 1 / 1.64, (0.64 / 1.64) ** 0.5)
    assert max(map(abs, own._scatter_and_gap(*exact))) < 1e-6
