"""Conditional distributions: modules whose forward returns a ``torch.distributions`` object.

An encoder q(z | x), a decoder p(x | z) and a prior p(z) are all of this one kind. What is given
enters as the last axis of a tensor, and all axes before it are batch axes. What comes out has
an event of one axis, so that ``log_prob`` sums over pixels or latent units:

    encoder = GaussianConditional(mlp(64, 32, 2 * 3))   # q(z | x): x of size 64, z of size 3
    encoder(x).log_prob(z)                              # x (B, 64), z (K, B, 3) -> (K, B)

A conditional of several things takes several tensors: ``encoder(x, z_above)``.
"""

import math
from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
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

from companion._checks import (
    check_covariance,
    check_kind,
    check_number,
    check_tensor,
    like,
)

LOG_TWO_PI: Final = math.log(2 * math.pi)


def mlp(*sizes: int) -> nn.Sequential:
    """Fully connected network with SiLU between its layers: sizes[0] -> … -> sizes[-1].

    Args:
        sizes: Input size, hidden sizes, output size: at least two. With two it is one affine map.

    >>> mlp(64, 32, 4)(torch.zeros(5, 64)).shape
    torch.Size([5, 4])
    """
    *hidden, last = pairwise(sizes)
    layers = [layer for pair in hidden for layer in (nn.Linear(*pair), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(*last))


def per_row(net: nn.Module, *given: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Apply a network to each row of what is given: it sees (rows, u), whatever the batch axes.

    So convolutions, batch norm and any other module work as they do everywhere in PyTorch. Several
    tensors are set side by side, (…, u) and (…, v) as (…, u + v), once their batch axes agree.

    >>> per_row(nn.Linear(2 + 3, 4), torch.zeros(6, 2), torch.zeros(7, 6, 3)).shape
    torch.Size([7, 6, 4])
    """
    together = side_by_side(*given)
    if together.dim() == 2:
        return net(together)
    batch = together.shape[:-1]
    rows = net(together.reshape(math.prod(batch), together.shape[-1]))
    return rows.reshape(*batch, *rows.shape[1:])


def side_by_side(*given: Tensor) -> Tensor:
    """Concatenate along the last axis, once the batch axes are broadcast."""
    if len(given) == 1:
        return given[0]
    batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in given))
    return torch.cat([tensor.expand(*batch, tensor.shape[-1]) for tensor in given], dim=-1)


class Gaussian(Distribution):
    """Vector of independent Gaussian units, N(μ, diag σ²), by what a network gives: μ and log σ².

        log N(y; μ, diag σ²) = −½ Σ_j [((y_j − μ_j) / σ_j)² + log σ_j² + log 2π]

    The density takes log σ² as it is, so a σ too small for the dtype does not make it infinite.

    Args:
        mean: μ, (…, d).
        logvar: log σ², (…, d), or fewer numbers that all units share.
    """

    arg_constraints: Final[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, mean: Float[Tensor, "*batch d"], logvar: Float[Tensor, "..."]) -> None:
        self.loc, self.logvar = mean, logvar
        # What is added is lost in rounding beside any usual σ; without it 1 / σ may overflow.
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

    @property
    def base_dist(self) -> Normal:
        """The units one by one, as ``Independent`` has them."""
        return Normal(self.loc, self.stddev, validate_args=False)

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
    r"""Independent binary pixels y with logits a.

    log p(y) = Σ_j [log sigmoid(a_j) + (y_j − 1) a_j]
    """

    @classmethod
    def of(cls, logits: Float[Tensor, "*batch D"]) -> "Pixels":
        """Make them from logits: batch (…), event (D,)."""
        return cls(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each row of pixels, in nats."""
        logits = self.base_dist.logits
        return logsigmoid(logits).addcmul(value - 1, logits).sum(-1)


def gaussian_kl(
    mu: Float[Tensor, "*batch d"], logvar: Float[Tensor, "..."]
) -> Float[Tensor, "*batch d"]:
    r"""KL divergence of N(μ, σ²) from N(0, 1), unit by unit: ½ (μ² + σ² − 1 − log σ²).

    With v = log σ² it is computed as ½ (μ² + expm1(v) − v), which keeps its digits where the KL is
    small. Sum over the last axis for the KL of the whole vector.

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
    q, p = (Independent(d.base_dist, 1) if isinstance(d, Gaussian) else d for d in (q, p))
    return kl_divergence(q, p)


@register_kl(Independent, MultivariateNormal)  # type: ignore[untyped-decorator]
@register_kl(MultivariateNormal, Independent)  # type: ignore[untyped-decorator]
def _kl_with_a_full_covariance(q: Distribution, p: Distribution) -> Tensor:
    return kl_divergence(_full(q), _full(p))


def _full(p: Distribution) -> MultivariateNormal:
    """Return a Gaussian as one of full covariance."""
    if isinstance(p, Independent):
        if not isinstance(p.base_dist, Normal):
            raise NotImplementedError(f"{p} is no Gaussian")
        return MultivariateNormal(p.mean, scale_tril=p.stddev.diag_embed(), validate_args=False)
    assert isinstance(p, MultivariateNormal)
    return p


class GaussianConditional(nn.Module):
    r"""Gaussian with diagonal covariance whose parameters a network computes.

    N(y; μ(u), diag σ²(u)). Without `scale` the network returns μ and log σ² side by side, 2d
    numbers for y of size d. With `scale` it returns μ alone, and σ is that constant.

    Args:
        net: Maps (rows, size of u) to (rows, 2d), or to (rows, d) when `scale` is given.
        scale: The fixed standard deviation σ > 0, in the units of y.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.2, https://arxiv.org/abs/1312.6114.

    >>> q = GaussianConditional(mlp(64, 32, 2 * 3))(torch.zeros(5, 64))
    >>> q.batch_shape, q.event_shape
    (torch.Size([5]), torch.Size([3]))
    """

    scale: Tensor | None

    def __init__(self, net: nn.Module, scale: float | None = None) -> None:
        super().__init__()
        check_kind(net, "net", nn.Module, "build one with mlp(sizes)")
        self.net: Final = net
        if scale is not None:
            check_number(scale, "scale")
            # In the network's dtype: a float32 scale costs a float64 model its last eight digits.
            self.register_buffer("scale", like(net).new_tensor(scale))
        else:
            self.register_buffer("scale", None)

    def forward(self, *given: Float[Tensor, "..."]) -> Distribution:
        """Return the distribution of y for each row of what is given: batch (…), event (d,)."""
        out = per_row(self.net, *given)
        if self.scale is not None:
            return Gaussian(out, 2 * self.scale.log())
        if out.shape[-1] % 2:
            raise ValueError(f"net must return mean and log-variance, got {out.shape[-1]} outputs")
        return Gaussian(*out.chunk(2, dim=-1))


class BernoulliConditional(nn.Module):
    """Independent binary pixels: Π_j Bernoulli(y_j; sigmoid(net(u)_j)).

    Args:
        net: Maps (rows, size of u) to the logits, (rows, D).

    >>> p = BernoulliConditional(mlp(3, 64))(torch.zeros(5, 3))
    >>> p.log_prob(torch.ones(5, 64)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        check_kind(net, "net", nn.Module, "build one with mlp(sizes)")
        self.net: Final = net

    def forward(self, *given: Float[Tensor, "..."]) -> Distribution:
        """Return the distribution of the pixels for each row: batch (…), event (D,)."""
        return Pixels.of(per_row(self.net, *given))


class LinearGaussianConditional(nn.Module):
    """Gaussian with linear mean and constant full covariance: N(y; W u + b, Σ).

    Nothing here is trained: W, b and Σ are buffers. It is the exact posterior of a linear
    Gaussian model, and one step of a linear Gaussian chain.

    Args:
        weight: W, (d, size of u).
        bias: b, (d,).
        covariance: Σ, (d, d), symmetric and positive definite, in squared units of y.

    >>> p = LinearGaussianConditional(torch.ones(3, 2), torch.zeros(3), torch.eye(3))
    >>> p(torch.ones(5, 2)).mean[0]
    tensor([2., 2., 2.])
    """

    weight: Tensor
    bias: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        weight: Float[Tensor, "d u"],
        bias: Float[Tensor, " d"],
        covariance: Float[Tensor, "d d"],
    ) -> None:
        super().__init__()
        check_tensor(bias, "bias", len(weight), like=weight)
        check_covariance(covariance, "covariance", len(weight), like=weight)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("scale_tril", torch.linalg.cholesky(covariance))

    def forward(self, *given: Float[Tensor, "..."]) -> Distribution:
        """Return the distribution of y for each row of what is given: batch (…), event (d,)."""
        mean = side_by_side(*given) @ self.weight.mT + self.bias
        return MultivariateNormal(mean, scale_tril=self.scale_tril, validate_args=False)


class StandardNormal(nn.Module):
    """The prior N(0, I) of a latent vector of size d; its forward takes nothing.

    Args:
        d: Number of latent units.

    >>> StandardNormal(3)().event_shape
    torch.Size([3])
    """

    mean: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        # A buffer, so that the prior follows the model to another dtype or device.
        self.register_buffer("mean", torch.zeros(d), persistent=False)

    def forward(self) -> Distribution:
        """Return the distribution: no batch, event (d,)."""
        return StandardGaussian(self.mean)


class GaussianPrior(nn.Module):
    """The prior N(m, C) with constant mean and covariance; its forward takes nothing.

    Args:
        mean: m, (d,).
        covariance: C, (d, d), symmetric and positive definite.

    >>> GaussianPrior(torch.zeros(2), torch.eye(2))().event_shape
    torch.Size([2])
    """

    mean: Tensor
    scale_tril: Tensor

    def __init__(self, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> None:
        super().__init__()
        check_covariance(covariance, "covariance", len(mean), like=mean)
        self.register_buffer("mean", mean)
        self.register_buffer("scale_tril", torch.linalg.cholesky(covariance))

    def forward(self) -> Distribution:
        """Return the distribution: no batch, event (d,)."""
        return MultivariateNormal(self.mean, scale_tril=self.scale_tril, validate_args=False)
