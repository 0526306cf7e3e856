"""What readers may build for the capstone, right and wrong, and the parts that it is built from."""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from companion import data
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    GaussianPrior,
    StandardNormal,
    mlp,
    per_row,
)
from companion.diagnostics import level_rates
from companion.distributions import Gaussian
from companion.models import HVAE, VAE, TopDownHVAE
from companion.objectives import elbo, free_bits_elbo, log_marginal
from companion.train import fit

# Tables.


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def coins(rows: int = 300, columns: int = 6, seed: int = 0) -> torch.Tensor:
    """Binary columns that hang together: noisy copies of two coins."""
    faces = uniform(rows, 2, seed=seed).round().repeat(1, columns // 2)
    return (faces - (uniform(rows, columns, seed=seed + 100) < 0.1).float()).abs()


REAL, MORE = normal(300, 6), normal(80, 6, seed=2)
TRAIN, TEST = coins(), coins(80, seed=1)
# Real columns that hang together.
WIRES = normal(380, 2) @ normal(2, 6, seed=3) + 0.2 * normal(380, 6, seed=4)
CABLES, CABLES_OUT = WIRES[:300], WIRES[300:]
DIGITS = data.digits()[0]


def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (train,), (test,) = data.split(x)
    return train, test


def standard(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)) / x.std(0)


def leaning(rows: int = 1000) -> torch.Tensor:
    """Columns that hang together, with units and places of their own."""
    return normal(rows, 4) @ normal(4, 4, seed=3) * torch.tensor([1.0, 1e3, 0.1, 5.0]) + 7


def by_training_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    train, test = split(x)
    mean, scale = train.mean(0), train.std(0)
    return (train - mean) / scale, (test - mean) / scale


# Conditionals.


class Given(nn.Module):
    """A conditional that is given something else."""

    def __init__(self, conditional: nn.Module, change: Callable[..., Any]) -> None:
        super().__init__()
        self.conditional, self.change = conditional, change

    def forward(self, *given: torch.Tensor) -> Distribution:
        changed = self.change(*given)
        return self.conditional(*(changed if isinstance(changed, tuple) else (changed,)))


class Returns(nn.Module):
    """A conditional, or a network, that returns something else."""

    def __init__(self, conditional: nn.Module, change: Callable[..., Any]) -> None:
        super().__init__()
        self.conditional, self.change = conditional, change

    def forward(self, *given: torch.Tensor) -> Any:
        return self.change(self.conditional(*given))


class Own(nn.Module):
    """A conditional of any family of independent columns."""

    def __init__(self, net: nn.Module, family: Callable[..., Distribution]) -> None:
        super().__init__()
        self.net, self.family = net, family

    def forward(self, *given: torch.Tensor) -> Distribution:
        return Independent(self.family(per_row(self.net, *given)), 1)


class Hidden(nn.Module):
    """A conditional whose network stands in a list, where no optimiser finds it."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.nets = [mlp(*sizes)]

    def forward(self, *given: torch.Tensor) -> Distribution:
        return Gaussian(*per_row(self.nets[0], *given).chunk(2, -1))


class Network(nn.Module):
    """Any function between two layers."""

    def __init__(self, size: int, out: int, between: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(size, 16), nn.Linear(16, out), between

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(given)))


class NoPath(Gaussian):
    """Draws without the gradient that reparameterised draws have."""

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        return super().rsample(sample_shape).detach()


class LearnedPrior(nn.Module):
    def __init__(self, d: int, noise: float = 0.0) -> None:
        super().__init__()
        self.mean, self.noise = nn.Parameter(torch.zeros(d)), noise

    def forward(self) -> Distribution:
        mean = self.mean + self.noise * torch.randn_like(self.mean)
        return Independent(Normal(mean, 1.0), 1)


class LearnedNoise(nn.Module):
    """A Gaussian with one scale for each column, learned and the same for all rows."""

    def __init__(self, net: nn.Module, columns: int) -> None:
        super().__init__()
        self.net, self.log_scale = net, nn.Parameter(torch.zeros(columns))

    def forward(self, *given: torch.Tensor) -> Distribution:
        return Independent(Normal(per_row(self.net, *given), self.log_scale.exp()), 1)


def normed(size: int, out: int, norm: Callable[..., nn.Module] = nn.BatchNorm1d) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 16), norm(16), nn.ReLU(), nn.Linear(16, out))


def convolution(out: int) -> nn.Module:
    layers = [nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3, padding=1), nn.SiLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, out))


def still(net: nn.Sequential) -> nn.Sequential:
    """A network whose last layer starts from zero."""
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    return net


def noisy(z: torch.Tensor) -> torch.Tensor:
    return z + 0.1 * torch.randn_like(z)


# Models of six columns, with 3 and 2 units.


def q1(net: nn.Module | None = None, columns: int = 6) -> nn.Module:
    return GaussianConditional(net or mlp(columns, 16, 6))


def q2(net: nn.Module | None = None) -> nn.Module:
    return GaussianConditional(net or mlp(3, 16, 4))


def p0(net: nn.Module | None = None, columns: int = 6) -> nn.Module:
    return BernoulliConditional(net or mlp(3, 16, columns))


def p1(net: nn.Module | None = None) -> nn.Module:
    return GaussianConditional(net or mlp(2, 16, 6))


def build(
    bottom: Any = q1, second: Any = q2, x: Any = p0, top: Any = p1, prior: nn.Module | None = None
) -> HVAE:
    """A hierarchy with parts, or makers of parts, in place of the usual ones."""
    torch.manual_seed(0)
    parts = [part if isinstance(part, nn.Module) else part() for part in (bottom, second, x, top)]
    return HVAE(parts[:2], parts[2:], prior or StandardNormal(2))


def given(change: Callable[..., Any], **parts: Callable[[], nn.Module]) -> HVAE:
    """A hierarchy one part of which is given something else."""
    ((name, part),) = parts.items()
    return build(**{name: lambda: Given(part(), change)})


def returns(change: Callable[..., Any], **parts: Callable[[], nn.Module]) -> HVAE:
    """A hierarchy one part of which returns something else."""
    ((name, part),) = parts.items()
    return build(**{name: lambda: Returns(part(), change)})


def real(scale: float | None = 0.2, **parts: Any) -> HVAE:
    """A hierarchy for real columns, with noise of a fixed or a learned scale."""
    out = 6 if scale else 12
    return build(x=lambda: GaussianConditional(mlp(3, 16, out), scale), **parts)


def flat_model(hidden: int = 24, decoder: Any = None, encoder: Any = None) -> VAE:
    torch.manual_seed(0)
    decoder = decoder or p0(mlp(3, hidden, 6))
    return VAE(encoder or q1(mlp(6, hidden, 6)), decoder, StandardNormal(3))


def flat_real(scale: float | None = 0.2) -> VAE:
    out = 6 if scale else 12
    return flat_model(decoder=GaussianConditional(mlp(3, 24, out), scale))


def top_down(bottom: Any = None, features: nn.Module | None = None) -> TopDownHVAE:
    torch.manual_seed(0)
    encoders = [bottom or GaussianConditional(mlp(6 + 2, 16, 6)), q1(mlp(6, 16, 4))]
    return TopDownHVAE(encoders, [p0(), p1()], StandardNormal(2), features)


def three_levels(model: type[Any] = HVAE) -> Any:
    torch.manual_seed(0)
    takes = (6 + 2, 6 + 1, 6) if model is TopDownHVAE else (6, 3, 2)
    encoders = [
        GaussianConditional(mlp(size, 16, 2 * d)) for size, d in zip(takes, (3, 2, 1), strict=True)
    ]
    return model(encoders, [p0(), p1(), GaussianConditional(mlp(1, 16, 4))], StandardNormal(1))


def square(shared: bool = False, same_net: bool = False) -> HVAE:
    """All levels as wide as the table."""
    torch.manual_seed(0)
    first = GaussianConditional(mlp(6, 16, 12))
    second = first if shared else GaussianConditional(first.net if same_net else mlp(6, 16, 12))
    decoders = [p0(mlp(6, 16, 6)), GaussianConditional(mlp(6, 16, 12))]
    return HVAE([first, second], decoders, StandardNormal(6))


def common_body() -> HVAE:
    """Two conditionals with heads of their own on one body, which is meant."""
    body = [nn.Linear(3, 16), nn.SiLU()]
    second = q2(nn.Sequential(*body, nn.Linear(16, 4)))
    return build(second=second, x=p0(nn.Sequential(*body, nn.Linear(16, 6))))


def remembering() -> HVAE:
    """A network that keeps what it gave last, with its graph: no deepcopy takes that."""
    net = Network(6, 6, torch.tanh)
    net.register_forward_hook(lambda module, given, out: setattr(module, "seen", out))
    model = build(bottom=q1(net))
    elbo(model, TRAIN)
    return model


def spare() -> HVAE:
    """A hierarchy with a weight that no conditional uses."""
    model = build()
    model.encoders[0].spare = nn.Parameter(torch.zeros(3))
    return model


def padded() -> VAE:
    """A small flat model with idle weights."""
    model = flat_model(8)
    model.spare = nn.Parameter(torch.zeros(350))
    return model


def frozen(*names: str) -> HVAE:
    model = build()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(names))
    return model


def diverged() -> HVAE:
    model = build()
    nn.init.constant_(model.encoders[1].net[0].bias, torch.nan)
    return model


# Models with levels that sleep, or seem not to.


@torch.no_grad()
def asleep(*levels: int) -> HVAE:
    """Three levels whose units are 2 away from the prior, but for levels that sleep."""
    model = three_levels()
    for level, encoder in enumerate(model.encoders, start=1):
        last = encoder.net[-1]
        last.bias[: len(last.bias) // 2] = 0.0 if level in levels else 2.0
        last.weight.mul_(0.0 if level in levels else 1.0)
    for decoder in model.decoders[1:]:
        still(decoder.net)
    model.encoders[-1].net[-1].bias[1:] = 0.0
    return model


@torch.no_grad()
def drowsy() -> HVAE:
    """The second level's rate lies where sampling decides: at 0.2 nats in the mean."""
    model = asleep(2)
    bias = model.encoders[1].net[-1].bias
    bias[:2], bias[2:] = math.sqrt(0.2), 0.0  # two units of rate 0.1: half the square of the mean
    return model


def shut(model: Any, level: int) -> Any:
    """The model with a level's encoder set to the prior."""
    model = copy.deepcopy(model)
    for parameter in model.encoders[level - 1].parameters():
        nn.init.zeros_(parameter)
    return model


@torch.no_grad()
def pretending(shift: float, model: HVAE, noise: float = 1.0) -> HVAE:
    """q(z_2 | z_1) = N(shift, noise²) whatever z_1: a rate, and nothing in it."""
    model = shut(model, 2)
    bias = model.encoders[1].net[-1].bias
    bias[:2], bias[2:] = shift, 2 * math.log(noise)
    return model


def second_hand(model: HVAE) -> HVAE:
    """z_2 follows a unit of z_1 that is noise: neither of them follows x."""
    model = copy.deepcopy(model)
    keep = torch.tensor([1.0, 1.0, 0.0])
    model.encoders[0] = Returns(
        model.encoders[0], lambda q: Gaussian(keep * q.loc, keep * q.logvar)
    )
    net = mlp(1, 2)
    nn.init.constant_(net[0].weight, 2.0)
    model.encoders[1] = Given(GaussianConditional(net, 0.1), lambda z: z[..., 2:])
    return model


@torch.no_grad()
def rescaled(model: HVAE, factor: float) -> HVAE:
    """The same model of x with z_2 in other units."""
    model = copy.deepcopy(model)
    last, first = model.encoders[1].net[-1], model.decoders[1].net[0]
    last.weight[:2] *= factor
    last.bias[:2] *= factor
    last.bias[2:] += 2 * math.log(factor)
    first.weight /= factor
    model.prior = GaussianPrior(torch.zeros(2), factor**2 * torch.eye(2))
    return model


@torch.no_grad()
def nearly(model: HVAE) -> HVAE:
    """The model with its second level weakened until its rate is a little below 0.2 nats."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle, weak = (low + high) / 2, copy.deepcopy(model)
        for parameter in weak.encoders[1].net[-1].parameters():
            parameter.mul_(middle)
        torch.manual_seed(0)
        below = level_rates(weak, TEST, 16)[1].mean < 0.199
        low, high = (middle, high) if below else (low, middle)
    return weak


@torch.no_grad()
def told_by_the_spread() -> HVAE:
    """z_2 tells of x by how far it spreads; its mean stays where it is."""
    model = build(
        second=lambda: Own(mlp(3, 2), lambda out: Normal(0 * out, (2 * out.tanh() - 1).exp()))
    )
    nn.init.constant_(model.encoders[1].net[0].weight, 1.0)
    model.encoders[0].net[-1].weight.mul_(5)
    return model


# Trained models, and reports of them.


def trained(model: Any, x: torch.Tensor = TRAIN, epochs: int = 40) -> Any:
    torch.manual_seed(0)
    free = 0.8 if len(model.encoders) > 1 else 0.0
    fit(model, x, lambda m, rows: free_bits_elbo(m, rows, free), epochs=epochs, lr=2e-2)
    return model


class Models(NamedTuple):
    """Trained models; the second level of `asleep` is shut."""

    flat: VAE
    awake: HVAE
    asleep: HVAE
    top_down: TopDownHVAE
    flat_real: VAE
    real: HVAE


def train_all() -> Models:
    awake = trained(build())
    return Models(
        trained(flat_model()),
        awake,
        shut(awake, 2),
        trained(top_down()),
        trained(flat_real(0.3), CABLES),
        trained(real(0.3), CABLES),
    )


def numbers(
    flat: Any,
    hierarchy: Any,
    x: torch.Tensor = TEST,
    of: Callable[..., torch.Tensor] = log_marginal,
    samples: int = 300,
    form: Callable[[torch.Tensor], Any] = lambda rows: rows.mean().item(),
) -> dict[str, Any]:
    torch.manual_seed(9)
    with torch.no_grad():
        return {
            "flat": form(of(flat, x, samples)),
            "hierarchy": form(of(hierarchy, x, samples)),
        }


def report(m: Models, **how: Any) -> tuple[Any, ...]:
    """What check.report takes, of the models of coins."""
    return numbers(m.flat, m.awake, **how), m.flat, m.awake, TEST


def real_report(m: Models, x: torch.Tensor = CABLES_OUT, **how: Any) -> tuple[Any, ...]:
    """What check.report takes, of the models of real columns."""
    return numbers(m.flat_real, m.real, x, **how), m.flat_real, m.real, CABLES_OUT


def one_wrong(m: Models, name: str, **how: Any) -> tuple[Any, ...]:
    """A right report but for one number."""
    right, *rest = real_report(m)
    return ({**right, name: real_report(m, **how)[0][name]}, *rest)
