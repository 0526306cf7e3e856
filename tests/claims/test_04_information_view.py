"""Chapter 4: the two joints, the chain rule, the two errors, and what the ELBO has to do with them.

Identities hold to rounding in float64, on random tables and random Gaussians; each is computed
in two ways that share no code.
"""

import math
import random

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from companion.conditionals import (
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.exact import (
    DiscreteModel,
    LinearGaussian,
    arch,
    elbo_quadrature,
    gaussian_floor,
    gaussian_joint,
    log_marginal_quadrature,
)
from companion.exercises import information_view as exercises
from companion.models import VAE
from companion.objectives import elbo, elbo_analytic
from companion.train import fit

DOUBLE = {"dtype": torch.float64}
SIZES = [(5, 3), (2, 4), (7, 2)]
sizes = pytest.mark.parametrize(("num_x", "num_z"), SIZES)


def vae_of_arch(seed):
    """A VAE of the arch's noise, untrained."""
    torch.manual_seed(seed)
    return VAE(
        GaussianConditional(mlp(2, 32, 2)),
        GaussianConditional(mlp(1, 32, 2), scale=0.4),
        StandardNormal(1),
    ).double()


def draw(*shape):
    """Random distributions along the last axis."""
    table = torch.rand(*shape, **DOUBLE) + 0.05
    return table / table.sum(-1, keepdim=True)


def draw_all(num_x, num_z):
    """Random data, encoder table and model."""
    torch.manual_seed(num_x)
    model = DiscreteModel(draw(num_z), draw(num_z, num_x))
    return draw(num_x), draw(num_x, num_z), model


def kl(p, q):
    return kl_divergence(Categorical(p.flatten()), Categorical(q.flatten()))


def joints(p_data, q, model):
    return p_data[:, None] * q, (model.prior[:, None] * model.likelihood).mT


def close(left, right, tolerance=1e-12):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def draw_gaussians(size, d):
    """Random data N(m, C), linear Gaussian model and linear Gaussian encoder."""
    torch.manual_seed(10 * size + d)

    def covariance(n):
        root = torch.randn(n, n, **DOUBLE)
        return root @ root.mT + 0.3 * torch.eye(n, **DOUBLE)

    data = MultivariateNormal(torch.randn(size, **DOUBLE), covariance(size))
    model = LinearGaussian(torch.randn(size, d, **DOUBLE), torch.randn(size, **DOUBLE), scale=0.7)
    encoder = LinearGaussianConditional(
        torch.randn(d, size, **DOUBLE), torch.randn(d, **DOUBLE), covariance(d)
    )
    return data, model, encoder


def sigma_points(data):
    columns = math.sqrt(len(data.mean)) * data.scale_tril.mT
    return data.mean + torch.cat([columns, -columns])


def generative_joint(model):
    """p(z) p(x | z) with the axes put in the order (x, z)."""
    size, d = model.weight.shape
    prior = MultivariateNormal(torch.zeros(d, **DOUBLE), torch.eye(d, **DOUBLE))
    noise = model.scale**2 * torch.eye(size, **DOUBLE)
    joint = gaussian_joint(prior, LinearGaussianConditional(model.weight, model.bias, noise))
    order = torch.cat([torch.arange(d, d + size), torch.arange(d)])
    return MultivariateNormal(joint.mean[order], joint.covariance_matrix[order][:, order])


# --- maximum likelihood --------------------------------------------------------------------------


# Would catch a KL taken in the other direction: its sum with the likelihood is not constant.
@pytest.mark.claim("info.mle-is-kl")
def test_likelihood_and_kl_add_up_to_a_constant():
    torch.manual_seed(0)
    throws = torch.randint(4, (300,))
    p_data = torch.bincount(throws, minlength=4) / torch.tensor(300.0, **DOUBLE)
    likelihood = draw(2, 4)
    means, divergences = [], []
    for first in torch.linspace(0.01, 0.99, 99, **DOUBLE):
        model = DiscreteModel(torch.stack([first, 1 - first]), likelihood)
        means.append(model.log_marginal()[throws].mean())  # throw by throw
        divergences.append(kl(p_data, model.log_marginal().exp()))
    means, divergences = torch.stack(means), torch.stack(divergences)
    close(means + divergences, -Categorical(p_data).entropy().expand(99))
    assert means.argmax() == divergences.argmin()
    assert means.std() > 0.01, "the parameter matters"


# Would catch a wrong minimiser: gradients of both agree up to sign in every parameter.
@pytest.mark.claim("info.mle-is-kl")
def test_likelihood_and_kl_have_one_gradient():
    p_data, _, model = draw_all(5, 3)
    logits = model.likelihood.log().requires_grad_()
    log_p = (model.prior @ logits.softmax(-1)).log()
    up = torch.autograd.grad((p_data * log_p).sum(), logits, retain_graph=True)[0]
    down = torch.autograd.grad((p_data * (p_data.log() - log_p)).sum(), logits)[0]
    close(up, -down)
    assert up.abs().max() > 1e-3


# --- a finite sample of continuous data ----------------------------------------------------------


def mass(distribution, bins, width):
    return distribution.cdf((bins + 1) * width) - distribution.cdf(bins * width)


# Would catch the claim that finer bins converge: they do for a density, not for 50 points.
@pytest.mark.claim("info.density")
def test_binned_kl_of_a_sample_diverges():
    torch.manual_seed(0)
    zero = torch.zeros((), **DOUBLE)
    data, model = Normal(zero, 1.1), Normal(zero, 0.9)
    points = data.sample((50,))
    widths = [0.1, 0.01, 0.001, 1e-4, 1e-5]
    dense, sparse = [], []
    for width in widths:
        if width >= 1e-3:
            bins = torch.arange(round(-6 / width), round(6 / width), **DOUBLE)
            true, fitted = mass(data, bins, width), mass(model, bins, width)
            dense.append(torch.xlogy(true, true / fitted).sum())
        used, count = torch.unique(torch.floor(points / width), return_counts=True)
        share = count / torch.tensor(50.0, **DOUBLE)
        sparse.append((share * (share / mass(model, used, width)).log()).sum())
    limit = kl_divergence(data, model)
    assert dense[0] < dense[1] < dense[2] < limit
    close(dense[2], limit, 1e-5)
    steps = torch.stack(sparse).diff()
    close(steps[2:], torch.full((2,), math.log(10), **DOUBLE), 1e-3)
    cross_entropy = -model.log_prob(points).mean()
    close(sparse[-1] + math.log(widths[-1]) + math.log(50), cross_entropy, 1e-5)


# Would catch a cross-entropy that does not rank models as the modelling error does.
@pytest.mark.claim("info.density")
def test_cross_entropy_ranks_as_the_modelling_error():
    data, model, _ = draw_gaussians(3, 2)
    other = LinearGaussian(0.5 * model.weight, model.bias, scale=0.9)
    points = sigma_points(data)  # log p is quadratic in x, so their average is exact
    cross = [-m.log_marginal(points).mean() for m in (model, other)]
    errors = [kl_divergence(data, m.marginal()) for m in (model, other)]
    close(cross[1] - cross[0], errors[1] - errors[0], 1e-10)
    close(cross[0] - errors[0], data.entropy(), 1e-10)


# --- joints and chain rule -----------------------------------------------------------------------


# Would catch axes exchanged, or a likelihood used where the joint is meant.
@sizes
@pytest.mark.claim("info.joints")
def test_marginals_of_both_joints(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    inference, generative = joints(p_data, q, model)
    close(generative, model.log_joint().exp())
    close(generative.sum(1), model.log_marginal().exp())
    close(generative.sum(0), model.prior)
    close(generative / generative.sum(1, keepdim=True), model.posterior())
    close(inference.sum(1), p_data)
    close(inference.sum(0), torch.einsum("x,xz->z", p_data, q))
    close(inference.sum(), torch.ones((), **DOUBLE))


# Would catch a transposed block or a forgotten noise term of the joint covariance.
@pytest.mark.claim("info.joints")
def test_joint_of_gaussians_from_both_sides():
    data, model, encoder = draw_gaussians(4, 2)
    left = generative_joint(model)
    right = gaussian_joint(model.marginal(), model.vae().encoder)
    close(left.mean, right.mean)
    close(left.covariance_matrix, right.covariance_matrix)
    z, x = torch.randn(6, 2, **DOUBLE), torch.randn(6, 4, **DOUBLE)
    pair = torch.cat([x, z], dim=1)
    prior = model.prior().log_prob(z)
    close(left.log_prob(pair), prior + model.likelihood(z).log_prob(x), 1e-10)
    inference = gaussian_joint(data, encoder)
    close(inference.log_prob(pair), data.log_prob(x) + encoder(x).log_prob(z), 1e-10)


@sizes
@pytest.mark.claim("info.chain-rule")
def test_kl_of_joints_is_the_larger_one(num_x, num_z):
    for seed in range(50):
        torch.manual_seed(seed)
        a, b = (draw(num_x * num_z).reshape(num_x, num_z) for _ in range(2))
        for axis in (0, 1):
            assert kl(a.sum(axis), b.sum(axis)) <= kl(a, b)


# Would catch conditionals weighted by the wrong marginal, in either order of the chain rule.
@sizes
@pytest.mark.claim("info.chain-rule")
def test_chain_rule_in_both_orders(num_x, num_z):
    inference, generative = joints(*draw_all(num_x, num_z))
    for a, b in ((inference, generative), (inference.mT, generative.mT)):
        average = sum(
            row.sum() * kl(row / row.sum(), other / other.sum())
            for row, other in zip(a, b, strict=True)
        )
        close(kl(a, b), kl(a.sum(1), b.sum(1)) + average)


@sizes
@pytest.mark.claim("info.chain-rule")
def test_equality_exactly_at_the_posterior(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    marginal = kl(p_data, model.log_marginal().exp())
    close(kl(*joints(p_data, model.posterior(), model)), marginal)
    assert kl(*joints(p_data, q, model)) > marginal + 1e-3


# Would catch an example whose marginals differ after all, or whose joints do not.
@sizes
@pytest.mark.claim("info.marginals-hide")
def test_equal_marginals_hide_different_joints(num_x, num_z):
    _, _, model = draw_all(num_x, num_z)
    p_data = model.log_marginal().exp()
    blind, generative = joints(p_data, model.prior.expand(num_x, num_z), model)
    close(blind.sum(1), generative.sum(1))
    close(blind.sum(0), generative.sum(0))
    assert kl(blind, generative) > 0.01


# --- what a wrong model costs, and two directions -------------------------------------------------


def two_peaks(a, width=1.0, first=0.5):
    weights = torch.tensor([first, 1 - first], **DOUBLE)
    return MixtureSameFamily(
        Categorical(weights), Normal(torch.tensor([-a, a], **DOUBLE), width), validate_args=False
    )


def both_directions(p, q, z):
    """KL(p ‖ q) and KL(q ‖ p) by the trapezoid rule."""
    log_p, log_q = p.log_prob(z), q.log_prob(z)
    left, right = log_p.exp() * (log_p - log_q), log_q.exp() * (log_q - log_p)
    return torch.trapezoid(left, z), torch.trapezoid(right, z)


def descended(loss, start):
    """Mean and scale where LBFGS from `start` comes to rest, and the loss there."""
    at = torch.tensor([start[0], math.log(start[1])], **DOUBLE, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [at], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        value = loss(Normal(at[0], at[1].exp(), validate_args=False))
        value.backward()
        return value

    optimiser.step(closure)
    value = closure().item()
    return at[0].item(), at[1].exp().item(), value


GRID = torch.linspace(-25, 25, 5001, **DOUBLE)


# Would catch the two directions exchanged, or a mode-seeking claim for peaks that are too near.
@pytest.mark.claim("info.kl-direction")
@pytest.mark.parametrize(("a", "seeks"), [(1.0, False), (2.5, False), (2.81, True), (4.0, True)])
def test_one_direction_covers_and_the_other_may_seek(a, seeks):
    p = two_peaks(a)
    starts = [(0.0, math.sqrt(1 + a * a)), (a, 1.0), (-0.7 * a, 0.6)]
    covering = [descended(lambda q: both_directions(p, q, GRID)[0], s) for s in starts]
    for mean, scale, _ in covering:
        assert mean == pytest.approx(0, abs=1e-4)
        assert scale == pytest.approx(math.sqrt(1 + a * a), abs=1e-4)
    seeking = [descended(lambda q: both_directions(p, q, GRID)[1], s) for s in starts]
    mean, scale, least = min(seeking, key=lambda found: found[2])
    grid_least, grid_mean, _ = gaussian_floor(GRID[::4, None], p.log_prob(GRID[::4, None]))
    assert least == pytest.approx(grid_least.item(), abs=1e-3)
    if seeks:
        assert abs(mean) == pytest.approx(a, abs=0.05)
        assert abs(grid_mean.item()) == pytest.approx(a, abs=0.05)
        assert scale < 1.05
        assert least < math.log(2)
    else:
        assert abs(mean) < 1e-3
        assert abs(grid_mean.item()) < 0.02
        assert scale > 1.3


# Would catch another threshold than 2.80, which the chapter's check has between 2.79 and 2.81.
@pytest.mark.claim("info.kl-direction")
def test_seeking_begins_where_the_book_says():
    def between_less_at_a_peak(a):
        p = two_peaks(a)
        at = [
            descended(lambda q: both_directions(p, q, GRID)[1], start)[2]
            for start in [(0.0, math.sqrt(1 + a * a)), (a, 1.0)]
        ]
        return at[0] - at[1]

    assert between_less_at_a_peak(2.795) < 0 < between_less_at_a_peak(2.805)


# Would catch the directions of the two errors exchanged: each is trained as a VAE trains it.
@pytest.mark.claim("info.kl-direction")
@pytest.mark.parametrize("seed", range(3))
def test_maximum_likelihood_covers_and_the_encoder_seeks(seed):
    torch.manual_seed(seed)
    p = two_peaks(2.0, 0.5, 0.4)
    throws = p.sample((4000,))
    mean, scale, _ = descended(lambda model: -model.log_prob(throws).mean(), (2.0, 0.5))
    assert mean == pytest.approx(0.4, abs=4 * p.stddev.item() / math.sqrt(4000))
    assert scale == pytest.approx(p.stddev.item(), abs=0.1)
    # x = z² + noise has a posterior with two peaks; q is fitted by its ELBO, from samples.
    start = torch.empty(1, **DOUBLE).uniform_(-2, 2)
    at = torch.stack([start, torch.zeros(1, **DOUBLE)]).requires_grad_()
    optimiser = torch.optim.Adam([at], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        q = Normal(at[0], at[1].exp())
        z = q.rsample((200,))
        log_joint = Normal(0.0, 1.0).log_prob(z) + Normal(z**2, 0.5).log_prob(torch.tensor(4.0))
        (q.log_prob(z) - log_joint).mean().backward()
        optimiser.step()
    peak = math.sqrt(4 - 0.5**2 / 2)  # where z² / 2 + (4 − z²)² / (2 · 0.25) is smallest
    assert abs(at[0].item()) == pytest.approx(peak, abs=0.1)
    assert at[1].exp().item() < 0.3, "the distance of the peaks is 4"


# Would catch the directions exchanged: between the arch's legs one keeps a leg, one takes both.
@pytest.mark.claim("info.kl-direction")
def test_the_best_gaussians_between_the_legs_of_the_arch():
    source, x = arch(scale=0.4), torch.tensor([[0.1, -0.2]], **DOUBLE)
    z = torch.linspace(-7, 7, 1401, **DOUBLE)[:, None]
    with torch.no_grad():
        log_p = (source.decoder(z).log_prob(x) + source.prior().log_prob(z))[:, None]
    log_p = log_p - log_p.logsumexp(0) - math.log(0.01)
    p = log_p.exp()[:, 0]
    peaks = z[1:-1, 0][(p[1:-1] > p[:-2]) & (p[1:-1] > p[2:])].tolist()
    assert peaks == pytest.approx([-1.4, 1.45], abs=0.1)

    def both(mean, scale):
        log_q = Normal(mean, scale).log_prob(z[:, 0])
        ratio = (log_p[:, 0] - log_q) * 0.01
        return (p * ratio).sum().item(), -(log_q.exp() * ratio).sum().item()

    gap, (mean,), (scale,) = gaussian_floor(z, log_p)
    assert gap.item() == pytest.approx(0.26, abs=0.005)
    assert mean.item() == pytest.approx(1.46, abs=0.02), "one leg"
    centre = (p * z[:, 0]).sum() * 0.01
    width = ((p * (z[:, 0] - centre) ** 2).sum() * 0.01).sqrt()
    assert p[(z[:, 0] - centre).abs().argmin()] < 0.2 * p.max(), "its peak is at neither leg"
    covering, seeking = both(centre, width), both(mean, scale)
    assert covering[0] < seeking[0]
    assert seeking[1] < covering[1]
    for m, s in [(0.05, 1), (-0.05, 1), (0, 1.05), (0, 0.95)]:
        assert covering[0] < both(centre + m, width * s)[0]
        assert seeking[1] < both(mean + m, scale * s)[1]


@pytest.mark.claim("info.kl-direction")
def test_a_value_left_out():
    p = torch.tensor([0.5, 0.25, 0.25], **DOUBLE)
    q = torch.tensor([2 / 3, 1 / 3, 0.0], **DOUBLE)
    assert kl(p, q) == math.inf
    close(kl(q, p), torch.log(torch.tensor(4 / 3, **DOUBLE)))
    wrong = torch.tensor([0.25, 0.25, 0.5], **DOUBLE)
    close(kl(p, wrong) / math.log(2), torch.tensor(0.25, **DOUBLE))
    words = {(0.5, 0.25, 0.25): ["0", "10", "11"], (0.25, 0.25, 0.5): ["10", "11", "0"]}
    for belief, code in words.items():
        assert [len(word) for word in code] == [-math.log2(share) for share in belief]


# --- the length of a message ----------------------------------------------------------------------


# Would catch the example in bits and nats: one bit picks the die, and comes back.
@pytest.mark.claim("info.code-length")
def test_face_two_of_the_dice():
    dice = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]], **DOUBLE)
    model = DiscreteModel(torch.tensor([0.5, 0.5], **DOUBLE), dice)
    half = torch.full((4, 2), 0.5, **DOUBLE)
    die, back = -math.log2(0.5), -math.log2(0.5)
    nets = [die - math.log2(share) - back for share in (0.3, 0.2)]
    assert [round(net, 2) for net in nets] == [1.74, 2.32]
    assert round(sum(nets) / 2, 2) == 2.03
    assert round(sum(nets) / 2 * math.log(2), 3) == 1.407
    assert -model.elbo(half)[1].item() == pytest.approx(sum(nets) / 2 * math.log(2))


# Would catch two waiting bits that pick the dice in other shares, a die A that tells more or less
# than log2(4/3) of them, and numbers of exercise 4.6 that its push does not give.
@pytest.mark.claim("info.code-length")
def test_two_waiting_bits_pick_three_to_one():
    rest, dice = zip(*(exercises._pop(pair, [3, 1]) for pair in range(4)), strict=True)
    assert dice == (0, 0, 0, 1), "11 means die B, all other pairs A"
    assert rest == (0, 1, 2, 0), "after die A one of three pairs is still open"
    assert round(2 - math.log2(3), 2) == round(math.log2(4 / 3), 2) == 0.42
    assert exercises._push(1000, 1, [3, 1]) == 4003
    assert exercises._push(1000, 0, [3, 1]) == 333 * 4 + 1 == 1333
    assert exercises._pop(4003, [3, 1]) == (1000, 1)
    assert exercises._pop(1333, [3, 1]) == (1000, 0)


# Would catch a cell whose width stays in the net length of a continuous z.
@pytest.mark.claim("info.code-length")
@pytest.mark.parametrize("width", [0.1, 0.01])
def test_the_width_of_the_cells_of_z_cancels(width):
    model = LinearGaussian(torch.ones(1, 1, **DOUBLE), torch.zeros(1, **DOUBLE), scale=0.5)
    x, z = torch.full((1, 1), 0.7, **DOUBLE), torch.arange(-4, 5, width, **DOUBLE)
    prior, q = Normal(torch.zeros((), **DOUBLE), 1.0), Normal(torch.tensor(0.4, **DOUBLE), 0.6)
    sent = -torch.log(mass(prior, (z / width).round(), width))
    sent = sent - Normal(z + width / 2, 0.5).log_prob(x[0])
    cells = mass(q, (z / width).round(), width)
    net = (torch.xlogy(cells, cells) + cells * sent).sum()
    encoder = LinearGaussianConditional(
        torch.zeros(1, 1, **DOUBLE), torch.tensor([0.4], **DOUBLE), torch.tensor([[0.36]], **DOUBLE)
    )
    assert net.item() == pytest.approx(-model.elbo(x, encoder(x)).item(), abs=width**2)


# Would catch bits that do not come back, a gap measured against the data's best code, or bits.
@sizes
@pytest.mark.claim("info.code-length")
def test_net_length_of_bits_back_is_minus_the_elbo(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    net = torch.zeros(num_x, **DOUBLE)
    for x in range(num_x):
        for z in range(num_z):
            sent = -math.log(model.prior[z]) - math.log(model.likelihood[z, x])
            net[x] += q[x, z] * (sent + math.log(q[x, z]))
    close(net, -model.elbo(q))
    close(net + model.log_marginal(), model.gap(q))
    modelling = kl(p_data, model.log_marginal().exp())
    over_data = (p_data * net).sum() - Categorical(p_data).entropy()
    close(over_data, modelling + (p_data * model.gap(q)).sum())
    assert modelling > 1e-3, "the two excesses differ"
    ideal = (p_data * DiscreteModel(model.prior, model.likelihood).elbo(model.posterior())).sum()
    close(-ideal, Categorical(p_data).entropy() + modelling)


# Would catch a sender who wastes bits on purpose: without bits back, one die is the cheapest.
@sizes
@pytest.mark.claim("info.code-length")
def test_without_bits_back_the_cheapest_code_is_a_sure_encoder(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    lengths = -model.log_joint()
    cheapest = lengths.min(1).values
    gaps = -model.posterior().max(1).values.log()  # KL of one code from the posterior
    close(cheapest, gaps - model.log_marginal())
    drawn = (q * lengths).sum(1)
    assert (cheapest <= drawn).all()
    close(p_data @ (drawn + model.elbo(q)), p_data @ Categorical(q).entropy())


# Would catch a code that cannot be read, and ideal lengths that no coder comes near.
@pytest.mark.claim("info.code-length")
@pytest.mark.parametrize("seed", range(3))
def test_a_stack_of_bits_comes_near_and_loses_nothing(seed):
    torch.manual_seed(seed)
    prior, likelihood = [1, 3], [[5, 3, 1, 1], [1, 2, 3, 4]]
    q = torch.randint(1, 9, (4, 2)).tolist()
    model = DiscreteModel(
        torch.tensor(prior, **DOUBLE) / 4, torch.tensor(likelihood, **DOUBLE) / 10
    )
    table = torch.tensor(q, **DOUBLE)
    share = table / table.sum(1, keepdim=True)
    log_w = model.log_joint() - share.log()
    values = model.elbo(share)  # the mean of log w, which is minus a net length
    spread = (share * (log_w - values[:, None]).square()).sum(1)
    throws = torch.randint(4, (3000,))
    stack, waiting = start = 1 << 64, random.Random(seed).getrandbits(12_000)
    for x in throws.tolist():
        stack, waiting = exercises._send(stack, waiting, x, prior, likelihood, q)
    grown = math.log(stack) - math.log(start[0])
    taken = math.log(start[1]) - math.log(waiting)
    at = (throws.bincount() / 3000).double()
    standard_error = math.sqrt(at @ spread.double() / 3000)
    assert (grown - taken) / 3000 == pytest.approx(
        -values[throws].mean().item(), abs=4 * standard_error
    )
    for x in throws.flip(0).tolist():
        stack, z = exercises._pop(stack, prior)
        stack, found = exercises._pop(stack, likelihood[z])
        waiting = exercises._push(waiting, z, q[found])
        assert found == x
    assert (stack, waiting) == start, "the bits that picked z are back"


# Would catch a bound in the wrong direction, or noise wider than a whole number.
@pytest.mark.claim("info.density")
def test_dequantised_density_bounds_the_mass():
    u = (torch.arange(2000, **DOUBLE) + 0.5) / 2000
    for scale in (0.5, 0.8, 3.0):
        model = Normal(torch.tensor(0.3, **DOUBLE), scale)
        for x in torch.arange(-2, 3, **DOUBLE):
            bound, exact = model.log_prob(x + u).mean(), mass(model, x, 1.0).log()
            assert bound < exact
            assert exact - bound > 1e-5
    flat = torch.full((2000,), -math.log(4), **DOUBLE)  # uniform density on [0, 4): equality
    close(flat.mean(), torch.log(torch.tensor(0.25, **DOUBLE)))


# --- the two errors ------------------------------------------------------------------------------


# Would catch an unweighted average over x, a reversed KL, or the gap of one x.
@sizes
@pytest.mark.claim("info.decomposition")
def test_joint_kl_is_the_sum_of_two_errors(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    modelling = kl(p_data, model.log_marginal().exp())
    inference = (p_data * model.gap(q)).sum()
    close(kl(*joints(p_data, q, model)), modelling + inference)


@pytest.mark.parametrize(("size", "d"), [(1, 1), (4, 2), (3, 5)])
@pytest.mark.claim("info.decomposition")
def test_two_errors_of_gaussians(size, d):
    data, model, encoder = draw_gaussians(size, d)
    points = sigma_points(data)
    modelling = kl_divergence(data, model.marginal())
    inference = model.gap(points, encoder(points)).mean()
    joint = kl_divergence(gaussian_joint(data, encoder), generative_joint(model))
    close(joint, modelling + inference, 1e-10)
    x = data.sample((40_000,))  # the average of the gap over data, the slow way
    gaps = model.gap(x, encoder(x))
    assert abs(gaps.mean() - inference) < 4 * gaps.std() / math.sqrt(len(gaps))


# Would catch a gap that is not the one of chapter 3, or that takes its Gaussians the wrong way.
@pytest.mark.claim("info.decomposition")
def test_gaussian_gap_is_log_marginal_less_elbo():
    data, model, encoder = draw_gaussians(4, 2)
    x = data.sample((9,))
    diagonal = Independent(Normal(torch.randn(9, 2, **DOUBLE), 0.5), 1)
    for q in (encoder(x), diagonal):
        close(model.gap(x, q), model.log_marginal(x) - model.elbo(x, q), 1e-10)


# --- and the ELBO --------------------------------------------------------------------------------


# Would catch an entropy in bits, with the wrong sign, or left out.
@sizes
@pytest.mark.claim("info.elbo-is-joint-kl")
def test_minus_elbo_is_joint_kl_plus_entropy(num_x, num_z):
    p_data, q, model = draw_all(num_x, num_z)
    average = (p_data * model.elbo(q)).sum()
    close(-average, kl(*joints(p_data, q, model)) + Categorical(p_data).entropy())


@pytest.mark.claim("info.elbo-is-joint-kl")
def test_one_gradient_for_encoder_and_decoder():
    p_data, q, model = draw_all(5, 3)
    raw = [q.log().requires_grad_(), model.likelihood.log().requires_grad_()]

    def both():
        encoder, likelihood = (table.softmax(-1) for table in raw)
        moved = DiscreteModel(model.prior, likelihood)
        return (p_data * moved.elbo(encoder)).sum(), kl(*joints(p_data, encoder, moved))

    up = torch.autograd.grad(both()[0], raw)
    down = torch.autograd.grad(both()[1], raw)
    for left, right in zip(up, down, strict=True):
        close(left, -right)
        assert left.abs().max() > 1e-3


# Would catch a discrete entropy used for a density, or a KL that depends on the unit of x.
@pytest.mark.parametrize("unit", [0.01, 1.0, 50.0])
@pytest.mark.claim("info.elbo-is-joint-kl")
def test_differential_entropy_in_any_unit(unit):
    data, model, encoder = draw_gaussians(3, 2)
    joint = kl_divergence(gaussian_joint(data, encoder), generative_joint(model))
    scaled = MultivariateNormal(unit * data.mean, unit**2 * data.covariance_matrix)
    moved = LinearGaussian(unit * model.weight, unit * model.bias, scale=unit * model.scale)
    law = LinearGaussianConditional(
        encoder.weight / unit, encoder.bias, encoder.scale_tril @ encoder.scale_tril.mT
    )
    close(kl_divergence(gaussian_joint(scaled, law), generative_joint(moved)), joint, 1e-9)
    points = sigma_points(scaled)
    average = moved.elbo(points, law(points)).mean()
    close(-average, joint + scaled.entropy(), 1e-9)
    close(scaled.entropy(), data.entropy() + 3 * math.log(unit), 1e-9)
    if unit == 0.01:
        assert scaled.entropy() < 0


@pytest.mark.claim("info.elbo-is-joint-kl")
def test_a_good_model_of_narrow_data_has_a_positive_elbo():
    model = LinearGaussian(torch.full((1, 1), 0.08, **DOUBLE), torch.zeros(1, **DOUBLE), scale=0.06)
    points = sigma_points(model.marginal())
    average = model.elbo(points, model.posterior(points)).mean()
    close(average, -model.marginal().entropy())
    assert average > 0.8


# --- on trained networks, by sampling ------------------------------------------------------------


@pytest.mark.claim("info.decomposition")
@pytest.mark.claim("info.elbo-is-joint-kl")
def test_trained_linear_vae():
    torch.manual_seed(0)
    truth = LinearGaussian(torch.randn(5, 2, **DOUBLE), torch.zeros(5, **DOUBLE), scale=0.6)
    data = truth.marginal()
    vae = VAE(
        GaussianConditional(nn.Linear(5, 4)),
        GaussianConditional(nn.Linear(2, 5), scale=0.6),
        StandardNormal(2),
    ).double()
    start = kl_divergence(data, truth.marginal())

    def errors(model):
        learned = LinearGaussian(model.decoder.net.weight, model.decoder.net.bias, scale=0.6)
        x = data.sample((20_000,))
        gaps = learned.gap(x, model.encoder(x))
        return {"modelling": kl_divergence(data, learned.marginal()), "inference": gaps.mean()}

    before = errors(vae)
    history = fit(vae, data.sample((1000,)), elbo_analytic, epochs=6, lr=2e-2, monitor=errors)
    modelling, inference = (history.monitored[key][-1] for key in ("modelling", "inference"))
    assert start == 0
    assert modelling + inference < 0.7 * sum(before.values()).item()
    with torch.no_grad():
        values = -elbo(vae, data.sample((40_000,)))
    error = values.mean() - modelling - inference - data.entropy()
    # Both averages are over samples: this one, and the monitor's of the gap.
    assert abs(error) < 4 * values.std() / math.sqrt(20_000)


# Would catch a diagonal posterior put down to the likelihood, which no rotation changes.
@pytest.mark.claim("info.decomposition")
def test_only_the_inference_error_asks_for_a_diagonal_posterior():
    rows = [[1.0, 0.8], [0.8, 0.2], [0.3, 0.9], [-0.7, -0.2], [0.2, 0.6]]
    weight, zero = torch.tensor(rows, **DOUBLE), torch.zeros(5, **DOUBLE)
    truth = LinearGaussian(weight, zero, scale=0.6)

    def least(model):
        """What the best diagonal q loses: the same for each x."""
        cov = model.posterior(zero[None]).covariance_matrix[0].detach()
        variances = cov.inverse().diagonal().reciprocal()
        q = Independent(Normal(model.posterior(zero[None]).mean.detach(), variances.sqrt()), 1)
        return model.gap(zero[None], q).item()

    torch.manual_seed(0)
    x, losses = truth.marginal().sample((1000,)), []
    for angle in torch.linspace(0, math.pi / 2, 10, **DOUBLE):
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
        turned = LinearGaussian(weight @ turn, zero, scale=0.6)
        close(turned.log_marginal(x), truth.log_marginal(x), 1e-10)
        losses.append(least(turned))
    assert min(losses) < 0.01
    assert max(losses) > 0.2

    def learned(model):
        net = model.decoder.net
        return LinearGaussian(net.weight, net.bias, scale=0.6)

    def log_likelihood(model, x):
        return learned(model).log_marginal(x)

    floors = {}
    for objective in (elbo_analytic, log_likelihood):
        torch.manual_seed(1)
        vae = VAE(
            GaussianConditional(nn.Linear(5, 4)),
            GaussianConditional(nn.Linear(2, 5), scale=0.6),
            StandardNormal(2),
        ).double()
        fit(vae, x, objective, epochs=60, batch_size=50, lr=1e-2)
        with torch.no_grad():
            assert kl_divergence(truth.marginal(), learned(vae).marginal()) < 0.03
            floors[objective] = least(learned(vae))
    assert floors[elbo_analytic] < 0.01
    assert floors[log_likelihood] > 0.1


# Would catch a quadrature that leaves out the data's density, or an inference error without it.
@pytest.mark.claim("info.decomposition")
def test_nonlinear_vae_by_quadrature():
    torch.manual_seed(0)
    source = arch(scale=0.4)
    x = source.sample(300)
    vae = VAE(
        GaussianConditional(mlp(2, 16, 2)),
        GaussianConditional(mlp(1, 16, 2), scale=0.4),
        StandardNormal(1),
    ).double()
    fit(vae, x, elbo_analytic, epochs=10, batch_size=50, lr=1e-2)
    with torch.no_grad():
        log_p = log_marginal_quadrature(vae, x)
        q = vae.encoder(x)
        bound = elbo_quadrature(vae, x, q, num_points=801)
        z = torch.linspace(-10, 10, 4001, **DOUBLE)[:, None, None]
        log_q = q.log_prob(z)
        log_posterior = vae.decoder(z).log_prob(x) + vae.prior().log_prob(z) - log_p
        gap = torch.trapezoid(log_q.exp() * (log_q - log_posterior), dx=0.005, dim=0)
        modelling = log_marginal_quadrature(source, x) - log_p
        sampled = log_marginal_quadrature(source, x) - elbo(vae, x, num_samples=200)
    close(log_p - bound, gap, 1e-8)
    difference = sampled - modelling - gap
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(x))
    assert gap.mean() > 0.01
    assert modelling.mean() > 0.01


# --- what a higher ELBO promises -----------------------------------------------------------------


# Would catch the reading that a higher ELBO always means a smaller inference error.
@pytest.mark.claim("info.decomposition")
def test_elbo_gains_come_out_of_the_sum():
    p_data, q, model = draw_all(5, 3)
    for _ in range(4):  # EM: exact encoder, then the prior of highest ELBO for that encoder
        old = model
        q = old.posterior()
        model = DiscreteModel(p_data @ q, old.likelihood)
        gain = (p_data * (model.elbo(q) - old.elbo(q))).sum()
        fall = kl(p_data, old.log_marginal().exp()) - kl(p_data, model.log_marginal().exp())
        rise = (p_data * (model.gap(q) - old.gap(q))).sum()
        close(gain, fall - rise)
        assert gain > 1e-8
        assert rise > 1e-8


# Would catch a shift that costs inference error: then the counterexample were none.
@pytest.mark.claim("info.decomposition")
def test_the_highest_elbo_may_be_at_the_highest_likelihood():
    data = MultivariateNormal(torch.zeros(1, **DOUBLE), torch.full((1, 1), 1.25, **DOUBLE))
    one = torch.ones(1, 1, **DOUBLE)

    def least(w, b, shifts):
        """Modelling error, and the least inference error over the encoder's shift."""
        model = LinearGaussian(w * one, torch.full((1,), b, **DOUBLE), scale=0.5)
        gaps = [
            model.gap(
                sigma_points(data),
                LinearGaussianConditional(0.4 * one, torch.full((1,), c, **DOUBLE), 0.2 * one)(
                    sigma_points(data)
                ),
            ).mean()
            for c in shifts
        ]
        return kl_divergence(data, model.marginal()).item(), min(gaps).item()

    for b in (-0.5, 0.0, 1.0):  # the posterior's slope is 0.8, and the encoder's 0.4
        modelling, inference = least(1.0, b, [-0.8 * b - 0.01, -0.8 * b, -0.8 * b + 0.01])
        assert inference == pytest.approx(0.5, abs=1e-9)
        assert (modelling < 1e-12) == (b == 0.0)
    steeper, same = least(1.25, 0.0, [0.0]), least(1.0, 0.0, [0.0])
    assert sum(steeper) < sum(same) - 0.04, "with w learned, the two maxima differ"
    assert steeper[0] > same[0] + 0.02


# Would catch the remaining error blamed on two peaks: the best Gaussian of each x loses little.
@pytest.mark.claim("info.decomposition")
def test_two_peaks_are_not_to_blame_for_what_remains():
    torch.manual_seed(0)
    source = arch(scale=0.4)
    x, held_out = source.sample(1000), source.sample(150)
    z = torch.linspace(-7, 7, 401, **DOUBLE)[:, None]

    def floor_of(model):
        with torch.no_grad():
            log_joint = model.decoder(z[:, None]).log_prob(held_out)
            return gaussian_floor(z, log_joint + model.prior().log_prob(z)[:, None])[0]

    for seed in (1, 2, 3):
        vae = vae_of_arch(seed)
        fit(vae, x, elbo_analytic, epochs=20, batch_size=50, lr=1e-2)
        with torch.no_grad():
            gap = log_marginal_quadrature(vae, held_out, num_points=401, bound=7.0)
            gap = gap - elbo_quadrature(vae, held_out, vae.encoder(held_out))
        floor = floor_of(vae)
        assert (gap > floor - 1e-6).all()
        assert floor.mean() < 0.01
        assert gap.mean() - floor.mean() > 0.03


# Would catch a frozen decoder that moves, or an ELBO gained by anything but the inference error.
@pytest.mark.claim("info.decomposition")
@pytest.mark.parametrize("seed", [1, 2])
def test_with_a_frozen_decoder_the_elbo_gains_what_the_inference_error_loses(seed):
    torch.manual_seed(0)
    source = arch(scale=0.4)
    x, held_out = source.sample(1000), source.sample(150)
    vae = vae_of_arch(seed)

    def measured():
        with torch.no_grad():
            log_p = log_marginal_quadrature(vae, held_out, num_points=401, bound=7.0)
            bound = elbo_quadrature(vae, held_out, vae.encoder(held_out))
        return log_p.mean(), bound.mean()

    fit(vae, x, elbo_analytic, epochs=5, batch_size=50, lr=1e-2)
    log_p, before = measured()
    vae.decoder.requires_grad_(False)
    fit(vae, x, elbo_analytic, epochs=15, batch_size=50, lr=1e-2)
    same, after = measured()
    # With log p(x) at rest, what the bound gains the gap has lost.
    close(log_p, same)
    assert after - before > 0.1 * (log_p - before), "the encoder was behind"
    assert after < log_p


# Would catch the advice that small gains acquit the encoder: a leg never visited stays unseen.
@pytest.mark.claim("info.decomposition")
def test_samples_from_one_leg_do_not_show_the_other():
    torch.manual_seed(0)
    source, x = arch(scale=0.4), torch.tensor([[0.1, -0.2]], **DOUBLE)
    z = torch.linspace(-7, 7, 1401, **DOUBLE)[:, None]

    def log_joint(z):
        return source.decoder(z).log_prob(x) + source.prior().log_prob(z)

    with torch.no_grad():
        log_p = torch.logsumexp(log_joint(z), 0) + math.log(0.01)
        lost, mean, scale = gaussian_floor(z, log_joint(z)[:, None])
        q = Normal(mean, scale)
        drawn = q.sample((200_000,))
        log_w = log_joint(drawn) - q.log_prob(drawn)[:, 0]
        bound = (log_w.view(200, 1000).logsumexp(1) - math.log(1000)).mean()
    assert log_p - log_w.mean() == pytest.approx(lost.item(), abs=0.01)
    assert lost > 0.25
    assert 0 <= bound - log_w.mean() < 0.05
