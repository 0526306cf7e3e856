"""Each check passes what it should and names argument, value and remedy where it should not."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from companion._checks import (
    require_choice,
    check_count,
    require_data,
    require_module,
    require_nonnegative,
    require_positive,
    require_tensor,
)


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts(value):
    assert check_count(value, "num") == value
    assert type(check_count(value, "num")) is int


@pytest.mark.parametrize("value", [1.0, "3", None, True, torch.tensor(3), math.nan, [1]])
def test_no_counts(value):
    with pytest.raises(TypeError, match=r"num must be a whole number, got .*; pass an int"):
        check_count(value, "num")


@pytest.mark.parametrize(("value", "minimum"), [(0, 1), (-1, 0), (1, 2)])
def test_counts_that_are_too_small(value, minimum):
    with pytest.raises(ValueError, match=f"num must be at least {minimum}, got {value}; pass"):
        check_count(value, "num", minimum=minimum)
    assert check_count(minimum, "num", minimum=minimum) == minimum


@pytest.mark.parametrize("value", [1e-300, 2, 0.5, np.float32(0.5), Fraction(1, 2)])
def test_positive_numbers(value):
    assert require_positive(value, "scale") == float(value)
    assert require_nonnegative(value, "beta") == float(value)


@pytest.mark.parametrize("value", [-1, -1e-300, math.nan, math.inf, -math.inf])
def test_numbers_out_of_range(value):
    with pytest.raises(ValueError, match=r"scale must be finite and above zero, got .*; pass"):
        require_positive(value, "scale")
    with pytest.raises(ValueError, match=r"beta must be finite and at least zero, got .*; pass"):
        require_nonnegative(value, "beta")


def test_zero_is_where_they_differ():
    assert require_nonnegative(0, "beta") == 0
    with pytest.raises(ValueError, match=r"got 0\.0"):
        require_positive(0, "scale")


@pytest.mark.parametrize("value", ["1", None, True, torch.tensor(1.0), 1j])
def test_no_numbers(value):
    for check in (require_positive, require_nonnegative):
        with pytest.raises(TypeError, match=r"scale must be a number, got .*; pass a float"):
            check(value, "scale")


def test_choice():
    assert require_choice("a", "name", ["a", "b"]) == "a"
    with pytest.raises(ValueError, match="name must be one of a, b; got 'c'"):
        require_choice("c", "name", ["a", "b"])


def test_module():
    net = torch.nn.Identity()
    assert require_module(net, "net", "build one") is net
    with pytest.raises(TypeError, match=r"net must be a torch.nn.Module, got .*; build one"):
        require_module(lambda u: u, "net", "build one")


def test_good_data_come_back_untouched():
    x = torch.ones(2, 3, dtype=torch.float64)
    assert require_data(x, features=3, dtype=torch.float64) is x
    assert require_tensor(x, "x", axes=2) is x


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0]], TypeError, r"y must be a torch.Tensor, got list; .*as_tensor\(y"),
        (np.ones((2, 3)), TypeError, r"y must be a torch.Tensor, got ndarray; .*as_tensor\(y"),
        (torch.ones(2, 3).long(), TypeError, r"y must be floating point, got torch.int64; .*float"),
        (torch.ones(2, 3).bool(), TypeError, r"y must be floating point, got torch.bool; .*float"),
        (
            torch.ones(2, 3).half(),
            TypeError,
            r"y must be torch.float32.* got torch.float16; .*to\(",
        ),
        (torch.ones(3), ValueError, r"y must have shape \(N, D\).* got \(3,\); use y\[None\]"),
        (torch.tensor(1.0), ValueError, r"y must have shape \(N, D\).* got \(\); use"),
        (torch.ones(1, 2, 3), ValueError, r"y must have shape .* got \(1, 2, 3\); .*flatten"),
        (torch.ones(2, 4), ValueError, r"y must have 3 columns, got shape \(2, 4\); pass .*D = 4"),
        (torch.ones(0, 3), ValueError, r"y is empty, shape \(0, 3\); pass"),
        (torch.tensor([[1.0, 2, 3], [4, math.nan, 6]]), ValueError, r"y\[1, 1\] is nan; remove"),
        (torch.tensor([[1.0, 2, -math.inf]]), ValueError, r"y\[0, 2\] is -inf; remove"),
    ],
)
def test_bad_data(x, error, message):
    with pytest.raises(error, match=message):
        require_data(x, "y", features=3, dtype=torch.float32)


def test_bad_tensors():
    with pytest.raises(ValueError, match=r"weight must have 2 axes, got shape \(3,\); reshape"):
        require_tensor(torch.ones(3), "weight", axes=2)
    with pytest.raises(ValueError, match=r"bias must be finite, but bias\[1\] is inf"):
        require_tensor(torch.tensor([0, math.inf]), "bias")
