"""Exercises of chapter 7: what a code tells, how it is measured, and what keeps it."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)
from torch.nn.functional import softplus

from companion._context import preserved
from companion.autoregressive import AutoregressiveConditional
from companion.diagnostics import elbo_surgery, log_aggregate
from companion.diagnostics.information import Surgery
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction
from companion.models import VAE, LatentVariableModel

Decoder = Callable[[Tensor], Tensor]


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


# --- mutual information from samples -------------------------------------------------------------


def _own(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return log q(z | own x), (K, N)."""
    return Normal(mean, scale).log_prob(z).sum(-1)


def _pairs(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return log q(z | every x), (K, N, N)."""
    return Normal(mean, scale).log_prob(z[:, :, None]).sum(-1)


def _information(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    mixture = _pairs(z, mean, scale).logsumexp(-1) - math.log(len(mean))
    return (_own(z, mean, scale) - mixture).mean()


def _in_minibatches(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    size = 4
    parts = zip(z.split(size, 1), mean.split(size), scale.split(size), strict=True)
    return torch.stack([_information(*part) * len(part[1]) for part in parts]).sum() / len(mean)


def _viewed(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    # The rows of a (N, K, d) tensor are not those of the (K, N, d) one it is read from.
    turned = z.reshape(z.shape[1], z.shape[0], z.shape[2]).transpose(0, 1)
    mixture = _pairs(z, mean, scale).logsumexp(-1) - math.log(len(mean))
    return (_own(turned, mean, scale) - mixture).mean()


def _rate(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (_own(z, mean, scale) - Normal(0.0, 1.0).log_prob(z).sum(-1)).mean()


def _mean_of_logs(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (_own(z, mean, scale) - _pairs(z, mean, scale).mean(-1)).mean()


def _without_log_n(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return _information(z, mean, scale) - math.log(len(mean))


def _per_unit(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    pairs = Normal(mean, scale).log_prob(z[:, :, None])
    mixture = pairs.logsumexp(2) - math.log(len(mean))
    return (Normal(mean, scale).log_prob(z) - mixture).sum(-1).mean()


def _others_alone(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    own = torch.eye(len(mean), dtype=torch.bool)
    others = _pairs(z, mean, scale).masked_fill(own, -torch.inf)
    mixture = others.logsumexp(-1) - math.log(len(mean) - 1)
    return (_own(z, mean, scale) - mixture).mean()


def _over_codes(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    mixture = _pairs(z, mean, scale).logsumexp(1) - math.log(len(mean))
    return (_own(z, mean, scale) - mixture).mean()


def _one_gaussian(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    variance = mean.var(0, correction=0) + scale.square().mean(0)
    aggregate = Normal(mean.mean(0), variance.sqrt()).log_prob(z).sum(-1)
    return (_own(z, mean, scale) - aggregate).mean()


def _information_cases() -> Iterable[Any]:
    far = "codes so far apart that densities are 0 in floating point"
    wide = "1,000 units, where densities leave the range of numbers"
    for what, draws, points, units, apart in (
        ("", 3, 11, 2, 1.5),
        ("", 5, 7, 3, 1.5),
        (far, 2, 6, 3, 1e3),
        (wide, 2, 3, 1000, 0.1),
    ):
        mean = apart * _normal(points, units)
        scale = 0.3 + torch.rand(points, units).double()
        yield extreme(what, mean + scale * _normal(draws, points, units), mean, scale)
    # Draws that lie nearer to other points than to their own.
    mean, scale = 0.3 * _normal(4, 3), torch.ones(4, 3).double()
    yield extreme("one draw for each point, and an estimate below 0", -mean[None], mean, scale)


def _information_by_torch(z, mean, scale):
    components = Independent(Normal(mean, scale), 1)
    even = Categorical(torch.ones(len(mean), dtype=mean.dtype))
    return (components.log_prob(z) - MixtureSameFamily(even, components).log_prob(z)).mean()


def _information_by_the_package(z, mean, scale):
    q = Independent(Normal(mean, scale), 1)
    return (q.log_prob(z) - log_aggregate(q, z.flatten(0, 1), 5).reshape(z.shape[:2])).mean()


def _information_by_hand(z, mean, scale):
    everyone = _log_normal(z[:, :, None], mean, scale)
    mixture = torch.logsumexp(everyone, 2) - math.log(mean.shape[0])
    return (_log_normal(z, mean, scale) - mixture).mean()


def _log_normal(z, mean, scale):
    return (-0.5 * (z - mean) ** 2 / scale**2 - torch.log(scale)).sum(-1)


information_from_samples = Exercise(
    solution=_information,
    cases=_information_cases,
    right=(
        _information_by_torch,
        _information_by_the_package,
        _information_by_hand,
    ),
    mistakes=(
        Mistake(
            "the aggregate over minibatches of four",
            "A few points cannot be told apart by more than log 4: mix over all N components.",
            _in_minibatches,
        ),
        Mistake(
            "view or reshape where a transpose is meant",
            "Reading (K, N, d) as (N, K, d) hands draws of one point to another: use transpose.",
            _viewed,
        ),
        Mistake(
            "the rate in place of the information",
            "Compare q(z | x) with the aggregated posterior q(z), not with the prior.",
            _rate,
        ),
        Mistake(
            "densities that underflow",
            "The logarithm of 0 is −∞: average the densities by a logsumexp of their logarithms.",
            lambda z, mean, scale: (
                _own(z, mean, scale) - _pairs(z, mean, scale).exp().mean(-1).log()
            ).mean(),
        ),
        Mistake(
            "a mean of logarithms",
            "q(z) is an average of densities: take the average first and the logarithm after.",
            _mean_of_logs,
        ),
        Mistake(
            "no log N",
            "logsumexp adds the N densities up. The aggregate is their mean.",
            _without_log_n,
        ),
        Mistake(
            "the information of each unit by itself, added up",
            "A component's density is a product over units: add its logarithms before you mix.",
            _per_unit,
        ),
        Mistake(
            "the own component left out",
            "q(z) is the average over all N points: the one that z was drawn for is among them.",
            _others_alone,
        ),
        Mistake(
            "the sum over the codes in place of the components",
            "Hold z, and add the densities that the N components have there: sum over their axis.",
            _over_codes,
        ),
        Mistake(
            "a Gaussian in place of the mixture",
            "q(z) is a mixture of N Gaussians. One with its mean and variance is another density.",
            _one_gaussian,
        ),
        Mistake(
            "a sum over points and draws",
            "Information is an average, over the N points and over the K draws.",
            lambda z, mean, scale: _information(z, mean, scale) * z.shape[0] * z.shape[1],
        ),
        Mistake(
            "the sign turned",
            "Information is log q(z | x) less log q(z).",
            lambda z, mean, scale: -_information(z, mean, scale),
        ),
    ),
)

# --- an honest evaluation ------------------------------------------------------------------------


def _log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    return (x * logits - softplus(logits)).sum(-1)


def _kl(mean: Tensor, scale: Tensor) -> Tensor:
    return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum(-1)


def _honest(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode(mean + scale * eps)).mean(0) - _kl(mean, scale)


def _of_mean(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode(mean)) - _kl(mean, scale)


def _mean_picture(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    logits = torch.logit(decode(mean + scale * eps).sigmoid().mean(0))
    return _log_bernoulli(x, logits) - _kl(mean, scale)


def _no_rate(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode(mean + scale * eps)).mean(0)


def _variance(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _honest(x, mean, scale.sqrt(), eps, decode)


def _mean_pixel(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _no_rate(x, mean, scale, eps, decode) / x.shape[1] - _kl(mean, scale)


def _summed(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode(mean + scale * eps)).sum(0) - _kl(mean, scale)


def _average_likelihood(
    x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder
) -> Tensor:
    log_p = _log_bernoulli(x, decode(mean + scale * eps))
    return log_p.logsumexp(0) - math.log(len(eps)) - _kl(mean, scale)


def _rate_added(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _no_rate(x, mean, scale, eps, decode) + _kl(mean, scale)


def _sampled_rate(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    z = mean + scale * eps
    rate = Normal(mean, scale).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    return (_log_bernoulli(x, decode(z)) - rate.sum(-1)).mean(0)


def _half_log(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    rate = 0.5 * (mean.square() + scale.square() - 1 - scale.log())
    return _no_rate(x, mean, scale, eps, decode) - rate.sum(-1)


def _mean_code(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode((mean + scale * eps).mean(0))) - _kl(mean, scale)


def _noise_alone(x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder) -> Tensor:
    return _log_bernoulli(x, decode(eps)).mean(0) - _kl(mean, scale)


def _as_probabilities(
    x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder
) -> Tensor:
    p = decode(mean + scale * eps)
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1).mean(0) - _kl(mean, scale)


def _as_clamped_probabilities(
    x: Tensor, mean: Tensor, scale: Tensor, eps: Tensor, decode: Decoder
) -> Tensor:
    return _as_probabilities(x, mean, scale, eps, lambda z: decode(z).clamp(1e-6, 1 - 1e-6))


def _honest_cases() -> Iterable[Any]:
    for what, draws, points, pixels, units, size, width in (
        ("", 3, 5, 7, 2, 2, 0.4),
        ("", 6, 4, 9, 3, 2, 0.4),
        ("logits of ±10,000", 2, 5, 4, 3, 1e4, 0.4),
        ("one draw", 1, 3, 4, 2, 2, 0.4),
        ("scales near 1e−6", 2, 3, 4, 2, 2, 1e-6),
    ):
        weight = size * _normal(units, pixels)

        def decode(z: Tensor, weight: Tensor = weight) -> Tensor:
            return z @ weight

        x = (_normal(points, pixels) > 0).double()
        scale = width * (1 + 2 * torch.rand(points, units).double())
        eps = _normal(draws, points, units)
        yield extreme(what, x, _normal(points, units), scale, eps, decode)


def _elbo_by_torch(x, mean, scale, eps, decode):
    q = Independent(Normal(mean, scale), 1)
    prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
    log_p = Independent(Bernoulli(logits=decode(mean + scale * eps)), 1).log_prob(x)
    return log_p.mean(0) - kl_divergence(q, prior)


def _elbo_by_hand(x, mean, scale, eps, decode):
    logits = decode(mean + scale * eps)
    largest = torch.clamp(logits, min=0) + torch.log1p(torch.exp(-logits.abs()))
    reconstruction = (x * logits).sum(2).mean(0) - largest.sum(2).mean(0)
    return reconstruction - 0.5 * (mean**2 + scale**2 - 1 - 2 * torch.log(scale)).sum(1)


honest_elbo = Exercise(
    solution=_honest,
    cases=_honest_cases,
    right=(
        _elbo_by_torch,
        _elbo_by_hand,
    ),
    mistakes=(
        Mistake(
            "the posterior mean in place of samples",
            "The rate is that of a code with noise, so decode codes with noise: use eps.",
            _of_mean,
        ),
        Mistake(
            "the noise decoded by itself",
            "eps is standard normal: the code is z = mean + scale · eps.",
            _noise_alone,
        ),
        Mistake(
            "the logits taken for probabilities",
            "decode returns logits, of any size: take a sigmoid, or softplus of the logits.",
            _as_probabilities,
        ),
        Mistake(
            "the logits taken for probabilities and clamped",
            "decode returns logits, of any size: take a sigmoid, or softplus of the logits.",
            _as_clamped_probabilities,
        ),
        Mistake(
            "the likelihood of the average picture",
            "Average log p(x | z) over the draws, not the pixels' probabilities.",
            _mean_picture,
        ),
        Mistake(
            "the reconstruction alone",
            "The ELBO has a second term, which charges for the code.",
            _no_rate,
        ),
        Mistake(
            "the scale taken for a variance",
            "scale is a standard deviation: it multiplies eps as it is, and is squared in the KL.",
            _variance,
        ),
        Mistake(
            "the scale taken for a log-variance",
            "scale is a standard deviation: it multiplies eps as it is, and is squared in the KL.",
            lambda x, mean, scale, eps, decode: _honest(x, mean, (scale / 2).exp(), eps, decode),
        ),
        Mistake(
            "the logarithm of the average likelihood",
            "The ELBO averages log p(x | z): take logarithms first and the mean over draws after.",
            _average_likelihood,
        ),
        Mistake(
            "the rate added",
            "The rate is a price: it is taken off the reconstruction.",
            _rate_added,
        ),
        Mistake(
            "the rate from the draws",
            "It is right on average, but noisy. Between Gaussians the KL has a closed form.",
            _sampled_rate,
        ),
        Mistake(
            "log σ in place of log σ² in the KL",
            "½ (μ² + σ² − 1 − log σ²): the ½ before log σ² makes it log σ.",
            _half_log,
        ),
        Mistake(
            "the average of the codes, or of the logits, decoded",
            "Decode each of the K codes and score each picture. The average comes last.",
            _mean_code,
        ),
        Mistake(
            "a loss, with the sign turned",
            "The ELBO is to be maximised.",
            lambda x, mean, scale, eps, decode: -_honest(x, mean, scale, eps, decode),
        ),
        Mistake(
            "an average over pixels",
            "log p(x | z) is a sum over the pixels of a picture.",
            _mean_pixel,
        ),
        Mistake(
            "a sum over the draws",
            "An expectation over codes is estimated by the mean of the K draws.",
            _summed,
        ),
    ),
)

# --- the rates of a linear VAE, by hand ----------------------------------------------------------
# One pixel of variance 4, noise of variance 1.

rate_at_one = Prediction(
    answer=0.5 * (0.5 + math.log(2)),
    because="s² = ½ and a = ½, so the mean square a²·4 is 1: ½ (1 + ½ − 1 + log 2) = 0.60.",
    mistakes={
        0.5 * math.log(2): "this is so where x has variance 2, as the model has it. Here it has 4.",
        math.log(2): "this is the rate at the best w. Here w is 1.",
        0.0966: "a²·v is the mean of the squared code: v is 4, not 0.",
        0.2216: "the mean square of a x is a²·4: did you take 1 for the variance of x?",
        0.125 + math.log(2): "s² is ½. Did you put s = ½?",
        0.25 + math.log(2): "a ½ stands before log s² as well, which makes it log s.",
        0.5 * math.log(5): "that is what x + noise of variance 1 tells of x. Which a, s are best?",
    },
    tolerance=0.006,
    unit="nats",
    advice="First check s² and a at w = 1: both are simple fractions.",
)

best_weight = Prediction(
    answer=math.sqrt(3),
    because="The model's variance w² + 1 is to be the data's, 4.",
    mistakes={
        2.0: "then the model's variance is 4 + 1: the noise has a share in it.",
        math.sqrt(5): "the noise adds to w²: is it to be added or taken off?",
        1.7: "that is close: the answer is asked for to two decimals.",
    },
    tolerance=0.006,
    advice="Which variance has the model's x, and which the data's?",
)

rate_at_best = Prediction(
    answer=math.log(2),
    because="s² = ¼ and a²·4 = ¾: ½ (¾ + ¼ − 1 + log 4) = ½ log 4, which is (7.8).",
    mistakes={
        0.5 * math.log(3): "4, not w² = 3, stands under the logarithm: what is s² at w² = 3?",
        0.5 * math.log(5): "s² is 1 / (w² + 1), with w² = 3.",
        0.5 * (0.5 + math.log(2)): "this is the rate at w = 1.",
    },
    tolerance=0.006,
    unit="nats",
    advice="First check s² and a at the best w.",
)

# --- a committed rate ----------------------------------------------------------------------------


def _least_rate(s: float) -> float:
    """Return the rate of N(0, s²): no mean makes it smaller."""
    return 0.5 * (s * s - 1) - math.log(s)


def _width(delta: float, units: int) -> float:
    target, low, high = delta / units, 0.0, 1.0
    for _ in range(200):
        s = (low + high) / 2
        low, high = (s, high) if _least_rate(s) > target else (low, s)
    return (low + high) / 2


def _wide(delta: float, units: int) -> float:
    low, high = 1.0, 1.0
    while _least_rate(high) < delta / units:
        high *= 2
    for _ in range(200):
        s = (low + high) / 2
        low, high = (low, s) if _least_rate(s) > delta / units else (s, high)
    return (low + high) / 2


def _without_one(delta: float, units: int) -> float:
    """Solve ½ s² − log s = δ / units, or end at 1 where it has no solution below."""
    return _width(max(delta - units / 2, 0.0), units)


def _width_cases() -> Iterable[Any]:
    yield 0.8, 4
    yield 1.3, 3
    yield 3.0, 2
    yield 0.05, 6
    yield extreme("one unit and many nats", 7.0, 1)


def _width_by_newton(delta, units):
    u = -0.5 - delta / units  # log s
    for _ in range(100):
        u -= (0.5 * math.expm1(2 * u) - u - delta / units) / math.expm1(2 * u)
    return math.exp(u)


def _width_by_iteration(delta, units):
    s = 0.5
    for _ in range(20_000):
        s = math.exp(0.5 * s**2 - 0.5 - delta / units)
    return s


def _width_by_torch(delta, units):
    s = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)[1:-1]
    rate = (0.5 * (s * s - 1) - s.log()).flip(0)
    place = torch.searchsorted(rate, delta / units)
    t = (delta / units - rate[place - 1]) / (rate[place] - rate[place - 1])
    return s.flip(0)[place - 1] * (1 - t) + s.flip(0)[place] * t


target_width = Exercise(
    solution=_width,
    cases=_width_cases,
    right=(_width_by_newton, _width_by_iteration, _width_by_torch),
    mistakes=(
        Mistake(
            "δ for each unit",
            "The rates of the units add up, and δ is the total: what is each unit's part?",
            lambda delta, units: _width(delta, 1),
        ),
        Mistake(
            "δ times the number of units",
            "The rates of the units add up to δ: is a unit's part larger or smaller than δ?",
            lambda delta, units: _width(delta * units, 1),
        ),
        Mistake(
            "−log s alone",
            "That is what a code of this width tells when it is used well. Its least rate is less.",
            lambda delta, units: math.exp(-delta / units),
        ),
        Mistake(
            "the variance in place of the width",
            "s is a standard deviation: is a root missing at the end?",
            lambda delta, units: _width(delta, units) ** 2,
        ),
        Mistake(
            "a root too many",
            "s is a standard deviation, and s² a variance: which of them did you solve for?",
            lambda delta, units: _width(delta, units) ** 0.5,
        ),
        Mistake(
            "the width above 1",
            "Two widths have this least rate. The one below 1 is asked for.",
            _wide,
        ),
        Mistake(
            "the factor ½ missing",
            "KL(N(0, s²) ‖ N(0, 1)) is ½ (s² − 1 − log s²).",
            lambda delta, units: _width(delta / 2, units),
        ),
        Mistake(
            "the factor ½ twice",
            "KL(N(0, s²) ‖ N(0, 1)) is ½ (s² − 1) − log s: the ½ before log s² makes it log s.",
            lambda delta, units: _width(2 * delta, units),
        ),
        Mistake(
            "½ s² left out",
            "At s = 1 the least rate is 0. Is yours?",
            lambda delta, units: math.exp(-0.5 - delta / units),
        ),
        Mistake(
            "the −1 left out",
            "The KL is ½ (s² − 1) − log s: without the −1 it is not 0 at s = 1.",
            _without_one,
        ),
        Mistake(
            "−log s left out",
            "The rate is ½ (s² − 1) − log s: without the logarithm no s below 1 has one above 0.",
            lambda delta, units: math.sqrt(1 + 2 * delta / units),
        ),
        Mistake(
            "the approximation near s = 1",
            "The rate is (1 − s)² only where s is close to 1: solve the equation itself.",
            lambda delta, units: 1 - math.sqrt(delta / units),
        ),
    ),
)

# --- train from scratch --------------------------------------------------------------------------

BEHIND: Final = 0.5
"""How many nats the mean ELBO may lie below the mean log p_data."""
TELLS: Final = 1.5
"""How many nats the code must tell."""
FALLS: Final = 0.2
"""How many nats fewer it may tell after twice the steps: plain training loses twice as many."""


def stripes_log_prob(x: Tensor) -> Tensor:
    """Return log p_data of the chapter's stripes, (N, 36) to (N,)."""
    rows = x.reshape(-1, 6, 6)
    down = torch.where(rows[:, 1:, 0] == rows[:, :-1, 0], math.log(0.8), math.log(0.2))
    across = torch.where(rows[:, :, 1:] == rows[:, :, :-1], math.log(0.95), math.log(0.05))
    return math.log(0.5) + down.sum(1) + across.sum((1, 2))


def _entropy(p: float) -> float:
    """Return the entropy of a bit."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def _kept_over(steps: int) -> float:
    """Return how often a row starts like the last pixel of the row above."""
    return 0.5 + 0.5 * 0.6 * 0.9**steps


@preserved()
def _surgery(model: LatentVariableModel, x: Tensor) -> Surgery:
    """Return the parts of the ELBO, each time with the same draws."""
    torch.manual_seed(0)
    return elbo_surgery(model, x[:1000], num_samples=4)


def _told(model: LatentVariableModel, x: Tensor) -> float:
    return _surgery(model, x).mutual_information.mean


def _alike(model: LatentVariableModel, other: LatentVariableModel) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=False)
    return all(torch.equal(one, two) for one, two in pairs)


def _behind(model: LatentVariableModel, x: Tensor) -> float:
    parts = _surgery(model, x)
    bound = parts.reconstruction.mean - parts.mutual_information.mean - parts.marginal_kl.mean
    return stripes_log_prob(x[:1000]).mean().item() - bound


def _are_stripes(x: object) -> bool:
    return (
        isinstance(x, Tensor)
        and x.dim() == 2
        and x.shape[1] == 36
        and len(x) >= 500
        and bool(((x == 0) | (x == 1)).all())
    )


def _sees_all(model: LatentVariableModel) -> bool:
    """Tell whether the decoder can model the pixels without a code."""
    (decoder,) = model.decoders
    if not isinstance(decoder, AutoregressiveConditional):
        return False
    sees = decoder.out_mask @ decoder.into_mask > 0
    return bool((sees == torch.ones_like(sees).tril(-1)).all())


cost_of_silence = Prediction(
    answer=5 * (math.log(2) - _entropy(0.8)),
    because="Five rows start with log 2 nats in place of h(0.8): 5 (0.693 − 0.500) = 0.96.",
    mistakes={
        math.log(2) - _entropy(0.8): "that is one row's part. How many rows have one above them?",
        6 * (math.log(2) - _entropy(0.8)): "the first row has none above it: it loses nothing.",
        5 * _entropy(0.8): "that is the surprise of five starts that are seen coming.",
        5 * math.log(2): "they had some surprise before, too: 5 h(0.8). What is added?",
        6 * math.log(2): "that is the surprise of six starts. What had they when rows were seen?",
        5
        * math.log(2 / 1.6): "an average over both turns: 0.8 log 0.8 + 0.2 log 0.2, not log 0.8.",
        5 * (_entropy(_kept_over(5)) - _entropy(0.8)): "this decoder sees the pixel before as "
        "well where a row starts. Ours does not look across rows.",
    },
    tolerance=0.006,
    unit="nats",
    advice="Which pixels does it model as before, and how many nats more do the others cost?",
)

kept = Inspection(
    conditions=(
        Condition(
            "The check takes two VAEs and pictures",
            "Write check.kept(model, longer, test).",
            lambda *things: len(things) == 3 and all(isinstance(one, VAE) for one in things[:2]),
        ),
        Condition(
            "The pictures are no stripes",
            "Give it `test`, or stripes(1000): rows of 36 numbers 0 or 1, 500 or more.",
            lambda model, longer, x: _are_stripes(x),
        ),
        Condition(
            "The decoder cannot do without its code",
            "Take AutoregressiveConditional(d, 36, 144), which sees all earlier pixels.",
            lambda model, longer, x: _sees_all(model) and _sees_all(longer),
        ),
        Condition(
            "Both models are the same",
            "`longer` is a second one: from new random weights, with twice the steps.",
            lambda model, longer, x: not _alike(model, longer),
        ),
        Condition(
            f"The ELBO is more than {BEHIND} nats below the ceiling",
            "Train longer, with a larger step size, or hold fewer nats in the code.",
            lambda model, longer, x: max(_behind(model, x), _behind(longer, x)) <= BEHIND,
        ),
        Condition(
            f"The code tells less than {TELLS} nats",
            "What did its objective charge for the first nats, or where could it not go?",
            lambda model, longer, x: min(_told(model, x), _told(longer, x)) >= TELLS,
        ),
        Condition(
            f"After twice the steps the code tells at least {FALLS} nats less",
            "It is on its way out: what in your objective would stop it?",
            lambda model, longer, x: _told(longer, x) > _told(model, x) - FALLS,
        ),
    ),
    finding=lambda model, longer, x: (
        f"The code tells {_told(model, x):.2f} nats and, after twice the steps, "
        f"{_told(longer, x):.2f}. The ELBO is {_behind(longer, x):.2f} below the ceiling."
    ),
)
