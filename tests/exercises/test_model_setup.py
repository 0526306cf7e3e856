"""Chapter 2's checks know what was predicted, and their solutions hold against other truths."""

import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Independent, MultivariateNormal, Normal

from companion.exact import LinearGaussian, arch
from companion.exercises import model_setup as own

PREDICTIONS = [
    own.equal_columns,
    own.peaks,
    own.single_peak,
    own.cut_prior,
    own.edge_of_rho,
    own.one_code,
    own.shared_code,
    own.shared_gap,
]


# --- the solutions against truths that do not come from this file ---------------------------------


# Would catch the two models exchanged, or a number of nats that is not theirs.
def test_ten_thousand_draws_are_too_few_for_equal_columns_and_enough_for_falling_ones():
    units = torch.arange(1, 65, dtype=torch.float64)
    nats, errors = [], []
    for lengths in (2 + 0 * units, 2 / units):
        nats.append(((1 + (lengths / 0.5) ** 2).log() / 2).sum().item())
        torch.manual_seed(0)
        model = LinearGaussian(lengths.diag(), torch.zeros(64).double(), scale=0.5)
        x, z = model.marginal().sample((5,)), model.prior().sample((10_000,))
        log_p = torch.stack([model.likelihood(z).log_prob(one) for one in x], 1)
        errors.append(log_p.logsumexp(0) - math.log(10_000) - model.log_marginal(x))
    assert nats == [pytest.approx(90.66, abs=0.005), pytest.approx(4.547, abs=0.0005)]
    assert 41 < 2 + nats[0] / math.log(10) < 42
    assert errors[0].max() < -50
    assert errors[1].mean().abs() < 0.5
    assert own.equal_columns.answer == "too low"


# Would catch a slip in the completed square: here the integral is taken as it stands.
@pytest.mark.parametrize(("mean", "scale"), [(1.0, 0.5), (-0.7, 1.2), (0.3, 0.9)])
def test_the_cost_of_a_gaussian_is_its_integral(mean, scale):
    def log_ratio(z):
        return stats.norm.logpdf(z, mean, scale) - stats.norm.logpdf(z)

    def average(value):
        def term(z):
            return math.exp(stats.norm.logpdf(z, mean, scale) + value(z))

        return term

    def nats(z):
        return stats.norm.pdf(z, mean, scale) * log_ratio(z)

    edges = {"limit": 400, "points": [mean], "epsabs": 1e-11}
    rho, _ = integrate.quad(average(log_ratio), -36, 36, **edges)
    kl, _ = integrate.quad(nats, -12, 12, **edges)
    ours = own.kl_and_log_rho.solution(*torch.tensor([[mean], [scale]], dtype=torch.float64))
    assert ours[0].item() == pytest.approx(kl, abs=1e-8)
    assert ours[1].item() == pytest.approx(math.log(rho), abs=1e-8)


def test_the_numbers_that_the_exercise_gives_away():
    kl, log_rho = own.kl_and_log_rho.solution(*torch.tensor([[1.0], [0.5]], dtype=torch.float64))
    assert kl.item() == pytest.approx(0.818, abs=5e-4)
    assert log_rho.item() == pytest.approx(0.985, abs=5e-4)


# Would catch a solution that is itself biased: the check would then teach the mistake.
def test_the_estimate_is_the_log_marginal_for_many_draws():
    torch.manual_seed(0)
    model = own._model(5, 2)
    x = model.marginal().sample((3,))
    q = Independent(Normal(model.posterior(x).mean + 0.2, 0.5 * torch.ones(3, 2).double()), 1)
    z = q.sample((100_000,))
    weights = own._log_weight(model, x, q, z).exp()
    error = own.estimate_from_q.solution(model, x, q, z) - model.log_marginal(x)
    standard_error = weights.std(0) / weights.mean(0) / math.sqrt(len(z))
    assert (error.abs() < 4 * standard_error).all()
    assert standard_error.max() < 0.05


# The explorer's case c = 1: each draw from the posterior has the same weight, p(x).
def test_draws_from_the_posterior_need_no_luck():
    torch.manual_seed(1)
    model = own._model(6, 3)
    x = model.marginal().sample((4,))
    q = model.posterior(x)
    estimate = own.estimate_from_q.solution(model, x, q, q.sample((2,)))
    torch.testing.assert_close(estimate, model.log_marginal(x), rtol=1e-9, atol=1e-9)


def test_the_grid_solution_is_a_known_density():
    grid = torch.arange(-8, 8, 0.01, dtype=torch.float64)
    exact = MultivariateNormal(torch.tensor([0.7]).double(), torch.tensor([[0.25]]).double())
    density = own.posterior_on_grid.solution(exact.log_prob(grid[:, None])[:, None] - 900, 0.01)
    torch.testing.assert_close(density[:, 0], exact.log_prob(grid[:, None]).exp())


# --- tables whose guides lie far apart -----------------------------------------------------------


# Would catch a solution that fails one of the two conditions: the verdicts compare with it.
@pytest.mark.parametrize("target", [100.0, 1e4, 1e6])
def test_the_solution_is_what_the_exercise_asks_for(target):
    prior, likelihood = own.far_apart.solution(target)
    posterior = prior * likelihood / (prior * likelihood).sum()
    assert (posterior**2 / prior).sum() > target
    assert (posterior * (posterior / prior).log()).sum().exp() < 2
    assert prior.sum().item() == pytest.approx(1)
    assert likelihood.max() <= 1


def test_tables_that_are_none_are_named():
    half = torch.tensor([0.5, 0.5])
    for wrong, said in [
        (half, "vectors"),
        ((half, half, half), "two vectors"),
        ((half, torch.ones(3)), "one length"),
        ((2 * half, half), "sum to one"),
        ((half, 4 * half), "a probability of this x"),
        ((half, 0 * half), "a probability of this x"),
    ]:
        assert said in own.far_apart.verdict(lambda target, wrong=wrong: wrong)


def test_one_table_does_not_reach_every_target():
    table = own.far_apart.solution(100.0)
    assert own.far_apart.verdict(lambda target: table).startswith("✗")


# The verdict says how far off the table is, not what yes and no differ by.
def test_a_table_that_meets_neither_condition_is_told_its_numbers():
    table = torch.tensor([0.99, 0.01]), torch.tensor([0.01, 1.0])
    said = own.far_apart.verdict(lambda target: table)
    posterior = [0.0099 / 0.0199, 0.01 / 0.0199]
    rho = posterior[0] ** 2 / 0.99 + posterior[1] ** 2 / 0.01
    assert f"✗ Your table has ρ = {rho:.4g}, not above the target 100" in said


def test_a_posterior_that_does_not_shrink_is_named():
    said = own.far_apart.verdict(lambda target: own._two_codes(0.09, 0.00405 / target))
    assert "passes 2 when the target is large" in said


def test_the_kl_returned_twice_is_named():
    said = own.kl_and_log_rho.verdict(
        lambda mean, scale: (own._kl_and_log_rho(mean, scale)[0],) * 2
    )
    assert "log ρ equal to the KL" in said


# --- predictions --------------------------------------------------------------------------------


def test_predictions():
    assert own.peaks.verdict(2).startswith("✓")
    assert "stretches" in own.peaks.verdict(1)
    assert own.single_peak.verdict(0.55).startswith("✓")
    assert "three peaks" in own.single_peak.verdict(0.5)
    assert "last place" in own.single_peak.verdict(0.45)
    assert own.cut_prior.verdict(20).startswith("✓")
    for answer in (3, 2.996, math.log(20)):
        assert "not of its logarithm" in own.cut_prior.verdict(answer)
    assert "ρ itself" in own.cut_prior.verdict(19)
    assert own.edge_of_rho.verdict(1.41).startswith("✓")
    assert own.edge_of_rho.verdict("1.414").startswith("✓")
    assert "variance" in own.edge_of_rho.verdict(2)
    assert "solve it for s" in own.edge_of_rho.verdict("1/2")
    assert own.one_code.verdict(0.56).startswith("✓")
    assert "from the prior" in own.one_code.verdict(1.39)
    assert own.shared_code.verdict("1").startswith("✓")
    assert "black alone" in own.shared_code.verdict(4)
    for answer in (0.485, 0.49):
        assert own.shared_gap.verdict(answer).startswith("✓")
    for answer, said in [(1.386, "what black pays"), (0.92, "whole gap"), (0.7, "in bits")]:
        assert said in own.shared_gap.verdict(answer)


# Would catch a place off the reader's steps, or a hint that tells another count of peaks.
def test_the_peaks_of_the_arch_become_one_where_the_exercise_says():
    z = torch.linspace(-5, 5, 20_001).double()[:, None]

    def count(x_2, scale):
        model = arch(scale=scale)
        with torch.no_grad():
            log_p = model.decoder(z).log_prob(torch.tensor([0.0, x_2]).double())
            rising = (log_p + model.prior().log_prob(z)).diff() > 0
        return int((rising[:-1] & ~rising[1:]).sum())

    assert [count(x_2, 0.4) for x_2 in (-1.0, 0.45, 0.5, 0.55)] == [own.peaks.answer, 2, 3, 1]
    assert own.single_peak.answer == 0.55
    assert [count(x_2, 0.6) for x_2 in (0.35, 0.4)] == [3, 1]


# ρ of a Gaussian posterior, by plain sums on wider and wider grids: it settles below √2 alone.
def test_rho_is_infinite_from_the_predicted_edge_on():
    def on_grid(scale, bound):
        z = torch.linspace(-bound, bound, 20_001).double()
        exponent = 2 * Normal(0.5, scale).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
        return exponent.exp().sum() * 2 * bound / 20_000

    edge = own.edge_of_rho.answer
    below, above = edge - 0.05, edge + 0.05
    assert on_grid(below, 40) == pytest.approx(on_grid(below, 20).item(), rel=1e-3)
    assert on_grid(above, 40) > 10 * on_grid(above, 20)


def test_the_cut_prior_is_what_its_words_say():
    prior = torch.full((40,), 1 / 40).double()
    posterior = torch.tensor([0.5, 0.5]).double()
    rho = (posterior**2 / prior[:2]).sum().item()
    assert rho == pytest.approx(own.cut_prior.answer)
    assert math.exp((posterior * (posterior / prior[:2]).log()).sum()) == pytest.approx(rho)


# Each part of the gap by the chapter's own definition: a largest score, and what falls short of it.
def test_the_gaps_of_one_code_are_scores_that_fall_short():
    prior, black = torch.tensor([0.5, 0.25, 0.25]).double(), torch.tensor([0.1, 0.8, 0.4]).double()
    joint = prior[:, None] * torch.stack([black, 1 - black], 1)  # codes, colours
    evidence = joint.sum(0)
    score = joint.log()  # all mass on one code has no entropy
    floor = evidence.log() - score.max(0).values
    assert floor[0].item() == pytest.approx(own.one_code.answer)
    mean_score = (score * evidence).sum(1)
    best = mean_score.argmax()
    assert (1, 4, 7)[best] == own.shared_code.answer
    shared = ((score.max(0).values - score[best]) * evidence).sum()
    assert shared.item() == pytest.approx(own.shared_gap.answer)
    mean_gap = (evidence * evidence.log()).sum() - mean_score
    for gap in mean_gap:
        assert f"{gap:.2f}" in own.shared_code.because
