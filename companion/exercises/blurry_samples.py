"""Exercises of chapter 6: weighted averages, other losses, and when an average copies."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from companion.exact import optimal_decoder
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

# --- guesses in the text --------------------------------------------------------------------------

cheapest_mixture = Prediction(
    answer="the share w",
    because=(
        "The error (1 − w) v² + w (1 − v)² has the derivative 2 (v − w): it is least at v = w, "
        "where it is w (1 − w) = 0.197. Drawing the one costs 0.269."
    ),
    mistakes={
        "the one": "it is right in 73 % of the cases, but in the others it is off by the whole "
        "difference: 0.269. A mixture is never off by so much.",
        "half of each": "it is off by a quarter of ‖zero − one‖² whichever it was. Leaning towards "
        "the likelier one saves more than it costs.",
        "the zero": "it is wrong in 73 % of the cases, and then by the whole difference.",
    },
)

widths_apart = Prediction(
    answer=3.667,
    because=(
        "At 3.7 widths the mixing is 0.024, less than a tenth of ¼. Exactly, 0.025 is reached at "
        "3.67, between the 3.29 and the 3.92 at which the two bounds of (6.13) reach it."
    ),
    mistakes={
        1.0: "at 1 the mixing is 0.199, four fifths of what it is at 0.",
        2.0: "at 2 the mixing is 0.112, nearly half of what it is at 0.",
        2.5: "at 2.5 the mixing is 0.077: less than a third of what it is at 0, but not a tenth.",
        3.0: "at 3 the mixing is 0.049, a fifth of what it is at 0.",
        3.29: "at 3.29 the lower bound of (6.13) is 0.025. The mixing is larger.",
        4.0: "at 4 the mixing is 0.017. A little less is enough.",
        5.0: "at 5 the mixing is 0.005, a fiftieth of what it is at 0. Less is enough.",
        6.0: "at 6 the mixing is 0.001. Less is enough.",
        8.0: "at 8 the mixing is below a ten-thousandth. Much less is enough.",
        10.0: "at 10 the mixing is below a millionth. Much less is enough.",
    },
    tolerance=0.15,
    advice="Φ(−Δ/2s), the chance to cross the midpoint, is an upper bound, half of it a lower one.",
)

larger_decoder = Prediction(
    answer="eight",
    because=(
        "There it takes a fifth off the VAE's error on training digits, with two units a tenth: "
        "codes of two units overlap so much that even μ* keeps 85 % of that error."
    ),
    mistakes={
        "two": "codes of two units overlap more: of the VAE's error even μ* keeps 85 % there. How "
        "much is left for a larger decoder to take?",
    },
)

nearer_to_a_new_digit = Prediction(
    answer="the noisy picture",
    because=(
        "64 pixels of noise 0.1 add an error of about 0.64. The denoiser knows its own digits "
        "only and copies the nearest, whose error is 1.6."
    ),
    mistakes={
        "the guess": "it is the best guess for one of the training digits. Can it draw "
        "a seven that is not among them? See the errors at s = 0.1 in figure 6.12.",
    },
)

# --- Exercise 1: one pixel ------------------------------------------------------------------------

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

# --- Exercise 2: two widths -----------------------------------------------------------------------

_ROOT = math.sqrt(100 - 12 * (3 - 8 * math.log(2)))

crossing_right = Prediction(
    answer=(-10 + _ROOT) / 6,
    because="3 z² + 10 z + 3 = 8 log 2, and this is the larger root.",
    mistakes={
        -0.332: "there the exponents alone are equal. A density also has the factor 1/s, and the "
        "widths are not the same.",
        0.672: "that has log 4, of the variances: the factor is 1/s, with the width itself.",
        0.0: "that is the midpoint, where encoders of one width cross. These have two widths.",
        1.0: "that is the code of x′. There x′ weighs more than a half.",
        (-10 - _ROOT) / 6: "that is the smaller one of the two.",
    },
    tolerance=0.003,
)

crossing_left = Prediction(
    answer=(-10 - _ROOT) / 6,
    because="3 z² + 10 z + 3 = 8 log 2, and this is the smaller root.",
    mistakes={
        -3.0: "there the exponents alone are equal. A density also has the factor 1/s, and the "
        "widths are not the same.",
        -4.005: "that has log 4, of the variances: the factor is 1/s, with the width itself.",
        -1.0: "that is the code of x, where x weighs more.",
        (-10 + _ROOT) / 6: "that is the larger one of the two.",
    },
    tolerance=0.006,
)

far_left = Prediction(
    answer="wide",
    because=(
        "The log-odds of x′ grow like (½ − ⅛) z² on both sides: far out the wider Gaussian is the "
        "higher one, although its code is farther away."
    ),
    mistakes={
        "narrow": "its code is nearer, but distances count in widths. How fast do the two "
        "exponents fall?"
    },
)

# --- Exercise 3: the best decoder -----------------------------------------------------------------


def _log_density(codes: Tensor, scales: Tensor, z: Tensor) -> Tensor:
    """Return log q(z_m | x_n), (M, N)."""
    return Normal(codes, scales).log_prob(z[:, None]).sum(-1)


def _log_joint(codes: Tensor, scales: Tensor, p: Tensor, z: Tensor) -> Tensor:
    """Return log p_n q(z_m | x_n), (M, N)."""
    return _log_density(codes, scales, z) + p.log()


def _best_decoder(codes: Tensor, scales: Tensor, p: Tensor, x: Tensor, z: Tensor) -> Tensor:
    return _log_joint(codes, scales, p, z).softmax(dim=1) @ x


def _by_prior(codes: Tensor, scales: Tensor, p: Tensor, x: Tensor, z: Tensor) -> Tensor:
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1, keepdim=True)
    return (_log_joint(codes, scales, p, z) - log_prior).exp() @ x


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
        p = (0.2 + torch.rand(points, dtype=torch.float64)).square()
        x = torch.rand(points, pixels, dtype=torch.float64)
        # The first row stays where the codes are.
        away = shift * torch.linspace(0, 1, at, dtype=torch.float64)[:, None]
        z = size * torch.randn(at, units, dtype=torch.float64) + away
        yield extreme(what, codes, scales, p / p.sum(), x, z)


def _best_by_the_package(codes, scales, p, x, z):
    q = Independent(Normal(codes, scales), 1)  # a ratio of means over pictures that are alike
    return optimal_decoder(q, p[:, None] * x, z) / optimal_decoder(q, p[:, None], z)


def _best_row_by_row(codes, scales, p, x, z):
    rows = []
    for at in z:
        squares = ((at - codes) ** 2 / scales**2).sum(1)
        log_q = -0.5 * squares - 0.5 * torch.log(scales**2).sum(1)
        weight = p * torch.exp(log_q - log_q.max())
        rows.append((weight[:, None] * x).sum(0) / weight.sum())
    return torch.stack(rows)


def _best_by_logarithms(codes, scales, p, x, z):
    squares = (z[:, None] - codes) ** 2 / scales**2
    log_q = (-0.5 * squares - torch.log(scales)).sum(2) + torch.log(p)
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
            "pictures taken as equally frequent",
            "A picture that occurs more often weighs more: its density counts p_n times.",
            lambda codes, scales, p, x, z: _log_density(codes, scales, z).softmax(dim=1) @ x,
        ),
        Mistake(
            "the frequency added to the log-density",
            "A product of probabilities is a sum of logarithms: add log p_n.",
            lambda codes, scales, p, x, z: (_log_density(codes, scales, z) + p).softmax(1) @ x,
        ),
        Mistake(
            "the log-density multiplied by the frequency",
            "The density is multiplied by p_n, so its logarithm gets log p_n added.",
            lambda codes, scales, p, x, z: (_log_density(codes, scales, z) * p).softmax(1) @ x,
        ),
        Mistake(
            "frequencies that come after the normalisation",
            "Multiply by p_n first; then let the weights sum to one.",
            lambda codes, scales, p, x, z: (p * _log_density(codes, scales, z).softmax(1)) @ x,
        ),
        Mistake(
            "weights that are not normalised",
            "For each z the weights must sum to one over the pictures.",
            lambda codes, scales, p, x, z: _log_density(codes, scales, z).exp() @ x / len(x),
        ),
        Mistake(
            "a sum with weights that are not normalised",
            "For each z the weights must sum to one over the pictures.",
            lambda codes, scales, p, x, z: _log_joint(codes, scales, p, z).exp() @ x,
        ),
        Mistake(
            "one width for all pictures",
            "Each picture's code has the scales of its own row.",
            lambda codes, scales, p, x, z: _best_decoder(
                codes, scales.mean().expand_as(scales), p, x, z
            ),
        ),
        Mistake(
            "a width of one for all pictures",
            "Each picture's code has the scales of its own row.",
            lambda codes, scales, p, x, z: _best_decoder(codes, torch.ones_like(scales), p, x, z),
        ),
        Mistake(
            "the picture whose code is nearest",
            "The best decoder averages: keep all the pictures, by their weights.",
            lambda codes, scales, p, x, z: x[torch.cdist(z, codes).argmin(1)],
        ),
        Mistake(
            "weights normalised by the prior",
            "Their sum is then q(z)/p(z); divide by the sum of the densities themselves.",
            _by_prior,
        ),
        Mistake(
            "the softmax over the wrong axis",
            "For each z the weights sum to one over the pictures, not over the codes z.",
            lambda codes, scales, p, x, z: _log_joint(codes, scales, p, z).softmax(dim=0) @ x,
        ),
        Mistake(
            "the scale taken as a variance",
            "Normal takes standard deviations, and its exponent squares them.",
            lambda codes, scales, p, x, z: _best_decoder(codes, scales.sqrt(), p, x, z),
        ),
        Mistake(
            "the average of the codes instead of the pictures",
            "The weights multiply x; the result has as many columns as x has pixels.",
            lambda codes, scales, p, x, z: _best_decoder(codes, scales, p, codes, z),
        ),
        Mistake(
            "the heaviest picture alone",
            "The most probable picture is not the mean: keep all the weights.",
            lambda codes, scales, p, x, z: x[_log_joint(codes, scales, p, z).argmax(dim=1)],
        ),
        Mistake(
            "the normaliser of the Gaussians left out",
            "The widths differ from picture to picture, so −log scale does not cancel.",
            lambda codes, scales, p, x, z: (
                (-0.5 * ((z[:, None] - codes) / scales).square().sum(-1) + p.log()).softmax(dim=1)
                @ x
            ),
        ),
        Mistake(
            "log-densities used as weights",
            "The weights are proportional to the densities, not to their logarithms.",
            lambda codes, scales, p, x, z: (
                _log_joint(codes, scales, p, z)
                / _log_joint(codes, scales, p, z).sum(1, keepdim=True)
                @ x
            ),
        ),
        Mistake(
            "the plain mean of all pictures",
            "Pictures whose codes are near z in units of the width count more.",
            lambda codes, scales, p, x, z: x.mean(0).expand(len(z), -1),
        ),
        Mistake(
            "densities that underflow",
            "Far from every code you divide zero by zero: take the softmax of the logarithms.",
            lambda codes, scales, p, x, z: (
                _log_joint(codes, scales, p, z).exp()
                / _log_joint(codes, scales, p, z).exp().sum(1, keepdim=True)
                @ x
            ),
        ),
    ),
)

# --- Exercise 4: other losses ---------------------------------------------------------------------

best_by_cross_entropy = Prediction(
    answer=0.59,
    because=(
        "The derivative E[x | z] / m − (1 − E[x | z]) / (1 − m) vanishes at m = E[x | z] = "
        "0.35 · 0.4 + 0.45 · 1: the conditional mean again."
    ),
    mistakes={
        1.0: "that is the grey level of the heaviest picture. Then a picture without ink there "
        "would cost infinitely much.",
        0.4: "that is the median, which has the least absolute error.",
        1.4 / 3: "that is the mean of three pictures that weigh alike.",
        0.45: "that is the weight of the black pixel. The grey one counts too, with its level.",
        0.5: "that is the middle of the range. Set the derivative in m to zero.",
        math.log(0.59 / 0.41): "that is the log-odds of m, what a network gives out before its "
        "sigmoid.",
    },
    tolerance=0.005,
)

best_by_absolute_error = Prediction(
    answer=0.4,
    because=(
        "Moving m by a little costs the weight below it and saves the weight above it. Below 0.4 "
        "lies 0.2, up to 0.4 lies 0.55: 0.4 is the median."
    ),
    mistakes={
        0.59: "that is the mean, which has the least squared error.",
        1.0: "that is the heaviest picture, but 0.55 of the weight lies below it: moving down "
        "costs 0.45 and saves 0.55.",
        0.0: "0.8 of the weight lies above it: moving up saves more than it costs.",
        1.4 / 3: "that is the mean of three pictures that weigh alike.",
        0.5: "that is the middle of the range. Where does half of the weight lie on either side?",
    },
    tolerance=0.005,
)

best_variance = Prediction(
    answer=0.1579,
    because=(
        "The mean over q_enc(x | z) of −log σ − (x − m)² / 2σ² is largest at σ² = E[(x − m)² | z], "
        "which at the best mean is the variance: 0.35 · 0.4² + 0.45 − 0.59². It says how much was "
        "averaged away at this pixel."
    ),
    mistakes={
        0.398: "that is σ, the root.",
        0.506: "that is E[x² | z]: subtract the square of the mean.",
        0.348: "that is the square of the mean: subtract it from E[x² | z].",
        0.242: "that is m (1 − m), the variance of a pixel that is 0 or 1. This one may be grey.",
        0.169: "that is the variance of three pictures that weigh alike.",
        0.194: "that is the spread around the median; the mean of the Gaussian is at 0.59.",
    },
    tolerance=0.0025,
)

# --- Exercise 5: the score ------------------------------------------------------------------------


def _log_weights(codes: Tensor, scale: float, z: Tensor) -> Tensor:
    return -(z[:, None] - codes).square().sum(-1) / (2 * scale**2)


def _score(codes: Tensor, scale: float, z: Tensor) -> Tensor:
    return (_log_weights(codes, scale, z).softmax(dim=1) @ codes - z) / scale**2


def _score_cases() -> Iterable[Any]:
    """M = 4 codes z, N = 6 encoders, d = 3 units; then 7, 5, 2; then places that are special."""
    far = "a z so far from all codes that every density is 0"
    for what, at, points, units, scale, spread in (
        ("", 4, 6, 3, 0.8, 1.0),
        ("", 7, 5, 2, 1.3, 1.0),
        (far, 3, 4, 2, 0.5, 200.0),
        ("a single row of z", 1, 5, 3, 0.8, 1.0),
    ):
        codes = torch.randn(points, units, dtype=torch.float64)
        z = spread * torch.randn(at, units, dtype=torch.float64)
        yield extreme(what, codes, scale, z)


def _score_by_autograd(codes, scale, z):
    with torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        log_q = Independent(Normal(codes, scale), 1).log_prob(z[:, None]).logsumexp(1)
        return torch.autograd.grad(log_q.sum(), z)[0]


def _score_by_the_package(codes, scale, z):
    q = Independent(Normal(codes, torch.full_like(codes, scale)), 1)
    return (optimal_decoder(q, codes, z) - z) / scale**2


def _score_of_each_encoder(codes, scale, z):
    log_q = Normal(codes, scale).log_prob(z[:, None]).sum(-1)
    weights = torch.exp(log_q - torch.logsumexp(log_q, 1, keepdim=True))
    return (weights[..., None] * (codes - z[:, None]) / scale**2).sum(1)


score = Exercise(
    solution=_score,
    cases=_score_cases,
    right=(_score_by_autograd, _score_by_the_package, _score_of_each_encoder),
    mistakes=(
        Mistake(
            "the opposite direction",
            "log q grows towards the codes: from z to their average.",
            ("@ codes - z)", "@ -codes + z)"),
        ),
        Mistake(
            "the average alone",
            "The gradient vanishes where z is the average: subtract z.",
            ("@ codes - z)", "@ codes)"),
        ),
        Mistake(
            "not divided by the variance",
            "The exponent's gradient is the distance over s².",
            (") / scale**2", ")"),
        ),
        Mistake(
            "divided by the scale, not the variance",
            "The exponent's gradient is the distance over s².",
            (") / scale**2", ") / scale"),
        ),
        Mistake(
            "twice the variance below the line",
            "The square's derivative has a factor of 2, which cancels the ½.",
            (") / scale**2", ") / (2 * scale**2)"),
        ),
        Mistake(
            "all encoders counted alike",
            "Each code counts with its weight at this z.",
            lambda codes, scale, z: (codes.mean(0) - z) / scale**2,
        ),
        Mistake(
            "the nearest code alone",
            "All codes pull, each with its weight at this z.",
            lambda codes, scale, z: (codes[_log_weights(codes, scale, z).argmax(1)] - z) / scale**2,
        ),
        Mistake(
            "a sum over the encoders, not an average",
            "The weights sum to one for each z.",
            lambda codes, scale, z: (codes - z[:, None]).sum(1) / scale**2,
        ),
        Mistake(
            "the softmax over the wrong axis",
            "For each z the weights sum to one over the encoders.",
            (".softmax(dim=1)", ".softmax(dim=0)"),
        ),
        Mistake(
            "the scale taken as a variance in the weights",
            "A Gaussian's exponent is minus the squared distance over 2 s².",
            lambda codes, scale, z: (
                (_log_weights(codes, math.sqrt(scale), z).softmax(dim=1) @ codes - z) / scale**2
            ),
        ),
        Mistake(
            "the gradient of q instead of log q",
            "The derivative of a logarithm divides by q(z).",
            lambda codes, scale, z: (
                Normal(codes, scale).log_prob(z[:, None]).sum(-1).logsumexp(1, keepdim=True).exp()
                / len(codes)
                * _score(codes, scale, z)
            ),
        ),
        Mistake(
            "densities that underflow",
            "Far from every code you divide zero by zero: take the softmax of the logarithms.",
            lambda codes, scale, z: (
                (
                    _log_weights(codes, scale, z).exp()
                    / _log_weights(codes, scale, z).exp().sum(1, keepdim=True)
                    @ codes
                    - z
                )
                / scale**2
            ),
        ),
    ),
)

# --- Exercise 6: when does it copy? ---------------------------------------------------------------

copying_width = Prediction(
    answer=0.307,
    because=(
        "The nearest other digit is typically about 1 away, three widths or so. With more noise "
        "the weights of such neighbours are no longer negligible."
    ),
    mistakes={
        0.385: "that is what a forgotten 2 gives: the exponent is −‖z − x_n‖² / 2s².",
        0.1: "too narrow: there it copies nearly always. Try larger widths.",
        0.5: "too wide: there it copies in one draw of 26. Try narrower ones.",
        1.0: "far too wide: there it never copies. Try narrower ones.",
        0.015: "that is the width for the codes of two units. Let each picture be its own code.",
        0.2: "that is about the width for new digits under noise. Draw n among the digits of the "
        "data set itself.",
    },
    tolerance=0.012,
)
