"""Objectives: plain functions of a model and data that return nats per data point, shape (B,).

All are lower bounds or estimates of log p(x), to be maximised. They sum over pixels and latent
units and average over nothing but the samples of z; `companion.train.fit` averages over data.

With z_1 … z_K drawn from q(z | x) and log w_k = log p(x, z_k) − log q(z_k | x):

    elbo       = 1/K Σ_k log w_k            estimates  E_q[log w]              ≤ log p(x)
    iwae_bound = log 1/K Σ_k w_k            estimates  E_q[log 1/K Σ_k w_k]    ≤ log p(x)
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import kl_divergence

from companion.models import Autoencoder, LatentVariableModel, Trace, require_trace
from companion.validation import require_count, require_data, require_nonnegative

__all__ = [
    "beta_elbo",
    "elbo",
    "elbo_analytic",
    "free_bits_elbo",
    "gaussian_kl",
    "iwae_bound",
    "log_marginal",
    "log_reconstruction",
]


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

    Raises:
        ValueError, TypeError: Those of ``model.trace``.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 6, https://arxiv.org/abs/1312.6114.

    >>> from companion.exact import LinearGaussian
    >>> exact = LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale=0.5)
    >>> x = torch.ones(1, 3)
    >>> torch.allclose(elbo(exact.vae(), x), exact.log_marginal(x))   # q is the posterior
    True
    """
    return _trace(model, x, num_samples).log_weight.mean(0)


def elbo_analytic(
    model: LatentVariableModel, x: Float[Tensor, "B D"], num_samples: int = 1
) -> Float[Tensor, " B"]:
    r"""ELBO with the rate in closed form: 1/K Σ_k log p(x | z_k) − KL(q(z | x) ‖ p(z)).

    Estimates the same L(x) as `elbo`, with the noise of the reconstruction alone.

    Args:
        model: A model with one latent level.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError: The model has several levels (there the KL between neighbours' conditionals is
            not this encoder's rate), or torch knows no closed form for q and p(z); and those of
            ``model.trace``.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    equation 7, https://arxiv.org/abs/1312.6114.
    """
    trace = _trace(model, x, num_samples)
    if len(trace.z) != 1:
        raise ValueError(
            f"model must have one latent level, got {len(trace.z)}; use companion.objectives.elbo"
        )
    q, prior = trace.q[0], trace.p[1]
    try:
        rate = kl_divergence(q, prior)
    except NotImplementedError:
        raise ValueError(
            f"model has no closed-form KL from {q} to {prior}; use companion.objectives.elbo"
        ) from None
    return trace.reconstruction.mean(0) - rate


def gaussian_kl(
    mu: Float[Tensor, "*batch d"], logvar: Float[Tensor, "*batch d"]
) -> Float[Tensor, "*batch d"]:
    r"""KL divergence of N(μ, σ²) from N(0, 1), unit by unit: ½ (μ² + σ² − 1 − log σ²).

    With v = log σ² it is computed as ½ (μ² + expm1(v) − v), which keeps its digits where the KL is
    small. Sum over the last axis for the KL of the whole vector.

    Args:
        mu: μ, (…, d).
        logvar: log σ², (…, d).

    Returns:
        Nats per unit, (…, d).

    Raises:
        ValueError: The shapes differ.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix B, https://arxiv.org/abs/1312.6114.

    >>> gaussian_kl(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]))
    tensor([0., 2.])
    """
    if mu.shape != logvar.shape:
        raise ValueError(
            f"mu and logvar must have one shape, got {tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def beta_elbo(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    beta: float | Float[Tensor, ""],
    num_samples: int = 1,
) -> Float[Tensor, " B"]:
    r"""Reconstruction less β times the rate: 1/K Σ_k [log p(x | z_k) − β Σ_l rate_l].

    β = 1 is the ELBO, β = 0 is reconstruction alone. For β ≥ 1 its expectation is a lower bound
    on log p(x); for β < 1 it need not be.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        beta: Weight of the rate, β ≥ 0. A scalar tensor is taken as it is, without a check, so
            that an ensemble can map over it.
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError: beta is negative or not finite; and those of ``model.trace``.
        TypeError: beta is no number.

    Reference: I. Higgins et al., "β-VAE: Learning Basic Visual Concepts with a Constrained
    Variational Framework", ICLR 2017, https://openreview.net/forum?id=Sy2fzU9gl.
    """
    _require_weight(beta, "beta")
    trace = _trace(model, x, num_samples)
    return (trace.reconstruction - beta * trace.rates.sum(0)).mean(0)


def free_bits_elbo(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    free_nats: float | Float[Tensor, ""],
    num_samples: int = 1,
) -> Float[Tensor, " B"]:
    r"""ELBO in which a level's rate is free of charge up to a threshold λ.

        1/K Σ_k log p(x | z_k) − Σ_l max(λ, mean of rate_l over the batch)

    A level below λ gets no push towards zero. Only the batch mean is compared with λ: a single
    rate of an inner level may be negative. Free bits hold up the rate; whether the code then tells
    anything of x is for `companion.diagnostics.mutual_information` to say.

    Args:
        model: Any latent-variable model; λ counts for each of its levels.
        x: Data, (B, D).
        free_nats: λ ≥ 0, in nats a level. A scalar tensor is taken as it is, without a check, so
            that an ensemble can map over it.
        num_samples: K, draws of z for each data point.

    Returns:
        Nats per data point, (B,). Where a level's mean is above λ each point has its own rate,
        else λ. With λ = 0 it is the ELBO, unless a batch mean falls below zero.

    Raises:
        ValueError: free_nats is negative or not finite; and those of ``model.trace``.
        TypeError: free_nats is no number.

    Reference: D. P. Kingma et al., "Improved Variational Inference with Inverse Autoregressive
    Flow", NeurIPS 2016, appendix C.8, https://arxiv.org/abs/1606.04934.
    """
    _require_weight(free_nats, "free_nats")
    trace = _trace(model, x, num_samples)
    rates = trace.rates.mean(1)
    charged = torch.where(rates.mean(1, keepdim=True) > free_nats, rates, free_nats)
    return trace.reconstruction.mean(0) - charged.sum(0)


def iwae_bound(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    num_samples: int,
    chunk_size: int | None = None,
) -> Float[Tensor, " B"]:
    r"""K-sample (importance-weighted) bound: log 1/K Σ_k w_k.

    Its expectation is the ELBO for K = 1, does not decrease with K, and tends to log p(x) when
    q(z | x) > 0 wherever p(x, z) > 0.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.
        chunk_size: Draws held in memory at once; the last chunk may be shorter. None: all K.

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError: num_samples or chunk_size below 1; and those of ``model.trace``.
        TypeError: one of them is no whole number.

    Reference: Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, equation 8, https://arxiv.org/abs/1509.00519.
    """
    require_count(num_samples, "num_samples")
    sums = [
        _trace(model, x, size).log_weight.logsumexp(0) for size in _chunks(num_samples, chunk_size)
    ]
    return torch.stack(sums).logsumexp(0) - math.log(num_samples)


@torch.no_grad()
def log_marginal(
    model: LatentVariableModel,
    x: Float[Tensor, "B D"],
    num_samples: int = 1000,
    chunk_size: int | None = None,
) -> Float[Tensor, " B"]:
    """Estimate log p(x) by importance sampling from the encoder, without gradient.

    It is `iwae_bound` with many samples: on average too low, by less as K grows.

    Args:
        model: Any latent-variable model.
        x: Data, (B, D).
        num_samples: K, draws of z for each data point.
        chunk_size: Draws held in memory at once. None: all K.

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError, TypeError: Those of `iwae_bound`.
    """
    return iwae_bound(model, x, num_samples, chunk_size)


def log_reconstruction(model: Autoencoder, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Score of an autoencoder's reconstruction: log p(x | z) at the code z of x.

    It is no bound on anything: there is no prior, hence no p(x).

    Args:
        model: An autoencoder.
        x: Data, (B, D).

    Returns:
        Nats per data point, (B,).

    Raises:
        TypeError: The model is no autoencoder.
        ValueError: The decoder gives another width than x has; and those of ``model.encode``.
    """
    if not isinstance(model, Autoencoder):
        raise TypeError(f"model must be an Autoencoder, got {type(model).__name__}; a VAE has elbo")
    likelihood = model.decoder(model.encode(x))
    require_data(x, features=likelihood.event_shape[0])
    return likelihood.log_prob(x)


def _trace(model: LatentVariableModel, x: Tensor, num_samples: int) -> Trace:
    """Return the model's trace of x, and say so where something else is no such model."""
    require_trace(model)
    return model.trace(x, num_samples)


def _require_weight(value: float | Tensor, name: str) -> None:
    """Raise unless this is a number of at least zero, or a scalar tensor."""
    if not isinstance(value, Tensor):
        require_nonnegative(value, name)
    elif value.dim():
        raise ValueError(
            f"{name} must be one number, got shape {tuple(value.shape)}; companion.ensemble takes "
            f"one value for each of several models"
        )


def _chunks(total: int, size: int | None) -> Iterator[int]:
    """Yield chunk sizes that add up to exactly `total`."""
    size = total if size is None else require_count(size, "chunk_size")
    for start in range(0, total, size):
        yield min(size, total - start)
