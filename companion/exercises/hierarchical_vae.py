"""Chapter 9: exercises on hierarchical VAEs."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

Levels = Sequence[Tensor]
Laws = Sequence[Distribution]
Step = tuple[Tensor, Tensor, float]


def _gaussian(*shape: int) -> Distribution:
    """Return a random Gaussian of independent units, in float64."""
    mean = torch.randn(*shape, dtype=torch.float64)
    return Independent(Normal(mean, 0.5 + torch.rand(*shape, dtype=torch.float64)), 1)


def _hierarchy(
    samples: int, points: int, sizes: Sequence[int]
) -> tuple[Tensor, Levels, Laws, Laws]:
    """Draw x, z, q and p as a trace holds them; p(z_L) has no batch."""
    x = torch.randn(points, sizes[0], dtype=torch.float64)
    z = [torch.randn(samples, points, d, dtype=torch.float64) for d in sizes[1:]]
    q = [_gaussian(points, sizes[1]), *(_gaussian(samples, points, d) for d in sizes[2:])]
    p = [*(_gaussian(samples, points, d) for d in sizes[:-1]), _gaussian(sizes[-1])]
    return x, tuple(z), tuple(q), tuple(p)


def _traces() -> list[tuple[Tensor, Levels, Laws, Laws]]:
    """Draw a hierarchy whose levels could be confused, and one of pairwise-distinct sizes.

    Where sizes differ a wrong pairing stops; the first hierarchy lets it run.
    """
    return [_hierarchy(6, 5, (3, 3, 3, 3)), _hierarchy(7, 5, (4, 3, 2, 1))]


# --- Exercise 1: the rate of each level -----------------------------------------------------------


def _level_rates(z: Levels, q: Laws, p: Laws) -> Tensor:
    return torch.stack(
        [here.log_prob(a) - above.log_prob(a) for a, here, above in zip(z, q, p[1:], strict=True)]
    )


def _rates_cases() -> Iterable[Any]:
    yield from (trace[1:] for trace in _traces())
    yield extreme("two levels and one draw of one point", *_hierarchy(1, 1, (4, 3, 2))[1:])


def _closed_form(z: Levels, q: Laws, p: Laws) -> Tensor:
    shape = z[0].shape[:2]
    return torch.stack(
        [kl_divergence(here, above).expand(shape) for here, above in zip(q, p[1:], strict=True)]
    )


def _paired_with_below(z: Levels, q: Laws, p: Laws) -> Tensor:
    return torch.stack(
        [here.log_prob(a) - below.log_prob(a) for a, here, below in zip(z, q, p, strict=False)]
    )


def _against_the_prior(z: Levels, q: Laws, p: Laws) -> Tensor:
    prior = Normal(0.0, 1.0)
    return torch.stack(
        [here.log_prob(a) - prior.log_prob(a).sum(-1) for a, here in zip(z, q, strict=True)]
    )


def _without_prior(z: Levels, q: Laws, p: Laws) -> Tensor:
    return torch.cat([_level_rates(z, q, p)[:-1], q[-1].log_prob(z[-1])[None]])


def _rates_level_by_level(z, q, p):
    rates = []
    for level in range(len(z)):
        model = p[level + 1].log_prob(z[level])
        rates.append(q[level].log_prob(z[level]) - model)
    return torch.stack(rates)


def _rates_in_two_stacks(z, q, p):
    ours = torch.stack([law.log_prob(value) for law, value in zip(q, z, strict=True)])
    theirs = torch.stack([law.log_prob(value) for law, value in zip(p[1:], z, strict=True)])
    return ours - theirs


def _rates_unit_by_unit(z, q, p):
    def score(law, value):
        return law.base_dist.log_prob(value).sum(-1)

    return torch.stack([score(q[i], z[i]) - score(p[i + 1], z[i]) for i in range(len(z))])


level_rates = Exercise(
    solution=_level_rates,
    cases=_rates_cases,
    right=(
        _rates_level_by_level,
        _rates_in_two_stacks,
        _rates_unit_by_unit,
    ),
    mistakes=(
        Mistake(
            "the closed-form KL at the sampled neighbours",
            "z_{i+1} was drawn from this very z_i: score the z_i that was drawn, do not average "
            "over a new one.",
            _closed_form,
        ),
        Mistake(
            "each level compared with the p below it",
            "p starts with p(x | z_1): the law of z_i under the model is the next entry.",
            _paired_with_below,
        ),
        Mistake(
            "every level compared with N(0, I)",
            "Only the top has a prior; z_i below it has p(z_i | z_{i+1}).",
            _against_the_prior,
        ),
        Mistake(
            "the prior of the top level left out",
            "p has one entry more than q: its last one is p(z_L), and belongs to the last of q.",
            _without_prior,
        ),
        Mistake(
            "the sign turned",
            "A rate is log q less log p: it is what the bound loses.",
            lambda z, q, p: -_level_rates(z, q, p),
        ),
        Mistake(
            "the levels added up",
            "One number for each level is asked for: stack, do not sum.",
            lambda z, q, p: _level_rates(z, q, p).sum(0),
        ),
        Mistake(
            "averaged over the draws",
            "Each draw has a rate of its own: (L, K, B).",
            lambda z, q, p: _level_rates(z, q, p).mean(1),
        ),
        Mistake(
            "the levels from the top down",
            "The first row belongs to z_1, which stands next to x.",
            lambda z, q, p: _level_rates(z, q, p).flip(0),
        ),
        Mistake(
            "a negative log-ratio cut off at zero",
            "At a single draw, and for an inner level on average too, it may be negative.",
            lambda z, q, p: _level_rates(z, q, p).clamp(min=0),
        ),
        Mistake(
            "minus log p alone",
            "What the encoder says of z_i is missing.",
            lambda z, q, p: torch.stack([-b.log_prob(a) for a, b in zip(z, p[1:], strict=True)]),
        ),
        Mistake(
            "log q alone",
            "What the model says of z_i is missing.",
            lambda z, q, p: torch.stack([b.log_prob(a) for a, b in zip(z, q, strict=True)]),
        ),
    ),
)

# --- Exercise 2: the weight of a draw -------------------------------------------------------------


def _log_weight(x: Tensor, z: Levels, q: Laws, p: Laws) -> Tensor:
    return p[0].log_prob(x) - _level_rates(z, q, p).sum(0)


def _weight_cases() -> Iterable[Any]:
    yield from _traces()
    yield extreme("one draw of one point", *_hierarchy(1, 1, (4, 3, 2, 5)))


def _weight_term_by_term(x, z, q, p):
    z1, z2, z3 = z
    first = q[0].log_prob(z1) - p[1].log_prob(z1)
    second = q[1].log_prob(z2) - p[2].log_prob(z2)
    third = q[2].log_prob(z3) - p[3].log_prob(z3)
    return p[0].log_prob(x) - first - second - third


def _weight_as_a_ratio(x, z, q, p):
    values = [x, *z]
    log_joint = sum(law.log_prob(value) for law, value in zip(p, values, strict=True))
    log_q = sum(law.log_prob(value) for law, value in zip(q, z, strict=True))
    return log_joint - log_q


def _weight_by_the_rates(x, z, q, p):
    total = p[0].log_prob(x)
    for rate in _rates_in_two_stacks(z, q, p):
        total = total - rate
    return total


def _weight_from_the_top(x, z, q, p):
    total = p[-1].log_prob(z[-1]) - q[-1].log_prob(z[-1])
    for level in reversed(range(len(z) - 1)):
        total = total + p[level + 1].log_prob(z[level]) - q[level].log_prob(z[level])
    return total + p[0].log_prob(x)


log_weight = Exercise(
    solution=_log_weight,
    cases=_weight_cases,
    right=(
        _weight_term_by_term,
        _weight_as_a_ratio,
        _weight_by_the_rates,
        _weight_from_the_top,
    ),
    mistakes=(
        Mistake(
            "the prior of the top level left out",
            "p has one entry more than q: its last one is p(z_L).",
            lambda x, z, q, p: _log_weight(x, z, q, p) - p[-1].log_prob(z[-1]),
        ),
        Mistake(
            "the top level's rate alone",
            "Each level has a log-ratio; the weight holds all of them.",
            lambda x, z, q, p: p[0].log_prob(x) - _level_rates(z, q, p)[-1],
        ),
        Mistake(
            "the top level's rate left out",
            "p has one entry more than q: its last one is p(z_L), and belongs to the last of q.",
            lambda x, z, q, p: p[0].log_prob(x) - _level_rates(z, q, p)[:-1].sum(0),
        ),
        Mistake(
            "the first level's rate left out",
            "p[0] is p(x | z_1); the rate of z_1 takes q[0] and p[1].",
            lambda x, z, q, p: p[0].log_prob(x) - _level_rates(z, q, p)[1:].sum(0),
        ),
        Mistake(
            "the weight without its logarithm",
            "The logarithm is asked for: the weight itself is soon too small for a float.",
            lambda x, z, q, p: _log_weight(x, z, q, p).exp(),
        ),
        Mistake(
            "the first level's rate alone",
            "Each level has a log-ratio; the weight holds all of them.",
            lambda x, z, q, p: p[0].log_prob(x) - _level_rates(z, q, p)[0],
        ),
        Mistake(
            "the rates added",
            "q stands in the denominator of the weight.",
            lambda x, z, q, p: p[0].log_prob(x) + _level_rates(z, q, p).sum(0),
        ),
        Mistake(
            "the reconstruction left out",
            "log p(x | z_1) is the one term that sees x.",
            lambda x, z, q, p: -_level_rates(z, q, p).sum(0),
        ),
        Mistake(
            "log p(x, z) without log q",
            "The weight is the ratio of the joint to q.",
            lambda x, z, q, p: (
                p[0].log_prob(x) + sum(b.log_prob(a) for a, b in zip(z, p[1:], strict=True))
            ),
        ),
        Mistake(
            "a mean over the levels",
            "The logarithm of a product is a sum.",
            lambda x, z, q, p: p[0].log_prob(x) - _level_rates(z, q, p).mean(0),
        ),
        Mistake(
            "the closed-form KLs for the rates",
            "The weight belongs to the z that were drawn.",
            lambda x, z, q, p: p[0].log_prob(x) - _closed_form(z, q, p).sum(0),
        ),
        Mistake(
            "a mean over the draws",
            "Every draw has its own weight: (K, B).",
            lambda x, z, q, p: _log_weight(x, z, q, p).mean(0),
        ),
        Mistake(
            "minus the weight",
            "A large weight means that the model explains x well by this z.",
            lambda x, z, q, p: -_log_weight(x, z, q, p),
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


# --- Exercise 4: what the averaged rates are made of ----------------------------------------------


def _rates_from_information(information: Tensor, mismatch: Tensor) -> Tensor:
    passed_on = torch.cat([information[1:], information.new_zeros(1)])
    return information - passed_on + mismatch


def _averaged_cases() -> Iterable[Any]:
    # Rising on the way up at first, as where x is noisy: then an inner rate is negative.
    rising = torch.tensor([0.1, 2.0, 1.4, 0.3], dtype=torch.float64)
    for levels in (3, 4):
        noise, mismatch = torch.rand(2, levels, dtype=torch.float64)
        yield rising[:levels] + 0.2 * noise, mismatch
    yield extreme("a single level", rising[1:2], mismatch[:1])


def _rates_with_a_zero_on_top(information, mismatch):
    above = torch.zeros_like(information)
    above[:-1] = information[1:]
    return information - above + mismatch


def _rates_by_a_loop(information, mismatch):
    rates = []
    for level in range(len(information)):
        rate = information[level] + mismatch[level]
        if level + 1 < len(information):
            rate = rate - information[level + 1]
        rates.append(rate)
    return rates


def _rates_by_differences(information, mismatch):
    last = torch.zeros(1, dtype=information.dtype)
    return mismatch - torch.diff(information, append=last)


rates_from_information = Exercise(
    solution=_rates_from_information,
    cases=_averaged_cases,
    right=(
        _rates_with_a_zero_on_top,
        _rates_by_a_loop,
        _rates_by_differences,
    ),
    mistakes=(
        Mistake(
            "what is passed on not taken off",
            "Level i pays for what z_i knows of z_{i−1} less what z_{i+1} knows of z_i.",
            lambda information, mismatch: information + mismatch,
        ),
        Mistake(
            "what is passed on added",
            "What the next level up knows is paid for there, so it comes off here.",
            lambda information, mismatch: (
                2 * information - _rates_from_information(information, 0 * mismatch) + mismatch
            ),
        ),
        Mistake(
            "the mismatch taken off",
            "A KL is a cost: it makes the rate larger.",
            lambda information, mismatch: _rates_from_information(information, -mismatch),
        ),
        Mistake(
            "the mismatch left out",
            "Only where q(z_i | z_{i+1}) and p(z_i | z_{i+1}) agree is it zero.",
            lambda information, mismatch: _rates_from_information(information, 0 * mismatch),
        ),
        Mistake(
            "the difference taken the other way",
            "A level pays for what it takes in, I(z_{i−1}; z_i); what it passes on comes off.",
            lambda information, mismatch: (
                mismatch - _rates_from_information(information, 0 * mismatch)
            ),
        ),
        Mistake(
            "the difference to the level below",
            "Entry i of the information is I(z_{i−1}; z_i): take off entry i + 1.",
            lambda information, mismatch: (
                torch.cat([information[:1], information[1:] - information[:-1]]) + mismatch
            ),
        ),
        Mistake(
            "the top level's information left out",
            "Nothing stands above z_L, so nothing comes off there: all of I(z_{L−1}; z_L) stays.",
            lambda information, mismatch: (
                torch.cat([information[:-1] - information[1:], information.new_zeros(1)]) + mismatch
            ),
        ),
        Mistake(
            "a negative rate cut off at zero",
            "An inner level may pass on more than it takes in; its averaged rate is then negative.",
            lambda information, mismatch: _rates_from_information(information, mismatch).clamp(
                min=0
            ),
        ),
        Mistake(
            "the first information taken off at the top",
            "Nothing stands above z_L, so nothing comes off there: `roll` puts I(x; z_1) there.",
            lambda information, mismatch: information - information.roll(-1) + mismatch,
        ),
        Mistake(
            "the top level's mismatch left out",
            "The top has a mismatch too: KL(q(z_L) ‖ p(z_L)).",
            lambda information, mismatch: _rates_from_information(
                information, torch.cat([mismatch[:-1], mismatch.new_zeros(1)])
            ),
        ),
        Mistake(
            "what is passed on taken off the mismatch too",
            "Each level keeps the whole of its own mismatch: only the information telescopes.",
            lambda information, mismatch: _rates_from_information(
                information + mismatch, 0 * mismatch
            ),
        ),
        Mistake(
            "the rates added up from below",
            "One rate for each level is asked for, not the sum so far.",
            lambda information, mismatch: _rates_from_information(information, mismatch).cumsum(0),
        ),
        Mistake(
            "the total",
            "The total telescopes, but a number for each level is asked for.",
            lambda information, mismatch: information[0] + mismatch.sum(),
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

# --- Exercise 6: redraw and look ------------------------------------------------------------------

redrawn_level = Prediction(
    answer="shape",
    because=(
        "The top holds the place to within a pixel or so; what the levels below decide is the form "
        "at that place."
    ),
    mistakes={
        "position": "compare the pictures of one row: does the blob move, or does its outline "
        "change?",
        "nothing": "look at the outlines in one row; a column in which nothing changes is the one "
        "where z_1 itself is kept.",
    },
)
