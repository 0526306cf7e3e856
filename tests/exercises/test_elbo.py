"""Chapter 3's checks know what was predicted, and their solutions hold against other truths."""

import torch
from torch.distributions import Categorical, kl_divergence

from companion.exercises import elbo as own

PREDICTIONS = [
    own.constant_weights,
    own.posterior_deviation,
    own.best_width,
    own.em_by_pencil,
]


# --- predictions ----------------------------------------------------------------------------------


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
    assert "log p(x) of the part" in own.constant_weights.verdict(0)
    assert "above log p(x)" in own.constant_weights.verdict(-1.39)
    assert "in bits" in own.constant_weights.verdict(2)
    assert "two peaks" in own.constant_weights.verdict(0.69)
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
