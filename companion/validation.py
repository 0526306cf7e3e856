"""Checks of arguments: each raises an error that names the argument, its value and the remedy."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor, nn

__all__ = [
    "require_choice",
    "require_count",
    "require_data",
    "require_module",
    "require_nonnegative",
    "require_positive",
    "require_tensor",
]


def require_count(value: object, name: str, *, minimum: int = 1) -> int:
    """Return `value` as an int if it is a whole number of at least `minimum`.

    Raises:
        TypeError: `value` is no whole number (a bool or a float such as 2.0 is none).
        ValueError: `value` is below `minimum`.

    >>> require_count(3, "num_samples")
    3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}; pass an int such as 10")
    count = int(value)
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {count}; pass a larger number")
    return count


def require_positive(value: object, name: str) -> float:
    """Return `value` as a float if it is a finite number above zero.

    Raises:
        TypeError: `value` is no real number.
        ValueError: `value` is zero, negative, infinite or NaN.

    >>> require_positive(0.5, "scale")
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}; pass a float such as 0.1")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and above zero, got {number}; pass e.g. 0.1")
    return number


def require_nonnegative(value: object, name: str) -> float:
    """Return `value` as a float if it is a finite number of at least zero.

    Raises:
        TypeError: `value` is no real number.
        ValueError: `value` is negative, infinite or NaN.

    >>> require_nonnegative(0, "beta")
    0.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}; pass a float such as 0.1")
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and at least zero, got {number}; pass e.g. 1.0")
    return number


def require_choice(value: str, name: str, choices: list[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        ValueError: it is none of them; the message lists them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def require_module(value: object, name: str, remedy: str) -> nn.Module:
    """Return `value` if it is a module.

    Raises:
        TypeError: it is something else, such as a function; the message ends with the remedy.
    """
    if not isinstance(value, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module, got {type(value).__name__}; {remedy}")
    return value


def require_tensor(
    value: object, name: str, *, axes: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return `value` if it is a tensor of finite floating-point numbers.

    Args:
        value: The tensor.
        name: What the caller calls it, for the message.
        axes: Number of axes, where it is known.
        dtype: Its dtype, where it must go with another tensor's.

    Raises:
        TypeError: `value` is no tensor, or not of that or any floating-point dtype.
        ValueError: `value` has another number of axes, no entries, or NaN or infinite ones.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; convert it with "
            f"torch.as_tensor({name}, dtype={dtype or torch.float32})"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name} must be floating point, got {value.dtype}; convert with {name}.float()"
        )
    if dtype is not None and value.dtype != dtype:
        raise TypeError(
            f"{name} must be {dtype}, as what it meets is, got {value.dtype}; convert it with "
            f"{name}.to({dtype}), or the other (a model too) with .to({value.dtype})"
        )
    if axes is not None and value.dim() != axes:
        raise ValueError(
            f"{name} must have {axes} axes, got shape {tuple(value.shape)}; reshape it"
        )
    if value.numel() == 0:
        raise ValueError(f"{name} is empty, shape {tuple(value.shape)}; pass at least one row")
    finite = torch.isfinite(value)
    if not finite.all():
        place = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{name} must be finite, but {name}{place} is {value[tuple(place)].item()}; remove or "
            f"impute such entries first"
        )
    return value


def require_data(
    x: object,
    name: str = "x",
    *,
    features: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return `x` if it is a finite floating-point matrix, one row a data point.

    Args:
        x: The data, (N, D).
        name: What the caller calls it, for the message.
        features: D, where it is known.
        dtype: Its dtype, where it must go with a model's.

    Raises:
        TypeError: `x` is no tensor, or not of that or any floating-point dtype.
        ValueError: `x` has not two axes, no rows, another D, or NaN or infinite entries.
    """
    if isinstance(x, Tensor) and x.dim() != 2:
        raise ValueError(
            f"{name} must have shape (N, D), one row a data point, got {tuple(x.shape)}; "
            f"use {name}[None] for one point, {name}.flatten(1) for images"
        )
    if isinstance(x, Tensor) and features is not None and x.shape[1] != features:
        raise ValueError(
            f"{name} must have {features} columns, got shape {tuple(x.shape)}; pass data of that "
            f"width, or build the model with D = {x.shape[1]}"
        )
    return require_tensor(x, name, dtype=dtype)
