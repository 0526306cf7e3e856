"""Conditional distributions: modules whose forward returns a ``torch.distributions`` object.

An encoder q(z | x), a decoder p(x | z) and a prior p(z) are all of this one kind. What is given
enters as the last axis of a tensor, and all axes before it are batch axes. What comes out has
an event of one axis, so that ``log_prob`` sums over pixels or latent units:

    encoder = GaussianConditional(mlp(64, 32, 2 * 3))   # q(z | x): x of size 64, z of size 3
    encoder(x).log_prob(z)                              # x (B, 64), z (K, B, 3) -> (K, B)
"""

from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal

from companion.validation import (
    require_count,
    require_module,
    require_positive,
    require_tensor,
)

__all__ = [
    "BernoulliConditional",
    "GaussianConditional",
    "LinearGaussianConditional",
    "StandardNormal",
    "mlp",
]


def mlp(*sizes: int) -> nn.Sequential:
    """Fully connected network with SiLU between its layers: sizes[0] -> … -> sizes[-1].

    Args:
        sizes: Input size, hidden sizes, output size: at least two. With two it is one affine map.

    Raises:
        ValueError: Fewer than two sizes, or one below 1.
        TypeError: A size is no whole number.

    >>> mlp(64, 32, 4)(torch.zeros(5, 64)).shape
    torch.Size([5, 4])
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold input and output size, got {sizes}; e.g. mlp(64, 4)")
    for size in sizes:
        require_count(size, "sizes")
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class GaussianConditional(nn.Module):
    r"""Gaussian with diagonal covariance whose parameters a network computes.

    N(y; μ(u), diag σ²(u)). Without `scale` the network returns μ and log σ² side by side, 2d
    numbers for y of size d. With `scale` it returns μ alone, and σ is that constant.

    Args:
        net: Maps (…, size of u) to (…, 2d), or to (…, d) when `scale` is given.
        scale: The fixed standard deviation σ > 0, in the units of y.

    Raises:
        ValueError: `scale` is not positive, or the network's output cannot be split in two.
        TypeError: `scale` is no number.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    appendix C.2, https://arxiv.org/abs/1312.6114.

    >>> q = GaussianConditional(mlp(64, 32, 2 * 3))(torch.zeros(5, 64))
    >>> q.batch_shape, q.event_shape
    (torch.Size([5]), torch.Size([3]))
    """

    scale: Tensor | None

    def __init__(self, net: nn.Module, scale: float | None = None) -> None:
        super().__init__()
        self.net: Final = require_module(net, "net", "build one with mlp(sizes)")
        # In the network's dtype: a float32 scale would cost a float64 model its last eight digits.
        like = next(net.parameters(), torch.empty(()))
        fixed = None if scale is None else like.new_tensor(require_positive(scale, "scale"))
        self.register_buffer("scale", fixed)

    def forward(self, given: Float[Tensor, "*batch u"]) -> Distribution:
        """Return the distribution of y for each row of `given`: batch (…), event (d,).

        Raises:
            ValueError: `given` does not fit the network in size or dtype.
            FloatingPointError: The network returned NaN, or a log-variance so small that the scale
                is zero.
        """
        out = _apply(self.net, given)
        if self.scale is not None:
            return _independent(Normal, loc=out, scale=self.scale.expand_as(out))
        if out.shape[-1] % 2:
            raise ValueError(
                f"net must return mean and log-variance side by side, an even number of outputs, "
                f"got {out.shape[-1]}; give it 2 * d outputs, or pass a fixed scale"
            )
        mu, logvar = out.chunk(2, dim=-1)
        return _independent(Normal, loc=mu, scale=torch.exp(0.5 * logvar))


class BernoulliConditional(nn.Module):
    """Independent binary pixels: Π_j Bernoulli(y_j; sigmoid(net(u)_j)).

    Args:
        net: Maps (…, size of u) to the logits, (…, D).

    Raises:
        TypeError: `net` is no module.

    >>> p = BernoulliConditional(mlp(3, 64))(torch.zeros(5, 3))
    >>> p.log_prob(torch.ones(5, 64)).shape
    torch.Size([5])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Final = require_module(net, "net", "build one with mlp(sizes)")

    def forward(self, given: Float[Tensor, "*batch u"]) -> Distribution:
        """Return the distribution of the pixels for each row of `given`: batch (…), event (D,).

        Raises:
            ValueError: `given` does not fit the network in size or dtype.
            FloatingPointError: The network returned NaN.
        """
        return _independent(Bernoulli, logits=_apply(self.net, given))


class LinearGaussianConditional(nn.Module):
    """Gaussian with linear mean and constant full covariance: N(y; W u + b, Σ).

    Nothing here is trained: W, b and Σ are buffers. It is the exact posterior of a linear
    Gaussian model, and one step of a linear Gaussian chain.

    Args:
        weight: W, (d, size of u).
        bias: b, (d,).
        covariance: Σ, (d, d), symmetric and positive definite, in squared units of y.

    Raises:
        ValueError: The shapes disagree, an entry is not finite, or Σ is not positive definite.
        TypeError: One of them is no floating-point tensor, or their dtypes differ.

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
        require_tensor(weight, "weight", axes=2)
        require_tensor(bias, "bias", axes=1, dtype=weight.dtype)
        require_tensor(covariance, "covariance", axes=2, dtype=weight.dtype)
        d = weight.shape[0]
        if bias.shape != (d,) or covariance.shape != (d, d):
            raise ValueError(
                f"weight (d, u), bias (d,) and covariance (d, d) disagree: got "
                f"{tuple(weight.shape)}, {tuple(bias.shape)}, {tuple(covariance.shape)}"
            )
        scale_tril, failed = torch.linalg.cholesky_ex(covariance)
        if failed or not torch.allclose(covariance, covariance.mT):
            raise ValueError(
                f"covariance must be symmetric and positive definite, got {covariance.tolist()}; "
                "add a small multiple of the identity, or check its construction"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("scale_tril", scale_tril)

    def forward(self, given: Float[Tensor, "*batch u"]) -> Distribution:
        """Return the distribution of y for each row of `given`: batch (…), event (d,).

        Raises:
            ValueError: `given` does not fit W in size or dtype.
        """
        if given.shape[-1] != self.weight.shape[1] or given.dtype != self.weight.dtype:
            raise ValueError(
                f"given must have {self.weight.shape[1]} columns of {self.weight.dtype}, as W has, "
                f"got shape {tuple(given.shape)} and {given.dtype}; convert one of them"
            )
        return MultivariateNormal(given @ self.weight.mT + self.bias, scale_tril=self.scale_tril)


class StandardNormal(nn.Module):
    """The prior N(0, I) of a latent vector of size d; its forward takes nothing.

    Args:
        d: Number of latent units.

    Raises:
        ValueError: d is below 1.
        TypeError: d is no whole number.

    >>> StandardNormal(3)().event_shape
    torch.Size([3])
    """

    mean: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        # A buffer, so that the prior follows the model to another dtype or device.
        self.register_buffer("mean", torch.zeros(require_count(d, "d")), persistent=False)

    def forward(self) -> Distribution:
        """Return the distribution: no batch, event (d,)."""
        return Independent(Normal(self.mean, torch.ones_like(self.mean)), 1)


def _apply(net: nn.Module, given: Tensor) -> Tensor:
    """Return net(given), and say what is wrong where torch would speak of mat1 and mat2."""
    try:
        out: Tensor = net(given)
    except RuntimeError as error:
        if "mat1 and mat2" not in str(error):
            raise
        raise ValueError(
            f"given must fit the network, got shape {tuple(given.shape)} and {given.dtype} "
            f"({error}); pass what its first layer takes, or build it for {given.shape[-1]} inputs"
        ) from None
    return out


def _independent(family: Any, **parameters: Tensor) -> Distribution:
    """Return independent coordinates as one event, and say so where a network has diverged."""
    try:
        return Independent(family(**parameters), 1)
    except ValueError:
        raise FloatingPointError(
            f"a network gave a {family.__name__} parameters that are NaN or out of range "
            f"({', '.join(parameters)}); check its input and weights"
        ) from None
