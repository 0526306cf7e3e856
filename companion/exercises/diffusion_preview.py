"""Exercises of chapter 11: the fixed encoder, its reverse, the three terms, the ideal denoiser."""

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


# --- one jump to level t -------------------------------------------------------------------------


def _noisy(x: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    a = alpha_bar[:, None]
    return a.sqrt() * x + (1 - a).sqrt() * eps


def _pairs_and_levels(width: float, lowest: float) -> Iterable[Any]:
    """Yield two tables and ᾱ of each row: entries within ±`width`, ᾱ from `lowest` to 0.8.

    Then what no clamp leaves alone: entries outside [−1, 1], and ᾱ near its ends.
    """
    # The first lets an answer run that lays ᾱ along the pixels; the second stops it.
    for points, pixels in ((4, 4), (5, 3), (6, 7)):
        x, eps = _between(-width, width, 2, points, pixels)
        what = "as many pixels as data points" if points == pixels else ""
        yield extreme(what, x, eps, _between(lowest, 0.8, points))
    ends = torch.tensor([1e-4, 0.9999, 0.5], dtype=torch.float64)
    x, eps = _normal(2, 1, 5)
    yield extreme("one data point, outside [−1, 1]", x + 3, eps, ends[2:])
    x, eps = _normal(2, 3, 2)
    yield extreme("ᾱ near 0 and near 1", x, eps, ends)


def _noisy_row_by_row(x, eps, alpha_bar):
    rows = [a**0.5 * u + (1 - a) ** 0.5 * e for u, e, a in zip(x, eps, alpha_bar, strict=True)]
    return torch.stack(rows)


def _levels(*alpha_bar):
    """A schedule with these ᾱ."""
    return Schedule(torch.tensor(alpha_bar, dtype=torch.float64).logit())


def _noisy_by_the_package(x, eps, alpha_bar):
    rows = []
    for row, noise, a in zip(x, eps, alpha_bar, strict=True):
        q = forward_marginal(_levels(a.item(), a.item() / 2), row, 1)
        rows.append(q.mean + q.stddev * noise)
    return torch.stack(rows)


noisy = Exercise(
    solution=_noisy,
    cases=lambda: _pairs_and_levels(0.6, 0.2),  # so that results lie within [−1, 1]
    right=(
        _noisy_row_by_row,
        _noisy_by_the_package,
    ),
    mistakes=(
        Mistake(
            "both roots missing",
            "ᾱ and 1 − ᾱ are shares of the variance. What multiplies x and ε?",
            lambda x, eps, a: a[:, None] * x + (1 - a[:, None]) * eps,
        ),
        Mistake(
            "the variance in place of the scale of the noise",
            "Which number must multiply ε so that its variance becomes 1 − ᾱ?",
            lambda x, eps, a: a[:, None].sqrt() * x + (1 - a[:, None]) * eps,
        ),
        Mistake(
            "no root at ᾱ",
            "x of variance 1 should contribute the variance ᾱ. What multiplies it?",
            lambda x, eps, a: a[:, None] * x + (1 - a[:, None]).sqrt() * eps,
        ),
        Mistake(
            "signal and noise exchanged",
            "With ᾱ near 1 the result should be near x.",
            lambda x, eps, a: (1 - a[:, None]).sqrt() * x + a[:, None].sqrt() * eps,
        ),
        Mistake(
            "1 − √ᾱ as the scale of the noise",
            "The squares of the two factors add up to 1, not the factors.",
            lambda x, eps, a: a[:, None].sqrt() * x + (1 - a[:, None].sqrt()) * eps,
        ),
        Mistake(
            "noise added to an x that keeps its size",
            "x shrinks as noise comes in, so that the total variance stays 1.",
            lambda x, eps, a: x + (1 - a[:, None]).sqrt() * eps,
        ),
        Mistake(
            "ᾱ laid along the pixels",
            "Each row has its own ᾱ: give it an axis for the pixels. This stops unless B = D.",
            lambda x, eps, a: a.sqrt() * x + (1 - a).sqrt() * eps,
        ),
    ),
)

# --- from β to ᾱ ---------------------------------------------------------------------------------


def _alpha_bar_from_beta(beta: Tensor) -> Tensor:
    return (1 - beta).cumprod(0)


def _shifted(beta: Tensor) -> Tensor:
    return torch.cat([beta.new_ones(1), (1 - beta).cumprod(0)[:-1]])


def _alpha_bar_cases() -> Iterable[Any]:
    yield _between(0.01, 0.19, 7)
    yield _between(0.01, 0.19, 4)
    yield extreme("a single step", _between(0.1, 0.2, 1))
    yield extreme("β above ½, so that ᾱ falls below 10⁻⁶", _between(0.5, 0.9, 25))


def _alpha_bar_by_a_loop(beta):
    left, found = 1.0, []
    for b in beta:
        left = left * (1 - b)
        found.append(left)
    return torch.stack(found)


def _alpha_bar_by_logarithms(beta):
    return torch.log1p(-beta).cumsum(0).exp()


alpha_bar_from_beta = Exercise(
    solution=_alpha_bar_from_beta,
    cases=_alpha_bar_cases,
    right=(
        _alpha_bar_by_a_loop,
        _alpha_bar_by_logarithms,
    ),
    mistakes=(
        Mistake(
            "1 − β_t of the one step alone",
            "ᾱ_t is what is left of x after all steps up to t.",
            lambda beta: 1 - beta,
        ),
        Mistake(
            "a product of the β themselves",
            "A step with a small β should leave nearly everything of x.",
            lambda beta: beta.cumprod(0),
        ),
        Mistake(
            "a sum of the β subtracted from 1",
            "Each step keeps a share 1 − β of what the step before has left: shares multiply.",
            lambda beta: 1 - beta.cumsum(0),
        ),
        Mistake(
            "exp(−Σ β) in place of the product",
            "1 − β and exp(−β) agree for small β alone: the logarithm of 1 − β is not −β.",
            lambda beta: (-beta.cumsum(0)).exp(),
        ),
        Mistake(
            "a sum of the 1 − β",
            "Each step keeps a share 1 − β of what the step before has left: shares multiply.",
            lambda beta: (1 - beta).cumsum(0),
        ),
        Mistake(
            "one level too low",
            "The first entry belongs to t = 1, after the first step. It is not 1.",
            _shifted,
        ),
        Mistake(
            "√ᾱ in place of ᾱ",
            "The factor of x in one step is √(1 − β). Its square is asked for.",
            lambda beta: (1 - beta).cumprod(0).sqrt(),
        ),
        Mistake(
            "1 − ᾱ in place of ᾱ",
            "ᾱ falls with t. What you return rises.",
            lambda beta: 1 - (1 - beta).cumprod(0),
        ),
        Mistake(
            "1 minus the product of the β",
            "A step with a small β should leave nearly everything of x. Which shares multiply?",
            lambda beta: 1 - beta.cumprod(0),
        ),
    ),
)

# --- the reverse posterior -----------------------------------------------------------------------


def _reverse_posterior(
    x: Tensor, z: Tensor, alpha_bar_s: float, alpha_bar_t: float
) -> tuple[Tensor, float]:
    beta = 1 - alpha_bar_t / alpha_bar_s
    of_x = alpha_bar_s**0.5 * beta / (1 - alpha_bar_t)
    of_z = (1 - beta) ** 0.5 * (1 - alpha_bar_s) / (1 - alpha_bar_t)
    variance = beta * (1 - alpha_bar_s) / (1 - alpha_bar_t)
    return of_x * x + of_z * z, variance


def _reverse_cases() -> Iterable[Any]:
    for shape, s, t, what in (
        ((5, 3), 0.9, 0.7, ""),
        ((4, 6), 0.35, 0.2, ""),
        ((2, 3), 0.9999, 0.9998, "levels so near to the data that the variance is below 10⁻⁴"),
        ((1, 4), 1e-3, 1e-5, "one data point, and ᾱ near 0"),
    ):
        yield extreme(what, _normal(*shape), _normal(*shape), s, t)


def _posterior_over_one_denominator(x, z, alpha_bar_s, alpha_bar_t):
    alpha = alpha_bar_t / alpha_bar_s
    total = alpha_bar_s**0.5 * (1 - alpha) * x + alpha**0.5 * (1 - alpha_bar_s) * z
    return total / (1 - alpha_bar_t), (1 - alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t)


def _posterior_by_precisions(x, z, alpha_bar_s, alpha_bar_t):
    # Two Gaussians in z_s: q(z_s | x), and the step's likelihood seen from z_t.
    step = alpha_bar_t / alpha_bar_s
    precision = 1 / (1 - alpha_bar_s) + step / (1 - step)
    pull = alpha_bar_s**0.5 * x / (1 - alpha_bar_s) + step**0.5 * z / (1 - step)
    return pull / precision, 1 / precision


def _posterior_by_the_package(x, z, alpha_bar_s, alpha_bar_t):
    q = package_posterior(_levels(alpha_bar_s, alpha_bar_t), z, x, 1, 2)
    return q.mean, q.variance[0, 0]


def _posterior_by_conditioning(x, z, alpha_bar_s, alpha_bar_t):
    # The joint covariance of (z_s, z_t) given x.
    cov = (alpha_bar_t / alpha_bar_s) ** 0.5 * (1 - alpha_bar_s)
    gain = cov / (1 - alpha_bar_t)
    return (
        alpha_bar_s**0.5 * x + gain * (z - alpha_bar_t**0.5 * x),
        torch.tensor(1 - alpha_bar_s - gain * cov),
    )


reverse_posterior = Exercise(
    solution=_reverse_posterior,
    cases=_reverse_cases,
    right=(
        _posterior_over_one_denominator,
        _posterior_by_precisions,
        _posterior_by_the_package,
        _posterior_by_conditioning,
    ),
    mistakes=(
        Mistake(
            "the variance of the forward step",
            "β is the variance of z_t given z_s. Once x is known too, less is open.",
            ("z, variance", "z, beta"),
        ),
        Mistake(
            "the standard deviation returned as the variance",
            "Return the variance: no root at the end.",
            ("z, variance", "z, variance**0.5"),
        ),
        Mistake(
            "the factors of x and z_t exchanged",
            "If the step added next to nothing (β near 0), z_s is near z_t.",
            ("of_x * x + of_z * z", "of_z * x + of_x * z"),
        ),
        Mistake(
            "√ᾱ_t in place of √ᾱ_s at x",
            "The prior of z_s is q(z_s | x). Which level's ᾱ does its mean hold?",
            ("alpha_bar_s**0.5", "alpha_bar_t**0.5"),
        ),
        Mistake(
            "1 − ᾱ_s and 1 − ᾱ_t exchanged",
            "The variance of z_s given both neighbours must be smaller than β.",
            (
                "return of_x * x + of_z * z, variance",
                "r = (1 - alpha_bar_t) / (1 - alpha_bar_s)\n"
                "    return r * of_x * x + r**2 * of_z * z, r**2 * variance",
            ),
        ),
        Mistake(
            "the quotient in the variance turned over",
            "The variance of z_s given both neighbours must be smaller than β.",
            ("z, variance", "z, beta**2 / variance"),
        ),
        Mistake(
            "1 − ᾱ_t used for β",
            "β is the noise of one step, 1 − ᾱ_t / ᾱ_s. The noise of all steps is 1 − ᾱ_t.",
            ("1 - alpha_bar_t / alpha_bar_s", "1 - alpha_bar_t"),
        ),
        Mistake(
            "a difference of ᾱ used for β",
            "ᾱ_t is a product: ᾱ_t = (1 − β) ᾱ_s. Solve this for β.",
            ("1 - alpha_bar_t / alpha_bar_s", "alpha_bar_s - alpha_bar_t"),
        ),
        Mistake(
            "√ᾱ_t in place of √(1 − β) at z_t",
            "z_t comes from z_s by one step. Which factor has this step alone?",
            ("(1 - beta) ** 0.5", "alpha_bar_t**0.5"),
        ),
        Mistake(
            "1 − β in place of √(1 − β) at z_t",
            "The step multiplies z_s by √(1 − β), and the mean is linear in it.",
            ("(1 - beta) ** 0.5", "(1 - beta)"),
        ),
        Mistake(
            "the factor √(1 − β) of z_t missing",
            "z_t is √(1 − β) z_s plus noise. This factor stays in the mean.",
            ("(1 - beta) ** 0.5 * ", ""),
        ),
        Mistake(
            "the roots of the two factors missing",
            "x enters by the mean √ᾱ_s x, and z_t by the step's factor √(1 − β).",
            (
                "of_x * x + of_z * z",
                "alpha_bar_s**0.5 * of_x * x + (1 - beta) ** 0.5 * of_z * z",
            ),
        ),
    ),
)

# --- from a guess of the noise to a guess of x ---------------------------------------------------


def _guess_from_noise(z: Tensor, eps_hat: Tensor, alpha_bar: Tensor) -> Tensor:
    a = alpha_bar[:, None]
    return (z - (1 - a).sqrt() * eps_hat) / a.sqrt()


def _guess_row_by_row(z, eps_hat, alpha_bar):
    rows = []
    for row, noise, a in zip(z, eps_hat, alpha_bar, strict=True):
        rows.append((row - (1 - a) ** 0.5 * noise) / a**0.5)
    return torch.stack(rows)


def _guess_by_rescaling(z, eps_hat, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    return z / alpha_bar.sqrt().unsqueeze(1) - eps_hat / snr.sqrt().unsqueeze(1)


guess_from_noise = Exercise(
    solution=_guess_from_noise,
    cases=lambda: _pairs_and_levels(0.3, 0.5),
    right=(
        _guess_row_by_row,
        _guess_by_rescaling,
    ),
    mistakes=(
        Mistake(
            "the division by √ᾱ missing",
            "Taking the noise off leaves √ᾱ x. What is left to do?",
            lambda z, eps, a: z - (1 - a[:, None]).sqrt() * eps,
        ),
        Mistake(
            "divided by ᾱ in place of √ᾱ",
            "z_t holds √ᾱ x.",
            lambda z, eps, a: (z - (1 - a[:, None]).sqrt() * eps) / a[:, None],
        ),
        Mistake(
            "the variance in place of the scale of the noise",
            "z_t holds √(1 − ᾱ) ε.",
            lambda z, eps, a: (z - (1 - a[:, None]) * eps) / a[:, None].sqrt(),
        ),
        Mistake(
            "1 − √ᾱ as the scale of the noise",
            "The squares of the two factors add up to 1, not the factors.",
            lambda z, eps, a: (z - (1 - a[:, None].sqrt()) * eps) / a[:, None].sqrt(),
        ),
        Mistake(
            "the whole of ε taken off",
            "ε has variance 1. How much of it is in z_t?",
            lambda z, eps, a: (z - eps) / a[:, None].sqrt(),
        ),
        Mistake(
            "the noise added once more",
            "Solve z_t = √ᾱ x + √(1 − ᾱ) ε for x.",
            lambda z, eps, a: (z + (1 - a[:, None]).sqrt() * eps) / a[:, None].sqrt(),
        ),
        Mistake(
            "only z divided by √ᾱ",
            "First the noise is taken off, then all that is left is divided.",
            lambda z, eps, a: z / a[:, None].sqrt() - (1 - a[:, None]).sqrt() * eps,
        ),
        Mistake(
            "signal and noise exchanged",
            "With ᾱ near 1 the guess is near z.",
            lambda z, eps, a: (z - a[:, None].sqrt() * eps) / (1 - a[:, None]).sqrt(),
        ),
        Mistake(
            "multiplied by √ᾱ in place of divided",
            "Solve z_t = √ᾱ x + √(1 − ᾱ) ε for x.",
            lambda z, eps, a: (z - (1 - a[:, None]).sqrt() * eps) * a[:, None].sqrt(),
        ),
        Mistake(
            "both roots missing",
            "ᾱ and 1 − ᾱ are shares of the variance. What multiplies x and ε in z_t?",
            lambda z, eps, a: (z - (1 - a[:, None]) * eps) / a[:, None],
        ),
        Mistake(
            "ᾱ laid along the pixels",
            "Each row has its own ᾱ: give it an axis for the pixels. This stops unless B = D.",
            lambda z, eps, a: (z - (1 - a).sqrt() * eps) / a.sqrt(),
        ),
    ),
)

# --- one diffusion term --------------------------------------------------------------------------


def _diffusion_term(x: Tensor, x_hat: Tensor, snr_before: float, snr_t: float) -> Tensor:
    return 0.5 * (snr_before - snr_t) * (x - x_hat).square().sum(-1)


def _term_cases() -> Iterable[Any]:
    yield _normal(5, 3), _normal(5, 3), 4.0, 2.5
    yield _normal(2, 7), _normal(2, 7), 0.3, 0.1
    yield extreme("one data point", _normal(1, 4), _normal(1, 4), 0.9, 0.4)
    yield extreme("SNRs far above 1", _normal(3, 2), _normal(3, 2), 400.0, 250.0)


def _term_spelled_out(x, x_hat, snr_before, snr_t):
    error = ((x - x_hat) ** 2).sum(1)
    return (snr_before * error - snr_t * error) / 2


def _term_as_a_kl(x, x_hat, snr_before, snr_t):
    schedule = _levels(snr_before / (1 + snr_before), snr_t / (1 + snr_t))
    q, p = (package_posterior(schedule, 0 * x, value, 1, 2) for value in (x, x_hat))
    return torch.distributions.kl_divergence(q, p)


def _term_by_a_norm(x, x_hat, snr_before, snr_t):
    return (snr_before - snr_t) / 2 * torch.linalg.vector_norm(x - x_hat, dim=1) ** 2


diffusion_term = Exercise(
    solution=_diffusion_term,
    cases=_term_cases,
    right=(
        _term_spelled_out,
        _term_by_a_norm,
        _term_as_a_kl,
    ),
    mistakes=(
        Mistake(
            "a mean over the pixels",
            "The KL of a vector is the sum over its units.",
            lambda x, x_hat, s, t: _diffusion_term(x, x_hat, s, t) / x.shape[-1],
        ),
        Mistake(
            "the factor ½ missing",
            "A Gaussian's exponent divides by twice the variance.",
            lambda x, x_hat, s, t: 2 * _diffusion_term(x, x_hat, s, t),
        ),
        Mistake(
            "the sign turned",
            "A KL divergence is not negative, and the SNR at t − 1 is the larger one.",
            lambda x, x_hat, s, t: -_diffusion_term(x, x_hat, s, t),
        ),
        Mistake(
            "the weight of the predicted noise",
            "SNRₜ₋₁ / SNRₜ − 1 goes with ‖ε − ε̂‖². Here the error is that of x.",
            lambda x, x_hat, s, t: _diffusion_term(x, x_hat, s, t) / t,
        ),
        Mistake(
            "the SNR turned over",
            "The SNR is signal over noise, so the term falls to zero as both become small.",
            lambda x, x_hat, s, t: 0.5 * (1 / t - 1 / s) * (x - x_hat).square().sum(-1),
        ),
        Mistake(
            "a sum over the data points as well",
            "The result should hold one number for each data point.",
            lambda x, x_hat, s, t: _diffusion_term(x, x_hat, s, t).sum(),
        ),
        Mistake(
            "a distance that is not squared",
            "The KL of two Gaussians of one variance grows with the square of their distance.",
            lambda x, x_hat, s, t: 0.5 * (s - t) * (x - x_hat).norm(dim=-1),
        ),
        Mistake(
            "the weight left out",
            "A squared error is no KL yet. How much SNR does this step lose?",
            lambda x, x_hat, s, t: 0.5 * (x - x_hat).square().sum(-1),
        ),
        Mistake(
            "the difference of the log SNRs",
            "The weight is the SNR that this step loses, not its logarithm.",
            lambda x, x_hat, s, t: _diffusion_term(x, x_hat, math.log(s), math.log(t)),
        ),
        Mistake(
            "absolute errors",
            "The KL of two Gaussians of one variance grows with the square of their distance.",
            lambda x, x_hat, s, t: 0.5 * (s - t) * (x - x_hat).abs().sum(-1),
        ),
        Mistake(
            "the share of the SNR that is lost",
            "The weight is a difference of SNRs, not divided by one of them.",
            lambda x, x_hat, s, t: _diffusion_term(x, x_hat, s, t) / s,
        ),
    ),
)

# --- one random level ----------------------------------------------------------------------------


def _one_random_level(terms: Tensor, t: Tensor) -> Tensor:
    return len(terms) * terms[t - 2, torch.arange(len(t))]


def _level_cases() -> Iterable[Any]:
    # The first lets an index that is one too high pass; then level T comes up, and it stops.
    batch = torch.tensor([4, 3, 3, 2, 4, 2])
    yield extreme("a batch in which level T does not come up", _between(0, 1, 4, 6), batch)
    yield _between(0, 1, 4, 6), torch.tensor([2, 5, 3, 4, 2, 5])
    yield _between(0, 1, 6, 5), torch.tensor([7, 2, 6, 3, 5])
    yield extreme("T = 2, with one diffusion term", _between(0, 1, 1, 3), torch.tensor([2, 2, 2]))


def _level_by_a_mask(terms, t):
    levels = torch.arange(2, 2 + len(terms))
    chosen = (levels[:, None] == t).to(terms.dtype)
    return (chosen * terms).sum(0) * len(terms)


def _level_by_gather(terms, t):
    return terms.shape[0] * terms.gather(0, (t - 2)[None])[0]


def _level_by_a_loop(terms, t):
    return torch.stack([terms[level - 2, i] * terms.shape[0] for i, level in enumerate(t.tolist())])


one_random_level = Exercise(
    solution=_one_random_level,
    cases=_level_cases,
    right=(
        _level_by_a_mask,
        _level_by_gather,
        _level_by_a_loop,
    ),
    mistakes=(
        Mistake(
            "one term in place of the sum",
            "The average of one random term is the mean of all T − 1. What is wanted is their sum.",
            lambda terms, t: terms[t - 2, torch.arange(len(t))],
        ),
        Mistake(
            "weighted by T in place of T − 1",
            "How many diffusion terms are there? Their levels start at 2.",
            lambda terms, t: (len(terms) + 1) * terms[t - 2, torch.arange(len(t))],
        ),
        Mistake(
            "divided by the number of terms",
            "The one term has to stand for all T − 1. Is their sum larger or smaller than it?",
            lambda terms, t: terms[t - 2, torch.arange(len(t))] / len(terms),
        ),
        Mistake(
            "weighted by the number of data points",
            "What is summed are levels. How many terms has one data point?",
            lambda terms, t: len(t) * terms[t - 2, torch.arange(len(t))],
        ),
        Mistake(
            "off by one level",
            "Row 0 of terms belongs to t = 2, and there is no row T − 1.",
            ("t - 2", "t - 1"),
        ),
        Mistake(
            "off by one level, with an index cut off at the end",
            "Row 0 of terms belongs to t = 2: then no index needs to be cut off.",
            ("t - 2", "(t - 1).clamp(max=len(terms) - 1)"),
        ),
        Mistake(
            "the level itself taken for the row",
            "Row 0 of terms belongs to t = 2: then no index needs to be wrapped.",
            ("t - 2", "t % len(terms)"),
        ),
        Mistake(
            "weighted by the level",
            "Each of the T − 1 levels comes up equally often: the weight is the same for all.",
            ("len(terms) *", "t *"),
        ),
        Mistake(
            "weighted by the number of steps below the level",
            "Each of the T − 1 levels comes up equally often: the weight is the same for all.",
            ("len(terms) *", "(t - 1) *"),
        ),
        Mistake(
            "all levels summed",
            "That is right but costs T − 1 calls of the network. Use the one term of level t.",
            lambda terms, t: terms.sum(0),
        ),
        Mistake(
            "the same level for all data points",
            "Each data point has its own t: pick one entry of terms from each column.",
            lambda terms, t: len(terms) * terms[t[0] - 2],
        ),
    ),
)

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

# --- a prediction --------------------------------------------------------------------------------

halving = Prediction(
    answer=0.5,
    because="What the wrong variance costs falls as 1/T, down to the floor.",
    mistakes={
        1.0: "that is so for the exact covariance, where the excess is zero for every T.",
        0.25: "that is what one step's excess does, 1/T². There are about T of them.",
        2.0: "more steps help: each makes a smaller error, faster than their number grows.",
        0.0: "it tends to zero, but no finite T gets there.",
        0.7071: "that would be 1/√T, the pace of an average of random draws. Count the steps.",
    },
    tolerance=0.02,
    unit="share",
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
