"""Each check accepts what it should, and else names the argument in an error of the right type."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import (
    Beta,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
)

from companion import AutoregressiveConditional, BernoulliConditional, GaussianConditional, mlp
from companion._checks import (
    check_conditional,
    check_count,
    check_covariance,
    check_kind,
    check_number,
    check_probabilities,
    check_support,
    check_tensor,
    like,
    sum_of_objective,
    valid,
)

ONES = torch.ones(2, 3)


def refuses(error, name, check, *args, **kwargs):
    """Assert the error's type and that it speaks of the argument, in one line of some length."""
    with pytest.raises(error) as caught:
        check(*args, **kwargs)
    assert caught.type is error
    assert re.search(rf"\b{re.escape(name)}(?!\w)", str(caught.value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(1), 10**30])
def test_counts(value):
    check_count(value, "num")


@pytest.mark.parametrize(
    "value", [1.0, "3", None, True, torch.tensor(3), math.nan, [1], np.ones(1)]
)
def test_no_counts(value):
    assert "num" in refuses(TypeError, "num", check_count, value, "num")


@pytest.mark.parametrize(("value", "span"), [(0, (1,)), (-1, (0,)), (1, (2,)), (7, (1, 6))])
def test_counts_out_of_range(value, span):
    assert str(value) in refuses(ValueError, "num", check_count, value, "num", *span)
    for limit in span:
        check_count(limit, "num", *span)


@pytest.mark.parametrize("value", [1e-300, 2, 0.5, np.float32(0.5), np.int64(3), Fraction(1, 2)])
def test_numbers(value):
    check_number(value, "scale")


@pytest.mark.parametrize(
    "value", [0, 0.0, -1, -1e-300, math.nan, math.inf, -math.inf, np.float32("nan")]
)
def test_numbers_out_of_range(value):
    refuses(ValueError, "scale", check_number, value, "scale")


@pytest.mark.parametrize("value", ["1", None, True, torch.tensor(1.0), 1j, [1.0]])
def test_no_numbers(value):
    refuses(TypeError, "scale", check_number, value, "scale")


def test_kinds():
    check_kind(nn.Identity(), "net", nn.Module, "build one")
    message = refuses(TypeError, "net", check_kind, abs, "net", nn.Module, "build one")
    assert "Module" in message
    assert "build one" in message


# --- tensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors(dtype):
    x = ONES.to(dtype)
    for shape in ((), (2, 3), (None, 3), (2, None), (None, None)):
        check_tensor(x, "x", *shape, like=torch.zeros(7, dtype=dtype))
    check_tensor(x[0, 0], "x")
    check_tensor(x.requires_grad_(), "x", 2, 3)
    check_tensor(x.T, "x", 3, 2)
    check_tensor(x[:1].expand(5, 3), "x", 5, 3)


NO_TENSORS = [ONES.tolist(), ONES.numpy(), 1.0, None, [ONES]]
NO_FLOATS = [ONES.long(), ONES.bool(), ONES.byte(), ONES.to(torch.complex64)]
OTHER_SHAPES = [
    (torch.ones(3), (None, 3)),  # a row: its only axis goes with the first of the shape
    (torch.ones(3), (3, 3)),
    (torch.ones(2), (2, 3)),
    (torch.tensor(1.0), (None,)),
    (torch.tensor(1.0), (None, None)),
    (torch.ones(1, 2, 3), (None, None)),
    (torch.ones(1, 2, 3), (1, 2)),
    (torch.ones(2, 4), (None, 3)),
    (torch.ones(5, 1), (None, 64)),
    (torch.ones(3, 2), (2, 3)),
    (torch.ones(2, 1), (2,)),
]


@pytest.mark.parametrize("value", NO_TENSORS, ids=lambda v: type(v).__name__)
def test_no_tensors(value):
    refuses(TypeError, "x", check_tensor, value, "x")


@pytest.mark.parametrize("value", NO_FLOATS, ids=lambda v: str(v.dtype))
def test_tensors_of_no_floating_point(value):
    refuses(TypeError, "x", check_tensor, value, "x")


@pytest.mark.parametrize(("value", "shape"), OTHER_SHAPES)
def test_tensors_of_another_shape(value, shape):
    # Would catch axes that are compared only as far as the shorter of the two shapes goes.
    said = refuses(ValueError, "x", check_tensor, value, "x", *shape)
    assert str(tuple(value.shape)) in said
    assert str(shape) in said


def test_tensors_of_another_dtype_or_device():
    for other in (ONES.double(), ONES.half(), ONES.to("meta")):
        refuses(TypeError, "x", check_tensor, ONES, "x", like=other)
        refuses(TypeError, "x", check_tensor, other, "x", like=ONES)
    # What cannot meet x at all is said before what a mended shape would show.
    assert "float64" in refuses(TypeError, "x", check_tensor, ONES.double(), "x", None, like=ONES)


@pytest.mark.parametrize(
    ("dtype", "large"),
    [(torch.float16, 6e4), (torch.bfloat16, 1e38), (torch.float32, 1e38), (torch.float64, 1e308)],
)
def test_large_numbers_are_finite_although_their_sum_is_not(dtype, large):
    x = torch.full((100, 4), large, dtype=dtype)
    assert math.isinf(x.sum())
    check_tensor(x, "x")
    check_tensor(-x, "x", 100, 4)
    # And a number that is not finite is found among them.
    for value in (math.nan, math.inf, -math.inf):
        bad = x.clone()
        bad[17, 2] = value
        refuses(ValueError, "x", check_tensor, bad, "x")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found(value):
    x = torch.zeros(3, 2)
    x[2, 0] = value
    refuses(ValueError, "x", check_tensor, x, "x")
    # Two infinities whose sum is NaN.
    x[1, 1] = -value
    refuses(ValueError, "x", check_tensor, x, "x")
    refuses(ValueError, "x", check_tensor, torch.tensor(value), "x")


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 2, 2)])
def test_the_remedy_keeps_what_is_finite(shape):
    x = torch.arange(float(math.prod(shape))).reshape(shape)
    x[1] = math.nan
    said = refuses(ValueError, "x", check_tensor, x, "x")
    kept = eval(said.partition("keep ")[2])
    assert torch.equal(kept, x[[0, 2]])


def test_tensors_are_checked_inside_a_map():
    # An ensemble calls its members' objectives under vmap, where a value cannot be looked at.
    def checked(x):
        check_tensor(x, "x", None, 3)
        return x.sum()

    assert torch.vmap(checked)(torch.ones(5, 2, 3)).tolist() == [6.0] * 5
    refuses(ValueError, "x", torch.vmap(checked), torch.full((5, 2, 3), math.nan))
    assert torch.func.grad(checked)(ONES).equal(ONES)


def test_covariances():
    like_it = torch.zeros(1)
    check_covariance(torch.eye(3), "S", 3, like_it)
    check_covariance(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), "S", 2, like_it)
    bad = [-torch.eye(2), torch.zeros(2, 2), torch.ones(2, 2).triu() + torch.eye(2), torch.eye(3)]
    for matrix in (*bad, torch.full((2, 2), math.nan), torch.ones(2)):
        refuses(ValueError, "S", check_covariance, matrix, "S", 2, like_it)
    refuses(TypeError, "S", check_covariance, torch.eye(2).double(), "S", 2, like_it)


def test_probabilities():
    for table in (torch.tensor([0.2, 0.8]), torch.eye(3), torch.full((4, 3), 1 / 3).double()):
        check_probabilities(table, "p")
    check_probabilities(torch.eye(3), "p", 3, None)
    for bad in ([0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [[1.0, 0.0], [0.5, 0.4]]):
        refuses(ValueError, "p", check_probabilities, torch.tensor(bad), "p")
    refuses(ValueError, "p", check_probabilities, torch.eye(3), "p", 2, None)
    refuses(TypeError, "p", check_probabilities, torch.eye(3).long(), "p")


# --- what goes with a decoder ---------------------------------------------------------------------

BITS, GREY, REAL = ONES, 0.5 * ONES, -2.5 * ONES
PROBABILITY = Independent(Beta(2 * torch.ones(3), torch.ones(3)), 1)
MIXTURE = MixtureSameFamily(
    Categorical(torch.ones(2)), Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
)
FAMILIES = {
    "Gaussian": (GaussianConditional(mlp(2, 3), 1.0)(torch.zeros(2)), [BITS, GREY, REAL], []),
    "full Gaussian": (MultivariateNormal(torch.zeros(3), torch.eye(3)), [BITS, GREY, REAL], []),
    "mixture": (MIXTURE, [BITS, GREY, REAL], []),
    "Bernoulli": (
        BernoulliConditional(mlp(2, 3))(torch.zeros(2)),
        [BITS, 0 * BITS],
        [GREY, REAL, 2 * BITS, -BITS],
    ),
    "pixel by pixel": (
        AutoregressiveConditional(2, 3, 4)(torch.zeros(2)),
        [BITS],
        [GREY, REAL, -BITS],
    ),
    "Beta": (PROBABILITY, [GREY], [REAL, 2 * BITS]),
    "Poisson": (Independent(Poisson(torch.ones(3)), 1), [BITS, 4 * BITS], [GREY, REAL]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_support(family):
    likelihood, good, bad = FAMILIES[family]
    for x in good:
        check_support(x, likelihood)
    for x in bad:
        refuses(ValueError, "x", check_support, x, likelihood)
        # One such row among others is enough.
        refuses(ValueError, "x", check_support, torch.cat([good[0], x[:1]]), likelihood)


# --- conditionals ---------------------------------------------------------------------------------


class Returns(nn.Module):
    """A conditional that returns what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


def test_conditionals_tell_their_size():
    assert check_conditional(GaussianConditional(mlp(4, 6)), "q", (2, 4), size=3) == 3
    assert check_conditional(BernoulliConditional(mlp(3, 8)), "p", (2, 2, 3)) == 8
    assert check_conditional(GaussianConditional(mlp(4 + 2, 6)), "q", (2, 4), (5, 2, 2)) == 3
    prior = Returns(lambda: Independent(Normal(torch.zeros(5), 1.0), 1))
    assert check_conditional(prior, "prior") == 5
    # In the module's own dtype.
    assert check_conditional(GaussianConditional(mlp(4, 6).double()), "q", (2, 4)) == 3


NO_CONDITIONALS = {
    "another input": (ValueError, GaussianConditional(mlp(5, 6))),
    "an odd number of outputs": (ValueError, GaussianConditional(mlp(4, 7))),
    "another size": (ValueError, GaussianConditional(mlp(4, 4))),
    "a network": (TypeError, mlp(4, 3)),
    "nothing": (TypeError, Returns(lambda x: None)),
    "one event for all rows": (
        ValueError,
        Returns(lambda x: Independent(Normal(x[0, :3], 1.0), 1)),
    ),
    "no event": (ValueError, Returns(lambda x: Normal(x[..., :3], 1.0))),
    "two axes of event": (ValueError, Returns(lambda x: Independent(Normal(x[..., :3], 1.0), 2))),
    "no rsample": (ValueError, BernoulliConditional(mlp(4, 3))),
}


@pytest.mark.parametrize("case", NO_CONDITIONALS)
def test_no_conditionals(case):
    error, module = NO_CONDITIONALS[case]
    refuses(error, "encoders[0]", check_conditional, module, "encoders[0]", (2, 4), size=3)


def test_an_event_has_one_axis():
    # Of the right batch, so that nothing but the event is wrong: one number, and a picture.
    number = Returns(lambda z: Normal(z.mean(-1), 1.0))
    picture = Returns(lambda z: Independent(Normal(z[..., None].expand(*z.shape, 8), 1.0), 2))
    for module in (number, picture):
        refuses(ValueError, "decoder", check_conditional, module, "decoder", (2, 2, 3))


# --- results --------------------------------------------------------------------------------------


def test_objectives_that_are_bounds_come_back():
    minus = -math.inf
    for values in ([1.0, 2.0], [minus, 0.0], [minus, minus], [3e38, 3e38], [-3e38, -3e38]):
        given = torch.tensor(values)
        assert valid(given) is given
    for values in ([math.nan], [1.0, math.nan], [minus, math.nan], [math.inf], [minus, math.inf]):
        with pytest.raises(FloatingPointError):
            valid(torch.tensor(values))
    with pytest.raises(FloatingPointError):
        torch.vmap(valid)(torch.tensor([[1.0], [math.nan]]))


def test_sum_of_an_objective():
    values = torch.tensor([1.0, 2.5], requires_grad=True)
    assert sum_of_objective(values, 2) == 3.5
    for bad in (values.mean(), values[None], values[:1], values.detach()):
        refuses(ValueError, "objective", sum_of_objective, bad, 2)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(FloatingPointError):
            sum_of_objective(values * value, 2)


def test_the_numbers_that_a_module_is_like():
    assert like(mlp(2, 3).double()).dtype == torch.float64
    assert like(nn.Identity()).dtype == torch.get_default_dtype()
    counted = nn.Module()
    counted.register_buffer("count", torch.zeros(1, dtype=torch.long))
    counted.register_buffer("scale", torch.zeros(1, dtype=torch.float16))
    assert like(counted).dtype == torch.float16
