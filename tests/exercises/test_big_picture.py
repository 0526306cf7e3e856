"""Chapter 1's checks name each catalogued mistake and accept right answers written differently."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from companion import exercises
from companion.exercises import big_picture as own

FUNCTIONS = [own.reconstruction_score, own.energy_distance, own.find_copies, own.walk]
PREDICTIONS = [own.stretched_codes, own.squared_radius]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(1).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently ---------------------------------------------------------


def score_by_hand(x, x_hat, scale):
    per_pixel = -0.5 * ((x - x_hat) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)
    return per_pixel.sum(-1)


def score_by_independent(x, x_hat, scale):
    return Independent(Normal(x_hat, torch.full_like(x_hat, scale)), 1).log_prob(x)


def score_by_covariance(x, x_hat, scale):
    covariance = scale**2 * torch.eye(x.shape[1], dtype=x.dtype)
    return MultivariateNormal(x_hat, covariance).log_prob(x)


def energy_with_loops(x, y):
    def distance(a, b):
        return (a - b).square().sum().sqrt()

    mixed = [distance(a, b) for a in x for b in y]
    within = [
        [distance(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i < j] for s in (x, y)
    ]
    mean = [sum(values) / len(values) for values in (mixed, *within)]
    return 2 * mean[0] - mean[1] - mean[2]


def energy_with_pdist(x, y):
    differences = x[:, None, :] - y[None, :, :]
    mixed = torch.linalg.vector_norm(differences, dim=-1).mean()
    return 2 * mixed - torch.pdist(x).mean() - torch.pdist(y).mean()


def copies_by_sorting(samples, train, held_out):
    def nearest(a):
        return torch.cdist(a, train).sort(dim=1).values[:, 0]

    return nearest(samples) < torch.quantile(nearest(held_out), 0.01)


def copies_with_a_loop(samples, train, held_out):
    threshold = torch.cdist(held_out, train).amin(1).quantile(0.01)
    return [bool(min((s - t).norm() for t in train) < threshold) for s in samples]


def walk_with_a_loop(start, end, steps):
    return torch.stack([start + i / (steps - 1) * (end - start) for i in range(steps)])


def walk_with_lerp(start, end, steps):
    return torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=start.dtype)[:, None])


# Would catch a check that takes one way of writing the answer for the answer.
@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.reconstruction_score, score_by_hand),
        (own.reconstruction_score, score_by_independent),
        (own.reconstruction_score, score_by_covariance),
        (own.energy_distance, energy_with_loops),
        (own.energy_distance, energy_with_pdist),
        (own.find_copies, copies_by_sorting),
        (own.find_copies, copies_with_a_loop),
        (own.walk, walk_with_a_loop),
        (own.walk, walk_with_lerp),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", "")),
)
def test_a_right_answer_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


def test_a_stranger_mistake_is_not_called_correct():
    assert own.walk.verdict(lambda start, end, steps: torch.zeros(steps, 3)).startswith("✗")


# --- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [(own.stretched_codes, " The same"), (own.squared_radius, 8), (own.squared_radius, 8.02)],
)
def test_a_right_prediction_passes(prediction, answer):
    assert prediction.verdict(answer).startswith("✓ Correct.")


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_a_wrong_prediction_gets_its_own_reason(prediction):
    reasons = [prediction.verdict(wrong) for wrong in prediction.mistakes]
    assert all(reason.startswith("✗ Not quite") for reason in reasons)
    assert len(set(reasons)) == len(reasons)


# Would catch an answer that is wrong in itself: the mean square distance, measured.
def test_the_predicted_radius_is_the_measured_one():
    squares = torch.randn(50_000, 8).square().sum(1)
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - own.squared_radius.answer) < 4 * error
