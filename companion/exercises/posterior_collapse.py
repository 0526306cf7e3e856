"""Exercises of chapter 7: what a code tells, how it is measured, and what holds its rate up."""

import math
from collections.abc import Callable, Iterable
from typing import Any

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

from companion.diagnostics import log_aggregate
from companion.exact import DiscreteModel
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

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

# --- the three parts, from tables ----------------------------------------------------------------


def _three_parts(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    joint = p_data[:, None] * q
    aggregate = joint.sum(0)
    return (
        (joint * likelihood.mT.log()).sum(),
        (joint * (q / aggregate).log()).sum(),
        (aggregate * (aggregate / prior).log()).sum(),
    )


def _uniform_data(p_data: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _three_parts(torch.full_like(p_data, 1 / len(p_data)), *rest)


def _uniform_aggregate(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    joint, aggregate = p_data[:, None] * q, q.mean(0)
    return (
        (joint * likelihood.mT.log()).sum(),
        (joint * (q / aggregate).log()).sum(),
        (aggregate * (aggregate / prior).log()).sum(),
    )


def _rate_as_information(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, information, mismatch = _three_parts(p_data, prior, likelihood, q)
    return reconstruction, information + mismatch, mismatch


def _reversed_mismatch(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, information, _ = _three_parts(p_data, prior, likelihood, q)
    aggregate = p_data @ q
    return reconstruction, information, (prior * (prior / aggregate).log()).sum()


def _rate_as_mismatch(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, information, mismatch = _three_parts(p_data, prior, likelihood, q)
    return reconstruction, information, information + mismatch


def _as_in_the_bound(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, information, mismatch = _three_parts(p_data, prior, likelihood, q)
    return reconstruction, -information, -mismatch


def _exchanged(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, information, mismatch = _three_parts(p_data, prior, likelihood, q)
    return reconstruction, mismatch, information


def _joint_over_aggregate(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction, _, mismatch = _three_parts(p_data, prior, likelihood, q)
    joint = p_data[:, None] * q
    return reconstruction, (joint * (joint / joint.sum(0)).log()).sum(), mismatch


def _log_of_average(
    p_data: Tensor, prior: Tensor, likelihood: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _, information, mismatch = _three_parts(p_data, prior, likelihood, q)
    return (p_data * (q * likelihood.mT).sum(1).log()).sum(), information, mismatch


def _parts_cases() -> Iterable[Any]:
    for values, latents in ((5, 3), (4, 7)):
        yield (
            _normal(values).softmax(0),
            _normal(latents).softmax(0),
            _normal(latents, values).softmax(1),
            _normal(values, latents).softmax(1),
        )
    tables = [(8 * _normal(*shape)).softmax(-1) for shape in ((4,), (3,), (3, 4), (4, 3))]
    yield extreme("entries near 1e−10", *tables)


def _parts_by_the_package(p_data, prior, likelihood, q):
    model = DiscreteModel(prior, likelihood)
    aggregate = p_data @ q
    mismatch = kl_divergence(Categorical(aggregate), Categorical(prior))
    return [p_data @ model.reconstruction(q), p_data @ model.rate(q) - mismatch, mismatch]


def _parts_by_entropies(p_data, prior, likelihood, q):
    aggregate = torch.einsum("x,xz->z", p_data, q)
    information = Categorical(aggregate).entropy() - p_data @ Categorical(q).entropy()
    reconstruction = torch.einsum("x,xz,zx->", p_data, q, likelihood.log())
    mismatch = -Categorical(aggregate).entropy() - aggregate @ prior.log()
    return reconstruction, information, mismatch


def _parts_value_by_value(p_data, prior, likelihood, q):
    aggregate = (p_data[:, None] * q).sum(0)
    reconstructions = (q * likelihood.T.log()).sum(1)
    informations = (q * (q.log() - aggregate.log())).sum(1)
    mismatch = (aggregate * (aggregate.log() - prior.log())).sum()
    return (p_data * reconstructions).sum(), (p_data * informations).sum(), mismatch


three_parts = Exercise(
    solution=_three_parts,
    cases=_parts_cases,
    right=(
        _parts_by_the_package,
        _parts_by_entropies,
        _parts_value_by_value,
    ),
    mistakes=(
        Mistake(
            "uniform data",
            "The rows of q are to be weighted by p_data, in all three parts.",
            _uniform_data,
        ),
        Mistake(
            "an aggregate that weights all x alike",
            "q(z) is the average of the rows of q under p_data.",
            _uniform_aggregate,
        ),
        Mistake(
            "an information summed over x without weights",
            "The information is an average over x under p_data.",
            ("(joint * (q / aggregate)", "(q * (q / aggregate)"),
        ),
        Mistake(
            "an information that weights all x alike",
            "The information is an average over x under p_data.",
            ("(joint * (q / aggregate)", "(q / len(q) * (q / aggregate)"),
        ),
        Mistake(
            "the whole rate in place of the information",
            "The rate is information and mismatch together. Compare with q(z), not with p(z).",
            _rate_as_information,
        ),
        Mistake(
            "the whole rate in place of the mismatch",
            "The mismatch compares q(z), averaged over x first, with p(z).",
            _rate_as_mismatch,
        ),
        Mistake(
            "the signs that the terms have in the ELBO",
            "Return information and mismatch themselves. They are never negative.",
            _as_in_the_bound,
        ),
        Mistake(
            "information and mismatch exchanged",
            "The order is reconstruction, information, mismatch.",
            _exchanged,
        ),
        Mistake(
            "log q(x | z) alone in the information",
            "The joint over the aggregate is q(x | z). Divide by p_data(x) as well.",
            _joint_over_aggregate,
        ),
        Mistake(
            "the mismatch the wrong way round",
            "The average is taken over q(z): KL(q(z) ‖ p(z)).",
            _reversed_mismatch,
        ),
        Mistake(
            "the logarithm of an average as the reconstruction",
            "The reconstruction term is an average of log p(x | z).",
            _log_of_average,
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

# --- free bits -----------------------------------------------------------------------------------


def _free_bits(reconstruction: Tensor, rates: Tensor, free: float) -> Tensor:
    return reconstruction.mean() - rates.mean().clamp(min=free)


def _free_cases() -> Iterable[Any]:
    for what, points, scale, free in (
        ("", 5, 4.0, 1.5),
        ("", 6, 3.0, 1.0),
        ("a rate below `free`", 7, 3.0, 2.0),
        ("free = 0", 4, 0.5, 0.0),
        ("a single data point", 1, 1.0, 2.0),
    ):
        rates = scale * torch.rand(points, dtype=torch.float64)
        yield extreme(what, -10 + _normal(points), rates, free)


def _free_bits_by_max(reconstruction, rates, free):
    return reconstruction.sum() / len(rates) - max(rates.sum() / len(rates), torch.tensor(free))


def _free_bits_by_relu(reconstruction, rates, free):
    return reconstruction.mean() - (free + torch.relu(rates.mean() - free))


def _free_bits_by_cases(reconstruction, rates, free):
    above = rates.mean() > free
    return (reconstruction - (rates if above else torch.full_like(rates, free))).mean()


free_bits = Exercise(
    solution=_free_bits,
    cases=_free_cases,
    differentiable=True,
    right=(
        _free_bits_by_max,
        _free_bits_by_relu,
        _free_bits_by_cases,
    ),
    mistakes=(
        Mistake(
            "each data point by itself",
            "Average the rate over the batch first, and compare that average with the threshold.",
            lambda r, rates, free: (r - free - torch.relu(rates - free)).mean(),
        ),
        Mistake(
            "sums over the batch",
            "Both terms are averages over the batch, and `free` is a limit of the average rate.",
            lambda r, rates, free: r.sum() - rates.sum().clamp(min=free),
        ),
        Mistake(
            "another number than the mean rate compared with the threshold",
            "Average the rate over the batch first, and compare that average with the threshold.",
            lambda r, rates, free: r.mean() - rates.sum().clamp(min=free) / len(rates),
        ),
        Mistake(
            "the free nats charged on top of the rate",
            "Above the threshold the charge is the rate alone.",
            lambda r, rates, free: r.mean() - rates.mean() - free,
        ),
        Mistake(
            "a rate through which no gradient flows",
            "The value is right, but above the threshold the encoder should learn from its rate.",
            lambda r, rates, free: r.mean() - rates.mean().detach().clamp(min=free),
        ),
        Mistake(
            "a gradient where the rate is free",
            "The value is right, but below the threshold the objective should not move with rates.",
            lambda r, rates, free: (
                r.mean() - rates.mean() + (rates.mean() - free).clamp(max=0).detach()
            ),
        ),
        Mistake(
            "min for max",
            "Below the threshold the charge is the threshold. Yours stops charging above it.",
            lambda r, rates, free: r.mean() - rates.mean().clamp(max=free),
        ),
        Mistake(
            "the free nats taken off the rate",
            "The gradient is the same, the value is not: the charge never falls below `free`.",
            lambda r, rates, free: r.mean() - (rates.mean() - free).clamp(min=0),
        ),
        Mistake(
            "no charge at all below the threshold",
            "Then the objective jumps at the threshold. Below it the charge stays `free`.",
            lambda r, rates, free: r.mean() - rates.mean() * (rates.mean() > free),
        ),
        Mistake(
            "the charge added",
            "The rate is a price: it is taken off the reconstruction.",
            lambda r, rates, free: r.mean() + rates.mean().clamp(min=free),
        ),
        Mistake(
            "the plain ELBO",
            "Below the threshold the charge should not move with the rate: what do you clamp?",
            lambda r, rates, free: (r - rates).mean(),
        ),
        Mistake(
            "a loss, with the sign turned",
            "This number is to be maximised.",
            lambda r, rates, free: -_free_bits(r, rates, free),
        ),
    ),
)

# --- predictions ---------------------------------------------------------------------------------

minibatch_cap = Prediction(
    answer=math.log(64),
    because="The 64 points of a minibatch cannot be told apart by more than log 64 = 4.16 nats.",
    mistakes={
        7.2: "this is the truth. What is the entropy of a list of 64 points?",
        math.log(50_000): "this is the cap for the whole data set. The mixture has 64 components.",
        6.0: "this is log₂ 64, in bits. In nats?",
        1.81: "this is log₁₀ 64. In nats?",
        64.0: "this is the number of points. What is the entropy of a list of 64?",
    },
    tolerance=0.01,
    unit="nats",
)

# --- rates of the optimal linear VAE -------------------------------------------------------------


def _linear_rates(lam: Tensor, beta: float, sigma: float) -> Tensor:
    return (0.5 * torch.log(lam / (beta * sigma**2))).clamp(min=0)


def _rates_cases() -> Iterable[Any]:
    lam = torch.tensor([3.0, 9.0, 0.7, 1.2, 0.05], dtype=torch.float64)
    yield lam[:4].clone(), 2.0, 0.5
    yield lam, 0.3, 0.4
    yield extreme("directions that are asleep", lam, 2.0, 0.7)
    yield extreme("directions that are asleep, and β below 1", lam, 0.4, 2.8)
    yield extreme("a single direction with a large rate", 1e9 * lam[:1], 0.5, 0.1)


def _rates_by_where(lam, beta, sigma):
    noise = beta * sigma * sigma
    return torch.where(lam > noise, torch.log(torch.sqrt(lam / noise)), 0.0)


def _rates_by_numbers(lam, beta, sigma):
    return [max(0.0, 0.5 * math.log(v) - 0.5 * math.log(beta * sigma**2)) for v in lam.tolist()]


def _rates_of_deviations(lam, beta, sigma):
    signal, noise = torch.sqrt(lam), math.sqrt(beta) * sigma
    return torch.relu(torch.log(signal) - math.log(noise))


linear_rates = Exercise(
    solution=_linear_rates,
    cases=_rates_cases,
    right=(
        _rates_by_where,
        _rates_by_numbers,
        _rates_of_deviations,
    ),
    mistakes=(
        Mistake(
            "negative rates",
            "A rate is a KL divergence. What does a direction do whose variance is below βσ²?",
            lambda lam, beta, sigma: 0.5 * torch.log(lam / (beta * sigma**2)),
        ),
        Mistake(
            "σ in place of σ²",
            "lam holds variances: compare them with a variance.",
            lambda lam, beta, sigma: _linear_rates(lam, beta, math.sqrt(sigma)),
        ),
        Mistake(
            "β on the wrong side",
            "A dearer KL makes a direction worth less: β acts like a larger noise variance.",
            lambda lam, beta, sigma: _linear_rates(lam, 1 / beta, sigma),
        ),
        Mistake(
            "β left out",
            "β multiplies the price of a nat: it stands beside σ².",
            lambda lam, beta, sigma: _linear_rates(lam, 1.0, sigma),
        ),
        Mistake(
            "β outside the logarithm",
            "A larger β does not scale the rates. It moves the variance at which they begin.",
            lambda lam, beta, sigma: _linear_rates(lam, 1.0, sigma) / beta,
        ),
        Mistake(
            "β times the rates",
            "That is the price of the rates. The rates themselves are asked for.",
            lambda lam, beta, sigma: beta * _linear_rates(lam, beta, sigma),
        ),
        Mistake(
            "the variances taken for standard deviations",
            "lam holds variances already: do not square them.",
            lambda lam, beta, sigma: _linear_rates(lam.square(), beta, sigma),
        ),
        Mistake(
            "the ratio upside down",
            "A direction with a large variance is worth many nats: what stands above the line?",
            ("lam / (beta * sigma**2)", "beta * sigma**2 / lam"),
        ),
        Mistake(
            "the absolute value of the logarithm",
            "Below βσ² a direction is not used at all: its rate is zero.",
            lambda lam, beta, sigma: 0.5 * torch.log(lam / (beta * sigma**2)).abs(),
        ),
        Mistake(
            "the factor ½ missing",
            "The logarithm of a ratio of standard deviations is half that of the variances.",
            lambda lam, beta, sigma: 2 * _linear_rates(lam, beta, sigma),
        ),
        Mistake(
            "bits in place of nats",
            "All logarithms in this book are natural.",
            lambda lam, beta, sigma: _linear_rates(lam, beta, sigma) / math.log(2),
        ),
        Mistake(
            "½ log(1 + λ/βσ²)",
            "λ is the variance of the data, noise included; the signal's share of it is λ − βσ².",
            lambda lam, beta, sigma: 0.5 * torch.log1p(lam / (beta * sigma**2)),
        ),
    ),
)
