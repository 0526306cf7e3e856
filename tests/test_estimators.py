"""Gradient estimators against exact gradients, and their variances against known ones."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal
from toys import normal

from companion import pathwise, score_function

COUNT = 20_000


def gradients(estimator, f, mean, log_scale, count=COUNT, seed=0):
    """Each draw's own gradient in the mean, for the law of the estimator."""
    torch.manual_seed(seed)
    means = mean.expand(count).clone().requires_grad_()
    values = estimator(Normal(means, log_scale.exp()), f, 1)
    (gradient,) = torch.autograd.grad(values.sum(), means)
    return gradient


CASES = {
    # f, E f(z) for z ~ N(m, s²)
    "square": (lambda z: z**2, lambda m, s: m**2 + s**2),
    "cosine": (lambda z: (10 * z).cos(), lambda m, s: (10 * m).cos() * (-50 * s**2).exp()),
    "exponential": (lambda z: z.exp(), lambda m, s: (m + s**2 / 2).exp()),
}


@pytest.mark.parametrize("estimator", [pathwise, score_function])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_unbiased(estimator, case):
    # Against the closed form, four standard errors. Catches: a missing score, a score with the
    # wrong sign, a path cut by sample().
    f, expectation = CASES[case]
    mean = torch.tensor(0.4, dtype=torch.float64)
    log_scale = torch.tensor(-1.5, dtype=torch.float64)
    with torch.enable_grad():
        exact_mean = mean.clone().requires_grad_()
        (truth,) = torch.autograd.grad(expectation(exact_mean, log_scale.exp()), exact_mean)
    draws = gradients(estimator, f, mean, log_scale)
    assert abs(draws.mean() - truth) < 4 * draws.std() / COUNT**0.5
    torch.manual_seed(1)
    values = estimator(Normal(mean, log_scale.exp()), f, COUNT)
    expected = expectation(mean, log_scale.exp())
    assert abs(values.mean() - expected) < 4 * values.std() / COUNT**0.5


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_gradients_in_the_scale(estimator):
    # d/ds (m² + s²) = 2 s
    torch.manual_seed(0)
    scale = torch.full((COUNT,), 0.7, dtype=torch.float64, requires_grad=True)
    values = estimator(Normal(torch.tensor(0.3).double(), scale), torch.square, 1)
    (draws,) = torch.autograd.grad(values.sum(), scale)
    assert abs(draws.mean() - 1.4) < 4 * draws.std() / COUNT**0.5


def test_the_cosine_turns_the_variances_round():
    # At N(0, 1) and f = cos 10 z: pathwise 100 E sin² ≈ 50, score function E z² cos² ≈ 0.5.
    zero = torch.tensor(0.0, dtype=torch.float64)
    variances = [
        gradients(estimator, lambda z: (10 * z).cos(), zero, zero).var().item()
        for estimator in (pathwise, score_function)
    ]
    assert variances == pytest.approx([50, 0.5], rel=0.05)


def test_parameters_of_f_get_their_gradient():
    for estimator in (pathwise, score_function):
        weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        q = Normal(torch.tensor(1.0).double(), 0.5)
        torch.manual_seed(0)
        values = estimator(q, lambda z, w=weight: w * z, 4000)
        (gradient,) = torch.autograd.grad(values.mean(), weight)
        assert abs(gradient - 1) < 4 * 0.5 / 4000**0.5


def test_the_score_function_needs_no_reparameterisation():
    # A coin's probability: d/dp E f = f(1) − f(0), enumerated.
    probability = torch.full((COUNT,), 0.3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    values = score_function(Bernoulli(probability), lambda b: 5 * b + 1, 1)
    (draws,) = torch.autograd.grad(values.sum(), probability)
    assert abs(draws.mean() - 5) < 4 * draws.std() / COUNT**0.5
    assert not values.requires_grad or values.shape == (1, COUNT)


def test_shapes_of_events_and_batches():
    # (K, B) values from (K, B, d) draws: the score must be summed over the event.
    q = Independent(Normal(normal(5, 3, seed=1), 1.0), 1)
    for estimator in (pathwise, score_function):
        assert estimator(q, lambda z: z.square().sum(-1), 7).shape == (7, 5)
    with pytest.raises(NotImplementedError):
        pathwise(Categorical(torch.ones(3)), lambda z: z.float(), 2)


def test_an_f_of_another_shape_is_refused():
    # Catches: (K, 1) values beside (K,) scores, which broadcast to (K, K): gradients near zero.
    q = Independent(Normal(normal(1, seed=1), 1.0), 1)
    for f, law in ((lambda z: z.square(), q), (lambda z: z.sum((1, 2)), q.expand((5,)))):
        with pytest.raises(ValueError, match=r"\bf must return"):
            score_function(law, f, 5)


def test_values_are_those_of_f():
    # Catches: the surrogate's value in place of f's.
    q = Normal(torch.tensor(0.2, dtype=torch.float64, requires_grad=True), 0.5)
    torch.manual_seed(3)
    z = q.sample((9,))
    torch.manual_seed(3)
    values = score_function(q, torch.exp, 9)
    torch.testing.assert_close(values.detach(), z.exp(), rtol=1e-14, atol=0)
    assert math.isfinite(values.sum().item())
