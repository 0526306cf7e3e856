"""What Python hands over to a figure: what travels, and what is refused with a remedy."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from companion import live


def data(value):
    return live.figure("bar", alt="", value=value).data["value"]


def test_numpy_travels_as_tensors_and_numbers_do():
    array = np.array([[1.0, 2.0]], dtype=np.float32)
    assert data(array) == data(torch.from_numpy(array))
    assert data(np.float64(0.5)) == 0.5
    assert data(np.int64(3)) == 3
    assert data({"a": [np.bool_(True)]}) == {"a": [True]}


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (math.nan, ValueError, "finite"),
        ([1.0, math.inf], ValueError, "finite"),
        (torch.tensor([2**40]), ValueError, "double"),
        (torch.tensor([True]), TypeError, "float"),
        (nn.Sequential(nn.Linear(1, 1), nn.ReLU()), TypeError, "Linear, SiLU and Tanh"),
        ({1, 2}, TypeError, "numbers, texts"),
    ],
)
def test_what_cannot_travel_is_refused(value, error, words):
    with pytest.raises(error, match=words):
        data(value)


def test_a_tensor_may_hold_what_a_number_may_not():
    figure = live.figure("bar", alt="", value=torch.tensor([math.nan]))
    assert json.loads(json.dumps(figure.data, allow_nan=False))


def test_a_figure_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must be that of a module"):
        live.figure("nothing", alt="")
