r"""Denoisers: modules that guess x from z_t = √ᾱ_t x + √(1 − ᾱ_t) ε and log SNR_t.

A denoiser maps z (…, D) and log SNR (…) to a guess x̂ (…, D). It knows no schedule and no T: one
denoiser serves them all. The best guess in squared error is E[x | z_t], which is known exactly for
Gaussian data and for a finite list of points.
"""

from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from companion.conditionals import LinearGaussianConditional
from companion.schedule import (
    Schedule,
    alpha_sigma,
    require_levels,
    require_schedule,
    reverse_coefficients,
)
from companion.validation import require_data, require_module, require_tensor

__all__ = [
    "TIME_FEATURES",
    "DataDenoiser",
    "GaussianDenoiser",
    "GaussianPrior",
    "NoiseDenoiser",
    "time_features",
]

TIME_FEATURES: Final = 8
"""Numbers that `time_features` makes of a log SNR."""


def time_features(log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch features"]:
    r"""Return cos(k π (log SNR + 10) / 20) for k = 1 … 8: what a network is told of the noise.

    They tell levels apart for log SNR between −10 and 10.
    """
    k = torch.arange(1, TIME_FEATURES + 1, dtype=log_snr.dtype)
    return torch.cos(k * torch.pi * (log_snr[..., None] + 10) / 20)


@final
class NoiseDenoiser(nn.Module):
    r"""Denoiser made of a network that predicts the noise ε in z_t = √ᾱ_t x + √(1 − ᾱ_t) ε.

        x̂ = (z_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t,   ε̂ = net(z_t, features of log SNR_t)

    Args:
        net: Maps (…, D + TIME_FEATURES) to (…, D), such as ``mlp(D + TIME_FEATURES, 64, D)``.

    Raises:
        TypeError: net is no module.

    >>> from companion.conditionals import mlp
    >>> denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 16, 2))
    >>> denoiser(torch.zeros(5, 2), torch.zeros(5)).shape
    torch.Size([5, 2])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Final = require_module(net, "net", "build one with mlp(sizes)")

    def noise(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return ε̂ for each row.

        Raises:
            ValueError: z does not fit the network, or the network gives another size.
        """
        _require_log_snr(z, log_snr)
        try:
            out: Tensor = self.net(torch.cat([z, time_features(log_snr)], dim=-1))
        except RuntimeError as error:
            if "mat1 and mat2" not in str(error):
                raise
            raise ValueError(
                f"z of shape {tuple(z.shape)} and {z.dtype} does not fit the network ({error}); "
                f"build it for {z.shape[-1]} inputs and {TIME_FEATURES} time features"
            ) from None
        if out.shape != z.shape:
            raise ValueError(
                f"net must return the noise in z, shape {tuple(z.shape)}, got {tuple(out.shape)}; "
                f"give it {z.shape[-1]} outputs"
            )
        return out

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return x̂ for each row of z, given its log SNR."""
        alpha, sigma = alpha_sigma(log_snr)
        return (z - sigma * self.noise(z, log_snr)) / alpha


@final
class GaussianDenoiser(nn.Module):
    r"""The ideal denoiser E[x | z_t] of Gaussian data x ~ N(m, S): exact, nothing is trained.

    With S = U diag(s) Uᵀ, each direction is shrunk by itself:

        E[x | z_t]   = m + U diag(√ᾱ s / (ᾱ s + 1 − ᾱ)) Uᵀ (z_t − √ᾱ m)
        Cov[x | z_t] = U diag(s (1 − ᾱ) / (ᾱ s + 1 − ᾱ)) Uᵀ

    Args:
        mean: m, (D,).
        covariance: S, (D, D), symmetric and positive definite.

    Raises:
        ValueError: The shapes disagree, or S is not symmetric and positive definite.
        TypeError: One of them is no floating-point tensor, or their dtypes differ.

    >>> denoiser = GaussianDenoiser(torch.zeros(2), torch.diag(torch.tensor([3.0, 1.0])))
    >>> denoiser(torch.ones(1, 2), torch.zeros(1))       # ᾱ = ½
    tensor([[1.0607, 0.7071]])
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor

    def __init__(self, mean: Float[Tensor, " D"], covariance: Float[Tensor, "D D"]) -> None:
        super().__init__()
        _require_gaussian(mean, covariance)
        values, vectors = torch.linalg.eigh(covariance)
        self.register_buffer("mean", mean)
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return E[x | z] for each row of z, given its log SNR."""
        _require_z(z, self.mean)
        alpha, sigma = alpha_sigma(log_snr)
        gain = alpha * self.values / (alpha.square() * self.values + sigma.square())
        centred = (z - alpha * self.mean) @ self.vectors
        return self.mean + (gain * centred) @ self.vectors.mT

    def covariance(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch D D"]:
        """Return Cov[x | z], the same for every z."""
        alpha, sigma = alpha_sigma(log_snr)
        left = self.values / (1 + (alpha / sigma).square() * self.values)
        covariance = (self.vectors * left[..., None, :]) @ self.vectors.mT
        return 0.5 * (covariance + covariance.mT)

    def decoder(self, schedule: Schedule) -> LinearGaussianConditional:
        """Return the exact p(x | z_1) as a conditional."""
        require_schedule(schedule)
        log_snr = schedule.log_snr[0].to(self.mean)
        alpha, sigma = alpha_sigma(log_snr)
        gain = alpha * self.values / (alpha.square() * self.values + sigma.square())
        weight = (self.vectors * gain) @ self.vectors.mT
        bias = self.mean - weight @ (alpha * self.mean)
        return LinearGaussianConditional(weight, bias, self.covariance(log_snr))

    def reverse_covariance(self, schedule: Schedule) -> Float[Tensor, "steps D D"]:
        r"""Return Cov[z_{t−1} | z_t] for t = 2 … T: (T − 1, D, D).

            β̃_t I + (√ᾱ_{t−1} β_t / (1 − ᾱ_t))² Cov[x | z_t]

        The first part is the spread of q(z_{t−1} | z_t, x) for a known x, the second what z_t
        leaves unknown of x. With this denoiser's mean it makes p(z_{t−1} | z_t) exact.
        """
        t = torch.arange(2, schedule.num_levels + 1)
        _, of_x, variance = (c.to(self.mean) for c in reverse_coefficients(schedule, t - 1, t))
        unknown = self.covariance(schedule.log_snr[1:].to(self.mean))
        known = variance[:, None, None] * torch.eye(len(self.mean)).to(self.mean)
        covariance = known + of_x.square()[:, None, None] * unknown
        return 0.5 * (covariance + covariance.mT)

    def marginal(self, schedule: Schedule, t: int) -> MultivariateNormal:
        """Return q(z_t) = N(√ᾱ_t m, ᾱ_t S + (1 − ᾱ_t) I), the law of z_t over the data.

        Raises:
            ValueError: The level is out of range.
        """
        require_levels(schedule, 0, t)
        alpha, sigma = alpha_sigma(schedule.log_snr[t - 1].to(self.mean))
        variances = alpha.square() * self.values + sigma.square()
        covariance = (self.vectors * variances) @ self.vectors.mT
        return MultivariateNormal(alpha * self.mean, 0.5 * (covariance + covariance.mT))


@final
class DataDenoiser(nn.Module):
    r"""The ideal denoiser E[x | z_t] when x is drawn from a finite list of points: exact.

    The posterior over the points is a softmax, which is taken in log space:

        E[x | z_t] = Σ_n w_n x_n,   w = softmax_n(−‖z_t − √ᾱ x_n‖² / 2(1 − ᾱ))

    A model with this denoiser draws the points of its list and nothing else.

    Args:
        data: The points x_n, (N, D).

    Raises:
        ValueError: data is no finite matrix.
        TypeError: data is no floating-point tensor.

    >>> denoiser = DataDenoiser(torch.tensor([[-1.0], [1.0]]))
    >>> denoiser(torch.tensor([[0.0], [5.0]]), torch.zeros(2))
    tensor([[0.0000],
            [1.0000]])
    """

    data: Tensor

    def __init__(self, data: Float[Tensor, "N D"]) -> None:
        super().__init__()
        self.register_buffer("data", require_data(data, "data"))

    def log_weight(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch N"]:
        """Return log q(x = x_n | z) for each point of the list."""
        _require_z(z, self.data)
        alpha, sigma = alpha_sigma(log_snr)
        # ‖z‖² is the same for all points and cancels in the softmax.
        product = alpha * (z @ self.data.mT) - 0.5 * alpha.square() * self.data.square().sum(-1)
        return (product / sigma.square()).log_softmax(-1)

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return E[x | z] for each row of z, given its log SNR."""
        return self.log_weight(z, log_snr).exp() @ self.data


@final
class GaussianPrior(nn.Module):
    """The prior N(m, C) with constant mean and covariance; its forward takes nothing.

    Args:
        mean: m, (d,).
        covariance: C, (d, d), symmetric and positive definite.

    Raises:
        ValueError: The shapes disagree, or C is not symmetric and positive definite.
        TypeError: One of them is no floating-point tensor, or their dtypes differ.

    >>> GaussianPrior(torch.zeros(2), torch.eye(2))().event_shape
    torch.Size([2])
    """

    mean: Tensor
    scale_tril: Tensor

    def __init__(self, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> None:
        super().__init__()
        _require_gaussian(mean, covariance)
        self.register_buffer("mean", mean)
        self.register_buffer("scale_tril", torch.linalg.cholesky(covariance))

    def forward(self) -> Distribution:
        """Return the distribution: no batch, event (d,)."""
        return MultivariateNormal(self.mean, scale_tril=self.scale_tril)


def _require_z(z: Tensor, like: Tensor) -> None:
    """Raise unless z has the width and dtype of what the denoiser holds."""
    # Nothing here looks at values, so that an ensemble can map over them.
    if not isinstance(z, Tensor) or z.dtype != like.dtype:
        raise TypeError(
            f"z must be a tensor of {like.dtype}, as the denoiser's data, got "
            f"{z.dtype if isinstance(z, Tensor) else type(z).__name__}; convert one of them"
        )
    if z.shape[-1:] != like.shape[-1:]:
        raise ValueError(
            f"z must have {like.shape[-1]} columns, as the denoiser's data, got shape "
            f"{tuple(z.shape)}"
        )


def _require_log_snr(z: Tensor, log_snr: Tensor) -> None:
    """Raise unless there is one log SNR for each row of z."""
    if not isinstance(z, Tensor) or not isinstance(log_snr, Tensor):
        raise TypeError(
            f"z and log_snr must be torch tensors, got {type(z).__name__} and "
            f"{type(log_snr).__name__}; convert them with torch.as_tensor"
        )
    if log_snr.shape != z.shape[:-1]:
        raise ValueError(
            f"log_snr must hold one number for each row of z, shape {tuple(z.shape[:-1])}, got "
            f"{tuple(log_snr.shape)}; use log_snr.expand(z.shape[:-1])"
        )


def _require_gaussian(mean: Tensor, covariance: Tensor) -> None:
    """Raise unless the mean is a vector and the covariance goes with it."""
    require_tensor(mean, "mean", axes=1)
    require_tensor(covariance, "covariance", axes=2, dtype=mean.dtype)
    if covariance.shape != (len(mean), len(mean)):
        raise ValueError(
            f"mean (D,) and covariance (D, D) disagree: got {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}"
        )
    if torch.linalg.cholesky_ex(covariance).info or not torch.allclose(covariance, covariance.mT):
        raise ValueError(
            f"covariance must be symmetric and positive definite, got {covariance.tolist()}; add a "
            f"small multiple of the identity, or check its construction"
        )
