"""Chapter 6's checks accept right answers written differently, and name what is wrong."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from companion import exercises
from companion.exact import optimal_decoder
from companion.exercises import blurry_samples as own

FUNCTIONS = [own.mixing_weight, own.best_decoder, own.error_left, own.sum_with_prior]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(6).exercises) == {e.name for e in [*FUNCTIONS, own.one_pixel]}


# --- right answers, written differently -----------------------------------------------------------


def weight_from_squares(z, a, b, scale):
    squares = torch.stack([(z - c).square().sum(-1) for c in (a, b)], dim=-1)
    return (-squares / (2 * scale**2)).softmax(-1)[..., 1]


def weight_as_a_logistic(z, a, b, scale):
    odds = (z @ (b - a) - (b @ b - a @ a) / 2) / scale**2
    return torch.where(
        odds > 0, 1 / (1 + torch.exp(-odds.abs())), 1 - 1 / (1 + torch.exp(-odds.abs()))
    )


def weight_by_the_package(z, a, b, scale):
    q = Independent(Normal(torch.stack([a, b]), scale), 1)
    return optimal_decoder(q, torch.tensor([[0.0], [1.0]], dtype=z.dtype), z)[:, 0]


def best_by_the_package(codes, scales, x, z):
    return optimal_decoder(Independent(Normal(codes, scales), 1), x, z)


def best_row_by_row(codes, scales, x, z):
    rows = []
    for at in z:
        log_q = -0.5 * ((at - codes) / scales).square().sum(-1) - scales.log().sum(-1)
        weight = (log_q - log_q.max()).exp()
        rows.append((weight[:, None] * x).sum(0) / weight.sum())
    return torch.stack(rows)


def error_by_the_variance(weights, x):
    return ((weights @ x.square()) - (weights @ x).square()).sum(-1)


def error_picture_by_picture(weights, x):
    errors = []
    for w in weights:
        mean = sum(share * picture for share, picture in zip(w, x, strict=True))
        squares = [((picture - mean) ** 2).sum() for picture in x]
        errors.append(sum(share * square for share, square in zip(w, squares, strict=True)))
    return torch.stack(errors)


def sum_by_a_mixture(codes, scales, z):
    parts = Independent(Normal(codes, scales), 1)
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(len(codes)).to(z)), parts)
    return (mixture.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1)).exp()


def sum_term_by_term(codes, scales, z):
    prior = torch.exp(-0.5 * z.square().sum(-1)) / (2 * math.pi) ** (z.shape[1] / 2)
    terms = [
        torch.exp(Normal(c, s).log_prob(z).sum(-1)) / len(codes) / prior
        for c, s in zip(codes, scales, strict=True)
    ]
    return torch.stack(terms).sum(0)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.mixing_weight, weight_from_squares),
        (own.mixing_weight, weight_as_a_logistic),
        (own.mixing_weight, weight_by_the_package),
        (own.best_decoder, best_by_the_package),
        (own.best_decoder, best_row_by_row),
        (own.error_left, error_by_the_variance),
        (own.error_left, error_picture_by_picture),
        (own.sum_with_prior, sum_by_a_mixture),
        (own.sum_with_prior, sum_term_by_term),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", None)),
)
def test_right_answers_written_differently(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


# --- the prediction -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [2 / 3, 0.67, torch.tensor(0.6667)])
def test_one_pixel_right(answer):
    assert own.one_pixel.verdict(answer).startswith("✓ Correct. The average has 1/3")


def test_one_pixel_by_hand():
    lines = torch.eye(3, dtype=torch.float64)
    error = (lines - lines.mean(0)).square().sum(1).mean()
    sharp = (lines - lines[1]).square().sum(1).mean()
    assert abs(error - own.one_pixel.answer) < 1e-12
    assert own.one_pixel.verdict(sharp.item()).startswith("✗ Not quite: that is the error of")
    nothing = lines.square().sum(1).mean()
    assert own.one_pixel.verdict(nothing.item()).endswith("What does the average leave?")
