"""Chapter 2's checks know what was predicted, and their solutions hold against other truths."""

import math
from itertools import pairwise

import torch
from torch.distributions import MultivariateNormal

from companion.exercises import model_setup as own

PREDICTIONS = [own.naive_error, own.budget, own.peaks]


# --- the solutions against truths that do not come from this file ---------------------------------


# Would catch a solution that is itself biased: the check would then teach the mistake.
def test_the_naive_solution_is_the_log_marginal_for_many_draws():
    torch.manual_seed(0)
    model = own._model(5, 2)
    x = model.marginal().sample((3,))
    z = model.prior().sample((200_000,))
    weights = model.likelihood(z[:, None]).log_prob(x).exp()
    error = own.naive_log_marginal.solution(model, x, z) - model.log_marginal(x)
    standard_error = weights.std(0) / weights.mean(0) / math.sqrt(len(z))
    assert (error.abs() < 4 * standard_error).all()
    assert standard_error.max() < 0.05


def test_the_linear_solution_is_the_packages_posterior():
    torch.manual_seed(1)
    model = own._model(5, 3)
    x = model.marginal().sample((4,))
    mean, covariance = own.linear_posterior.solution(model.weight, model.bias, model.scale, x)
    exact = model.posterior(x)
    torch.testing.assert_close(mean, exact.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(covariance, exact.covariance_matrix[0], rtol=1e-12, atol=1e-12)


def test_the_grid_solution_is_a_known_density():
    grid = torch.arange(-8, 8, 0.01, dtype=torch.float64)
    exact = MultivariateNormal(torch.tensor([0.7]).double(), torch.tensor([[0.25]]).double())
    density = own.posterior_on_grid.solution(exact.log_prob(grid[:, None])[:, None] - 900, 0.01)
    torch.testing.assert_close(density[:, 0], exact.log_prob(grid[:, None]).exp())


# --- predictions --------------------------------------------------------------------------------


def test_predictions():
    assert own.naive_error.verdict("Low").startswith("✓")
    assert "missing" in own.naive_error.verdict("high")
    assert "logarithm" in own.naive_error.verdict("right")
    assert own.peaks.verdict(2).startswith("✓")
    assert "stretches" in own.peaks.verdict(1)
    assert own.budget.verdict(5).startswith("✓")
    assert "round down" in own.budget.verdict(6)
    assert "multiplies" in own.budget.verdict(2083)


# Would catch a change of the chapter's model that leaves the prediction behind.
def test_the_budget_is_what_its_words_say():
    needed = [100 * 4.8**d for d in range(1, 8)]
    assert max(d for d, k in enumerate(needed, 1) if k <= 1e6) == own.budget.answer
    assert all(after > before for before, after in pairwise(needed))
