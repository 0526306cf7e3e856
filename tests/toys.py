"""Small models for the tests: random ones of pairwise-distinct sizes, and one that enumerates.

A summed, averaged or transposed axis cannot pass where no two sizes agree.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, final

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MultivariateNormal

from companion import (
    VAE,
    BernoulliConditional,
    GaussianConditional,
    LatentVariableModel,
    StandardNormal,
    Trace,
    mlp,
)
from companion.exact import DiscreteModel, LinearGaussian

POINTS, PIXELS, UNITS, SAMPLES = 5, 4, 3, 7
"""B, D, d and K of the random models."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def seeded(function: Callable[..., Any], *args: Any) -> Any:
    torch.manual_seed(5)
    return function(*args)


def check_descent(model: LatentVariableModel, z: Tensor, level: int, sizes: Sequence[int]) -> None:
    """Assert that a path down starts from z and is drawn by the decoders in order."""
    path = seeded(model.descend, z, level)
    assert [part.shape for part in path] == [(*z.shape[:-1], d) for d in sizes[: level + 1]]
    assert path[level] is z
    torch.manual_seed(5)
    drawn = z
    for below in reversed(range(level)):
        drawn = model.decoders[below](drawn).sample()
        assert torch.equal(path[below], drawn)
        assert not drawn.requires_grad


def gaussian_vae(
    seed: int = 0, *, pixels: int = PIXELS, units: int = UNITS, scale: float = 0.7
) -> VAE:
    """A VAE in float64 with a Gaussian decoder of fixed scale."""
    torch.manual_seed(seed)
    return VAE(
        encoder=GaussianConditional(mlp(pixels, 6, 2 * units).double()),
        decoder=GaussianConditional(mlp(units, 8, pixels).double(), scale=scale),
        prior=StandardNormal(units),
    ).double()


def bernoulli_vae(seed: int = 0, *, pixels: int = PIXELS, units: int = UNITS) -> VAE:
    """A VAE in float64 for binary pixels."""
    torch.manual_seed(seed)
    return VAE(
        encoder=GaussianConditional(mlp(pixels, 6, 2 * units)),
        decoder=BernoulliConditional(mlp(units, 8, pixels)),
        prior=StandardNormal(units),
    ).double()


def bits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(2, shape, generator=generator(seed)).double()


def linear_gaussian(seed: int, *, pixels: int = PIXELS, units: int = UNITS) -> LinearGaussian:
    """A random LinearGaussian in float64 whose scale has no short binary fraction."""
    scale = 0.3 + torch.rand((), generator=generator(seed), dtype=torch.float64).item()
    return LinearGaussian(normal(pixels, units, seed=seed), normal(pixels, seed=seed + 1000), scale)


def gaussians(seed: int, points: int = POINTS, units: int = UNITS) -> MultivariateNormal:
    """Random Gaussians with full covariance: poor guesses at any posterior."""
    root = normal(points, units, units, seed=seed)
    covariance = root @ root.mT / units + 0.1 * torch.eye(units, dtype=torch.float64)
    return MultivariateNormal(normal(points, units, seed=seed + 1), covariance)


def table(*shape: int, seed: int) -> Tensor:
    """A random table whose rows are distributions."""
    return (1.5 * normal(*shape, seed=seed)).softmax(-1)


def discrete(seed: int, *, values: int = 4, latents: int = 3) -> tuple[DiscreteModel, Tensor]:
    """A random DiscreteModel and an encoder's table that is no posterior."""
    model = DiscreteModel(table(latents, seed=seed), table(latents, values, seed=seed + 1))
    return model, table(values, latents, seed=seed + 2)


def categorical(probabilities: Tensor) -> Distribution:
    """A distribution of one event axis of size one, as the models' distributions have."""
    return Independent(Categorical(probabilities[..., None, :]), 1)


@final
class Enumerated(LatentVariableModel):
    """A DiscreteModel whose trace draws nothing: it goes through all tuples (z_1, …, z_K).

    Its data are `x`: every value of x once for every tuple. The k-th draw for a row is the k-th
    entry of the row's tuple, so a bound's expectation over q is the weighted sum `mean`. Traces
    of fewer than K samples continue where the one before stopped, as chunks do.
    """

    q: Tensor

    def __init__(self, model: DiscreteModel, q: Tensor, num_samples: int) -> None:
        super().__init__()
        self.model, self.data_size = model, 1
        self.register_buffer("q", q)
        latents, values = model.likelihood.shape
        tuples = torch.tensor(list(product(range(latents), repeat=num_samples)))
        self.draws = tuples.T.repeat(1, values)
        self.x = torch.arange(values).repeat_interleave(len(tuples)).double()[:, None]
        self.probability = q[:, tuples].prod(-1)
        self.used = 0

    def traces(self, x: Tensor, sizes: Iterable[int]) -> Iterator[Trace]:
        assert x.shape == self.x.shape, "an objective must pass on all rows"
        q = categorical(self.q[x[:, 0].long()])
        for num_samples in sizes:
            z = self.draws[self.used : self.used + num_samples, :, None]
            assert len(z) == num_samples, "more draws than were asked for"
            self.used += num_samples
            likelihood = categorical(self.model.likelihood[z[..., 0]])
            yield Trace(x=x, z=(z,), q=(q,), p=(likelihood, categorical(self.model.prior)))

    def sample(self, num_samples: int) -> Tensor:
        raise NotImplementedError

    def mean(self, bound: Tensor) -> Tensor:
        """Expectation over q of what an objective returned for `x`, for each value of x."""
        return (self.probability * bound.reshape(self.probability.shape)).sum(-1)
