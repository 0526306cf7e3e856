"""Chapter 9: exercises on hierarchical VAEs."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from companion.data import tree_centres
from companion.exercises.checking import Exercise, Mistake, extreme

Step = tuple[Tensor, Tensor, float]
Law = Callable[..., tuple[Tensor, Tensor]]

# --- Exercise 1: the trace of a top-down encoder --------------------------------------------------


def _log_normal(value: Tensor, law: tuple[Tensor, Tensor]) -> Tensor:
    return Normal(*law).log_prob(value).sum(-1)


def _standard(z: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(z), torch.ones_like(z)


def _draws(x: Tensor, noise: Sequence[Tensor], q2: Law, q1: Law) -> tuple[Tensor, Tensor]:
    mean, scale = q2(x)
    z2 = mean + scale * noise[0]
    mean, scale = q1(x, z2)
    return z2, mean + scale * noise[1]


def _top_down_weight(
    x: Tensor, noise: Sequence[Tensor], q2: Law, q1: Law, p1: Law, px: Law
) -> Tensor:
    z2, z1 = _draws(x, noise, q2, q1)
    log_p = _log_normal(x, px(z1)) + _log_normal(z1, p1(z2)) + _log_normal(z2, _standard(z2))
    return log_p - _log_normal(z2, q2(x)) - _log_normal(z1, q1(x, z2))


def _law(*sizes: int) -> Law:
    """Return a random map from tensors of the first sizes to a mean and scale of the last."""
    *given, out = sizes
    weight = 0.6 * torch.randn(sum(given), out, dtype=torch.float64)
    bias, spread = torch.randn(2, out, dtype=torch.float64)

    def law(*values: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.cat(values, -1) @ weight
        return torch.tanh(mean) + bias, (0.3 * torch.sin(mean) + 0.2 * spread).exp()

    return law


def _top_down_cases() -> Iterable[Any]:
    # With levels of one size a wrong pairing runs at all.
    for rows, pixels, low, high in ((5, 3, 3, 3), (7, 4, 3, 2), (1, 4, 3, 2)):
        x = torch.randn(rows, pixels, dtype=torch.float64)
        noise = tuple(torch.randn(rows, d, dtype=torch.float64) for d in (high, low))
        laws = _law(pixels, high), _law(pixels, high, low), _law(high, low), _law(low, pixels)
        yield extreme("one row" if rows == 1 else "", x, noise, *laws)


def _weight_by_hand(x, noise, q2, q1, p1, px):
    def score(value, mean, scale):
        whole = ((value - mean) / scale) ** 2 + 2 * scale.log() + math.log(2 * math.pi)
        return -whole.sum(1) / 2

    z2, z1 = _draws(x, noise, q2, q1)
    rates = score(z2, *q2(x)) - score(z2, 0 * z2, 1 + 0 * z2)
    rates = rates + score(z1, *q1(x, z2)) - score(z1, *p1(z2))
    return score(x, *px(z1)) - rates


def _weight_from_the_noise(x, noise, q2, q1, p1, px):
    # log q(z) is that of the noise, less the logarithms of the scales.
    z2, z1 = _draws(x, noise, q2, q1)
    log_q = _log_normal(noise[0], _standard(z2)) - q2(x)[1].log().sum(-1)
    log_q = log_q + _log_normal(noise[1], _standard(z1)) - q1(x, z2)[1].log().sum(-1)
    top = _log_normal(z2, _standard(z2))
    return _log_normal(x, px(z1)) + _log_normal(z1, p1(z2)) + top - log_q


top_down_weight = Exercise(
    solution=_top_down_weight,
    cases=_top_down_cases,
    right=(_weight_by_hand, _weight_from_the_noise),
    mistakes=(
        Mistake(
            "means in place of draws",
            "A code is its mean plus its standard deviation times the noise.",
            lambda x, noise, *laws: _top_down_weight(x, [0 * e for e in noise], *laws),
        ),
        Mistake(
            "q(z_1 | z_2, x) given the mean of z_2",
            "The lower level sees the z_2 that was drawn.",
            lambda x, noise, q2, q1, p1, px: _top_down_weight(
                x, noise, q2, lambda x, _: q1(x, q2(x)[0]), p1, px
            ),
        ),
        Mistake(
            "p(z_1 | z_2) left out",
            "Below the top the prior of a level is what the level above says of it.",
            lambda x, noise, q2, q1, p1, px: (
                _top_down_weight(x, noise, q2, q1, p1, px)
                - _log_normal(_draws(x, noise, q2, q1)[1], p1(_draws(x, noise, q2, q1)[0]))
            ),
        ),
        Mistake(
            "z_1 scored under N(0, I)",
            "Only the top has the prior N(0, I); z_1 has p(z_1 | z_2).",
            lambda x, noise, q2, q1, p1, px: _top_down_weight(
                x, noise, q2, q1, lambda z2: _standard(q1(x, z2)[0]), px
            ),
        ),
        Mistake(
            "the prior of z_2 left out",
            "p(x, z_1, z_2) has three factors, and p(z_2) is one of them.",
            lambda x, noise, q2, q1, p1, px: (
                _top_down_weight(x, noise, q2, q1, p1, px)
                - _log_normal(_draws(x, noise, q2, q1)[0], _standard(noise[0]))
            ),
        ),
        Mistake(
            "the rate of z_2 left out",
            "Both levels pay: log q(z_2 | x) less log p(z_2) belongs to the weight.",
            lambda x, noise, q2, q1, p1, px: (
                _top_down_weight(x, noise, q2, q1, p1, px)
                - _log_normal(_draws(x, noise, q2, q1)[0], _standard(noise[0]))
                + _log_normal(_draws(x, noise, q2, q1)[0], q2(x))
            ),
        ),
        Mistake(
            "log p(x, z) without log q",
            "The weight is the ratio of the joint to q.",
            lambda x, noise, q2, q1, p1, px: (
                _top_down_weight(x, noise, q2, q1, p1, px)
                + _log_normal(_draws(x, noise, q2, q1)[0], q2(x))
                + _log_normal(_draws(x, noise, q2, q1)[1], q1(x, _draws(x, noise, q2, q1)[0]))
            ),
        ),
        Mistake(
            "the rates added",
            "q stands in the denominator of the weight.",
            lambda x, noise, q2, q1, p1, px: (
                2 * _log_normal(x, px(_draws(x, noise, q2, q1)[1]))
                - _top_down_weight(x, noise, q2, q1, p1, px)
            ),
        ),
        Mistake(
            "the scale taken for a variance",
            "A standard deviation multiplies the noise as it is.",
            lambda x, noise, q2, q1, p1, px: _top_down_weight(
                x, noise, *(_rooted(law) for law in (q2, q1, p1, px))
            ),
        ),
        Mistake(
            "minus the weight",
            "A large weight means that the model explains x well by these codes.",
            lambda *given: -_top_down_weight(*given),
        ),
        Mistake(
            "the weight without its logarithm",
            "The logarithm is asked for: the weight itself is soon too small for a float.",
            lambda *given: _top_down_weight(*given).exp(),
        ),
        Mistake(
            "a mean over the rows",
            "Every row has a weight of its own.",
            lambda *given: _top_down_weight(*given).mean(),
        ),
    ),
)


def _rooted(law: Law) -> Law:
    def changed(*given: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = law(*given)
        return mean, scale.sqrt()

    return changed


# --- Exercise 2: does a level mean something? -----------------------------------------------------


def _shares(found: Tensor, leaf: Tensor) -> Tensor:
    return torch.stack([(found // n == leaf // n).double().mean() for n in (9, 3, 1)])


def _agreement(drawn: Tensor, leaf: Tensor, centres: Tensor) -> Tensor:
    return _shares(torch.cdist(drawn, centres).argmin(-1), leaf)


def _agreement_cases() -> Iterable[Any]:
    centres = tree_centres().double()
    for samples, points, spread in ((40, 30, 0.7), (30, 50, 0.3), (1, 1, 0.0)):
        leaf = torch.randint(27, (points,))
        noise = spread * torch.randn(samples, points, 2, dtype=torch.float64)
        yield extreme(
            "one draw of one point" if points == 1 else "", centres[leaf] + noise, leaf, centres
        )


def _agreement_by_broadcasting(drawn, leaf, centres):
    squares = (drawn[:, :, None] - centres).square().sum(-1)
    found = squares.argmin(2)
    same = [
        found.div(n, rounding_mode="floor") == leaf.div(n, rounding_mode="floor") for n in (9, 3, 1)
    ]
    return [share.float().mean() for share in same]


def _agreement_by_labels(drawn, leaf, centres):
    label = torch.stack([torch.arange(27) // 9, torch.arange(27) // 3, torch.arange(27)], 1)
    found = label[torch.cdist(drawn, centres).argmin(-1)]
    return (found == label[leaf]).double().mean((0, 1))


agreement = Exercise(
    solution=_agreement,
    cases=_agreement_cases,
    right=(_agreement_by_broadcasting, _agreement_by_labels),
    mistakes=(
        Mistake(
            "from fine to coarse",
            "The first share is that of the cluster, the last that of the leaf.",
            lambda *given: _agreement(*given).flip(0),
        ),
        Mistake(
            "only the leaves compared",
            "A point on a neighbouring leaf may still be in the right branch: compare leaf // 3.",
            lambda *given: _agreement(*given)[-1:].expand(3),
        ),
        Mistake(
            "the remainder in place of the quotient",
            "Leaves 3b, 3b+1 and 3b+2 belong to branch b: divide, and drop the rest.",
            lambda drawn, leaf, centres: torch.stack(
                [
                    (torch.cdist(drawn, centres).argmin(-1) % n == leaf % n).double().mean()
                    for n in (9, 3, 27)
                ]
            ),
        ),
        Mistake(
            "divided by 3 and 1 alone",
            "A cluster has nine leaves.",
            lambda drawn, leaf, centres: _agreement(drawn, leaf, centres)[[1, 1, 2]],
        ),
        Mistake(
            "each share among those that are right one step coarser",
            "Shares of all redrawn points are asked for.",
            lambda *given: torch.cat(
                [_agreement(*given)[:1], _agreement(*given)[1:] / _agreement(*given)[:-1]]
            ),
        ),
        Mistake(
            "the average point in place of the redrawn ones",
            "Assign every redrawn point: their mean may lie where none of them is.",
            lambda drawn, leaf, centres: _agreement(drawn.mean(0, keepdim=True), leaf, centres),
        ),
        Mistake(
            "the first redraw alone",
            "A share needs all K redraws.",
            lambda drawn, leaf, centres: _agreement(drawn[:1], leaf, centres),
        ),
        Mistake(
            "the farthest centre",
            "The nearest leaf is that of the smallest distance.",
            lambda drawn, leaf, centres: _shares(torch.cdist(drawn, centres).argmax(-1), leaf),
        ),
        Mistake(
            "shares that disagree",
            "Count where the labels are equal.",
            lambda *given: 1 - _agreement(*given),
        ),
        Mistake(
            "counts in place of shares",
            "Divide by the number of redrawn points, K times B.",
            lambda drawn, *given: _agreement(drawn, *given) * drawn[..., 0].numel(),
        ),
    ),
)

# --- Exercise 3: from the top down ----------------------------------------------------------------


def _draw_down(z_top: Tensor, steps: Sequence[Step], noise: Sequence[Tensor]) -> Tensor:
    z = z_top
    for (weight, bias, scale), epsilon in zip(steps, noise, strict=True):
        z = z @ weight.mT + bias + scale * epsilon
    return z


def _means(z_top: Tensor, steps: Sequence[Step], noise: Sequence[Tensor]) -> Tensor:
    return _draw_down(z_top, steps, [torch.zeros_like(epsilon) for epsilon in noise])


def _steps(rows: int, sizes: Sequence[int]) -> tuple[Tensor, list[Step], list[Tensor]]:
    """Draw top codes, and the steps below them with their noise."""
    steps = [
        (
            torch.randn(below, above, dtype=torch.float64),
            torch.randn(below, dtype=torch.float64),
            0.3 + 0.4 * index,
        )
        for index, (above, below) in enumerate(pairwise(sizes))
    ]
    noise = [torch.randn(rows, below, dtype=torch.float64) for below in sizes[1:]]
    return torch.randn(rows, sizes[0], dtype=torch.float64), steps, noise


def _down_cases() -> Iterable[Any]:
    # With levels of one size a wrong order of the steps runs at all.
    yield _steps(5, (3, 3, 3, 3))
    yield _steps(7, (2, 3, 4, 6))
    yield extreme("one row and one step", *_steps(1, (2, 4)))


def _down_by_linear(z_top, steps, noise):
    z = z_top
    for index in range(len(steps)):
        weight, bias, scale = steps[index]
        z = torch.nn.functional.linear(z, weight, bias)
        z = z.add(noise[index], alpha=scale)
    return z


def _down_row_by_row(z_top, steps, noise):
    rows = []
    for row, z in enumerate(z_top):
        for (weight, bias, scale), epsilon in zip(steps, noise, strict=True):
            z = weight @ z + bias + scale * epsilon[row]
        rows.append(z)
    return torch.stack(rows)


def _down_by_recursion(z_top, steps, noise):
    if not steps:
        return z_top
    weight, bias, scale = steps[0]
    below = torch.einsum("oi,bi->bo", weight, z_top) + bias + scale * noise[0]
    return _down_by_recursion(below, steps[1:], noise[1:])


draw_down = Exercise(
    solution=_draw_down,
    cases=_down_cases,
    right=(
        _down_by_linear,
        _down_row_by_row,
        _down_by_recursion,
    ),
    mistakes=(
        Mistake(
            "the steps taken from the bottom up",
            "The list starts below z_L: the first step gives z_{L−1}, the last gives x.",
            lambda z, steps, noise: _draw_down(z, steps[::-1], noise[::-1]),
        ),
        Mistake(
            "means instead of draws",
            "Each level is drawn: its own noise belongs to it.",
            _means,
        ),
        Mistake(
            "the last step without noise",
            "x is a draw from p(x | z_1) too.",
            lambda z, steps, noise: _draw_down(
                z, steps, [*noise[:-1], torch.zeros_like(noise[-1])]
            ),
        ),
        Mistake(
            "noise in the last step alone",
            "The levels in between are drawn as well; their means alone give too little spread.",
            lambda z, steps, noise: _draw_down(
                z, steps, [*(torch.zeros_like(e) for e in noise[:-1]), noise[-1]]
            ),
        ),
        Mistake(
            "the scale taken for a variance",
            "A standard deviation multiplies the noise as it is.",
            lambda z, steps, noise: _draw_down(z, [(w, b, s**0.5) for w, b, s in steps], noise),
        ),
        Mistake(
            "the scale squared",
            "A standard deviation multiplies the noise as it is.",
            lambda z, steps, noise: _draw_down(z, [(w, b, s**2) for w, b, s in steps], noise),
        ),
        Mistake(
            "the first noise used at every level",
            "Levels are drawn independently: a noise of its own for each, of that level's size.",
            lambda z, steps, noise: _draw_down(z, steps, [noise[0]] * len(noise)),
        ),
        Mistake(
            "the biases left out",
            "The mean of a step is W z + b.",
            lambda z, steps, noise: _draw_down(z, [(w, 0 * b, s) for w, b, s in steps], noise),
        ),
        Mistake(
            "the weight matrix not transposed",
            "Codes are rows: W z is z @ W.mT.",
            lambda z, steps, noise: _draw_down(z, [(w.mT, b, s) for w, b, s in steps], noise),
        ),
        Mistake(
            "every step taken from the top code",
            "Each step starts from the level just drawn: put the result back into z.",
            lambda z, steps, noise: _draw_down(z, steps[-1:], noise[-1:]),
        ),
        Mistake(
            "the last step left out",
            "The last entry of steps draws x from z_1.",
            lambda z, steps, noise: _draw_down(z, steps[:-1], noise[:-1]),
        ),
        Mistake(
            "the noise taken from the bottom up",
            "noise stands in the order of steps.",
            lambda z, steps, noise: _draw_down(z, steps, noise[::-1]),
        ),
        Mistake(
            "the scale applied to the mean too",
            "s multiplies the noise alone.",
            ("bias + scale * epsilon", "bias + epsilon\n        z = scale * z"),
        ),
        Mistake(
            "only the first step taken",
            "Does your function return inside its loop?",
            lambda z, steps, noise: _draw_down(z, steps[:1], noise[:1]),
        ),
    ),
)


# --- Exercise 4: where the rate is negative -------------------------------------------------------


def _negative_rate(rho: Tensor) -> Tensor:
    return (1 - rho**2) / rho**2


def _rho_cases() -> Iterable[Any]:
    yield 0.2 + 0.7 * torch.rand(5, dtype=torch.float64)
    yield 0.2 + 0.7 * torch.rand(3, dtype=torch.float64)
    yield extreme("a negative ρ", torch.tensor([-0.6], dtype=torch.float64))


def _threshold_from_one(rho):
    return 1 / rho**2 - 1


def _threshold_from_information(rho):
    # exp of twice the information that is passed on.
    passed_on = -0.5 * torch.log1p(-(rho**2))
    return 1 / torch.expm1(2 * passed_on)


negative_rate = Exercise(
    solution=_negative_rate,
    cases=_rho_cases,
    right=(_threshold_from_one, _threshold_from_information),
    mistakes=(
        Mistake(
            "the inverse",
            "x must tell little of z_1, so a high ρ asks for little noise: 1/s² < ρ²/(1 − ρ²).",
            lambda rho: 1 / _negative_rate(rho),
        ),
        Mistake(
            "the standard deviation",
            "The variance s² is asked for, not s.",
            lambda rho: _negative_rate(rho).sqrt(),
        ),
        Mistake(
            "ρ where ρ² belongs",
            "The information is −½ log(1 − ρ²).",
            lambda rho: (1 - rho) / rho,
        ),
        Mistake(
            "the noise of z_1 alone",
            "I(x; z_1) is ½ log(1 + 1/s²): set it equal to −½ log(1 − ρ²).",
            lambda rho: 1 - rho**2,
        ),
        Mistake(
            "½ in one of the two informations",
            "Both are halves of a logarithm.",
            lambda rho: (1 - rho**2) ** 0.5 / (1 - (1 - rho**2) ** 0.5),
        ),
    ),
)

# --- Exercise 5: closed-form KL less rate ---------------------------------------------------------


def _closed_form_excess(A: Tensor, covariance: Tensor, W: Tensor, noise: Tensor) -> Tensor:
    return (torch.linalg.inv(covariance) @ A @ W @ noise).trace()


def _spread(d: int) -> Tensor:
    """Return a random covariance matrix."""
    root = torch.randn(d, d, dtype=torch.float64)
    return root @ root.mT + 0.5 * torch.eye(d, dtype=torch.float64)


def _excess_cases() -> Iterable[Any]:
    """z_i and z_{i+1} of 3 units, where factors may be swapped; then 3 and 2; then 1."""
    for here, above in ((3, 3), (3, 2), (1, 1)):
        A, W = (torch.randn(size, dtype=torch.float64) for size in ((here, above), (above, here)))
        covariance, noise = _spread(here), _spread(here)
        what = "levels of one unit" if here == 1 else ""
        yield extreme(what, A, covariance, W, noise)
        yield extreme(what, -A, covariance, W, noise)


def _excess_by_a_solve(A, covariance, W, noise):
    return torch.trace(torch.linalg.solve(covariance, A @ (W @ noise)))


def _excess_by_einsum(A, covariance, W, noise):
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    return torch.einsum("ij,jk,kl,li->", precision, A, W, noise)


def _excess_turned_round(A, covariance, W, noise):
    # tr(M) = tr(Mᵀ), with the factors in their cyclic order.
    neighbours = noise @ W.mT  # Cov(z_l, z_{l+1})
    return (neighbours @ A.mT @ torch.linalg.inv(covariance)).trace().item()


closed_form_excess = Exercise(
    solution=_closed_form_excess,
    cases=_excess_cases,
    right=(
        _excess_by_a_solve,
        _excess_by_einsum,
        _excess_turned_round,
    ),
    mistakes=(
        Mistake(
            "the wrong sign",
            "Redrawing z_i takes away its tie to z_{i+1}: a tie that helps makes the KL larger.",
            lambda A, covariance, W, noise: -_closed_form_excess(A, covariance, W, noise),
        ),
        Mistake(
            "the covariance of p in place of its inverse",
            "A Gaussian's log-density holds Σ⁻¹.",
            lambda A, covariance, W, noise: (covariance @ A @ W @ noise).trace(),
        ),
        Mistake(
            "the spread of z_i left out",
            "Cov(z_{i+1}, z_i | z_{i−1}) is W times the covariance of z_i given z_{i−1}.",
            lambda A, covariance, W, noise: (torch.linalg.inv(covariance) @ A @ W).trace(),
        ),
        Mistake(
            "an absolute value",
            "The difference has either sign: the tie of z_{i+1} to z_i may help p or hurt it.",
            lambda A, covariance, W, noise: _closed_form_excess(A, covariance, W, noise).abs(),
        ),
        Mistake(
            "the precision of z_i in place of its covariance",
            "`noise` is the covariance of z_i given z_{i−1}, as it is: only Σ is inverted.",
            lambda A, covariance, W, noise: _closed_form_excess(
                A, covariance, W, torch.linalg.inv(noise)
            ),
        ),
        Mistake(
            "the covariance of z_i used twice",
            "`noise` is a covariance already: do not square it.",
            lambda A, covariance, W, noise: _closed_form_excess(A, covariance, W, noise @ noise),
        ),
        Mistake(
            "the spread of z_{i+1} in place of its tie to z_i",
            "Asked for is Cov(z_{i+1}, z_i | z_{i−1}), not the variance of what p predicts.",
            lambda A, covariance, W, noise: _closed_form_excess(
                A, covariance, W, noise @ W.mT @ A.mT
            ),
        ),
        Mistake(
            "half of it",
            "The cross term appears twice in the square: the ½ cancels.",
            lambda A, covariance, W, noise: _closed_form_excess(A, covariance, W, noise) / 2,
        ),
        Mistake(
            "twice it",
            "The cross term appears twice in the square, and the square has a ½ before it.",
            lambda A, covariance, W, noise: 2 * _closed_form_excess(A, covariance, W, noise),
        ),
        Mistake(
            "the sum of all entries in place of the trace",
            "tr(M) adds the diagonal alone: E[aᵀ M b] = tr(M Cov(b, a)).",
            lambda A, covariance, W, noise: (torch.linalg.inv(covariance) @ A @ W @ noise).sum(),
        ),
        Mistake(
            "1 / Σ entry by entry in place of its inverse",
            "Σ⁻¹ is the inverse of the matrix: torch.linalg.inv, or better a solve.",
            lambda A, covariance, W, noise: ((1 / covariance) @ A @ W @ noise).trace(),
        ),
        Mistake(
            "the factors in another order",
            "A trace allows factors to be turned round in a circle, not to be exchanged.",
            lambda A, covariance, W, noise: (torch.linalg.inv(covariance) @ noise @ A @ W).trace(),
        ),
        Mistake(
            "the precision of p left out",
            "Errors of z_i count in units of p's own covariance.",
            lambda A, covariance, W, noise: (A @ W @ noise).trace(),
        ),
    ),
)

# --- Exercise 6: plug in a recipe -----------------------------------------------------------------


def _charge(rates: Tensor, free: Tensor, price: Tensor, beta: float) -> Tensor:
    free, price = free[:, None], price[:, None]
    over = rates.mean(1, keepdim=True) > free
    return beta * torch.where(over, free + price * (rates - free), free).sum(0)


def _charge_cases() -> Iterable[Any]:
    # One level is below its allowance on average and has points beyond it; others are above.
    for levels, points, beta in ((3, 6, 0.7), (4, 5, 0.4), (1, 4, 1.0)):
        rates = 2 * torch.randn(levels, points, dtype=torch.float64)
        rates = rates - rates.mean(1, keepdim=True) + torch.linspace(2.5, 0.5, levels)[:, None]
        free = 0.8 + 0.4 * torch.rand(levels, dtype=torch.float64)
        price = 2 + torch.rand(levels, dtype=torch.float64)
        yield extreme("one level" if levels == 1 else "", rates, free, price, beta)


def _charge_level_by_level(rates, free, price, beta):
    total = torch.zeros_like(rates[0])
    for rate, allowance, cost in zip(rates, free, price, strict=True):
        if rate.mean() > allowance:
            total = total + allowance + cost * (rate - allowance)
        else:
            total = total + allowance
    return beta * total


def _charge_by_a_mask(rates, free, price, beta):
    over = (rates.mean(1) > free).to(rates)
    excess = (rates - free[:, None]) * (price * over)[:, None]
    return beta * (free[:, None] + excess).sum(0)


charge = Exercise(
    solution=_charge,
    cases=_charge_cases,
    right=(_charge_level_by_level, _charge_by_a_mask),
    differentiable=True,
    mistakes=(
        Mistake(
            "each point compared with the allowance by itself",
            "The batch mean of a level decides: single rates of an inner level may be negative.",
            ("rates.mean(1, keepdim=True)", "rates"),
        ),
        Mistake(
            "the price left out",
            "Beyond the allowance each nat costs `price`.",
            lambda rates, free, price, beta: _charge(rates, free, 1 + 0 * price, beta),
        ),
        Mistake(
            "the price on the whole rate",
            "Only the excess over the allowance has the higher price.",
            ("free + price * (rates - free)", "price * rates"),
        ),
        Mistake(
            "the allowance itself not charged beyond it",
            "Otherwise the charge jumps down where a level passes its allowance.",
            ("free + price * (rates - free), free", "price * (rates - free), free"),
        ),
        Mistake(
            "nothing charged below the allowance",
            "The charge is `free` there: a constant, but without it the charge jumps.",
            ("(rates - free), free)", "(rates - free), 0 * free)"),
        ),
        Mistake(
            "the rate charged below the allowance",
            "Below its allowance a level costs a constant, so that nothing pulls it down.",
            ("(rates - free), free)", "(rates - free), rates)"),
        ),
        Mistake(
            "β left out",
            "The charge is multiplied by `beta`.",
            lambda rates, free, price, beta: _charge(rates, free, price, 1.0),
        ),
        Mistake(
            "the mean of the batch in place of each point",
            "Beyond the allowance each point is charged for its own rate: (B,).",
            lambda rates, free, price, beta: (
                _charge(rates, free, price, beta).mean().expand(rates.shape[1])
            ),
        ),
        Mistake(
            "a mean over the levels",
            "The charges of the levels add up.",
            lambda rates, free, price, beta: _charge(rates, free, price, beta) / len(rates),
        ),
        Mistake(
            "all levels compared at once",
            "Each level has an allowance of its own.",
            ("rates.mean(1, keepdim=True) > free", "rates.mean() > free"),
        ),
    ),
)
