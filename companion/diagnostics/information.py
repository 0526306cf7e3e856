"""Diagnostics of codes: how much of the data each level, unit and draw tells.

They follow one decomposition, with q(z) = 1/N Σ_n q(z | x_n) the aggregated posterior and all means
over the data:

    E[ELBO] = E[log p(x | z)] − I_q(x; z) − KL(q(z) ‖ p(z))
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Distribution

from companion._checks import check_count, check_tensor
from companion._context import evaluating
from companion.distributions import diagonal, gaussian_kl
from companion.models import LatentVariableModel, Trace
from companion.objectives import elbo

CHUNK_NUMBERS = 2**22
"""Numbers that the aggregated posterior holds at once."""


class Estimate(NamedTuple):
    """A mean over data points and its standard error, both in the same units."""

    mean: float
    standard_error: float


class Surgery(NamedTuple):
    """The parts of an averaged ELBO, in nats: reconstruction − mutual information − marginal KL."""

    reconstruction: Estimate
    mutual_information: Estimate
    marginal_kl: Estimate


class GradientNorms(NamedTuple):
    """Euclidean norms of an objective's gradient, level by level, in nats per unit of weight."""

    encoders: Float[Tensor, " L"]
    decoders: Float[Tensor, " L"]


def level_rates(
    model: LatentVariableModel, x: Float[Tensor, "N D"], num_samples: int = 1
) -> list[Estimate]:
    r"""Estimate the rate of each level: E[log q(z_i | …) − log p(z_i | z_{i+1})].

    A level that has collapsed has rate zero. With a bottom-up encoder the rate of an inner level
    may be negative, so rates are no shares of a whole.

    Args:
        model: Any model, of one level or more.
        x: Data, (N, D), N ≥ 2.
        num_samples: Draws of the latents for each row.

    Returns:
        Mean and standard error over rows, in nats: L of them, z_1's first.
    """
    return [_estimate(rate) for rate in _evaluated(model, x, num_samples).rates]


def gradient_norms(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    objective: Callable[[LatentVariableModel, Tensor], Float[Tensor, " N"]] = elbo,
) -> GradientNorms:
    r"""Return ‖∂ mean objective / ∂ weights‖ of each conditional of a hierarchy, z_1's first.

    The objective's draws make the norms random. They grow with the number of weights: compare
    levels of equal sizes, or one level over time.

    Args:
        model: Any model; its weights stay as they are. Frozen ones count as zero.
        x: Data, (N, D).
        objective: Called as ``objective(model, x)``.
    """
    mean = objective(model, x).mean()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
    squares = {p: g.square().sum() for p, g in zip(parameters, gradients, strict=True)}

    def norms(levels: Iterable[nn.Module]) -> Tensor:
        zero = mean.detach().new_zeros(())
        return torch.stack(
            [sum((squares.get(p, zero) for p in m.parameters()), zero).sqrt() for m in levels]
        )

    return GradientNorms(norms(model.encoders), norms(model.decoders))


def unit_rates(model: LatentVariableModel, x: Float[Tensor, "N D"]) -> Float[Tensor, " d"]:
    r"""Return KL(q(z_j | x) ‖ p(z_j)) of each latent unit j, averaged over x, in closed form.

    A unit whose rate is zero has collapsed: its posterior is the prior for every x.

    Args:
        model: A model with one latent level, with Gaussian encoder and prior of independent units.
        x: Data, (N, D).

    Returns:
        Nats per unit, (d,).
    """
    trace = _evaluated(model, x)
    (q,), (_, prior) = trace.q, trace.p
    q, prior = diagonal(q), diagonal(prior)
    return gaussian_kl((q.loc - prior.loc) / prior.scale, q.logvar - prior.logvar).mean(0)


def active_units(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    threshold: float = 0.01,
    *,
    level: int = 1,
    num_samples: int = 32,
) -> Bool[Tensor, " d"]:
    r"""Tell which latent units follow the data: Var_x(E_q[z_j | x]) > threshold.

    Beyond the level that is drawn from x itself, E_q[z_j | x] is a mean over draws of the levels
    before it. Their noise adds variance, which is estimated from the spread of the draws and taken
    off.

    Args:
        model: Any model.
        x: Data, (N, D), N ≥ 2.
        threshold: In squared units of z.
        level: Which level to look at, from 1 to L.
        num_samples: Draws of the other levels, at least 2.

    Reference: Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, section 5.2, https://arxiv.org/abs/1509.00519.
    """
    check_count(num_samples, "num_samples", minimum=2)
    q = _evaluated(model, x, num_samples).q
    check_count(level, "level", maximum=len(q))
    means = q[level - 1].mean
    if means.dim() == 2:
        return means.var(dim=0) > threshold
    return means.mean(0).var(dim=0) - means.var(dim=0).mean(0) / num_samples > threshold


@torch.no_grad()
def log_aggregate(
    q: Distribution, z: Float[Tensor, "M d"], chunk_size: int | None = None
) -> Float[Tensor, " M"]:
    r"""Return the log-density of the aggregated posterior: log 1/N Σ_n q(z | x_n).

    Args:
        q: The encoder's distributions of N data points: batch (N,), event (d,); of draws given
            draws of another level, (K, N).
        z: Where, (M, d).
        chunk_size: Rows of z at once; None bounds memory to some million numbers.

    Returns:
        Nats, (M,).
    """
    check_tensor(z, "z", None, *q.event_shape)
    size = chunk_size or max(1, CHUNK_NUMBERS // q.mean.numel())
    shape = (-1, *[1] * len(q.batch_shape), *q.event_shape)
    chunks = [chunk.reshape(shape) for chunk in z.split(size)]
    sums = [q.log_prob(chunk).flatten(1).logsumexp(1) for chunk in chunks]
    return torch.cat(sums) - math.log(q.batch_shape.numel())


def mutual_information(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    num_samples: int = 1,
    chunk_size: int | None = None,
) -> Estimate:
    r"""Estimate I_q(x; z) = E[log q(z | x) − log q(z)] for x uniform on the rows given.

    z is the level that is drawn from x itself: z_1, or the top of a model with a top-down encoder.
    The aggregated posterior is the exact mixture over all N rows, so the estimate is unbiased for
    those rows, and never above log N but for sampling noise. Rows that are a sample of a larger
    population, such as a minibatch, give too little: no N points can tell more than log N apart.

    Args:
        model: Any model.
        x: Data, (N, D).
        num_samples: Draws of z for each row.
        chunk_size: As in `log_aggregate`.

    Returns:
        Mean and standard error over rows, in nats.

    Reference: M. D. Hoffman and M. J. Johnson, "ELBO Surgery: Yet Another Way to Carve Up the
    Variational Evidence Lower Bound", NeurIPS workshop, 2016,
    https://approximateinference.org/2016/accepted/HoffmanJohnson2016.pdf.
    """
    trace = _evaluated(model, x, num_samples)
    first = len(trace.q) - 1 if trace.top_down else 0
    q, z = trace.q[first], trace.z[first]
    return _estimate(q.log_prob(z) - _log_aggregate_of_draws(q, z, chunk_size))


def elbo_surgery(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    num_samples: int = 1,
    chunk_size: int | None = None,
) -> Surgery:
    r"""Estimate the three parts of the averaged ELBO with the same draws.

        E[ELBO] = E[log p(x | z)] − I_q(x; z) − KL(q(z) ‖ p(z))

    Args:
        model: A model with one latent level.
        x: Data, (N, D).
        num_samples: Draws of z for each row.
        chunk_size: As in `log_aggregate`.

    Returns:
        Each part with its standard error over rows, in nats.

    Reference: As `mutual_information`.
    """
    trace = _evaluated(model, x, num_samples)
    (q,), (z,) = trace.q, trace.z
    log_aggregated = _log_aggregate_of_draws(q, z, chunk_size)
    with torch.no_grad():
        return Surgery(
            reconstruction=_estimate(trace.reconstruction),
            mutual_information=_estimate(q.log_prob(z) - log_aggregated),
            marginal_kl=_estimate(log_aggregated - trace.p[1].log_prob(z)),
        )


def effective_sample_size(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    r"""Return how many equally weighted draws the weights are worth: (Σ_k w_k)² / Σ_k w_k².

    It is K for constant weights, as under the exact posterior, and 1 when one draw has all weight.

    Args:
        log_weight: As in `companion.models.Trace`, (K, B).

    >>> effective_sample_size(torch.zeros(5, 1))
    tensor([5.])
    """
    return torch.exp(2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0))


def _estimate(values: Float[Tensor, "K N"]) -> Estimate:
    """Return the mean over draws and rows, with the standard error over rows."""
    rows = values.mean(0)
    return Estimate(rows.mean().item(), (rows.std() / math.sqrt(len(rows))).item())


def _evaluated(model: LatentVariableModel, x: Tensor, num_samples: int = 1) -> Trace:
    """Return a trace in eval mode and without gradient."""
    with evaluating(model):
        return model.trace(x, num_samples)


def _log_aggregate_of_draws(
    q: Distribution, z: Float[Tensor, "K N d"], chunk_size: int | None
) -> Float[Tensor, "K N"]:
    """Return the log-density of the aggregated posterior at each draw."""
    return log_aggregate(q, z.flatten(0, 1), chunk_size).reshape(z.shape[:2])
