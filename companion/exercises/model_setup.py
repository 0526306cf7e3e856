"""Exercises of chapter 2: the marginal by Monte Carlo, ancestral sampling, two posteriors."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from companion.exact import LinearGaussian
from companion.exercises.checking import Exercise, Function, Mistake, extreme, forbidden
from companion.exercises.predicting import Prediction

# --- predictions ---------------------------------------------------------------------------------

naive_error = Prediction(
    answer="low",
    because="Few draws, if any, land where p(x | z) is large, and the mean misses what they add.",
    mistakes={
        "high": "the rare draws that would raise the mean are the ones that are missing.",
        "right": "the mean of p(x | z) is right on average, but its logarithm is not, and with a "
        "few draws the mean is nearly always far below its expectation.",
    },
)

budget = Prediction(
    answer=5.0,
    because="100 · 4.8⁵ is about 255,000 draws, and one more dimension takes 1.2 million.",
    mistakes={
        6.0: "six dimensions need 100 · 4.8⁶, more than a million draws: round down.",
        8.0: "check 100 · 4.8⁸: is the factor of 100 in your count?",
        2083.0: "each dimension multiplies the number of draws by 4.8, it does not add to it.",
        10000.0: "each dimension multiplies the number of draws; it does not add 100 to it.",
    },
)

peaks = Prediction(
    answer=2.0,
    because="The point is as far from the left leg as from the right: one z on each explains it.",
    mistakes={
        1.0: "follow the arch with z: how many stretches of it pass at the same distance from x?",
        3.0: "the top of the arch is further from x than the legs; its z explains x hardly at all.",
    },
)

# --- log p(x) by Monte Carlo ---------------------------------------------------------------------


def _model(size: int, latent: int, scale: float = 0.6) -> LinearGaussian:
    """Return a small linear model in float64, drawn from the generator as it stands."""
    weight = torch.randn(size, latent, dtype=torch.float64)
    return LinearGaussian(weight, torch.randn(size, dtype=torch.float64), scale=scale)


def _log_likelihood(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    """Return log p(x_b | z_k), (K, B)."""
    return model.likelihood(z[:, None]).log_prob(x)


def _naive_log_marginal(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    return _log_likelihood(model, x, z).logsumexp(0) - math.log(len(z))


def _prior_twice(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    log_joint = _log_likelihood(model, x, z) + model.prior().log_prob(z)[:, None]
    return log_joint.logsumexp(0) - math.log(len(z))


def _naive_cases() -> Iterable[Any]:
    for pixels, units, points, draws, scale in ((5, 2, 3, 7, 1.7), (4, 3, 6, 9, 2.4)):
        model = _model(pixels, units, scale)
        x = model.marginal().sample((points,))
        z = model.prior().sample((draws,))
        yield model, x, z
    far = torch.cat([x[:1], 2000 + x[1:]])
    yield extreme("an x so far away that every p(x | z) is 0 in floating point", model, far, z)
    yield extreme("a single draw", model, x, z[:1])


def _naive_term_by_term(model, x, z):
    error = (x - (z @ model.weight.mT + model.bias)[:, None]).square().sum(2)
    constant = x.shape[1] / 2 * math.log(2 * math.pi * model.scale**2)
    log_p = -error / (2 * model.scale**2) - constant
    top = log_p.max(0).values
    return top + (log_p - top).exp().sum(0).log() - math.log(len(z))


def _naive_with_a_loop(model, x, z):
    values = []
    for point in x:
        log_p = torch.stack(
            [Normal(model.likelihood(v).mean, model.scale).log_prob(point).sum() for v in z]
        )
        top = log_p.max()
        values.append(top + (log_p - top).exp().mean().log())
    return torch.stack(values)


def _naive_with_a_matrix(model, x, z):
    distance = torch.cdist(x, z @ model.weight.mT + model.bias).square()
    log_p = -distance / (2 * model.scale**2)
    log_p = log_p - x.shape[1] * math.log(model.scale * math.sqrt(2 * math.pi))
    return torch.logsumexp(log_p - math.log(len(z)), dim=1)


naive_log_marginal = Exercise(
    solution=_naive_log_marginal,
    cases=_naive_cases,
    right=(
        _naive_term_by_term,
        _naive_with_a_loop,
        _naive_with_a_matrix,
    ),
    mistakes=(
        Mistake(
            "the mean of the logarithms",
            "p(x) is a mean of densities: in which order do the mean and the logarithm come?",
            lambda model, x, z: _log_likelihood(model, x, z).mean(0),
        ),
        Mistake(
            "a sum in place of the mean",
            "logsumexp adds the K terms. Which number is missing, and what is its logarithm?",
            lambda model, x, z: _log_likelihood(model, x, z).logsumexp(0),
        ),
        Mistake(
            "the mean over data points",
            "The result should hold one number for each x. Which axis of (K, B) holds the draws?",
            lambda model, x, z: _log_likelihood(model, x, z).logsumexp(1) - math.log(len(x)),
        ),
        Mistake(
            "the prior counted twice",
            "The z were drawn from p(z), so the prior is in the draws already.",
            _prior_twice,
        ),
        Mistake(
            "the best draw alone",
            "The other draws count too: p(x) is estimated by the mean over all K.",
            lambda model, x, z: _log_likelihood(model, x, z).max(0).values,
        ),
        Mistake(
            "the best draw alone, divided by K",
            "The other draws count too: p(x) is estimated by the mean over all K.",
            lambda model, x, z: _log_likelihood(model, x, z).max(0).values - math.log(len(z)),
        ),
        Mistake(
            "an exponential before the logarithm",
            "exp(−800) is zero in floating point and its logarithm −∞. torch.logsumexp avoids it.",
            lambda model, x, z: _log_likelihood(model, x, z).exp().mean(0).log(),
        ),
        Mistake(
            "the wrong sign",
            "Log-densities come out of log_prob; nothing here turns their sign.",
            lambda model, x, z: -_naive_log_marginal(model, x, z),
        ),
    ),
)

# --- ancestral sampling --------------------------------------------------------------------------


def _ancestral(model: LinearGaussian, num_samples: int) -> Tensor:
    return model.likelihood(model.prior().sample((num_samples,))).sample()


def _one_latent(model: LinearGaussian, num_samples: int) -> Tensor:
    return model.likelihood(model.prior().sample()).sample((num_samples,))


def _decoder_at_zero(model: LinearGaussian, num_samples: int) -> Tensor:
    return model.likelihood(torch.zeros(num_samples, model.weight.shape[1]).double()).sample()


def _with_noise(model: LinearGaussian, num_samples: int, noise: Tensor) -> Tensor:
    return model.likelihood(model.prior().sample((num_samples,))).mean + noise


def _uniform_latent(model: LinearGaussian, num_samples: int) -> Tensor:
    z = torch.rand(num_samples, model.weight.shape[1], dtype=torch.float64)
    return model.likelihood(z).sample()


def _ancestral_cases() -> Iterable[Any]:
    weight = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    model = LinearGaussian(weight, torch.tensor([3.0, -2.0, 1.0]).double(), scale=1.6)
    for shortcut in ("sample", "marginal"):
        vars(model)[shortcut] = forbidden(f"model.{shortcut}")
    yield model, 5_000


def _moments(function: Function, model: LinearGaussian, num_samples: int) -> list[Tensor]:
    """A law is compared, not draws: covariance, whether the mean is right, and repeated rows."""
    _rows(function, model, 5)
    x = _rows(function, model, num_samples)
    # By its size alone: where one z is shared by all draws, the mean is another one each time.
    far = (x.mean(0) - model.bias).abs().max() > 0.2
    return [x.mT.cov(), far.double(), torch.tensor(len(x.unique(dim=0)))]


def _rows(function: Function, model: LinearGaussian, num_samples: int) -> Tensor:
    x: Tensor = function(model, num_samples)
    shape = (num_samples, len(model.bias))
    if x.shape != shape:
        raise ValueError(f"its shape is {tuple(x.shape)} where {shape} is expected")
    return x


def _ancestral_by_hand(model, num_samples):
    # The noise on x is drawn before z, so the draws differ from the solution's, the law does not.
    noise = torch.randn(num_samples, len(model.bias), dtype=torch.float64)
    z = torch.randn(num_samples, model.weight.shape[1], dtype=torch.float64)
    return z @ model.weight.mT + model.bias + model.scale * noise


def _ancestral_in_two_halves(model, num_samples):
    halves = [num_samples // 2, num_samples - num_samples // 2]
    return torch.cat([_ancestral(model, half) for half in halves])


ancestral_sample = Exercise(
    solution=_ancestral,
    cases=_ancestral_cases,
    look=_moments,
    right=(
        _ancestral_by_hand,
        _ancestral_in_two_halves,
    ),
    tolerance=0.1,  # sampled: the variances of 5,000 draws are known to 0.02
    results=(
        "The covariance of your draws",
        "The mean of your draws (0: right, 1: wrong)",
        "The number of different draws",
    ),
    mistakes=(
        Mistake(
            "the decoder's mean in place of a draw",
            "x is noisy even when z is known: draw from p(x | z).",
            lambda model, num: model.likelihood(model.prior().sample((num,))).mean,
        ),
        Mistake(
            "one z shared by all draws of x",
            "Each x needs a z of its own; how many do you draw from the prior?",
            _one_latent,
        ),
        Mistake(
            "z left at zero",
            "Zero is the prior's mean. Draw z from the prior first.",
            _decoder_at_zero,
        ),
        Mistake(
            "the variance used as the scale",
            "Noise of standard deviation σ is σ times a standard normal draw, not σ² times.",
            lambda model, num: _with_noise(
                model, num, model.scale**2 * torch.randn(num, len(model.bias))
            ),
        ),
        Mistake(
            "noise of another standard deviation than the model's",
            "p(x | z) has a standard deviation of its own: is it used, and once?",
            lambda model, num: _with_noise(model, num, torch.randn(num, len(model.bias))),
        ),
        Mistake(
            "one noise shared by all draws of x",
            "Each x needs noise of its own: how many numbers do you draw for it?",
            lambda model, num: _with_noise(model, num, model.scale * torch.randn(len(model.bias))),
        ),
        Mistake(
            "draws around another mean than the model's",
            "Is the bias added, and added once?",
            lambda model, num: _ancestral(model, num) - model.bias,
        ),
        Mistake(
            "rows that are repeated",
            "All `num_samples` rows are to be drawn anew.",
            lambda model, num: _ancestral(model, (num + 1) // 2).repeat(2, 1)[:num],
        ),
        Mistake(
            "z from another distribution than the prior",
            "torch.rand is uniform on [0, 1]; the prior is N(0, I).",
            _uniform_latent,
        ),
    ),
)

# --- Bayes on a grid -----------------------------------------------------------------------------


def _posterior_on_grid(log_joint: Tensor, step: float) -> Tensor:
    return (log_joint - log_joint.logsumexp(0)).exp() / step


def _grid_cases() -> Iterable[Any]:
    for step, points in ((0.05, 3), (0.08, 2)):
        grid = torch.arange(-6, 6, step, dtype=torch.float64)
        width = torch.tensor([0.3, 0.8, 1.7], dtype=torch.float64)[:points]
        peaks = -0.5 * ((grid[:, None] - torch.randn(points).double()) / width) ** 2
        log_joint = peaks - torch.rand(points)
        yield log_joint, step
    unlikely = log_joint - torch.tensor([0.0, 2000.0])
    yield extreme("an x so unlikely that every p(x, z) is 0, beside a likely x", unlikely, step)
    yield extreme("log p(x, z) near +10,000, as a sharp density has", log_joint + 1e4, step)
    narrow = 1e4 * log_joint[:, :1]
    yield extreme("a single x with a posterior so narrow that log p(x, z) spans 700", narrow, step)
    cut = log_joint[: len(log_joint) // 2]
    yield extreme("a posterior that goes on beyond the last point of the grid", cut, step)


def _grid_step_by_step(log_joint, step):
    joint = (log_joint - log_joint.max(0).values).exp()
    evidence = joint.sum(0) * step
    return joint / evidence


def _grid_by_softmax(log_joint, step):
    return torch.softmax(log_joint, dim=0) / step


def _grid_column_by_column(log_joint, step):
    columns = []
    for column in log_joint.mT:
        density = torch.exp(column - column.max())
        columns.append(density / (density.sum() * step))
    return torch.stack(columns, dim=1)


posterior_on_grid = Exercise(
    solution=_posterior_on_grid,
    cases=_grid_cases,
    right=(
        _grid_step_by_step,
        _grid_by_softmax,
        _grid_column_by_column,
    ),
    mistakes=(
        Mistake(
            "the joint, not yet divided by p(x)",
            "Does your posterior integrate to one along z?",
            lambda log_joint, step: log_joint.exp(),
        ),
        Mistake(
            "normalised over the wrong axis",
            "For each x (a column) the values along z (the rows) must integrate to one.",
            lambda log_joint, step: log_joint.softmax(1) / step,
        ),
        Mistake(
            "normalised over the whole table",
            "Each x (a column) has a posterior of its own, which integrates to one.",
            lambda log_joint, step: log_joint.flatten().softmax(0).view_as(log_joint) / step,
        ),
        Mistake(
            "probabilities of grid cells, not a density",
            "The values sum to one; a density should integrate to one. What is a cell's width?",
            lambda log_joint, step: log_joint.softmax(0),
        ),
        Mistake(
            "scaled so that the peak is one",
            "Divide by the integral along z, not by the largest value.",
            lambda log_joint, step: (log_joint - log_joint.max(0).values).exp(),
        ),
        Mistake(
            "multiplied by the step where division is due",
            "Σ density · step = 1: solve it for the density.",
            lambda log_joint, step: log_joint.softmax(0) * step,
        ),
        Mistake(
            "an exponential before the normalisation",
            "For an unlikely x every exp(log p(x, z)) is zero and you divide zero by zero.",
            lambda log_joint, step: log_joint.exp() / (log_joint.exp().sum(0) * step),
        ),
    ),
)

# --- the posterior of the linear model -----------------------------------------------------------


def _linear_posterior(
    weight: Tensor, bias: Tensor, scale: float, x: Tensor
) -> tuple[Tensor, Tensor]:
    precision = torch.eye(weight.shape[1], dtype=weight.dtype) + weight.mT @ weight / scale**2
    covariance = torch.linalg.inv(precision)
    return (x - bias) @ weight @ covariance / scale**2, covariance


def _no_prior(weight: Tensor, bias: Tensor, scale: float, x: Tensor) -> tuple[Tensor, Tensor]:
    covariance = torch.linalg.inv(weight.mT @ weight / scale**2)
    return (x - bias) @ weight @ covariance / scale**2, covariance


def _over_pixels(weight: Tensor, bias: Tensor, scale: float, x: Tensor) -> tuple[Tensor, Tensor]:
    eye = torch.eye(weight.shape[0], dtype=weight.dtype)
    covariance = torch.linalg.inv(eye + weight @ weight.mT / scale**2)
    return (x - bias) @ covariance @ weight / scale**2, covariance


def _as_precision(weight: Tensor, bias: Tensor, scale: float, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, covariance = _linear_posterior(weight, bias, scale, x)
    return mean, torch.linalg.inv(covariance)


def _mean_without_noise(
    weight: Tensor, bias: Tensor, scale: float, x: Tensor
) -> tuple[Tensor, Tensor]:
    mean, covariance = _linear_posterior(weight, bias, scale, x)
    return mean * scale**2, covariance


def _linear_cases() -> Iterable[Any]:
    for pixels, units, points, scale in ((5, 3, 4, 0.6), (4, 2, 7, 1.7)):
        model = _model(pixels, units, scale)
        x = model.marginal().sample((points,))
        yield model.weight, model.bias, model.scale, x
    yield extreme("a single x and a scale of 0.01", model.weight, model.bias, 0.01, x[:1])


def _posterior_of_the_scaled_precision(weight, bias, scale, x):
    scaled = weight.T @ weight + scale**2 * torch.eye(weight.shape[1])
    inverse = torch.linalg.inv(scaled)
    return (x - bias) @ weight @ inverse, scale**2 * inverse


def _posterior_by_solving(weight, bias, scale, x):
    precision = (scale**2 * torch.eye(weight.shape[1]) + weight.T @ weight) / scale**2
    mean = torch.linalg.solve(precision, weight.T @ (x - bias).T / scale**2).T
    return mean, torch.linalg.inv(precision)


def _posterior_by_conditioning(weight, bias, scale, x):
    # Condition the joint Gaussian of z and x on x.
    marginal = weight @ weight.T + scale**2 * torch.eye(len(bias))
    gain = torch.linalg.solve(marginal, weight).T
    return (x - bias) @ gain.T, torch.eye(weight.shape[1]) - gain @ weight


linear_posterior = Exercise(
    solution=_linear_posterior,
    cases=_linear_cases,
    right=(
        _posterior_of_the_scaled_precision,
        _posterior_by_solving,
        _posterior_by_conditioning,
    ),
    mistakes=(
        Mistake(
            "the scale taken as the variance",
            "p(x | z) has standard deviation σ; which power of it stands in the exponent?",
            lambda weight, bias, scale, x: _linear_posterior(weight, bias, math.sqrt(scale), x),
        ),
        Mistake(
            "the prior left out",
            "The exponent of the joint has ‖z‖²/2 in it as well; what does it add to WᵀW/σ²?",
            _no_prior,
        ),
        Mistake(
            "the number 1 in place of the identity matrix",
            "A number is added to all entries of a table; which of them does the prior change?",
            ("torch.eye(weight.shape[1], dtype=weight.dtype)", "1"),
        ),
        Mistake(
            "a covariance over pixels",
            "The posterior is over z: its covariance is (d, d). Is it WᵀW or WWᵀ?",
            _over_pixels,
        ),
        Mistake(
            "the precision returned as the covariance",
            "The factor of zᵀz in the exponent is the inverse of the covariance.",
            _as_precision,
        ),
        Mistake(
            "the bias not subtracted from x",
            "What does W z explain: x, or its distance from b?",
            lambda weight, bias, scale, x: _linear_posterior(weight, 0 * bias, scale, x),
        ),
        Mistake(
            "the covariance left out of the mean",
            "What you return is the linear term of the exponent; complete the square.",
            ("weight @ covariance / scale", "weight / scale"),
        ),
        Mistake(
            "the variances alone",
            "The units are correlated given x: what stands beside the diagonal?",
            ("scale**2, covariance", "scale**2, covariance.diag().diag()"),
        ),
        Mistake(
            "one covariance for each x",
            "It does not depend on x: one table of shape (d, d) is asked for.",
            ("scale**2, covariance", "scale**2, covariance.repeat(len(x), 1, 1)"),
        ),
        Mistake(
            "1/σ² missing in the mean",
            "The linear term of the exponent is zᵀWᵀ(x − b)/σ².",
            _mean_without_noise,
        ),
    ),
)
