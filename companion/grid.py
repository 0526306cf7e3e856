"""Posteriors on a grid: the exact gap of any q, and the least gap that a Gaussian q can have.

With one or two latent units a fine grid holds the posterior p(z | x) itself. A divergence from it
is then a sum, whatever q is: a Gaussian, a mixture, or a density known only by its values.
"""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from companion.exact import latent_grid, require_vae
from companion.models import VAE
from companion.validation import require_data, require_tensor

__all__ = ["gaussian_floor", "kl_on_grid", "posterior_on_grid"]

HALF_LOG_TWO_PI: Final = 0.5 * math.log(2 * math.pi)
REACH: Final = 7.0
"""How many scales of q must lie on the grid on either side of its mean."""
MIN_POINTS: Final = 6 * int(REACH) + 2
"""Fewest points of a grid that can hold a scale of three steps, the least that is tried."""


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

    Raises:
        ValueError: d > 2, or a bad grid; and for bad data.
    """
    require_vae(model)
    require_data(x, features=model.features)
    prior = model.prior()
    z, log_cell = latent_grid(prior.event_shape[0], num_points, bound, x.dtype)
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

    Raises:
        ValueError: The shapes differ, or q or p does not integrate to one over the grid (to one
            in a thousand).

    >>> z, log_cell = latent_grid(1)
    >>> one, two = (torch.distributions.Normal(m, 1.0).log_prob(z) for m in (0.0, 2.0))
    >>> round(kl_on_grid(one, two, log_cell).item(), 6)     # (0 − 2)² / 2
    2.0
    """
    for name, value in (("log_q", log_q), ("log_p", log_p)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(value).__name__}; convert it with "
                f"torch.as_tensor({name})"
            )
    if log_q.shape != log_p.shape:
        raise ValueError(
            f"log_q and log_p must have one shape, got {tuple(log_q.shape)} and "
            f"{tuple(log_p.shape)}; evaluate both at the same points"
        )
    for name, log_density in (("log_q", log_q), ("log_p", log_p)):
        mass = (log_density.logsumexp(0) + log_cell).exp()
        if not ((mass - 1).abs() < 1e-3).all():
            worst = mass.flatten()[(mass - 1).abs().argmax()].item()
            raise ValueError(
                f"{name} must be the logarithm of a density on the grid, but it integrates to "
                f"{worst:.4g}; normalise it, or use a wider or finer grid"
            )
    # Where q is zero its term is zero, whatever p is.
    terms = torch.where(log_q == -math.inf, 0.0, log_q.exp() * (log_q - log_p))
    return terms.sum(0) * math.exp(log_cell)


@torch.no_grad()
def gaussian_floor(
    z: Float[Tensor, "N 1"], log_p: Float[Tensor, "M B"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    r"""Find the Gaussian nearest to each of B densities: the least KL(N(m, s²) ‖ p) over m and s.

    The two parameters are searched on a grid: first all that fit on the grid of z, then finer
    and finer around the best. A local search from one start would find one of several minima.

        KL(N(m, s²) ‖ p) = −½ log(2πe s²) − ∫ N(z; m, s²) log p(z) dz

    Args:
        z: An even grid of one latent unit, ascending.
        log_p: log p at its points, up to a constant, (N, B). The grid must be wide: seven scales on
            either side of the q that is sought.

    Returns:
        The least KL in nats, and the mean and the scale where it is attained, each (B,).

    Raises:
        ValueError: z has more than one column, is not even, or log_p has another number of rows.
        TypeError: One of them is no floating-point tensor, or their dtypes differ.

    >>> z, _ = latent_grid(1, 2001, 20.0)
    >>> peaks = torch.distributions.Normal(torch.tensor([-3.0, 3.0]), 1.0)
    >>> kl, mean, scale = gaussian_floor(z, peaks.log_prob(z).logsumexp(1, keepdim=True).double())
    >>> f"{kl.item():.3f}"          # a little less than log 2
    '0.689'
    """
    require_tensor(z, "z", axes=2)
    require_tensor(log_p, "log_p", axes=2, dtype=z.dtype)
    if len(z) < MIN_POINTS:
        raise ValueError(f"z must have {MIN_POINTS} points or more, got {len(z)}; use a finer grid")
    points, step = z[:, 0], (z[1, 0] - z[0, 0]).item()
    if z.shape[1] != 1 or not torch.allclose(points.diff(), z.new_tensor(step)) or step <= 0:
        raise ValueError("z must be an even, ascending grid of shape (N, 1); see latent_grid(1)")
    if len(log_p) != len(z):
        raise ValueError(f"log_p must have the {len(z)} rows of z, got {len(log_p)}")
    log_p = log_p - log_p.logsumexp(0) - math.log(step)
    centre, half = (points[0] + points[-1]) / 2, (points[-1] - points[0]) / 2
    widest = half.item() / REACH
    spread = half.item() / 60
    shrink = math.log(widest / (3 * step)) / 40

    means = centre + torch.linspace(-1, 1, 121, dtype=z.dtype) * half
    log_scales = torch.linspace(0, 1, 41, dtype=z.dtype) * 40 * shrink + math.log(3 * step)
    grid = torch.cartesian_prod(means, log_scales)
    # Beyond the grid log p is unknown, so q must lie on it.
    grid = grid[((grid[:, 0] - centre).abs() + REACH * grid[:, 1].exp()) <= half * (1 + 1e-9)]
    found = grid[_kl(grid, points, log_p, step).argmin(0)]

    around = torch.cartesian_prod(*[torch.linspace(-1, 1, 5, dtype=z.dtype)] * 2)
    size = z.new_tensor([spread, shrink])
    least = torch.empty_like(found[:, 0])
    for i, p in enumerate(log_p.mT):
        for level in range(8):
            near = found[i] + around * size / 2**level
            kl = _kl(near, points, p[:, None], step)[:, 0]
            least[i], found[i] = kl.min(), near[kl.argmin()]
    return least, found[:, 0], found[:, 1].exp()


def _kl(parameters: Tensor, z: Tensor, log_p: Tensor, step: float) -> Tensor:
    """Return KL(N(m, s²) ‖ p) for each row (m, log s) and each column of log p."""
    mean, log_scale = parameters[:, :1], parameters[:, 1:]
    log_q = -0.5 * ((z - mean) / log_scale.exp()).square() - log_scale - HALF_LOG_TWO_PI
    return -(log_q.exp() @ log_p) * step - log_scale - HALF_LOG_TWO_PI - 0.5
