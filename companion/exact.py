"""Models with every integral known: the truth that estimates are compared with.

`LinearGaussian` and `DiscreteModel` know p(x), p(z | x), the ELBO of any q and its gap in closed
form; so does `LinearGaussianChain`, from `companion.chain`, for a hierarchy.
`log_marginal_quadrature` and `elbo_quadrature` integrate any decoder over a latent space of one or
two dimensions; `arch` is a nonlinear model to try them on. `optimal_decoder` is the best decoder of
a given encoder. Work in float64 where an identity must hold to rounding.
"""

import math
from itertools import product
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from companion.chain import LinearGaussianChain as LinearGaussianChain
from companion.chain import chain_joint
from companion.conditionals import (
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.models import VAE
from companion.validation import require_count, require_data, require_positive, require_tensor

__all__ = [
    "DiscreteModel",
    "LinearGaussian",
    "arch",
    "elbo_quadrature",
    "gaussian_joint",
    "latent_grid",
    "log_marginal_quadrature",
    "optimal_decoder",
    "optimal_linear_vae",
]

GRID_NUMBERS: Final = 2**22


class LinearGaussian:
    r"""Probabilistic PCA: z ~ N(0, I), x | z ~ N(W z + b, σ² I).

    Everything about it is Gaussian and known:

        p(x)     = N(b, W Wᵀ + σ² I)
        p(z | x) = N(Σ Wᵀ (x − b) / σ², Σ),   Σ = (I + Wᵀ W / σ²)⁻¹

    Args:
        weight: W, (D, d).
        bias: b, (D,).
        scale: Standard deviation σ > 0 of the noise on x.

    Raises:
        ValueError: The shapes disagree, an entry is not finite, or scale is not positive.
        TypeError: weight or bias is no floating-point tensor, or their dtypes differ.

    Reference: M. E. Tipping and C. M. Bishop, "Probabilistic Principal Component Analysis",
    Journal of the Royal Statistical Society B 61(3), 1999,
    https://doi.org/10.1111/1467-9868.00196.

    >>> exact = LinearGaussian(torch.tensor([[2.0], [0.0]]), torch.zeros(2), scale=1.0)
    >>> exact.marginal().covariance_matrix
    tensor([[5., 0.],
            [0., 1.]])
    """

    def __init__(
        self, weight: Float[Tensor, "D d"], bias: Float[Tensor, " D"], scale: float
    ) -> None:
        require_tensor(weight, "weight", axes=2)
        require_tensor(bias, "bias", axes=1, dtype=weight.dtype)
        if bias.shape != weight.shape[:1]:
            raise ValueError(
                f"weight (D, d) and bias (D,) disagree: got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}"
            )
        self.weight: Final = weight
        self.bias: Final = bias
        self.scale: Final = require_positive(scale, "scale")
        eye = torch.eye(weight.shape[1], dtype=weight.dtype)
        inverse = torch.linalg.inv_ex(eye + weight.mT @ weight / scale**2)
        if inverse.info:
            raise ValueError(self._scale_is_lost())
        self._posterior_covariance = inverse.inverse

    def prior(self) -> Distribution:
        """Return p(z) = N(0, I): event (d,)."""
        zeros = self.weight.new_zeros(self.weight.shape[1])
        return Independent(Normal(zeros, torch.ones_like(zeros)), 1)

    def likelihood(self, z: Float[Tensor, "*batch d"]) -> Distribution:
        """Return p(x | z) = N(W z + b, σ² I): batch (…), event (D,).

        Raises:
            ValueError: z has another size than W has columns.
            TypeError: z is no tensor of W's dtype.
        """
        require_tensor(z, "z", dtype=self.weight.dtype)
        d = self.weight.shape[1]
        if z.shape[-1:] != (d,):
            raise ValueError(f"z must have {d} columns, as W has, got shape {tuple(z.shape)}")
        mean = z @ self.weight.mT + self.bias
        return Independent(Normal(mean, torch.full_like(mean, self.scale)), 1)

    def marginal(self) -> MultivariateNormal:
        """Return p(x) = N(b, W Wᵀ + σ² I): event (D,).

        Raises:
            ValueError: σ² is lost beside W Wᵀ in this dtype, so that the covariance is singular.
        """
        noise = self.scale**2 * torch.eye(len(self.bias), dtype=self.bias.dtype)
        covariance = self.weight @ self.weight.mT + noise
        if torch.linalg.cholesky_ex(covariance).info:
            raise ValueError(self._scale_is_lost())
        return MultivariateNormal(self.bias, covariance)

    def posterior(self, x: Float[Tensor, "B D"]) -> MultivariateNormal:
        """Return p(z | x) for each row of x: batch (B,), event (d,)."""
        self._data(x)
        covariance = self._posterior_covariance
        mean = (x - self.bias) @ self.weight @ covariance / self.scale**2
        return MultivariateNormal(mean, covariance)

    def log_marginal(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return log p(x) in nats, (B,)."""
        return self.marginal().log_prob(self._data(x))

    def elbo(self, x: Float[Tensor, "B D"], q: Distribution) -> Float[Tensor, " B"]:
        r"""Return the exact ELBO of a Gaussian q(z | x), in nats, (B,).

            E_q[log p(x | z)] = −D/2 log 2πσ² − (‖x − W m − b‖² + tr(W S Wᵀ)) / 2σ²
            −KL(q ‖ p(z))     = −½ (tr S + ‖m‖² − d − log det S)

        Args:
            x: Data, (B, D).
            q: N(m, S) with batch (B,) or (), event (d,): a ``MultivariateNormal`` or an
                ``Independent`` ``Normal``.

        Raises:
            ValueError: q has another shape.
            TypeError: q is no Gaussian.
        """
        self._data(x)
        covariance = _covariance(q)
        d = self.weight.shape[1]
        if q.event_shape != (d,) or q.batch_shape not in ((), (len(x),)):
            raise ValueError(
                f"q must have batch ({len(x)},), as x has, and event ({d},), got batch "
                f"{tuple(q.batch_shape)} and event {tuple(q.event_shape)}"
            )
        residual = x - q.mean @ self.weight.mT - self.bias
        spread = ((self.weight @ covariance) * self.weight).sum((-2, -1))
        log_norm = len(self.bias) * math.log(2 * math.pi * self.scale**2)
        reconstruction = -0.5 * (log_norm + (residual.square().sum(-1) + spread) / self.scale**2)
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        kl = 0.5 * (trace + q.mean.square().sum(-1) - d - torch.logdet(covariance))
        return reconstruction - kl

    def gap(self, x: Float[Tensor, "B D"], q: Distribution) -> Float[Tensor, " B"]:
        """Return KL(q(z | x) ‖ p(z | x)) of a Gaussian q, for each row of x, in nats.

        Args:
            x: Data, (B, D).
            q: As `elbo` takes it.

        Raises:
            TypeError: q is no Gaussian.
        """
        return kl_divergence(MultivariateNormal(q.mean, _covariance(q)), self.posterior(x))

    def vae(self, encoder: nn.Module | None = None) -> VAE:
        """Return this model as a `VAE`, with the given encoder or else the exact posterior.

        Its decoder holds W and b as parameters, so that it can also be trained.
        """
        size, d = self.weight.shape
        net = nn.Linear(d, size, dtype=self.weight.dtype)
        with torch.no_grad():
            net.weight.copy_(self.weight)
            net.bias.copy_(self.bias)
        if encoder is None:
            gain = self._posterior_covariance @ self.weight.mT / self.scale**2
            encoder = LinearGaussianConditional(gain, -gain @ self.bias, self._posterior_covariance)
        decoder = GaussianConditional(net, scale=self.scale)
        return VAE(encoder, decoder, StandardNormal(d)).to(self.weight.dtype)

    def _scale_is_lost(self) -> str:
        """Return what to say where σ² cannot be told from rounding errors of W Wᵀ."""
        return (
            f"scale = {self.scale} is too small beside W for {self.weight.dtype}; pass weight and "
            f"bias in torch.float64, or a larger scale"
        )

    def _data(self, x: Tensor) -> Tensor:
        """Return x after a check that it is data of this model."""
        return require_data(x, features=len(self.bias), dtype=self.weight.dtype)


def optimal_linear_vae(
    x: Float[Tensor, "N D"], d: int, *, scale: float, beta: float = 1.0
) -> tuple[LinearGaussian, LinearGaussianConditional]:
    r"""Return the linear decoder and the encoder that together maximise the mean β-ELBO of x.

    For a decoder of fixed scale σ, weighting the KL by β moves decoder and encoder as a noise
    variance of βσ² would. With λ_j, u_j the eigenvalues and eigenvectors of the covariance of x
    (divisor N), largest first:

        b = mean of x,   W = [u_1 … u_d] diag √max(0, λ_j − βσ²)
        q(z | x) = posterior of z ~ N(0, I), x | z ~ N(W z + b, βσ² I)

    No other encoder, linear or not, does better. The mean rate of unit j over the data is
    max(0, ½ log λ_j / βσ²).

    Args:
        x: Data, (N, D).
        d: Number of latent units, at most D.
        scale: Standard deviation σ > 0 of the decoder's noise.
        beta: Weight β > 0 of the KL term; 1 is the ELBO, and then q is the exact posterior.

    Returns:
        The model p(z) p(x | z), and its encoder.

    Raises:
        ValueError: d is below 1 or above D, scale or beta is not positive, or x is bad data.
        TypeError: d is no whole number.

    Reference: J. Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on Posterior
    Collapse", NeurIPS 2019, https://arxiv.org/abs/1911.02469.

    >>> x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> exact, encoder = optimal_linear_vae(x, 1, scale=1.0)
    >>> exact.weight.abs()              # λ = 2 and ½
    tensor([[1.],
            [0.]])
    """
    require_data(x)
    if require_count(d, "d") > x.shape[1]:
        raise ValueError(f"d must be at most the {x.shape[1]} columns of x, got {d}")
    noise = math.sqrt(require_positive(beta, "beta")) * require_positive(scale, "scale")
    values, vectors = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    top = (values.flip(0)[:d] - noise**2).clamp(min=0).sqrt()
    weight, bias = vectors.flip(1)[:, :d] * top, x.mean(0)
    encoder = LinearGaussian(weight, bias, noise).vae().encoder
    assert isinstance(encoder, LinearGaussianConditional)
    return LinearGaussian(weight, bias, scale), encoder


class DiscreteModel:
    r"""A model of two finite variables, given by its tables: every integral is a sum.

    z takes values 0 … Z − 1 and x takes values 0 … X − 1. An encoder is a table too: row x of q
    holds q(z | x).

    Args:
        prior: p(z), (Z,).
        likelihood: p(x | z), (Z, X); each row sums to one.

    Raises:
        ValueError: A table has the wrong shape, negative entries, or rows that do not sum to one.
        TypeError: A table is no floating-point tensor.

    >>> model = DiscreteModel(torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    >>> model.log_marginal().exp()
    tensor([0.5500, 0.4500])
    """

    def __init__(self, prior: Float[Tensor, " Z"], likelihood: Float[Tensor, "Z X"]) -> None:
        require_tensor(prior, "prior", axes=1)
        require_tensor(likelihood, "likelihood", axes=2)
        if len(prior) != len(likelihood):
            raise ValueError(
                f"prior (Z,) and likelihood (Z, X) disagree: got {tuple(prior.shape)} and "
                f"{tuple(likelihood.shape)}"
            )
        self.prior: Final = _require_rows(prior, "prior")
        self.likelihood: Final = _require_rows(likelihood, "likelihood")

    def log_joint(self) -> Float[Tensor, "X Z"]:
        """Return log p(x, z), one row for each x."""
        return (self.prior.log()[:, None] + self.likelihood.log()).mT

    def log_marginal(self) -> Float[Tensor, " X"]:
        """Return log p(x) = log Σ_z p(x, z), for each x."""
        return self.log_joint().logsumexp(-1)

    def posterior(self) -> Float[Tensor, "X Z"]:
        """Return p(z | x) = p(x, z) / p(x), one row for each x."""
        return self.log_joint().softmax(-1)

    def reconstruction(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return E_q[log p(x | z)] for each x, in nats."""
        return torch.xlogy(self._encoder(q), self.likelihood.mT).sum(-1)

    def rate(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return KL(q(z | x) ‖ p(z)) for each x, in nats."""
        return _kl(self._encoder(q), self.prior)

    def elbo(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return Σ_z q(z | x) log[p(x, z) / q(z | x)] for each x, in nats."""
        return self.reconstruction(q) - self.rate(q)

    def gap(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return KL(q(z | x) ‖ p(z | x)) for each x, in nats."""
        return _kl(self._encoder(q), self.posterior())

    def iwae_bound(self, q: Float[Tensor, "X Z"], num_samples: int) -> Float[Tensor, " X"]:
        r"""Return E[log 1/K Σ_k p(x, z_k) / q(z_k | x)] exactly, by going through all Z^K draws.

        Args:
            q: Encoder table, (X, Z).
            num_samples: K.

        Raises:
            ValueError: Z^K is above a million.
        """
        require_count(num_samples, "num_samples")
        q = self._encoder(q)
        if len(self.prior) ** num_samples > 1_000_000:
            raise ValueError(
                f"num_samples = {num_samples} needs {len(self.prior)}^{num_samples} terms; "
                f"pass fewer samples or a model with fewer values of z"
            )
        draws = torch.tensor(list(product(range(len(self.prior)), repeat=num_samples)))
        probability = q[:, draws].prod(-1)
        # A draw of probability zero has an infinite weight; it must count as nothing.
        log_weight = torch.where(q > 0, self.log_joint() - q.log(), -math.inf)
        bound = log_weight[:, draws].logsumexp(-1) - math.log(num_samples)
        return torch.where(probability > 0, probability * bound, 0.0).sum(-1)

    def _encoder(self, q: Tensor) -> Tensor:
        """Return q after a check that it is an encoder's table for this model."""
        require_tensor(q, "q")
        expected = self.likelihood.mT.shape
        if q.shape != expected:
            raise ValueError(
                f"q must have shape {tuple(expected)}, one row q(z | x) for each x, got "
                f"{tuple(q.shape)}; a table of p(x | z) has its axes the other way round"
            )
        return _require_rows(q, "q")


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

    Raises:
        ValueError: scale is not positive, or the encoder has other sizes.

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


@torch.no_grad()
def optimal_decoder(
    q: Distribution, x: Float[Tensor, "N D"], z: Float[Tensor, "M d"], chunk_size: int = 1024
) -> Float[Tensor, "M D"]:
    r"""Return the decoder mean that is best for a given encoder: the mean of x given z.

        μ*(z) = E[x | z] = Σ_n q(z | x_n) x_n / Σ_n q(z | x_n)

    For x uniform on the rows given it minimises E‖x − μ(z)‖², and so maximises the mean ELBO of a
    Gaussian decoder of fixed scale, whatever that scale is. The weights are computed as a softmax
    of log-densities, so they stay right where every density underflows.

    Args:
        q: The encoder's distributions of the N data points: batch (N,), event (d,).
        x: The same data points, (N, D).
        z: Codes to decode, (M, d).
        chunk_size: Rows of z at once; memory is N · chunk_size · d numbers.

    Returns:
        μ*(z), (M, D), without gradient.

    Raises:
        ValueError: q has not one distribution for each row of x, z another size than its event, or
            chunk_size is below 1.
        TypeError: x or z is no floating-point tensor, or their dtypes differ.

    Reference: E. A. Nadaraya, "On Estimating Regression", Theory of Probability and Its
    Applications 9(1), 1964, https://doi.org/10.1137/1109020: the same weighted mean.

    >>> q = Independent(Normal(torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1)), 1)
    >>> x = torch.tensor([[0.0, 8.0], [4.0, 0.0]])
    >>> optimal_decoder(q, x, torch.tensor([[0.0], [500.0]]))
    tensor([[2., 4.],
            [4., 0.]])
    """
    if not isinstance(q, Distribution):
        raise TypeError(
            f"q must be a distribution of codes, got {type(q).__name__}; pass encoder(x) of this x"
        )
    require_data(x, dtype=q.mean.dtype)
    if q.batch_shape != x.shape[:1] or len(q.event_shape) != 1:
        raise ValueError(
            f"q must have batch ({len(x)},), as x has rows, and event (d,), got batch "
            f"{tuple(q.batch_shape)} and event {tuple(q.event_shape)}; pass encoder(x) of this x"
        )
    require_data(z, "z", features=q.event_shape[0], dtype=x.dtype)
    chunks = z.split(require_count(chunk_size, "chunk_size"))
    return torch.cat([q.log_prob(chunk[:, None]).softmax(dim=1) @ x for chunk in chunks])


def gaussian_joint(
    marginal: MultivariateNormal, conditional: LinearGaussianConditional
) -> MultivariateNormal:
    r"""Return the joint of (u, v) where u ~ N(m, C) and v | u ~ N(W u + b, Σ).

        mean (m, W m + b),   covariance ( C     C Wᵀ       )
                                        ( W C   W C Wᵀ + Σ )

    Args:
        marginal: Of u, event (k,).
        conditional: Of v given u.

    Raises:
        ValueError: u has another size than W has columns.

    >>> u = MultivariateNormal(torch.zeros(1), torch.eye(1))
    >>> v = LinearGaussianConditional(torch.tensor([[2.0]]), torch.ones(1), 0.5 * torch.eye(1))
    >>> gaussian_joint(u, v).covariance_matrix
    tensor([[1.0000, 2.0000],
            [2.0000, 4.5000]])
    """
    return chain_joint(marginal, [conditional]).marginal()


def latent_grid(
    d: int, num_points: int = 2001, bound: float = 10.0, dtype: torch.dtype = torch.float64
) -> tuple[Float[Tensor, "N d"], float]:
    """Return a regular grid over [−bound, bound]^d and the logarithm of its cell's volume.

    A sum over the grid times the cell is the trapezoid rule for a function that vanishes at the
    edges, whose error then falls faster than any power of the step.

    Args:
        d: Latent dimension, 1 or 2.
        num_points: Points along each axis.
        bound: Half-width, in standard deviations of the prior.
        dtype: Of the grid.

    Raises:
        ValueError: d is neither 1 nor 2, num_points below 2, or bound not positive.
    """
    if d not in (1, 2):
        raise ValueError(f"d must be 1 or 2, got {d}; a grid in {d} dimensions is too large")
    require_count(num_points, "num_points", minimum=2)
    axis = torch.linspace(-1, 1, num_points, dtype=dtype) * require_positive(bound, "bound")
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    return grid, d * math.log(2 * bound / (num_points - 1))


def require_vae(model: object) -> None:
    """Raise unless the model is a VAE: with more levels a grid would not hold them."""
    if not isinstance(model, VAE):
        raise TypeError(
            f"model must be a VAE, got {type(model).__name__}; a grid holds one level: use "
            f"companion.objectives.log_marginal for a hierarchy"
        )


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

    Raises:
        ValueError: d > 2, or a bad grid; and for bad data.
    """
    require_vae(model)
    require_data(x, features=model.features)
    prior = model.prior()
    grid, log_cell = latent_grid(prior.event_shape[0], num_points, bound, x.dtype)
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
        q: ``Independent`` ``Normal`` with batch (B,) or (…, B), event (d,).
        num_points: Points along each latent axis.
        bound: Half-width of the grid, in standard deviations of q.

    Returns:
        The ELBO in nats, of the batch shape of q.

    Raises:
        TypeError: q is no Gaussian with diagonal covariance.
        ValueError: d > 2, or a bad grid; and for bad data.
    """
    require_data(x, features=model.features)
    if not (isinstance(q, Independent) and isinstance(q.base_dist, Normal)):
        raise TypeError(
            f"q must be an Independent Normal, got {type(q).__name__}; for another q estimate "
            "with companion.objectives.elbo"
        )
    d = q.event_shape[0]
    grid, log_cell = latent_grid(d, num_points, bound, x.dtype)
    noise = Normal(torch.zeros_like(grid), torch.ones_like(grid))
    weight = (noise.log_prob(grid).sum(-1) + log_cell).exp()
    z = q.mean + q.stddev * grid.reshape(-1, *[1] * len(q.batch_shape), d)
    log_weight = model.decoder(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
    return torch.tensordot(weight, log_weight, dims=1)


def _covariance(q: Distribution) -> Tensor:
    """Return the covariance matrix of a Gaussian."""
    if isinstance(q, MultivariateNormal):
        return q.covariance_matrix
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
        return torch.diag_embed(q.variance)
    raise TypeError(
        f"q must be a MultivariateNormal or Independent Normal, got {type(q).__name__}; "
        "for another q estimate with companion.objectives.elbo"
    )


def _kl(q: Tensor, p: Tensor) -> Tensor:
    """Return Σ q log(q / p) along the last axis, with 0 log 0 = 0."""
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(-1)


def _require_rows(table: Tensor, name: str) -> Tensor:
    """Return a table whose rows are distributions."""
    ones = torch.ones(table.shape[:-1], dtype=table.dtype)
    if table.min() < 0 or not torch.allclose(table.sum(-1), ones):
        raise ValueError(
            f"{name} must hold probabilities, each row summing to one; its rows sum to "
            f"{table.sum(-1).tolist()} and its least entry is {table.min().item()}: divide by "
            f"{name}.sum(-1, keepdim=True)"
        )
    return table
