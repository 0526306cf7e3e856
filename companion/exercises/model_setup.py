"""Exercises of chapter 2: the marginal by Monte Carlo, ancestral sampling, two posteriors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from companion.exact import LinearGaussian
from companion.exercises.checking import Exercise, Mistake, Prediction

# --- predictions ---------------------------------------------------------------------------------

naive_error = Prediction(
    name="naive_error",
    answer="low",
    because="Few draws, if any, land where p(x | z) is large, and the mean misses what they add.",
    mistakes={
        "high": "the rare draws that would raise the mean are the ones that are missing.",
        "right": "the mean of p(x | z) is right on average, but its logarithm is not, and with a "
        "few draws the mean is nearly always far below its expectation.",
    },
)

budget = Prediction(
    name="budget",
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
    name="peaks",
    answer=2.0,
    because="The point is as far from the left leg as from the right: one z on each explains it.",
    mistakes={
        1.0: "follow the arch with z: how many stretches of it pass at the same distance from x?",
        3.0: "the top of the arch is further from x than the legs; its z explains x hardly at all.",
    },
)

# --- log p(x) by Monte Carlo ---------------------------------------------------------------------


def _model(size: int, latent: int) -> LinearGaussian:
    """Return a small linear model in float64, drawn from the generator as it stands."""
    weight = torch.randn(size, latent, dtype=torch.float64)
    return LinearGaussian(weight, torch.randn(size, dtype=torch.float64), scale=0.6)


def _log_likelihood(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    """Return log p(x_b | z_k), (K, B)."""
    return model.likelihood(z[:, None]).log_prob(x)


def _naive_log_marginal(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    return _log_likelihood(model, x, z).logsumexp(0) - math.log(len(z))


def _prior_twice(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    log_joint = _log_likelihood(model, x, z) + model.prior().log_prob(z)[:, None]
    return log_joint.logsumexp(0) - math.log(len(z))


def _probe_naive(function: Callable[..., Any]) -> Sequence[Any]:
    model = _model(5, 2)
    x = model.marginal().sample((3,))
    z = model.prior().sample((7,))
    # So far away that exp(log p(x | z)) is zero in floating point.
    far = 60 + x[:2]
    return [function(model, x, z), function(model, far, z)]


naive_log_marginal = Exercise(
    name="naive_log_marginal",
    solution=_naive_log_marginal,
    probe=_probe_naive,
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


def _variance_as_scale(model: LinearGaussian, num_samples: int) -> Tensor:
    mean = model.likelihood(model.prior().sample((num_samples,))).mean
    return mean + model.scale**2 * torch.randn_like(mean)


def _uniform_latent(model: LinearGaussian, num_samples: int) -> Tensor:
    z = torch.rand(num_samples, model.weight.shape[1], dtype=torch.float64)
    return model.likelihood(z).sample()


def _probe_ancestral(function: Callable[..., Any]) -> Sequence[Any]:
    weight = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    model = LinearGaussian(weight, torch.tensor([3.0, -2.0, 1.0]).double(), scale=1.6)
    # A check of a law, not of draws: the moments of many draws, and the shape of a few.
    x = function(model, 40_000)
    few = function(model, 5)
    if x is None or few is None:
        return [None]
    return [x.mean(0), x.mT.cov(), torch.tensor(few.shape)]


ancestral_sample = Exercise(
    name="ancestral_sample",
    solution=_ancestral,
    probe=_probe_ancestral,
    tolerance=0.04,
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
            _variance_as_scale,
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


def _probe_grid(function: Callable[..., Any]) -> Sequence[Any]:
    step = 0.05
    grid = torch.arange(-6, 6, step, dtype=torch.float64)
    width = torch.tensor([0.3, 0.8, 1.7], dtype=torch.float64)
    ordinary = -0.5 * ((grid[:, None] - torch.randn(3).double()) / width) ** 2 - torch.rand(3)
    # The second batch is that of very unlikely x: exp(log p(x, z)) is zero in floating point.
    return [function(ordinary, step), function(ordinary[:, :2] - 2000, step)]


posterior_on_grid = Exercise(
    name="posterior_on_grid",
    solution=_posterior_on_grid,
    probe=_probe_grid,
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


def _probe_linear(function: Callable[..., Any]) -> Sequence[Any]:
    model = _model(5, 3)
    x = model.marginal().sample((4,))
    results = function(model.weight, model.bias, model.scale, x)
    return [None] if results is None else list(results)


linear_posterior = Exercise(
    name="linear_posterior",
    solution=_linear_posterior,
    probe=_probe_linear,
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
            "1/σ² missing in the mean",
            "The linear term of the exponent is zᵀWᵀ(x − b)/σ².",
            _mean_without_noise,
        ),
    ),
)
