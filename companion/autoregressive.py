r"""A decoder that draws one pixel after another: p(x | z) = Π_j p(x_j | x_1 … x_{j−1}, z).

A masked network gives all D factors in one pass when x is known, so that training is as fast as
with independent pixels. Drawing x takes D passes, one for each pixel.
"""

from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import linear, silu

from companion._checks import check_count
from companion.conditionals import side_by_side
from companion.distributions import Pixels


class AutoregressiveConditional(nn.Module):
    r"""Binary pixels, each given the code and the pixels before it.

        p(x | z) = Π_j Bernoulli(x_j; sigmoid(a_j(x_1 … x_{j−1}, z)))

    The logits a come from one hidden layer whose weights are masked: hidden unit h sees the pixels
    up to number h mod D, and pixel j sees the hidden units of smaller number than its own. The
    code reaches every hidden unit and every logit.

    Unlike independent pixels, this family can model dependent ones with the code switched off.

    Args:
        latent: Size d of z.
        features: Number D of pixels, in the order in which they are drawn.
        hidden: Number of hidden units; at least D, so that each pixel is seen.
        context: How many of the pixels before it a pixel may see; None: all. With 0 the pixels are
            independent given the code.

    Reference: M. Germain, K. Gregor, I. Murray and H. Larochelle, "MADE: Masked Autoencoder for
    Distribution Estimation", ICML 2015, https://arxiv.org/abs/1502.03509.

    >>> p = AutoregressiveConditional(latent=3, features=64, hidden=128)(torch.zeros(5, 3))
    >>> p.log_prob(torch.ones(5, 64)).shape
    torch.Size([5])
    """

    into_mask: Tensor
    out_mask: Tensor

    def __init__(self, latent: int, features: int, hidden: int, context: int | None = None) -> None:
        super().__init__()
        check_count(hidden, "hidden", minimum=features)
        self.features: Final = features
        self.from_pixels: Final = nn.Linear(features, hidden, bias=False)
        self.from_code: Final = nn.Linear(latent, hidden)
        self.out: Final = nn.Linear(hidden, features)
        self.out_from_code: Final = nn.Linear(latent, features, bias=False)
        pixel, unit = torch.arange(features), torch.arange(hidden) % features
        into = unit[:, None] >= pixel
        out = pixel[:, None] > unit
        if context is not None:
            # Unit u sees the last `context` pixels up to u, and serves the pixel after it alone.
            into &= unit[:, None] - pixel < context
            out &= pixel[:, None] - unit == 1
        # Saved with the weights, as two masks may go with weights of the same shapes.
        self.register_buffer("into_mask", into.to(self.out.weight))
        self.register_buffer("out_mask", out.to(self.out.weight))

    def forward(self, *given: Float[Tensor, "..."]) -> Distribution:
        """Return the distribution of the pixels for each code: batch (…), event (D,)."""
        return AutoregressiveBernoulli(self, side_by_side(*given))

    def logits(self, x: Float[Tensor, "*xs D"], z: Float[Tensor, "*zs d"]) -> Tensor:
        """Return a_1 … a_D, a_j from z and x_1 … x_{j−1}, for x and z that broadcast."""
        seen = linear(x, self.from_pixels.weight * self.into_mask)
        hidden = silu(seen + self.from_code(z))
        out = linear(hidden, self.out.weight * self.out_mask, self.out.bias)
        return out + self.out_from_code(z)


class AutoregressiveBernoulli(Distribution):
    """Binary vectors drawn pixel by pixel. `AutoregressiveConditional` makes one from codes.

    Args:
        conditional: The network.
        z: Codes, (…, d).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = constraints.independent(constraints.boolean, 1)
    has_rsample = False

    def __init__(self, conditional: AutoregressiveConditional, z: Float[Tensor, "... d"]) -> None:
        self.conditional: Final = conditional
        self.z: Final = z
        event = torch.Size((conditional.features,))
        super().__init__(z.shape[:-1], event, validate_args=False)

    def log_prob(self, value: Float[Tensor, "*xs D"]) -> Tensor:
        """Return log p(x | z) in nats, all pixels in one pass."""
        return Pixels.of(self.conditional.logits(value, self.z)).log_prob(value)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw x one pixel after another: D passes through the network."""
        x = self.z.new_zeros(self._extended_shape(torch.Size(sample_shape)))
        for pixel in range(self.conditional.features):
            logits = self.conditional.logits(x, self.z)[..., pixel]
            x[..., pixel] = torch.bernoulli(logits.sigmoid())
        return x
