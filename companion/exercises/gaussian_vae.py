"""Exercises of chapter 5: the terms of the Gaussian VAE's objective, each with its constants."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Distribution,
    Independent,
    Normal,
    kl_divergence,
)
from torch.nn.functional import gaussian_nll_loss, logsigmoid

from companion.exercises.checking import Exercise, Function, Mistake, extreme
from companion.exercises.predicting import Prediction

LOG_TWO_PI = math.log(2 * math.pi)

Decoder = Callable[[Tensor], Tensor]
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]
LogLikelihood = Callable[[Tensor], Tensor]


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


# --- predictions ---------------------------------------------------------------------------------

implied_scale = Prediction(
    answer=math.sqrt(32),
    because="1/64 = 1/2σ² gives σ² = 32: noise far wider than the pixels' range.",
    mistakes={
        32.0: "this is the variance σ². What is the standard deviation?",
        8.0: "set 1/64 equal to 1/(2σ²), not to 1/σ².",
        64.0: "set 1/64 equal to 1/(2σ²), and solve for σ.",
        1.0: "σ = 1 belongs to half the sum of squares. Here the squares are averaged over pixels.",
        math.sqrt(0.5): "this belongs to the plain sum of squares. Here they are averaged.",
    },
    tolerance=0.02,
)

beta_scale = Prediction(
    answer=0.2,
    because="The optima are those of weight 1 and variance βσ² = 4 · 0.01 = 0.04.",
    mistakes={
        0.4: "β multiplies the variance. What does that do to the standard deviation?",
        0.04: "this is the variance βσ². What is the standard deviation?",
        0.05: "divide the whole objective by β: does 1/2σ² become larger or smaller?",
        0.025: "divide the whole objective by β: does 1/2σ² become larger or smaller?",
        0.1: "σ = 0.1 with weight 1 puts a quarter of the weight on the KL term.",
    },
    tolerance=1e-6,
)

# --- the KL in closed form -----------------------------------------------------------------------


def _closed_form_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum(-1)


def _kl_cases() -> Iterable[Any]:
    for shape in ((5, 3), (2, 7)):
        yield _normal(*shape), _normal(*shape)
    yield extreme("a log σ² near −100, where σ² is tiny", _normal(4, 3), _normal(4, 3) - 100)
    yield extreme("a single data point", _normal(1, 4), _normal(1, 4))


def _kl_by_torch(mu, logvar):
    q = Normal(mu, logvar.exp().sqrt())
    return kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=1)


def _kl_as_the_formula_stands(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1)


def _kl_sum_by_sum(mu, logvar):
    squares, variances = (mu**2).sum(1), logvar.exp().sum(1)
    return 0.5 * squares + 0.5 * variances - 0.5 * logvar.sum(1) - 0.5 * mu.shape[1]


closed_form_kl = Exercise(
    solution=_closed_form_kl,
    cases=_kl_cases,
    right=(
        _kl_by_torch,
        _kl_as_the_formula_stands,
        _kl_sum_by_sum,
    ),
    mistakes=(
        Mistake(
            "an average over the latent units",
            "The density of z is a product over units. What does its logarithm do?",
            lambda mu, logvar: _closed_form_kl(mu, logvar) / mu.shape[-1],
        ),
        Mistake(
            "the sign turned",
            "A KL divergence is never negative. Try μ = 2, log σ² = 0: it should be 2 nats.",
            lambda mu, logvar: -_closed_form_kl(mu, logvar),
        ),
        Mistake(
            "the factor ½ missing",
            "Where does the Gaussian's exponent put its ½? Try μ = 2, log σ² = 0.",
            lambda mu, logvar: 2 * _closed_form_kl(mu, logvar),
        ),
        Mistake(
            "the log-variance taken for log σ",
            "logvar is log σ², so that σ² is exp(logvar) and needs no further square.",
            lambda mu, logvar: _closed_form_kl(mu, 2 * logvar),
        ),
        Mistake(
            "the variance and its logarithm taken for one another",
            "The formula holds both. Which of the two does the encoder return, where is its exp?",
            lambda mu, logvar: 0.5 * (mu.square() - 1).sum(-1),
        ),
        Mistake(
            "the KL the other way round",
            "The average is taken over q(z | x), the first of the two in KL(q ‖ p).",
            lambda mu, logvar: 0.5 * ((mu.square() + 1) * torch.exp(-logvar) - 1 + logvar).sum(-1),
        ),
        Mistake(
            "a sum over the data points as well",
            "The result should hold one number for each data point: sum over the last axis alone.",
            lambda mu, logvar: _closed_form_kl(mu, logvar).sum(),
        ),
    ),
)

# --- a clamped encoder ---------------------------------------------------------------------------


def _clamped_encoder(mu: Tensor, logvar: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    logvar = logvar.clamp(-4, 4)
    return mu + torch.exp(0.5 * logvar) * eps, _closed_form_kl(mu, logvar)


def _clamped_in_one_place(sample: bool, rate: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return an encoder that clamps the log-variance for one of the two results only."""

    def answer(mu: Tensor, logvar: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        clamped = logvar.clamp(-4, 4)
        z = mu + torch.exp(0.5 * (clamped if sample else logvar)) * eps
        return z, _closed_form_kl(mu, clamped if rate else logvar)

    return answer


def _clamped_cases() -> Iterable[Any]:
    # Spread so wide that about half of the log-variances, and some means, lie outside the limits.
    for shape in ((5, 3), (4, 6)):
        yield 4 * _normal(*shape), 6 * _normal(*shape), _normal(*shape)
    yield extreme("log σ² of ±10,000", _normal(2, 3), 1e4 * _normal(2, 3), _normal(2, 3))
    yield extreme("a single data point", *_normal(3, 1, 4))


def _clamp_with_limits(mu, logvar, eps):
    logvar = torch.minimum(torch.maximum(logvar, torch.tensor(-4.0)), torch.tensor(4.0))
    sigma = logvar.exp().sqrt()
    return torch.addcmul(mu, sigma, eps), _kl_by_torch(mu, logvar)


def _clamped_step_by_step(mu, logvar, eps):
    logvar = torch.where(logvar > 4, 4.0, torch.where(logvar < -4, -4.0, logvar))
    sigma = torch.exp(logvar / 2)
    return mu + sigma * eps, 0.5 * (mu**2 + sigma**2 - 1 - logvar).sum(1)


clamped_encoder = Exercise(
    solution=_clamped_encoder,
    cases=_clamped_cases,
    right=(
        _clamp_with_limits,
        _clamped_step_by_step,
    ),
    mistakes=(
        Mistake(
            "a sample from the clamped log-variance, a KL from the unclamped one",
            "The sample and its price must come from one and the same q(z | x).",
            _clamped_in_one_place(sample=True, rate=False),
        ),
        Mistake(
            "a KL from the clamped log-variance, a sample from the unclamped one",
            "The sample and its price must come from one and the same q(z | x).",
            _clamped_in_one_place(sample=False, rate=True),
        ),
        Mistake(
            "no clamp",
            "The log-variance must stay between −4 and 4 before anything is made of it.",
            _clamped_in_one_place(sample=False, rate=False),
        ),
        Mistake(
            "the noise multiplied by the variance",
            "z = μ + σ ε. What is σ when the encoder returns log σ²?",
            ("torch.exp(0.5 * logvar)", "torch.exp(logvar)"),
        ),
        Mistake(
            "no lower limit",
            "A log-variance can run away to −∞ too.",
            ("clamp(-4, 4)", "clamp(max=4)"),
        ),
        Mistake(
            "no upper limit",
            "A log-variance can run away to +∞ too.",
            ("clamp(-4, 4)", "clamp(min=-4)"),
        ),
        Mistake(
            "the limits put on σ instead of log σ²",
            "Clamp what the encoder returns, then take the exponential.",
            ("logvar.clamp(-4, 4)", "2 * torch.exp(0.5 * logvar).clamp(-4, 4).log()"),
        ),
        Mistake(
            "the limits put on σ² instead of log σ²",
            "Clamp what the encoder returns, then take the exponential.",
            ("logvar.clamp(-4, 4)", "logvar.exp().clamp(-4, 4).log()"),
        ),
        Mistake(
            "the limits put on log σ instead of log σ²",
            "Clamp what the encoder returns, before it is halved.",
            ("logvar.clamp(-4, 4)", "2 * (0.5 * logvar).clamp(-4, 4)"),
        ),
        Mistake(
            "a soft limit",
            "A clamp leaves all values between −4 and 4 as they are.",
            ("logvar.clamp(-4, 4)", "4 * torch.tanh(logvar / 4)"),
        ),
        Mistake(
            "a clamp of μ too",
            "It is the log-variance alone that should be clamped.",
            ("logvar = ", "mu, logvar = mu.clamp(-4, 4), "),
        ),
        Mistake(
            "the mean in place of a sample",
            "z should move with ε. What multiplies it?",
            ("mu + torch.exp(0.5 * logvar) * eps", "mu"),
        ),
    ),
)

# --- the ELBO of a data set in batches -----------------------------------------------------------


def _mean_elbo(
    batches: Sequence[Tensor],
    noise: Sequence[Tensor],
    encode: Encoder,
    decode: Decoder,
    sigma: float,
) -> Tensor:
    variance = sigma**2
    total, count = torch.zeros(()), 0
    for x, eps in zip(batches, noise, strict=True):
        mu, logvar = encode(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        squares = (x - decode(z)).square().sum(-1)
        constant = 0.5 * x.shape[-1] * (LOG_TWO_PI + math.log(variance))
        rows = -squares / (2 * variance) - constant - _closed_form_kl(mu, logvar)
        total, count = total + rows.sum(), count + len(rows)
    return total / count


def _mean_elbo_cases() -> Iterable[Any]:
    tiny = (5, 2, (4, 2), 1e-3)
    for pixels, units, sizes, sigma in ((7, 3, (5, 5, 2), 0.3), (6, 4, (3, 3, 3, 1), 1.4), tiny):
        to_mu, to_logvar = _normal(pixels, units), 0.3 * _normal(pixels, units)
        back = _normal(units, pixels)

        def encode(x: Tensor, to: tuple[Tensor, Tensor] = (to_mu, to_logvar)) -> Any:
            return x @ to[0], x @ to[1]

        def decode(z: Tensor, back: Tensor = back) -> Tensor:
            return torch.tanh(z @ back)

        # The last batch is short and unlike the others, as in any data that is not divisible.
        batches = [_normal(size, pixels) for size in sizes]
        batches[-1] += 3
        what = "σ = 0.001" if sigma < 0.1 else ""
        noise = [_normal(size, units) for size in sizes]
        yield extreme(what, batches, noise, encode, decode, sigma)


def _elbo_with_running_sum(batches, noise, encode, decode, sigma):
    total, count = 0.0, 0
    for x, eps in zip(batches, noise, strict=True):
        mu, logvar = encode(x)
        mean = decode(mu + logvar.exp().sqrt() * eps)
        variance = torch.full_like(x, sigma**2)
        nll = gaussian_nll_loss(mean, x, variance, full=True, reduction="none").sum(1)
        total = total - nll.sum() - _kl_by_torch(mu, logvar).sum()
        count += len(x)
    return total / count


def _elbo_of_all_at_once(batches, noise, encode, decode, sigma):
    x, eps = torch.cat(batches), torch.cat(noise)
    mu, logvar = encode(x)
    z = mu + logvar.exp().sqrt() * eps
    reconstruction = Independent(Normal(decode(z), sigma), 1).log_prob(x)
    return float((reconstruction - _kl_as_the_formula_stands(mu, logvar)).mean())


mean_elbo = Exercise(
    solution=_mean_elbo,
    cases=_mean_elbo_cases,
    right=(
        _elbo_with_running_sum,
        _elbo_of_all_at_once,
    ),
    mistakes=(
        Mistake(
            "minus the ELBO",
            "This is the loss. The ELBO is a lower bound on log p(x), and is to be maximised.",
            lambda *inputs: -_mean_elbo(*inputs),
        ),
        Mistake(
            "the mean of batch means",
            "The last batch is short: each of its points then counts more than the others.",
            ("rows.sum(), count + len(rows)", "rows.mean(), count + 1"),
        ),
        Mistake(
            "all batches counted as long as the first",
            "The last batch is short. How many data points are there in all?",
            ("total / count", "total / (len(batches) * len(batches[0]))"),
        ),
        Mistake(
            "only the first batch",
            "Where does your loop end, and where does it return?",
            ("    return total", "        return total"),
        ),
        Mistake(
            "only the last batch",
            "Does your loop add to the total, or write over it?",
            ("total + rows.sum(), count + len(rows)", "rows.sum(), len(rows)"),
        ),
        Mistake(
            "the last, short batch left out",
            "Its points belong to the data set like all others.",
            ("zip(batches, noise,", "zip(batches[:-1], noise[:-1],"),
        ),
        Mistake(
            "a sum over the data points",
            "The mean ELBO of a data point is asked for.",
            ("total / count", "total"),
        ),
        Mistake(
            "the posterior's mean in place of a sample",
            "The bound is an expectation over q. A decoded mean scores better and is no bound.",
            ("mu + torch.exp(0.5 * logvar) * eps", "mu"),
        ),
        Mistake(
            "squares averaged over pixels",
            "log p(x | z) is a sum over pixels. An average gives the KL an undeclared weight D.",
            ("square().sum(-1)", "square().mean(-1)"),
        ),
        Mistake(
            "log p(x | z) averaged over pixels",
            "log p(x | z) is a sum over pixels. An average gives the KL an undeclared weight D.",
            (
                "-squares / (2 * variance) - constant",
                "(-squares / (2 * variance) - constant) / x.shape[-1]",
            ),
        ),
        Mistake(
            "2π dropped",
            "Which constant makes a Gaussian density integrate to one?",
            ("LOG_TWO_PI + ", ""),
        ),
        Mistake(
            "a constant for each latent unit in place of each pixel",
            "Each of the D pixels brings a normaliser of its own.",
            ("0.5 * x.shape[-1]", "0.5 * z.shape[-1]"),
        ),
        Mistake(
            "the constant C dropped",
            "Without −D/2 log 2πσ² the number is a loss with its sign turned, not an ELBO.",
            (" - constant", ""),
        ),
        Mistake(
            "σ taken for the variance",
            "sigma is a standard deviation. What stands under the squares?",
            ("sigma**2", "sigma"),
        ),
    ),
)

# --- a sample that lets the gradient through -----------------------------------------------------


def _reconstruction_cases() -> Iterable[Any]:
    for points, units, num_samples in ((3, 2, 3_000), (2, 4, 2_500)):
        mu = (2 * _normal(points, units)).requires_grad_()
        sigma = (0.5 + 0.7 * torch.rand(points, units).double()).requires_grad_()
        weight = torch.eye(units, units + 1).double() + 0.2 * _normal(units, units + 1)
        # Close to decoded means: the noise of the draws is then small beside the gradients.
        x = (mu.detach() + 0.8) @ weight

        def log_likelihood(z: Tensor, weight: Tensor = weight, x: Tensor = x) -> Tensor:
            return -0.5 * (x - z @ weight).square().sum(-1)

        yield Independent(Normal(mu, sigma), 1), log_likelihood, num_samples
    q = Independent(Normal(mu, sigma), 1)
    flat = "four draws of a log-likelihood that hardly depends on z"
    yield extreme(flat, q, lambda z: 0.01 * z.sum(-1) - torch.tensor([900.0, 300.0]), 4)
    mu = torch.tensor([[0.9, 0.0], [0.0, -1.1]], dtype=torch.float64, requires_grad=True)
    q = Independent(Normal(mu, torch.ones(2, 2, dtype=torch.float64, requires_grad=True)), 1)
    apart = "a log-likelihood of the difference of two units"
    yield extreme(apart, q, lambda z: -0.5 * (z[..., 0] - z[..., 1]).square(), 3_000)


def _value_and_gradients(
    function: Function, q: Distribution, log_likelihood: LogLikelihood, num_samples: int
) -> list[Tensor]:
    value = function(q, log_likelihood, num_samples)
    parameters = [q.base_dist.loc, q.base_dist.scale]  # type: ignore[attr-defined]
    gradients: Sequence[Tensor | None] = [None, None]
    if value.requires_grad:
        gradients = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    # No gradient at all is a result too, and one that a mistake is known by; so is noise alone.
    pairs = zip(gradients, parameters, strict=True)
    found = (torch.zeros_like(p) if g is None else g for g, p in pairs)
    return [value, *(torch.zeros_like(g) if bool((g.abs() < 0.15).all()) else g for g in found)]


def _noise(q: Distribution, num_samples: int) -> Tensor:
    return torch.randn(num_samples, *q.mean.shape, dtype=q.mean.dtype)


def _elbo_not_reconstruction(q: Distribution, f: LogLikelihood, num: int) -> Tensor:
    prior = Independent(Normal(torch.zeros_like(q.mean), 1.0), 1)
    return f(q.rsample((num,))).mean(0) - kl_divergence(q, prior)


# Lambdas have no variants: those of sampled answers prove nothing, and some draw millions of rows.
reconstruction_term = Exercise(
    solution=lambda q, log_likelihood, num_samples: log_likelihood(q.rsample((num_samples,))).mean(
        0
    ),
    cases=_reconstruction_cases,
    look=_value_and_gradients,
    right=(
        lambda q, f, num: f(q.mean + q.stddev * _noise(q, num)).sum(0) / num,
        lambda q, f, num: sum(f(q.rsample((num // 2,))).mean(0) for _ in range(2)) / 2,
    ),
    results=("Your value", "The gradient in μ", "The gradient in σ"),
    tolerance=0.25,  # sampled: the noise of these draws is mostly below 0.1
    mistakes=(
        Mistake(
            "no gradient reaches the encoder",
            "The value is right, but z no longer depends on μ and σ: by sample() in place of "
            "rsample(), by a no_grad, a detach() or an item()?",
            lambda q, f, num: f(q.sample((num,))).mean(0),
        ),
        Mistake(
            "the mean of q, or of the draws, in place of the draws themselves",
            "The expectation of a function is not the function of the expectation: average last.",
            lambda q, f, num: f(q.mean),
        ),
        Mistake(
            "the logarithm of the average likelihood",
            "The term averages log p(x | z): logarithms come first, the mean over draws after.",
            lambda q, f, num: f(q.rsample((num,))).logsumexp(0) - math.log(num),
        ),
        Mistake(
            "the KL taken off too",
            "This is the ELBO. The exercise asks for its first term alone.",
            _elbo_not_reconstruction,
        ),
        Mistake(
            "a sum over the samples",
            "An expectation is estimated by an average: which axis holds the samples?",
            lambda q, f, num: f(q.rsample((num,))).sum(0),
        ),
        Mistake(
            "the noise multiplied by the variance",
            "z = μ + σ ε: what is σ, if q knows its mean, variance and stddev?",
            lambda q, f, num: f(q.mean + q.variance * _noise(q, num)).mean(0),
        ),
        Mistake(
            "no gradient through σ",
            "The gradient reaches μ but not σ. Is the noise multiplied by a detached number?",
            lambda q, f, num: f(q.mean + q.stddev.detach() * _noise(q, num)).mean(0),
        ),
        Mistake(
            "no gradient through μ",
            "The gradient reaches σ but not μ. Is the noise added to a detached mean?",
            lambda q, f, num: f(q.mean.detach() + q.stddev * _noise(q, num)).mean(0),
        ),
        Mistake(
            "an average over the data points as well",
            "The result should hold one number for each data point.",
            lambda q, f, num: f(q.rsample((num,))).mean(),
        ),
    ),
)

# --- binary pixels -------------------------------------------------------------------------------


def _binary_reconstruction(x: Tensor, logits: Tensor, u: Tensor) -> Tensor:
    return _minus_bce((u < x).to(x.dtype), logits)


def _minus_bce(x: Tensor, logits: Tensor) -> Tensor:
    return (x * logsigmoid(logits) + (1 - x) * logsigmoid(-logits)).sum(-1)


def _binary_cases() -> Iterable[Any]:
    for shape in ((5, 7), (3, 4)):
        x, u = torch.rand(2, *shape, dtype=torch.float64)
        yield x, 2 * _normal(*shape), u
    yield extreme("logits of ±10,000", x, 1e4 * _normal(*shape), u)
    grey = torch.tensor([[0.0, 0.3, 1.0]], dtype=torch.float64)
    at = torch.tensor([[0.0, 0.3, 0.999]], dtype=torch.float64)
    yield extreme("u equal to x, where the pixel is 0", grey, _normal(1, 3), at)


def _binary_by_torch(x, logits, u):
    return Bernoulli(logits=logits).log_prob(torch.where(u < x, 1.0, 0.0).double()).sum(-1)


def _binary_by_probabilities(x, logits, u):
    # The larger of the two probabilities is 1/(1 + e), the smaller e/(1 + e).
    white, e = u < x, torch.exp(-logits.abs())
    likely = white == (logits > 0)
    return (torch.where(likely, 0.0, -logits.abs()) - torch.log(1 + e)).sum(1)


def _binary_by_softplus(x, logits, u):
    b = 1.0 * (u < x)
    return (b * logits).sum(1) - logits.clamp(min=0).sum(1) - (-logits.abs()).exp().log1p().sum(1)


binary_reconstruction = Exercise(
    solution=_binary_reconstruction,
    cases=_binary_cases,
    right=(
        _binary_by_torch,
        _binary_by_probabilities,
        _binary_by_softplus,
    ),
    mistakes=(
        Mistake(
            "cross-entropy of the grey pixels",
            "A Bernoulli gives probability to 0 and 1 alone. Draw the binary picture first.",
            lambda x, logits, u: _minus_bce(x, logits),
        ),
        Mistake(
            "a threshold at one half",
            "A pixel of grey level x should be 1 with probability x: compare it with u.",
            lambda x, logits, u: _minus_bce((x > 0.5).double(), logits),
        ),
        Mistake(
            "black and white exchanged",
            "A pixel of grey level 1 should always become 1. Which way round is your comparison?",
            lambda x, logits, u: _minus_bce((u > x).double(), logits),
        ),
        Mistake(
            "the chances of 1 and 0 exchanged",
            "A large logit means that 1 is likely. Is it the logit's sign, or the binary picture?",
            lambda x, logits, u: _minus_bce((u >= x).double(), logits),
        ),
        Mistake(
            "the loss, with the opposite sign",
            "The cross-entropy is minus the log-likelihood.",
            lambda x, logits, u: -_binary_reconstruction(x, logits, u),
        ),
        Mistake(
            "an average over pixels",
            "The log-likelihood of a picture is the sum over its pixels.",
            lambda x, logits, u: _binary_reconstruction(x, logits, u) / x.shape[-1],
        ),
        Mistake(
            "probabilities taken for logits",
            "The sigmoid is applied twice: which of your functions takes logits already?",
            lambda x, logits, u: _binary_reconstruction(x, logits.sigmoid(), u),
        ),
    ),
)

# --- a learned scale -----------------------------------------------------------------------------


def _learned_scale(x: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    return _scaled(x, mean, log_sigma) - x.shape[-1] * (log_sigma + 0.5 * LOG_TWO_PI)


def _scaled(x: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    return -0.5 * ((x - mean) * torch.exp(-log_sigma)).square().sum(-1)


def _scale_cases() -> Iterable[Any]:
    for points, pixels, log_sigma in ((5, 7, -1.3), (3, 4, 0.4)):
        x, mean = _normal(2, points, pixels)
        yield x, mean, torch.tensor(log_sigma, dtype=torch.float64)
    yield extreme("σ = e⁻⁹ and a single data point", *_normal(2, 1, 3), torch.tensor(-9.0).double())


def _scale_by_torch(x, mean, log_sigma):
    return Independent(Normal(mean, log_sigma.exp()), 1).log_prob(x)


def _scale_by_nll(x, mean, log_sigma):
    variance = torch.exp(2 * log_sigma).expand_as(x)
    return -gaussian_nll_loss(mean, x, variance, full=True, reduction="none", eps=0).sum(-1)


def _scale_term_by_term(x, mean, log_sigma):
    error = ((x - mean) ** 2).sum(1) / (2 * torch.exp(log_sigma) ** 2)
    return -error - x.shape[1] * log_sigma - 0.5 * x.shape[1] * LOG_TWO_PI


def _scale_pixel_by_pixel(x, mean, log_sigma):
    variance = torch.exp(2 * log_sigma)
    return (-0.5 * torch.log(2 * math.pi * variance) - (x - mean) ** 2 / (2 * variance)).sum(1)


learned_scale = Exercise(
    solution=_learned_scale,
    cases=_scale_cases,
    differentiable=True,
    right=(
        _scale_by_torch,
        _scale_term_by_term,
        _scale_pixel_by_pixel,
        _scale_by_nll,
    ),
    mistakes=(
        Mistake(
            "the log-normaliser dropped",
            "It is constant only while σ is. What keeps a learned σ from growing for ever?",
            _scaled,
        ),
        Mistake(
            "log σ counted once instead of once for each pixel",
            "Each of the D pixels brings a normaliser of its own.",
            lambda x, mean, log_sigma: (
                _scaled(x, mean, log_sigma) - log_sigma - 0.5 * x.shape[-1] * LOG_TWO_PI
            ),
        ),
        Mistake(
            "log σ taken for log σ²",
            "exp(log_sigma) is the standard deviation, so the squares are divided by its square.",
            lambda x, mean, log_sigma: _learned_scale(x, mean, 0.5 * log_sigma),
        ),
        Mistake(
            "2π dropped",
            "Which constant makes a Gaussian density integrate to one?",
            lambda x, mean, log_sigma: _scaled(x, mean, log_sigma) - x.shape[-1] * log_sigma,
        ),
        Mistake(
            "an average over pixels",
            "log p(x | z) is a sum over pixels.",
            lambda x, mean, log_sigma: _learned_scale(x, mean, log_sigma) / x.shape[-1],
        ),
        Mistake(
            "the sign of the normaliser turned",
            "A wide density is a low one: should a larger σ add or take away?",
            lambda x, mean, log_sigma: (
                2 * _scaled(x, mean, log_sigma) - _learned_scale(x, mean, log_sigma)
            ),
        ),
    ),
)

# --- log p(x) in chunks --------------------------------------------------------------------------

Draw = Callable[[int], Tensor]


def _chunks(draw: Draw, num_samples: int, chunk_size: int) -> Iterator[Tensor]:
    for start in range(0, num_samples, chunk_size):
        yield draw(min(chunk_size, num_samples - start))


def _weights(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    return torch.cat(list(_chunks(draw, num_samples, chunk_size)))


def _log_mean_exp(log_weight: Tensor) -> Tensor:
    return log_weight.logsumexp(0) - math.log(len(log_weight))


def _log_marginal_in_chunks(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    return _log_mean_exp(_weights(draw, num_samples, chunk_size))


def _of_weights(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return an answer that draws all weights rightly and then does `function`."""
    return lambda *inputs: function(_weights(*inputs))


def _whole_chunks(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    sums = [draw(chunk_size).logsumexp(0) for _ in range(num_samples // chunk_size)]
    return torch.stack(sums).logsumexp(0) - math.log(num_samples)


def _sums(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    """Return the logarithm of each chunk's sum of weights."""
    chunks = _chunks(draw, num_samples, chunk_size)
    return torch.stack([weights.logsumexp(0) for weights in chunks])


def _bounds(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    """Return the bound that each chunk gives."""
    return torch.stack([_log_mean_exp(w) for w in _chunks(draw, num_samples, chunk_size)])


def _chunks_cases() -> Iterable[Any]:
    yield _rows_of(2 * _normal(11, 6), 4), 11, 4
    yield _rows_of(2 * _normal(7, 5), 3), 7, 3
    low = "log-weights near −1500, where exp() gives 0"
    yield extreme(low, _rows_of(2 * _normal(8, 5) - 1500, 3), 8, 3)
    apart = "log-weights that lie thousands of nats apart"
    yield extreme(apart, _rows_of(5000 * _normal(7, 4), 3), 7, 3)
    yield extreme("a single draw", _rows_of(_normal(1, 5), 1), 1, 1)


def _rows_of(table: Tensor, chunk_size: int) -> Draw:
    """Return a `draw` that hands out the rows of a table, and none beyond."""
    start = 0

    def draw(count: int) -> Tensor:
        nonlocal start
        if not 0 <= count <= chunk_size:
            raise ValueError(
                f"draw({count}), where at most chunk_size = {chunk_size} are asked for"
            )
        if start + count > len(table):
            raise ValueError(f"more than num_samples = {len(table)} rows drawn")
        start += count
        return table[start - count : start].clone()

    return draw


def _chunks_with_running_logsumexp(draw, num_samples, chunk_size):
    log_sum, left = torch.tensor(-math.inf, dtype=torch.float64), num_samples
    while left > 0:
        log_weight = draw(min(left, chunk_size))
        left -= len(log_weight)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 0))
    return log_sum - math.log(num_samples)


def _chunks_with_the_largest_weight(draw, num_samples, chunk_size):
    sizes = [chunk_size] * (num_samples // chunk_size) + [num_samples % chunk_size]
    log_weight = torch.cat([draw(size) for size in sizes if size])
    top = log_weight.max(0).values
    return top + (log_weight - top).exp().mean(0).log()


log_marginal_in_chunks = Exercise(
    solution=_log_marginal_in_chunks,
    cases=_chunks_cases,
    right=(
        _chunks_with_running_logsumexp,
        _chunks_with_the_largest_weight,
    ),
    mistakes=(
        Mistake(
            "whole chunks only, divided by the K that was asked for",
            "11 draws in chunks of 4 are 4 + 4 + 3. Is the last, short chunk drawn?",
            _whole_chunks,
        ),
        Mistake(
            "whole chunks only",
            "11 draws in chunks of 4 are 4 + 4 + 3. Is the last, short chunk drawn?",
            lambda draw, num, size: _log_marginal_in_chunks(draw, num - num % size, size),
        ),
        Mistake(
            "the mean of the chunks' bounds",
            "Each chunk is a looser bound. Add the weights of all chunks, then take one logarithm.",
            lambda *inputs: _bounds(*inputs).mean(0),
        ),
        Mistake(
            "chunks of unequal size counted alike",
            "The last chunk is short: add its weights up with the others, and divide by K once.",
            lambda *inputs: _log_mean_exp(_bounds(*inputs)),
        ),
        Mistake(
            "the logarithms of the chunks' sums added up",
            "A sum of logarithms is the logarithm of a product. Add the weights themselves.",
            lambda draw, num, size: _sums(draw, num, size).sum(0) - math.log(num),
        ),
        Mistake(
            "only the last chunk in the sum",
            "Does your loop keep what the earlier chunks gave, or write over it?",
            lambda draw, num, size: _sums(draw, num, size)[-1] - math.log(num),
        ),
        Mistake(
            "only the first chunk",
            "What happens to the chunks that are drawn after it?",
            lambda *inputs: _bounds(*inputs)[0],
        ),
        Mistake(
            "the largest weight alone",
            "The others count too: add all weights, by logsumexp.",
            _of_weights(lambda lw: lw.max(0).values),
        ),
        Mistake(
            "the largest weight alone, divided by K",
            "The others count too: add all weights, by logsumexp.",
            _of_weights(lambda lw: lw.max(0).values - math.log(len(lw))),
        ),
        Mistake(
            "a running sum of logarithms that starts at 0",
            "log w = 0 is a weight of one. What is the logarithm of an empty sum?",
            lambda draw, num, size: (
                _sums(draw, num, size).logsumexp(0).logaddexp(torch.zeros(())) - math.log(num)
            ),
        ),
        Mistake(
            "the surrogate Σ w̃ log w reported as the bound",
            "Its gradient is the bound's, its value is up to log K too high.",
            _of_weights(lambda lw: (lw.softmax(0) * lw).sum(0)),
        ),
        Mistake(
            "importance weights from the positive loss",
            "With −log w in the exponent the worst samples count most. Which sign has the weight?",
            _of_weights(lambda lw: -_log_mean_exp(-lw)),
        ),
        Mistake(
            "minus log p(x)",
            "This is a loss. log_marginal estimates log p(x) itself.",
            _of_weights(lambda lw: -_log_mean_exp(lw)),
        ),
        Mistake(
            "no log K",
            "p(x) is estimated by the mean of the weights, not by their sum.",
            _of_weights(lambda lw: lw.logsumexp(0)),
        ),
        Mistake(
            "the ELBO",
            "The mean of log w is the ELBO. Here the mean comes before the logarithm.",
            _of_weights(lambda lw: lw.mean(0)),
        ),
        Mistake(
            "an exponential before the logarithm",
            "exp(−900) is zero in floating point and its logarithm −∞. torch.logsumexp avoids it.",
            _of_weights(lambda lw: lw.exp().mean(0).log()),
        ),
        Mistake(
            "logsumexp over the data points",
            "log_weight is (K, B): which axis holds the samples?",
            _of_weights(lambda lw: lw.logsumexp(1) - math.log(lw.shape[1])),
        ),
    ),
)

# --- the mass of exp(−BCE) -----------------------------------------------------------------------


def _grey_mass(lam: Tensor) -> Tensor:
    # Near one half the quotient is 0/0; it is ½ (1 − u²/12 …) with u = logit λ.
    near = (lam - 0.5).abs() < 1e-4
    safe = torch.where(near, 0.25, lam)
    return torch.where(near, 0.5 - (2 * lam - 1).square() / 6, _quotient(safe))


def _quotient(lam: Tensor) -> Tensor:
    return (2 * lam - 1) / torch.logit(lam)


def _mass_cases() -> Iterable[Any]:
    yield torch.tensor([0.01, 0.2, 0.35, 0.62, 0.9, 0.97], dtype=torch.float64)
    yield torch.tensor([0.13, 0.71, 0.55], dtype=torch.float64)
    yield extreme("λ = ½", torch.tensor([0.5], dtype=torch.float64))
    yield extreme("λ = ½ among others", torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64))
    yield extreme("λ near ½", torch.tensor([0.49, 0.505], dtype=torch.float64))
    yield extreme("λ near 0 and 1", torch.tensor([1e-9, 1 - 1e-9], dtype=torch.float64))


def _mass_by_torch(lam):
    # Its log-density at x = 0 is the log-normaliser plus log(1 − λ).
    log_constant = ContinuousBernoulli(lam).log_prob(torch.zeros_like(lam)) - torch.log1p(-lam)
    return torch.exp(-log_constant)


def _mass_by_quadrature(lam):
    nodes, weights = np.polynomial.legendre.leggauss(40)
    x = torch.as_tensor(nodes)[:, None] / 2 + 0.5
    heights = torch.exp(x * torch.log(lam) + (1 - x) * torch.log(1 - lam))
    return (torch.as_tensor(weights)[:, None] * heights).sum(0) / 2


def _mass_in_a_loop(lam):
    values = [0.5 if v == 0.5 else (2 * v - 1) / math.log(v / (1 - v)) for v in lam.tolist()]
    return torch.tensor(values)


grey_mass = Exercise(
    solution=_grey_mass,
    cases=_mass_cases,
    right=(
        _mass_by_torch,
        _mass_by_quadrature,
        _mass_in_a_loop,
    ),
    mistakes=(
        Mistake(
            "exp(−BCE) taken for a density",
            "Its two values at x = 0 and x = 1 add up to one. What is its integral in between?",
            torch.ones_like,
        ),
        Mistake(
            "the reciprocal",
            "This is the factor that would turn exp(−BCE) into a density. The mass is below one.",
            lambda lam: 1 / _grey_mass(lam),
        ),
        Mistake(
            "0/0 at λ = ½",
            "At λ = ½ the curve is flat: what is its area? Treat that value apart.",
            _quotient,
        ),
        Mistake(
            "the height at x = ½ in place of the area",
            "The curve bends. Integrate exp(x log λ + (1 − x) log(1 − λ)) over x from 0 to 1.",
            lambda lam: (lam * (1 - lam)).sqrt(),
        ),
        Mistake(
            "the trapezoid of the two ends",
            "(λ + (1 − λ))/2 is ½ for all λ: the curve between the ends is convex, so it is less.",
            lambda lam: torch.full_like(lam, 0.5),
        ),
    ),
)
