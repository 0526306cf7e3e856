"""The capstone's inspections: each flaw gets its own verdict, a sound build gets its ✓."""

import copy

import pytest
import torch
from torch import nn

from companion import data, exercises
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    mlp,
)
from companion.exercises.checking import NOT_ATTEMPTED, Condition, Inspection
from companion.models import HVAE, VAE, TopDownHVAE
from companion.objectives import elbo, free_bits_elbo, log_marginal
from companion.train import fit

check = exercises.chapter(13)


def table(rows: int = 300, columns: int = 6, seed: int = 0) -> torch.Tensor:
    """Binary columns that hang together: noisy copies of two coins."""
    generator = torch.Generator().manual_seed(seed)
    coins = torch.rand(rows, 2, generator=generator).round().repeat(1, columns // 2)
    flips = (torch.rand(rows, columns, generator=generator) < 0.1).float()
    return (coins - flips).abs()


def build(columns: int = 6, *, decoder: nn.Module | None = None) -> HVAE:
    torch.manual_seed(0)
    return HVAE(
        [GaussianConditional(mlp(columns, 16, 6)), GaussianConditional(mlp(3, 16, 4))],
        [decoder or BernoulliConditional(mlp(3, 16, columns)), GaussianConditional(mlp(2, 16, 6))],
        StandardNormal(2),
    )


def top_down() -> TopDownHVAE:
    torch.manual_seed(0)
    return TopDownHVAE(
        [GaussianConditional(mlp(6 + 2, 16, 6)), GaussianConditional(mlp(6, 16, 4))],
        [BernoulliConditional(mlp(3, 16, 6)), GaussianConditional(mlp(2, 16, 6))],
        StandardNormal(2),
    )


def flat_model(hidden: int = 24, decoder: nn.Module | None = None) -> VAE:
    torch.manual_seed(0)
    decoder = decoder or BernoulliConditional(mlp(3, hidden, 6))
    return VAE(GaussianConditional(mlp(6, hidden, 6)), decoder, StandardNormal(3))


# Coins with little noise repeat; real columns do not.
REAL = torch.randn(300, 6, generator=torch.Generator().manual_seed(1))
MORE = torch.randn(80, 6, generator=torch.Generator().manual_seed(2))
TRAIN, TEST = table(), table(80, seed=1)


@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [
        (REAL, MORE, "✓ 300 rows to learn from, 80 held out, 6 real columns."),
        (REAL.double(), MORE, "no pair of float32 tables"),
        (REAL.numpy(), MORE, "no pair of float32 tables"),
        (REAL[None], MORE, "no pair of float32 tables"),
        (REAL, MORE[:, :5], "different columns"),
        (REAL, MORE.clone().index_fill_(1, torch.tensor(2), torch.nan), "missing or infinite"),
        (REAL[:100], MORE, "too few rows"),
        (REAL, MORE[:20], "too few rows"),
        (REAL[:1].expand(300, -1), MORE, "No column varies"),
        (REAL, REAL[:80], "stand among the training rows"),
        (REAL * torch.logspace(-2, 2, 6), MORE, "spreads that differ a hundredfold"),
        (None, MORE, NOT_ATTEMPTED),
    ],
)
def test_data(train, test, verdict):
    assert verdict in check.data.verdict(train, test)


def test_binary_digits_pass():
    (train,), (test,) = data.split(data.binarise(data.digits()[0]))
    assert check.data.verdict(train, test).startswith("✓ 1438 rows")


def shared() -> HVAE:
    """A hierarchy with a weight that no conditional uses."""
    model = build()
    model.encoders[0].spare = nn.Parameter(torch.zeros(3))
    return model


@pytest.mark.parametrize(
    ("model", "x", "verdict"),
    [
        (build(), TRAIN, "✓ 2 levels of sizes 3, 2"),
        (top_down(), TRAIN, "✓ 2 levels of sizes 3, 2"),
        (flat_model(), TRAIN, "This is no HVAE"),
        (
            HVAE(
                [GaussianConditional(mlp(6, 6))],
                [BernoulliConditional(mlp(3, 6))],
                StandardNormal(3),
            ),
            TRAIN,
            "It has one level",
        ),
        (build(5), TRAIN, "another number of columns"),
        (build(decoder=GaussianConditional(mlp(3, 6), 0.5)), TRAIN, "scores zeros and ones"),
        (build(decoder=GaussianConditional(mlp(3, 6), 0.2)), REAL, "✓ 2 levels"),
        (build(decoder=GaussianConditional(mlp(3, 6), 5.0)), REAL, "does not suit the spread"),
        (build(decoder=GaussianConditional(mlp(3, 6), 0.001)), REAL, "does not suit the spread"),
        (shared(), TRAIN, "get no gradient"),
        (build(), REAL, "could not be looked at: ValueError"),
    ],
)
def test_hierarchy(model, x, verdict):
    assert verdict in check.hierarchy.verdict(model, x)


def test_baseline():
    model = build()
    assert check.baseline.verdict(flat_model(), model, TRAIN).startswith("✓ ")
    assert "several levels" in check.baseline.verdict(model, model, TRAIN)
    assert "differ in size" in check.baseline.verdict(flat_model(100), model, TRAIN)
    gaussian = flat_model(decoder=GaussianConditional(mlp(3, 24, 6), 0.5))
    assert "different families" in check.baseline.verdict(gaussian, model, TRAIN)


@pytest.fixture(scope="module")
def trained() -> tuple[VAE, HVAE, HVAE]:
    """A flat model, a hierarchy whose second level is shut by hand, and one that is awake."""
    flat, awake = flat_model(), build()
    torch.manual_seed(0)
    fit(flat, TRAIN, epochs=60, lr=1e-2)
    fit(awake, TRAIN, lambda m, x: free_bits_elbo(m, x, 0.8), epochs=60, lr=1e-2)
    shut = copy.deepcopy(awake)
    for parameter in shut.encoders[1].parameters():
        nn.init.zeros_(parameter)
    return flat, shut, awake


def test_idle_levels(trained):
    _, shut, awake = trained
    verdict = check.idle_levels.verdict
    assert verdict([2], shut, TEST).startswith("✓ Rates")
    assert verdict([], awake, TEST).startswith("✓ Rates")
    assert "not the levels" in verdict([], shut, TEST)
    assert "not the levels" in verdict([1, 2], shut, TEST)
    assert "from 1, not from 0" in verdict([0], shut, TEST)
    assert "no list" in verdict(2, shut, TEST)
    assert "no list" in verdict([2.0], shut, TEST)


def test_awake(trained):
    _, shut, awake = trained
    assert check.awake.verdict(awake, TEST).startswith("✓ Rates")
    assert "A level still has less than" in check.awake.verdict(shut, TEST)
    # q(z_2 | z_1) = N(2, 1) whatever z_1: a rate of 2 nats, and nothing in it.
    pretence = copy.deepcopy(shut)
    with torch.no_grad():
        pretence.encoders[1].net[-1].bias[:2] = 2.0
    assert "none of its units follows x" in check.awake.verdict(pretence, TEST)


def test_a_top_down_hierarchy_is_looked_at_as_well(trained):
    flat, model = trained[0], top_down()
    torch.manual_seed(0)
    fit(model, TRAIN, lambda m, x: free_bits_elbo(m, x, 0.8), epochs=60, lr=1e-2)
    assert check.baseline.verdict(flat, model, TRAIN).startswith("✓ ")
    assert check.awake.verdict(model, TEST).startswith("✓ Rates")
    assert check.report.verdict(numbers(flat, model, TEST), flat, model, TEST).startswith("✓ ")


def numbers(flat, model, x, of=log_marginal, reduce=torch.mean, sign=1.0):
    torch.manual_seed(9)
    return {
        name: sign * reduce(of(m, x, 300)).item()
        for name, m in (("flat", flat), ("hierarchy", model))
    }


def test_report(trained):
    flat, _, awake = trained
    verdict = check.report.verdict
    rest = (flat, awake, TEST)
    good = numbers(*rest)
    assert verdict(good, *rest).startswith("✓ The hierarchy is ")
    assert "ELBOs" in verdict(numbers(*rest, of=elbo), *rest)
    assert "sign of a loss" in verdict(numbers(*rest, sign=-1.0), *rest)
    assert "sums over the rows" in verdict(numbers(*rest, reduce=torch.sum), *rest)
    assert "not the mean log p(x)" in verdict({"flat": -1.0, "hierarchy": -1.0}, *rest)
    assert "no dictionary" in verdict({"flat": -1.0}, *rest)
    assert "no dictionary" in verdict([-1.0, -1.0], *rest)
    assert "no dictionary" in verdict({"flat": torch.tensor(-1.0), "hierarchy": -1.0}, *rest)


def test_an_inspection_draws_nothing_and_never_raises():
    def stops(*things):
        raise RuntimeError("no")

    draws = Inspection(
        "draws", (Condition("never", "No.", lambda thing: bool(torch.rand(1) < 2)),), str
    )
    state = torch.get_rng_state()
    assert draws.verdict(1) == "✓ 1"
    assert torch.equal(state, torch.get_rng_state())
    broken = Inspection("broken", (Condition("never", "No.", stops),), str)
    assert broken.verdict(1) == "✗ This could not be looked at: RuntimeError: no"
    assert broken.verdict() == broken.verdict(None) == broken.verdict(1, ...) == NOT_ATTEMPTED
