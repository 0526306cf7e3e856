"""Compares results: any form in which a reader may return numbers, by shape and value."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Unreadable(Exception):
    """A result is no tensor of real numbers; the message is the sentence that the reader gets."""


def parts(value: Any, count: int | None = None) -> list[Tensor]:
    """Return a result as tensors.

    Args:
        value: A tensor or whatever stands for one, or a tuple of such.
        count: How many are asked for; with None a tuple holds several, anything else is one.
    """
    if count is None:
        count = len(value) if isinstance(value, tuple) else 1
    listed = isinstance(value, tuple | list)
    if isinstance(value, Tensor | np.ndarray):
        listed = value.ndim > 0
    if count > 1 and listed and len(value) == count:
        return [tensor(part) for part in value]
    return [tensor(value)]


def tensor(value: Any) -> Tensor:
    """Return a number, array, set or nested list of these as a tensor of real numbers.

    Gradients are kept.
    """
    try:
        if isinstance(value, set | frozenset | range | type({}.keys()) | type({}.values())):
            value = sorted(value) if isinstance(value, set | frozenset) else list(value)
        if isinstance(value, list | tuple) and value and not _numbers(value):
            found = torch.stack([tensor(item) for item in value])
        elif isinstance(value, np.ndarray | np.generic):
            found = torch.as_tensor(np.array(value))
        else:
            found = torch.as_tensor(value)
        if found.is_sparse:
            found = found.to_dense()
        found = found.cpu()
        if not found.is_complex():
            return found
    except Exception:  # whatever the reader's function returned: it is no tensor
        pass
    raise Unreadable(
        f"Your function should return a tensor of real numbers; it returned {_kind(value)}."
    )


def _numbers(value: Sequence[Any]) -> bool:
    """Tell whether a sequence holds plain numbers alone."""
    return all(isinstance(item, int | float) for item in value)


def _kind(value: Any) -> str:
    """Say what an unreadable result is."""
    name = type(value).__name__
    if isinstance(value, list | tuple):
        inner = [type(item).__name__ for item in value if not isinstance(item, int | float)]
        return f"a {name} that holds {inner[0]}" if inner else f"a {name}"
    if isinstance(value, Tensor):
        return "a complex tensor" if value.is_complex() else f"a tensor on {value.device}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"{name}: is it to be called, or awaited, first?" if name == "coroutine" else name


def close(got: Tensor, right: Tensor, tolerance: float) -> bool:
    """Tell whether one result agrees with the right one; `tolerance` is relative to its span."""
    # One number may come in any shape; what has an axis keeps it, even if its length is 1.
    if got.shape != right.shape and not (got.numel() == 1 and right.dim() == 0):
        return False
    return bool(wrong(got, right, tolerance).numel() == 0)


def wrong(got: Tensor, right: Tensor, tolerance: float) -> Tensor:
    """Return the positions, in the flattened results, at which two of one size differ."""
    got, right = got.flatten(), right.flatten()
    same = torch.isclose(got, right, rtol=0.0, atol=tolerance * span(right), equal_nan=True)
    return (~same).nonzero().flatten()


def span(right: Tensor) -> float:
    """Return the size of the largest finite entry: an infinite one would make all close."""
    finite = right[torch.isfinite(right)].abs()
    return max(finite.max().item(), 1e-12) if finite.numel() else 1.0


def same(
    results: Sequence[Sequence[Tensor]], rights: Sequence[Sequence[Tensor]], tolerance: float
) -> bool:
    """Tell whether all results of all cases agree."""
    return len(results) == len(rights) and all(
        len(ours) == len(theirs)
        and all(close(got, right, tolerance) for got, right in zip(ours, theirs, strict=True))
        for ours, theirs in zip(results, rights, strict=True)
    )


def apart(got: float, right: float) -> tuple[str, str]:
    """Return two numbers with the digits that tell them apart."""
    for digits in range(4, 18):
        ours, theirs = f"{got:.{digits}g}", f"{right:.{digits}g}"
        if ours != theirs or math.isnan(got):
            break
    return ours, theirs
