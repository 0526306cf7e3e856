"""Integrals over a latent space of one or two dimensions, on a grid.

A fine grid holds the posterior p(z | x) itself. log p(x) and the ELBO are then sums, and so is a
divergence from the posterior, whatever q is: a Gaussian, a mixture, or a density known only by its
values. `arch` is a nonlinear model to try them on.
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import max_pool1d

from companion._checks import check_tensor, like
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.distributions import Gaussian, diagonal
from companion.models import VAE

GRID_NUMBERS: Final = 2**22
REACH: Final = 7.0
"""How many scales of q must lie on the grid on either side of its mean."""
MIN_POINTS: Final = 6 * int(REACH) + 2
"""Fewest points of a grid that can hold a scale of three steps, the least that is tried."""


def arch(scale: float = 0.4, encoder: nn.Module | None = None) -> VAE:
    r"""Return a model whose decoder mean runs along an arch in the plane as z grows.

        z ~ N(0, 1),   x | z ~ N(μ(z), σ² I),
        μ(z) = (1.2 tanh z, 1.5 [tanh(z + 1.2) − tanh(z − 1.2)] − 1)

    The decoder is a network with three tanh units, so p(x) has no closed form; the one latent unit
    leaves it to `log_marginal_quadrature`. Points between the arch's legs have two kinds of z that
    explain them: their posterior has two peaks.

    Args:
        scale: Standard deviation σ > 0 of the noise on x.
        encoder: Conditional from x (…, 2) to z (…, 1); None is a small untrained network.

    Returns:
        The model in float64.

    >>> arch().decoder(torch.zeros(1, 1, dtype=torch.float64)).mean.detach()
    tensor([[0.0000, 1.5010]], dtype=torch.float64)
    """
    net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    values = ([[1.0]] * 3, [0.0, 1.2, -1.2], [[1.2, 0.0, 0.0], [0.0, 1.5, -1.5]], [0.0, -1.0])
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value, dtype=torch.float64))
    if encoder is None:
        encoder = GaussianConditional(mlp(2, 16, 2))
    return VAE(encoder, GaussianConditional(net, scale=scale), StandardNormal(1)).double()


def latent_grid(
    d: int,
    num_points: int = 2001,
    bound: float = 10.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> tuple[Float[Tensor, "N d"], float]:
    """Return a regular grid over [−bound, bound]^d and the logarithm of its cell's volume.

    A sum over the grid times the cell is the trapezoid rule for a function that vanishes at the
    edges, whose error then falls faster than any power of the step.

    Args:
        d: Latent dimension, 1 or 2.
        num_points: Points along each axis.
        bound: Half-width, in standard deviations of the prior.
        dtype: Of the grid.
        device: Of the grid.
    """
    axis = bound * torch.linspace(-1, 1, num_points, dtype=dtype, device=device)
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    return grid, d * math.log(2 * bound / (num_points - 1))


@torch.no_grad()
def log_marginal_quadrature(
    model: VAE, x: Float[Tensor, "B D"], num_points: int = 2001, bound: float = 10.0
) -> Float[Tensor, " B"]:
    """Integrate p(x | z) p(z) over a grid of a latent space of one or two dimensions.

    The encoder plays no part. Make sure that the grid is fine beside the posterior's width and
    reaches its tails: double `num_points` and `bound`, and see the answer stay.

    Args:
        model: A VAE with d ≤ 2.
        x: Data, (B, D).
        num_points: Points along each latent axis.
        bound: Half-width of the grid.

    Returns:
        log p(x) in nats, (B,).
    """
    check_tensor(x, "x", None, model.data_size, like=like(model))
    prior = model.prior()
    grid, log_cell = latent_grid(prior.event_shape[0], num_points, bound, x.dtype, x.device)
    # A fine grid in two dimensions, times B data points of D pixels, does not fit in memory.
    sums = [
        (model.decoder(z[:, None]).log_prob(x) + prior.log_prob(z)[:, None]).logsumexp(0)
        for z in grid.split(max(1, GRID_NUMBERS // x.numel()))
    ]
    return torch.stack(sums).logsumexp(0) + log_cell


def elbo_quadrature(
    model: VAE,
    x: Float[Tensor, "B D"],
    q: Distribution,
    num_points: int = 201,
    bound: float = 8.0,
) -> Float[Tensor, "*batch B"]:
    r"""Integrate E_q[log p(x | z) + log p(z) − log q(z)] over a grid: the ELBO without noise.

    The grid is that of ε ~ N(0, I) in z = m + s ⊙ ε, so it follows q wherever q is. The result
    has a gradient for the parameters of q.

    Args:
        model: A VAE with d ≤ 2; its encoder plays no part.
        x: Data, (B, D).
        q: `companion.distributions.Gaussian` or ``Independent`` ``Normal``, with batch (B,) or
            (…, B), event (d,).
        num_points: Points along each latent axis.
        bound: Half-width of the grid, in standard deviations of q.

    Returns:
        The ELBO in nats, of the batch shape of q.
    """
    check_tensor(x, "x", None, model.data_size, like=like(model))
    q = diagonal(q)
    d = q.event_shape[0]
    grid, log_cell = latent_grid(d, num_points, bound, x.dtype, x.device)
    zeros = torch.zeros_like(grid[0])
    weight = (Gaussian(zeros, zeros).log_prob(grid) + log_cell).exp()
    z = q.mean + q.stddev * grid.reshape(-1, *[1] * len(q.batch_shape), d)
    log_weight = model.decoder(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
    return torch.tensordot(weight, log_weight, dims=1)


@torch.no_grad()
def posterior_on_grid(
    model: VAE, x: Float[Tensor, "B D"], num_points: int = 1601, bound: float = 8.0
) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N B"], float]:
    """Compute log p(z | x) = log p(x | z) + log p(z) − log p(x) on a grid of a latent space.

    Args:
        model: A VAE with d ≤ 2; its encoder plays no part.
        x: Data, (B, D).
        num_points: Points along each latent axis.
        bound: Half-width of the grid.

    Returns:
        The grid z, log p(z | x) for each row of x, and the logarithm of the volume of a cell, as
        `companion.exact.latent_grid` gives it.
    """
    check_tensor(x, "x", None, model.data_size, like=like(model))
    prior = model.prior()
    z, log_cell = latent_grid(prior.event_shape[0], num_points, bound, x.dtype, x.device)
    log_joint = model.decoder(z[:, None]).log_prob(x) + prior.log_prob(z)[:, None]
    return z, log_joint - log_joint.logsumexp(0) - log_cell, log_cell


def kl_on_grid(
    log_q: Float[Tensor, "..."], log_p: Float[Tensor, "..."], log_cell: float
) -> Float[Tensor, "..."]:
    """Return KL(q ‖ p) = Σ_i q(z_i) log[q(z_i) / p(z_i)] · cell, in nats.

    Args:
        log_q: log q at the points of a grid, (N, …).
        log_p: log p at the same points.
        log_cell: Logarithm of the volume of one cell of the grid.

    >>> z, log_cell = latent_grid(1)
    >>> one, two = (torch.distributions.Normal(m, 1.0).log_prob(z) for m in (0.0, 2.0))
    >>> round(kl_on_grid(one, two, log_cell).item(), 6)     # (0 − 2)² / 2
    2.0
    """
    # Where q is zero its term is zero, whatever p is.
    terms = torch.where(log_q == -math.inf, 0.0, log_q.exp() * (log_q - log_p))
    return terms.sum(0) * math.exp(log_cell)


@torch.no_grad()
def gaussian_floor(
    z: Float[Tensor, "N 1"], log_p: Float[Tensor, "M B"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    r"""Find the Gaussian nearest to each of B densities: the least KL(N(m, s²) ‖ p) over m and s.

    The two parameters are searched on a grid: first all that fit on the grid of z, then finer
    and finer around each minimum that this one shows, for they may be almost equally low. A local
    search from one start would find one of them.

        KL(N(m, s²) ‖ p) = −½ log(2πe s²) − ∫ N(z; m, s²) log p(z) dz

    Args:
        z: An even grid of one latent unit, ascending.
        log_p: log p at its points, up to a constant, (N, B). The grid must be wide: seven scales on
            either side of the q that is sought.

    Returns:
        The least KL in nats, and the mean and the scale where it is attained, each (B,).

    >>> z, _ = latent_grid(1, 2001, 20.0)
    >>> peaks = torch.distributions.Normal(torch.tensor([-3.0, 3.0]), 1.0)
    >>> kl, mean, scale = gaussian_floor(z, peaks.log_prob(z).logsumexp(1, keepdim=True).double())
    >>> f"{kl.item():.3f}"          # a little less than log 2
    '0.689'
    """
    points, step = z[:, 0], (z[1, 0] - z[0, 0]).item()
    centre, half = (points[0] + points[-1]) / 2, (points[-1] - points[0]).item() / 2
    even = centre + half * torch.linspace(-1, 1, len(z), dtype=z.dtype, device=z.device)
    # In float32 the steps of a grid that is even differ by a part in a thousand.
    if len(z) < MIN_POINTS or step <= 0 or not torch.allclose(points, even, atol=0.01 * step):
        raise ValueError(f"z must be an even, ascending grid, {MIN_POINTS} points or more")
    log_p = log_p - log_p.logsumexp(0) - math.log(step)

    means = centre + half * torch.linspace(-1, 1, 121, dtype=z.dtype, device=z.device)
    narrowest, widest = math.log(3 * step), math.log(half / REACH)
    log_scales = torch.linspace(narrowest, widest, 41, dtype=z.dtype, device=z.device)
    grid = torch.cartesian_prod(means, log_scales)
    # Beyond the grid log p is unknown, so q must lie on it.
    inside = (grid[:, 0] - centre).abs() + REACH * grid[:, 1].exp() <= half * (1 + 1e-6)
    kl = log_p.new_full((len(grid), log_p.shape[1]), math.inf)
    kl[inside] = _kl(grid[inside], points, log_p, step)
    # The best scale for each mean, and where along the means this has its minima.
    lowest, scale_at = kl.unflatten(0, (len(means), -1)).min(1)
    beside = -max_pool1d(-lowest.mT, 3, stride=1, padding=1).mT
    minima = lowest.isfinite() & (lowest == beside)

    around = torch.cartesian_prod(*[points.new_tensor([-1, -0.5, 0, 0.5, 1])] * 2)
    size = z.new_tensor([half / 60, (widest - narrowest) / 40])
    least, best = torch.empty_like(lowest[0]), log_p.new_empty(log_p.shape[1], 2)
    for i, p in enumerate(log_p.mT):
        start = minima[:, i]
        found = torch.stack([means[start], log_scales[scale_at[start, i]]], 1)
        for level in range(8):
            near = found[:, None] + around * size / 2**level
            values = _kl(near.flatten(0, 1), points, p[:, None], step).reshape(near.shape[:2])
            depth, at = values.min(1)
            found = near[torch.arange(len(near), device=z.device), at]
        least[i], best[i] = depth.min(), found[depth.argmin()]
    return least, best[:, 0], best[:, 1].exp()


def _kl(parameters: Tensor, z: Tensor, log_p: Tensor, step: float) -> Tensor:
    """Return KL(N(m, s²) ‖ p) for each row (m, log s) and each column of log p."""
    q = Gaussian(parameters[:, :1], 2 * parameters[:, 1:])
    return -(q.log_prob(z[:, None, None]).exp().mT @ log_p) * step - q.entropy()[:, None]
