"""Exercises of chapter 10: the quantities one looks at while a hierarchy is trained."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from companion.exercises.checking import Exercise, Mistake, extreme

Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]
LogLikelihood = Callable[[Tensor], Tensor]


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


# --- free bits -----------------------------------------------------------------------------------


def _free_bits_charge(rates: Tensor, free: float) -> Tensor:
    return rates.mean(1).clamp(min=free).sum()


def _charge_cases() -> Iterable[Any]:
    # Levels above and below the threshold, with single rates below zero in each.
    for levels, points, free in ((3, 5, 0.8), (2, 7, 1.3), (4, 6, 0.5), (5, 3, 0.6)):
        mean = torch.linspace(1.9, -0.5, levels, dtype=torch.float64)[:, None]
        noise = _normal(levels, points)
        yield mean + 2 * (noise - noise.mean(1, keepdim=True)), free
    few = torch.tensor([[2.0], [-0.5]], dtype=torch.float64)
    yield extreme("levels that all stay below λ", few + _normal(2, 7), 4.0)
    yield extreme("a level whose mean rate is far below zero", few - 2 + _normal(2, 7), 0.4)
    yield extreme("one data point", few, 0.7)


def _charge_spelled_out(rates, free):
    mean = rates.sum(1) / rates.shape[1]
    excess = torch.relu(mean - free)
    return (free + excess).sum(0)


def _charge_by_loop(rates, free):
    total = 0.0
    for level in rates:
        mean = sum(level.tolist()) / len(level)
        total += mean if mean > free else free
    return total


def _charge_by_where(rates, free):
    means = torch.einsum("lb->l", rates) / rates.shape[1]
    return torch.where(means > free, means, free).sum()


free_bits_charge = Exercise(
    solution=_free_bits_charge,
    cases=_charge_cases,
    right=(
        _charge_spelled_out,
        _charge_by_loop,
        _charge_by_where,
    ),
    mistakes=(
        Mistake(
            "the maximum taken for each data point",
            "A single rate may be far below λ, even negative, in a level that works. Which of the "
            "two comes first, the mean over the batch or the maximum?",
            lambda rates, free: rates.clamp(min=free).mean(1).sum(),
        ),
        Mistake(
            "one maximum for the sum over levels",
            "Then one busy level lets all others sleep. λ counts for each level.",
            lambda rates, free: rates.mean(1).sum().clamp(min=free),
        ),
        Mistake(
            "the minimum in place of the maximum",
            "Then a level that stores more pays no more. What should a level below λ pay?",
            lambda rates, free: rates.mean(1).clamp(max=free).sum(),
        ),
        Mistake(
            "only what exceeds λ is charged",
            "This differs from the maximum by λ for each level. The gradient is the same, but the "
            "objective would lie above the ELBO.",
            lambda rates, free: (rates.mean(1) - free).clamp(min=0).sum(),
        ),
        Mistake(
            "an average over the levels",
            "Each level pays its own rate. Are payments summed or averaged?",
            lambda rates, free: rates.mean(1).clamp(min=free).mean(),
        ),
        Mistake(
            "λ shared out among the levels",
            "Here λ is what each level may spend, not what all may spend together.",
            lambda rates, free: rates.mean(1).clamp(min=free / len(rates)).sum(),
        ),
        Mistake(
            "a sum over the batch",
            "λ is in nats per data point: compare it with the mean of the rate over the batch.",
            lambda rates, free: rates.sum(1).clamp(min=free).sum(),
        ),
        Mistake(
            "means over the levels instead of the batch",
            "Rows are levels, columns are data points. Which axis is averaged?",
            lambda rates, free: rates.mean(0).clamp(min=free).sum(),
        ),
        Mistake(
            "the absolute value of the mean rate",
            "An inner level's mean rate may be far below zero. It is below λ then, and pays λ.",
            lambda rates, free: rates.mean(1).abs().clamp(min=free).sum(),
        ),
        Mistake(
            "negative rates set to zero before the mean",
            "A single rate may be negative: the mean takes it as it is.",
            lambda rates, free: rates.clamp(min=0).mean(1).clamp(min=free).sum(),
        ),
        Mistake(
            "levels below λ left out",
            "A level whose mean rate is below λ pays λ, not nothing.",
            lambda rates, free: rates.mean(1)[rates.mean(1) > free].sum(),
        ),
        Mistake(
            "λ charged on top of the rate",
            "A level pays its rate or λ, whichever is larger, not both.",
            lambda rates, free: (rates.mean(1) + free).sum(),
        ),
        Mistake(
            "no threshold",
            "A level whose mean rate is below λ pays λ.",
            lambda rates, free: rates.mean(1).sum(),
        ),
        Mistake(
            "the sign turned",
            "A charge is positive here; the objective subtracts it.",
            lambda rates, free: -_free_bits_charge(rates, free),
        ),
    ),
)

# --- copied noise --------------------------------------------------------------------------------


def _copied_noise(rho: Tensor, s: Tensor) -> Tensor:
    first = torch.log(s) - 0.5 + (1 - rho**2) / (2 * s**2)
    return torch.stack([first, -0.5 * torch.log(1 - rho**2)])


def _copied_noise_cases() -> Iterable[Any]:
    for rho, s in ((0.9, 0.7), (-0.6, 1.3), (0.3, 0.4)):
        yield torch.tensor(rho, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    best = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    yield extreme("the decoder that is the exact posterior", *best)


def _copied_noise_by_hand(rho, s):
    below, above = math.sqrt(1 - rho**2), float(s)
    first = 0.5 * (below / above) ** 2 - 0.5 + math.log(above)
    return [first, -math.log(below)]


def _copied_noise_by_torch(rho, s):
    """Both rates as divergences of the joint law, in two steps."""
    one = torch.ones_like(rho)
    joint = torch.stack([torch.stack([one, rho]), torch.stack([rho, one])])
    inverse = torch.linalg.inv(torch.stack([torch.stack([s**2 + rho**2, rho]), joint[1]]))
    log_det = torch.log(s**2) - torch.logdet(joint)
    total = 0.5 * ((inverse @ joint).trace() - 2 + log_det)
    second = -0.5 * torch.logdet(joint)
    return torch.stack([total - second, second])


def _first_rate(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return an answer that has another rate of z_1."""
    return lambda rho, s: torch.stack([change(rho, s), _copied_noise(rho, s)[1]])


rates_of_copied_noise = Exercise(
    solution=_copied_noise,
    cases=_copied_noise_cases,
    right=(_copied_noise_by_hand, _copied_noise_by_torch),
    mistakes=(
        Mistake(
            "the closed-form KL at sampled neighbours, as the rate of z₁",
            "z₁ and z₂ are drawn together: under q, which variance has z₁ − ρ z₂?",
            _first_rate(lambda rho, s: torch.log(s) - 0.5 + (1 + rho**2) / (2 * s**2)),
        ),
        Mistake(
            "a rate of 0 at z₁, which knows nothing",
            "A rate compares q(z₁ | x) with p(z₁ | z₂), and z₂ has seen z₁.",
            _first_rate(lambda rho, s: torch.zeros_like(s)),
        ),
        Mistake(
            "a rate of 0 at z₂, which knows nothing of x",
            "The rate of z₂ compares q(z₂ | z₁) with p(z₂). Are they equal?",
            lambda rho, s: _copied_noise(rho, s) * torch.tensor([1.0, 0.0], dtype=s.dtype),
        ),
        Mistake(
            "the rate of z₁ at the best s, whatever s is",
            "The decoder's width is s, given: put it in before you minimise.",
            _first_rate(lambda rho, s: 0.5 * torch.log(1 - rho**2)),
        ),
        Mistake(
            "s in place of s² under the square",
            "The exponent of a Gaussian divides by twice the variance.",
            _first_rate(lambda rho, s: torch.log(s) - 0.5 + (1 - rho**2) / (2 * s)),
        ),
        Mistake(
            "the entropy of q(z₁ | x) left out",
            "E log q(z₁ | x) contains −½ besides the constant that cancels.",
            _first_rate(lambda rho, s: torch.log(s) + (1 - rho**2) / (2 * s**2)),
        ),
        Mistake(
            "the two rates in the other order",
            "First the rate of z₁, then that of z₂.",
            lambda rho, s: _copied_noise(rho, s).flip(0),
        ),
        Mistake(
            "the sum of the two",
            "Return both rates: the point is what each level pays.",
            lambda rho, s: _copied_noise(rho, s).sum(),
        ),
    ),
)

# --- the signal of a gradient --------------------------------------------------------------------


def _squared_signal(gradients: Tensor) -> Tensor:
    mean, count = gradients.mean(0), len(gradients)
    noise = (gradients - mean).square().sum() / (count - 1)
    return mean.square().sum() - noise / count


def _signal_cases() -> Iterable[Any]:
    for batches, weights in ((5, 3), (7, 4), (4, 6)):
        yield _normal(weights) + _normal(batches, weights)
    yield extreme("two minibatches", 2 + _normal(2, 3))
    yield extreme("noise without a signal", 3 * _normal(6, 5))


def _signal_by_pairs(gradients):
    """The mean product of two different minibatches."""
    count, total = len(gradients), 0.0
    for i in range(count):
        for j in range(count):
            if i != j:
                total += float(gradients[i] @ gradients[j])
    return total / (count * (count - 1))


def _signal_by_sums(gradients):
    count = gradients.shape[0]
    whole = gradients.sum(0).square().sum() - gradients.square().sum()
    return whole / (count * (count - 1))


def _signal_by_torch(gradients):
    return gradients.mean(0).square().sum() - gradients.var(0).sum() / len(gradients)


squared_signal = Exercise(
    solution=_squared_signal,
    cases=_signal_cases,
    right=(_signal_by_pairs, _signal_by_sums, _signal_by_torch),
    mistakes=(
        Mistake(
            "the squared norm of the mean as it is",
            "Its expectation is the squared norm that you want plus the variance of the mean.",
            lambda gradients: gradients.mean(0).square().sum(),
        ),
        Mistake(
            "the variance of one minibatch taken off",
            "What is the variance of a mean of M independent gradients?",
            lambda gradients: gradients.mean(0).square().sum() - gradients.var(0).sum(),
        ),
        Mistake(
            "a variance that is itself too small",
            "Deviations from the mean of the same rows are too small by (M − 1)/M.",
            lambda gradients: (
                gradients.mean(0).square().sum()
                - gradients.var(0, correction=0).sum() / len(gradients)
            ),
        ),
        Mistake(
            "the estimate cut off at zero",
            "An estimate that is never negative, of a number that may be zero, is too large.",
            lambda gradients: _squared_signal(gradients).clamp(min=0),
        ),
        Mistake(
            "the norm in place of its square",
            "Asked is the squared norm: the root of an unbiased estimate is biased.",
            lambda gradients: _squared_signal(gradients).clamp(min=0).sqrt(),
        ),
        Mistake(
            "the bias added",
            "Noise makes the squared norm of the mean too large: take its part off.",
            lambda gradients: (
                gradients.mean(0).square().sum() + gradients.var(0).sum() / len(gradients)
            ),
        ),
        Mistake(
            "the mean squared norm of the minibatches",
            "That is the signal with all the noise. Average the gradients first.",
            lambda gradients: gradients.square().sum(1).mean(),
        ),
        Mistake(
            "weights averaged in place of minibatches",
            "A row is a minibatch: which axis is averaged?",
            lambda gradients: _squared_signal(gradients.mT),
        ),
        Mistake(
            "a mean over the weights",
            "A squared norm sums over the weights.",
            lambda gradients: _squared_signal(gradients) / gradients.shape[1],
        ),
    ),
)

# --- the ELBO of two levels ----------------------------------------------------------------------


def _log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return Normal(mu, torch.exp(0.5 * logvar)).log_prob(z).sum(-1)


def _divergence(mu: Tensor, logvar: Tensor, below_mu: Tensor, below_logvar: Tensor) -> Tensor:
    """Return the closed-form KL, from means and log-variances."""
    q, p = ((m, torch.exp(0.5 * v)) for m, v in ((mu, logvar), (below_mu, below_logvar)))
    return kl_divergence(Normal(*q), Normal(*p)).sum(-1)


def _two_level_elbo(
    x: Tensor,
    eps1: Tensor,
    eps2: Tensor,
    encode1: Encoder,
    encode2: Encoder,
    decode2: Encoder,
    log_likelihood: LogLikelihood,
) -> Tensor:
    mu1, logvar1 = encode1(x)
    z1 = mu1 + torch.exp(0.5 * logvar1) * eps1
    mu2, logvar2 = encode2(z1)
    z2 = mu2 + torch.exp(0.5 * logvar2) * eps2
    below_mu, below_logvar = decode2(z2)
    zero = torch.zeros_like(z2)
    rate1 = _log_normal(z1, mu1, logvar1) - _log_normal(z1, below_mu, below_logvar)
    rate2 = _log_normal(z2, mu2, logvar2) - _log_normal(z2, zero, zero)
    return log_likelihood(z1) - rate1 - rate2


def _two_levels_by_variances(x, eps1, eps2, encode1, encode2, decode2, log_likelihood):
    mu1, logvar1 = encode1(x)
    eps1 = torch.exp(0.5 * logvar1) * eps1
    _, logvar2 = encode2(mu1 + torch.exp(0.5 * logvar1) * eps1)
    eps2 = torch.exp(0.5 * logvar2) * eps2
    return _two_level_elbo(x, eps1, eps2, encode1, encode2, decode2, log_likelihood)


def _two_levels_cases() -> Iterable[Any]:
    for points, pixels, first, second in ((5, 6, 4, 3), (7, 3, 2, 5), (1, 4, 3, 2)):
        x, weight = _normal(points, pixels), _normal(first, pixels)
        fixed = x.clone()  # an answer may change its x
        networks = [
            _network(*sizes) for sizes in ((pixels, first), (first, second), (second, first))
        ]

        def log_likelihood(z1: Tensor, x: Tensor = fixed, weight: Tensor = weight) -> Tensor:
            return Normal(torch.tanh(z1 @ weight), 0.7).log_prob(x).sum(-1)

        noise = _normal(points, first), _normal(points, second)
        yield extreme("one point" if points == 1 else "", x, *noise, *networks, log_likelihood)


def _network(inputs: int, outputs: int) -> Encoder:
    """Return a small random network that gives a mean and a log-variance."""
    w, b = _normal(inputs, 2 * outputs), _normal(2 * outputs)

    def apply(u: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = torch.tanh(u @ w / 3 + b).chunk(2, dim=-1)
        return mu, logvar

    return apply


def _elbo_from_joint_densities(x, eps1, eps2, encode1, encode2, decode2, log_likelihood):
    def gaussian(mu, logvar):
        return Independent(Normal(mu, logvar.exp().sqrt()), 1)

    q1 = gaussian(*encode1(x))
    z1 = q1.mean + q1.stddev * eps1
    q2 = gaussian(*encode2(z1))
    z2 = q2.mean + q2.stddev * eps2
    prior = MultivariateNormal(torch.zeros(z2.shape[1]).to(z2), torch.eye(z2.shape[1]).to(z2))
    log_p = log_likelihood(z1) + gaussian(*decode2(z2)).log_prob(z1) + prior.log_prob(z2)
    return log_p - q1.log_prob(z1) - q2.log_prob(z2)


def _elbo_spelled_out(x, eps1, eps2, encode1, encode2, decode2, log_likelihood):
    mu1, logvar1 = encode1(x)
    z1 = mu1 + (0.5 * logvar1).exp() * eps1
    mu2, logvar2 = encode2(z1)
    z2 = mu2 + (0.5 * logvar2).exp() * eps2
    mu, logvar = decode2(z2)
    # Of each pair of densities log 2π cancels.
    log_q1 = -0.5 * (eps1.square() + logvar1).sum(1)
    log_p1 = -0.5 * ((z1 - mu).square() / logvar.exp() + logvar).sum(1)
    log_q2 = -0.5 * (eps2.square() + logvar2).sum(1)
    log_p2 = -0.5 * z2.square().sum(1)
    return log_likelihood(z1) + log_p1 + log_p2 - log_q1 - log_q2


two_level_elbo = Exercise(
    solution=_two_level_elbo,
    cases=_two_levels_cases,
    right=(
        _elbo_spelled_out,
        _elbo_from_joint_densities,
    ),
    mistakes=(
        Mistake(
            "minus the ELBO",
            "This is a loss. What is called an ELBO is maximised: check the sign of the "
            "reconstruction term.",
            (
                "return log_likelihood(z1) - rate1 - rate2",
                "return rate1 + rate2 - log_likelihood(z1)",
            ),
        ),
        Mistake(
            "z₂ drawn with the noise of z₁, cut to size",
            "The levels have different sizes and each has noise of its own.",
            ("* eps2", "* eps1[:, : mu2.shape[1]]"),
        ),
        Mistake(
            "z₂ encoded from the mean of q(z₁ | x)",
            "The encoder is q(z₂ | z₁): its input is the draw z₁.",
            ("encode2(z1)", "encode2(mu1)"),
        ),
        Mistake(
            "p(z₁ | z₂) taken at the mean of q(z₂ | z₁)",
            "The decoder's input is the draw z₂.",
            ("decode2(z2)", "decode2(mu2)"),
        ),
        Mistake(
            "the standard normal as the prior of z₁",
            "In the hierarchy z₁ is scored by p(z₁ | z₂); only the top level has a fixed prior.",
            ("decode2(z2)", "torch.zeros_like(z1), torch.zeros_like(z1)"),
        ),
        Mistake(
            "a closed-form KL at the inner level",
            "z₂ was drawn from this z₁, so the rate of z₁ is the log-ratio at the draw, not the KL "
            "between the two conditionals.",
            ("- rate1", "- _divergence(mu1, logvar1, below_mu, below_logvar)"),
        ),
        Mistake(
            "the rate of the top level left out",
            "Every level pays: what does z₂ cost against p(z₂)?",
            (" - rate2", ""),
        ),
        Mistake(
            "the rate of the first level left out",
            "Every level pays: what does z₁ cost against p(z₁ | z₂)?",
            (" - rate1", ""),
        ),
        Mistake(
            "closed-form KLs at both levels",
            "z₁ and z₂ are the draws that you have: a rate is the log-ratio at its draw.",
            (
                "- rate1 - rate2",
                "- _divergence(mu1, logvar1, below_mu, below_logvar)"
                " - _divergence(mu2, logvar2, zero, zero)",
            ),
        ),
        Mistake(
            "a closed-form KL at the top level",
            "This has the same mean and would do as an estimate. Here the log-ratio at the draw is "
            "asked for.",
            ("- rate2", "- _divergence(mu2, logvar2, zero, zero)"),
        ),
        Mistake(
            "the encoder's densities left out",
            "This is log p(x, z₁, z₂). A rate is a log-ratio: what stands above the fraction line?",
            (
                "- rate1 - rate2",
                "+ _log_normal(z1, below_mu, below_logvar) + _log_normal(z2, zero, zero)",
            ),
        ),
        Mistake(
            "x decoded from the mean of q(z₁ | x)",
            "The likelihood, too, is taken at the draw z₁.",
            ("log_likelihood(z1)", "log_likelihood(mu1)"),
        ),
        Mistake(
            "the rates added",
            "Rates are paid: the bound is the reconstruction term less the rates.",
            ("- rate1 - rate2", "+ rate1 + rate2"),
        ),
        Mistake(
            "the noise multiplied by the variance at both levels",
            "z = μ + σ ε. What is σ when the encoder returns log σ²?",
            _two_levels_by_variances,
        ),
    ),
)

# --- weights that rise level by level ------------------------------------------------------------


def _level_weights(done: float, spans: Tensor) -> Tensor:
    begin, end = spans.mT
    return ((done - begin) / (end - begin)).clamp(0, 1)


SPANS = torch.tensor([[0.0, 0.2], [0.1, 0.5], [0.3, 0.9]], dtype=torch.float64)


def _weights_cases() -> Iterable[Any]:
    for done in (0.15, 0.4, 0.6):
        yield done, SPANS.clone()
    yield 0.45, torch.tensor([[0.4, 0.7], [0.1, 0.8]], dtype=torch.float64)
    yield extreme("the end of training", 1.0, SPANS.clone())
    yield extreme("the start of training", 0.0, SPANS.clone())


def _weights_by_loop(done, spans):
    found = []
    for begin, end in spans.tolist():
        found.append(min(1.0, max(0.0, (done - begin) / (end - begin))))
    return torch.tensor(found)


def _weights_by_branches(done, spans):
    def one(begin, end):
        if done <= begin:
            return 0.0
        return 1.0 if done >= end else (done - begin) / (end - begin)

    return [one(*span) for span in spans.tolist()]


level_weights = Exercise(
    solution=_level_weights,
    cases=_weights_cases,
    right=(_weights_by_loop, _weights_by_branches),
    mistakes=(
        Mistake(
            "weights that do not stop at 1",
            "After its span a level has the weight 1, or the objective never becomes the ELBO.",
            lambda done, spans: ((done - spans[:, 0]) / (spans[:, 1] - spans[:, 0])).clamp(min=0),
        ),
        Mistake(
            "weights below 0",
            "Before its span a level has the weight 0. A negative weight would pay for rate.",
            lambda done, spans: ((done - spans[:, 0]) / (spans[:, 1] - spans[:, 0])).clamp(max=1),
        ),
        Mistake(
            "a rise from the start of training, whatever the span",
            "A level rises from `spans[i, 0]` on. Where does yours begin?",
            lambda done, spans: (done / spans[:, 1]).clamp(0, 1),
        ),
        Mistake(
            "the start subtracted, but not from the length",
            "How long is the span from `spans[i, 0]` to `spans[i, 1]`?",
            lambda done, spans: ((done - spans[:, 0]) / spans[:, 1]).clamp(0, 1),
        ),
        Mistake(
            "weights that fall",
            "Rates should be cheap at first: a weight rises from 0 to 1.",
            lambda done, spans: 1 - _level_weights(done, spans),
        ),
        Mistake(
            "a jump at the end of the span",
            "Within its span a weight rises in a straight line.",
            lambda done, spans: (done >= spans[:, 1]).to(spans),
        ),
        Mistake(
            "a jump at the start of the span",
            "Within its span a weight rises in a straight line.",
            lambda done, spans: (done > spans[:, 0]).to(spans),
        ),
        Mistake(
            "the levels from the top down",
            "Row i of `spans` belongs to entry i of the weights.",
            lambda done, spans: _level_weights(done, spans).flip(0),
        ),
        Mistake(
            "the first level's weight for all",
            "Each level has a span of its own.",
            lambda done, spans: _level_weights(done, spans)[:1].expand(len(spans)),
        ),
    ),
)

# --- information on the way up -------------------------------------------------------------------


def _blocks(sizes: Sequence[int]) -> list[Tensor]:
    """Return the positions of each block."""
    return list(torch.arange(sum(sizes)).split(list(sizes)))


def _mutual_information(covariance: Tensor, one: Tensor, other: Tensor) -> Tensor:
    both = torch.cat([one, other])
    a, b, ab = (torch.logdet(covariance[index][:, index]) for index in (one, other, both))
    return 0.5 * (a + b - ab)


def _information_per_level(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    x, *levels = _blocks(sizes)
    return torch.stack([_mutual_information(covariance, x, level) for level in levels])


def _between_neighbours(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    pairs = pairwise(_blocks(sizes))
    return torch.stack([_mutual_information(covariance, a, b) for a, b in pairs])


def _all_up_to(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    x, *levels = _blocks(sizes)
    groups = [torch.cat(levels[: i + 1]) for i in range(len(levels))]
    return torch.stack([_mutual_information(covariance, x, group) for group in groups])


def _from_variances(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    return _information_per_level(torch.diag(covariance.diagonal()), sizes)


def _whole_for_joint(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    x, *levels = _blocks(sizes)
    whole = torch.logdet(covariance)
    parts = [torch.logdet(covariance[i][:, i]) for i in [x, *levels]]
    return torch.stack([0.5 * (parts[0] + part - whole) for part in parts[1:]])


def _joint_up_to(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    x, *levels = _blocks(sizes)
    parts = [torch.logdet(covariance[i][:, i]) for i in [x, *levels]]
    ends = [sum(sizes[: i + 2]) for i in range(len(levels))]
    joints = [torch.logdet(covariance[:end, :end]) for end in ends]
    return torch.stack([0.5 * (parts[0] + p - j) for p, j in zip(parts[1:], joints, strict=True)])


def _of_the_top(covariance: Tensor, sizes: Sequence[int]) -> Tensor:
    *below, top = _blocks(sizes)
    return torch.stack([_mutual_information(covariance, top, level) for level in below])


def _information_cases() -> Iterable[Any]:
    for sizes in ([5, 4, 3, 2], [3, 2, 4], [2, 1]):
        # x, then each block from the one before it: the Markov chain of a bottom-up encoder.
        root = _normal(sizes[0], sizes[0])
        rows = [torch.cat([root, torch.zeros(sizes[0], sum(sizes[1:])).double()], 1)]
        for index, size in enumerate(sizes[1:], start=1):
            row = _normal(size, sizes[index - 1]) @ rows[-1]
            start = sum(sizes[:index])
            row[:, start : start + size] += 0.6 * torch.eye(size).double()
            rows.append(row)
        factor = torch.cat(rows)
        what = "a single level of one unit" if sizes == [2, 1] else ""
        yield extreme(what, factor @ factor.mT, sizes)


def _information_by_entropies(covariance, sizes):
    """½ log of the ratio of the covariance of z_i before and after x is known."""
    n = sizes[0]
    inside, found, start = covariance[:n, :n], [], n
    for size in sizes[1:]:
        here = slice(start, start + size)
        cross = covariance[here, :n]
        rest = covariance[here, here] - cross @ torch.linalg.solve(inside, cross.mT)
        found.append(0.5 * (torch.logdet(covariance[here, here]) - torch.logdet(rest)).item())
        start += size
    return found


def _information_from_determinants(covariance, sizes):
    n, found, start = sizes[0], [], sizes[0]
    for size in sizes[1:]:
        index = torch.tensor([*range(n), *range(start, start + size)])
        joint = covariance[index][:, index]
        x, z, both = torch.det(joint[:n, :n]), torch.det(joint[n:, n:]), torch.det(joint)
        found.append(0.5 * torch.log(x * z / both))
        start += size
    return torch.stack(found)


def _information_by_kl(covariance, sizes):
    """KL of the joint from the product of the marginals."""
    n, found, start = sizes[0], [], sizes[0]
    for size in sizes[1:]:
        index = torch.cat([torch.arange(n), torch.arange(start, start + size)])
        joint = covariance[index][:, index]
        apart = torch.block_diag(joint[:n, :n], joint[n:, n:])
        zero = joint.new_zeros(n + size)
        found.append(
            kl_divergence(MultivariateNormal(zero, joint), MultivariateNormal(zero, apart))
        )
        start += size
    return torch.stack(found)


information_per_level = Exercise(
    solution=_information_per_level,
    cases=_information_cases,
    right=(
        _information_from_determinants,
        _information_by_entropies,
        _information_by_kl,
    ),
    mistakes=(
        Mistake(
            "the factor ½ missing",
            "Where does the Gaussian's entropy put its ½?",
            lambda covariance, sizes: 2 * _information_per_level(covariance, sizes),
        ),
        Mistake(
            "the sign turned",
            "Information is never negative: the determinant of the joint is the smaller one.",
            lambda covariance, sizes: -_information_per_level(covariance, sizes),
        ),
        Mistake(
            "bits in place of nats",
            "Use the natural logarithm.",
            lambda covariance, sizes: _information_per_level(covariance, sizes) / math.log(2),
        ),
        Mistake(
            "the information between neighbouring levels",
            "Asked is what level i knows of x, not of the level below it.",
            _between_neighbours,
        ),
        Mistake(
            "the information of all levels up to i together",
            "On a chain z₁ already has all of it, so this is the same number at every level. Take "
            "level i alone.",
            _all_up_to,
        ),
        Mistake(
            "the joint of all blocks up to z_i in place of that of x and z_i",
            "The blocks in between do not belong to it: cut out the rows and columns of two.",
            _joint_up_to,
        ),
        Mistake(
            "the information that a level holds of the top",
            "Asked is what level i knows of x, the first block.",
            _of_the_top,
        ),
        Mistake(
            "the determinant of the whole vector",
            "The joint covariance is that of x and z_i alone: cut out their rows and columns.",
            _whole_for_joint,
        ),
        Mistake(
            "variances only, no covariance between the blocks",
            "The dependence is in the covariances off the diagonal: keep them in the joint block.",
            _from_variances,
        ),
        Mistake(
            "the levels from the top down",
            "The first entry belongs to z₁.",
            lambda covariance, sizes: _information_per_level(covariance, sizes).flip(0),
        ),
    ),
)
