"""Capstone: a hierarchy for data of the reader's own, looked at after each step.

Nothing right is refused by chance: an estimate is called wrong where it is `SURE` standard errors
off, and columns are called alike unless they differ by far.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Set
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from companion._checks import like
from companion._context import evaluating
from companion.diagnostics import Estimate, level_rates
from companion.distributions import Gaussian
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.structure import SOUND, one_pass, some
from companion.models import LatentVariableModel
from companion.objectives import log_marginal

IDLE = 0.2
"""A level whose rate is below this many nats is called idle."""
FOLLOWS = 0.01
"""The share of a unit's variance that x must account for, before the unit is said to follow it."""
SURE = 3.0
"""Differences of fewer standard errors may be chance."""
ROUNDING = 0.005
"""How far a number may be off that was read from a print with two decimals."""


# 13.1 The data


def _binary(x: Tensor) -> bool:
    """Tell whether all entries are 0 or 1."""
    return bool(((x == 0) | (x == 1)).all())


def _rows(table: Tensor) -> list[bytes]:
    """Return the rows in a form that can be counted; −0 is 0."""
    return [row.tobytes() for row in (table.detach().cpu() + 0.0).numpy()]


def _held_out(train: Tensor, test: Tensor) -> bool:
    """Tell whether rows stand on both sides no more often than such rows repeat by themselves."""
    n = len(test)
    if torch.equal(test, train[:n]) or torch.equal(test, train[-n:]):
        return False
    counts = Counter(_rows(train))
    found = sum(row in counts for row in _rows(test)) / n
    few = some(train, 200).sort(0).values
    if ((few[1:] > few[:-1]).sum(0) > len(few) / 2).sum() > 1:
        return found < 0.1  # of two columns of real numbers none comes twice, even if rounded
    again = sum(count for count in counts.values() if count > 1) / len(train)
    return found - again < max(0.1, 2 / math.sqrt(n))


def _single(train: Tensor, test: Tensor) -> bool:
    """Tell whether some row of the whole table does not stand there twice, or three times."""
    counts = Counter(_rows(train) + _rows(test))
    return len(counts) < 20 or math.gcd(*counts.values()) == 1


def _own_statistics(test: Tensor) -> bool:
    """Tell whether the columns have mean 0 and variance 1 to rounding: held-out rows never do."""
    scale = test.std(0)
    return bool(test.mean(0).abs().max() + (scale[scale > 0] - 1).abs().max() < 1e-3)


def _outside(x: Tensor, other: Tensor) -> float:
    """Return the share of entries below or above all others of their column in another table."""
    x, other = some(x, 1000), some(other, 1000)
    return ((x < other.amin(0)) | (x > other.amax(0))).float().mean().item()


def _comparable(x: Tensor) -> bool:
    """Tell whether the columns that vary have comparable spreads, as they must without units."""
    if x.min() >= 0 and x.max() <= 1:
        return True  # grey levels: a pixel that is nearly always black has no unit of its own
    return any(bool(s.max() / s[s > 0].min() < 100) for s in (x.std(0), x.amax(0) - x.amin(0)))


data = Inspection(
    conditions=(
        Condition(
            "The check takes two tables",
            "Write check.data(train, test).",
            lambda *tables: len(tables) == 2,
        ),
        Condition(
            "A table came as a tuple or list",
            "data.split gives one tuple for each side: (train,), (test,) = data.split(x).",
            lambda *tables: not any(isinstance(table, tuple | list) for table in tables),
        ),
        Condition(
            "A table is no tensor",
            "Make one: x = torch.as_tensor(numpy.asarray(x), dtype=torch.float32).",
            lambda *tables: all(isinstance(table, Tensor) for table in tables),
        ),
        Condition(
            "The numbers of a table are not float32",
            "The models' weights are float32: write x = x.float() before you split.",
            lambda train, test: train.dtype == test.dtype == torch.float32,
        ),
        Condition(
            "The tables have other axes than rows and columns",
            "x.flatten(1) makes a row of each picture, x[:, None] a table of one column.",
            lambda train, test: train.dim() == test.dim() == 2,
        ),
        Condition(
            "Training and held-out rows have different columns",
            "Split one table by its rows: data.split(x).",
            lambda train, test: train.shape[1] == test.shape[1],
        ),
        Condition(
            "More rows are held out than there are to learn from",
            "Are the two exchanged? Write check.data(train, test).",
            lambda train, test: len(test) <= len(train),
        ),
        Condition(
            "There are too few rows to tell learning from memory",
            "Aim at 200 training rows and 50 held-out ones at least.",
            lambda train, test: len(train) >= 200 and len(test) >= 50,
        ),
        Condition(
            "Some columns are NaN throughout",
            "A constant column has no spread to divide by: keep x[:, x.std(0) > 0].",
            lambda train, test: not train.isnan().all(0).any(),
        ),
        Condition(
            "Some entries are missing or infinite",
            "Drop those rows, or fill them before you split.",
            lambda train, test: bool(train.isfinite().all() and test.isfinite().all()),
        ),
        Condition(
            "No column varies",
            "Is this the same row many times?",
            lambda train, test: bool((train != train[0]).any()),
        ),
        Condition(
            "The table has two values, but not 0 and 1",
            "Then it is binary: write x = (x == x.max()).float() before you split.",
            lambda train, test: (
                _binary(train) or bool(((train > train.min()) & (train < train.max())).any())
            ),
        ),
        Condition(
            "Many held-out rows stand among the training rows as well",
            "Then held-out numbers say nothing: remove double rows, then data.split(x).",
            _held_out,
        ),
        Condition(
            "All rows stand in the table more than once",
            "Then held-out numbers say nothing: split x.unique(dim=0).",
            _single,
        ),
        Condition(
            "The held-out rows were standardised each by its own mean",
            "Standardise before you split, or take mean and scale of the training rows for both.",
            lambda train, test: _binary(test) or not _own_statistics(test),
        ),
        Condition(
            "Training and held-out rows were prepared in different ways",
            "Their places or spreads differ by far: scale or binarise x first, then data.split(x).",
            lambda train, test: (
                _binary(train) == _binary(test)
                and max(_outside(train, test), _outside(test, train)) < 0.25
            ),
        ),
        Condition(
            "The columns have spreads that differ a hundredfold or more",
            "One noise scale cannot fit both: standardise the columns, or divide pictures by "
            "their largest value.",
            lambda train, test: _comparable(train),
        ),
        Condition(
            "Some columns hold numbers of 30 and more throughout",
            "Networks start from numbers near 1: standardise the columns, or divide pictures by "
            "their largest value.",
            lambda train, test: bool(some(train, 200).abs().median(0).values.max() < 30),
        ),
    ),
    finding=lambda train, test: (
        f"{len(train)} rows to learn from, {len(test)} held out, {train.shape[1]} "
        f"{'binary' if _binary(train) else 'real'} columns."
    ),
)


# What all other checks ask first


def _models(*things: object) -> list[LatentVariableModel]:
    return [thing for thing in things if isinstance(thing, LatentVariableModel)]


def _is_table(x: object) -> bool:
    return (
        isinstance(x, Tensor)
        and x.is_floating_point()
        and x.dim() == 2
        and len(x) > 1
        and bool(x.isfinite().all())
    )


def _likelihood(model: LatentVariableModel, x: Tensor) -> Distribution:
    """Return p(x | z_1) for some rows, with gradient."""
    with evaluating(model), torch.enable_grad():
        z, _ = next(model.infer(some(x), [1]))
        return model.decoders[0](z[0])


def _produces(p: Distribution, value: Tensor) -> bool:
    """Tell whether the value lies in the support, where that is known."""
    try:
        support: Any = p.support
        return bool(support.check(value).all())
    except NotImplementedError:
        return True


def _asks(call: str, models: int) -> tuple[Condition, ...]:
    """Return the first conditions of a check that takes models and, last, a table."""
    return (
        Condition(
            "The check takes other things",
            f"Write {call}.",
            lambda *things: len(things) == call.count(",") + 1,
        ),
        Condition(
            "What stands in a model's place is no model",
            f"Write {call}, with models that are built: VAE(…), HVAE(…) or TopDownHVAE(…).",
            lambda *things: len(_models(*things[-1 - models : -1])) == models,
        ),
        Condition(
            "What stands in the table's place is no table of finite numbers",
            f"Write {call}, with train or test as check.data takes them.",
            lambda *things: _is_table(things[-1]),
        ),
        Condition(
            "A model was built for another number of columns",
            "The first encoder takes, and the first decoder gives, one number for each column.",
            lambda *things: all(m.data_size == things[-1].shape[1] for m in _models(*things)),
        ),
        Condition(
            "The table has another dtype or device than the weights",
            "Models are float32 as they are built: write x.float().",
            lambda *things: all(
                (like(m).dtype, like(m).device) == (things[-1].dtype, things[-1].device)
                for m in _models(*things)
            ),
        ),
        Condition(
            "Some weights are NaN or infinite",
            "Training has diverged: build the model anew, and train with a smaller lr.",
            lambda *things: all(
                bool(tensor.isfinite().all())
                for m in _models(*things)
                for tensor in (*m.parameters(), *m.buffers())
            ),
        ),
        Condition(
            "The decoder p(x | z_1) cannot produce the table",
            "Zeros and ones take BernoulliConditional(net), real columns "
            "GaussianConditional(net, scale).",
            lambda *things: all(
                _produces(_likelihood(m, things[-1]), some(things[-1])) for m in _models(*things)
            ),
        ),
    )


# 13.2 The hierarchy


def _is_discrete(p: Distribution) -> bool:
    support: Any = p.support
    return bool(support.is_discrete)


def _noise(model: LatentVariableModel, x: Tensor) -> float | None:
    """Return the fixed scale of p(x | z_1); None where it is learned, unknown or there is none."""
    p = _likelihood(model, x)
    try:
        scale = p.stddev
    except NotImplementedError:
        return None
    fixed = not (_is_discrete(p) or scale.requires_grad) and scale.isfinite().all()
    return scale.mean().item() if fixed else None


def _noise_fits(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether a fixed noise is between a hundredth of the columns' spread and the spread."""
    noise, spread = _noise(model, x), x.std(0)
    spread = spread[spread > 0].mean()
    return noise is None or bool(spread / 100 < noise <= 1.05 * spread)


def _levels_fit(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether p(z_i | z_{i+1}) can produce what q draws."""
    one = one_pass(model, x)
    pairs = zip(one.z, one.p[1:], strict=True)
    return all(_produces(p, z) or not z.isfinite().all() for z, p in pairs)


def _scales_meet(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether q(z_i | …) is no hundred times as wide as p(z_i | z_{i+1}), nor a point."""
    one = one_pass(model, x)
    try:
        widths = [(q.stddev / p.stddev).median() for q, p in zip(one.q, one.p[1:], strict=True)]
    except NotImplementedError:
        return True
    return not any(width > 100 or width < 1e-4 for width in widths)


hierarchy = Inspection(
    conditions=(
        *_asks("check.hierarchy(model, x)", 1),
        Condition(
            "It has one level",
            "A hierarchy has two or more encoders, and as many decoders: HVAE or TopDownHVAE.",
            lambda model, x: len(model.encoders) > 1,
        ),
        Condition(
            "A Gaussian decoder scores zeros and ones",
            "Its density has no upper limit there: take a BernoulliConditional for p(x | z_1).",
            lambda model, x: not _binary(x) or _is_discrete(_likelihood(model, x)),
        ),
        Condition(
            "The scale of p(x | z_1) does not suit the spread of the columns",
            "Start with a fifth of the columns' standard deviation.",
            _noise_fits,
        ),
        Condition(
            "A decoder between levels cannot produce what q draws",
            "z_1 and those above it are real numbers: take a GaussianConditional for each.",
            _levels_fit,
        ),
        Condition(
            "The scales of q and p of a level differ by far",
            "Let both networks give mean and log-variance, and check that the columns are near 1.",
            _scales_meet,
        ),
        *SOUND,
    ),
    finding=lambda model, x: (
        f"{len(model.encoders)} levels of sizes "
        f"{', '.join(str(z.shape[-1]) for z in one_pass(model, x).z)}, {_size(model):,} weights."
    ),
)


# 13.3 The baseline


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _family(model: LatentVariableModel, x: Tensor) -> str:
    """Return the name of the family of p(x | z_1)."""
    p = _likelihood(model, x)
    while isinstance(p, Independent):
        p = p.base_dist
    return "Gaussian" if isinstance(p, Gaussian | Normal) else type(p).__name__


def _same_noise(flat: LatentVariableModel, model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether both models have the same fixed scale, or neither has one."""
    a, b = _noise(flat, x), _noise(model, x)
    return a is b if a is None or b is None else math.isclose(a, b, rel_tol=0.01)


def _untrained(model: nn.Module) -> bool:
    """Tell whether all weights of linear layers are as small as those that torch starts from."""
    layers = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    return bool(layers) and all(bool((w.abs() <= 1.001 / w.shape[1] ** 0.5).all()) for w in layers)


OPPONENTS = (
    Condition(
        "The baseline has several levels",
        "The flat model, a VAE, comes first, then the hierarchy that must beat it.",
        lambda *things: len(things[-3].encoders) == 1,
    ),
    Condition(
        "The hierarchy has one level",
        "The flat model comes first, then the hierarchy.",
        lambda *things: len(things[-2].encoders) > 1,
    ),
    Condition(
        "The flat model is untrained, and the hierarchy is not",
        "Train both for as many steps.",
        lambda *things: not _untrained(things[-3]) or _untrained(things[-2]),
    ),
)

baseline = Inspection(
    conditions=(
        *_asks("check.baseline(flat, model, x)", 2),
        *OPPONENTS,
        Condition(
            "The two models score x by different families of p(x | z_1)",
            "Give both the same kind of decoder: what the families differ by is no merit of depth.",
            lambda flat, model, x: _family(flat, x) == _family(model, x),
        ),
        Condition(
            "The two models have different noise in p(x | z_1)",
            "Give both the same scale, or let both learn it.",
            _same_noise,
        ),
        Condition(
            "The two models differ in size by more than a third",
            "Change the hidden sizes until the numbers of weights come close.",
            lambda flat, model, x: 3 / 4 * _size(model) <= _size(flat) <= 4 / 3 * _size(model),
        ),
        *SOUND,
    ),
    finding=lambda flat, model, x: (
        f"{_size(flat):,} weights in the flat model, {_size(model):,} in the hierarchy."
    ),
)


# 13.4 Idle levels


def _read(answer: object) -> set[int] | None:
    """Return the levels that an answer lists, or None if it is no list of whole numbers."""
    if isinstance(answer, Tensor | np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, list | tuple | range | Set):
        return None
    levels = [
        level.item() if isinstance(level, Tensor) and level.numel() == 1 else level
        for level in answer
    ]
    if not all(isinstance(level, Integral) and not isinstance(level, bool) for level in levels):
        return None
    return {int(level) for level in levels}


def _may_be(idle: bool, rate: Estimate) -> bool:
    """Tell whether a level may be called idle, or awake; at the threshold it may be either."""
    off = SURE * rate.standard_error + ROUNDING
    return (rate.mean < IDLE) == idle or abs(rate.mean - IDLE) <= off


def _right(levels: set[int], model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether these may be the idle levels."""
    rates = enumerate(level_rates(model, x, 16), start=1)
    return all(_may_be(level in levels, rate) for level, rate in rates)


def _not_meant(change: Callable[[set[int], int], set[int]]) -> Callable[..., bool]:
    """Tell whether an answer is right as it stands, or wrong after a change as well."""

    def holds(answer: object, model: LatentVariableModel, x: Tensor) -> bool:
        levels = _read(answer) or set()
        changed = change(levels, len(model.encoders))
        return _right(levels, model, x) or not levels or not _right(changed, model, x)

    return holds


def _rates(model: LatentVariableModel, x: Tensor) -> str:
    rates = ", ".join(f"{rate.mean:z.2f}" for rate in level_rates(model, x, 16))
    return f"Rates from the bottom up: {rates} nats."


idle_levels = Inspection(
    conditions=(
        *_asks("check.idle_levels(levels, model, x)", 1),
        Condition(
            "This is no list of levels",
            "Write [] for none, [3] for the third; level 1 stands next to x.",
            lambda answer, model, x: _read(answer) is not None,
        ),
        Condition(
            "Levels count from 1, next to x, to the number of encoders",
            "Write [] for none, [3] for the third.",
            lambda answer, model, x: (
                (_read(answer) or set()) <= {*range(1, len(model.encoders) + 1)}
            ),
        ),
        Condition(
            "These levels are counted from 0",
            "Level 1 stands next to x.",
            _not_meant(lambda levels, top: {level + 1 for level in levels}),
        ),
        Condition(
            "These levels are counted from the top",
            "Level 1 stands next to x.",
            _not_meant(lambda levels, top: {top + 1 - level for level in levels}),
        ),
        Condition(
            "These are the levels that are awake",
            f"List those with less than {IDLE} nats.",
            _not_meant(lambda levels, top: {*range(1, top + 1)} - levels),
        ),
        Condition(
            f"Those are not the levels with less than {IDLE} nats",
            "Print level_rates(model, x, 16) and read them from the bottom up.",
            lambda answer, model, x: _right(_read(answer) or set(), model, x),
        ),
    ),
    finding=lambda answer, model, x: _rates(model, x),
)


# 13.5 Levels that are awake


def _follows(z: Tensor) -> bool:
    """Tell whether x moves the mean or the spread of a unit, of draws for N rows: (K, N, d)."""
    squares = (z - z.mean((0, 1))).square()
    # Without x, the mean of K draws still varies by the Kth part: K is to be large.
    return any((y.mean(0).var(0) > FOLLOWS * y.var((0, 1))).any() for y in (z, squares))


def _all_follow(model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether each level has a unit that follows x."""
    with evaluating(model):
        z, _ = next(model.infer(some(x, 500), [256]))
    return all(map(_follows, z))


awake = Inspection(
    conditions=(
        *_asks("check.awake(model, x)", 1),
        Condition(
            "The model has one level",
            "Build a hierarchy of two levels or more.",
            lambda model, x: len(model.encoders) > 1,
        ),
        Condition(
            f"A level still has less than {IDLE} nats",
            "Give each level free bits, warm up for longer, or make the level below it smaller.",
            lambda model, x: all(_may_be(False, rate) for rate in level_rates(model, x, 16)),
        ),
        Condition(
            "A level has a rate, but none of its units follows x",
            "A rate alone can be held up by any q that is not the prior; warm up instead.",
            _all_follow,
        ),
    ),
    finding=_rates,
)


# 13.6 The report


def _number(value: object) -> float:
    """Return a number that may come as a tensor or from NumPy; NaN if it is none."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    return float(value)


class _Evidence(NamedTuple):
    """Where estimates of a model's mean log p(x) and ELBO lie, from 100 samples to very many."""

    elbo: float
    elbo_error: float
    low: float
    high: float
    error: float

    def log_p(self, value: float) -> bool:
        """Tell whether a number may be an estimate of log p(x)."""
        return self.low - self.error <= value <= self.high + self.error

    def bound(self, value: float) -> bool:
        """Tell whether a number may be an ELBO, and is nearer to it than to log p(x)."""
        return self.elbo - self.elbo_error <= value < (self.elbo + self.low) / 2


def _evidence(model: LatentVariableModel, x: Tensor) -> _Evidence:
    def runs(samples: int, times: int) -> tuple[Tensor, float]:
        """Return estimates of log p(x), (times, N), and how far one run's mean may be off."""
        rows = torch.stack([log_marginal(model, x, samples) for _ in range(times)])
        noise = (rows.var(0).mean() / len(x)).sqrt().item()
        return rows, SURE * math.sqrt(2) * noise + ROUNDING  # the noise here, and the reader's

    bounds, elbo_error = runs(1, 10)
    few, error = runs(100, 4)
    low = few.mean().item()
    many = (few.logsumexp(0) - math.log(len(few))).mean().item()
    # From 100 samples to 400 it has risen by many − low; it will hardly rise as much again.
    return _Evidence(bounds.mean().item(), elbo_error, low, many + max(0.0, many - low), error)


FLAWS = {
    "exchanged": (
        "The two numbers are exchanged",
        "'flat' is the VAE's, 'hierarchy' the HVAE's.",
    ),
    "sign": ("The numbers have the sign of a loss", "Report log p(x) itself: larger is better."),
    "sum": (
        "The numbers are sums over the rows",
        "Report the mean for each row, so that tables of other sizes compare.",
    ),
    "columns": (
        "The numbers are per column",
        "Report log p(x) of the whole row: log_marginal(model, test, 300).mean().item().",
    ),
    "bits": ("The numbers are in bits", "Multiply by log 2 = 0.693 for nats."),
    "elbo": (
        "A number is an ELBO, or as low as one",
        "Gaps differ: compare log_marginal(model, test, 300).mean().item() of these models.",
    ),
    "few": (
        "A number lies between the ELBO and log p(x): too few draws",
        "Use log_marginal(model, test, 300).mean().item() of these models.",
    ),
    "high": (
        "A number is higher than log p(x) of these rows",
        "Was it taken on the training rows, or from other weights?",
    ),
    "low": (
        "A number is lower than log p(x) of these rows",
        "Use log_marginal(model, test, 300).mean().item() of these models.",
    ),
}
"""What may be wrong with a report; a number with several flaws is called by the first."""


def _flaws(value: float, evidence: _Evidence, x: Tensor) -> set[str]:
    """Return what must be set right to make a number an estimate of mean log p(x)."""
    readings = [
        ({*sign, *unit, *per}, value * a * b * c)
        for sign, a in (((), 1), (("sign",), -1))
        for unit, b in (((), 1), (("bits",), math.log(2)))
        for per, c in (((), 1), (("sum",), 1 / len(x)), (("columns",), x.shape[1]))
    ]
    for flaws, nats in sorted(readings, key=lambda reading: len(reading[0])):
        if evidence.log_p(nats):
            return flaws
        if evidence.bound(nats):
            return flaws | {"elbo"}
    if value > evidence.high:
        return {"high"}
    return {"few"} if value > evidence.elbo else {"low"}


def _flaw(
    numbers: Mapping[str, Any], flat: LatentVariableModel, model: LatentVariableModel, test: Tensor
) -> str:
    """Return the flaw that a report is called by, or an empty string."""
    values = [_number(numbers[name]) for name in ("flat", "hierarchy")]
    evidence = [_evidence(m, test) for m in (flat, model)]
    pairs = zip(values, evidence, strict=True)
    found = set[str]().union(*(_flaws(value, e, test) for value, e in pairs))
    crossed = zip(values, reversed(evidence), strict=True)
    if found and all(e.log_p(value) for value, e in crossed):
        return "exchanged"
    return next((flaw for flaw in FLAWS if flaw in found), "")


_found = [""]
"""The flaw of the report that is looked at: the first condition sets it, those after it read it."""


def _free_of(flaw: str) -> Callable[..., bool]:
    def holds(*things: Any) -> bool:
        if flaw == next(iter(FLAWS)):
            _found[0] = _flaw(*things)
        return _found[0] != flaw

    return holds


report = Inspection(
    conditions=(
        *_asks("check.report(numbers, flat, model, test)", 2),
        *OPPONENTS,
        Condition(
            "The report is no dictionary with the numbers 'flat' and 'hierarchy'",
            "Write {'flat': …, 'hierarchy': …}, each one float.",
            lambda numbers, flat, model, test: (
                isinstance(numbers, Mapping)
                and all(math.isfinite(_number(numbers.get(name))) for name in ("flat", "hierarchy"))
            ),
        ),
        *(Condition(name, hint, _free_of(flaw)) for flaw, (name, hint) in FLAWS.items()),
    ),
    finding=lambda numbers, flat, model, test: (
        f"The hierarchy is {_number(numbers['hierarchy']) - _number(numbers['flat']):+.2f} nats a "
        f"row from the flat model."
    ),
)
