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
    far = 9.0 * torch.randn(points, pixels, dtype=torch.float64)
    yield extreme("an x̂ outside [0, 1], many σ away from x", x, far, 0.05)
    yield extreme("a single picture", x[:1], x_hat[:1], scale)


def _score_in_three_terms(x, x_hat, scale):
    size = x.shape[1]
    error = (x - x_hat).square().sum(1)
    return -error / (2 * scale**2) - size * math.log(scale) - size / 2 * math.log(2 * math.pi)


def _score_in_two_terms(x, x_hat, scale):
    error = (x - x_hat).square().sum(1)
    return -error / (2 * scale**2) - x.shape[1] / 2 * math.log(2 * math.pi * scale**2)


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
        _score_in_three_terms,
        _score_in_two_terms,
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
            "the constant is counted once for each picture, not for each pixel",
            "Which of the two sizes of x is D?",
            lambda x, x_hat, scale: (
                _score(x, x_hat, scale)
                + (x.shape[1] - len(x)) / 2 * math.log(2 * math.pi * scale**2)
            ),
        ),
        Mistake(
            "the distance stands where its square belongs",
            "The norm in (1.2) is squared: the root that a distance takes is one too many.",
            lambda x, x_hat, scale: (
                _score(x, x_hat, scale)
                + (_squared_error(x, x_hat) - _squared_error(x, x_hat).sqrt()) / (2 * scale**2)
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
    yield extreme("samples so alike that it is negative", x, torch.cat([x, x + 1e-3]))
    yield extreme("two points in each sample", x[:2], y[:2])
    yield extreme("a point that a sample holds twice", torch.cat([x[:3], x[:1]]), y)


def _energy_with_differences(x, y):
    def total(a, b):
        return (a[:, None] - b[None, :]).square().sum(2).sqrt().sum()

    mixed = 2 * total(x, y) / (len(x) * len(y))
    within_x = total(x, x) / (len(x) * (len(x) - 1))
    within_y = total(y, y) / (len(y) * (len(y) - 1))
    return mixed - within_x - within_y


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
        _energy_with_differences,
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
            "each pair within a sample is counted once, and divided by the number of ordered pairs",
            "Ordered pairs are twice as many as unordered ones: count and divide in one way.",
            lambda x, y: 2 * torch.cdist(x, y).mean() - _within(x) / 2 - _within(y) / 2,
        ),
        Mistake(
            "the number of pairs within y is that within x",
            "The two samples may differ in size: by what is each of the sums divided?",
            lambda x, y: (
                2 * torch.cdist(x, y).mean()
                - _within(x)
                - torch.cdist(y, y).sum() / (len(x) * (len(x) - 1))
            ),
        ),
        Mistake(
            "sums stand in place of the means",
            "Each expectation is an average: by how many pairs is each sum divided?",
            lambda x, y: (
                2 * torch.cdist(x, y).sum() - torch.cdist(x, x).sum() - torch.cdist(y, y).sum()
            ),
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
    for size, points, new in ((3, 70, 110), (2, 61, 130)):
        train, held_out = (torch.randn(n, size, dtype=torch.float64) for n in (points, new))
        # Copies of training points and of held-out points, ever less exact, so that any two
        # thresholds flag different ones.
        originals = torch.cat([train, train, held_out])
        noise = torch.linspace(0, 0.7, len(originals), dtype=torch.float64).square()
        samples = originals + noise[:, None] * torch.randn_like(originals)
        samples = samples[torch.randperm(len(samples))]
        # None between the two held-out points that a quantile may lie between, in one way or
        # another of counting.
        above, below = diagnostics.nearest_distance(held_out, train).sort().values[[1, 2]]
        distance = diagnostics.nearest_distance(samples, train)
        samples = samples[(distance < above) | (distance > below)]
        # A copy of the training point of its own row, too: who compares row by row finds that one.
        yield torch.cat([train[:1], samples]), train, held_out


def _copies_with_differences(samples, train, held_out):
    def nearest(a):
        return (a[:, None] - train[None, :]).square().sum(2).sqrt().amin(1)

    return nearest(samples) < nearest(held_out).quantile(0.01)


def _copies_by_sorting(samples, train, held_out):
    def nearest(a):
        return torch.cdist(a, train).sort(dim=1).values[:, 0]

    return nearest(samples) < torch.quantile(nearest(held_out), 0.01)


def _copies_one_by_one(samples, train, held_out):
    threshold = torch.cdist(held_out, train).amin(1).quantile(0.01)
    return [bool(distances.min() < threshold) for distances in torch.cdist(samples, train)]


find_copies = Exercise(
    solution=_find_copies,
    cases=_copies_cases,
    right=(
        _copies_with_differences,
        _copies_by_sorting,
        _copies_one_by_one,
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
            "nothing is flagged, as by the training points' distances to themselves",
            "No distance lies below such a threshold; which points have the model not seen?",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(train, train).quantile(0.01)
            ),
        ),
        Mistake(
            "one answer for each training point",
            "The question is put to each sample: whose nearest training point is looked for?",
            ("nearest_distance(samples, train)", "nearest_distance(train, samples)"),
        ),
        Mistake(
            "the numbers of the copies, not a Boolean for each sample",
            "The comparison alone is asked for: one true or false in each row.",
            lambda samples, train, held_out: (
                _find_copies(samples, train, held_out).nonzero().flatten()
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
            "the threshold comes from the training points' distances to held-out points",
            "The two arguments are exchanged: how far are the held-out points from training data?",
            ("nearest_distance(held_out, train)", "nearest_distance(train, held_out)"),
        ),
        Mistake(
            "the threshold is the 10 % quantile",
            "1 % of the held-out points are to lie below it.",
            ("0.01", "0.1"),
        ),
        Mistake(
            "the threshold is the 5 % quantile",
            "1 % of the held-out points are to lie below it.",
            ("0.01", "0.05"),
        ),
        Mistake(
            "the threshold is the smallest distance of a held-out point",
            "1 % of the held-out points are to lie below it.",
            ("quantile(0.01)", "amin()"),
        ),
        Mistake(
            "the threshold is the largest distance of a held-out point",
            "1 % of the held-out points are to lie below it; quantile(1) is all of them.",
            ("quantile(0.01)", "amax()"),
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


def _arc(start: Tensor, end: Tensor, steps: int) -> Tensor:
    t = torch.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    angle = torch.arccos(start @ end / (start.norm() * end.norm()))
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)


def _walk_cases() -> Iterable[Any]:
    for size, steps in ((3, 5), (2, 4)):
        start, end = torch.randn(2, size, dtype=torch.float64)
        yield start, end, steps
    yield extreme("a walk of two steps", start, end, 2)
    yield extreme("many steps between codes far from 0", 30 * start, 30 * end, 50)


def _walk_along_the_difference(start, end, steps):
    t = torch.arange(steps)[:, None] / (steps - 1)
    return start + t * (end - start)


def _walk_with_a_loop(start, end, steps):
    return torch.stack([start + i / (steps - 1) * (end - start) for i in range(steps)])


def _walk_with_lerp(start, end, steps):
    return torch.lerp(start, end, torch.linspace(0, 1, steps, dtype=start.dtype)[:, None])


walk = Exercise(
    solution=_walk,
    cases=_walk_cases,
    right=(
        _walk_along_the_difference,
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
            "one row too many",
            "The result has `steps` rows, and start and end are two of them.",
            lambda start, end, steps: _walk(start, end, steps + 1),
        ),
        Mistake(
            "the walk leaves its start out",
            "Look at the first row: the first weight has to be 0.",
            lambda start, end, steps: _walk(start, end, steps + 1)[1:],
        ),
        Mistake(
            "the walk runs along an arc",
            "A straight line is asked for: no sine and no length belongs in it.",
            _arc,
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
