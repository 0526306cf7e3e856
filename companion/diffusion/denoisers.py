r"""Denoisers: modules that guess x from z_t = √ᾱ_t x + √(1 − ᾱ_t) ε and log SNR_t.

A denoiser maps z (…, D) and log SNR (…) to a guess x̂ (…, D). It knows no schedule and no T: one
denoiser serves them all. The best guess in squared error is E[x | z_t], which is known exactly for
Gaussian data and for a finite list of points.
"""

from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from companion._checks import check_covariance
from companion.conditionals import LinearGaussianConditional, per_row
from companion.diffusion.schedule import Schedule, alpha_sigma, check_levels, reverse_coefficients

TIME_FEATURES: Final = 8
"""Numbers that `time_features` makes of a log SNR."""


def time_features(log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch features"]:
    r"""Return cos(k π (log SNR + 10) / 20) for k = 1 … 8: what a network is told of the noise.

    They tell levels apart for log SNR between −10 and 10.
    """
    k = torch.arange(1, TIME_FEATURES + 1, dtype=log_snr.dtype, device=log_snr.device)
    return torch.cos(k * torch.pi * (log_snr[..., None] + 10) / 20)


@final
class NoiseDenoiser(nn.Module):
    r"""Denoiser made of a network that predicts the noise ε in z_t = √ᾱ_t x + √(1 − ᾱ_t) ε.

        x̂ = (z_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t,   ε̂ = net(z_t, features of log SNR_t)

    Args:
        net: Maps (rows, D + TIME_FEATURES) to (rows, D), such as ``mlp(D + TIME_FEATURES, 64, D)``.

    >>> from companion.conditionals import mlp
    >>> denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 16, 2))
    >>> denoiser(torch.zeros(5, 2), torch.zeros(5)).shape
    torch.Size([5, 2])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Final = net

    def noise(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return ε̂ for each row."""
        return per_row(self.net, z, time_features(log_snr))

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

    >>> denoiser = GaussianDenoiser(torch.zeros(2), torch.diag(torch.tensor([3.0, 1.0])))
    >>> denoiser(torch.ones(1, 2), torch.zeros(1))       # ᾱ = ½
    tensor([[1.0607, 0.7071]])
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor

    def __init__(self, mean: Float[Tensor, " D"], covariance: Float[Tensor, "D D"]) -> None:
        super().__init__()
        check_covariance(covariance, "covariance", len(mean), like=mean)
        values, vectors = torch.linalg.eigh(covariance)
        self.register_buffer("mean", mean)
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return E[x | z] for each row of z, given its log SNR."""
        alpha, sigma = alpha_sigma(log_snr)
        centred = (z - alpha * self.mean) @ self.vectors
        return self.mean + (self._gain(alpha, sigma) * centred) @ self.vectors.mT

    def covariance(self, log_snr: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch D D"]:
        """Return Cov[x | z], the same for every z."""
        alpha, sigma = alpha_sigma(log_snr)
        left = self.values / (1 + (alpha / sigma).square() * self.values)
        covariance = (self.vectors * left[..., None, :]) @ self.vectors.mT
        return 0.5 * (covariance + covariance.mT)

    def decoders(
        self, schedule: Schedule, reverse_variance: Float[Tensor, " steps"] | None = None
    ) -> list[LinearGaussianConditional]:
        r"""Return the exact p(x | z_1), p(z_1 | z_2), …, p(z_{T−1} | z_T): linear and Gaussian.

        Args:
            schedule: Of the noise.
            reverse_variance: Variances, for t = 2 … T, to put in place of the exact covariances:
                (T − 1,).
        """
        t = torch.arange(1, schedule.num_steps + 1)
        coefficients = reverse_coefficients(schedule, t - 1, t)
        of_z, of_x, known = (c.to(self.mean)[:, None, None] for c in coefficients)
        log_snr = schedule.log_snr.to(self.mean)
        alpha, sigma = alpha_sigma(log_snr)
        eye = torch.ones_like(self.mean).diag()
        gain = (self.vectors * self._gain(alpha, sigma)[:, None]) @ self.vectors.mT
        weight = of_z * eye + of_x * gain
        bias = of_x[..., 0] * (self.mean - alpha * (gain @ self.mean))
        covariance = known * eye + of_x.square() * self.covariance(log_snr)
        if reverse_variance is not None:
            covariance[1:] = reverse_variance.to(self.mean)[:, None, None] * eye
        parts = zip(weight, bias, covariance, strict=True)
        return [LinearGaussianConditional(w, b, (c + c.mT) / 2) for w, b, c in parts]

    def reverse_covariance(self, schedule: Schedule) -> Float[Tensor, "steps D D"]:
        r"""Return Cov[z_{t−1} | z_t] for t = 2 … T: (T − 1, D, D).

            β̃_t I + (√ᾱ_{t−1} β_t / (1 − ᾱ_t))² Cov[x | z_t]

        The first part is the spread of q(z_{t−1} | z_t, x) for a known x, the second what z_t
        leaves unknown of x. With this denoiser's mean it makes p(z_{t−1} | z_t) exact.
        """
        tril = torch.stack([p.scale_tril for p in self.decoders(schedule)[1:]])
        return tril @ tril.mT

    def _gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return what each direction of z is multiplied by in E[x | z]."""
        return alpha * self.values / (alpha.square() * self.values + sigma.square())

    def marginal(self, schedule: Schedule, t: int) -> MultivariateNormal:
        """Return q(z_t) = N(√ᾱ_t m, ᾱ_t S + (1 − ᾱ_t) I), the law of z_t over the data."""
        check_levels(schedule, 0, t)
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

    >>> denoiser = DataDenoiser(torch.tensor([[-1.0], [1.0]]))
    >>> denoiser(torch.tensor([[0.0], [5.0]]), torch.zeros(2))
    tensor([[0.0000],
            [1.0000]])
    """

    data: Tensor

    def __init__(self, data: Float[Tensor, "N D"]) -> None:
        super().__init__()
        self.register_buffer("data", data)

    def log_weight(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch N"]:
        """Return log q(x = x_n | z) for each point of the list."""
        alpha, sigma = alpha_sigma(log_snr)
        # ‖z‖² is the same for all points and cancels in the softmax.
        product = alpha * (z @ self.data.mT) - 0.5 * alpha.square() * self.data.square().sum(-1)
        return (product / sigma.square()).log_softmax(-1)

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return E[x | z] for each row of z, given its log SNR."""
        return self.log_weight(z, log_snr).exp() @ self.data
