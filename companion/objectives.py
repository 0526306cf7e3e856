"""Objectives: plain functions of a model and data that return nats per data point, shape (B,).

All are to be maximised, and most are lower bounds on log p(x). They sum over pixels and latent
units and average over nothing but the samples of z; `companion.fit` averages over data.

With z_1 … z_K drawn from q(z | x) and log w_k = log p(x, z_k) − log q(z_k | x):

    elbo       = 1/K Σ_k log w_k            estimates  E_q[log w]              ≤ log p(x)
    iwae_bound = log 1/K Σ_k w_k            estimates  E_q[log 1/K Σ_k w_k]    ≤ log p(x)

`pathwise` and `score_function` estimate the gradient of an expectation E_q[f(z)] in the parameters
of q: they return f at K draws, whose mean estimates the expectation and whose mean's gradient
estimates the gradient, both without bias.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from companion._checks import check_count, check_tensor, like, valid
from companion._context import evaluating
from companion.models import Autoencoder, LatentVariableModel

CHUNK_NUMBERS = 2**19
"""Numbers of x that `log_marginal` scores at once: few enough to stay in a CPU's cache."""


def elbo(
    model: LatentVariableModel, x: Float[Tensor, "B D"], num_samples: int = 1
) -> Float[Tensor, " B"]:
    r"""Evidence lower bound, estimated with samples: 1/K Σ_k [log p(x, z_k) − log q(z_k | x)].

    Unbiased for L(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)) ≤ log p(x), with a gradient for
    encoder and decoder.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,).

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 6, https://arxiv.org/abs/1312.6114.

    >>> from companion.exact import LinearGaussian
    >>> exact = LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale=0.5)
    >>> x = torch.ones(1, 3)
    >>> torch.allclose(elbo(exact.vae(), x), exact.log_marginal(x))   # q is the posterior
    True
    """
    return valid(model.trace(x, num_samples).log_weight.mean(0))


def elbo_analytic(
    model: LatentVariableModel, x: Float[Tensor, "B D"], num_samples: int = 1
) -> Float[Tensor, " B"]:
    r"""ELBO with the rates in closed form: 1/K Σ_k log p(x | z_k) − KL(q(z | x) ‖ p(z)).

    Estimates the same L(x) as `elbo`, with the noise of the reconstruction alone. With several
    levels the encoder must run from the top down: then q and p of a level are given the same
    z_{i+1}, and its rate is Σ_k KL(q(z_i | z_{i+1}, x) ‖ p(z_i | z_{i+1})) / K.

    Args:
        model: A VAE, or a hierarchy with a top-down encoder.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,).

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 7, https://arxiv.org/abs/1312.6114.
    """
    trace = model.trace(x, num_samples)
    if len(trace.z) > 1 and not trace.top_down:
        raise ValueError("model infers from the bottom up, where no KL is a level's rate; use elbo")
    values = trace.reconstruction
    for q, p in zip(trace.q, trace.p[1:], strict=True):
        values = values - kl_divergence(q, p)
    return valid(values.mean(0))


def beta_elbo(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    beta: float | Float[Tensor, ""],
    num_samples: int = 1,
) -> Float[Tensor, " B"]:
    r"""Reconstruction less β times the rate: 1/K Σ_k [log p(x | z_k) − β Σ_i rate_i].

    β = 1 is the ELBO, β = 0 is reconstruction alone. For β ≥ 1 its expectation is a lower bound
    on log p(x); for β < 1 it need not be.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        beta: Weight of the rate, β ≥ 0; a tensor of one number is taken as it is, so that an
            ensemble can map over it.
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,).

    Reference: I. Higgins et al., "β-VAE: Learning Basic Visual Concepts with a Constrained
    Variational Framework", ICLR 2017, https://openreview.net/forum?id=Sy2fzU9gl.
    """
    trace = model.trace(x, num_samples)
    return valid((trace.reconstruction - beta * trace.rates.sum(0)).mean(0))


def free_bits_elbo(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    free_nats: float | Float[Tensor, ""],
    num_samples: int = 1,
) -> Float[Tensor, " B"]:
    r"""ELBO in which a level's rate is free of charge up to a threshold λ.

        1/K Σ_k log p(x | z_k) − Σ_i max(λ, mean of rate_i over the batch)

    A level below λ gets no push towards zero. Only the batch mean is compared with λ: a single
    rate of an inner level may be negative. Free bits tolerate a rate; whether the code then tells
    anything of x is for `companion.diagnostics.mutual_information` to say.

    Args:
        model: Any latent-variable model; λ counts for each of its levels.
        x: Data, (B, D).
        free_nats: λ ≥ 0, in nats a level; a tensor of one number as for `beta_elbo`.
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,). Where a level's mean is above λ each point has its own rate,
        else λ. With λ = 0 it is the ELBO, unless a batch mean falls below zero.

    Reference: D. P. Kingma et al., "Improved Variational Inference with Inverse Autoregressive
    Flow", NeurIPS 2016, appendix C.8, https://arxiv.org/abs/1606.04934.
    """
    trace = model.trace(x, num_samples)
    rates = trace.rates.mean(1)
    charged = torch.where(rates.mean(1, keepdim=True) <= free_nats, free_nats, rates)
    return valid(trace.reconstruction.mean(0) - charged.sum(0))


def iwae_bound(
    model: LatentVariableModel, x: Float[Tensor, "B D"], num_samples: int
) -> Float[Tensor, " B"]:
    r"""K-sample (importance-weighted) bound: log 1/K Σ_k w_k.

    Its expectation is the ELBO for K = 1, does not decrease with K, and tends to log p(x) when
    q(z | x) > 0 wherever p(x, z) > 0.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point, held in memory together.

    Returns:
        Nats per data point, (B,).

    Reference: Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, equation 8, https://arxiv.org/abs/1509.00519.
    """
    return valid(model.trace(x, num_samples).log_weight.logsumexp(0) - math.log(num_samples))


def log_marginal(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    num_samples: int = 1000,
    chunk_size: int | None = None,
) -> Float[Tensor, " B"]:
    """Estimate log p(x) by importance sampling from the encoder, without gradient.

    It is `iwae_bound` with many samples: on average too low, by less as K grows. The model
    evaluates in eval mode, a few draws at a time, so that memory does not grow with K.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.
        chunk_size: Draws held in memory at once; the last chunk may be shorter. None: about half
            a million pixels.

    Returns:
        Nats per data point, (B,).
    """
    if chunk_size is None:
        chunk_size = max(1, CHUNK_NUMBERS // max(1, len(x) * model.data_size))
    check_count(num_samples, "num_samples")
    check_count(chunk_size, "chunk_size")
    sizes = [min(chunk_size, num_samples - k) for k in range(0, num_samples, chunk_size)]
    # One tensor: small ones between the chunks' large ones would scatter the memory.
    sums = like(model).new_empty(len(sizes), len(x))
    with evaluating(model):
        for row, trace in zip(sums, model.traces(x, sizes), strict=True):
            row.copy_(trace.log_weight.logsumexp(0))
    return valid(sums.logsumexp(0) - math.log(num_samples))


def log_reconstruction(model: Autoencoder, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Score of an autoencoder's reconstruction: log p(x | z) at the code z of x.

    It is no bound on anything: there is no prior, hence no p(x).

    Args:
        model: An autoencoder.
        x: Data, (B, D).

    Returns:
        Nats per data point, (B,).
    """
    p = model.decoder(model.encode(x))
    check_tensor(x, "x", None, *p.event_shape)
    return valid(p.log_prob(x))


def pathwise(
    q: Distribution, f: Callable[[Tensor], Tensor], num_samples: int
) -> Float[Tensor, " K *batch"]:
    """Pathwise (reparameterised) estimator: f(z) with z = g(ε, parameters of q).

    For a Gaussian, z = μ + σ ε with ε ~ N(0, 1), and the gradient flows through μ and σ.

    Args:
        q: Distribution with ``rsample``.
        f: Maps draws (K, …, d) to values (K, …); differentiable in z.
        num_samples: K.

    Reference: D. J. Rezende, S. Mohamed and D. Wierstra, "Stochastic Backpropagation and
    Approximate Inference in Deep Generative Models", ICML 2014, https://arxiv.org/abs/1401.4082.
    """
    return f(q.rsample((num_samples,)))


def score_function(
    q: Distribution, f: Callable[[Tensor], Tensor], num_samples: int
) -> Float[Tensor, " K *batch"]:
    """Score-function estimator (REINFORCE): the gradient is f(z) ∇ log q(z).

    The values are those of f; the gradient in q's parameters comes from log q alone, so z may be
    discrete and f need not be differentiable in z.

    Args:
        q: Any distribution.
        f: Maps draws (K, …, d) to values (K, …).
        num_samples: K.

    Reference: R. J. Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning", Machine Learning 8, 1992, https://doi.org/10.1007/BF00992696.
    """
    z = q.sample((num_samples,))
    values = f(z)
    score = q.log_prob(z)
    if values.shape != score.shape:
        raise ValueError(f"f must return {tuple(score.shape)}, as log q, got {tuple(values.shape)}")
    # The difference is zero: it adds a gradient and changes no value.
    return values + values.detach() * (score - score.detach())
