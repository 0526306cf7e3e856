"""Exercises of chapter 4: the two joints, their KL divergence, and its two parts."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from companion.exercises.checking import Exercise, Mistake, Prediction

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


joint_kl = Exercise(
    name="joint_kl",
    solution=_joint_kl,
    probe=lambda function: [function(*tables) for tables in _tables()],
    mistakes=(
        Mistake(
            "the KL of the x-marginals alone",
            "Your result does not change with q: compare the tables over x and z.",
            _joint_kl_marginal,
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


def _probe_inference(function: Callable[..., Any]) -> list[Any]:
    results = []
    for p_data, q, prior, likelihood in _tables():
        _, generative = _joints(p_data, q, prior, likelihood)
        results.append(function(p_data, q, generative / generative.sum(-1, keepdim=True)))
    return results


inference_error = Exercise(
    name="inference_error",
    solution=_inference_error,
    probe=_probe_inference,
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
    return -(p * p.log()).sum()


def _probe_elbo(function: Callable[..., Any]) -> list[Any]:
    return [
        function(divergence, p_data)
        for divergence, (p_data, *_) in zip((0.3, 1.7), _tables(), strict=True)
    ]


average_elbo = Exercise(
    name="average_elbo",
    solution=lambda joint_kl, p_data: -joint_kl - _entropy(p_data),
    probe=_probe_elbo,
    mistakes=(
        Mistake(
            "minus the average ELBO",
            "An ELBO is at most log p(x), and p(x) ≤ 1 here: which sign must it have?",
            lambda joint_kl, p_data: joint_kl + _entropy(p_data),
        ),
        Mistake(
            "the entropy left out",
            "A perfect model has joint KL 0, but it does not give every face probability 1.",
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
            "log of the number of faces in place of the entropy",
            "They are equal for a uniform p_data only.",
            lambda joint_kl, p_data: -joint_kl - p_data.new_tensor(len(p_data)).log(),
        ),
    ),
)


# Exercise 4: a change of units.

change_of_units = Prediction(
    name="change_of_units",
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


decoder_mismatch = Exercise(
    name="decoder_mismatch",
    solution=_decoder_mismatch,
    probe=lambda function: [function(*_joints(*tables)) for tables in _tables()],
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


def _probe_gaussian(function: Callable[..., Any]) -> list[Any]:
    slope = torch.linspace(-0.5, 1.5, 7, dtype=torch.float64)
    constants = torch.rand(2, 4, dtype=torch.float64) + 0.3
    return [function(slope, *row.unbind()) for row in constants]


gaussian_inference_error = Exercise(
    name="gaussian_inference_error",
    solution=_gaussian_error,
    probe=_probe_gaussian,
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
