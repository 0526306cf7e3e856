"""Gaussian vectors and binary pixels as ``torch.distributions`` objects, and the KL of Gaussians.

They are what `companion.conditionals` returns. An event is one vector, as for torch's own
``MultivariateNormal``, and a Gaussian keeps what a network gives, the logarithm of its variance:

    Gaussian(mean, logvar).log_prob(z)   # mean (B, d), z (K, B, d) -> (K, B)
"""

import math
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
    kl_divergence,
    register_kl,
)
from torch.nn.functional import logsigmoid

LOG_TWO_PI: Final = math.log(2 * math.pi)


class Gaussian(Distribution):
    """Vector of independent Gaussian units, N(μ, diag σ²), by what a network gives: μ and log σ².

        log N(y; μ, diag σ²) = −½ Σ_j [((y_j − μ_j) / σ_j)² + log σ_j² + log 2π]

    The density takes log σ² as it is: that of a draw is right even where σ underflows.

    Args:
        mean: μ, (…, d).
        logvar: log σ², (…, d), or one number for all units, (…, 1) or ().
    """

    arg_constraints: Final[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, mean: Float[Tensor, "*batch d"], logvar: Float[Tensor, "..."]) -> None:
        self.loc, self.logvar = mean, logvar
        # In float32 10⁻²⁶, lost in rounding beside any usual σ; without it 1 / σ may overflow.
        limits = torch.finfo(mean.dtype)
        self.scale = (0.5 * logvar).exp() + limits.eps * limits.tiny**0.5
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """μ, (…, d)."""
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Tensor:
        """σ, (…, d)."""
        return self.scale.expand_as(self.loc)

    @property
    def variance(self) -> Tensor:
        """σ², (…, d)."""
        return self.stddev.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each vector, in nats."""
        error = (value - self.loc) / self.scale
        squares = torch.addcmul(self.logvar, error, error).sum(-1)
        return -0.5 * (squares + self.event_shape[0] * LOG_TWO_PI)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw μ + σ ε with ε ~ N(0, I)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * torch.randn(
            shape, dtype=self.loc.dtype, device=self.loc.device
        )

    def entropy(self) -> Tensor:
        """Return the entropy of each vector, in nats."""
        return 0.5 * (self.logvar + LOG_TWO_PI + 1).expand_as(self.loc).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Gaussian":
        """Return the same distribution with more batch axes."""
        shape = torch.Size(batch_shape) + self.event_shape
        return Gaussian(self.loc.expand(shape), self.logvar.expand(shape))


class Pixels(Independent[Bernoulli]):
    r"""Independent binary pixels y, 0 or 1, with logits a.

        log p(y) = Σ_j log sigmoid((2 y_j − 1) a_j)

    `Pixels.of` makes them.
    """

    @classmethod
    def of(cls, logits: Float[Tensor, "*batch D"]) -> "Pixels":
        """Make them from logits: batch (…), event (D,)."""
        return cls(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each row of pixels, in nats."""
        return logsigmoid((2 * value - 1) * self.base_dist.logits).sum(-1)


def gaussian_kl(
    mu: Float[Tensor, "*batch d"], logvar: Float[Tensor, "..."]
) -> Float[Tensor, "*batch d"]:
    r"""KL divergence of N(μ, σ²) from N(0, 1), unit by unit: ½ (μ² + σ² − 1 − log σ²).

    With v = log σ² it is computed as ½ (μ² + expm1(v) − v), which rounds off a part of v rather
    than a part of 1 where the KL is small. Sum over the last axis for the KL of the whole vector.

    Args:
        mu: μ, (…, d).
        logvar: log σ², (…, d), or one number for all units, (…, 1).

    Returns:
        Nats per unit, (…, d).

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix B, https://arxiv.org/abs/1312.6114.

    >>> gaussian_kl(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]))
    tensor([0., 2.])
    """
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


class StandardGaussian(Gaussian):
    """N(0, I): `gaussian_kl` is the divergence from it as it stands.

    Args:
        mean: Zeros, (d,).
    """

    def __init__(self, mean: Float[Tensor, " d"]) -> None:
        self.loc = self.logvar = mean
        self.scale = mean + 1
        Distribution.__init__(self, mean.shape[:-1], mean.shape[-1:], validate_args=False)


@register_kl(Gaussian, StandardGaussian)  # type: ignore[untyped-decorator]
def _kl_from_standard(q: Gaussian, p: StandardGaussian) -> Tensor:
    return gaussian_kl(q.loc, q.logvar).sum(-1)


@register_kl(Gaussian, Gaussian)  # type: ignore[untyped-decorator]
def _kl_gaussians(q: Gaussian, p: Gaussian) -> Tensor:
    """In units of p's scale it is the KL from N(0, I)."""
    return gaussian_kl((q.loc - p.loc) / p.scale, q.logvar - p.logvar).sum(-1)


@register_kl(Gaussian, Distribution)  # type: ignore[untyped-decorator]
@register_kl(Distribution, Gaussian)  # type: ignore[untyped-decorator]
def _kl_with_torchs(q: Distribution, p: Distribution) -> Tensor:
    return kl_divergence(_torchs(q), _torchs(p))


def _torchs(p: Distribution) -> Distribution:
    """Return a Gaussian of ours as torch has it."""
    if not isinstance(p, Gaussian):
        return p
    return Independent(Normal(p.loc, p.stddev, validate_args=False), 1, validate_args=False)


@register_kl(Independent, MultivariateNormal)  # type: ignore[untyped-decorator]
@register_kl(MultivariateNormal, Independent)  # type: ignore[untyped-decorator]
def _kl_with_a_full_covariance(q: Distribution, p: Distribution) -> Tensor:
    return kl_divergence(_full(q), _full(p))


def _full(p: Distribution) -> MultivariateNormal:
    """Return a Gaussian as one of full covariance."""
    if isinstance(p, MultivariateNormal):
        return p
    units = diagonal(p)
    return MultivariateNormal(units.loc, scale_tril=units.stddev.diag_embed(), validate_args=False)


def diagonal(p: Distribution) -> Gaussian:
    """Return a Gaussian of independent units, which may be one of torch's, as one of ours."""
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal) and len(p.event_shape) == 1:
        return Gaussian(p.mean, 2 * p.base_dist.scale.log())
    if not isinstance(p, Gaussian):
        raise NotImplementedError(f"q and p must be Gaussians of independent units, got {p}")
    return p
