"""Whether a model is built as it must be, whatever it has learned: what the capstone looks at.

Each conditional must look at what it is given, return one distribution for one input, treat rows
one by one, own its weights, and pass gradients on.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from companion._context import evaluating
from companion.exercises.inspecting import Condition
from companion.models import LatentVariableModel, Trace
from companion.objectives import elbo


def some(x: Tensor, rows: int = 50) -> Tensor:
    """Return some rows from all over a table."""
    return x[:: max(1, len(x) // rows)][:rows]


def one_pass(model: LatentVariableModel, x: Tensor) -> Trace:
    """Return one pass of some rows, in eval mode and without gradient."""
    with evaluating(model):
        return model.trace(some(x))


class _Part(NamedTuple):
    """A conditional, what one pass gives it, which of that are latents, and a value to score."""

    of: Callable[..., Distribution]
    given: tuple[Tensor, ...]
    latent: tuple[bool, ...]
    value: Tensor

    def score(self, *given: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the log-density of the value, of some of its rows, for what is given."""
        return self.of(*given).log_prob(self.value[..., rows, :])

    def changes(self, place: int) -> bool:
        """Tell whether the score changes where one thing that is given changes."""
        rolled = [g.roll(1, -2) if i == place else g for i, g in enumerate(self.given)]
        return not _same(self.score(*self.given), self.score(*rolled))


def _same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two scores agree to rounding."""
    return bool((a - b).abs().max() <= 1e-4 * (1 + a.abs().max()))


def _parts(model: LatentVariableModel, x: Tensor) -> tuple[list[_Part], list[_Part]]:
    """Return the encoders and the decoders; the first of the encoders is q(z | x) as a whole."""
    x, given = some(x), dict[nn.Module, tuple[Tensor, ...]]()
    modules = [*model.encoders, *model.decoders]
    hooks = [module.register_forward_pre_hook(given.__setitem__) for module in modules]
    try:
        z = model.trace(x).z
    finally:
        for hook in hooks:
            hook.remove()

    def part(module: nn.Module, value: Tensor) -> _Part:
        latent = tuple(any(g is z_i for z_i in z) for g in given[module])
        return _Part(module, tuple(g.detach() for g in given[module]), latent, value.detach())

    first = -1 if model.top_down else 0  # the level that is drawn from x itself
    whole = _Part(lambda x: model.trace(x).q[first], (x,), (False,), z[first].detach())
    return (
        [whole, *map(part, model.encoders, z)],
        [*map(part, model.decoders, (x, *z[:-1]))],
    )


@contextmanager
def _shaken(model: nn.Module) -> Iterator[None]:
    """Evaluate with gradient, and with other weights: a start from zero hides what there is."""
    weights = {p: p.data for p in model.parameters()}
    with evaluating(model), torch.enable_grad():
        try:
            for p, data in weights.items():
                # Wide enough for a change to come through many layers.
                fan_in = data[0].numel() if data.dim() > 1 else 10
                p.data = data + 1.5 / math.sqrt(fan_in) * torch.randn_like(data)
            yield
        finally:
            for p, data in weights.items():
                p.data = data


def _repeats(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether each conditional returns the same distribution when it is called again."""
    with evaluating(model):
        encoders, decoders = _parts(model, x)
        prior = _Part(model.prior, (), (), encoders[-1].value)
        parts = (*encoders, *decoders, prior)
        return all(_same(part.score(*part.given), part.score(*part.given)) for part in parts)


def _rows_alone(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether the distributions of two rows are the same without the other rows."""
    two = slice(2)
    with evaluating(model):
        return all(
            _same(
                part.score(*part.given)[..., two],
                part.score(*(g[..., two, :] for g in part.given), rows=two),
            )
            for parts in _parts(model, x)
            for part in parts
        )


def _own_weights(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether no two conditionals have all their weights in common."""
    owned = [frozenset(m.parameters()) for m in (*model.encoders, *model.decoders)]
    return all(count == 1 for weights, count in Counter(owned).items() if weights)


def _registered(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether all that the ELBO has a gradient in are the model's parameters."""
    with evaluating(model), torch.enable_grad():
        nodes: list[Any] = [elbo(model, some(x)).mean().grad_fn]
    seen = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
    return {node.variable for node in seen if hasattr(node, "variable")} <= {*model.parameters()}


def _looks(model: LatentVariableModel, x: Tensor, decoders: bool) -> bool:
    """Tell whether each conditional changes with what it is given: x, or a level beside it."""
    with evaluating(model):
        parts = _parts(model, x)[decoders]
    with _shaken(model):
        return all(part.changes(0) for part in parts)


def _slopes(of: Tensor, *inputs: Tensor) -> list[bool | None]:
    """Tell of each input whether `of` has a gradient in it, zero or not; None: no path at all."""
    if not (of.requires_grad and inputs):
        return [None] * len(inputs)
    # In a random direction: of a layer norm, say, the sum is constant.
    found = torch.autograd.grad(of, inputs, torch.randn_like(of), allow_unused=True)
    return [None if gradient is None else bool(gradient.any()) for gradient in found]


def _reached(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether each weight has a path to the ELBO, and a gradient unless it changes nothing."""
    weights = [*model.parameters()]
    with evaluating(model):
        parts = [part for side in _parts(model, x) for part in side]
        with torch.enable_grad():
            paths = _slopes(elbo(model, some(x)), *weights)

    def scores() -> Tensor:
        return torch.cat([part.score(*part.given).flatten() for part in parts])

    with _shaken(model):
        before = scores()
        for weight, slope in zip(weights, _slopes(before, *weights), strict=True):
            if not slope:
                weight.data = weight.data + torch.randn_like(weight)
        return None not in paths and _same(before, scores())


def _passes_on(part: _Part) -> bool:
    """Tell whether a conditional's draws follow its weights, and its scores the latents it sees."""
    given = [g.requires_grad_(z) for g, z in zip(part.given, part.latent, strict=True)]
    places = [place for place, z in enumerate(part.latent) if z]
    slopes = _slopes(part.score(*given), *(given[place] for place in places))
    return all(
        slope or not part.changes(place) for slope, place in zip(slopes, places, strict=True)
    )


def _attached(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether gradients pass through each draw, and through each conditional to its codes."""
    with evaluating(model):
        encoders, decoders = _parts(model, x)
    with _shaken(model):
        return all(map(_passes_on, (*encoders, *decoders))) and all(
            any(_slopes(part.of(*part.given).rsample(), *weights))
            for part, encoder in zip(encoders[1:], model.encoders, strict=True)
            if (weights := [*encoder.parameters()])
        )


SOUND = tuple(
    Condition(name, hint, lambda model, *rest, _holds=holds: _holds(model, rest[-1]))
    for name, hint, holds in (
        (
            "The ELBO of some rows is NaN or infinite",
            "Is there a division by zero, a logarithm of it, or a scale that runs to zero?",
            lambda model, x: bool(one_pass(model, x).log_weight.isfinite().all()),
        ),
        (
            "A conditional is random: called twice, it returns two distributions",
            "Only draws of z are random. In functional.dropout pass training=self.training.",
            _repeats,
        ),
        (
            "The distribution of a row depends on the other rows of its batch",
            "Is a mean, softmax or norm taken over axis 0? Batch norm needs running statistics.",
            _rows_alone,
        ),
        (
            "Two conditionals have the same weights",
            "Build a network of its own for each: [conditional] * 2 is one, twice.",
            _own_weights,
        ),
        (
            "Some weights are frozen, or there are none",
            "Each parameter needs requires_grad; what is fixed for good belongs into a buffer.",
            lambda model, x: (
                any(True for _ in model.parameters())
                and all(p.requires_grad for p in model.parameters())
            ),
        ),
        (
            "Some weights are not registered, so that no optimiser sees them",
            "Keep networks as attributes of their own, or in an nn.ModuleList.",
            _registered,
        ),
        (
            "An encoder gives the same q for every input",
            "Does its network use x, or the level that it is given?",
            lambda model, x: _looks(model, x, decoders=False),
        ),
        (
            "A decoder gives the same p for every code",
            "Does its network use the z that it is given?",
            lambda model, x: _looks(model, x, decoders=True),
        ),
        (
            "Some weights get no gradient from the ELBO",
            "Is each part of the model used, without detach and without no_grad?",
            _reached,
        ),
        (
            "A level is detached: no gradient passes through its draws, or back to its code",
            "Draw with rsample, and hand z on without detach, rounding or no_grad.",
            _attached,
        ),
    )
)
"""What must hold of the model that is the first thing an inspection is given."""
