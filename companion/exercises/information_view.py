"""Exercises of chapter 4: the two joints, their KL divergence, and its two parts."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence

from companion.conditionals import LinearGaussianConditional
from companion.exact import DiscreteModel, gaussian_joint
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

Tables = tuple[Tensor, Tensor, Tensor, Tensor]


def _tables() -> Iterator[Tables]:
    """Yield p_data (X,), q (X, Z), prior (Z,) and likelihood (Z, X), with X and Z distinct."""
    for x, z in ((5, 3), (2, 4)):
        sizes = ((x,), (x, z), (z,), (z, x))
        p_data, q, prior, likelihood = (
            torch.rand(size, dtype=torch.float64) + 0.1 for size in sizes
        )
        yield (
            p_data / p_data.sum(),
            q / q.sum(-1, keepdim=True),
            prior / prior.sum(),
            likelihood / likelihood.sum(-1, keepdim=True),
        )


def _joints(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inference joint and the generative joint, both (X, Z)."""
    return p_data[:, None] * q, (prior[:, None] * likelihood).mT


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Return Σ p log(p / q) along the last axis."""
    return (p * (p / q).log()).sum(-1)


# Exercise 1: the KL divergence between the joints.


def _joint_kl(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, generative = _joints(p_data, q, prior, likelihood)
    return (inference * (inference / generative).log()).sum()


def _joint_kl_marginal(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    return _kl(p_data, prior @ likelihood)


def _joint_kl_reverse(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, generative = _joints(p_data, q, prior, likelihood)
    return (generative * (generative / inference).log()).sum()


def _joint_kl_unweighted(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, generative = _joints(p_data, q, prior, likelihood)
    return (q * (inference / generative).log()).sum()


def _joint_kl_ratio(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, generative = _joints(p_data, q, prior, likelihood)
    return (inference * (q / generative).log()).sum()


def _joint_kl_prior(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, _ = _joints(p_data, q, prior, likelihood)
    return (inference * (inference / likelihood.mT).log()).sum()


def _joint_kl_axes(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference = p_data[:, None] * q
    generative = prior * likelihood.reshape(q.shape)
    return (inference * (inference / generative).log()).sum()


def _joint_kl_mean(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    inference, generative = _joints(p_data, q, prior, likelihood)
    return (inference * (inference / generative).log()).mean()


def _joint_kl_term_by_term(p_data, q, prior, likelihood):
    weight = p_data[:, None] * q
    log_ratio = p_data.log()[:, None] + q.log() - prior.log() - likelihood.mT.log()
    return (weight * log_ratio).sum()


def _joint_kl_by_torch(p_data, q, prior, likelihood):
    inference = Categorical((p_data.unsqueeze(1) * q).reshape(-1))
    generative = Categorical(torch.einsum("z,zx->xz", prior, likelihood).reshape(-1))
    return kl_divergence(inference, generative)


def _joint_kl_by_loops(p_data, q, prior, likelihood):
    total = 0.0
    for x in range(len(p_data)):
        for z in range(len(prior)):
            ratio = p_data[x] * q[x, z] / (prior[z] * likelihood[z, x])
            total += float(p_data[x] * q[x, z] * math.log(ratio))
    return total


def _joint_kl_by_the_chain_rule(p_data, q, prior, likelihood):
    model = DiscreteModel(prior, likelihood)
    return (p_data * (p_data.log() - model.log_marginal() + model.gap(q))).sum()


joint_kl = Exercise(
    solution=_joint_kl,
    cases=_tables,
    right=(
        _joint_kl_term_by_term,
        _joint_kl_by_torch,
        _joint_kl_by_loops,
        _joint_kl_by_the_chain_rule,
    ),
    mistakes=(
        Mistake(
            "the KL of the x-marginals alone",
            "Your result does not change with q: compare the tables over x and z.",
            _joint_kl_marginal,
        ),
        Mistake(
            "the inference error alone",
            "The posterior takes the modelling error out: compare with p(x, z), not with p(z | x).",
            lambda p_data, q, prior, likelihood: (
                _joint_kl(p_data, q, prior, likelihood) - _kl(p_data, prior @ likelihood)
            ),
        ),
        Mistake(
            "the KL in the other direction",
            "The average is taken under the first distribution: data and encoder.",
            _joint_kl_reverse,
        ),
        Mistake(
            "an average that forgets p_data",
            "The log-ratio of a pair (x, z) counts with weight p_data(x) q(z|x), not q(z|x).",
            _joint_kl_unweighted,
        ),
        Mistake(
            "p_data missing from the ratio",
            "You have computed −E[ELBO]; the inference joint in the logarithm has a factor more.",
            _joint_kl_ratio,
        ),
        Mistake(
            "the decoder in place of the generative joint",
            "Which factor of p(x, z) is missing in the denominator?",
            _joint_kl_prior,
        ),
        Mistake(
            "a reshape where a transpose is meant",
            "likelihood has shape (Z, X); reshape keeps the order of the numbers, .mT moves axes.",
            _joint_kl_axes,
        ),
        Mistake(
            "a mean over the cells of the table",
            "The joint's own probabilities are the weights; sum, and divide by nothing.",
            _joint_kl_mean,
        ),
    ),
)


# Exercise 2: the inference error.


def _inference_error(p_data: Tensor, q: Tensor, posterior: Tensor) -> Tensor:
    return (p_data * _kl(q, posterior)).sum()


def _inference_cases() -> Iterable[Any]:
    for p_data, q, prior, likelihood in _tables():
        _, generative = _joints(p_data, q, prior, likelihood)
        posterior = generative / generative.sum(-1, keepdim=True)
        rows = _kl(q, posterior).argsort()  # so that the first row is not the worst too
        yield p_data[rows], q[rows], posterior[rows]


def _inference_error_in_one_sum(p_data, q, posterior):
    weight = p_data[:, None] * q
    return (weight * (q.log() - posterior.log())).sum()


def _inference_error_by_torch(p_data, q, posterior):
    return torch.dot(p_data, kl_divergence(Categorical(q), Categorical(posterior)))


def _inference_error_from_the_joints(p_data, q, posterior):
    left, right = p_data[:, None] * q, p_data[:, None] * posterior
    return (left * (left.log() - right.log())).sum()


inference_error = Exercise(
    solution=_inference_error,
    cases=_inference_cases,
    right=(
        _inference_error_in_one_sum,
        _inference_error_by_torch,
        _inference_error_from_the_joints,
    ),
    mistakes=(
        Mistake(
            "an average over x without weights",
            "Frequent x count more: which distribution is the expectation over?",
            lambda p_data, q, posterior: _kl(q, posterior).mean(),
        ),
        Mistake(
            "a sum over x without weights",
            "Frequent x count more: which distribution is the expectation over?",
            lambda p_data, q, posterior: _kl(q, posterior).sum(),
        ),
        Mistake(
            "the gap of one x",
            "Your result is the gap of the first row; the inference error averages over all x.",
            lambda p_data, q, posterior: _kl(q, posterior)[0],
        ),
        Mistake(
            "one gap for each x",
            "These are the gaps; the inference error is one number, their average.",
            lambda p_data, q, posterior: _kl(q, posterior),
        ),
        Mistake(
            "the KL in the other direction",
            "The gap of chapter 3 averages under q: which of the two stands first?",
            lambda p_data, q, posterior: (p_data * _kl(posterior, q)).sum(),
        ),
        Mistake(
            "the KL of the averages",
            "You averaged q and the posterior over x first; take the KL for each x, then average.",
            lambda p_data, q, posterior: _kl(p_data @ q, p_data @ posterior),
        ),
    ),
)


# Exercise 3: from the joint KL to the average ELBO.


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum()


def _average_elbo(joint_kl: float, p_data: Tensor) -> Tensor:
    return -joint_kl - _entropy(p_data)


def _elbo_cases() -> Iterable[Any]:
    for divergence, (p_data, *_) in zip((0.3, 1.7), _tables(), strict=True):
        yield divergence, p_data
    p_data = torch.tensor([0.25, 0.0, 0.6, 0.15], dtype=torch.float64)
    yield extreme("a p_data with a zero", 0.9, p_data)


def _average_elbo_in_one_sum(joint_kl, p_data):
    p = p_data[p_data > 0]
    return (p * p.log()).sum() - joint_kl


def _average_elbo_by_torch(joint_kl, p_data):
    return float(-(joint_kl + Categorical(p_data).entropy()))


def _average_elbo_by_loops(joint_kl, p_data):
    return sum(float(p * math.log(p)) for p in p_data if p > 0) - joint_kl


average_elbo = Exercise(
    solution=_average_elbo,
    cases=_elbo_cases,
    right=(
        _average_elbo_in_one_sum,
        _average_elbo_by_torch,
        _average_elbo_by_loops,
    ),
    mistakes=(
        Mistake(
            "minus the average ELBO",
            "An ELBO is at most log p(x), and p(x) ≤ 1 here: which sign must it have?",
            lambda joint_kl, p_data: joint_kl + _entropy(p_data),
        ),
        Mistake(
            "the entropy left out",
            "A perfect model has joint KL 0, but it does not give every x probability 1.",
            lambda joint_kl, p_data: -joint_kl + 0 * p_data.sum(),
        ),
        Mistake(
            "the entropy with the wrong sign",
            "Try joint_kl = 0 and a fair coin: the ELBO of a perfect model is log ½.",
            lambda joint_kl, p_data: -joint_kl + _entropy(p_data),
        ),
        Mistake(
            "the entropy in bits",
            "The KL is in nats, so the logarithm of the entropy is the natural one.",
            lambda joint_kl, p_data: -joint_kl - _entropy(p_data) / math.log(2),
        ),
        Mistake(
            "zero times the logarithm of zero",
            "It gives NaN where p_data is zero, but such an x counts as nothing: see torch.xlogy.",
            lambda joint_kl, p_data: (p_data * p_data.log()).sum() - joint_kl,
        ),
        Mistake(
            "a sum of log p_data without weights",
            "Each log p_data(x) counts with the probability of its x.",
            lambda joint_kl, p_data: p_data.log().sum() - joint_kl,
        ),
        Mistake(
            "a plain mean of log p_data",
            "Each log p_data(x) counts with the probability of its x.",
            lambda joint_kl, p_data: p_data.log().mean() - joint_kl,
        ),
        Mistake(
            "log of the number of values in place of the entropy",
            "They are equal for a uniform p_data only.",
            lambda joint_kl, p_data: -joint_kl - p_data.new_tensor(len(p_data)).log(),
        ),
    ),
)


# Exercise 4: a change of units.

change_of_units = Prediction(
    answer=-3 * math.log(100),
    because="The joint KL stays and the differential entropy grows by log 100 for each coordinate.",
    mistakes={
        3 * math.log(100): "the sign. The numbers spread out, so their density falls.",
        -math.log(100): "that is one coordinate's share; x has three.",
        math.log(100): "one coordinate's share, and the sign: the density falls.",
        0.0: "the joint KL does not change, but the ELBO also holds the entropy of the data.",
        -100.0: "a density changes by a factor; what does its logarithm do?",
        -3 * math.log10(100): "that is the logarithm to base ten; the ELBO is in nats.",
    },
    tolerance=0.02,
    unit="nats",
)


# Exercise 5: the chain rule in the other order.


def _decoder_mismatch(q_joint: Tensor, p_joint: Tensor) -> Tensor:
    q_x, p_x = q_joint / q_joint.sum(0), p_joint / p_joint.sum(0)
    return q_joint.sum(0) @ _kl(q_x.mT, p_x.mT)


def _decoder_mismatch_prior(q_joint: Tensor, p_joint: Tensor) -> Tensor:
    q_x, p_x = q_joint / q_joint.sum(0), p_joint / p_joint.sum(0)
    return p_joint.sum(0) @ _kl(q_x.mT, p_x.mT)


def _decoder_mismatch_mean(q_joint: Tensor, p_joint: Tensor) -> Tensor:
    q_x, p_x = q_joint / q_joint.sum(0), p_joint / p_joint.sum(0)
    return _kl(q_x.mT, p_x.mT).mean()


def _mismatch_in_one_sum(q_joint, p_joint):
    q_z, p_z = q_joint.sum(0), p_joint.sum(0)
    log_ratio = q_joint.log() - q_z.log() - p_joint.log() + p_z.log()
    return (q_joint * log_ratio).sum()


def _mismatch_by_subtraction(q_joint, p_joint):
    q_z, p_z = q_joint.sum(0), p_joint.sum(0)
    return (q_joint * (q_joint / p_joint).log()).sum() - (q_z * (q_z / p_z).log()).sum()


def _mismatch_by_loops(q_joint, p_joint):
    total = 0.0
    for q_column, p_column in zip(q_joint.mT, p_joint.mT, strict=True):
        weight = q_column.sum()
        inner = kl_divergence(Categorical(q_column / weight), Categorical(p_column))
        total = total + weight * inner
    return total


decoder_mismatch = Exercise(
    solution=_decoder_mismatch,
    cases=lambda: [_joints(*tables) for tables in _tables()],
    right=(
        _mismatch_in_one_sum,
        _mismatch_by_subtraction,
        _mismatch_by_loops,
    ),
    mistakes=(
        Mistake(
            "the prior as the weight",
            "The expectation is under the inference joint: which distribution of z has that one?",
            _decoder_mismatch_prior,
        ),
        Mistake(
            "an average over z without weights",
            "Values of z that the encoder often uses count more.",
            _decoder_mismatch_mean,
        ),
        Mistake(
            "a sum over z without weights",
            "Values of z that the encoder often uses count more.",
            lambda q_joint, p_joint: len(q_joint.mT) * _decoder_mismatch_mean(q_joint, p_joint),
        ),
        Mistake(
            "the KL in the other direction",
            "In (4.10) the conditional of the inference joint stands first.",
            ("_kl(q_x.mT, p_x.mT)", "_kl(p_x.mT, q_x.mT)"),
        ),
        Mistake(
            "the KL of the x-marginals",
            "x is compared for each z: divide each table by its sum over x first.",
            lambda q_joint, p_joint: _kl(q_joint.sum(1), p_joint.sum(1)),
        ),
        Mistake(
            "the inference error: z given x in place of x given z",
            "Divide each table by its sum over x (axis 0), not over z (axis 1).",
            lambda q_joint, p_joint: _decoder_mismatch(q_joint.mT, p_joint.mT),
        ),
        Mistake(
            "the KL of the joints themselves",
            "Conditionals are joints divided by a marginal; this is the left-hand side of (4.10).",
            lambda q_joint, p_joint: _kl(q_joint.flatten(), p_joint.flatten()),
        ),
        Mistake(
            "the KL of the z-marginals",
            "That is the other term of (4.10), KL(q(z) ‖ p(z)).",
            lambda q_joint, p_joint: _kl(q_joint.sum(0), p_joint.sum(0)),
        ),
    ),
)


# Exercise 6: the inference error of a Gaussian encoder, to be drawn against the truth.


def _gaussian_error(
    slope: Tensor,
    scale: Tensor,
    posterior_slope: Tensor,
    posterior_scale: Tensor,
    data_variance: Tensor,
) -> Tensor:
    spread = (scale / posterior_scale) ** 2
    shift = data_variance * (slope - posterior_slope) ** 2 / posterior_scale**2
    return 0.5 * (spread - 1 - spread.log() + shift)


def _gaussian_cases() -> Iterable[Any]:
    for size in (7, 5):
        constants = torch.rand(4, dtype=torch.float64) + 0.3
        yield torch.linspace(-0.5, 1.5, size, dtype=torch.float64), *constants.unbind()
    small = torch.tensor([0.002, 0.7, 0.003, 1e-5], dtype=torch.float64)
    yield extreme("scales as small as 0.002", constants[:1], *small.unbind())


def _gaussian_error_term_by_term(slope, scale, posterior_slope, posterior_scale, data_variance):
    ratio = scale**2 / posterior_scale**2
    distance = data_variance * (slope - posterior_slope) ** 2
    log_ratio = 2 * torch.log(scale / posterior_scale)
    return 0.5 * ratio - 0.5 - 0.5 * log_ratio + 0.5 * distance / posterior_scale**2


def _gaussian_error_by_quadrature(slope, scale, posterior_slope, posterior_scale, data_variance):
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None] * data_variance.sqrt()
    weight = Normal(0.0, data_variance.sqrt()).log_prob(x).exp()
    gap = kl_divergence(Normal(slope * x, scale), Normal(posterior_slope * x, posterior_scale))
    return torch.trapezoid(weight * gap, x, dim=0)


def _gaussian_error_by_joints(slope, scale, posterior_slope, posterior_scale, data_variance):
    zero = torch.zeros(1, dtype=torch.float64)
    data = MultivariateNormal(zero, data_variance.reshape(1, 1))

    def joint(gain, spread):
        law = LinearGaussianConditional(gain.reshape(1, 1), zero, spread.reshape(1, 1) ** 2)
        return gaussian_joint(data, law)

    exact = joint(posterior_slope, posterior_scale)
    return torch.stack([kl_divergence(joint(a, scale), exact) for a in slope])


gaussian_inference_error = Exercise(
    solution=_gaussian_error,
    cases=_gaussian_cases,
    right=(
        _gaussian_error_term_by_term,
        _gaussian_error_by_quadrature,
        _gaussian_error_by_joints,
    ),
    mistakes=(
        Mistake(
            "one x in place of the average over x",
            "The distance of the means grows with x: average its square over the data.",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, torch.ones_like(c)),
        ),
        Mistake(
            "the data's standard deviation for its variance",
            "The average of x² over the data is data_variance itself.",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, c.sqrt()),
        ),
        Mistake(
            "the difference of the slopes without its square",
            "The KL holds the squared distance of the means, averaged over x.",
            ("** 2 / posterior_scale", "/ posterior_scale"),
        ),
        Mistake(
            "scales used as variances",
            "scale and posterior_scale are standard deviations; the KL holds their squares.",
            lambda a, s, g, v, c: _gaussian_error(a, s.sqrt(), g, v.sqrt(), c),
        ),
        Mistake(
            "the KL in the other direction",
            "The squared distance of the means is divided by the variance of the second Gaussian.",
            lambda a, s, g, v, c: _gaussian_error(a, v, g, s, c),
        ),
        Mistake(
            "the factor ½ missing",
            "Your result is twice the truth everywhere.",
            lambda a, s, g, v, c: 2 * _gaussian_error(a, s, g, v, c),
        ),
        Mistake(
            "the distance of the means alone",
            "At the right slope the error is zero only if the two scales agree as well.",
            lambda a, s, g, v, c: _gaussian_error(a, v, g, v, c),
        ),
        Mistake(
            "the logarithm with the wrong sign",
            "Each KL is zero where the two Gaussians agree and positive elsewhere; is yours?",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, c) + 2 * (s / v).log(),
        ),
    ),
)
