"""Chapter 2's checks name each catalogued mistake and accept right answers written differently."""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from companion import exercises
from companion.exercises import model_setup as own

FUNCTIONS = [
    own.naive_log_marginal,
    own.ancestral_sample,
    own.posterior_on_grid,
    own.linear_posterior,
]
PREDICTIONS = [own.naive_error, own.budget, own.peaks]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(2).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently ---------------------------------------------------------


def naive_with_a_loop(model, x, z):
    values = []
    for point in x:
        log_p = torch.stack(
            [Normal(model.likelihood(v).mean, 0.6).log_prob(point).sum() for v in z]
        )
        top = log_p.max()
        values.append(top + (log_p - top).exp().mean().log())
    return torch.stack(values)


def naive_with_a_matrix(model, x, z):
    distance = torch.cdist(x, z @ model.weight.mT + model.bias).square()
    log_p = -distance / (2 * model.scale**2)
    log_p = log_p - x.shape[1] * math.log(model.scale * math.sqrt(2 * math.pi))
    return torch.logsumexp(log_p - math.log(len(z)), dim=1)


def ancestral_by_hand(model, num_samples):
    # The noise on x is drawn before z, so the draws differ from the solution's, the law does not.
    noise = torch.randn(num_samples, len(model.bias), dtype=torch.float64)
    z = torch.randn(num_samples, model.weight.shape[1], dtype=torch.float64)
    return z @ model.weight.mT + model.bias + model.scale * noise


def ancestral_in_two_halves(model, num_samples):
    halves = [num_samples // 2, num_samples - num_samples // 2]
    return torch.cat([own.ancestral_sample.solution(model, half) for half in halves])


def draws_of_the_marginal(model, num_samples):
    return model.marginal().sample((num_samples,))


def grid_by_softmax(log_joint, step):
    return torch.softmax(log_joint, dim=0) / step


def grid_column_by_column(log_joint, step):
    columns = []
    for column in log_joint.mT:
        density = torch.exp(column - column.max())
        columns.append(density / (density.sum() * step))
    return torch.stack(columns, dim=1)


def posterior_by_solving(weight, bias, scale, x):
    precision = (scale**2 * torch.eye(weight.shape[1]) + weight.T @ weight) / scale**2
    mean = torch.linalg.solve(precision, weight.T @ (x - bias).T / scale**2).T
    return mean, torch.linalg.inv(precision)


def posterior_by_conditioning(weight, bias, scale, x):
    # Condition the joint Gaussian of z and x on x.
    marginal = weight @ weight.T + scale**2 * torch.eye(len(bias))
    gain = torch.linalg.solve(marginal, weight).T
    return (x - bias) @ gain.T, torch.eye(weight.shape[1]) - gain @ weight


RIGHT = [
    (own.naive_log_marginal, naive_with_a_loop),
    (own.naive_log_marginal, naive_with_a_matrix),
    (own.ancestral_sample, ancestral_by_hand),
    (own.ancestral_sample, ancestral_in_two_halves),
    (own.ancestral_sample, draws_of_the_marginal),
    (own.posterior_on_grid, grid_by_softmax),
    (own.posterior_on_grid, grid_column_by_column),
    (own.linear_posterior, posterior_by_solving),
    (own.linear_posterior, posterior_by_conditioning),
]


# Would catch a check that wants one way of writing, or one order of random draws.
@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=lambda v: getattr(v, "__name__", ""))
def test_a_right_answer_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


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
