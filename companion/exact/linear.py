"""Probabilistic PCA: a linear Gaussian model whose every integral is known."""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from companion._checks import check_number, check_tensor
from companion.conditionals import (
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
)
from companion.distributions import Gaussian, StandardGaussian, diagonal
from companion.models import VAE


class LinearGaussian:
    r"""Probabilistic PCA: z ~ N(0, I), x | z ~ N(W z + b, σ² I).

    Everything about it is Gaussian and known:

        p(x)     = N(b, W Wᵀ + σ² I)
        p(z | x) = N(Σ Wᵀ (x − b) / σ², Σ),   Σ = (I + Wᵀ W / σ²)⁻¹

    Args:
        weight: W, (D, d).
        bias: b, (D,).
        scale: Standard deviation σ > 0 of the noise on x.

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
        check_tensor(bias, "bias", len(weight), like=weight)
        check_number(scale, "scale")
        self.weight: Final = weight
        self.bias: Final = bias
        self.scale: Final = float(scale)
        self._covariance: Final = weight @ weight.mT + scale**2 * torch.eye(len(bias)).to(weight)
        precision = torch.eye(weight.shape[1]).to(weight) + weight.mT @ weight / scale**2
        self._posterior_covariance: Final = torch.cholesky_inverse(torch.linalg.cholesky(precision))

    def prior(self) -> Distribution:
        """Return p(z) = N(0, I): event (d,)."""
        return StandardGaussian(self.weight.new_zeros(self.weight.shape[1]))

    def likelihood(self, z: Float[Tensor, "*batch d"]) -> Distribution:
        """Return p(x | z) = N(W z + b, σ² I): batch (…), event (D,)."""
        logvar = self.weight.new_tensor(2 * math.log(self.scale))
        return Gaussian(z @ self.weight.mT + self.bias, logvar)

    def marginal(self) -> MultivariateNormal:
        """Return p(x) = N(b, W Wᵀ + σ² I): event (D,)."""
        return MultivariateNormal(self.bias, self._covariance)

    def posterior(self, x: Float[Tensor, "B D"]) -> MultivariateNormal:
        """Return p(z | x) for each row of x: batch (B,), event (d,)."""
        check_tensor(x, "x", None, len(self.bias), like=self.weight)
        covariance = self._posterior_covariance
        mean = (x - self.bias) @ self.weight @ covariance / self.scale**2
        return MultivariateNormal(mean, covariance)

    def log_marginal(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return log p(x) in nats, (B,)."""
        return self.marginal().log_prob(x)

    def elbo(self, x: Float[Tensor, "B D"], q: Distribution) -> Float[Tensor, " B"]:
        r"""Return the exact ELBO of a Gaussian q(z | x), in nats, (B,).

            E_q[log p(x | z)] = −D/2 log 2πσ² − (‖x − W m − b‖² + tr(W S Wᵀ)) / 2σ²
            −KL(q ‖ p(z))     = −½ (tr S + ‖m‖² − d − log det S)

        Args:
            x: Data, (B, D).
            q: N(m, S) with batch (B,) or (), event (d,): a ``MultivariateNormal``, a
                `companion.distributions.Gaussian` or an ``Independent`` ``Normal``.
        """
        check_tensor(x, "x", None, len(self.bias), like=self.weight)
        residual = x - q.mean @ self.weight.mT - self.bias
        spread = ((self.weight @ _covariance(q)) * self.weight).sum((-2, -1))
        log_norm = len(self.bias) * math.log(2 * math.pi * self.scale**2)
        reconstruction = -0.5 * (log_norm + (residual.square().sum(-1) + spread) / self.scale**2)
        return reconstruction - kl_divergence(q, self.prior())

    def gap(self, x: Float[Tensor, "B D"], q: Distribution) -> Float[Tensor, " B"]:
        """Return KL(q(z | x) ‖ p(z | x)) of a Gaussian q, for each row of x, in nats.

        Args:
            x: Data, (B, D).
            q: As `elbo` takes it.
        """
        return kl_divergence(q, self.posterior(x))

    def vae(self, encoder: nn.Module | None = None) -> VAE:
        """Return this model as a `VAE`, with the given encoder or else the exact posterior.

        Its decoder holds W and b as parameters, so that it can also be trained.
        """
        size, d = self.weight.shape
        net = nn.Linear(d, size).to(self.weight)
        with torch.no_grad():
            net.weight.copy_(self.weight)
            net.bias.copy_(self.bias)
        if encoder is None:
            gain = self._posterior_covariance @ self.weight.mT / self.scale**2
            encoder = LinearGaussianConditional(gain, -gain @ self.bias, self._posterior_covariance)
        decoder = GaussianConditional(net, scale=self.scale)
        return VAE(encoder, decoder, StandardNormal(d)).to(self.weight)


def _covariance(q: Distribution) -> Tensor:
    """Return the covariance matrix of a Gaussian."""
    if isinstance(q, MultivariateNormal):
        return q.covariance_matrix
    return torch.diag_embed(diagonal(q).variance)
