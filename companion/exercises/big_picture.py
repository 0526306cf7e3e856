"""Exercises of chapter 1: a score, a distance between samples, copies, and a walk between codes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from companion import diagnostics
from companion.exercises.checking import Exercise, Mistake, Prediction

Function = Callable[..., Any]


# --- The score of a reconstruction: log N(x; x̂, σ² I) -------------------------------------------


def _score(x: Tensor, x_hat: Tensor, scale: float) -> Tensor:
    return Normal(x_hat, scale).log_prob(x).sum(1)


def _squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    return (x - x_hat).square().sum(1)


def _probe_score(answer: Function) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    x, x_hat = (torch.rand(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    return [answer(x, x_hat, 0.3), answer(x[:3, :4], x_hat[:3, :4], 1.7)]


reconstruction_score = Exercise(
    name="reconstruction_score",
    solution=_score,
    probe=_probe_score,
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


def _probe_energy(answer: Function) -> list[Any]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    y = 1.5 * torch.randn(9, 4, generator=generator, dtype=torch.float64) + 2.0
    return [answer(x, y), answer(y[:5, :3], x[:, :3])]


energy_distance = Exercise(
    name="energy_distance",
    solution=diagnostics.energy_distance,
    probe=_probe_energy,
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


def _probe_copies(answer: Function) -> list[Any]:
    generator = torch.Generator().manual_seed(3)
    train, held_out, fresh = (
        torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (70, 110, 40)
    )
    # Copies of training points and of held-out points, ever less exact, and new points.
    noise = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    noise *= torch.linspace(0, 1.5, 50, dtype=torch.float64)[:, None]
    samples = torch.cat([train[:50] + noise, held_out[:30] + noise[:30], fresh])
    return [answer(samples, train, held_out), answer(samples[5:47], train[:61], held_out)]


find_copies = Exercise(
    name="find_copies",
    solution=_find_copies,
    probe=_probe_copies,
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


def _probe_walk(answer: Function) -> list[Any]:
    generator = torch.Generator().manual_seed(4)
    start, end = (torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(2))
    return [answer(start, end, 5), answer(start[:2], end[:2], 4)]


walk = Exercise(
    name="walk",
    solution=_walk,
    probe=_probe_walk,
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
    name="stretched_codes",
    answer="the same",
    because="The decoder undoes what was done to the codes, so no output changes; this is (1.3).",
    mistakes={
        "larger": "the decoder divides by ten before anything else; what reaches its layers?",
        "smaller": "longer codes hold no more than before; what does the decoder do to them first?",
    },
)

squared_radius = Prediction(
    name="squared_radius",
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
