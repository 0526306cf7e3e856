"""Models of data x with latent variables z, and the one record they all return: the `Trace`.

A latent-variable model is a prior p(z), a decoder p(x | z) and an encoder q(z | x), each a
conditional (see `companion.conditionals`). One pass of inference draws z from the encoder, K
times for each of B data points, and keeps every distribution it met on the way. Objectives and
diagnostics are plain functions of that record.

In a hierarchy z is z_1 … z_L. With z_0 = x, generation goes down and inference goes up:

    p(x, z_1 … z_L) = p(z_L) Π_l p(z_{l−1} | z_l)        q(z_1 … z_L | x) = Π_l q(z_l | z_{l−1})
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from companion.validation import require_count, require_data, require_module, require_tensor

__all__ = ["HVAE", "VAE", "Autoencoder", "LatentVariableModel", "Trace", "bottom_up"]


@dataclass(frozen=True)
class Trace:
    """One pass of inference: B data points, K samples of L latent levels.

    Attributes:
        x: The data, (B, D).
        z: The samples z_1 … z_L, each (K, B, d_l).
        q: Their distributions q(z_1 | x), q(z_2 | z_1), …: L of them.
        p: The model's distributions p(x | z_1), p(z_1 | z_2), …, p(z_L): L + 1 of them.
    """

    x: Tensor
    z: tuple[Tensor, ...]
    q: tuple[Distribution, ...]
    p: tuple[Distribution, ...]

    @property
    def reconstruction(self) -> Float[Tensor, "K B"]:
        """log p(x | z_1), in nats."""
        return self.p[0].log_prob(self.x)

    @property
    def rates(self) -> Float[Tensor, "L K B"]:
        """log q_l(z_l) − log p_l(z_l), level by level, in nats."""
        levels = zip(self.z, self.q, self.p[1:], strict=True)
        return torch.stack([q.log_prob(z) - p.log_prob(z) for z, q, p in levels])

    @property
    def log_weight(self) -> Float[Tensor, "K B"]:
        """log w = log p(x, z_1 … z_L) − log q(z_1 … z_L | x), in nats: what bounds average."""
        return self.reconstruction - self.rates.sum(0)


class LatentVariableModel(nn.Module, ABC):
    """What the objectives ask of a model: a trace of inference, and samples of x."""

    @abstractmethod
    def trace(self, x: Float[Tensor, "B D"], num_samples: int = 1) -> Trace:
        """Draw the latents of each row of x `num_samples` times from the encoder."""

    @abstractmethod
    def sample(self, num_samples: int) -> Float[Tensor, "num_samples D"]:
        """Draw x by ancestral sampling: latents from the top down, then x."""


@final
class Autoencoder(nn.Module):
    """Two deterministic maps fitted to reconstruction alone: x -> code z -> mean of p(x | z).

    There is no prior, and nothing is drawn on the way: the same x gives the same code and the
    same output.

    Args:
        encoder: Network from x (…, D) to the code (…, d).
        decoder: Conditional p(x | z). Its log-density scores the reconstruction; for a Gaussian
            of fixed scale that is the squared error up to a factor and a constant.

    Raises:
        TypeError: encoder or decoder is no module.

    >>> from companion.conditionals import GaussianConditional, mlp
    >>> model = Autoencoder(mlp(64, 2), GaussianConditional(mlp(2, 64), scale=0.1))
    >>> model(torch.zeros(5, 64)).shape
    torch.Size([5, 64])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder: Final = require_module(encoder, "encoder", "build one with mlp(sizes)")
        self.decoder: Final = require_module(decoder, "decoder", "e.g. BernoulliConditional(net)")

    def encode(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Return the code of each row of x.

        Raises:
            ValueError: x is no finite matrix, or of another width than the encoder takes.
            TypeError: x is no tensor, or of another dtype than the encoder's weights.
        """
        require_data(x, dtype=_dtype(self.encoder))
        try:
            code: Tensor = self.encoder(x)
        except RuntimeError as error:
            raise ValueError(
                f"x must fit the encoder, got shape {tuple(x.shape)} ({error}); pass data of the "
                f"width its first layer takes, or build it for {x.shape[1]} inputs"
            ) from None
        return code

    def decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """Return the decoder's mean for each code.

        Raises:
            ValueError: z does not fit the decoder in size or dtype.
        """
        distribution: Distribution = self.decoder(z)
        return distribution.mean

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the reconstruction of each row of x."""
        return self.decode(self.encode(x))


@final
class VAE(LatentVariableModel):
    r"""Variational autoencoder: prior p(z), decoder p(x | z), encoder q(z | x).

    The model of the data is p(x) = ∫ p(x | z) p(z) dz; the encoder approximates the posterior
    p(z | x).

    Args:
        encoder: Conditional from x (…, D) to a distribution of z with ``rsample``.
        decoder: Conditional from z (…, d) to a distribution of x.
        prior: Module without arguments whose forward returns p(z).

    Raises:
        ValueError: The sizes of encoder, decoder and prior disagree, or q(z | x) has no rsample.
        TypeError: One of them is no module, or encoder or decoder returns no distribution.

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    https://arxiv.org/abs/1312.6114.

    >>> from companion.conditionals import BernoulliConditional, GaussianConditional
    >>> from companion.conditionals import StandardNormal, mlp
    >>> vae = VAE(
    ...     encoder=GaussianConditional(mlp(64, 32, 2 * 3)),
    ...     decoder=BernoulliConditional(mlp(3, 32, 64)),
    ...     prior=StandardNormal(3),
    ... )
    >>> vae.trace(torch.zeros(5, 64), num_samples=7).log_weight.shape
    torch.Size([7, 5])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        remedy = "e.g. GaussianConditional(net)"
        self.encoder: Final = require_module(encoder, "encoder", remedy)
        self.decoder: Final = require_module(decoder, "decoder", remedy)
        self.prior: Final = require_module(prior, "prior", "e.g. StandardNormal(d)")
        latent = latent_size(prior)
        self.features: Final = _output_size(decoder, latent, "decoder", "the prior's z")
        encoded = _output_size(encoder, self.features, "encoder", "the decoder's x", rsample=True)
        if encoded != latent:
            raise ValueError(
                f"encoder and prior disagree: encoder gives z of size {encoded}, prior of size "
                f"{latent}; make the encoder's network return 2 * {latent} numbers (mean and "
                f"log-variance), or change the prior"
            )

    def trace(self, x: Float[Tensor, "B D"], num_samples: int = 1) -> Trace:
        """Draw z from q(z | x) `num_samples` times for each row of x, reparameterised.

        Raises:
            ValueError: x is no finite (B, D) matrix, holds values that p(x | z) cannot produce
                (grey pixels under a Bernoulli), or num_samples is below 1.
            TypeError: x is no tensor of the dtype of the encoder's weights, or num_samples is no
                whole number.
        """
        require_data(x, features=self.features, dtype=_dtype(self.encoder))
        return bottom_up(x, [self.encoder], [self.decoder], self.prior, num_samples)

    def sample(self, num_samples: int) -> Float[Tensor, "num_samples D"]:
        """Draw z ~ p(z), then x ~ p(x | z): (num_samples, D), without gradient.

        Raises:
            ValueError: num_samples is below 1.
            TypeError: num_samples is no whole number.
        """
        require_count(num_samples, "num_samples")
        with torch.no_grad():
            x: Tensor = self.decoder(self.prior().sample((num_samples,))).sample()
        return x


@final
class HVAE(LatentVariableModel):
    r"""Hierarchical variational autoencoder: levels z_1 … z_L with a bottom-up Markov encoder.

    p(x, z_1 … z_L) = p(x | z_1) p(z_1 | z_2) … p(z_{L−1} | z_L) p(z_L)
    q(z_1 … z_L | x) = q(z_1 | x) q(z_2 | z_1) … q(z_L | z_{L−1})

    With one level it is the `VAE`, number for number.

    Args:
        encoders: q(z_1 | x), q(z_2 | z_1), …, q(z_L | z_{L−1}): conditionals with ``rsample``.
        decoders: p(x | z_1), p(z_1 | z_2), …, p(z_{L−1} | z_L): conditionals.
        prior: Module without arguments whose forward returns p(z_L).

    Raises:
        ValueError: There is no level, encoders and decoders differ in number, their sizes disagree,
            or an encoder has no rsample.
        TypeError: One of them is no module, or returns no distribution.

    Reference: The chain of latents of D. J. Rezende, S. Mohamed and D. Wierstra, "Stochastic
    Backpropagation and Approximate Inference in Deep Generative Models", ICML 2014,
    https://arxiv.org/abs/1401.4082; with this encoder in Y. Burda, R. Grosse and R. Salakhutdinov,
    "Importance Weighted Autoencoders", ICLR 2016, section 2, https://arxiv.org/abs/1509.00519.

    >>> from companion.conditionals import GaussianConditional, StandardNormal, mlp
    >>> hvae = HVAE(
    ...     encoders=[GaussianConditional(mlp(64, 2 * 5)), GaussianConditional(mlp(5, 2 * 3))],
    ...     decoders=[GaussianConditional(mlp(5, 64), 0.1), GaussianConditional(mlp(3, 2 * 5))],
    ...     prior=StandardNormal(3),
    ... )
    >>> hvae.trace(torch.zeros(7, 64), num_samples=4).rates.shape
    torch.Size([2, 4, 7])
    """

    def __init__(
        self, encoders: Sequence[nn.Module], decoders: Sequence[nn.Module], prior: nn.Module
    ) -> None:
        super().__init__()
        for name, levels in (("encoders", encoders), ("decoders", decoders)):
            if not isinstance(levels, Sequence | nn.ModuleList):
                raise TypeError(
                    f"{name} must be a list, one for each level, got {type(levels).__name__}; "
                    f"put it into square brackets"
                )
        if not encoders or len(encoders) != len(decoders):
            raise ValueError(
                f"encoders and decoders must be as many, one each for every level, got "
                f"{len(encoders)} and {len(decoders)}; p(z_L) is the prior, not a decoder"
            )
        remedy = "e.g. GaussianConditional(net)"
        for level, (encoder, decoder) in enumerate(zip(encoders, decoders, strict=True)):
            require_module(encoder, f"encoders[{level}]", remedy)
            require_module(decoder, f"decoders[{level}]", remedy)
        self.encoders: Final = nn.ModuleList(encoders)
        self.decoders: Final = nn.ModuleList(decoders)
        self.prior: Final = require_module(prior, "prior", "e.g. StandardNormal(d)")
        sizes = [latent_size(prior)]
        for level in reversed(range(len(decoders))):
            given = f"the z_{level + 1} above it"
            sizes.append(_output_size(decoders[level], sizes[-1], f"decoders[{level}]", given))
        sizes.reverse()
        self.features: Final = sizes[0]
        for level, encoder in enumerate(encoders):
            name = f"encoders[{level}]"
            given = f"z_{level}" if level else "the data"
            encoded = _output_size(encoder, sizes[level], name, given, rsample=True)
            if encoded != sizes[level + 1]:
                raise ValueError(
                    f"{name} gives z_{level + 1} of size {encoded}, the model has "
                    f"{sizes[level + 1]}; make its network return 2 * {sizes[level + 1]} numbers "
                    f"(mean and log-variance)"
                )

    def trace(self, x: Float[Tensor, "B D"], num_samples: int = 1) -> Trace:
        """Draw z_1 … z_L from the bottom up, `num_samples` times for each row of x.

        Raises:
            ValueError: x is no finite (B, D) matrix, holds values that p(x | z_1) cannot produce,
                or num_samples is below 1.
            TypeError: x is no tensor of the dtype of the weights, or num_samples is no whole
                number.
        """
        require_data(x, features=self.features, dtype=_dtype(self.encoders))
        return bottom_up(x, self.encoders, self.decoders, self.prior, num_samples)

    def sample(self, num_samples: int) -> Float[Tensor, "num_samples D"]:
        """Draw z_L ~ p(z_L), then z_{L−1} … z_1, then x: (num_samples, D), without gradient.

        Raises:
            ValueError: num_samples is below 1.
            TypeError: num_samples is no whole number.
        """
        require_count(num_samples, "num_samples")
        return self.decode(self.prior().sample((num_samples,)), level=len(self.decoders))

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "*batch d"], level: int) -> Float[Tensor, "*batch D"]:
        """Draw what lies below a given z_level: z_{level−1} … z_1, then x, without gradient.

        Rows that share their z differ in all that the levels below decide.

        Args:
            z: Values of z_level, (…, d_level).
            level: From 1 to L.

        Raises:
            ValueError: level is not between 1 and L, or z does not fit it.
            TypeError: level is no whole number.
        """
        if require_count(level, "level") > len(self.decoders):
            raise ValueError(f"level must be at most {len(self.decoders)}, got {level}")
        if require_tensor(z, "z").dim() < 1:
            raise ValueError(f"z must have shape (…, d), got a single number, {z.item()}")
        for decoder in reversed(self.decoders[:level]):
            z = decoder(z).sample()
        return z


def bottom_up(
    x: Float[Tensor, "B D"],
    encoders: Iterable[nn.Module],
    decoders: Iterable[nn.Module],
    prior: nn.Module,
    num_samples: int = 1,
) -> Trace:
    """Draw z_1 ~ q(z_1 | x), then z_2 ~ q(z_2 | z_1), …, and keep all that it takes to score them.

    Args:
        x: Data, (B, D).
        encoders: q(z_1 | x), q(z_2 | z_1), …
        decoders: p(x | z_1), p(z_1 | z_2), …: as many.
        prior: Of the last level.
        num_samples: K, draws for each data point.

    Raises:
        ValueError: x holds values that p(x | z_1) cannot produce, or num_samples is below 1.
        TypeError: num_samples is no whole number.
    """
    require_count(num_samples, "num_samples")
    z: list[Tensor] = []
    q: list[Distribution] = []
    p: list[Distribution] = []
    for encoder, decoder in zip(encoders, decoders, strict=True):
        q.append(encoder(z[-1] if z else x))
        # Only the first level needs K draws for each of its distributions: later ones have K.
        z.append(q[-1].rsample(() if z else (num_samples,)))
        p.append(decoder(z[-1]))
    _require_support(x, p[0])
    return Trace(x=x, z=tuple(z), q=tuple(q), p=(*p, prior()))


def require_trace(model: object) -> None:
    """Raise unless the model has a trace, as every latent-variable model has."""
    if not hasattr(model, "trace"):
        raise TypeError(
            f"model must be a LatentVariableModel such as a VAE, got {type(model).__name__}; an "
            f"Autoencoder is scored by log_reconstruction, an exact model has methods of its own"
        )


def latent_size(prior: nn.Module) -> int:
    """Return the size of z under a prior, found by calling it.

    Raises:
        TypeError: It asks for an argument, or returns no distribution.
        ValueError: Its distribution has no event of one axis.
    """
    try:
        p = prior()
    except TypeError as error:
        raise TypeError(
            f"prior must take no argument ({error}); use e.g. StandardNormal(d)"
        ) from None
    if not isinstance(p, Distribution):
        raise TypeError(
            f"prior must return a torch.distributions object, got {type(p).__name__}; use e.g. "
            f"StandardNormal(d)"
        )
    if len(p.event_shape) != 1:
        raise ValueError(
            f"prior must have event (d,), got {tuple(p.event_shape)}; wrap it in Independent(p, 1)"
        )
    size: int = p.event_shape[0]
    return size


def _weights(module: nn.Module) -> Iterator[Tensor]:
    """Yield the floating-point parameters and buffers of a module."""
    tensors = chain(module.parameters(), module.buffers())
    return (tensor for tensor in tensors if tensor.is_floating_point())


def _dtype(module: nn.Module) -> torch.dtype | None:
    """Return the dtype of a module's weights, None if it has none."""
    return next((tensor.dtype for tensor in _weights(module)), None)


def _output_size(
    conditional: nn.Module, size: int, name: str, given: str, *, rsample: bool = False
) -> int:
    """Return the event size of `conditional` for an input of `size`, found by one dry run."""
    like = next(_weights(conditional), torch.empty(()))
    try:
        with torch.no_grad():
            distribution = conditional(torch.zeros(1, size, dtype=like.dtype, device=like.device))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} does not accept {given}, which has size {size}: {error}"
        ) from None
    if not isinstance(distribution, Distribution):
        raise TypeError(
            f"{name} must return a torch.distributions object, got {type(distribution).__name__}; "
            f"wrap its network, e.g. GaussianConditional(net)"
        )
    if rsample and not distribution.has_rsample:
        raise ValueError(
            f"{name} must draw z with rsample, and {distribution} has none; use e.g. "
            f"GaussianConditional(net)"
        )
    event: int = distribution.event_shape[0]
    return event


def _require_support(x: Tensor, likelihood: Distribution) -> None:
    """Raise unless p(x | z) can produce each entry of x."""
    support = likelihood.support
    assert support is not None
    inside = support.check(x)
    if not inside.all():
        row = int((~inside).nonzero()[0][-1])
        family = getattr(likelihood, "base_dist", likelihood)
        raise ValueError(
            f"x must be data that the {type(family).__name__} decoder can produce, but x[{row}] "
            f"is not: its values run from {x[row].min().item():.4g} to {x[row].max().item():.4g}; "
            f"for a Bernoulli make grey pixels 0 or 1 first with companion.data.binarise(x)"
        )
