"""Chapter 10: where a hierarchy spends its nats, why, and what wakes an idle level.

The identities hold to rounding. What training does is measured on small digits with few epochs, at
thresholds far from what was seen; the same measure tells trained from awake models apart.
"""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_chain import chain, poor_encoders
from torch.distributions import MultivariateNormal

from companion import data
from companion.autoregressive import AutoregressiveConditional
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.diagnostics import gradient_norms, level_rates, mutual_information
from companion.ensemble import Ensemble
from companion.exact import Blocks, chain_joint
from companion.models import HVAE, VAE
from companion.objectives import beta_elbo, elbo, free_bits_elbo
from companion.train import fit

SEEDS = (0, 1, 2)
RATE = 8e-3
"""Adam's step size: larger than the chapter's, for fewer epochs."""
EXPERIMENTS = Path(__file__).parents[2] / "benchmarks" / "experiments"
TRAIN, TEST = (part[0] for part in data.split(data.digits()[0]))


def between():
    return GaussianConditional(mlp(8, 32, 16))


def digit_hvae(seed, lowest=None):
    torch.manual_seed(seed)
    encoders = [GaussianConditional(mlp(64, 64, 16)), between(), between()]
    decoders = [lowest or GaussianConditional(mlp(8, 64, 64), 0.2), between(), between()]
    return HVAE(encoders, decoders, StandardNormal(8))


@torch.no_grad()
def start_awake(model):
    """Upper conditionals begin as N(input, I/e), by silu(u) − silu(−u) = u."""
    pair = torch.cat([torch.eye(8), -torch.eye(8)])
    for conditional in [*model.encoders[1:], *model.decoders[1:]]:
        first, _, last = conditional.net
        for parameter in (first.bias, last.weight, last.bias):
            parameter.zero_()
        first.weight[:16] = pair
        last.weight[:8, :16] = pair.mT
        last.bias[8:] = -1.0
    return model


def train(starts, betas, epochs, x=TRAIN, fixed=None):
    """Fit all starts side by side, each with its schedule of β."""
    ensemble = Ensemble(starts)
    for (name, _), weight in zip(starts[0].named_parameters(), ensemble.stacked, strict=True):
        weight.requires_grad_(fixed is None or not name.startswith(fixed))

    def objective(ensemble, x, epoch):
        return ensemble.evaluate(beta_elbo, x, [beta(epoch) for beta in betas]).sum(0)

    torch.manual_seed(0)
    fit(ensemble, x, objective, epochs=epochs, lr=RATE, schedule=lambda epoch: epoch)
    return ensemble.members()


def rates(models, x=TEST):
    torch.manual_seed(1)
    return torch.tensor([[rate.mean for rate in level_rates(m, x, 8)] for m in models])


def plainly(epoch):
    return 1.0


@pytest.fixture(scope="module")
def trained():
    """Rates after 16 epochs, three seeds plain and three awake at the start; the plain models."""
    starts = [digit_hvae(seed) for seed in SEEDS]
    starts += [start_awake(digit_hvae(seed)) for seed in SEEDS]
    models = train(starts, [plainly] * 6, epochs=16)
    found = rates(models)
    return {"plain": found[:3], "awake": found[3:], "models": models[:3]}


# Would catch rates of the wrong level; that the top can carry rate is seen from the awake start.
@pytest.mark.claim("train.upper-levels-idle")
def test_plain_training_leaves_the_top_idle(trained):
    plain = trained["plain"]
    assert (plain[:, 0] > 4).all()
    assert (plain[:, 1] < plain[:, 0] / 2).all()
    assert (plain[:, 2] < 0.2).all()


# Would catch an information of neighbours in place of x, and levels in the wrong order.
@pytest.mark.claim("train.information-falls")
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_information_about_x_falls_by_what_the_level_above_does_not_know(scale):
    law = MultivariateNormal(torch.zeros(5).double(), scale * torch.eye(5).double())
    for encoders in (chain().posterior(), poor_encoders()):
        joint = chain_joint(law, encoders)
        levels = range(1, len(joint.sizes))
        information = [joint.mutual_information([0], [i]) for i in levels]
        for i in levels[:-1]:
            # I(x; z_i | z_i+1), from conditional covariances alone.
            before = joint.conditional(i, [i + 1]).scale_tril.diagonal().log().sum()
            after = joint.conditional(i, [0, i + 1]).scale_tril.diagonal().log().sum()
            lost = information[i - 1] - information[i]
            torch.testing.assert_close(lost, before - after, rtol=1e-10, atol=1e-10)
            assert lost >= 0


@pytest.mark.claim("train.information-falls")
def test_with_a_top_down_encoder_it_need_not_fall():
    # x, z_1 pure noise, z_2 = x + noise: not a chain from x up through z_1.
    covariance = torch.eye(3).double()
    covariance[2, 2], covariance[0, 2], covariance[2, 0] = 1.5, 1.0, 1.0
    joint = Blocks(torch.zeros(3).double(), covariance, [1, 1, 1])
    assert joint.mutual_information([0], [2]) > 0.5 > joint.mutual_information([0], [1])


def equal_levels(seed, scale):
    torch.manual_seed(seed)
    decoders = [GaussianConditional(mlp(8, 32, 8), scale), between(), between(), between()]
    return HVAE([between() for _ in range(4)], decoders, StandardNormal(8))


def gradients(model, x, beta=1.0, batches=60):
    """Gradients of each of four equal encoders, one row a minibatch."""
    torch.manual_seed(0)
    weights, found = list(model.encoders.parameters()), []
    for _ in range(batches):
        objective = beta_elbo(model, x[torch.randint(len(x), (100,))], beta).mean()
        parts = torch.autograd.grad(objective, weights, allow_unused=True, materialize_grads=True)
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found).chunk(4, 1)


def signal(found):
    noise = [(g - g.mean(0)).square().sum(1).mean().sqrt() for g in found]
    return torch.stack([g.mean(0).norm() / n for g, n in zip(found, noise, strict=True)])


# Would catch a decoder of x that sees upper levels, norms listed from the top, and a statement on
# norms that one choice of the scale alone has made.
@pytest.mark.claim("train.weak-gradients")
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_norms_are_up_to_the_scale_and_the_signal_goes_with_the_work(seed):
    centred = TRAIN - TRAIN.mean(0)
    x = centred @ torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -8:]
    model = equal_levels(seed, 0.2)
    alone = gradient_norms(model, x, lambda m, x: beta_elbo(m, x, 0.0)).encoders
    assert alone[0] > 0
    assert (alone[1:] == 0).all()
    sharp, wide = (gradients(equal_levels(seed, scale), x) for scale in (0.1, 1.0))
    for a, b in zip(sharp[1:], wide[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    norms = [[g.mean(0).norm() for g in found] for found in (sharp, wide)]
    assert norms[0][0] > 5 * norms[0][1]
    assert norms[1][0] < norms[1][1]
    before = signal(gradients(model, x))
    fit(model, x, epochs=12, lr=4e-3)
    after = signal(gradients(model, x))
    assert (before > 0.5).all()
    assert (after[2:] < 0.5 * before[2:]).all()
    assert after[0] > after[3]


# Would catch a context that is not passed on: both models would be one.
@pytest.mark.claim("train.capacity")
def test_a_lowest_conditional_that_sees_all_pixels_takes_the_work():
    binary = (TRAIN > 0.5).float()
    totals = []
    for context in (0, 63):
        torch.manual_seed(0)
        lowest = AutoregressiveConditional(8, 64, 64, context)
        model = start_awake(digit_hvae(0, lowest))
        fit(model, binary, epochs=12, lr=5e-3)
        totals.append(rates([model], (TEST > 0.5).float()).sum())
    none, everything = totals
    assert everything < 0.85 * none


def told(model):
    """I_q(z_1; z_2) over the training digits."""
    torch.manual_seed(2)
    with torch.no_grad():
        z1 = model.trace(TRAIN).z[0][0]
        second = VAE(model.encoders[1], model.decoders[1], model.prior)
        return mutual_information(second, z1).mean


# Would catch a decoder that is trained although it should stay: fresh encoders would then divide
# the work by their own start, as joint runs do.
@pytest.mark.claim("train.joint-instability")
def test_fresh_encoders_return_to_the_division_of_the_frozen_decoder(trained):
    sources, fresh = trained["models"], []
    for source in sources[:2]:
        for seed in (10, 11):
            fresh.append(digit_hvae(seed))
            fresh[-1].decoders.load_state_dict(source.decoders.state_dict())
    models = train(fresh, [plainly] * 4, epochs=16, fixed="decoders")
    for k, model in enumerate(models):
        kept = model.decoders.parameters(), sources[k // 2].decoders.parameters()
        assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))
    found = torch.tensor([told(model) for model in models]).view(2, 2)
    within = (found[:, 0] - found[:, 1]).abs().max()
    assert (found[0].mean() - found[1].mean()).abs() > 3 * within


def stored(encoder, recipe):
    """The five runs of tree.json: agreement (seed, level, label), ELBO and log p."""
    runs = json.loads((EXPERIMENTS / "tree.json").read_text())["runs"]
    runs = [r for r in runs if (r["encoder"], r["recipe"]) == (encoder, recipe)]
    assert [r["seed"] for r in runs] == [0, 1, 2, 3, 4]
    names = ("agreement", "held_out_elbo", "held_out_log_p")
    return [torch.tensor([r[name] for r in runs]) for name in names]


def cluster(encoder, recipe):
    """Keep z_3: the share in the right cluster, one a seed."""
    return stored(encoder, recipe)[0][:, 2, 0]


ENCODERS = ("bottom-up", "top-down")


def opening_cell():
    """The cell that holds the numbers of the script, and hands them to the live figure."""
    book = Path(__file__).parents[2] / "book" / "10_training_hvaes.ipynb"
    cells = json.loads(book.read_text("utf-8"))["cells"]
    (source,) = [s for s in ("".join(c["source"]) for c in cells) if "\nTREE = {\n" in s]
    return source


# Would catch a number of the chapter that the script has not made, and rows in another order.
@pytest.mark.claim("train.top-down")
def test_the_chapter_shows_the_numbers_of_the_script():
    table = next(n for n in ast.parse(opening_cell()).body if isinstance(n, ast.Assign))
    shown = ast.literal_eval(table.value)
    assert len(shown) == 12
    for (recipe, encoder), rows in shown.items():
        agreement, bound, evidence = stored(encoder, recipe)
        right = [agreement[:, 2, 0], agreement[:, 1, 1], agreement[:, 0, 2], bound, evidence]
        torch.testing.assert_close(torch.tensor(rows), torch.stack(right), rtol=0, atol=0.0051)


# Would catch a bet that is settled by the runs of another recipe.
@pytest.mark.claim("train.top-down")
def test_the_bets_of_the_live_figure_are_settled_by_the_runs_that_they_name():
    given = {}
    page = SimpleNamespace(figure=lambda name, **known: given.update(known, name=name))
    exec(opening_cell(), {"torch": torch, "live": page})
    assert (given["name"], given["number"]) == ("race", "10.1")
    runs = {
        "top-down": ("top-down", "plain"),
        "warm-up": ("bottom-up", "warm-up"),
        "level by level": ("bottom-up", "level by level"),
        "1 free nat": ("bottom-up", "free bits"),
    }
    assert list(given["stored"]) == list(runs)
    for change, run in runs.items():
        assert given["stored"][change] == pytest.approx(cluster(*run).tolist(), abs=0.0051)


@pytest.mark.claim("train.warm-up")
def test_on_the_tree_free_bits_wake_the_top_and_warm_up_the_second_level():
    agreement = stored("bottom-up", "warm-up")[0]
    assert (agreement[:, 2, 0] < 0.36).all()
    assert (agreement[:, 1, 0] > 0.7).all()
    for encoder in ENCODERS:
        for recipe in ("free bits", "both"):
            assert (cluster(encoder, recipe) > 0.5).all()


# Would catch a λ that is shared by the levels or compared with their sum.
@pytest.mark.claim("train.warm-up")
def test_on_digits_free_bits_raise_the_rate_of_every_level():
    ensemble = Ensemble([digit_hvae(seed) for seed in SEEDS])
    torch.manual_seed(0)
    fit(ensemble, TRAIN, ensemble.objective(free_bits_elbo, [1.0] * 3), epochs=10, lr=RATE)
    assert (rates(ensemble.members())[:, 1:] > 0.5).all()


@pytest.mark.claim("train.top-down")
def test_what_wakes_the_top_of_the_tree_and_at_what_price():
    for encoder in ENCODERS:
        assert (cluster(encoder, "plain") < 0.36).all()
        for recipe in ("free bits", "both", "level by level", "allowance"):
            assert (cluster(encoder, recipe) > 0.5).all()
        assert (cluster(encoder, "level by level") > 0.9).all()
        bounds = {recipe: stored(encoder, recipe)[1] for recipe in ("free bits", "level by level")}
        assert (bounds["free bits"] > bounds["level by level"]).all()
        assert (bounds["level by level"] > stored(encoder, "plain")[1] + 0.3).all()
        assert (bounds["free bits"] > stored(encoder, "plain")[1] + 0.7).all()
        price = (bounds["free bits"] - bounds["level by level"]).mean()
        assert 0.15 < price < 0.35
    warm = cluster("top-down", "warm-up")
    assert (warm < 0.36).sum() == 2
    assert (warm > 0.7).sum() == 3
    reached = stored("top-down", "warm-up")[1]
    assert 0.1 < reached[warm > 0.7].mean() - reached[warm < 0.36].mean() < 0.25


def by_spans(spans):
    """Exercise 10.5's small hierarchy: agreement of z_1, z_2, z_3 on the cluster, and the bound."""

    def conditional():
        return GaussianConditional(mlp(2, 64, 64, 4))

    begin, end = torch.tensor(spans).T

    def objective(model, x, epoch):
        beta = ((epoch / 40 - begin) / (end - begin)).clamp(0, 1)
        trace = model.trace(x)
        return trace.reconstruction.mean(0) - (beta[:, None] * trace.rates.mean(1)).sum(0)

    torch.manual_seed(0)
    model = HVAE(*([conditional() for _ in range(3)] for _ in range(2)), StandardNormal(2))
    x, _ = data.tree(4000, seed=0)
    new, label = data.tree(500, seed=1000)
    fit(model, x, objective, epochs=40, batch_size=100, lr=2e-3, schedule=lambda epoch: epoch)
    shares = []
    with torch.no_grad():
        for level, z in enumerate(model.trace(new).z, start=1):
            drawn = model.descend(z.expand(20, -1, -1), level)[0]
            found = data.tree_labels(drawn.flatten(0, 1))[:, 0].view(20, -1)
            shares.append((found == label[:, 0]).float().mean().item())
        return shares, elbo(model, new, 20).mean().item()


# Would catch weights that reach the wrong level: charged first, the top sleeps.
@pytest.mark.claim("train.top-down")
def test_the_level_that_is_charged_last_gets_the_work():
    awake, bound = by_spans([[0.0, 0.15], [0.0, 0.35], [0.1, 0.6]])
    assert min(awake) > 0.8
    at_once, higher = by_spans([[0.0, 0.4]] * 3)
    assert at_once[1] > 0.8
    assert at_once[2] < 0.36
    assert 0.05 < higher - bound < 0.15
    top_first, lowest = by_spans([[0.1, 0.6], [0.0, 0.35], [0.0, 0.15]])
    assert top_first[0] > 0.8
    assert max(top_first[1:]) < 0.36
    assert lowest < bound - 0.2
    asleep, plain = by_spans([[-1.0, 0.0]] * 3)
    assert max(asleep[1:]) < 0.36
    assert 0.1 < bound - plain < 0.3
    quick, better = by_spans([[0.0, 0.1], [0.0, 0.2], [0.05, 0.3]])
    assert 0.7 < quick[2] < awake[2]
    assert abs(better - higher) < 0.1


@pytest.mark.claim("train.layerwise")
def test_a_careful_start_keeps_the_top_awake(trained):
    assert (trained["awake"][:, 2] > 1).all()
    assert (trained["plain"][:, 2] < 0.2).all()


# Would catch stages that do not share their weights with the hierarchy.
@pytest.mark.claim("train.layerwise")
def test_layer_wise_training_leaves_the_top_awake():
    model, x = digit_hvae(0), TRAIN
    for level, beta in enumerate([0.3, 0.3, 1.0]):
        one = VAE(model.encoders[level], model.decoders[level], model.prior)
        fit(one, x, lambda m, x, beta=beta: beta_elbo(m, x, beta), epochs=8, lr=5e-3)
        with torch.no_grad():
            x = one.trace(x).z[0][0]
    fit(model, TRAIN, epochs=6, lr=5e-3)
    assert rates([model])[0, 2] > 0.5


@pytest.mark.claim("train.layerwise")
def test_the_careful_start_is_the_identity():
    model, z = start_awake(digit_hvae(0)), torch.randn(6, 8)
    for conditional in [*model.encoders[1:], *model.decoders[1:]]:
        torch.testing.assert_close(conditional(z).mean, z, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(conditional(z).variance.log(), torch.full((6, 8), -1.0))
