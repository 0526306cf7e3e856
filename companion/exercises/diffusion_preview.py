"""Exercises of chapter 11: the loss, the sampler, the weights, the ideal denoiser."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from companion.diffusion import DataDenoiser, Schedule, forward_marginal
from companion.diffusion import reverse_posterior as package_posterior
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


def _between(low: float, high: float, *shape: int) -> Tensor:
    """Return uniform numbers in float64."""
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64)


# --- the training loss ---------------------------------------------------------------------------


Guess = Callable[[Tensor, Tensor], Tensor]


def _loss(guess_noise: Guess, x: Tensor, eps: Tensor, t: Tensor, alpha_bar: Tensor) -> Tensor:
    a = alpha_bar[t - 1, None]
    z = a.sqrt() * x + (1 - a).sqrt() * eps
    return (eps - guess_noise(z, t)).square().sum(-1).mean()


def _network(z: Tensor, t: Tensor) -> Tensor:
    """Stand for a network: a smooth guess that depends on the level of each row."""
    return torch.tanh(z) + 0.1 * t[:, None]


def _loss_cases() -> Iterable[Any]:
    for rows, pixels, levels in ((4, 4, 6), (5, 3, 7), (6, 7, 9)):
        what = "as many pixels as data points" if rows == pixels else ""
        t = torch.randint(1, levels, (rows,))
        alpha_bar = _between(0.2, 0.9, levels).sort(descending=True).values
        x, eps = _normal(2, rows, pixels)
        yield extreme(what, _network, x, eps, t, alpha_bar)
    x, eps = _normal(2, 2, 5)
    yield extreme("the first and the last level", _network, x, eps, torch.tensor([1, 9]), alpha_bar)
    x, eps = _normal(2, 1, 3)
    yield extreme("one data point", _network, x, eps, torch.tensor([3]), alpha_bar)


def _loss_by_the_package(guess_noise, x, eps, t, alpha_bar):
    schedule = Schedule(alpha_bar.logit())
    q = forward_marginal(schedule, x, t)
    error = eps - guess_noise(q.mean + q.stddev * eps, t)
    return (error**2).sum() / len(x)


def _loss_row_by_row(guess_noise, x, eps, t, alpha_bar):
    total = 0.0
    for i, level in enumerate(t):
        a = alpha_bar[level - 1]
        z = a**0.5 * x[i] + (1 - a) ** 0.5 * eps[i]
        total = total + (eps[i] - guess_noise(z[None], level[None])[0]).square().sum()
    return total / len(x)


noise_loss = Exercise(
    solution=_loss,
    cases=_loss_cases,
    right=(
        _loss_by_the_package,
        _loss_row_by_row,
    ),
    mistakes=(
        Mistake(
            "both roots missing",
            "ᾱ and 1 − ᾱ are shares of the variance. What multiplies x and ε?",
            ("a.sqrt() * x + (1 - a).sqrt() * eps", "a * x + (1 - a) * eps"),
        ),
        Mistake(
            "the variance in place of the scale of the noise",
            "Which number must multiply ε so that its variance becomes 1 − ᾱ?",
            ("(1 - a).sqrt()", "(1 - a)"),
        ),
        Mistake(
            "noise added to an x that keeps its size",
            "x shrinks as noise comes in, so that the total variance stays 1.",
            ("a.sqrt() * x", "x"),
        ),
        Mistake(
            "a mean over the pixels",
            "‖·‖² sums over the pixels; the mean is over the data points alone.",
            (".sum(-1).mean()", ".mean()"),
        ),
        Mistake(
            "a sum over the data points",
            "‖·‖² sums over the pixels; over the data points take the mean.",
            (".sum(-1).mean()", ".sum()"),
        ),
        Mistake(
            "a norm that is not squared",
            "The loss is the square of the distance.",
            (".square().sum(-1).mean()", ".square().sum(-1).sqrt().mean()"),
        ),
        Mistake(
            "x in place of the noise",
            "The network guesses ε. Compare its guess with ε.",
            ("(eps - guess_noise(z, t))", "(x - guess_noise(z, t))"),
        ),
        Mistake(
            "ᾱ of the level above",
            "Levels count from 1: ᾱ of level t stands in row t − 1.",
            ("alpha_bar[t - 1, None]", "alpha_bar[t % len(alpha_bar), None]"),
        ),
        Mistake(
            "the network told another level",
            "The network is told the level t of its z, counted from 1.",
            ("guess_noise(z, t)", "guess_noise(z, t - 1)"),
        ),
        Mistake(
            "x without noise shown to the network",
            "The network sees z_t, never x.",
            ("guess_noise(z, t)", "guess_noise(x, t)"),
        ),
    ),
)

# --- the sampler ---------------------------------------------------------------------------------


def _sampler(guess: Any, z: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    for t in range(len(alpha_bar), 1, -1):
        a, b = alpha_bar[t - 1], alpha_bar[t - 2]
        beta = 1 - a / b
        mean = (b.sqrt() * beta * guess(z, t) + (a / b).sqrt() * (1 - b) * z) / (1 - a)
        z = mean + (beta * (1 - b) / (1 - a)).sqrt() * noise[t - 2]
    return guess(z, 1)


def _denoiser(z: Tensor, t: int) -> Tensor:
    """Stand for a denoiser: a smooth guess that depends on the level."""
    return torch.tanh(z) + 0.1 * t


def _sampler_cases() -> Iterable[Any]:
    for levels, rows, pixels in ((5, 3, 2), (7, 4, 5)):
        alpha_bar = _between(0.05, 0.95, levels).sort(descending=True).values
        yield _denoiser, _normal(rows, pixels), _normal(levels - 1, rows, pixels), alpha_bar
    yield extreme("two levels", _denoiser, _normal(2, 3), _normal(1, 2, 3), alpha_bar[[1, 4]])


def _sampler_by_the_package(guess, z, noise, alpha_bar):
    schedule = Schedule(alpha_bar.logit())
    for t in range(len(alpha_bar), 1, -1):
        step = package_posterior(schedule, z, guess(z, t), t - 1, t)
        z = step.mean + step.stddev * noise[t - 2]
    return guess(z, 1)


def _sampler_by_snr(guess, z, noise, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    for t in reversed(range(1, len(alpha_bar))):  # rows, from 0
        a, b, c = alpha_bar[t], alpha_bar[t - 1], 1 - snr[t] / snr[t - 1]
        of_z = (a / b).sqrt() * (1 - b) / (1 - a)
        z = of_z * z + b.sqrt() * c * guess(z, t + 1) + (c * (1 - b)).sqrt() * noise[t - 1]
    return guess(z, 1)


sampler = Exercise(
    solution=_sampler,
    cases=_sampler_cases,
    right=(
        _sampler_by_the_package,
        _sampler_by_snr,
    ),
    mistakes=(
        Mistake(
            "no fresh noise",
            "Each step draws from a Gaussian. Where does its spread come in?",
            (" * noise[t - 2]", " * 0"),
        ),
        Mistake(
            "variance β in place of β̃",
            "The variance asked for is that of q(z_{t−1} | z_t, x).",
            ("(beta * (1 - b) / (1 - a)).sqrt()", "beta.sqrt()"),
        ),
        Mistake(
            "the variance in place of the scale",
            "What must multiply noise of variance 1?",
            ("(beta * (1 - b) / (1 - a)).sqrt()", "(beta * (1 - b) / (1 - a))"),
        ),
        Mistake(
            "z_1 returned",
            "After the last step z_1 still holds noise: return the guess of x from it.",
            ("return guess(z, 1)", "return z"),
        ),
        Mistake(
            "the denoiser told another level",
            "The denoiser is told the level of the z that it sees.",
            ("guess(z, t)", "guess(z, t - 1)"),
        ),
        Mistake(
            "ᾱ of the two levels exchanged in the mean",
            "√ᾱ of level t − 1 stands at x̂.",
            ("b.sqrt() * beta", "a.sqrt() * beta"),
        ),
        Mistake(
            "the guess taken for the next z",
            "The guess of x has no noise of level t − 1. It goes into the mean of (11.8).",
            lambda guess, z, noise, alpha_bar: _by_guesses(guess, z, len(alpha_bar)),
        ),
        Mistake(
            "the noise of the step above",
            "The step from z_t to z_{t−1} uses row t − 2 of the noise.",
            ("noise[t - 2]", "noise[(t - 1) % len(noise)]"),
        ),
    ),
)


def _by_guesses(guess: Any, z: Tensor, levels: int) -> Tensor:
    for t in range(levels, 0, -1):
        z = guess(z, t)
    return z


# --- the ideal denoiser of a list of points ------------------------------------------------------


def _ideal_guess(z: Tensor, data: Tensor, alpha_bar: float) -> Tensor:
    squares = (z[:, None] - alpha_bar**0.5 * data).square().sum(-1)
    return (-squares / (2 * (1 - alpha_bar))).softmax(-1) @ data


def _guess_by(
    logits: Callable[[Tensor, Tensor, float], Tensor],
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return a guess that weighs the points by a softmax of other numbers."""
    return lambda z, data, a: logits(z, data, a).softmax(-1) @ data


def _squares(z: Tensor, data: Tensor, factor: float) -> Tensor:
    return (z[:, None] - factor * data).square().sum(-1)


def _underflows(z: Tensor, data: Tensor, alpha_bar: float) -> Tensor:
    weight = torch.exp(-_squares(z, data, alpha_bar**0.5) / (2 * (1 - alpha_bar)))
    return weight @ data / weight.sum(-1, keepdim=True)


def _ideal_cases() -> Iterable[Any]:
    for points, count, pixels, alpha_bar in ((5, 7, 3, 0.6), (4, 6, 2, 0.2)):
        z, data = _normal(points, pixels), _normal(count, pixels)
        yield z, data, alpha_bar
    far = z * torch.tensor([[1.0], [40.0], [-300.0], [0.2]], dtype=torch.float64)
    what = "z of which some lie so far from all points that every density there is 0"
    yield extreme(what, far, data, 0.9)
    yield extreme("a row of data that occurs twice", z, data[[0, 1, 2, 2]], 0.5)
    yield extreme("one z, and ᾱ near 0", z[:1], data, 1e-3)
    yield extreme("ᾱ near 1", z, data, 0.9999)


def _guess_spelled_out(z, data, alpha_bar):
    error = z[:, None, :] - alpha_bar**0.5 * data[None, :, :]
    logits = -0.5 * (error**2).sum(2) / (1 - alpha_bar)
    weights = torch.softmax(logits, 1)
    return (weights[:, :, None] * data).sum(1)


def _guess_by_inner_products(z, data, alpha_bar):
    # ‖z‖² is the same for all points.
    fit = alpha_bar**0.5 * z @ data.mT - 0.5 * alpha_bar * data.square().sum(1)
    return (fit / (1 - alpha_bar)).softmax(1) @ data


def _guess_by_the_package(z, data, alpha_bar):
    log_snr = torch.tensor(alpha_bar, dtype=z.dtype).logit().expand(len(z))
    return DataDenoiser(data)(z, log_snr)


def _guess_by_log_probabilities(z, data, alpha_bar):
    points = MultivariateNormal(
        alpha_bar**0.5 * data, (1 - alpha_bar) * torch.eye(data.shape[1], dtype=data.dtype)
    )
    log_joint = points.log_prob(z[:, None])
    weight = (log_joint - log_joint.logsumexp(1, keepdim=True)).exp()
    return torch.einsum("bn,nd->bd", weight, data)


ideal_guess = Exercise(
    solution=_ideal_guess,
    cases=_ideal_cases,
    right=(
        _guess_spelled_out,
        _guess_by_inner_products,
        _guess_by_the_package,
        _guess_by_log_probabilities,
    ),
    mistakes=(
        Mistake(
            "densities that underflow",
            "Far from all points every density is zero in floating point. Stay in logarithms.",
            _underflows,
        ),
        Mistake(
            "the points not shrunk by √ᾱ",
            "q(z_t | x) is centred on √ᾱ x.",
            _guess_by(lambda z, data, a: -_squares(z, data, 1.0) / (2 * (1 - a))),
        ),
        Mistake(
            "the points shrunk by ᾱ",
            "q(z_t | x) is centred on √ᾱ x.",
            _guess_by(lambda z, data, a: -_squares(z, data, a) / (2 * (1 - a))),
        ),
        Mistake(
            "the ½ of the exponent missing",
            "A Gaussian's exponent divides by twice the variance.",
            _guess_by(lambda z, data, a: -_squares(z, data, a**0.5) / (1 - a)),
        ),
        Mistake(
            "the standard deviation in place of the variance",
            "A Gaussian's exponent divides by the variance, which is 1 − ᾱ.",
            _guess_by(lambda z, data, a: -_squares(z, data, a**0.5) / (2 * (1 - a) ** 0.5)),
        ),
        Mistake(
            "distances that are not squared",
            "A Gaussian's exponent holds the square of the distance.",
            _guess_by(lambda z, data, a: -_squares(z, data, a**0.5).sqrt() / (2 * (1 - a))),
        ),
        Mistake(
            "the nearest point alone",
            "All points share in the guess, each by its probability.",
            lambda z, data, a: data[_squares(z, data, a**0.5).argmin(-1)],
        ),
        Mistake(
            "weights that sum to one over z",
            "For each z the weights of the data points sum to one. Which axis is that?",
            lambda z, data, a: (-_squares(z, data, a**0.5) / (2 * (1 - a))).softmax(0) @ data,
        ),
        Mistake(
            "the variance left out of the exponent",
            "A Gaussian's exponent divides by the variance, which is 1 − ᾱ.",
            _guess_by(lambda z, data, a: -_squares(z, data, a**0.5) / 2),
        ),
        Mistake(
            "weights that are not normalised",
            "A mean needs weights that sum to one. A softmax over the points gives them.",
            lambda z, data, a: (-_squares(z, data, a**0.5) / (2 * (1 - a))).exp() @ data,
        ),
        Mistake(
            "the guess of √ᾱ x in place of x",
            "The weights belong to the points x_n themselves. Which points are averaged?",
            lambda z, data, a: a**0.5 * _ideal_guess(z, data, a),
        ),
    ),
)

# --- predictions ---------------------------------------------------------------------------------

straight_weight = Prediction(
    answer=0.139,
    because="Each step divides the SNR by exp(12/49), whatever the level.",
    mistakes={
        0.277: "that is SNR_{t−1}/SNR_t − 1. A factor of ½ is missing.",
        0.136: "fifty levels have 49 steps between them.",
        0.122: "the ratio of two SNRs is the exponential of their difference in log SNR.",
    },
    tolerance=0.001,
)

weight_ratio = Prediction(
    answer=2.4,
    because="The weights are ½(9/4 − 1) = 0.625 and ½(4/1 − 1) = 1.5.",
    mistakes={
        0.6: "those are the weights of ‖x − x̂‖². The error of the noise is SNR_t times it.",
        1.0: "that is so where log SNR falls on a straight line. Here SNR falls 9, 4, 1.",
        0.417: "that is the weight of t = 2 over that of t = 3.",
    },
    tolerance=0.01,
)

enough_steps = Prediction(
    answer=50,
    because="From there on the distances differ by less than their spread.",
    mistakes={
        5: "its samples are by far the furthest from the data.",
        10: "at T = 10 the distance is still many times its spread, and T = 20 is better.",
        20: "at T = 20 the distance is still well above that at T = 50.",
        200: "more steps do no harm, but a smaller number is enough.",
    },
)

# --- information ---------------------------------------------------------------------------------


def _information(eigenvalues: Tensor, snr: Tensor) -> Tensor:
    return 0.5 * torch.log1p(snr[:, None] * eigenvalues).sum(-1)


def _information_cases() -> Iterable[Any]:
    snr = torch.tensor([30.0, 2.0, 0.7, 0.01, 1e-4], dtype=torch.float64)
    # The first lets an answer run that pairs levels and directions; the second stops it.
    for directions, levels in ((5, 5), (3, 5), (6, 4)):
        what = "as many levels as directions" if directions == levels else ""
        yield extreme(what, _between(0.2, 3.2, directions), snr[:levels])
    yield extreme("one direction and one level", _between(0.2, 3.2, 1), snr[1:2])
    flat = torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64)
    yield extreme("a direction of variance 0", flat, snr[:2])
    many = _between(20, 50, 200)
    yield extreme("200 directions", many, torch.tensor([400.0, 1.0], dtype=torch.float64))


def _information_direction_by_direction(eigenvalues, snr):
    total = torch.zeros_like(snr)
    for variance in eigenvalues:
        total = total + 0.5 * torch.log(1 + snr * variance)
    return total


def _information_by_entropies(eigenvalues, snr):
    alpha_bar = (snr / (1 + snr))[:, None]
    marginal = Normal(0.0, (alpha_bar * eigenvalues + 1 - alpha_bar).sqrt()).entropy()
    return (marginal - Normal(0.0, (1 - alpha_bar).sqrt()).entropy()).sum(1)


def _information_by_a_determinant(eigenvalues, snr):
    eye = torch.eye(len(eigenvalues), dtype=eigenvalues.dtype)
    return torch.stack([torch.logdet(eye + s * torch.diag(eigenvalues)) / 2 for s in snr])


information = Exercise(
    solution=_information,
    cases=_information_cases,
    right=(
        _information_direction_by_direction,
        _information_by_entropies,
        _information_by_a_determinant,
    ),
    mistakes=(
        Mistake(
            "the SNR turned over",
            "With more noise z_t tells less of x, so the result must fall as the SNR falls.",
            lambda eigenvalues, snr: _information(eigenvalues, 1 / snr),
        ),
        Mistake(
            "the factor ½ missing",
            "The entropy of a Gaussian is ½ log of its variance, up to a constant.",
            lambda eigenvalues, snr: 2 * _information(eigenvalues, snr),
        ),
        Mistake(
            "a mean over the directions",
            "Independent directions add up their information.",
            lambda eigenvalues, snr: _information(eigenvalues, snr) / len(eigenvalues),
        ),
        Mistake(
            "the data's variances left out",
            "A direction in which the data hardly vary has little to tell.",
            lambda eigenvalues, snr: _information(torch.ones_like(eigenvalues), snr),
        ),
        Mistake(
            "the 1 missing in the logarithm",
            "z_t holds signal and noise. Without signal the information is 0, not minus infinity.",
            lambda eigenvalues, snr: 0.5 * torch.log(snr[:, None] * eigenvalues).sum(-1),
        ),
        Mistake(
            "the scales in place of the variances",
            "Eigenvalues of S are variances already. The SNR is a ratio of variances too.",
            lambda eigenvalues, snr: _information(eigenvalues.sqrt(), snr.sqrt()),
        ),
        Mistake(
            "one logarithm of the summed variances",
            "Each direction has a logarithm of its own; then they are summed.",
            lambda eigenvalues, snr: 0.5 * torch.log1p(snr * eigenvalues.sum()),
        ),
        Mistake(
            "levels and directions paired",
            "Each level sums over all directions: give the SNR an axis of its own.",
            lambda eigenvalues, snr: 0.5 * torch.log1p(snr * eigenvalues),
        ),
        Mistake(
            "ᾱ in place of the SNR",
            "`snr` is ᾱ / (1 − ᾱ) already, and stands in the logarithm as it is.",
            lambda eigenvalues, snr: _information(eigenvalues, snr / (1 + snr)),
        ),
        Mistake(
            "the largest direction alone",
            "Independent directions add up their information.",
            lambda eigenvalues, snr: 0.5 * torch.log1p(snr * eigenvalues.max()),
        ),
        Mistake(
            "the SNR added to the variance",
            "With no signal in a direction it tells nothing: the two are multiplied.",
            lambda eigenvalues, snr: 0.5 * torch.log1p(snr[:, None] + eigenvalues).sum(-1),
        ),
        Mistake(
            "bits in place of nats",
            "Use the natural logarithm.",
            lambda eigenvalues, snr: _information(eigenvalues, snr) / math.log(2),
        ),
        Mistake(
            "the sign turned",
            "Information is never negative.",
            lambda eigenvalues, snr: -_information(eigenvalues, snr),
        ),
    ),
)
