"""Chapter 5's checks name each catalogued mistake and accept right answers written differently."""

import math

import torch
from torch.distributions import Independent, Normal

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.exact import LinearGaussian
from companion.exercises import gaussian_vae as own
from companion.models import VAE
from companion.objectives import elbo_analytic, log_marginal

# --- the solutions against the package ------------------------------------------------------------


# Would catch a solution that is itself wrong: the check would then teach the mistake.
def test_the_elbo_solution_is_the_packages_bound():
    torch.manual_seed(0)
    model = VAE(
        GaussianConditional(mlp(7, 5, 2 * 3)),
        GaussianConditional(mlp(3, 7), scale=0.3),
        StandardNormal(3),
    ).double()
    x = torch.randn(12, 7, dtype=torch.float64)

    def encode(rows):
        return model.encoder.net(rows).chunk(2, dim=-1)

    torch.manual_seed(1)
    expected = elbo_analytic(model, x).mean()
    torch.manual_seed(1)
    eps = torch.randn(12, 3, dtype=torch.float64)
    found = own.mean_elbo.solution(
        x.split(5), eps.split(5), encode, model.decoder.net, float(model.decoder.scale)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_chunked_solution_is_the_packages_estimate():
    torch.manual_seed(0)
    model = VAE(
        GaussianConditional(mlp(7, 2 * 3)),
        GaussianConditional(mlp(3, 7), scale=0.5),
        StandardNormal(3),
    ).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    torch.manual_seed(1)
    expected = log_marginal(model, x, num_samples=11, chunk_size=4)
    torch.manual_seed(1)
    found = own.log_marginal_in_chunks.solution(lambda k: model.trace(x, k).log_weight, 11, 4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# Would catch a solution that is biased: the mean over many sets of draws is the exact gradient.
def test_the_baseline_of_the_others_leaves_no_bias_and_that_of_all_does():
    torch.manual_seed(0)
    model = LinearGaussian(torch.randn(4, 2).double(), torch.zeros(4).double(), scale=0.5)
    x, draws, sets = torch.randn(1, 4).double(), 3, 200_000
    mu, sigma = torch.tensor([0.3, -0.2]).double(), torch.tensor([0.5, 0.7]).double()
    leaf = mu.clone().requires_grad_()
    bound = model.elbo(x, Independent(Normal(leaf, sigma), 1)).sum()
    (exact,) = torch.autograd.grad(bound + 0.5 * leaf.square().sum(), leaf)
    eps = torch.randn(draws, sets, 2).double()
    values = model.likelihood(mu + sigma * eps).log_prob(x)
    found = own.leave_one_out.solution(values, eps / sigma)
    error = found.std(0) / math.sqrt(sets)
    assert ((found.mean(0) - exact).abs() < 4.5 * error).all()
    (of_all,) = [m for m in own.leave_one_out.mistakes if m.name.startswith("the mean of all")]
    biased = of_all.wrong(values, eps / sigma)
    torch.testing.assert_close(biased, found * (draws - 1) / draws)
    assert ((biased.mean(0) - exact).abs() > 10 * error).all()


# --- predictions --------------------------------------------------------------------------------


def test_predictions():
    assert own.implied_scale.verdict(5.66).startswith("✓")
    assert own.implied_scale.verdict(5.7).startswith("✓")
    assert "variance" in own.implied_scale.verdict(32)
    assert "1/(2σ²)" in own.implied_scale.verdict(8)
    assert "averaged" in own.implied_scale.verdict(1)
    assert "compare (5.4)" in own.implied_scale.verdict(0.0884)
    assert own.right_curve.verdict("b").startswith("✓")
    assert "mean over pixels" in own.right_curve.verdict("A")
    assert own.curve_of_sample.verdict("C").startswith("✓")
    assert "Does the KL then rise?" in own.curve_of_sample.verdict("B")
    assert own.learned_variance.verdict("1.2/8").startswith("✓")
    assert "S/D" in own.learned_variance.verdict(0.12)
    assert "two of them are explained" in own.learned_variance.verdict("7.2/8")
    assert "mere change" in own.weighted_variance.verdict(0.05)
    assert own.switching_weight.verdict(3.85).startswith("✓")
    assert "D − βd is zero" in own.switching_weight.verdict(5)
    assert own.switching_weight.verdict(3.8).startswith("✓")
    assert "not 0.15 any more" in own.switching_weight.verdict(13.3)
    assert "not 0.3 any more" in own.switching_weight.verdict(6.7)


# Would catch a change of the question's sizes that leaves the answers behind.
def test_the_answers_are_what_their_words_say():
    error = torch.rand(64, dtype=torch.float64)
    sigma = own.implied_scale.answer
    torch.testing.assert_close(error.square().mean(), error.square().sum() / (2 * sigma**2))


def best_variance(beta):
    """The best σ² of the exercise's linear VAE, and the number of its units in use, on a grid."""
    eigenvalue, left, pixels = torch.tensor([4.0, 2.0]).double(), 1.2, 10
    v = torch.linspace(0.01, 2, 199_001, dtype=torch.float64)[:, None]
    error = torch.minimum(eigenvalue, beta * v).sum(1) + left
    kl = (0.5 * (eigenvalue / (beta * v)).log()).clamp(min=0).sum(1)
    v = v[:, 0]
    value = -pixels / 2 * (2 * math.pi * v).log() - error / (2 * v) - beta * kl
    best = v[value.argmax()].item()
    return best, int((eigenvalue > beta * best + 1e-4).sum())


def test_the_learned_variances_maximise_the_weighted_objective():
    assert abs(best_variance(1.0)[0] - own.learned_variance.answer) < 1e-4
    assert abs(best_variance(3.0)[0] - own.weighted_variance.answer) < 1e-4
    assert best_variance(own.switching_weight.answer - 0.05)[1] == 2
    assert best_variance(own.switching_weight.answer + 0.05)[1] == 1


# --- an investigation ---------------------------------------------------------------------------

GOOD = [(1.0, 0.13, 0.132, 13.6), (3.0, 0.175, 0.177, 5.3), (9.0, 0.268, 0.267, 0.1)]


def test_the_investigation_looks_at_what_was_measured():
    assert own.learned_scale.verdict(None) == "○ Not attempted yet."
    said = own.learned_scale.verdict(GOOD)
    assert said.startswith("✓ βσ² grew from 0.017 to 0.646")
    assert "lasted to β = 3" in said
    (train,), _ = data.split(data.digits()[0])
    eigenvalue = torch.linalg.eigvalsh(torch.cov(train.double().mT))
    assert f"at β = {eigenvalue.max() / eigenvalue.mean():.1f}." in said
    for rows, hint in [
        (GOOD[:2], "at least three"),
        (GOOD[::-1], "Sort the rows"),
        ([(1.0, math.nan, 0.1, 9.0), *GOOD[1:]], "positive and finite"),
        ([(1.0, 0.3, 0.132, 13.6), *GOOD[1:]], "mean squared error"),
        ([(1.0, 0.19, 0.19, 13.6), *GOOD[1:]], "dearer code"),
        ([*GOOD[:2], (9.0, 0.268, 0.267, 2.1)], "half a nat"),
        ([(1.0, 0.13, 0.132, 0.2), *GOOD[1:]], "several nats"),
    ]:
        assert hint in own.learned_scale.verdict(rows), hint
