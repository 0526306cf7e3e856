"""Models of data x with latent variables z, and the one record they all return: the `Trace`.

A latent-variable model is a prior p(z), decoders and encoders, each a conditional (see
`companion.conditionals`). One pass of inference draws z from the encoders, K times for each of B
data points, and keeps every distribution it met on the way. Objectives and diagnostics are plain
functions of that record.

In a hierarchy z is z_1 … z_L. With z_0 = x, generation goes down:

    p(x, z_1 … z_L) = p(z_L) Π_i p(z_{i−1} | z_i)

Inference goes up, or up and then down again beside the decoders:

    bottom-up   q(z | x) = q(z_1 | x) Π_i q(z_{i+1} | z_i)
    top-down    q(z | x) = q(z_L | x) Π_i q(z_{i−1} | z_i, x)
"""

from abc import ABC
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from companion._checks import (
    check_conditional,
    check_count,
    check_support,
    check_tensor,
    like,
)
from companion._context import evaluating, fork_rng
from companion.conditionals import per_row

Levels = nn.ModuleList | Sequence[nn.Module]


@dataclass(frozen=True, eq=False)
class Trace:
    """One pass of inference: B data points, K samples of L latent levels.

    Attributes:
        x: The data, (B, D).
        z: The samples z_1 … z_L, each (K, B, d_i).
        q: The encoder's distribution of each level, z_1 first: L of them.
        p: The model's distributions p(x | z_1), p(z_1 | z_2), …, p(z_L): L + 1 of them.
        top_down: Whether q(z_i | …) was given the level above, z_{i+1}, and not the one below.
    """

    x: Tensor
    z: tuple[Tensor, ...]
    q: tuple[Distribution, ...]
    p: tuple[Distribution, ...]
    top_down: bool = False

    @property
    def reconstruction(self) -> Float[Tensor, "K B"]:
        """log p(x | z_1), in nats."""
        return self.p[0].log_prob(self.x)

    @property
    def rates(self) -> Float[Tensor, "L K B"]:
        """log q(z_i | …) − log p(z_i | z_{i+1}), level by level, in nats."""
        levels = zip(self.z, self.q, self.p[1:], strict=True)
        return torch.stack([q.log_prob(z) - p.log_prob(z) for z, q, p in levels])

    @property
    def log_weight(self) -> Float[Tensor, "K B"]:
        """log w = log p(x, z_1 … z_L) − log q(z_1 … z_L | x), in nats: what bounds average."""
        return self.reconstruction - self.rates.sum(0)


class LatentVariableModel(nn.Module, ABC):
    """What every model shares: encoders, decoders and a prior, one pass of inference, sampling.

    Abstract. A subclass sets `encoders` and `decoders`, L of each and z_1's first, and `prior`.
    Inference runs from the bottom up unless it says otherwise.
    """

    encoders: Levels
    decoders: Levels
    prior: nn.Module
    data_size: int
    top_down = False

    def trace(self, x: Float[Tensor, "B D"], num_samples: int = 1) -> Trace:
        """Draw z_1 … z_L from the encoders, `num_samples` times for each row of x."""
        check_count(num_samples, "num_samples")
        return next(self.traces(x, [num_samples]))

    def traces(self, x: Float[Tensor, "B D"], sizes: Iterable[int]) -> Iterator[Trace]:
        """Yield a trace of x for each number of samples; they share what depends on x alone."""
        check_tensor(x, "x", None, self.data_size, like=like(self))
        for z, q in self.infer(x, sizes):
            p = [decoder(z_i) for decoder, z_i in zip(self.decoders, z, strict=True)]
            check_support(torch.func.debug_unwrap(x), p[0])
            yield Trace(x, tuple(z), tuple(q), (*p, self.prior()), self.top_down)

    def infer(
        self, x: Float[Tensor, "B D"], sizes: Iterable[int]
    ) -> Iterator[tuple[list[Tensor], list[Distribution]]]:
        """Yield z_1 … z_L, reparameterised, and their distributions, from the bottom up."""
        first = self.encoders[0](x)
        for num_samples in sizes:
            z, q = [first.rsample((num_samples,))], [first]
            for encoder in islice(self.encoders, 1, None):
                q.append(encoder(z[-1]))
                z.append(q[-1].rsample())
            yield z, q

    @torch.no_grad()
    def descend(
        self, z: Float[Tensor, "*batch d"], level: int | None = None
    ) -> tuple[Float[Tensor, "..."], ...]:
        """Draw what lies below a given z_level: return x, z_1, …, z_level, without gradient.

        Rows that share their z differ in all that the levels below decide.

        Args:
            z: Values of z_level, (…, d_level).
            level: From 1 to L; None is L, the top.
        """
        level = len(self.decoders) if level is None else level
        check_count(level, "level", maximum=len(self.decoders))
        path = [z]
        for decoder in reversed(self.decoders[:level]):
            path.append(decoder(path[-1]).sample())
        return tuple(reversed(path))

    @torch.no_grad()
    def sample(self, num_samples: int) -> Float[Tensor, "num_samples D"]:
        """Draw x by ancestral sampling: z_L ~ p(z_L), then down to x, without gradient."""
        return self.descend(self.prior().sample((num_samples,)))[0]


@final
class VAE(LatentVariableModel):
    r"""Variational autoencoder: prior p(z), decoder p(x | z), encoder q(z | x).

    The model of the data is p(x) = ∫ p(x | z) p(z) dz; the encoder approximates the posterior
    p(z | x).

    Args:
        encoder: Conditional from x (…, D) to a distribution of z with ``rsample``.
        decoder: Conditional from z (…, d) to a distribution of x.
        prior: Module without arguments whose forward returns p(z).

    Reference: D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
    https://arxiv.org/abs/1312.6114.

    >>> from companion import BernoulliConditional, GaussianConditional, StandardNormal, mlp
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
        build(self, [encoder], [decoder], prior)

    def __setattr__(self, name: str, value: Any) -> None:
        """Put a new encoder or decoder where the old one was: a Module knows no setter for it."""
        if name in ("encoder", "decoder"):
            getattr(self, f"{name}s")[0] = value
        else:
            super().__setattr__(name, value)

    @property
    def encoder(self) -> nn.Module:
        """q(z | x)."""
        return self.encoders[0]

    @property
    def decoder(self) -> nn.Module:
        """p(x | z)."""
        return self.decoders[0]


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

    Reference: The chain of latents of D. J. Rezende, S. Mohamed and D. Wierstra, "Stochastic
    Backpropagation and Approximate Inference in Deep Generative Models", ICML 2014,
    https://arxiv.org/abs/1401.4082; with this encoder in Y. Burda, R. Grosse and R. Salakhutdinov,
    "Importance Weighted Autoencoders", ICLR 2016, section 2, https://arxiv.org/abs/1509.00519.

    >>> from companion import GaussianConditional, StandardNormal, mlp
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
        build(self, encoders, decoders, prior)


@final
class TopDownHVAE(LatentVariableModel):
    r"""Hierarchical variational autoencoder whose encoder runs down beside the decoder.

    p(x, z_1 … z_L) = p(x | z_1) p(z_1 | z_2) … p(z_{L−1} | z_L) p(z_L)
    q(z_1 … z_L | x) = q(z_L | x) q(z_{L−1} | z_L, x) … q(z_1 | z_2, x)

    Each level is inferred from the data and from what the levels above have said of it already.
    Here KL(q(z_i | z_{i+1}, x) ‖ p(z_i | z_{i+1})) is a level's rate: both are given the same
    z_{i+1}, so that `companion.elbo_analytic` holds for every level.

    Args:
        encoders: q(z_1 | z_2, x), …, q(z_{L−1} | z_L, x), q(z_L | x): conditionals with
            ``rsample``, called as ``encoder(x, z_above)``, the last as ``encoder(x)``.
            `companion.GaussianConditional` sets what it is given side by side.
        decoders: p(x | z_1), p(z_1 | z_2), …, p(z_{L−1} | z_L): conditionals.
        prior: Module without arguments whose forward returns p(z_L).
        features: Network of x that all encoders share: they are given features(x) in place of x.

    Reference: C. K. Sønderby et al., "Ladder Variational Autoencoders", NeurIPS 2016,
    https://arxiv.org/abs/1602.02282; in this form in D. P. Kingma et al., "Improved Variational
    Inference with Inverse Autoregressive Flow", NeurIPS 2016, https://arxiv.org/abs/1606.04934.

    >>> from companion import GaussianConditional, StandardNormal, mlp
    >>> hvae = TopDownHVAE(
    ...     encoders=[GaussianConditional(mlp(64 + 3, 2 * 5)), GaussianConditional(mlp(64, 2 * 3))],
    ...     decoders=[GaussianConditional(mlp(5, 64), 0.1), GaussianConditional(mlp(3, 2 * 5))],
    ...     prior=StandardNormal(3),
    ... )
    >>> hvae.trace(torch.zeros(7, 64), num_samples=4).rates.shape
    torch.Size([2, 4, 7])
    """

    top_down = True

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        prior: nn.Module,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.features = nn.Identity() if features is None else features
        build(self, encoders, decoders, prior)

    def infer(
        self, x: Float[Tensor, "B D"], sizes: Iterable[int]
    ) -> Iterator[tuple[list[Tensor], list[Distribution]]]:
        """Yield z_1 … z_L, reparameterised, and their distributions, from the top down."""
        seen = per_row(self.features, x)
        top = self.encoders[-1](seen)
        for num_samples in sizes:
            z, q = [top.rsample((num_samples,))], [top]
            for encoder in islice(reversed(self.encoders), 1, None):
                q.insert(0, encoder(seen, z[0]))
                z.insert(0, q[0].rsample())
            yield z, q


@final
class Autoencoder(nn.Module):
    """Two deterministic maps fitted to reconstruction alone: x -> code z -> mean of p(x | z).

    There is no prior, and nothing is drawn on the way: one x gives one code and one output.

    Args:
        encoder: Network from x (B, D) to the code (B, d).
        decoder: Conditional p(x | z). Its log-density scores the reconstruction; for a Gaussian
            of fixed scale that is the squared error up to a factor and a constant.

    >>> from companion import GaussianConditional, mlp
    >>> model = Autoencoder(mlp(64, 2), GaussianConditional(mlp(2, 64), scale=0.1))
    >>> model(torch.zeros(5, 64)).shape
    torch.Size([5, 64])
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B d"]:
        """Return the code of each row of x."""
        check_tensor(x, "x", None, None, like=like(self))
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """Return the decoder's mean for each code."""
        return self.decoder(z).mean

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the reconstruction of each row of x."""
        return self.decode(self.encode(x))


def build(
    model: LatentVariableModel,
    encoders: Sequence[nn.Module],
    decoders: Sequence[nn.Module],
    prior: nn.Module,
) -> None:
    """Give a model its parts; a dry run on two rows and two samples shows that they fit."""
    if not 0 < len(encoders) == len(decoders):
        raise ValueError(f"encoders must be as many as decoders: {len(encoders)}, {len(decoders)}")
    model.encoders, model.decoders = nn.ModuleList(encoders), nn.ModuleList(decoders)
    model.prior = prior
    model.data_size = dry_run(model)


def dry_run(model: LatentVariableModel) -> int:
    """Return the size of x, or raise: go down from the prior to x, and back up through q."""
    many = len(model.decoders) > 1
    with evaluating(model), fork_rng(like(model).device):
        sizes = [check_conditional(model.prior, "prior")]
        for level, decoder in reversed([*enumerate(model.decoders)]):
            name = f"decoders[{level}]" if many else "decoder"
            sizes.insert(0, check_conditional(decoder, name, (2, 2, sizes[0])))
        for level, encoder in enumerate(model.encoders):
            given: list[tuple[int, ...]] = [(2, 2, sizes[level]) if level else (2, sizes[0])]
            if isinstance(model, TopDownHVAE):
                seen = per_row(model.features, like(model.features).new_zeros(2, sizes[0]))
                given = [tuple(seen.shape), *((2, 2, above) for above in sizes[level + 2 :][:1])]
            name = f"encoders[{level}]" if many else "encoder"
            check_conditional(encoder, name, *given, size=sizes[level + 1])
    return sizes[0]
