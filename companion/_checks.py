"""Arguments are checked at the door: here, and in the few places where a user enters.

Each error names the argument, says what was expected and what came, and a remedy that works.
Behind the door there is nothing but mathematics.
"""

import math
from collections.abc import Sequence
from itertools import chain, zip_longest
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


def check_count(value: Any, name: str, minimum: int = 1, maximum: float = math.inf) -> None:
    """Raise unless `value` is a whole number from `minimum` to `maximum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}; pass an int such as 10")
    if not minimum <= int(value) <= maximum:
        raise ValueError(f"{name} must be a number from {minimum} to {maximum:g}, got {value}")


def check_number(value: Any, name: str) -> None:
    """Raise unless `value` is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}; pass a float such as 0.1")
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be finite and above zero, got {value}; pass e.g. 0.1")


def check_kind(value: object, name: str, kind: type, remedy: str) -> None:
    """Raise unless `value` is an instance of `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}; {remedy}")


def check_tensor(value: Any, name: str, *shape: int | None, like: Tensor | None = None) -> None:
    """Raise unless `value` is a tensor of finite numbers, of this shape (None: any size).

    `like` is a tensor that it will meet: dtype and device must agree.
    """
    check_kind(value, name, Tensor, f"use torch.tensor(numpy.asarray({name}, dtype='float32'))")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {value.dtype}; use {name}.float()")
    if like is not None and (value.dtype, value.device) != (like.dtype, like.device):
        own, other = ((t.dtype, str(t.device)) for t in (value, like))
        raise TypeError(f"{name} must be {other}, got {own}; use {name}.to{other[::-1]}")
    wanted = tuple(b if a is None else a for a, b in zip_longest(shape, value.shape, fillvalue=0))
    if shape and wanted != value.shape:
        remedy = f"try {name}[None] of a row, {name}.flatten(1) of images"
        raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}; {remedy}")
    # A sum is finite only if each term is: one number to look at, unless something is wrong.
    value = torch.func.debug_unwrap(value.detach())
    if not math.isfinite(value.sum()) and not value.isfinite().all():
        rows = f"{name}.reshape(len({name}), -1).isfinite().all(1)"
        raise ValueError(f"{name} must be finite; keep {name}[{rows}]")


def check_covariance(value: Tensor, name: str, size: int, like: Tensor) -> None:
    """Raise unless `value` is a covariance matrix of `size` units."""
    check_tensor(value, name, size, size, like=like)
    if torch.linalg.cholesky_ex(value).info or not torch.allclose(value, value.mT):
        raise ValueError(f"{name} must be symmetric and positive definite, got {value.tolist()}")


def check_probabilities(value: Tensor, name: str, *shape: int | None) -> None:
    """Raise unless each row of `value` is a distribution."""
    check_tensor(value, name, *shape)
    if value.min() < 0 or not torch.allclose(value.sum(-1), torch.ones_like(value[..., 0])):
        raise ValueError(f"rows of {name} must sum to one; {name} / {name}.sum(-1, keepdim=True)")


def check_support(x: Tensor, likelihood: Distribution) -> None:
    """Raise unless p(x | z) can produce each row of x."""
    support: Any = getattr(likelihood.support, "base_constraint", likelihood.support)
    if support is constraints.real:
        return
    if not (torch.equal(x * x, x) if support is constraints.boolean else support.check(x).all()):
        span = f"{x.min().item():.4g} to {x.max().item():.4g}, which {likelihood} cannot produce"
        raise ValueError(f"x runs from {span}; grey pixels become 0 or 1 by data.binarise(x)")


def check_conditional(
    conditional: nn.Module, name: str, *shapes: Sequence[int], size: int | None = None
) -> int:
    """Return the event size of a conditional, or raise unless its forward returns what it should.

    For input of these shapes it must return a distribution with their batch and an event of one
    axis, of `size` where that is known: then it is an encoder, and draws by rsample.
    """
    try:
        p = conditional(*(like(conditional).new_zeros(shape) for shape in shapes))
    except Exception as error:
        raise ValueError(f"{name} does not accept input of shapes {shapes} ({error})") from error
    check_kind(p, f"what {name} returns", Distribution, "e.g. GaussianConditional(net)(…)")
    batch, event = torch.broadcast_shapes(*(shape[:-1] for shape in shapes)), tuple(p.event_shape)
    if p.batch_shape != batch or len(event) != 1 or size not in (None, *event):
        wanted, got = f"batch {tuple(batch)} and event ({size or 'd'},)", tuple(p.batch_shape)
        raise ValueError(f"{name} must return {wanted}, got {got} and {event}; see Independent")
    if size and not p.has_rsample:
        raise ValueError(f"{name} must draw z by rsample, {p} cannot; use a Gaussian")
    return int(event[0])


def valid(values: Tensor) -> Tensor:
    """Return an objective's values; raise if one is NaN or infinite. Minus infinity is a bound."""
    if not torch.compiler.is_compiling():
        seen = torch.func.debug_unwrap(values.detach())
        if not seen.sum().item() < math.inf and not (seen < math.inf).all():
            raise FloatingPointError("the objective is NaN or +∞: look for NaN in the weights")
    return values


def like(module: nn.Module) -> Tensor:
    """Return a tensor with the dtype and device of a module's numbers."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor
    return torch.empty(())


def sum_of_objective(values: Tensor, size: int) -> float:
    """Return the sum of an objective's values for a batch: one finite number for each row."""
    if values.shape != (size,) or not values.requires_grad:
        raise ValueError(f"objective must return shape ({size},) with gradient, got {values.shape}")
    total = values.detach().sum().item()
    if not math.isfinite(total):
        raise FloatingPointError(f"the objective became {total}")
    return total
