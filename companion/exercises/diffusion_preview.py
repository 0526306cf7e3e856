"""Exercises of chapter 11: the ELBO's loss, a sampler, weights, an ideal denoiser, its error."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal

from companion.diffusion import GaussianDenoiser, Schedule, forward_marginal
from companion.diffusion import reverse_posterior as package_posterior
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


def _between(low: float, high: float, *shape: int) -> Tensor:
    """Return uniform numbers in float64."""
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64)


# --- the loss of a network that guesses x ---------------------------------------------------------


Guess = Callable[[Tensor, Tensor], Tensor]


def _loss(guess: Guess, x: Tensor, eps: Tensor, t: Tensor, alpha_bar: Tensor) -> Tensor:
    a = alpha_bar[t - 1, None]
    z = a.sqrt() * x + (1 - a).sqrt() * eps
    snr = alpha_bar / (1 - alpha_bar)
    weight = 0.5 * (snr[t - 2] - snr[t - 1])
    return (weight * (x - guess(z, t)).square().sum(-1)).mean()


def _network(z: Tensor, t: Tensor) -> Tensor:
    """Stand for a network: a smooth guess that depends on the level of each row."""
    return torch.tanh(z) + 0.1 * t[:, None]


def _loss_cases() -> Iterable[Any]:
    for rows, pixels, levels in ((4, 4, 6), (5, 3, 7), (6, 7, 9)):
        what = "as many pixels as data points" if rows == pixels else ""
        t = torch.randint(2, levels + 1, (rows,))
        alpha_bar = _between(0.2, 0.9, levels).sort(descending=True).values
        x, eps = _normal(2, rows, pixels)
        yield extreme(what, _network, x, eps, t, alpha_bar)
    x, eps = _normal(2, 2, 5)
    yield extreme("t = 2 and the last level", _network, x, eps, torch.tensor([2, 9]), alpha_bar)
    x, eps = _normal(2, 1, 3)
    yield extreme("one data point", _network, x, eps, torch.tensor([3]), alpha_bar)


def _loss_by_the_package(guess, x, eps, t, alpha_bar):
    schedule = Schedule(alpha_bar.logit())
    q = forward_marginal(schedule, x, t)
    error = x - guess(q.mean + q.stddev * eps, t)
    weight = (schedule.snr[t - 2] - schedule.snr[t - 1]) / 2
    return (weight[:, None] * error**2).sum() / len(x)


def _loss_by_the_noise(guess, x, eps, t, alpha_bar):
    # By (11.13): the error of the noise that belongs to the guess, with its own weight.
    a, b = alpha_bar[t - 1, None], alpha_bar[t - 2, None]
    z = a.sqrt() * x + (1 - a).sqrt() * eps
    eps_hat = (z - a.sqrt() * guess(z, t)) / (1 - a).sqrt()
    ratio = b / (1 - b) * (1 - a) / a
    return (0.5 * (ratio - 1) * (eps - eps_hat) ** 2).sum(1).mean()


def _loss_row_by_row(guess, x, eps, t, alpha_bar):
    total = 0.0
    for i, level in enumerate(t):
        a, b = alpha_bar[level - 1], alpha_bar[level - 2]
        z = a**0.5 * x[i] + (1 - a) ** 0.5 * eps[i]
        error = (x[i] - guess(z[None], level[None])[0]).square().sum()
        total = total + 0.5 * (b / (1 - b) - a / (1 - a)) * error
    return total / len(x)


elbo_loss = Exercise(
    solution=_loss,
    cases=_loss_cases,
    right=(
        _loss_by_the_package,
        _loss_by_the_noise,
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
            (".square().sum(-1)", ".square().mean(-1)"),
        ),
        Mistake(
            "a sum over the data points",
            "‖·‖² sums over the pixels; over the data points take the mean.",
            (".sum(-1)).mean()", ".sum(-1)).sum()"),
        ),
        Mistake(
            "a norm that is not squared",
            "A term of (11.12) holds the square of the distance.",
            (".square().sum(-1)", ".square().sum(-1).sqrt()"),
        ),
        Mistake(
            "the noise in place of x",
            "This network guesses x. Compare its guess with x.",
            ("(x - guess(z, t))", "(eps - guess(z, t))"),
        ),
        Mistake(
            "no weights",
            "In (11.12) each level has a weight. What does it hold?",
            ("weight * (x", "(x"),
        ),
        Mistake(
            "the factor ½ missing",
            "Look at the factor in front of the SNRs in (11.12).",
            ("0.5 * (snr", "(snr"),
        ),
        Mistake(
            "the two SNRs exchanged",
            "The SNR falls as t grows. Which difference is positive?",
            ("snr[t - 2] - snr[t - 1]", "snr[t - 1] - snr[t - 2]"),
        ),
        Mistake(
            "the weight of an error of the noise",
            "SNR_{t−1}/SNR_t − 1 belongs to the error of the noise. This is an error of x.",
            ("(snr[t - 2] - snr[t - 1])", "(snr[t - 2] / snr[t - 1] - 1)"),
        ),
        Mistake(
            "the weight of the level above",
            "Levels count from 1: the SNRs of t − 1 and t stand in rows t − 2 and t − 1.",
            ("snr[t - 2] - snr[t - 1]", "snr[t - 1] - snr[t % len(snr)]"),
        ),
        Mistake(
            "ᾱ in place of the SNR",
            "SNR = ᾱ / (1 − ᾱ). The weight is a difference of SNRs.",
            ("snr = alpha_bar / (1 - alpha_bar)", "snr = alpha_bar"),
        ),
        Mistake(
            "each weight times each error",
            "One weight for each row. What shapes are multiplied?",
            ("(weight * (x", "(weight[:, None] * (x"),
        ),
        Mistake(
            "ᾱ of the level above",
            "Levels count from 1: ᾱ of level t stands in row t − 1.",
            ("alpha_bar[t - 1, None]", "alpha_bar[t % len(alpha_bar), None]"),
        ),
        Mistake(
            "the network told another level",
            "The network is told the level t of its z, counted from 1.",
            ("guess(z, t)", "guess(z, t - 1)"),
        ),
        Mistake(
            "x without noise shown to the network",
            "The network sees z_t, never x.",
            ("guess(z, t)", "guess(x, t)"),
        ),
    ),
)

# --- the sampler ---------------------------------------------------------------------------------


def _sampler(guess: Any, z: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    for t in range(len(alpha_bar), 1, -1):
        a, b = alpha_bar[t - 1], alpha_bar[t - 2]
        beta = 1 - a / b
        mean = (b.sqrt() * beta * guess(z, t) + (a / b).sqrt() * (1 - b) * z) / (1 - a)
        z = mean + beta.sqrt() * noise[t - 2]
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
        z = step.mean + schedule.beta[t - 1].sqrt() * noise[t - 2]
    return guess(z, 1)


def _sampler_by_snr(guess, z, noise, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    for t in reversed(range(1, len(alpha_bar))):  # rows, from 0
        a, b, c = alpha_bar[t], alpha_bar[t - 1], 1 - snr[t] / snr[t - 1]
        of_z = (a / b).sqrt() * (1 - b) / (1 - a)
        z = of_z * z + b.sqrt() * c * guess(z, t + 1) + (1 - a / b).sqrt() * noise[t - 1]
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
            "variance β̃ in place of β",
            "The variance asked for is that of the step up, q(z_t | z_{t−1}).",
            ("beta.sqrt() * noise", "(beta * (1 - b) / (1 - a)).sqrt() * noise"),
        ),
        Mistake(
            "the variance in place of the scale",
            "What must multiply noise of variance 1?",
            ("beta.sqrt() * noise", "beta * noise"),
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


# --- the ideal denoiser of blobs -----------------------------------------------------------------


def _ideal_guess(z: Tensor, centres: Tensor, scale: float, alpha_bar: float) -> Tensor:
    variance = alpha_bar * scale**2 + 1 - alpha_bar
    squares = (z[:, None] - alpha_bar**0.5 * centres).square().sum(-1)
    weight = (-squares / (2 * variance)).softmax(-1)
    gain = alpha_bar**0.5 * scale**2 / variance
    return gain * z + (1 - gain * alpha_bar**0.5) * (weight @ centres)


def _guess_by(
    logits: Callable[[Tensor, Tensor, float, float], Tensor],
) -> Callable[[Tensor, Tensor, float, float], Tensor]:
    """Return a guess that weighs the blobs by a softmax of other numbers."""
    return lambda z, centres, s, a: _blend(z, centres, s, a, logits(z, centres, s, a).softmax(-1))


def _blend(z: Tensor, centres: Tensor, scale: float, a: float, weight: Tensor) -> Tensor:
    gain = a**0.5 * scale**2 / (a * scale**2 + 1 - a)
    return gain * z + (1 - gain * a**0.5) * (weight @ centres)


def _squares(z: Tensor, centres: Tensor, factor: float) -> Tensor:
    return (z[:, None] - factor * centres).square().sum(-1)


def _spread(scale: float, a: float) -> float:
    return a * scale**2 + 1 - a


def _underflows(z: Tensor, centres: Tensor, scale: float, a: float) -> Tensor:
    weight = torch.exp(-_squares(z, centres, a**0.5) / (2 * _spread(scale, a)))
    return _blend(z, centres, scale, a, weight / weight.sum(-1, keepdim=True))


def _ideal_cases() -> Iterable[Any]:
    for points, count, pixels, scale, alpha_bar in ((5, 7, 3, 0.7, 0.6), (4, 6, 2, 1.6, 0.3)):
        z, centres = _normal(points, pixels), _normal(count, pixels)
        yield z, centres, scale, alpha_bar
    far = z * torch.tensor([[1.0], [40.0], [-300.0], [0.2]], dtype=torch.float64)
    what = "z of which some lie so far from all blobs that every density there is 0"
    yield extreme(what, far, centres, 0.4, 0.9)
    yield extreme("two blobs in one place", z, centres[[0, 1, 2, 2]], 0.4, 0.5)
    yield extreme("scale 0: a list of points", z, centres, 0.0, 0.5)
    yield extreme("one z, and ᾱ near 0", z[:1], centres, 0.6, 1e-3)
    yield extreme("ᾱ near 1", z, centres, 0.6, 0.9999)


def _guess_spelled_out(z, centres, scale, alpha_bar):
    variance = alpha_bar * scale**2 + (1 - alpha_bar)
    error = z[:, None, :] - alpha_bar**0.5 * centres[None, :, :]
    weights = torch.softmax(-0.5 * (error**2).sum(2) / variance, 1)
    of_each = centres + alpha_bar**0.5 * scale**2 / variance * error
    return (weights[:, :, None] * of_each).sum(1)


def _guess_by_inner_products(z, centres, scale, alpha_bar):
    # ‖z‖² is the same for all blobs.
    variance = _spread(scale, alpha_bar)
    fit = alpha_bar**0.5 * z @ centres.mT - 0.5 * alpha_bar * centres.square().sum(1)
    return _blend(z, centres, scale, alpha_bar, (fit / variance).softmax(1))


def _guess_by_log_probabilities(z, centres, scale, alpha_bar):
    eye = torch.eye(centres.shape[1], dtype=centres.dtype)
    blobs = MultivariateNormal(alpha_bar**0.5 * centres, _spread(scale, alpha_bar) * eye)
    weight = Categorical(logits=blobs.log_prob(z[:, None])).probs
    # E[x | z, blob], of the package: the ideal denoiser of one Gaussian; a point is nearly one.
    log_snr = torch.tensor(alpha_bar, dtype=z.dtype).logit().expand(len(z))
    covariance = max(scale, 1e-7) ** 2 * eye
    guesses = torch.stack([GaussianDenoiser(c, covariance)(z, log_snr) for c in centres], 1)
    return torch.einsum("bn,bnd->bd", weight, guesses)


ideal_guess = Exercise(
    solution=_ideal_guess,
    cases=_ideal_cases,
    right=(
        _guess_spelled_out,
        _guess_by_inner_products,
        _guess_by_log_probabilities,
    ),
    mistakes=(
        Mistake(
            "densities that underflow",
            "Far from all blobs every density is zero in floating point. Stay in logarithms.",
            _underflows,
        ),
        Mistake(
            "the guess of a list of points",
            "A blob has a width: x need not lie in its middle. See where z lies in the blob.",
            lambda z, centres, s, a: (
                (-_squares(z, centres, a**0.5) / (2 * (1 - a))).softmax(-1) @ centres
            ),
        ),
        Mistake(
            "the average of the centres",
            "The weights are right. Within a blob, z pulls the guess away from the centre.",
            lambda z, centres, s, a: (
                (-_squares(z, centres, a**0.5) / (2 * _spread(s, a))).softmax(-1) @ centres
            ),
        ),
        Mistake(
            "the blobs' width missing in the weights",
            "Given its blob, z_t has the noise's variance and that of the shrunken blob.",
            _guess_by(lambda z, centres, s, a: -_squares(z, centres, a**0.5) / (2 * (1 - a))),
        ),
        Mistake(
            "the blob not shrunk in the weights' variance",
            "The blob shrinks by √ᾱ, so its variance by ᾱ.",
            _guess_by(
                lambda z, centres, s, a: -_squares(z, centres, a**0.5) / (2 * (s**2 + 1 - a))
            ),
        ),
        Mistake(
            "the scale in place of the variance of a blob",
            "`scale` is a standard deviation. Variances add up.",
            lambda z, centres, s, a: _ideal_guess(z, centres, s**0.5, a),
        ),
        Mistake(
            "the centres not shrunk by √ᾱ",
            "z_t of a blob is centred on √ᾱ times its centre.",
            _guess_by(lambda z, centres, s, a: -_squares(z, centres, 1.0) / (2 * _spread(s, a))),
        ),
        Mistake(
            "the centres shrunk by ᾱ",
            "z_t of a blob is centred on √ᾱ times its centre.",
            _guess_by(lambda z, centres, s, a: -_squares(z, centres, a) / (2 * _spread(s, a))),
        ),
        Mistake(
            "the ½ of the exponent missing",
            "A Gaussian's exponent divides by twice the variance.",
            _guess_by(lambda z, centres, s, a: -_squares(z, centres, a**0.5) / _spread(s, a)),
        ),
        Mistake(
            "distances that are not squared",
            "A Gaussian's exponent holds the square of the distance.",
            _guess_by(
                lambda z, centres, s, a: -_squares(z, centres, a**0.5).sqrt() / (2 * _spread(s, a))
            ),
        ),
        Mistake(
            "the nearest blob alone",
            "All blobs share in the guess, each by its probability.",
            lambda z, centres, s, a: _blend(
                z, centres[_squares(z, centres, a**0.5).argmin(-1)], s, a, torch.eye(len(z)).to(z)
            ),
        ),
        Mistake(
            "weights that sum to one over z",
            "For each z the weights of the blobs sum to one. Which axis is that?",
            lambda z, centres, s, a: _blend(
                z,
                centres,
                s,
                a,
                (-_squares(z, centres, a**0.5) / (2 * _spread(s, a))).softmax(0),
            ),
        ),
        Mistake(
            "the pull of z without √ᾱ",
            "The gain is Cov[x, z_t] over Var[z_t], within a blob. What is that covariance?",
            (
                "gain = alpha_bar**0.5 * scale**2 / variance",
                "gain = scale**2 / variance",
            ),
        ),
        Mistake(
            "z added to the whole average",
            "z pulls from √ᾱ times the centre: only what differs from that counts.",
            ("(1 - gain * alpha_bar**0.5) * (weight", "(weight"),
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

# --- the smallest error of Gaussian data ---------------------------------------------------------


def _ideal_error(eigenvalues: Tensor, snr: Tensor) -> Tensor:
    return (eigenvalues / (1 + snr[:, None] * eigenvalues)).sum(-1)


def _error_cases() -> Iterable[Any]:
    snr = torch.tensor([30.0, 2.0, 0.7, 0.01, 1e-4], dtype=torch.float64)
    # The first lets an answer run that pairs levels and directions; the second stops it.
    for directions, levels in ((5, 5), (3, 5), (6, 4)):
        what = "as many levels as directions" if directions == levels else ""
        yield extreme(what, _between(0.2, 3.2, directions), snr[:levels])
    yield extreme("one direction and one level", _between(0.2, 3.2, 1), snr[1:2])
    flat = torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64)
    yield extreme("a direction of variance 0", flat, snr[:2])
    yield extreme("no signal at all", flat, torch.zeros(1, dtype=torch.float64))


def _error_direction_by_direction(eigenvalues, snr):
    total = torch.zeros_like(snr)
    for variance in eigenvalues:
        total = total + variance / (1 + snr * variance)
    return total


def _error_by_a_matrix(eigenvalues, snr):
    eye, covariance = torch.eye(len(eigenvalues), dtype=eigenvalues.dtype), torch.diag(eigenvalues)
    return torch.stack([torch.linalg.solve(eye + s * covariance, covariance).trace() for s in snr])


def _error_by_alpha_bar(eigenvalues, snr):
    alpha_bar = (snr / (1 + snr))[:, None]
    given_z = eigenvalues * (1 - alpha_bar) / (alpha_bar * eigenvalues + 1 - alpha_bar)
    return given_z.sum(1)


ideal_error = Exercise(
    solution=_ideal_error,
    cases=_error_cases,
    right=(
        _error_direction_by_direction,
        _error_by_a_matrix,
        _error_by_alpha_bar,
    ),
    mistakes=(
        Mistake(
            "the SNR turned over",
            "With more noise x is harder to guess, so the result must grow as the SNR falls.",
            lambda eigenvalues, snr: (
                eigenvalues / (1 + eigenvalues / snr.clamp(min=1e-12)[:, None])
            ).sum(-1),
        ),
        Mistake(
            "the error of a guess that does not look at z",
            "Without z_t the error is the data's whole variance. What does z_t take off?",
            lambda eigenvalues, snr: eigenvalues.sum().expand(len(snr)),
        ),
        Mistake(
            "what z_t explains",
            "That is the variance of the guess. What is left of the data's variance?",
            lambda eigenvalues, snr: eigenvalues.sum() - _ideal_error(eigenvalues, snr),
        ),
        Mistake(
            "the error of the noise",
            "The error of the noise is SNR times the error of x, (11.13).",
            lambda eigenvalues, snr: snr * _ideal_error(eigenvalues, snr),
        ),
        Mistake(
            "the rate at which the information grows",
            "The information grows half as fast as this error. Take off the ½.",
            lambda eigenvalues, snr: 0.5 * _ideal_error(eigenvalues, snr),
        ),
        Mistake(
            "a mean over the directions",
            "‖·‖² sums over the directions.",
            lambda eigenvalues, snr: _ideal_error(eigenvalues, snr) / len(eigenvalues),
        ),
        Mistake(
            "the data's variances left out",
            "A direction in which the data hardly vary is easy to guess.",
            lambda eigenvalues, snr: _ideal_error(torch.ones_like(eigenvalues), snr),
        ),
        Mistake(
            "the variance of z_t / √ᾱ given x",
            "That is 1/SNR, the noise alone. The data say something before z_t is seen.",
            lambda eigenvalues, snr: len(eigenvalues) / snr.clamp(min=1e-12),
        ),
        Mistake(
            "the scales in place of the variances",
            "Eigenvalues of S are variances already.",
            lambda eigenvalues, snr: _ideal_error(eigenvalues.sqrt(), snr),
        ),
        Mistake(
            "one direction with the summed variances",
            "Each direction has an error of its own; then they are summed.",
            lambda eigenvalues, snr: _ideal_error(eigenvalues.sum()[None], snr),
        ),
        Mistake(
            "levels and directions paired",
            "Each level sums over all directions: give the SNR an axis of its own.",
            lambda eigenvalues, snr: eigenvalues / (1 + snr * eigenvalues),
        ),
        Mistake(
            "ᾱ in place of the SNR",
            "`snr` is ᾱ / (1 − ᾱ) already, and stands as it is.",
            lambda eigenvalues, snr: _ideal_error(eigenvalues, snr / (1 + snr)),
        ),
        Mistake(
            "the largest direction alone",
            "‖·‖² sums over the directions.",
            lambda eigenvalues, snr: _ideal_error(eigenvalues.max()[None], snr),
        ),
        Mistake(
            "the information in place of the error",
            "The information is (11.16). The error is what its slope holds.",
            lambda eigenvalues, snr: 0.5 * torch.log1p(snr[:, None] * eigenvalues).sum(-1),
        ),
    ),
)
