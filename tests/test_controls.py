"""The values of an explorer's controls: their order, how they read, and which is shown first."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from companion._explore import make_control


def made(values, **start):
    return make_control("a", values, {}, start)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (torch.tensor([0.5, 0.1]), ["0.1", "0.5"]),
        (torch.tensor([2, 1]), ["1", "2"]),
        ([torch.tensor(0.5), torch.tensor(-2)], ["−2", "0.5"]),
        (np.linspace(0, 1, 3), ["0", "0.5", "1"]),
        ([np.float32(0.1), np.int64(3), np.float64(1e-7)], ["1e−07", "0.1", "3"]),
        ([torch.tensor(0.5), Fraction(1, 4)], ["1/4", "0.5"]),
        ([Fraction(-1, 2), 2, math.inf], ["−1/2", "2", "∞"]),
        ([-0.0, -math.inf], ["−∞", "0"]),
        ([0.1 + 0.2, 1e6, 1234567.0, 123456.75], ["0.3", "123457", "1000000", "1234567"]),
        (range(3, 0, -1), ["1", "2", "3"]),
        ((i / 4 for i in range(3)), ["0", "0.25", "0.5"]),
        ([math.nan], ["nan"]),
    ],
)
def test_numbers_read_as_numbers_in_increasing_order(values, texts):
    assert made(values).shown == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, 1.00000001], ["1", "1.00000001"]),
        ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
        ([100000.4, 100000.2], ["100000.2", "100000.4"]),
        ([Fraction(1, 3), 1 / 3], ["0.333333", "1/3"]),
    ],
)
def test_two_numbers_never_read_the_same(values, texts):
    assert made(values).shown == texts


@pytest.mark.parametrize(
    "values", [["z", "x"], [True, False], [3, "none", 1], [None, 0.5], [(2, 1), (1, 2)]]
)
def test_words_and_mixtures_keep_their_order(values):
    control = made(values)
    assert control.values == values
    assert control.shown == [str(value) for value in values]
    assert control.start == 0


def test_truth_reads_as_python_writes_it():
    assert made([np.True_, torch.tensor(False)]).shown == ["True", "False"]


@pytest.mark.parametrize(
    ("values", "start", "place"),
    [
        ([4.0, 1, 2], {}, 2),
        ([4.0, 1, 2], {"a": 1.0}, 0),
        ([4.0, 1, 2], {"a": torch.tensor(2)}, 1),
        (["x", "y"], {"a": "y"}, 1),
        (["x", None], {"a": None}, 1),
        ([0.1, 0.100000001], {"a": float("0.100000001")}, 1),
        # The nearest to 0.1 in single precision reads 0.1, and may be called so.
        (torch.tensor([0.5, 0.1]), {"a": 0.1}, 0),
        ([np.array([1, 2]), np.array([3, 4])], {"a": np.array([3, 4])}, 1),
    ],
)
def test_the_first_one_shown(values, start, place):
    assert made(values, **start).start == place


@pytest.mark.parametrize(
    ("values", "start", "said"),
    [
        ([1, 0.5], {"a": 3}, "start of a must be one of its values 0.5, 1, got 3"),
        ([1, 0.5], {"a": "x"}, "start of a must be one of its values 0.5, 1, got 'x'"),
        ([1, 2, 1.0], {}, "a must hold each value once, got 1 2 times"),
        ([0.5, Fraction(1, 2)], {}, "a must hold each value once, got 0.5 2 times"),
        (["x", "x"], {}, "a must hold each value once, got x 2 times"),
        ([1, "1"], {}, "a must hold each value once, got 1 2 times"),
        ([True, True], {}, "a must hold each value once, got True 2 times"),
    ],
)
def test_what_is_ambiguous_is_refused(values, start, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        made(values, **start)


@pytest.mark.parametrize("values", ["abc", {1, 2}, torch.ones(2, 2), torch.tensor(1.0), 3, None])
def test_what_is_no_sequence_of_values_is_refused(values):
    with pytest.raises(TypeError, match="a must be a sequence of values such as"):
        made(values)


def test_an_arrays_numbers_are_pythons_own_and_others_stay_as_they_are():
    assert {0.5: "x", 0.25: "y"}[made(torch.tensor([0.5, 0.25])).values[0]] == "y"
    one = torch.tensor(2.0)
    assert made([one, 1]).values[1] is one
    given = [3, 1]
    made(given)
    assert given == [3, 1], "the caller's list is not sorted"
