"""Exercises of chapter 6: weighted averages, what they leave over, and what normalises them."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from companion.exact import optimal_decoder
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

# --- Exercise 1: the weight of two inputs ---------------------------------------------------------


def _odds(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return (z - (a + b) / 2) @ (b - a) / scale**2


def _mixing_weight(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.sigmoid(_odds(z, a, b, scale))


def _by_densities(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """The ratio as it stands: right near the codes, zero by zero far away."""
    at_a, at_b = (Normal(code, scale).log_prob(z).sum(-1).exp() for code in (a, b))
    return at_b / (at_a + at_b)


def _product_lost(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    at_a, at_b = (Normal(code, scale).log_prob(z).exp().sum(-1) for code in (a, b))
    return at_b / (at_a + at_b)


def _by_distances(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Weights in inverse proportion to the distances."""
    to_a, to_b = (z - a).norm(dim=-1), (z - b).norm(dim=-1)
    return to_a / (to_a + to_b)


def _by_unsquared_distances(z: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.sigmoid(((z - a).norm(dim=-1) - (z - b).norm(dim=-1)) / (2 * scale**2))


def _weight_cases() -> Iterable[Any]:
    """M = 5 codes of d = 3 units; then 7 of 2; then codes on which careless answers fail."""
    far = "a z so far away that both densities are 0 in floating point"
    for what, codes, units, scale, spread in (
        ("", 5, 3, 0.8, 1.0),
        ("", 7, 2, 1.3, 1.0),
        (far, 4, 2, 0.5, 600.0),
        ("a single row of z", 1, 3, 0.8, 1.0),
    ):
        z = spread * torch.randn(codes, units, dtype=torch.float64)
        a, b = torch.randn(2, units, dtype=torch.float64)
        yield extreme(what, z, a, b, scale)


def _weight_from_squares(z, a, b, scale):
    squares = torch.stack([(z - c).square().sum(-1) for c in (a, b)], dim=-1)
    return (-squares / (2 * scale**2)).softmax(-1)[..., 1]


def _weight_as_a_logistic(z, a, b, scale):
    odds = (z @ (b - a) - (b @ b - a @ a) / 2) / scale**2
    return torch.where(
        odds > 0, 1 / (1 + torch.exp(-odds.abs())), 1 - 1 / (1 + torch.exp(-odds.abs()))
    )


def _weight_of_log_densities(z, a, b, scale):
    return 1 / (1 + torch.exp(_log_bump(z, a, scale) - _log_bump(z, b, scale)))


def _log_bump(z, code, scale):
    return -0.5 * ((z - code) ** 2).sum(1) / scale**2


def _weight_by_the_package(z, a, b, scale):
    q = Independent(Normal(torch.stack([a, b]), scale), 1)
    return optimal_decoder(q, torch.tensor([[0.0], [1.0]], dtype=z.dtype), z)[:, 0]


mixing_weight = Exercise(
    solution=_mixing_weight,
    cases=_weight_cases,
    right=(
        _weight_from_squares,
        _weight_as_a_logistic,
        _weight_of_log_densities,
        _weight_by_the_package,
    ),
    mistakes=(
        Mistake(
            "the scale taken as a variance",
            "A Gaussian's exponent holds the square of its standard deviation.",
            lambda z, a, b, scale: torch.sigmoid(_odds(z, a, b, math.sqrt(scale))),
        ),
        Mistake(
            "the weight of the first input",
            "The weight asked for is that of the input whose code is b: it grows towards b.",
            lambda z, a, b, scale: _mixing_weight(z, b, a, scale),
        ),
        Mistake(
            "the midpoint forgotten",
            "The weight is one half halfway between the codes, not at z = 0.",
            lambda z, a, b, scale: torch.sigmoid(z @ (b - a) / scale**2),
        ),
        Mistake(
            "the midpoint at a",
            "At the code a the first input should have more weight than one half.",
            lambda z, a, b, scale: torch.sigmoid((z - a) @ (b - a) / scale**2),
        ),
        Mistake(
            "the half of the exponent lost",
            "The density's exponent is minus the squared distance over twice the variance.",
            lambda z, a, b, scale: torch.sigmoid(2 * _odds(z, a, b, scale)),
        ),
        Mistake(
            "the scale left out",
            "Distances count in units of the width: divide by scale squared.",
            lambda z, a, b, scale: torch.sigmoid(_odds(z, a, b, 1.0)),
        ),
        Mistake(
            "the log-density averaged over the units",
            "The log-density of a code is the sum over its units.",
            lambda z, a, b, scale: torch.sigmoid(_odds(z, a, b, scale) / z.shape[1]),
        ),
        Mistake(
            "the distance of the codes divided out",
            "The slope grows with the distance: do not make b − a a unit vector.",
            lambda z, a, b, scale: torch.sigmoid(_odds(z, a, b, scale) / (b - a).norm()),
        ),
        Mistake(
            "a hard choice of the nearer code",
            "The weight passes smoothly from 0 to 1.",
            lambda z, a, b, scale: (_odds(z, a, b, scale) > 0).double(),
        ),
        Mistake(
            "the logarithm of the odds itself",
            "The weight is the sigmoid of the log-odds.",
            _odds,
        ),
        Mistake(
            "distances that are not squared",
            "A Gaussian's exponent holds the square of the distance.",
            _by_unsquared_distances,
        ),
        Mistake(
            "weights in proportion to distances",
            "The weights are proportional to the two densities at z.",
            _by_distances,
        ),
        Mistake(
            "densities added over the units",
            "The density of a code is the product over its units: sum the logarithms.",
            _product_lost,
        ),
        Mistake(
            "densities that underflow",
            "Far from both codes you divide zero by zero: work with the log-odds.",
            _by_densities,
        ),
    ),
)

# --- Exercise 2: the best decoder -----------------------------------------------------------------


def _log_density(codes: Tensor, scales: Tensor, z: Tensor) -> Tensor:
    """Return log q(z_m | x_n), (M, N)."""
    return Normal(codes, scales).log_prob(z[:, None]).sum(-1)


def _best_decoder(codes: Tensor, scales: Tensor, x: Tensor, z: Tensor) -> Tensor:
    return _log_density(codes, scales, z).softmax(dim=1) @ x


def _by_prior(codes: Tensor, scales: Tensor, x: Tensor, z: Tensor) -> Tensor:
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1, keepdim=True)
    return (_log_density(codes, scales, z) - log_prior).exp() @ x / len(x)


def _best_cases() -> Iterable[Any]:
    """M = 4, N = 6, D = 5, d = 3; then 7, 3, 4, 2; then inputs on which careless answers fail."""
    far = "a z so far from all codes that every q(z | x) is 0"
    for what, at, points, pixels, units, shift, size in (
        ("", 4, 6, 5, 3, 0, 1.0),
        ("", 7, 3, 4, 2, 0, 1.0),
        (far, 3, 5, 6, 2, 90, 1.0),
        ("scales below 0.02", 4, 3, 5, 2, 0, 0.01),
        ("a single row of z", 1, 3, 4, 2, 0, 1.0),
    ):
        codes = size * torch.randn(points, units, dtype=torch.float64)
        scales = size * (0.5 + torch.rand(points, units, dtype=torch.float64))
        x = torch.rand(points, pixels, dtype=torch.float64)
        # The first row stays where the codes are.
        away = shift * torch.linspace(0, 1, at, dtype=torch.float64)[:, None]
        z = size * torch.randn(at, units, dtype=torch.float64) + away
        yield extreme(what, codes, scales, x, z)


def _best_by_the_package(codes, scales, x, z):
    return optimal_decoder(Independent(Normal(codes, scales), 1), x, z)


def _best_row_by_row(codes, scales, x, z):
    rows = []
    for at in z:
        squares = ((at - codes) ** 2 / scales**2).sum(1)
        log_q = -0.5 * squares - 0.5 * torch.log(scales**2).sum(1)
        weight = torch.exp(log_q - log_q.max())
        rows.append((weight[:, None] * x).sum(0) / weight.sum())
    return torch.stack(rows)


def _best_by_logarithms(codes, scales, x, z):
    squares = (z[:, None] - codes) ** 2 / scales**2
    log_q = (-0.5 * squares - torch.log(scales)).sum(2)
    return torch.exp(log_q - log_q.logsumexp(1, keepdim=True)) @ x


best_decoder = Exercise(
    solution=_best_decoder,
    cases=_best_cases,
    right=(
        _best_by_the_package,
        _best_row_by_row,
        _best_by_logarithms,
    ),
    mistakes=(
        Mistake(
            "weights that are not normalised",
            "For each z the weights must sum to one over the pictures.",
            lambda codes, scales, x, z: _log_density(codes, scales, z).exp() @ x / len(x),
        ),
        Mistake(
            "a sum with weights that are not normalised",
            "For each z the weights must sum to one over the pictures.",
            lambda codes, scales, x, z: _log_density(codes, scales, z).exp() @ x,
        ),
        Mistake(
            "one width for all pictures",
            "Each picture's code has the scales of its own row.",
            lambda codes, scales, x, z: _best_decoder(codes, scales.mean().expand_as(scales), x, z),
        ),
        Mistake(
            "a width of one for all pictures",
            "Each picture's code has the scales of its own row.",
            lambda codes, scales, x, z: _best_decoder(codes, torch.ones_like(scales), x, z),
        ),
        Mistake(
            "the picture whose code is nearest",
            "The best decoder averages: keep all the pictures, by their weights.",
            lambda codes, scales, x, z: x[torch.cdist(z, codes).argmin(1)],
        ),
        Mistake(
            "weights normalised by the prior",
            "Their sum is then q(z)/p(z); divide by the sum of the densities themselves.",
            _by_prior,
        ),
        Mistake(
            "the softmax over the wrong axis",
            "For each z the weights sum to one over the pictures, not over the codes z.",
            lambda codes, scales, x, z: _log_density(codes, scales, z).softmax(dim=0) @ x,
        ),
        Mistake(
            "the scale taken as a variance",
            "Normal takes standard deviations, and its exponent squares them.",
            lambda codes, scales, x, z: _best_decoder(codes, scales.sqrt(), x, z),
        ),
        Mistake(
            "the average of the codes instead of the pictures",
            "The weights multiply x; the result has as many columns as x has pixels.",
            lambda codes, scales, x, z: _best_decoder(codes, scales, codes, z),
        ),
        Mistake(
            "the heaviest picture alone",
            "The most probable picture is not the mean: keep all the weights.",
            lambda codes, scales, x, z: x[_log_density(codes, scales, z).argmax(dim=1)],
        ),
        Mistake(
            "the normaliser of the Gaussians left out",
            "The widths differ from picture to picture, so −log scale does not cancel.",
            lambda codes, scales, x, z: (
                (-0.5 * ((z[:, None] - codes) / scales).square().sum(-1)).softmax(dim=1) @ x
            ),
        ),
        Mistake(
            "log-densities used as weights",
            "The weights are proportional to the densities, not to their logarithms.",
            lambda codes, scales, x, z: (
                _log_density(codes, scales, z)
                / _log_density(codes, scales, z).sum(1, keepdim=True)
                @ x
            ),
        ),
        Mistake(
            "the plain mean of all pictures",
            "Pictures whose codes are near z in units of the width count more.",
            lambda codes, scales, x, z: x.mean(0).expand(len(z), -1),
        ),
        Mistake(
            "densities that underflow",
            "Far from every code you divide zero by zero: take the softmax of the logarithms.",
            lambda codes, scales, x, z: (
                _log_density(codes, scales, z).exp()
                / _log_density(codes, scales, z).exp().sum(1, keepdim=True)
                @ x
            ),
        ),
    ),
)

# --- Exercise 3: the error that no decoder avoids -------------------------------------------------


def _error_left(weights: Tensor, x: Tensor) -> Tensor:
    mean = weights @ x
    return (weights * (x - mean[:, None]).square().sum(-1)).sum(1)


def _error_cases() -> Iterable[Any]:
    """M = 4 codes, N = 6 pictures, D = 5 pixels; then 7, 3 and 4; then weights of 0 and 1."""
    for what, at, points, pixels, spread in (
        ("", 4, 6, 5, 1.0),
        ("", 7, 3, 4, 1.0),
        ("weights that are 0 or 1, where nothing is left", 2, 5, 3, 1e5),
        ("a single code", 1, 5, 3, 1.0),
    ):
        weights = (spread * torch.randn(at, points, dtype=torch.float64)).softmax(dim=1)
        yield extreme(what, weights, torch.rand(points, pixels, dtype=torch.float64) + 1)


def _error_by_the_variance(weights, x):
    return ((weights @ x.square()) - (weights @ x).square()).sum(-1)


def _error_picture_by_picture(weights, x):
    errors = []
    for w in weights:
        mean = sum(share * picture for share, picture in zip(w, x, strict=True))
        squares = [((picture - mean) ** 2).sum() for picture in x]
        errors.append(sum(share * square for share, square in zip(w, squares, strict=True)))
    return torch.stack(errors)


def _error_sum_by_sum(weights, x):
    second = (weights[:, :, None] * x[None] ** 2).sum(1)
    mean = (weights[:, :, None] * x[None]).sum(1)
    return second.sum(1) - (mean**2).sum(1)


error_left = Exercise(
    solution=_error_left,
    cases=_error_cases,
    right=(
        _error_by_the_variance,
        _error_picture_by_picture,
        _error_sum_by_sum,
    ),
    mistakes=(
        Mistake(
            "an average over pixels",
            "The squared norm is a sum over pixels.",
            lambda weights, x: _error_left(weights, x) / x.shape[1],
        ),
        Mistake(
            "all pictures counted alike",
            "Each squared distance counts with the weight of its picture at this z.",
            lambda weights, x: (x - (weights @ x)[:, None]).square().sum(-1).mean(1),
        ),
        Mistake(
            "a sum without weights",
            "Each squared distance counts with the weight of its picture at this z.",
            lambda weights, x: (x - (weights @ x)[:, None]).square().sum(-1).sum(1),
        ),
        Mistake(
            "a mean over the pictures on top of the weights",
            "The weights sum to one already: sum over the pictures, do not average.",
            lambda weights, x: _error_left(weights, x) / len(x),
        ),
        Mistake(
            "distances that are not squared",
            "Squared errors are asked for.",
            lambda weights, x: (weights * (x - (weights @ x)[:, None]).norm(dim=-1)).sum(1),
        ),
        Mistake(
            "the pixels summed before the mean is squared",
            "Square the mean of each pixel, then sum over pixels.",
            lambda weights, x: weights @ x.square().sum(-1) - (weights @ x).sum(-1).square(),
        ),
        Mistake(
            "the mean square, with nothing subtracted",
            "The error is measured from the mean at this z.",
            lambda weights, x: weights @ x.square().sum(-1),
        ),
        Mistake(
            "the mean of all pictures in the place of the mean at z",
            "The best decoder draws the weighted mean of this z.",
            lambda weights, x: weights @ (x - x.mean(0)).square().sum(-1),
        ),
        Mistake(
            "the error of drawing the heaviest picture",
            "The mean leaves less: the best decoder draws weights @ x.",
            lambda weights, x: (weights * (x - x[weights.argmax(1)][:, None]).square().sum(-1)).sum(
                1
            ),
        ),
        Mistake(
            "the average distance of two pictures drawn at this z",
            "That is twice the error: a picture is nearer to the mean than to another picture.",
            lambda weights, x: 2 * _error_left(weights, x),
        ),
        Mistake(
            "one number for all codes",
            "Return one error for each z, that is for each row of the weights.",
            lambda weights, x: _error_left(weights, x).mean(),
        ),
        Mistake(
            "a root taken",
            "Squared errors are asked for.",
            lambda weights, x: _error_left(weights, x).sqrt(),
        ),
    ),
)

# --- Exercise 4: one pixel ------------------------------------------------------------------------

one_pixel = Prediction(
    answer=2 / 3,
    because=(
        "The average has 1/3 in three columns: (2/3)² + 2 (1/3)² = 2/3 from each of the lines, "
        "half of what one sharp line is off on average."
    ),
    mistakes={
        4 / 3: "that is the error of drawing one of the lines: 0, 2 or 2. What does the average of "
        "the three leave?",
        1.0: "that is the error of drawing no line at all. What does the average leave?",
        2.0: "that is the distance of two different lines. The best decoder draws neither.",
        4 / 9: "that is the line's own column. The average is also grey in the two others.",
        2 / 9: "that is a mean over three columns; the squared error is a sum.",
        1 / 3: "that is what the average draws in each column; how far is it from each line?",
        0.5: "that is the error with two lines, (1/2)² + (1/2)². Here there are three.",
    },
    tolerance=0.006,
)

# --- Exercise 5: what the prior makes of the weights ----------------------------------------------


def _sum_with_prior(codes: Tensor, scales: Tensor, z: Tensor) -> Tensor:
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    return (_log_density(codes, scales, z).logsumexp(1) - log_prior).exp() / len(codes)


def _sum_cases() -> Iterable[Any]:
    """M = 4 codes z, N = 6 pictures, d = 3 units; then 7, 3, 2; then inputs that are special."""
    for at, points, units in ((4, 6, 3), (7, 3, 2)):
        codes = torch.randn(points, units, dtype=torch.float64)
        scales = 0.5 + torch.rand(points, units, dtype=torch.float64)
        yield codes, scales, torch.randn(at, units, dtype=torch.float64)
    yield extreme("a single row of z", codes, scales, torch.randn(1, units, dtype=torch.float64))
    # Encoders so near the prior that the ratio stays in the range of numbers.
    codes, scales = 0.01 * codes, 1 + 0.01 * scales
    far = 45 + torch.randn(3, units, dtype=torch.float64)
    yield extreme("a z so far away that both densities are 0", codes, scales, far)


def _sum_by_a_mixture(codes, scales, z):
    parts = Independent(Normal(codes, scales), 1)
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(len(codes)).to(z)), parts)
    return (mixture.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1)).exp()


def _sum_of_logarithms(codes, scales, z):
    squares = (z[:, None] - codes) ** 2 / scales**2
    log_q = (-0.5 * squares - torch.log(scales) - 0.5 * math.log(2 * math.pi)).sum(2)
    log_prior = -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return torch.exp(torch.logsumexp(log_q, 1) - math.log(len(codes)) - log_prior)


def _sum_of_ratios(codes, scales, z):
    # 2π is the same above and below the line.
    squares = ((z[:, None] - codes) ** 2 / scales**2).sum(2)
    log_q = -0.5 * squares - 0.5 * torch.log(scales**2).sum(1)
    return torch.exp(log_q + 0.5 * (z**2).sum(1)[:, None]).mean(1)


sum_with_prior = Exercise(
    solution=_sum_with_prior,
    cases=_sum_cases,
    right=(
        _sum_by_a_mixture,
        _sum_of_logarithms,
        _sum_of_ratios,
    ),
    mistakes=(
        Mistake(
            "the data's 1/N left out",
            "Each picture has the probability 1/N.",
            lambda codes, scales, z: _sum_with_prior(codes, scales, z) * len(codes),
        ),
        Mistake(
            "the ratio upside down",
            "The prior stands below the line.",
            lambda codes, scales, z: 1 / _sum_with_prior(codes, scales, z),
        ),
        Mistake(
            "the logarithm of the ratio",
            "Take the exponential at the end.",
            lambda codes, scales, z: _sum_with_prior(codes, scales, z).log(),
        ),
        Mistake(
            "the sum of the right weights",
            "Normalised by q(z) the weights always sum to one; divide by the prior instead.",
            lambda codes, scales, z: torch.ones(len(z), dtype=z.dtype),
        ),
        Mistake(
            "the aggregated posterior, without the prior",
            "Divide by p(z), the standard normal density of all units together.",
            lambda codes, scales, z: _log_density(codes, scales, z).logsumexp(1).exp() / len(codes),
        ),
        Mistake(
            "the prior's log-density averaged over the units",
            "The log-density of a vector is the sum over its units.",
            lambda codes, scales, z: (
                (
                    _log_density(codes, scales, z).logsumexp(1)
                    - Normal(0.0, 1.0).log_prob(z).mean(-1)
                ).exp()
                / len(codes)
            ),
        ),
        Mistake(
            "the mean of the log-densities",
            "q(z) is the mean of densities, not of their logarithms.",
            lambda codes, scales, z: (
                _log_density(codes, scales, z).mean(1) - Normal(0.0, 1.0).log_prob(z).sum(-1)
            ).exp(),
        ),
        Mistake(
            "the product of the densities",
            "Summing log-densities over pictures multiplies densities: use logsumexp.",
            lambda codes, scales, z: (
                _log_density(codes, scales, z).sum(1) - Normal(0.0, 1.0).log_prob(z).sum(-1)
            ).exp(),
        ),
        Mistake(
            "the prior at the pictures' codes",
            "The prior's density is taken at z, where the sum is.",
            lambda codes, scales, z: (
                (_log_density(codes, scales, z) - Normal(0.0, 1.0).log_prob(codes).sum(-1))
                .exp()
                .mean(1)
            ),
        ),
        Mistake(
            "the prior without its normaliser",
            "The prior's density has the factor (2π)^(−d/2).",
            lambda codes, scales, z: (
                _log_density(codes, scales, z).exp().mean(1) / (-0.5 * z.square().sum(-1)).exp()
            ),
        ),
        Mistake(
            "the scale taken as a variance",
            "Normal takes standard deviations.",
            lambda codes, scales, z: _sum_with_prior(codes, scales.sqrt(), z),
        ),
        Mistake(
            "densities that underflow",
            "Far away you divide zero by zero: subtract logarithms, and take exp() at the end.",
            lambda codes, scales, z: (
                _log_density(codes, scales, z).exp().mean(1)
                / Normal(0.0, 1.0).log_prob(z).sum(-1).exp()
            ),
        ),
        Mistake(
            "the normaliser of the Gaussians left out",
            "Each encoder's density has the factor 1/scale for each unit.",
            lambda codes, scales, z: (
                (
                    (-0.5 * ((z[:, None] - codes) / scales).square().sum(-1)).logsumexp(1)
                    + 0.5 * z.square().sum(-1)
                ).exp()
                / len(codes)
            ),
        ),
        Mistake(
            "a sum over the codes z",
            "For each z the sum runs over the pictures.",
            lambda codes, scales, z: (
                (
                    _log_density(codes, scales, z) - Normal(0.0, 1.0).log_prob(z).sum(-1)[:, None]
                ).exp()
                / len(codes)
            ).sum(0),
        ),
    ),
)
