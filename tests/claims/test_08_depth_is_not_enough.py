"""Chapter 8: the floor under the gap of a family, what goes below it, and collapse at any depth.

Identities hold in float64 on grids; divergences are written out here, apart from the package's.
What is measured is measured on three starts.
"""

import ast
import functools
import json
import math
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
)

from companion import data
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    mlp,
)
from companion.ensemble import Ensemble
from companion.exact import (
    elbo_quadrature,
    gaussian_floor,
    log_marginal_quadrature,
    posterior_on_grid,
)
from companion.models import VAE
from companion.objectives import elbo, iwae_bound
from companion.train import fit

STEP = 0.01
Z = torch.linspace(-20, 20, 4001, dtype=torch.float64)[:, None]


class Fold(nn.Module):
    def forward(self, z):
        return (z - 0.25).abs()


def fold_vae(encoder=None):
    encoder = GaussianConditional(mlp(1, 2)) if encoder is None else encoder
    return VAE(encoder, GaussianConditional(Fold(), scale=0.5), StandardNormal(1))


@functools.cache
def setting():
    """The model in float64, its 200 data points, log p(x), and the floor at each of them."""
    torch.manual_seed(0)
    x = fold_vae().sample(200).double()
    model = fold_vae().double()
    z, log_p, _ = posterior_on_grid(model, x)
    return model, x, log_marginal_quadrature(model, x, 8001), gaussian_floor(z, log_p)[0]


def log_posterior(x):
    """log p(z | x) on Z by Bayes' rule, written out: (4001, B)."""
    log_joint = -0.5 * Z**2 - (x[:, 0] - (Z - 0.25).abs()) ** 2 / (2 * 0.25)
    return log_joint - log_joint.logsumexp(0) - math.log(STEP)


def peaks(a, weight=0.5):
    log_p = torch.logaddexp(
        Normal(-a, 1.0).log_prob(Z) + math.log(weight),
        Normal(a, 1.0).log_prob(Z) + math.log(1 - weight),
    )
    return log_p


def kl(log_q, log_p):
    return (log_q.exp() * (log_q - log_p)).sum(0) * STEP


def exact_gap(encoder):
    model, x, log_p, _ = setting()
    with torch.no_grad():
        return log_p - elbo_quadrature(model, x, encoder(x), 401)


def three_starts(build, objective):
    data = setting()[1].float()
    torch.manual_seed(1)
    three = Ensemble([build() for _ in range(3)])
    summed = three.objective(lambda network, x, _: objective(network, x), [0.0] * 3)
    fit(three, data, summed, epochs=500, batch_size=200, lr=5e-3)
    fit(three, data, summed, epochs=100, batch_size=200, lr=1e-3)
    return [network.double() for network in three.members()]


def deep_vae(depth):
    encoder = GaussianConditional(mlp(1, *[32] * depth, 2))
    encoder.net[-1].bias.data = torch.tensor([-1.5, -1.5])
    return fold_vae(encoder)


# --- the floor ------------------------------------------------------------------------------------


# Would catch a floor above what some member of the family reaches: a local minimum taken for it.
@pytest.mark.claim("depth.family")
def test_no_gaussian_at_all_lies_below_the_floor():
    _, x, _, floor = setting()
    points, least = x[::20], floor[::20]
    target = log_posterior(points)
    found = torch.full_like(least, math.inf)
    for mean in torch.linspace(-3, 2, 51).tolist():
        for scale in torch.linspace(0.2, 1.4, 25).tolist():
            gap = kl(Normal(mean, scale).log_prob(Z).expand(-1, len(points)), target)
            assert (gap >= least - 1e-4).all()
            found = torch.minimum(found, gap)
    assert (found < least + 0.02).all()  # and the floor is reached, to the step of this search


# Would catch a floor that depth could pass: encoders with random weights, of every depth.
@pytest.mark.claim("depth.family")
@pytest.mark.parametrize("depth", range(1, 9))
def test_encoders_of_any_depth_stay_above_the_floor(depth):
    floor = setting()[3]
    for _ in range(20):
        encoder = GaussianConditional(mlp(1, *[16] * depth, 2)).double()
        encoder.net[-1].bias.data.normal_()
        assert (exact_gap(encoder) >= floor - 1e-3).all()


# Would catch two peaks at every x, or from another one on: figure 8.2's caption.
@pytest.mark.claim("depth.family")
def test_the_posterior_has_two_peaks_from_one_sixteenth_on():
    x = torch.tensor([[-1.0], [-0.3], [0.0], [0.05], [0.08], [0.2], [1.0], [3.0]]).double()
    inner = log_posterior(x)
    highest = (inner[1:-1] > inner[:-2]) & (inner[1:-1] > inner[2:])
    assert highest.sum(0).tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


# Would catch wrong constants, and a floor that exceeds what one peak reaches.
@pytest.mark.claim("depth.full-covariance")
@pytest.mark.parametrize(
    ("a", "value"), [(1, 0.011), (2, 0.227), (2.5, 0.481), (2.8, 0.684), (3, 0.689)]
)
def test_floor_of_two_equal_peaks(a, value):
    least, mean, scale = gaussian_floor(Z, peaks(a).double())
    assert least.item() == pytest.approx(value, abs=6e-4)
    attained = kl(Normal(mean, scale).log_prob(Z), peaks(a))
    assert attained.item() == pytest.approx(least.item(), abs=1e-5)
    assert least.item() <= kl(Normal(a, 1.0).log_prob(Z), peaks(a)).item() + 1e-6 < math.log(2)


def descended(a, mean):
    """The mean and the gap in which a descent from N(mean, 1) ends, for peaks at ±a."""
    z, log_p = Z[::10], peaks(a)[::10]
    numbers = torch.tensor([mean, 0.0], dtype=torch.float64)
    for _ in range(1500):
        numbers.requires_grad_()
        gap = 10 * kl(Normal(numbers[0], numbers[1].exp()).log_prob(z), log_p).sum()
        (slope,) = torch.autograd.grad(gap, numbers)
        far = torch.stack([0.3 * (2 * numbers[1]).exp(), torch.tensor(0.1).double()])
        numbers = (numbers - far * slope).detach()
    return numbers[0].item(), gap.item()


# Would catch the answer in 8.2 with other numbers: where minima appear, and change their order.
@pytest.mark.claim("depth.full-covariance")
def test_minima_at_the_sides_appear_before_they_are_the_lower_ones():
    assert text_has("appear between 2.4 and 2.5")
    assert descended(2.4, 2.4)[0] == pytest.approx(0, abs=0.05)
    assert descended(2.5, 2.5)[0] > 2
    assert text_has("become the lower ones at 2.80")
    for a, lower in ((2.795, 0.0), (2.805, 2.77)):
        ends = [descended(a, start) for start in (0.0, a)]
        assert [mean for mean, _ in ends] == pytest.approx([0.0, 2.77], abs=0.05)
        assert min(ends, key=lambda end: end[1])[0] == pytest.approx(lower, abs=0.05)
        best = gaussian_floor(Z, peaks(a).double())[1]
        assert best.abs().item() == pytest.approx(lower, abs=0.05)


# Would catch the peaks' weights forgotten: the bound is −log of the largest weight.
@pytest.mark.claim("depth.full-covariance")
@pytest.mark.parametrize("weight", [0.1, 0.3, 0.45])
def test_unequal_peaks_cost_less(weight):
    least = gaussian_floor(Z, peaks(5.0, weight).double())[0].item()
    assert -math.log(1 - weight) - 1e-3 < least <= -math.log(1 - weight) + 1e-5


# Would catch data processing turned round: full covariances in three dimensions, by sampling.
@pytest.mark.claim("depth.full-covariance")
def test_full_covariance_stays_above_the_floor_of_the_marginal():
    generator = torch.Generator().manual_seed(0)
    axis = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    a = 2.5
    cov = 0.5 * torch.eye(3).double() + 0.5 * torch.outer(axis, axis)  # unit variance along axis
    posterior = MixtureSameFamily(
        Categorical(torch.ones(2).double()),
        MultivariateNormal(torch.stack([-a * axis, a * axis]), cov),
    )
    floor = gaussian_floor(Z, peaks(a).double())[0].item()
    smallest = math.inf
    for trial in range(60):
        root = 0.4 * torch.randn(3, 3, generator=generator).double()
        mean = torch.rand((), generator=generator).double() * a * axis
        scale = cov + trial % 3 * torch.outer(axis, axis) + root @ root.mT * (trial % 4 > 0)
        q = MultivariateNormal(mean, scale)
        noise = torch.randn(20_000, 3, generator=generator).double()
        z = mean + noise @ torch.linalg.cholesky(scale).mT
        log_ratio = q.log_prob(z) - posterior.log_prob(z)
        error = log_ratio.std().item() / math.sqrt(len(z))
        assert log_ratio.mean().item() > floor - 4 * error
        smallest = min(smallest, log_ratio.mean().item())
    assert smallest < 1.5  # some come near


# --- many units -----------------------------------------------------------------------------------


# Would catch a total correlation with a wrong sign or factor, and floors that do not add up.
@pytest.mark.claim("depth.floors-add")
@pytest.mark.parametrize("rho", [0.0, 0.6, -0.85])
def test_divergence_from_a_product_is_that_of_the_marginals_and_the_total_correlation(rho):
    step = 0.05
    line = torch.arange(-12, 12 + step / 2, step, dtype=torch.float64)
    flat = torch.cartesian_prod(line, line)
    unit = [peaks_at(line, a, weight) for a, weight in ((2.0, 0.5), (1.5, 0.3))]
    mean, scale = torch.tensor([[1.2, -0.4], [1.1, 0.8]], dtype=torch.float64)
    cov = torch.outer(scale, scale) * torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)
    log_q = MultivariateNormal(mean, cov).log_prob(flat)
    log_p = (unit[0][:, None] + unit[1]).flatten()
    left = (log_q.exp() * (log_q - log_p)).sum() * step**2
    of_marginals = sum(
        (q.log_prob(line).exp() * (q.log_prob(line) - p)).sum() * step
        for q, p in zip((Normal(m, s) for m, s in zip(mean, scale, strict=True)), unit, strict=True)
    )
    correlation = -0.5 * math.log(1 - rho**2)
    assert left.item() == pytest.approx(of_marginals.item() + correlation, abs=1e-8)
    floors = [gaussian_floor(line[:, None], p[:, None])[0].item() for p in unit]
    assert left >= sum(floors) - 1e-6


def peaks_at(line, a, weight):
    return torch.logaddexp(
        Normal(-a, 1.0).log_prob(line) + math.log(weight),
        Normal(a, 1.0).log_prob(line) + math.log(1 - weight),
    )


# Would catch a sum that independent units do not reach, and one that a full covariance passes:
# a search by gradients over all Gaussians of two units, from peaks and from the middle.
@pytest.mark.claim("depth.floors-add")
def test_the_least_divergence_of_two_units_is_the_sum_of_the_floors():
    step = 0.2
    line = torch.arange(-15, 15 + step / 2, step, dtype=torch.float64)
    flat = torch.cartesian_prod(line, line)
    unit = [peaks_at(line, 1.5, 0.5), peaks_at(line, 2.5, 0.4)]
    log_p = (unit[0][:, None] + unit[1]).flatten()
    wide = torch.linspace(-20, 20, 2001, dtype=torch.float64)
    total = sum(
        gaussian_floor(wide[:, None], peaks_at(wide, a, w)[:, None])[0].item()
        for a, w in ((1.5, 0.5), (2.5, 0.4))
    )
    least = math.inf
    for start in ((0.0, 2.4), (1.4, 2.4), (0.0, -2.4), (0.1, 0.1)):
        mean = torch.tensor(start).double().requires_grad_()
        root = torch.tensor([[1.2, 0.0], [0.4, 1.1]]).double().requires_grad_()
        optimizer = torch.optim.Adam([mean, root], lr=0.05)
        for _ in range(250):
            log_q = MultivariateNormal(mean, scale_tril=root.tril()).log_prob(flat)
            kl_now = (log_q.exp() * (log_q - log_p)).sum() * step**2
            optimizer.zero_grad()
            kl_now.backward()
            optimizer.step()
            with torch.no_grad():
                root.diagonal().clamp_(min=0.3)
        assert kl_now.item() > total - 1e-4
        least = min(least, kl_now.item())
    assert least == pytest.approx(total, abs=2e-3)


# Would catch log 2 taken for a bound of all peaks, and for what near or unequal peaks cost.
@pytest.mark.claim("depth.floors-add")
def test_floors_of_two_equal_gaussian_peaks_tend_to_log_two_and_others_exceed_it():
    floors = [gaussian_floor(Z, peaks(a).double())[0].item() for a in (1.0, 2.0, 3.0, 4.0)]
    assert floors == sorted(floors)
    assert floors[-1] < math.log(2) < floors[-1] + 1e-3
    near, mean, scale = gaussian_floor(Z, peaks(1.0).double())
    assert abs(mean.item()) < 0.05
    assert scale.item() == pytest.approx(math.sqrt(2), abs=0.03)
    assert near.item() < 0.02
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    log_square = -0.5 * z**2 - (1 - z**2) ** 2 / (2 * 0.4**2)
    assert gaussian_floor(z, log_square)[0].item() == pytest.approx(0.752, abs=1e-3)
    # and the more, the heavier the tails
    tails = [StudentT(freedom, 5.0, 0.1) for freedom in (4.0, 2.0, 1.0, 0.5)]
    heavier = [torch.logaddexp(t.log_prob(Z), t.log_prob(-Z)) for t in tails]
    floors = [gaussian_floor(Z, log_p)[0].item() for log_p in heavier]
    assert floors == sorted(floors)
    assert floors[0] > math.log(2)
    assert floors[-1] > 1


# --- a decoder that learns ------------------------------------------------------------------------

X_LINE = torch.linspace(-0.65, 4.5, 104, dtype=torch.float64)
Z_LINE = torch.linspace(-8, 8, 1601, dtype=torch.float64)


def log_both(mean):
    """log p(x, z) of a decoder with this mean on Z_LINE."""
    log_prior = Normal(0.0, 1.0).log_prob(Z_LINE)
    return Normal(mean[:, None], 0.15).log_prob(X_LINE) + log_prior[:, None]


def losses_of(mean):
    """What the decoder loses in log p(x), on X_LINE; and the weights there, those of |z|."""
    best, log_p = (log_both(m).logsumexp(0) + math.log(0.01) for m in (Z_LINE.abs(), mean))
    return best - log_p, best.exp() / best.exp().sum()


def loss_of(mean):
    lost, weight = losses_of(mean)
    return (weight @ lost).item()


def account_of(mean):
    """The average loss in log p(x), and the average floor, of a decoder."""
    lost, weight = losses_of(mean)
    floor = gaussian_floor(Z_LINE[:, None], log_both(mean))[0]
    return (weight @ lost).item(), (weight @ floor).item()


# Would catch an unfolded decoder with another law, and a natural floor that is not the claim's.
@pytest.mark.claim("depth.decoder-adapts")
def test_a_fold_can_be_unfolded_without_any_loss():
    loss, floor = account_of(Z_LINE.abs())
    assert loss == pytest.approx(0, abs=1e-12)
    assert floor == pytest.approx(0.526, abs=2e-3)
    flat = torch.special.ndtri((1 + torch.special.ndtr(Z_LINE)) / 2).clamp(max=9)
    loss, floor = account_of(flat)
    assert loss == pytest.approx(0, abs=1e-6)
    assert floor == pytest.approx(0.020, abs=2e-3)


# Would catch a monotone rigid decoder that is cheaper than the tilt: b = a(1 + c), for many c.
@pytest.mark.claim("depth.decoder-adapts")
def test_a_monotone_rigid_decoder_loses_more_than_the_tilt_costs():
    losses = [
        loss_of(a * (Z_LINE.abs() + (1 + c) * Z_LINE))
        for a in torch.arange(0.04, 1.3, 0.04).tolist()
        for c in (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
    ]
    assert 0.33 < min(losses) < 0.34
    assert text_has("loses at least 0.33 nats")
    assert min(losses) > max(run["loss"] + run["gap"] for run in experiment()["rigid"])


# Would catch a rigid decoder that pays in one coin alone, or more than the natural floor.
@pytest.mark.claim("depth.decoder-adapts")
def test_a_rigid_decoder_pays_in_both():
    stored = experiment()["rigid"]
    assert [run["seed"] for run in stored] == [0, 1, 2]
    for run in stored:
        loss, floor = account_of(run["a"] * Z_LINE.abs() + run["b"] * Z_LINE)
        assert loss == pytest.approx(run["loss"], abs=3e-3)
        assert floor == pytest.approx(run["gap"], abs=3e-3)
        assert min(loss, floor) > 0.05
        assert loss + floor < 0.6 * experiment()["natural_floor"]
        for da, db in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)):  # no better one beside it
            beside = account_of((run["a"] + da) * Z_LINE.abs() + (run["b"] + db) * Z_LINE)
            assert sum(beside) > loss + floor


# Would catch a trained decoder that goes on folding: training from two other starts, on other data.
@pytest.mark.claim("depth.decoder-adapts")
@pytest.mark.parametrize("seed", [5, 6])
def test_a_trained_decoder_unfolds(seed):
    torch.manual_seed(seed)
    x = torch.randn(2000, 1).abs() + 0.15 * torch.randn(2000, 1)
    decoder = GaussianConditional(mlp(1, 32, 32, 1), scale=0.15)
    vae = VAE(GaussianConditional(mlp(1, 32, 32, 2)), decoder, StandardNormal(1))
    fit(vae, x, elbo, epochs=100, batch_size=200, lr=5e-3)
    fit(vae, x, elbo, epochs=30, batch_size=200, lr=1e-3)
    vae = vae.double().requires_grad_(False)
    loss, floor = account_of(vae.decoder(Z_LINE[:, None]).mean[:, 0])
    assert loss < 0.05
    assert floor < 0.05
    slopes = vae.decoder(torch.linspace(-2, 2, 41).double()[:, None]).mean[:, 0].diff()
    assert (slopes.sign() == slopes.sign()[-1]).float().mean() > 0.85  # increasing or decreasing


# --- experiments ----------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


@functools.cache
def experiment():
    return json.loads((ROOT / "benchmarks/experiments/depth.json").read_text())


def in_the_chapter(name):
    """A table of numbers that the chapter holds, as a literal."""
    notebook = nbformat.read(ROOT / "book/08_depth_is_not_enough.ipynb", nbformat.NO_CONVERT)
    for cell in notebook.cells:
        if cell.cell_type == "code" and f"\n{name} = " in "\n" + cell.source:
            for statement in ast.parse(cell.source).body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
                    return ast.literal_eval(statement.value)
    raise AssertionError(name)


def text_has(words):
    """Whether the chapter says so, in its Markdown, whatever its lines' ends."""
    notebook = nbformat.read(ROOT / "book/08_depth_is_not_enough.ipynb", nbformat.NO_CONVERT)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return words in " ".join(" ".join(texts).split())


# Would catch numbers in the chapter that the script did not measure.
@pytest.mark.claim("depth.decoder-adapts")
def test_folds_of_the_chapter_are_those_of_the_script():
    found = {}
    longer = []
    for run in experiment()["folds"]:
        if run["steps"] > 4000:
            longer.append(run["loss_plus_gap"] / run["units"])
            continue
        found.setdefault(run["units"], []).append(run["loss_plus_gap"])
        # at most a tenth of the natural floors' sum
        assert 0 < run["loss_plus_gap"] < 0.1 * run["units"] * experiment()["natural_floor"]
        if run["units"] == 1:
            assert run["loss"] + run["gap"] == pytest.approx(run["loss_plus_gap"], abs=5e-3)
    assert in_the_chapter("loss_plus_gap") == found
    assert len(longer) == 3
    of_one_fold = sum(found[8]) / 3 / 8
    after = f"{sum(longer) / 3:.3f} after four times the steps"
    assert text_has(f"a fold costs {of_one_fold:.3f} nats there, and {after}")


# Would catch an amortisation that is no difference, and parts that the script did not measure.
@pytest.mark.claim("depth.amortisation")
def test_the_gap_of_digits_is_nearly_all_amortisation():
    found = {}
    for run in experiment()["digits"]:
        for part in ("training", "held out"):
            parts = run[part]
            assert parts["gap"] == pytest.approx(parts["floor"] + parts["amortisation"], abs=2e-4)
            assert 0 < parts["floor"] < 0.05 * parts["gap"]
            kept = found.setdefault(run["depth"], {}).setdefault(part, {})
            for name in ("log_p", "floor", "amortisation"):
                kept.setdefault(name, []).append(parts[name])
        assert run["held out"]["amortisation"] > run["training"]["amortisation"]
    means = [sum(found[d]["training"]["amortisation"]) for d in (1, 2, 4)]
    assert means == sorted(means, reverse=True)  # deeper encoders lose less, where they trained
    assert in_the_chapter("digits") == found


# Would catch "more layers" as the only cure: the encoder of one layer alone, trained on.
@pytest.mark.claim("depth.amortisation")
def test_encoders_of_one_layer_lose_less_once_they_are_trained_longer():
    for run in experiment()["digits"]:
        if run["depth"] == 1:
            for part in ("training", "held out"):
                longer = run["encoder alone"][part]
                assert longer["amortisation"] < run[part]["amortisation"]
                assert longer["log_p"] == pytest.approx(run[part]["log_p"], abs=2e-4)


# Would catch a depth credited with what more steps and more weights do as well, and the start's
# bias without a reason.
@pytest.mark.claim("depth.encoder-sweep")
def test_more_steps_and_more_weights_work_on_the_amortisation_gap_too():
    short, longer, wide, deep, elsewhere = experiment()["encoders"]
    average = [sum(run["gaps"]) / 3 for run in (short, longer, wide, deep)]
    assert longer["epochs"] == 10 * short["epochs"]
    assert abs(wide["weights"] / deep["weights"] - 1) < 0.01
    assert short["floor"] < min(average)
    assert average[0] - average[1] > 0.02
    assert average[3] < average[2] < average[0] - 0.02
    assert sum(gap > 0.38 for gap in elsewhere["gaps"]) == 1
    assert max(elsewhere["gaps"]) == pytest.approx(0.4, abs=5e-3)


# Would catch bars whose training was not finished, without a word that says so.
@pytest.mark.claim("depth.richer-family")
def test_the_auxiliary_variable_gains_by_more_steps():
    short, longer = (run["gaps"] for run in experiment()["auxiliaries"])
    assert max(longer) < 0.75 * min(short)
    assert text_has("The auxiliary variable goes lower with more steps")


# Would catch a floor on a grid that is too coarse: one VAE of digits, on grids of two steps.
@pytest.mark.claim("depth.amortisation")
def test_floor_and_amortisation_of_a_small_vae_of_digits():
    (x, _), (held_out, _) = data.split(*data.digits(), held_out=0.3)
    torch.manual_seed(3)
    decoder = GaussianConditional(mlp(1, 32, 64), scale=0.25)
    vae = VAE(GaussianConditional(mlp(64, 32, 2)), decoder, StandardNormal(1))
    fit(vae, x, elbo, epochs=60, batch_size=128, lr=5e-3)
    vae = vae.double().requires_grad_(False)
    for part in (x[:40].double(), held_out[:40].double()):
        floors = []
        for points in (1201, 2401):
            z, log_p, _ = posterior_on_grid(vae, part, points, 7.0)
            floors.append(gaussian_floor(z, log_p)[0])
        gap = log_marginal_quadrature(vae, part, 2401, 7.0) - elbo_quadrature(
            vae, part, vae.encoder(part), 401
        )
        assert torch.allclose(*floors, atol=2e-3)
        assert (gap >= floors[1] - 1e-3).all()
        assert 0 <= floors[1].mean() < 0.2 * gap.mean()


# --- trained encoders -----------------------------------------------------------------------------


# Would catch a depth that passes the floor, and training that never comes near it.
@pytest.mark.claim("depth.encoder-sweep")
def test_encoders_of_depth_one_to_eight_stop_at_the_floor():
    floor = setting()[3]
    averages = []
    for depth in (1, 8):
        trained = three_starts(lambda depth=depth: deep_vae(depth), lambda v, x: elbo(v, x, 8))
        gaps = torch.stack([exact_gap(vae.encoder) for vae in trained])
        assert (gaps >= floor - 1e-3).all()
        assert (gaps.mean(1) < floor.mean() + 0.1).all()
        averages.append(gaps.mean().item())
    assert max(averages) - min(averages) < 0.08


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp(1, 32, 32, 6)

    def forward(self, x):
        logits, mean, logvar = self.net(x).chunk(3, -1)
        normal = Normal(mean[..., None], (0.5 * logvar).exp()[..., None])
        return MixtureSameFamily(Categorical(logits=logits), Independent(normal, 1))


# Would catch a mixture whose weights or reparameterisation are wrong.
@pytest.mark.claim("depth.richer-family")
def test_a_mixture_passes_the_floor():
    model, x, _, floor = setting()

    def bound(encoder, x):
        q = encoder(x)
        z = q.component_distribution.rsample((8,)).movedim(-2, 1)
        log_w = model.decoder(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
        return (q.mixture_distribution.probs.mT * log_w).sum(1).mean(0)

    for encoder in three_starts(Mixture, bound):
        with torch.no_grad():
            gap = kl(encoder(x).log_prob(Z[:, None]), log_posterior(x)).mean()
        assert 0 <= gap < 0.3 * floor.mean()


# Would catch a K-sample bound that gains nothing from a q fitted to it.
@pytest.mark.claim("depth.richer-family")
def test_the_k_sample_bound_with_a_fitted_q_passes_the_floor():
    _, x, log_p, floor = setting()
    for vae in three_starts(lambda: deep_vae(2), lambda v, x: iwae_bound(v, x, 16)):
        with torch.no_grad():
            gap = (log_p - iwae_bound(vae, x.repeat(100, 1), 16).reshape(100, -1)).mean()
        assert 0 < gap < 0.4 * floor.mean()
        assert exact_gap(vae.encoder).mean() > floor.mean()  # a proposal, no posterior
        with torch.no_grad():  # near in the other direction
            log_q = vae.encoder(x).log_prob(Z[:, None])
        assert kl(log_posterior(x), log_q).mean() < 0.4


# Would catch the auxiliary identity with a sign or a conditional wrong, and a claim that it is
# no richer: q(z | u) sits on the peak that the sign of u chooses.
@pytest.mark.claim("depth.richer-family")
def test_the_auxiliary_bound_is_the_elbo_less_the_reverse_models_error():
    u = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    log_qu = Normal(0.0, 1.0).log_prob(u)
    q_given_u = Normal(3 * torch.tanh(8 * u), 1.0)
    log_both = log_qu + q_given_u.log_prob(Z)  # rows z, columns u
    log_q = log_both.logsumexp(1) + math.log(STEP)
    log_r = Normal(0.8 * torch.tanh(Z), 0.8).log_prob(u)  # a reverse model that is not exact
    target = peaks(3.0)[:, 0]
    weight = log_both.exp() * STEP * STEP
    bound = (weight * (target[:, None] + log_r - log_both)).sum()  # with log p(x) = 0
    exact_r = log_both + math.log(STEP) - log_q[:, None] - math.log(STEP)
    error = (weight * (exact_r - log_r)).sum()
    gap = kl(log_q, target)
    assert bound.item() == pytest.approx(-(gap + error).item(), abs=1e-9)
    assert gap < 0.05 < gaussian_floor(Z, peaks(3.0).double())[0]
    assert error > 0.01


# Would catch a hierarchy credited with a richer q(z_1 | x).
@pytest.mark.claim("depth.richer-family")
def test_a_bottom_up_hierarchy_cannot_pass_the_floor():
    x = torch.tensor([[1.5]], dtype=torch.float64)
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)[:, None]
    _, log_p, _ = posterior_on_grid(fold_vae().double(), x, 801)
    step = 0.02
    floor = gaussian_floor(z, log_p)[0].item()
    p_upper = Normal(0.8 * z, 0.6).log_prob(z[:, 0])
    for mean, scale in ((-1.0, 0.5), (0.0, 0.9), (-0.6, 0.7)):
        first = Normal(mean, scale).log_prob(z)
        first_gap = (first.exp() * (first - log_p)).sum() * step
        for slope, spread in ((0.8, 0.6), (0.3, 0.9)):
            upper = Normal(slope * z, spread).log_prob(z[:, 0])
            log_q, log_both = first + upper, log_p + p_upper
            both = (log_q.exp() * (log_q - log_both)).sum() * step**2
            rest = ((first + upper).exp() * (upper - p_upper)).sum() * step**2
            assert both.item() == pytest.approx((first_gap + rest).item(), abs=1e-9)
            assert both >= first_gap - 1e-9 >= floor - 1e-4


# Would catch the belief that samples alone cure a q on one of two distant peaks, and the belief
# that they never help: near peaks are reached.
@pytest.mark.claim("depth.richer-family")
def test_many_samples_do_not_help_a_q_on_one_distant_peak():
    noise = torch.randn(2**17, generator=torch.Generator().manual_seed(0)).double()

    def gap(mean, scale, num_samples, a=4.0):
        z = mean + scale * noise
        log_p = torch.logaddexp(Normal(-a, 1.0).log_prob(z), Normal(a, 1.0).log_prob(z))
        log_w = log_p - math.log(2) - Normal(mean, scale).log_prob(z)
        bounds = log_w.reshape(-1, num_samples).logsumexp(1) - math.log(num_samples)
        return -bounds.mean().item()

    for num_samples in (1, 64, 4096):
        assert gap(4.0, 1.0, num_samples) == pytest.approx(math.log(2), abs=0.01)
    assert gap(0.0, 4.0, 64) < 0.05
    assert gap(1.0, 1.0, 1, a=1.0) == pytest.approx(0.337, abs=0.005)
    assert gap(1.0, 1.0, 16, a=1.0) == pytest.approx(0.105, abs=0.015)


# --- collapse -------------------------------------------------------------------------------------


# Would catch a collapsed solution that depth removes, or that is no maximiser.
@pytest.mark.claim("depth.collapse-persists")
@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_collapse_stays_a_maximiser_at_every_depth(depth):
    ones = torch.tensor([0.2, 0.7], dtype=torch.float64)
    x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    p = torch.tensor([0.24, 0.56, 0.06, 0.14], dtype=torch.float64)

    def vae():
        return VAE(
            GaussianConditional(mlp(2, *[16] * depth, 2)),
            BernoulliConditional(mlp(1, *[16] * depth, 2)),
            StandardNormal(1),
        ).double()

    def average(model):
        return p @ elbo_quadrature(model, x, model.encoder(x))

    collapsed = vae()
    for last in (collapsed.encoder.net[-1], collapsed.decoder.net[-1]):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    collapsed.decoder.net[-1].bias.data = ones.logit()
    q = collapsed.encoder(x)
    assert (q.mean == 0).all()
    assert (q.stddev == 1).all()
    value = average(collapsed)
    assert value.item() == pytest.approx((p @ p.log()).item(), abs=1e-12)
    value.backward()
    assert all(w.grad.abs().max() < 1e-10 for w in collapsed.parameters())
    for size in (0.01, 0.1, 0.3):
        for _ in range(5):
            other = vae()
            pairs = zip(other.parameters(), collapsed.parameters(), strict=True)
            with torch.no_grad():
                for weight, start in pairs:
                    weight.copy_(start + size * torch.randn_like(start))
                assert average(other) <= value + 1e-12
