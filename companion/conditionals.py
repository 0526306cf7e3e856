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
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    MultivariateNormal,
)

from companion._checks import (
    check_covariance,
    check_kind,
    check_number,
    check_tensor,
    like,
)
from companion.distributions import Gaussian, Pixels, StandardGaussian


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
        fixed = None if scale is None else like(net).new_tensor(scale)
        self.register_buffer("scale", fixed)

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
