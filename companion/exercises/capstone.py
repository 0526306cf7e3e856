"""Capstone: a hierarchy for data of the reader's own, looked at after each step."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from companion.diagnostics import active_units, level_rates, nearest_distance
from companion.exercises.inspecting import Condition, Inspection
from companion.models import HVAE, LatentVariableModel, TopDownHVAE
from companion.objectives import elbo, log_marginal

Hierarchy = HVAE | TopDownHVAE

IDLE = 0.2
"""A level whose rate is below this many nats is called idle."""


def _binary(x: Tensor) -> bool:
    """Tell whether all entries are 0 or 1."""
    return bool(((x == 0) | (x == 1)).all())


def _is_table(x: object) -> bool:
    return isinstance(x, Tensor) and x.dim() == 2 and x.dtype == torch.float32


def _copies(train: Tensor, test: Tensor) -> float:
    """Return the share of held-out rows that stand among the training rows."""
    return (nearest_distance(test, train) == 0).float().mean().item()


def _scales(train: Tensor) -> bool:
    """Tell whether the columns that vary have comparable spreads, as they must without units."""
    spread = train.std(0)
    spread = spread[spread > 0]
    return _binary(train) or bool(spread.max() / spread.min() < 100)


data = Inspection(
    conditions=(
        Condition(
            "This is no pair of float32 tables (rows, columns)",
            "Use torch.as_tensor(…, dtype=torch.float32), and x.flatten(1) for pictures.",
            lambda train, test: _is_table(train) and _is_table(test),
        ),
        Condition(
            "Training and held-out rows have different columns",
            "Split one table by its rows: data.split(x).",
            lambda train, test: train.shape[1] == test.shape[1],
        ),
        Condition(
            "Some entries are missing or infinite",
            "Drop those rows, or fill them before you split.",
            lambda train, test: bool(train.isfinite().all() and test.isfinite().all()),
        ),
        Condition(
            "There are too few rows to tell learning from memory",
            "Aim at 200 training rows and 50 held-out ones at least.",
            lambda train, test: len(train) >= 200 and len(test) >= 50,
        ),
        Condition(
            "No column varies",
            "Is this the same row many times?",
            lambda train, test: bool((train.std(0) > 0).any()),
        ),
        Condition(
            "Many held-out rows stand among the training rows as well",
            "Then held-out numbers say nothing: remove double rows before you split.",
            lambda train, test: _copies(train, test) < 0.1,
        ),
        Condition(
            "The columns have spreads that differ a hundredfold or more",
            "One noise scale cannot fit both: standardise the columns.",
            lambda train, test: _scales(train),
        ),
    ),
    finding=lambda train, test: (
        f"{len(train)} rows to learn from, {len(test)} held out, {train.shape[1]} "
        f"{'binary' if _binary(train) else 'real'} columns."
    ),
)


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _reached(model: Hierarchy, x: Tensor) -> bool:
    """Tell whether each weight gets a gradient from the ELBO."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(elbo(model, x[:50]).mean(), parameters, allow_unused=True)
    return all(g is not None and bool(g.isfinite().all()) for g in gradients)


def _likelihood(model: Hierarchy, x: Tensor) -> Distribution:
    return model.trace(x[:50]).p[0]


def _binary_goes_with_bernoulli(model: Hierarchy, x: Tensor) -> bool:
    """Tell whether the family of p(x | z_1) is one of tables of zeros and ones, if x is such."""
    return not _binary(x) or bool((_likelihood(model, x).sample() % 1 == 0).all())


def _scale_is_in_range(model: Hierarchy, x: Tensor) -> bool:
    """Tell whether a real column's noise is between a hundredth of its spread and the spread."""
    if _binary(x):
        return True
    noise, spread = _likelihood(model, x).stddev.mean(), x.std(0).mean()
    return bool(spread / 100 < noise <= spread)


hierarchy = Inspection(
    conditions=(
        Condition(
            "This is no HVAE",
            "Build one with HVAE(encoders, decoders, prior), or a TopDownHVAE.",
            lambda model, x: isinstance(model, Hierarchy),
        ),
        Condition(
            "It has one level",
            "A hierarchy has two or more encoders, and as many decoders.",
            lambda model, x: len(model.encoders) > 1,
        ),
        Condition(
            "It was built for another number of columns",
            "The first encoder takes, and the first decoder gives, one number for each column.",
            lambda model, x: model.data_size == x.shape[1],
        ),
        Condition(
            "A Gaussian decoder scores zeros and ones",
            "Its density has no upper limit there: take a BernoulliConditional for p(x | z_1).",
            _binary_goes_with_bernoulli,
        ),
        Condition(
            "The scale of p(x | z_1) does not suit the spread of the columns",
            "Start with a fifth of the columns' standard deviation.",
            _scale_is_in_range,
        ),
        Condition(
            "Some weights get no gradient from the ELBO",
            "Does each network stand in exactly one conditional, without detach?",
            _reached,
        ),
    ),
    finding=lambda model, x: (
        f"{len(model.encoders)} levels of sizes "
        f"{', '.join(str(z.shape[-1]) for z in model.trace(x[:1]).z)}, {_parameters(model):,} "
        f"weights."
    ),
)

baseline = Inspection(
    conditions=(
        Condition(
            "The baseline has several levels",
            "It is the flat model that the hierarchy must beat: a VAE.",
            lambda flat, model, x: len(flat.trace(x[:1]).z) == 1,
        ),
        Condition(
            "The two models score x by different families of p(x | z_1)",
            "A density of real numbers and a probability of zeros and ones do not compare.",
            lambda flat, model, x: (
                str(flat.trace(x[:1]).p[0].support) == str(model.trace(x[:1]).p[0].support)
            ),
        ),
        Condition(
            "The two models differ in size by more than a third",
            "Change the hidden sizes until the numbers of weights come close.",
            lambda flat, model, x: 3 / 4 <= _parameters(flat) / _parameters(model) <= 4 / 3,
        ),
    ),
    finding=lambda flat, model, x: (
        f"{_parameters(flat):,} weights in the flat model, {_parameters(model):,} in the hierarchy."
    ),
)


def _idle(model: LatentVariableModel, x: Tensor) -> list[int]:
    """Return the levels whose rate is below `IDLE`, counted from 1."""
    rates = level_rates(model, x, 16)
    return [level for level, rate in enumerate(rates, start=1) if rate.mean < IDLE]


def _rates(model: LatentVariableModel, x: Tensor) -> str:
    return ", ".join(f"{rate.mean:.2f}" for rate in level_rates(model, x, 16))


idle_levels = Inspection(
    conditions=(
        Condition(
            "This is no list of levels",
            "Levels count from 1, which stands next to x: [] for none, [3] for the third.",
            lambda answer, model, x: (
                isinstance(answer, list) and all(type(level) is int for level in answer)
            ),
        ),
        Condition(
            "Levels count from 1, not from 0",
            "z_1 stands next to x.",
            lambda answer, model, x: 0 not in answer,
        ),
        Condition(
            f"Those are not the levels with less than {IDLE} nats",
            "Print level_rates(model, x, 16) and read them from the bottom up.",
            lambda answer, model, x: sorted(answer) == _idle(model, x),
        ),
    ),
    finding=lambda answer, model, x: f"Rates from the bottom up: {_rates(model, x)} nats.",
)

awake = Inspection(
    conditions=(
        Condition(
            f"A level still has less than {IDLE} nats",
            "Give each level free bits, warm up for longer, or make the level below it smaller.",
            lambda model, x: not _idle(model, x),
        ),
        Condition(
            "A level has a rate, but none of its units follows x",
            "A rate alone can be held up by any q that is not the prior; warm up instead.",
            lambda model, x: all(
                active_units(model, x, level=level).any()
                for level in range(1, len(model.encoders) + 1)
            ),
        ),
    ),
    finding=lambda model, x: f"Rates from the bottom up: {_rates(model, x)} nats.",
)


def _held_out(model: LatentVariableModel, x: Tensor) -> tuple[float, float]:
    """Return estimates of the mean ELBO and of the mean log p(x)."""
    return elbo(model, x, 50).mean().item(), log_marginal(model, x, 300).mean().item()


def _is_elbo(value: float, model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether a number lies nearer to the ELBO than to log p(x), and close to it."""
    bound, log_p = _held_out(model, x)
    return abs(value - bound) < min(abs(value - log_p), log_p - bound)


def _is_log_marginal(value: float, model: LatentVariableModel, x: Tensor) -> bool:
    """Tell whether a number lies as near to log p(x) as estimates of it lie to one another."""
    bound, log_p = _held_out(model, x)
    return abs(value - log_p) < max((log_p - bound) / 2, 0.05)


report = Inspection(
    conditions=(
        Condition(
            "The report is no dictionary with the numbers 'flat' and 'hierarchy'",
            "Write {'flat': …, 'hierarchy': …}, each one float.",
            lambda numbers, flat, model, test: (
                isinstance(numbers, dict)
                and set(numbers) == {"flat", "hierarchy"}
                and all(isinstance(value, float) for value in numbers.values())
            ),
        ),
        Condition(
            "The numbers have the sign of a loss",
            "Report log p(x) itself: larger is better.",
            lambda numbers, flat, model, test: not _is_log_marginal(-numbers["flat"], flat, test),
        ),
        Condition(
            "The numbers are sums over the rows",
            "Report the mean for each row, so that tables of other sizes compare.",
            lambda numbers, flat, model, test: (
                not _is_log_marginal(numbers["flat"] / len(test), flat, test)
            ),
        ),
        Condition(
            "The numbers are ELBOs",
            "The gaps of the two models differ, so compare estimates of log p(x): log_marginal.",
            lambda numbers, flat, model, test: (
                not (
                    _is_elbo(numbers["flat"], flat, test)
                    or _is_elbo(numbers["hierarchy"], model, test)
                )
            ),
        ),
        Condition(
            "The numbers are not the mean log p(x) of the held-out rows",
            "Use log_marginal(model, test, 300).mean().item(), on the held-out rows.",
            lambda numbers, flat, model, test: (
                _is_log_marginal(numbers["flat"], flat, test)
                and _is_log_marginal(numbers["hierarchy"], model, test)
            ),
        ),
    ),
    finding=lambda numbers, flat, model, test: (
        f"The hierarchy is {numbers['hierarchy'] - numbers['flat']:+.2f} nats a row from the flat "
        f"model."
    ),
)
