"""Models with every integral known: the truth that estimates are compared with.

`LinearGaussian`, `DiscreteModel` and, for a hierarchy, `LinearGaussianChain` know p(x), p(z | x),
the ELBO of any q and its gap in closed form. `log_marginal_quadrature` and `elbo_quadrature`
integrate any decoder over a latent space of one or two dimensions. `optimal_decoder` is the best
decoder of a given encoder. Work in float64 where an identity must hold to rounding.
"""

from companion.exact.blocks import Blocks, chain_joint, gaussian_joint
from companion.exact.chain import LinearGaussianChain
from companion.exact.discrete import DiscreteModel
from companion.exact.linear import LinearGaussian
from companion.exact.optimal import optimal_decoder, optimal_linear_vae
from companion.exact.quadrature import (
    arch,
    elbo_quadrature,
    gaussian_floor,
    kl_on_grid,
    latent_grid,
    log_marginal_quadrature,
    posterior_on_grid,
)

__all__ = [
    "Blocks",
    "DiscreteModel",
    "LinearGaussian",
    "LinearGaussianChain",
    "arch",
    "chain_joint",
    "elbo_quadrature",
    "gaussian_floor",
    "gaussian_joint",
    "kl_on_grid",
    "latent_grid",
    "log_marginal_quadrature",
    "optimal_decoder",
    "optimal_linear_vae",
    "posterior_on_grid",
]
