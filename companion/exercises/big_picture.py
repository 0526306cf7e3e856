"""Exercises of chapter 1: a score, a distance between samples, copies, and a walk between codes."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from companion import diagnostics
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

# --- The score of a reconstruction: log N(x; x̂, σ² I) -------------------------------------------


def _score(x: Tensor, x_hat: Tensor, scale: float) -> Tensor:
    return Normal(x_hat, scale).log_prob(x).sum(1)


def _squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    return (x - x_hat).square().sum(1)


def _score_cases() -> Iterable[Any]:
    for points, pixels, scale in ((5, 7, 0.3), (3, 4, 1.7)):
        x, x_hat = torch.rand(2, points, pixels, dtype=torch.float64)
        yield x, x_hat, scale


def _score_by_hand(x, x_hat, scale):
    per_pixel = -0.5 * ((x - x_hat) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)
    return per_pixel.sum(-1)


def _score_by_independent(x, x_hat, scale):
    return Independent(Normal(x_hat, torch.full_like(x_hat, scale)), 1).log_prob(x)


def _score_by_covariance(x, x_hat, scale):
    covariance = scale**2 * torch.eye(x.shape[1], dtype=x.dtype)
    return MultivariateNormal(x_hat, covariance).log_prob(x)


reconstruction_score = Exercise(
    solution=_score,
    cases=_score_cases,
    right=(
        _score_by_hand,
        _score_by_independent,
        _score_by_covariance,
    ),
    mistakes=(
        Mistake(
            "the score is averaged over the pixels",
            "Independent pixels multiply their densities: what happens to the logarithms?",
            lambda x, x_hat, scale: Normal(x_hat, scale).log_prob(x).mean(1),
        ),
        Mistake(
            "the score is added up over the images as well",
            "One number for each image is wanted: which axis counts pixels?",
            lambda x, x_hat, scale: _score(x, x_hat, scale).sum(),
        ),
        Mistake(
            "σ is used where σ² belongs",
            "The formula divides by a squared number, in the error and in the logarithm.",
            lambda x, x_hat, scale: _score(x, x_hat, math.sqrt(scale)),
        ),
        Mistake(
            "the constant is left out",
            "The term without x does not move the optimum, but it is part of the log-density.",
            lambda x, x_hat, scale: -_squared_error(x, x_hat) / (2 * scale**2),
        ),
        Mistake(
            "the constant is counted once and not once for each pixel",
            "Each of the D factors of the density brings its own normaliser.",
            lambda x, x_hat, scale: (
                -_squared_error(x, x_hat) / (2 * scale**2) - 0.5 * math.log(2 * math.pi * scale**2)
            ),
        ),
        Mistake(
            "the 2π is missing",
            "Compare the logarithm with the one in (1.2), factor by factor.",
            lambda x, x_hat, scale: (
                _score(x, x_hat, scale) + 0.5 * x.shape[1] * math.log(2 * math.pi)
            ),
        ),
        Mistake(
            "the sign is that of a loss",
            "A better reconstruction must score higher.",
            lambda x, x_hat, scale: -_score(x, x_hat, scale),
        ),
    ),
)


# --- The energy distance between two samples ----------------------------------------------------


def _within(x: Tensor) -> Tensor:
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))


def _energy_cases() -> Iterable[Any]:
    for first, second, size in ((6, 9, 4), (5, 7, 3)):
        x = torch.randn(first, size, dtype=torch.float64)
        y = 1.5 * torch.randn(second, size, dtype=torch.float64) + 2.0
        yield x, y
    yield extreme("two sets around one point", x, torch.cat([x, x + 1e-3]))


def _energy_with_loops(x, y):
    def distance(a, b):
        return (a - b).square().sum().sqrt()

    mixed = [distance(a, b) for a in x for b in y]
    within = [
        [distance(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i < j] for s in (x, y)
    ]
    mean = [sum(values) / len(values) for values in (mixed, *within)]
    return 2 * mean[0] - mean[1] - mean[2]


def _energy_with_pdist(x, y):
    differences = x[:, None, :] - y[None, :, :]
    mixed = torch.linalg.vector_norm(differences, dim=-1).mean()
    return 2 * mixed - torch.pdist(x).mean() - torch.pdist(y).mean()


energy_distance = Exercise(
    solution=diagnostics.energy_distance,
    cases=_energy_cases,
    right=(
        _energy_with_loops,
        _energy_with_pdist,
    ),
    mistakes=(
        Mistake(
            "the 2 before the mixed term is missing",
            "Try two equal sets: the three terms have to cancel.",
            lambda x, y: torch.cdist(x, y).mean() - _within(x) - _within(y),
        ),
        Mistake(
            "each point is paired with itself",
            "N zeros on the diagonal are no distances between different points: by what do you "
            "divide?",
            lambda x, y: (
                2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
            ),
        ),
        Mistake(
            "the distances are squared",
            "With squares only the two means would be compared; take the root.",
            lambda x, y: (
                2 * torch.cdist(x, y).square().mean()
                - torch.cdist(x, x).square().sum() / (len(x) * (len(x) - 1))
                - torch.cdist(y, y).square().sum() / (len(y) * (len(y) - 1))
            ),
        ),
        Mistake(
            "the distances within the samples are added",
            "Look at the signs: what do two samples of one distribution give?",
            lambda x, y: 2 * torch.cdist(x, y).mean() + _within(x) + _within(y),
        ),
        Mistake(
            "only the mixed term is there",
            "A wide cloud is far from itself: what has to be taken off?",
            lambda x, y: 2 * torch.cdist(x, y).mean(),
        ),
        Mistake(
            "only the two means are compared",
            "Two clouds with one centre can still differ in spread and shape.",
            lambda x, y: torch.linalg.vector_norm(x.mean(0) - y.mean(0)),
        ),
    ),
)


# --- Which samples are copies of training points ------------------------------------------------


def _find_copies(samples: Tensor, train: Tensor, held_out: Tensor) -> Tensor:
    threshold = diagnostics.nearest_distance(held_out, train).quantile(0.01)
    return diagnostics.nearest_distance(samples, train) < threshold


def _copies_cases() -> Iterable[Any]:
    train, held_out, fresh = (torch.randn(n, 3, dtype=torch.float64) for n in (70, 110, 40))
    # Copies of training points and of held-out points, ever less exact, and new points.
    noise = torch.randn(50, 3, dtype=torch.float64)
    noise *= torch.linspace(0, 1.5, 50, dtype=torch.float64)[:, None]
    samples = torch.cat([train[:50] + noise, held_out[:30] + noise[:30], fresh])
    yield samples, train, held_out
    yield samples[5:47], train[:61], held_out


def _copies_by_sorting(samples, train, held_out):
    def nearest(a):
        return torch.cdist(a, train).sort(dim=1).values[:, 0]

    return nearest(samples) < torch.quantile(nearest(held_out), 0.01)


def _copies_with_a_loop(samples, train, held_out):
    threshold = torch.cdist(held_out, train).amin(1).quantile(0.01)
    return [bool(min((s - t).norm() for t in train) < threshold) for s in samples]


find_copies = Exercise(
    solution=_find_copies,
    cases=_copies_cases,
    right=(
        _copies_by_sorting,
        _copies_with_a_loop,
    ),
    mistakes=(
        Mistake(
            "far points are flagged, not near ones",
            "A copy lies closer to a training point than new data do.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                > diagnostics.nearest_distance(held_out, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the samples are compared with the held-out points",
            "A model can copy only what it has seen.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, held_out)
                < diagnostics.nearest_distance(held_out, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the threshold comes from the training points' distances to themselves",
            "The nearest training point of a training point is that point, at distance zero.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(train, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the threshold comes from the samples",
            "Then one sample in a hundred is flagged whatever the model does; the yardstick is "
            "data that the model has not seen.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(samples, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the threshold is the mean distance",
            "About half of all new data would be called copies; which quantile is asked for?",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(held_out, train).mean()
            ),
        ),
        Mistake(
            "the threshold is the 99 % quantile",
            "Almost all new data lie below it; a copy is nearer than almost all new data.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(held_out, train).quantile(0.99)
            ),
        ),
    ),
)


# --- A walk between two codes -------------------------------------------------------------------


def _walk(start: Tensor, end: Tensor, steps: int) -> Tensor:
    t = torch.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    return (1 - t) * start + t * end


def _walk_cases() -> Iterable[Any]:
    for size, steps in ((3, 5), (2, 4)):
        start, end = torch.randn(2, size, dtype=torch.float64)
        yield start, end, steps
    yield extreme("a walk of two steps", start, end, 2)


def _walk_with_a_loop(start, end, steps):
    return torch.stack([start + i / (steps - 1) * (end - start) for i in range(steps)])


def _walk_with_lerp(start, end, steps):
    return torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=start.dtype)[:, None])


walk = Exercise(
    solution=_walk,
    cases=_walk_cases,
    right=(
        _walk_with_a_loop,
        _walk_with_lerp,
    ),
    mistakes=(
        Mistake(
            "the walk stops one step short of its end",
            "Look at the last row: the last weight has to be 1.",
            lambda start, end, steps: (
                start + (torch.arange(steps, dtype=start.dtype)[:, None] / steps * (end - start))
            ),
        ),
        Mistake(
            "the walk runs backwards",
            "Look at the first row: with t = 0 it should be the start.",
            lambda start, end, steps: _walk(end, start, steps),
        ),
        Mistake(
            "the weights do not add up to one",
            "While the end comes in, the start has to go out.",
            lambda start, end, steps: (
                start + torch.linspace(0, 1, steps, dtype=start.dtype)[:, None] * end
            ),
        ),
        Mistake(
            "rows and columns are exchanged",
            "One row for each step: give t an axis of its own on the right.",
            lambda start, end, steps: _walk(start, end, steps).mT,
        ),
        Mistake(
            "start and end are left out",
            "The walk should contain both: how many weights lie strictly between 0 and 1?",
            lambda start, end, steps: _walk(start, end, steps + 2)[1:-1],
        ),
    ),
)


# --- Predictions --------------------------------------------------------------------------------

stretched_codes = Prediction(
    answer="the same",
    because="The decoder undoes what was done to the codes, so no output changes; this is (1.3).",
    mistakes={
        "larger": "the decoder divides by ten before anything else; what reaches its layers?",
        "smaller": "longer codes hold no more than before; what does the decoder do to them first?",
    },
)

squared_radius = Prediction(
    answer=8.0,
    because="Each of the 8 coordinates has mean square 1, and their squares add up.",
    mistakes={
        0.0: "the density is highest at the centre, but there is hardly any room there.",
        1.0: "that is the mean square of one coordinate; there are eight.",
        math.sqrt(8): "that is about the distance itself; its square is asked for.",
        64.0: "the squares of the coordinates are added, and their sum is not squared again.",
    },
    tolerance=0.05,
)
