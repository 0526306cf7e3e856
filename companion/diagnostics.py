"""Diagnostics: what a model's samples and codes look like, in numbers.

Those of information follow one decomposition, with q(z) = 1/N Σ_n q(z | x_n) the aggregated
posterior and all means over the data:

    E[ELBO] = E[log p(x | z)] − I_q(x; z) − KL(q(z) ‖ p(z))
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from companion.models import HVAE, LatentVariableModel, Trace, require_trace
from companion.objectives import elbo
from companion.validation import require_count, require_data, require_positive

__all__ = [
    "Estimate",
    "GradientNorms",
    "Surgery",
    "active_units",
    "effective_sample_size",
    "elbo_surgery",
    "gradient_norms",
    "level_rates",
    "log_aggregate",
    "mutual_information",
    "mutual_information_gap",
    "nearest_distance",
    "sharpness",
    "two_sample_distance",
    "unit_rates",
]


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


@torch.no_grad()
def level_rates(
    model: LatentVariableModel, x: Float[Tensor, "N D"], num_samples: int = 1
) -> list[Estimate]:
    r"""Estimate the rate of each level: E[log q(z_l | z_{l−1}) − log p(z_l | z_{l+1})].

    A level that has collapsed has rate zero. The rate of an inner level may be negative, so rates
    are no shares of a whole.

    Args:
        model: Any model, of one level or more.
        x: Data, (N, D), N ≥ 2.
        num_samples: Draws of the latents for each row.

    Returns:
        Mean and standard error over rows, in nats: L of them, from the bottom up.

    Raises:
        ValueError: x has one row; and those of ``model.trace``.
    """
    require_trace(model)
    return [_estimate(rate) for rate in model.trace(x, num_samples).rates]


def gradient_norms(
    model: HVAE,
    x: Float[Tensor, "N D"],
    objective: Callable[[HVAE, Tensor], Float[Tensor, " N"]] = elbo,
) -> GradientNorms:
    r"""Return ‖∂ mean objective / ∂ weights‖ of each conditional of a hierarchy, bottom up.

    Entry l of `encoders` belongs to q(z_l | z_{l−1}), entry l of `decoders` to p(z_{l−1} | z_l),
    with z_0 = x. The objective's draws make the norms random. They grow with the number of weights:
    compare levels of equal sizes, or one level over time.

    Args:
        model: The hierarchy; its weights stay as they are. Frozen ones count as zero.
        x: Data, (N, D).
        objective: Called as ``objective(model, x)``.

    Raises:
        TypeError: The model is no HVAE.
        ValueError: The objective has no gradient; and those of ``model.trace``.
    """
    if not isinstance(model, HVAE):
        raise TypeError(f"model must be an HVAE, got {type(model).__name__}; build one of 1 level")
    mean = objective(model, x).mean()
    if not mean.requires_grad:
        raise ValueError(
            "objective must return values with a gradient, such as those of elbo; log_marginal "
            "has none, nor has anything under torch.no_grad or of a model that is all constants"
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(mean, parameters, allow_unused=True, materialize_grads=True)
    squares = {p: g.square().sum() for p, g in zip(parameters, gradients, strict=True)}

    def norms(levels: nn.ModuleList) -> Tensor:
        zero = mean.detach().new_zeros(())
        return torch.stack(
            [sum((squares.get(p, zero) for p in m.parameters()), zero).sqrt() for m in levels]
        )

    return GradientNorms(norms(model.encoders), norms(model.decoders))


@torch.no_grad()
def unit_rates(model: LatentVariableModel, x: Float[Tensor, "N D"]) -> Float[Tensor, " d"]:
    r"""Return KL(q(z_j | x) ‖ p(z_j)) of each latent unit j, averaged over x, in closed form.

    A unit whose rate is zero has collapsed: its posterior is the prior for every x.

    Args:
        model: A model with one latent level, with Gaussian encoder and prior of independent units.
        x: Data, (N, D).

    Returns:
        Nats per unit, (d,).

    Raises:
        ValueError: The model has several levels, or units that are not independent Gaussians.
    """
    require_trace(model)
    trace = _one_level(model.trace(x))
    q, prior = trace.q[0], trace.p[1]
    if not (_factorised_gaussian(q) and _factorised_gaussian(prior)):
        raise ValueError(f"model must have independent Gaussian units, got {q} and {prior}")
    return kl_divergence(q.base_dist, prior.base_dist).mean(0)  # type: ignore[attr-defined]


@torch.no_grad()
def active_units(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    threshold: float = 0.01,
    *,
    level: int = 1,
    num_samples: int = 32,
) -> Bool[Tensor, " d"]:
    r"""Tell which latent units follow the data: Var_x(E_q[z_j | x]) > threshold.

    Above the first level E_q[z_j | x] is itself a mean over draws of the levels below. Their noise
    adds variance, which is estimated from the spread of the draws and taken off.

    Args:
        model: Any model.
        x: Data, (N, D), N ≥ 2.
        threshold: In squared units of z.
        level: Which level to look at, from 1 to L.
        num_samples: Draws of the levels below, at least 2; level 1 needs none.

    Raises:
        ValueError: threshold is not positive, x has one row, the model has no such level, or
            num_samples is below 2.
        TypeError: level or num_samples is no whole number.

    Reference: Y. Burda, R. Grosse and R. Salakhutdinov, "Importance Weighted Autoencoders",
    ICLR 2016, section 5.2, https://arxiv.org/abs/1509.00519.
    """
    require_trace(model)
    require_positive(threshold, "threshold")
    require_count(level, "level")
    require_count(num_samples, "num_samples", minimum=2)
    if len(require_data(x)) < 2:
        raise ValueError(f"x must have two rows or more, got {len(x)}: one has no variance")
    q = model.trace(x, 1 if level == 1 else num_samples).q
    if level > len(q):
        raise ValueError(f"level must be at most {len(q)}, the levels of the model, got {level}")
    means = q[level - 1].mean
    if level == 1:
        return means.var(dim=0) > threshold
    return means.mean(0).var(dim=0) - means.var(dim=0).mean(0) / num_samples > threshold


@torch.no_grad()
def log_aggregate(
    q: Distribution, z: Float[Tensor, "M d"], chunk_size: int = 1024
) -> Float[Tensor, " M"]:
    r"""Return the log-density of the aggregated posterior: log 1/N Σ_n q(z | x_n).

    Args:
        q: The encoder's distributions of N data points: batch (N,), event (d,).
        z: Where, (M, d).
        chunk_size: Rows of z at once; memory is N · chunk_size · d numbers.

    Returns:
        Nats, (M,).

    Raises:
        ValueError: q has no batch of one axis, z another size, or chunk_size is below 1.
    """
    if len(q.batch_shape) != 1:
        raise ValueError(f"q must have batch (N,), one for each data point, got {q.batch_shape}")
    require_data(z, "z", features=q.event_shape[0])
    chunks = z.split(require_count(chunk_size, "chunk_size"))
    sums = [q.log_prob(chunk[:, None]).logsumexp(1) for chunk in chunks]
    return torch.cat(sums) - math.log(q.batch_shape[0])


@torch.no_grad()
def mutual_information(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    num_samples: int = 1,
    chunk_size: int = 1024,
) -> Estimate:
    r"""Estimate I_q(x; z_1) = E[log q(z_1 | x) − log q(z_1)] for x uniform on the rows given.

    The aggregated posterior is the exact mixture over all N rows, so the estimate is unbiased for
    those rows, and never above log N but for sampling noise. Rows that are a sample of a larger
    population, such as a minibatch, give too little: no N points can tell more than log N apart.

    Args:
        model: Any model; its first level is looked at.
        x: Data, (N, D).
        num_samples: Draws of z for each row.
        chunk_size: As in `log_aggregate`.

    Returns:
        Mean and standard error over rows, in nats.

    Raises:
        ValueError: Those of ``model.trace`` and `log_aggregate`.

    Reference: M. D. Hoffman and M. J. Johnson, "ELBO Surgery: Yet Another Way to Carve Up the
    Variational Evidence Lower Bound", NeurIPS workshop, 2016,
    https://approximateinference.org/2016/accepted/HoffmanJohnson2016.pdf.
    """
    require_trace(model)
    trace = model.trace(x, num_samples)
    q, z = trace.q[0], trace.z[0]
    log_q = q.log_prob(z)
    log_aggregated = log_aggregate(q, z.flatten(0, 1), chunk_size).reshape(log_q.shape)
    return _estimate(log_q - log_aggregated)


@torch.no_grad()
def elbo_surgery(
    model: LatentVariableModel,
    x: Float[Tensor, "N D"],
    num_samples: int = 1,
    chunk_size: int = 1024,
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

    Raises:
        ValueError: The model has several levels; and those of ``model.trace``.

    Reference: As `mutual_information`.
    """
    require_trace(model)
    trace = _one_level(model.trace(x, num_samples))
    q, z = trace.q[0], trace.z[0]
    log_aggregated = log_aggregate(q, z.flatten(0, 1), chunk_size).reshape(z.shape[:2])
    return Surgery(
        reconstruction=_estimate(trace.reconstruction),
        mutual_information=_estimate(q.log_prob(z) - log_aggregated),
        marginal_kl=_estimate(log_aggregated - trace.p[1].log_prob(z)),
    )


def mutual_information_gap(
    codes: Float[Tensor, "N d"], factors: Float[Tensor, "N F"], num_bins: int = 20
) -> Float[Tensor, " F"]:
    r"""Mutual information gap: does each known factor live in one unit of the code alone?

        [I(z_a; f) − I(z_b; f)] / H(f)

    for each factor f, where z_a tells most of f and z_b second most. 1: one unit tells all and no
    other anything. 0: two units tell equally much, or none tells anything.

    It sees the axes of the code, so a rotation of a good code lowers it although nothing is lost.
    The histograms' information is biased upwards, by about (num_bins − 1)² / 2N nats for
    independent quantities. And the factors must be known.

    Args:
        codes: One code for each picture, such as the mean of q(z | x), (N, d), d ≥ 2.
        factors: What the pictures were drawn from, (N, F).
        num_bins: Bins of equal count for a column with more distinct values than that.

    Returns:
        One number between 0 and 1 for each factor, (F,).

    Raises:
        ValueError: The rows do not match, there is one unit only, num_bins is below 2, or a factor
            never varies.

    Reference: R. T. Q. Chen et al., "Isolating Sources of Disentanglement in Variational
    Autoencoders", NeurIPS 2018, equation 6, https://arxiv.org/abs/1802.04942.

    >>> z = torch.arange(400.0)
    >>> mutual_information_gap(torch.stack([z // 20, z % 20], 1), (z // 20)[:, None])
    tensor([1.])
    """
    require_data(codes, "codes")
    require_data(factors, "factors")
    require_count(num_bins, "num_bins", minimum=2)
    if len(codes) != len(factors) or codes.shape[1] < 2:
        raise ValueError(
            f"codes (N, d) with d of at least 2 and factors (N, F) must have as many rows, got "
            f"{tuple(codes.shape)} and {tuple(factors.shape)}"
        )
    units = [_bins(unit, num_bins) for unit in codes.T]
    gaps = []
    for index, factor in enumerate(factors.T):
        label = _bins(factor, num_bins)
        entropy = mutual_info_score(label, label)
        if entropy <= 0:
            raise ValueError(f"factors[:, {index}] never varies; leave this column out")
        second, first = sorted(mutual_info_score(label, unit) for unit in units)[-2:]
        gaps.append((first - second) / entropy)
    return torch.tensor(gaps, dtype=codes.dtype)


def effective_sample_size(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    r"""Return how many equally weighted draws the weights are worth: (Σ_k w_k)² / Σ_k w_k².

    It is K for constant weights, as under the exact posterior, and 1 when one draw has all weight.

    Args:
        log_weight: As in `companion.models.Trace`, (K, B).

    >>> effective_sample_size(torch.zeros(5, 1))
    tensor([5.])
    """
    return torch.exp(2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0))


def sharpness(x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Return the mean squared difference between neighbouring pixels of square images.

    Averaging pictures lowers it; noise raises it, so compare means of decoders, not noisy samples.

    Args:
        x: Pixels, (N, D), D a square number.

    Raises:
        ValueError: D is no square number, or 1.

    >>> sharpness(torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    tensor([0.5000])
    """
    side = math.isqrt(require_data(x).shape[1])
    if side * side != x.shape[1] or side < 2:
        raise ValueError(f"x must hold square images, got {x.shape[1]} pixels in a row")
    image = x.reshape(-1, side, side)
    down, across = image.diff(dim=1), image.diff(dim=2)
    return torch.cat([down.flatten(1), across.flatten(1)], dim=1).square().mean(1)


def two_sample_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    r"""Energy distance between the distributions that two samples come from.

        2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖

    It is zero exactly when the two distributions agree. The estimate is unbiased (a point is never
    paired with itself), so for two samples of one distribution it is near zero and may be negative.

    Args:
        x: One sample, (N, D), N ≥ 2.
        y: The other, (M, D), M ≥ 2.

    Returns:
        A scalar, in the units of x.

    Raises:
        ValueError: The samples differ in D or have fewer than two rows.

    Reference: G. J. Székely and M. L. Rizzo, "Energy Statistics: A Class of Statistics Based on
    Distances", Journal of Statistical Planning and Inference 143(8), 2013,
    https://doi.org/10.1016/j.jspi.2013.03.018.

    >>> two_sample_distance(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]]))
    tensor(2.)
    """
    require_data(x, "x")
    require_data(y, "y", features=x.shape[1], dtype=x.dtype)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y need two rows or more each, got {len(x)} and {len(y)}")
    within = sum(_distances(s, s).sum() / (len(s) * (len(s) - 1)) for s in (x, y))
    return 2 * _distances(x, y).mean() - within


def nearest_distance(x: Float[Tensor, "N D"], data: Float[Tensor, "M D"]) -> Float[Tensor, " N"]:
    """Return the Euclidean distance from each row of x to the nearest row of `data`.

    Args:
        x: Points, (N, D).
        data: Where neighbours are looked for, (M, D).

    Raises:
        ValueError: They differ in D.

    >>> nearest_distance(torch.tensor([[0.0]]), torch.tensor([[3.0], [-2.0]]))
    tensor([2.])
    """
    require_data(x, "x")
    require_data(data, "data", features=x.shape[1], dtype=x.dtype)
    return _distances(x, data).min(dim=1).values


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the distances of all pairs, (N, M), zero for equal points."""
    # The faster way by a matrix product leaves equal points 1e-3 apart in float32.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _estimate(values: Float[Tensor, "K N"]) -> Estimate:
    """Return the mean over draws and rows, with the standard error over rows."""
    rows = values.mean(0)
    if len(rows) < 2:
        raise ValueError(f"x must have two rows or more, got {len(rows)}: one has no spread")
    return Estimate(rows.mean().item(), (rows.std() / math.sqrt(len(rows))).item())


def _bins(values: Float[Tensor, " N"], num_bins: int) -> NDArray[np.int64]:
    """Return the bin of each value: one for each distinct value, or `num_bins` of equal count."""
    distinct, index = torch.unique(values, return_inverse=True)
    if len(distinct) > num_bins:
        edges = values.quantile(torch.linspace(0, 1, num_bins + 1, dtype=values.dtype)[1:-1])
        index = torch.bucketize(values.contiguous(), edges)
    return index.numpy()


def _factorised_gaussian(distribution: Distribution) -> bool:
    """Tell whether the units are independent Gaussians."""
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def _one_level(trace: Trace) -> Trace:
    """Return the trace if it has one latent level."""
    if len(trace.z) != 1:
        raise ValueError(f"model must have one latent level, got {len(trace.z)}")
    return trace
