"""The capstone's inspections: each flaw gets its own verdict, a sound build gets its ✓.

The wrong builds stand under what the verdict must say; `capstone_builds` makes them.
"""

import copy
import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from capstone_builds import (
    CABLES,
    CABLES_OUT,
    DIGITS,
    MORE,
    REAL,
    TEST,
    TRAIN,
    Given,
    Hidden,
    LearnedNoise,
    LearnedPrior,
    Models,
    Network,
    NoPath,
    Own,
    Returns,
    asleep,
    build,
    by_training_rows,
    coins,
    common_body,
    convolution,
    diverged,
    drowsy,
    flat_model,
    flat_real,
    frozen,
    given,
    leaning,
    nearly,
    noisy,
    normal,
    normed,
    numbers,
    one_wrong,
    p0,
    p1,
    padded,
    pretending,
    q1,
    q2,
    real,
    real_report,
    remembering,
    report,
    rescaled,
    returns,
    second_hand,
    shut,
    spare,
    split,
    square,
    standard,
    still,
    three_levels,
    told_by_the_spread,
    top_down,
    train_all,
    trained,
    uniform,
)
from torch import nn
from torch.distributions import Laplace, LogNormal, Normal, Poisson, StudentT
from torch.nn.functional import dropout

from companion import data, exercises
from companion.autoregressive import AutoregressiveConditional
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    GaussianPrior,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.distributions import Gaussian
from companion.exact import LinearGaussian, LinearGaussianChain
from companion.exercises.verdicts import NOT_ATTEMPTED
from companion.models import HVAE, VAE, TopDownHVAE
from companion.objectives import elbo, iwae_bound, log_marginal

check = exercises.chapter(13)
Wrong = dict[str, dict[str, Callable[..., Any]]]


@pytest.fixture(scope="module")
def models() -> Models:
    return train_all()


def verdict_of(name: str, made: Any) -> str:
    """Return a verdict, which is one line; a model alone is looked at with the table of coins."""
    things = (made, TRAIN) if isinstance(made, nn.Module) else made
    verdict = getattr(check, name).verdict(*things)
    assert "\n" not in verdict
    assert len(verdict) < 300
    return verdict


def each(wrong: Wrong) -> list[Any]:
    return [
        pytest.param(says, make, id=name)
        for says, builds in wrong.items()
        for name, make in builds.items()
    ]


# --- Tables --------------------------------------------------------------------------------------

CSV = "\n".join(f"{a},{1000 * b}" for a, b in normal(400, 2).tolist())


def from_a_drawing() -> torch.Tensor:
    """The chapter's lines for a drawing, here of a ring."""
    right, down = np.meshgrid(np.linspace(-2, 2, 90), np.linspace(-2, 2, 70))
    ink = abs(np.hypot(right, down) - 1.2) < 0.3
    row, column = torch.as_tensor(np.stack(ink.nonzero())).float()
    x = torch.stack([column, -row], 1)[torch.randint(len(row), (7000,))]
    x = x + torch.rand(7000, 2)
    return standard(x)


RIGHT_TABLES: dict[str, Callable[[], Any]] = {
    # What the chapter names.
    "as in the chapter": lambda: split(data.tree(7000)[0]),
    "a drawing": lambda: split(from_a_drawing()),
    "a folder of pictures": lambda: split((data.sprites(300)[0] * 255).round() / 255),
    "digits, binary": lambda: split(data.binarise(DIGITS)),
    "pinwheel": lambda: split(data.pinwheel(2000)),
    "sprites": lambda: split(data.sprites(2000)[0]),
    "from a file": lambda: split(
        standard(torch.as_tensor(np.loadtxt(io.StringIO(CSV), delimiter=","), dtype=torch.float32))
    ),
    "standardised": lambda: split(standard(leaning())),
    # What else the package has.
    "sprites, with a pixel that is nearly black": lambda: split(data.sprites(2000, seed=2)[0]),
    "sprites, binary": lambda: split(data.binarise(data.sprites(2000)[0])),
    "scenes": lambda: split(data.scenes(2000)[0]),
    "tree": lambda: split(data.tree(2000)[0]),
    "moons": lambda: split(data.moons(260)),
    "grey digits": lambda: split(DIGITS),
    # What readers may have.
    "by the training rows": lambda: by_training_rows(leaning()),
    "survey of six questions": lambda: (TRAIN, TEST),
    "two questions": lambda: split(
        torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).repeat(80, 1)
    ),
    "grades": lambda: split(standard((normal(400, 3) * 1.2).round().clamp(-2, 2))),
    "one-hot": lambda: split(torch.eye(40)[torch.randint(40, (600,))]),
    "rare ones": lambda: split((uniform(1000, 200) < 0.004).float()),
    "counts": lambda: split(torch.poisson(3 * uniform(500, 5), torch.Generator().manual_seed(0))),
    "very heavy tails": lambda: split(normal(300, 1) / normal(300, 1, seed=7)),
    "two clusters": lambda: split(
        torch.where(uniform(250, 1) < 0.26, 5.0, 0.0) + 0.1 * normal(250, 1, seed=5)
    ),
    "one column, rounded": lambda: split((normal(600, 1) * 100).round() / 100),
    "a column that hardly varies": lambda: split(
        torch.cat([15 * normal(500, 3), (uniform(500, 1) < 0.004).float()], 1)
    ),
    "wide": lambda: split((uniform(1200, 784) < 0.1).float()),
    "with a gradient": lambda: (REAL.clone().requires_grad_(), MORE),
}

WRONG_TABLES: Wrong = {
    "Write check.data(train, test)": {
        "one thing": lambda: (REAL,),
        "a pair as one thing": lambda: ([REAL, MORE],),
        "three things": lambda: (REAL, MORE, MORE),
    },
    "tuple or list": {
        "tuples of the split": lambda: data.split(REAL),
        "with factors": lambda: (data.sprites(300), data.sprites(90, seed=1)),
        "lists": lambda: (REAL.tolist(), MORE.tolist()),
    },
    "no tensor": {
        "NumPy": lambda: (REAL.numpy(), MORE.numpy()),
        "a name": lambda: ("train", "test"),
    },
    "not float32": {
        "double": lambda: (REAL.double(), MORE.double()),
        "whole numbers": lambda: ((9 * REAL).long(), (9 * MORE).long()),
        "truth values": lambda: (TRAIN.bool(), TEST.bool()),
    },
    "rows and columns": {
        "pictures": lambda: (DIGITS.reshape(-1, 1, 8, 8), MORE),
        "one axis": lambda: (REAL[:, 0], MORE[:, 0]),
    },
    "different columns": {"one column less": lambda: (REAL, MORE[:, :5])},
    "More rows are held out": {"exchanged": lambda: (MORE, REAL)},
    "too few rows": {
        "few rows": lambda: (REAL[:100], MORE),
        "few held out": lambda: (REAL, MORE[:20]),
        "none": lambda: (REAL[:0], REAL[:0]),
    },
    "NaN throughout": {
        "divided by no spread": lambda: split(standard(torch.cat([REAL, torch.ones(300, 1)], 1)))
    },
    "missing or infinite": {
        "missing": lambda: (REAL, MORE.clone().index_fill_(0, torch.tensor(2), torch.nan)),
        "infinite": lambda: (REAL.clone().fill_(torch.inf), MORE),
    },
    "No column varies": {
        "one row": lambda: (REAL[:1].expand(300, -1), MORE),
        "no columns": lambda: (REAL[:, :0], MORE[:, :0]),
    },
    "two values": {
        "−1 and 1": lambda: split(2 * coins(400) - 1),
        "0 and 255": lambda: split(255 * coins(400)),
    },
    "stand among the training rows": {
        "one twice": lambda: (REAL, REAL),
        "one survey twice": lambda: (TRAIN, TRAIN),
        "part of training": lambda: (REAL, REAL[100:180]),
        "first rows": lambda: (TRAIN, TRAIN[:80]),
        "half leaked": lambda: (REAL, torch.cat([REAL[:40], MORE[:40]])),
        "part of training, binary": lambda: (
            data.binarise(DIGITS),
            split(data.binarise(DIGITS))[1],
        ),
        "doubled": lambda: split(REAL.repeat(2, 1)),
    },
    "more than once": {
        "doubled, binary": lambda: split(data.binarise(DIGITS).unique(dim=0).repeat(2, 1))
    },
    "each by its own mean": {"each by itself": lambda: tuple(map(standard, split(leaning())))},
    "prepared in different ways": {
        "training alone standardised": lambda: (
            standard(split(leaning())[0] / 50),
            split(leaning())[1] / 50,
        ),
        "training alone divided": lambda: (DIGITS[:1400], DIGITS[1400:] * 16),
        "binary and grey": lambda: (data.binarise(DIGITS[:1400]), DIGITS[1400:]),
    },
    "spreads that differ a hundredfold": {"units": lambda: split(leaning())},
    "30 and more": {"far from zero": lambda: split(280 + 9 * normal(400, 3))},
}


@pytest.mark.parametrize("name", RIGHT_TABLES)
def test_right_tables(name):
    assert verdict_of("data", RIGHT_TABLES[name]()).startswith("✓ ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_TABLES))
def test_wrong_tables(says, make):
    verdict = verdict_of("data", make())
    assert verdict.startswith("✗ ")
    assert says in verdict


def test_the_finding_says_what_the_tables_are():
    verdict = check.data.verdict
    assert verdict(REAL, MORE) == "✓ 300 rows to learn from, 80 held out, 6 real columns."
    assert verdict(TRAIN, TEST) == "✓ 300 rows to learn from, 80 held out, 6 binary columns."


@pytest.mark.parametrize("seed", range(20))
def test_honest_splits_of_small_tables_pass(seed):
    for x in (data.moons(250, seed=seed), uniform(260, 8, seed=seed).round(), normal(250, 1)):
        (train,), (test,) = data.split(x, seed=seed)
        assert verdict_of("data", (train, test)).startswith("✓ ")


# --- Hierarchies ---------------------------------------------------------------------------------


def pictures() -> tuple[HVAE, torch.Tensor]:
    decoder = GaussianConditional(mlp(3, 16, 256), 0.06)
    return build(lambda: q1(columns=256), x=decoder), data.sprites(300)[0]


def points() -> tuple[HVAE, torch.Tensor]:
    decoder = GaussianConditional(mlp(3, 16, 2), 0.05)
    return build(lambda: q1(columns=2), x=decoder), data.tree(300)[0]


RIGHT_HIERARCHIES: dict[str, Callable[[], Any]] = {
    "two levels": build,
    "three levels": three_levels,
    "top down": top_down,
    "top down, three levels": lambda: three_levels(TopDownHVAE),
    "top down, shared features": lambda: top_down(features=mlp(6, 9, 6)),
    "top down, no look above": lambda: top_down(
        Given(q1(), lambda x, z: x.expand(*z.shape[:-1], 6))
    ),
    "convolution": lambda: build(bottom=lambda: q1(convolution(6))),
    "batch norm": lambda: build(q1(normed(6, 6)), q2(normed(3, 4)), p0(normed(3, 6))),
    "layer norm": lambda: build(bottom=lambda: q1(normed(6, 6, nn.LayerNorm))),
    "codes that add up to zero": lambda: build(
        lambda: Own(mlp(6, 1), lambda out: Normal(out * torch.tensor([1.0, 1.0, -2.0]), 0.5))
    ),
    "dropout": lambda: build(bottom=lambda: q1(Network(6, 6, nn.Dropout(0.5)))),
    "many layers": lambda: build(q1(mlp(6, *[16] * 12, 6)), x=p0(mlp(3, *[16] * 12, 6))),
    "starts from zero": lambda: build(
        q1(still(mlp(6, 16, 6))), top=p1(still(mlp(2, 16, 6))), x=p0(still(mlp(3, 16, 6)))
    ),
    "body in common": common_body,
    "as wide as the table": square,
    "remembers what it gave": remembering,
    "rounds the data": lambda: given(torch.round, bottom=q1),
    "Gaussian": lambda: (real(), REAL),
    "Gaussian, scale 1": lambda: (real(1.0), standard(REAL)),
    "Gaussian, learned scale": lambda: (real(None), REAL),
    "Gaussian, learned scale, small columns": lambda: (real(None), 0.2 * REAL),
    "Gaussian, one scale a column": lambda: (
        build(x=lambda: LearnedNoise(mlp(3, 16, 6), 6)),
        REAL,
    ),
    "Gaussian for pictures": pictures,
    "Gaussian for a tree": points,
    "Laplace": lambda: (build(x=lambda: Own(mlp(3, 6), lambda out: Laplace(out, 0.2))), REAL),
    "heavy tails": lambda: (
        build(x=lambda: Own(mlp(3, 6), lambda out: StudentT(3.0, out, 0.2))),
        REAL,
    ),
    "counts": lambda: (
        build(x=lambda: Own(mlp(3, 6), lambda out: Poisson(out.exp()))),
        torch.poisson(3 * uniform(300, 6)),
    ),
    "autoregressive": lambda: build(x=lambda: AutoregressiveConditional(3, 6, 12)),
    "autoregressive, sees nothing": lambda: build(
        x=lambda: AutoregressiveConditional(3, 6, 12, context=0)
    ),
    "narrow levels": lambda: build(top=lambda: GaussianConditional(mlp(2, 16, 3), 0.05)),
    "torch's Gaussian": lambda: build(lambda: Own(mlp(6, 3), lambda out: Normal(out, 0.5))),
    "a fixed level": lambda: build(
        second=LinearGaussianConditional(normal(2, 3), torch.zeros(2), torch.eye(2))
    ),
    "learned prior": lambda: build(prior=LearnedPrior(2)),
    "full prior": lambda: build(prior=GaussianPrior(torch.zeros(2), torch.eye(2))),
    "asleep": lambda: shut(build(), 2),
    "evaluating": lambda: build().eval(),
    "double": lambda: (build().double(), TRAIN.double()),
    "sorted rows": lambda: (build(), TRAIN[TRAIN[:, 0].argsort()]),
}

WRONG_HIERARCHIES: Wrong = {
    "Write check.hierarchy(model, x).": {"no table": lambda: (build(),)},
    "place is no model": {
        "a class": lambda: (HVAE, TRAIN),
        "a name": lambda: ("plain", TRAIN),
        "exchanged": lambda: (TRAIN, build()),
    },
    "no table": {
        "NumPy": lambda: (build(), TRAIN.numpy()),
        "tuple of the split": lambda: (build(), (TRAIN,)),
        "one axis": lambda: (build(), TRAIN[0]),
        "one row": lambda: (build(), TRAIN[:1]),
        "missing entries": lambda: (build(), TRAIN.clone().fill_(torch.nan)),
    },
    "number of columns": {"other columns": lambda: build(q1(columns=5), x=p0(columns=5))},
    "another dtype": {
        "double weights": lambda: build().double(),
        "double table": lambda: (build(), TRAIN.double()),
    },
    "NaN or infinite. Training": {"diverged": diverged},
    "p(x | z_1) cannot produce": {
        "Bernoulli, real table": lambda: (build(), REAL),
        "Bernoulli, grey table": lambda: (build(), uniform(300, 6)),
    },
    "one level": {
        "flat": flat_model,
        "of one level": lambda: HVAE([q1()], [p0()], StandardNormal(3)),
    },
    "scores zeros and ones": {"Gaussian, binary table": real},
    "does not suit the spread": {
        "wide noise": lambda: (real(5.0), REAL),
        "thin noise": lambda: (real(0.001), REAL),
    },
    "between levels cannot produce": {
        "Bernoulli": lambda: build(top=lambda: BernoulliConditional(mlp(2, 16, 3))),
        "positive": lambda: build(top=lambda: Own(mlp(2, 3), lambda out: LogNormal(out, 1.0))),
    },
    "scales of q and p": {
        "thin level": lambda: build(top=lambda: GaussianConditional(mlp(2, 16, 3), 1e-4)),
        "a point as q": lambda: build(second=lambda: GaussianConditional(mlp(3, 16, 2), 1e-6)),
    },
    "ELBO of some rows is NaN": {"log of zero": lambda: given(torch.log, bottom=q1)},
    "is random": {
        "dropout for good": lambda: build(bottom=lambda: q1(Network(6, 6, dropout))),
        "encoder": lambda: given(noisy, second=q2),
        "decoder": lambda: given(noisy, x=p0),
        "prior": lambda: build(prior=LearnedPrior(2, 0.1)),
        "features": lambda: top_down(features=Network(6, 6, noisy)),
    },
    "other rows": {
        "centred on the batch": lambda: given(lambda x: x - x.mean(-2, keepdim=True), bottom=q1),
        "a little": lambda: given(lambda x: x - 0.1 * x.mean(-2, keepdim=True), bottom=q1),
        "softmax": lambda: build(x=lambda: p0(Network(3, 6, lambda h: 9 * h.softmax(0)))),
        "batch norm of the batch": lambda: build(
            q1(normed(6, 6, lambda size: nn.BatchNorm1d(size, track_running_stats=False)))
        ),
        "features": lambda: top_down(features=Network(6, 6, lambda h: h - h.mean(0))),
    },
    "same weights": {
        "one encoder twice": lambda: square(shared=True),
        "one network twice": lambda: square(same_net=True),
    },
    "frozen": {
        "all": lambda: frozen(""),
        "an encoder": lambda: frozen("encoders.1"),
        "one weight": lambda: frozen("decoders.0.net.0.bias"),
    },
    "not registered": {"network in a list": lambda: build(second=lambda: Hidden(3, 16, 4))},
    "encoder gives the same q": {
        "first": lambda: given(torch.ones_like, bottom=q1),
        "second": lambda: given(torch.zeros_like, second=q2),
        "zero times the network": lambda: build(lambda: q1(Network(6, 6, lambda h: 0 * h))),
        "zero times q": lambda: returns(lambda q: Gaussian(0 * q.loc + 2, 0 * q.logvar), second=q2),
        "top down": lambda: top_down(
            Given(GaussianConditional(mlp(6 + 2, 6)), lambda x, z: (0 * x, z))
        ),
        "features": lambda: top_down(features=Network(6, 6, torch.zeros_like)),
        "number of the row": lambda: given(
            lambda x: torch.arange(float(x.shape[-2]))[:, None].expand(x.shape), bottom=q1
        ),
    },
    "decoder gives the same p": {
        "of x": lambda: given(torch.zeros_like, x=p0),
        "of z_1": lambda: given(lambda z: 0 * z, top=p1),
        "autoregressive": lambda: given(
            torch.zeros_like, x=lambda: AutoregressiveConditional(3, 6, 12)
        ),
        "clamped": lambda: build(x=lambda: p0(Network(3, 6, lambda h: h.clamp(5, 5)))),
    },
    "get no gradient": {
        "q detached": lambda: returns(
            lambda q: Gaussian(q.loc.detach(), q.logvar.detach()), bottom=q1
        ),
        "features": lambda: top_down(features=Returns(mlp(6, 6), torch.detach)),
        "a spare weight": spare,
        "zero through a step": lambda: build(bottom=lambda: q1(Network(6, 6, torch.sign))),
    },
    "is detached": {
        "code": lambda: given(torch.detach, x=p0),
        "upper code": lambda: given(torch.detach, top=p1),
        "on the way up": lambda: given(torch.detach, second=q2),
        "code rounded": lambda: given(lambda z: (z > 0).float(), x=p0),
        "draws": lambda: returns(lambda q: NoPath(q.loc, q.logvar), bottom=q1),
        "upper draws": lambda: returns(lambda q: NoPath(q.loc, q.logvar), second=q2),
    },
}


@pytest.mark.parametrize("name", RIGHT_HIERARCHIES)
def test_right_hierarchies(name):
    assert verdict_of("hierarchy", RIGHT_HIERARCHIES[name]()).startswith("✓ ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_HIERARCHIES))
def test_wrong_hierarchies(says, make):
    verdict = verdict_of("hierarchy", make())
    assert verdict.startswith("✗ ")
    assert says in verdict


def test_the_finding_says_what_the_hierarchy_is():
    verdict = check.hierarchy.verdict(three_levels(), TRAIN)
    assert verdict == "✓ 3 levels of sizes 3, 2, 1, 844 weights."


# --- The baseline --------------------------------------------------------------------------------

RIGHT_BASELINES: dict[str, Callable[[Models], Any]] = {
    "untrained": lambda m: (flat_model(), build(), TRAIN),
    "trained": lambda m: (m.flat, m.awake, TRAIN),
    "the hierarchy still untrained": lambda m: (m.flat, build(), TRAIN),
    "top down": lambda m: (m.flat, m.top_down, TRAIN),
    "a hierarchy of one level": lambda m: (
        HVAE([q1(mlp(6, 24, 6))], [p0(mlp(3, 24, 6))], StandardNormal(3)),
        build(),
        TRAIN,
    ),
    "Gaussian": lambda m: (flat_real(), real(), REAL),
    "Gaussian, trained": lambda m: (m.flat_real, m.real, CABLES),
    "Gaussian, torch's": lambda m: (
        flat_model(decoder=Own(mlp(3, 24, 6), lambda out: Normal(out, 0.2))),
        real(),
        REAL,
    ),
    "learned noise": lambda m: (flat_real(None), real(None), REAL),
    "nothing to learn": lambda m: (
        trained(flat_real(1.0), REAL, 3),
        trained(real(1.0), REAL, 3),
        REAL,
    ),
}

WRONG_BASELINES: Wrong = {
    "Write check.baseline(flat, model, x).": {"no table": lambda m: (flat_model(), build())},
    "place is no model": {
        "table first": lambda m: (TRAIN, flat_model(), build()),
        "a class": lambda m: (VAE, build(), TRAIN),
    },
    "no table": {"NumPy": lambda m: (flat_model(), build(), TRAIN.numpy())},
    "number of columns": {
        "flat": lambda m: (VAE(q1(columns=5), p0(columns=5), StandardNormal(3)), build(), TRAIN),
        "hierarchy": lambda m: (flat_model(), build(q1(columns=5), x=p0(columns=5)), TRAIN),
    },
    "another dtype": {"double": lambda m: (flat_model().double(), build(), TRAIN)},
    "NaN or infinite. Training": {"diverged": lambda m: (flat_model(), diverged(), TRAIN)},
    "p(x | z_1) cannot produce": {"real table": lambda m: (flat_model(), build(), REAL)},
    "baseline has several levels": {
        "a hierarchy": lambda m: (build(), build(), TRAIN),
        "exchanged": lambda m: (build(), flat_model(), TRAIN),
    },
    "hierarchy has one level": {"two flat ones": lambda m: (flat_model(), flat_model(), TRAIN)},
    "different families": {
        "Gaussian": lambda m: (flat_real(), build(), TRAIN),
        "Laplace": lambda m: (
            flat_model(decoder=Own(mlp(3, 24, 6), lambda out: Laplace(out, 0.2))),
            real(),
            REAL,
        ),
        "autoregressive": lambda m: (
            flat_model(),
            build(x=AutoregressiveConditional(3, 6, 12)),
            TRAIN,
        ),
    },
    "different noise": {
        "other scale": lambda m: (flat_real(0.5), real(), REAL),
        "learned by one": lambda m: (flat_real(), real(None), REAL),
    },
    "differ in size": {
        "too large": lambda m: (flat_model(100), build(), TRAIN),
        "too small": lambda m: (flat_model(8), build(), TRAIN),
    },
    "frozen": {"frozen": lambda m: (flat_model().requires_grad_(False), build(), TRAIN)},
    "gives the same q": {
        "blind": lambda m: (
            flat_model(encoder=Given(q1(mlp(6, 24, 6)), torch.zeros_like)),
            build(),
            TRAIN,
        )
    },
    "get no gradient": {"padded": lambda m: (padded(), build(), TRAIN)},
    "is untrained": {
        "Bernoulli": lambda m: (flat_model(), m.awake, TRAIN),
        "Gaussian": lambda m: (flat_real(0.3), m.real, CABLES),
        "deep": lambda m: (flat_model(encoder=q1(mlp(6, 16, 16, 6))), m.awake, TRAIN),
    },
}


@pytest.mark.parametrize("name", RIGHT_BASELINES)
def test_right_baselines(name, models):
    assert verdict_of("baseline", RIGHT_BASELINES[name](models)).startswith("✓ ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_BASELINES))
def test_wrong_baselines(says, make, models):
    verdict = verdict_of("baseline", make(models))
    assert verdict.startswith("✗ ")
    assert says in verdict


@pytest.mark.parametrize("x", [data.tree(500)[0], data.sprites(500)[0], standard(leaning(500))])
def test_the_chapters_models_pass_for_its_other_tables(x):
    columns, scale = x.shape[1], 0.2 * x.std(0).mean().item()

    def conditional(given, out, hidden=64):
        return GaussianConditional(mlp(given, hidden, hidden, 2 * out))

    flat = VAE(conditional(columns, 2, 113), conditional(2, columns, 113), StandardNormal(2))
    for lowest in (conditional(2, columns), GaussianConditional(mlp(2, 64, 64, columns), scale)):
        model = TopDownHVAE(
            [conditional(columns + 2, 2), conditional(columns + 2, 2), conditional(columns, 2)],
            [lowest, conditional(2, 2), conditional(2, 2)],
            StandardNormal(2),
        )
        assert verdict_of("hierarchy", (model, x)).startswith("✓ ")
    # With other columns the hidden sizes that make the two alike are others.
    verdict = verdict_of("baseline", (flat, model, x))
    assert verdict.startswith("✓ ") or "differ in size" in verdict or "different noise" in verdict


# --- Idle levels ---------------------------------------------------------------------------------

RIGHT_READINGS: dict[str, Callable[[], Any]] = {
    "list": lambda: ([3], asleep(3)),
    "tuple": lambda: ((3,), asleep(3)),
    "set": lambda: ({1, 3}, asleep(1, 3)),
    "range": lambda: (range(2, 4), asleep(2, 3)),
    "NumPy": lambda: (np.array([3], dtype=np.uint8), asleep(3)),
    "tensor": lambda: (torch.tensor([3, 1]), asleep(1, 3)),
    "numbers of NumPy": lambda: ([np.int64(3)], asleep(3)),
    "numbers in tensors": lambda: ([torch.tensor(3)], asleep(3)),
    "any order": lambda: ([3, 2, 3], asleep(2, 3)),
    "none": lambda: ([], asleep()),
    "none in NumPy": lambda: (np.array([]), asleep()),
    "none in a tensor": lambda: (torch.tensor([]), asleep()),
    "all": lambda: ([1, 2, 3], asleep(1, 2, 3)),
    "at the threshold": lambda: ([2], drowsy()),
    "at the threshold, awake": lambda: ([], drowsy()),
}

WRONG_READINGS: Wrong = {
    "Write check.idle_levels(levels, model, x).": {"no table": lambda: ([3], asleep(3))},
    "place is no model": {
        "a name": lambda: ([3], "plain", TEST),
        "exchanged": lambda: (asleep(3), [3], TEST),
    },
    "no table": {"tuple of the split": lambda: ([3], asleep(3), (TEST,))},
    "number of columns": {"other columns": lambda: ([3], asleep(3), TEST[:, :5])},
    "another dtype": {"double": lambda: ([3], asleep(3), TEST.double())},
    "NaN or infinite. Training": {"diverged": lambda: ([2], diverged(), TEST)},
    "p(x | z_1) cannot produce": {"real table": lambda: ([2], build(), REAL)},
    "no list of levels": {
        "one number": lambda: (3, asleep(3), TEST),
        "a word": lambda: ("3", asleep(3), TEST),
        "rates": lambda: ([2.0, 1.9, 0.01], asleep(3), TEST),
        "marks": lambda: ([False, False, True], asleep(3), TEST),
        "marks in a tensor": lambda: (torch.tensor([False, True]), asleep(3), TEST),
        "a dictionary": lambda: ({3: 0.01}, asleep(3), TEST),
        "a table": lambda: (torch.ones(2, 2), asleep(3), TEST),
        "tensors of several numbers": lambda: ([torch.ones(2)], asleep(3), TEST),
    },
    "Levels count from 1": {
        "zero": lambda: ([0], asleep(1), TEST),
        "a level too high": lambda: ([4], asleep(3), TEST),
        "from the end": lambda: ([-1], asleep(3), TEST),
    },
    "counted from 0": {"from zero": lambda: ([1, 2], asleep(2, 3), TEST)},
    "counted from the top": {"from the top": lambda: ([1], asleep(3), TEST)},
    "that are awake": {"those awake": lambda: ([1, 2], asleep(3), TEST)},
    "not the levels": {
        "one too few": lambda: ([2], asleep(2, 3), TEST),
        "one too many": lambda: ([1, 3], asleep(3), TEST),
        "none": lambda: ([], asleep(3), TEST),
    },
}


@pytest.mark.parametrize("name", RIGHT_READINGS)
def test_right_readings(name):
    verdict = verdict_of("idle_levels", (*RIGHT_READINGS[name](), TEST))
    assert verdict.startswith("✓ Rates from the bottom up: ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_READINGS))
def test_wrong_readings(says, make):
    verdict = verdict_of("idle_levels", make())
    assert verdict.startswith("✗ ")
    assert says in verdict


# --- Levels that are awake -----------------------------------------------------------------------

RIGHT_AWAKE: dict[str, Callable[[Models], Any]] = {
    "free bits": lambda m: (m.awake, TEST),
    "top down": lambda m: (m.top_down, TEST),
    "real columns": lambda m: (m.real, CABLES_OUT),
    "a level in small units": lambda m: (rescaled(m.awake, 0.01), TEST),
    "a level in large units": lambda m: (rescaled(m.awake, 100.0), TEST),
    "at the threshold": lambda m: (nearly(m.awake), TEST),
    "told by the spread": lambda m: (told_by_the_spread(), TEST),
}

WRONG_AWAKE: Wrong = {
    "Write check.awake(model, x).": {"no table": lambda m: (m.awake,)},
    "place is no model": {
        "exchanged": lambda m: (TEST, m.awake),
        "a class": lambda m: (HVAE, TEST),
    },
    "no table": {"one row": lambda m: (m.awake, TEST[:1])},
    "number of columns": {"other columns": lambda m: (m.awake, TEST[:, :4])},
    "another dtype": {"double": lambda m: (m.awake, TEST.double())},
    "NaN or infinite. Training": {"diverged": lambda m: (diverged(), TEST)},
    "p(x | z_1) cannot produce": {"real table": lambda m: (m.awake, REAL)},
    "model has one level": {"flat": lambda m: (m.flat, TEST)},
    "still has less than": {"asleep": lambda m: (m.asleep, TEST)},
    "none of its units follows x": {
        "pretending": lambda m: (pretending(2.0, m.awake), TEST),
        "pretending in large units": lambda m: (pretending(200.0, m.awake, 60.0), TEST),
        "pretending by a narrow q": lambda m: (pretending(0.0, m.awake, 0.1), TEST),
        "second-hand noise": lambda m: (second_hand(m.awake), TEST),
    },
}


@pytest.mark.parametrize("name", RIGHT_AWAKE)
def test_right_awake(name, models):
    verdict = verdict_of("awake", RIGHT_AWAKE[name](models))
    assert verdict.startswith("✓ Rates from the bottom up: ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_AWAKE))
def test_wrong_awake(says, make, models):
    verdict = verdict_of("awake", make(models))
    assert verdict.startswith("✗ ")
    assert says in verdict


# --- The report ----------------------------------------------------------------------------------


def form(change: Callable[[torch.Tensor], Any]) -> dict[str, Any]:
    return {"form": lambda rows: change(rows).item()}


def exact_report(m: Models) -> tuple[Any, ...]:
    """Exact encoders: log w is log p(x) for each draw, so that only the print rounds."""
    flat = LinearGaussian(normal(6, 2), torch.zeros(6), scale=0.5).vae()
    parts = [(normal(6, 3, seed=2), 0.2), (normal(3, 2, seed=3), 1.0)]
    chain = LinearGaussianChain([
        LinearGaussianConditional(weight, torch.zeros(len(weight)), noise * torch.eye(len(weight)))
        for weight, noise in parts
    ])  # fmt: skip
    said = numbers(flat, chain.hvae(), MORE, form=lambda rows: round(rows.mean().item(), 2))
    return said, flat, chain.hvae(), MORE


RIGHT_REPORTS: dict[str, Callable[[Models], Any]] = {
    "300 draws": report,
    "100 draws": lambda m: report(m, samples=100),
    "5000 draws": lambda m: report(m, samples=5000),
    "real columns": real_report,
    "real columns, 100 draws": lambda m: real_report(m, samples=100),
    "real columns, 5000 draws": lambda m: real_report(m, samples=5000),
    "top down": lambda m: (numbers(m.flat, m.top_down), m.flat, m.top_down, TEST),
    "a poor encoder, 5000 draws": lambda m: (
        numbers(m.flat_real, shut(m.real, 1), CABLES_OUT, samples=5000),
        m.flat_real,
        shut(m.real, 1),
        CABLES_OUT,
    ),
    "no gap, two decimals": exact_report,
    "the bound of many samples": lambda m: report(m, of=iwae_bound, samples=500),
    "tensors": lambda m: report(m, form=lambda rows: rows.mean()),
    "one number in a tensor": lambda m: report(m, form=lambda rows: rows.mean()[None]),
    "NumPy": lambda m: report(m, form=lambda rows: rows.mean().numpy()[()]),
    "NumPy, no axes": lambda m: report(m, form=lambda rows: rows.mean().numpy()),
    "two decimals": lambda m: report(m, form=lambda rows: round(rows.mean().item(), 2)),
    "another number beside": lambda m: ({**report(m)[0], "plain": -4.0}, *report(m)[1:]),
}


def exchanged(m: Models) -> tuple[Any, ...]:
    right, *rest = real_report(m)
    return ({"flat": right["hierarchy"], "hierarchy": right["flat"]}, *rest)


def says_report(numbers_: Any) -> Callable[[Models], Any]:
    return lambda m: (numbers_, *report(m)[1:])


WRONG_REPORTS: Wrong = {
    "Write check.report(numbers, flat, model, test).": {"no rows": lambda m: report(m)[:3]},
    "place is no model": {"a name": lambda m: (report(m)[0], "flat", m.awake, TEST)},
    "no table": {"tuple of the split": lambda m: (*report(m)[:3], (TEST,))},
    "number of columns": {"other columns": lambda m: (*report(m)[:3], TEST[:, :4])},
    "another dtype": {"double": lambda m: (*report(m)[:3], TEST.double())},
    "NaN or infinite. Training": {"diverged": lambda m: (report(m)[0], m.flat, diverged(), TEST)},
    "p(x | z_1) cannot produce": {"real table": lambda m: (*report(m)[:3], REAL)},
    "baseline has several levels": {
        "models exchanged": lambda m: (report(m)[0], m.awake, m.flat, TEST)
    },
    "hierarchy has one level": {"two flat ones": lambda m: (report(m)[0], m.flat, m.flat, TEST)},
    "no dictionary": {
        "NaN": says_report({"flat": math.nan, "hierarchy": -3.0}),
        "one name": says_report({"flat": -3.0}),
        "other names": says_report({"vae": -3.0, "hvae": -3.0}),
        "a list": says_report([-3.0, -3.0]),
        "words": says_report({"flat": "-3", "hierarchy": "-3"}),
        "nothing filled in": says_report({"flat": None, "hierarchy": None}),
        "a number for each row": lambda m: report(m, form=lambda rows: rows),
    },
    "is untrained": {
        "flat": lambda m: (numbers(flat_model(), m.awake), flat_model(), m.awake, TEST)
    },
    "exchanged": {"exchanged": exchanged},
    "sign of a loss": {
        "loss": lambda m: report(m, **form(lambda rows: -rows.mean())),
        "summed loss": lambda m: report(m, **form(lambda rows: -rows.sum())),
        "bits per dimension": lambda m: report(
            m, **form(lambda rows: -rows.mean() / 6 / math.log(2))
        ),
        "one of the two": lambda m: one_wrong(m, "hierarchy", **form(lambda rows: -rows.mean())),
    },
    "sums over the rows": {
        "sum": lambda m: report(m, **form(torch.sum)),
        "of real columns": lambda m: real_report(m, **form(torch.sum)),
    },
    "per column": {"per column": lambda m: report(m, **form(lambda rows: rows.mean() / 6))},
    "in bits": {"bits": lambda m: report(m, **form(lambda rows: rows.mean() / math.log(2)))},
    "is an ELBO": {
        "ELBO": lambda m: real_report(m, of=elbo, samples=50),
        "one draw": lambda m: real_report(m, of=elbo, samples=1),
        "of the flat model": lambda m: one_wrong(m, "flat", of=elbo),
        "of the hierarchy": lambda m: one_wrong(m, "hierarchy", of=elbo),
    },
    "too few draws": {"eight draws": lambda m: real_report(m, samples=8)},
    "higher than log p(x)": {
        "training rows": lambda m: real_report(m, x=CABLES),
        "other weights": lambda m: (
            numbers(m.flat, m.awake),
            m.flat,
            trained(build(), TRAIN, 5),
            TEST,
        ),
        "nothing": says_report({"flat": 0.0, "hierarchy": 0.0}),
    },
    "lower than log p(x)": {
        "untrained models": lambda m: (numbers(flat_model(), build()), *report(m)[1:]),
        "far too low": says_report({"flat": -99.0, "hierarchy": -98.0}),
    },
}


@pytest.mark.parametrize("name", RIGHT_REPORTS)
def test_right_reports(name, models):
    verdict = verdict_of("report", RIGHT_REPORTS[name](models))
    assert verdict.startswith("✓ The hierarchy is ")


@pytest.mark.parametrize(("says", "make"), each(WRONG_REPORTS))
def test_wrong_reports(says, make, models):
    verdict = verdict_of("report", make(models))
    assert verdict.startswith("✗ ")
    assert says in verdict


def test_a_verdict_is_of_the_models_as_they_are_now(models):
    # Catches: numbers of a model kept from an earlier verdict.
    model = copy.deepcopy(models.real)
    right = numbers(models.flat_real, model, CABLES_OUT)
    things = (right, models.flat_real, model, CABLES_OUT)
    assert verdict_of("report", things).startswith("✓ ")
    nn.init.zeros_(model.decoders[0].net[-1].weight)
    assert "higher than" in verdict_of("report", things)


@pytest.mark.parametrize("seed", range(8))
def test_no_honest_report_is_refused_by_chance(models, seed):
    torch.manual_seed(seed)
    pair = {"flat": models.flat_real, "hierarchy": models.real}
    said = {name: log_marginal(m, CABLES_OUT, 100).mean().item() for name, m in pair.items()}
    torch.manual_seed(seed)
    assert verdict_of("report", (said, *pair.values(), CABLES_OUT)).startswith("✓ ")


# --- All inspections -----------------------------------------------------------------------------

WRONG = {
    "data": WRONG_TABLES,
    "hierarchy": WRONG_HIERARCHIES,
    "baseline": WRONG_BASELINES,
    "idle_levels": WRONG_READINGS,
    "awake": WRONG_AWAKE,
    "report": WRONG_REPORTS,
}


def test_each_condition_has_a_wrong_build():
    # The baseline's conditions on the flat model's structure are those of the hierarchy.
    shared = check.hierarchy.conditions
    for name, wrong in WRONG.items():
        for condition in getattr(check, name).conditions:
            line = f"{condition.name}. {condition.hint}"
            assert any(says in line for says in wrong) or condition in shared, line


def everything(m: Models) -> dict[str, tuple[Any, ...]]:
    return {
        "data": (TRAIN, TEST),
        "hierarchy": (m.awake, TRAIN),
        "baseline": (m.flat, m.awake, TRAIN),
        "idle_levels": ([], m.awake, TEST),
        "awake": (m.awake, TEST),
        "report": report(m),
    }


def state(model: nn.Module) -> list[Any]:
    return [
        *(value.clone() for value in model.state_dict().values()),
        *(parameter.data_ptr() for parameter in model.parameters()),
        *(None if p.grad is None else p.grad.clone() for p in model.parameters()),
        *(parameter.requires_grad for parameter in model.parameters()),
        *(module.training for module in model.modules()),
        *(len(module._forward_pre_hooks) for module in model.modules()),
    ]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_an_inspection_leaves_everything_as_it_was(models):
    model = build(q1(normed(6, 6)), q2(Network(3, 4, nn.Dropout(0.5))), p0(normed(3, 6)))
    flat = flat_model(encoder=q1(normed(6, 6)))
    elbo(model, TRAIN).mean().backward()  # its running statistics and gradients are its own
    model.encoders[0].eval()
    model.decoders[0].net[0].bias.grad = None
    things = everything(models._replace(flat=flat, awake=model))
    before = (state(model), state(flat), TRAIN.clone(), TEST.clone(), torch.get_rng_state())
    for name, taken in things.items():
        getattr(check, name).verdict(*taken)
    after = (state(model), state(flat), TRAIN, TEST, torch.get_rng_state())
    for a, b in zip(before, after, strict=True):
        assert all(map(same, a, b)) if isinstance(a, list) else same(a, b)


def test_odd_things_get_one_line(models):
    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

    odd = (3, "word", [], {}, object(), Odd(), HVAE, torch.ones(()), TRAIN, np.ones(3), print)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, things in everything(models).items():
            for place in range(len(things)):
                for thing in (*odd, build(), flat_model()):
                    verdict = verdict_of(name, (*things[:place], thing, *things[place + 1 :]))
                    assert "could not be looked at" not in verdict, (name, place, thing)


def test_nothing_is_not_attempted(models):
    for name, things in everything(models).items():
        for place in range(len(things)):
            for nothing in (None, ...):
                taken = (*things[:place], nothing, *things[place + 1 :])
                assert getattr(check, name).verdict(*taken) == NOT_ATTEMPTED
