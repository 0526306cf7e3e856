"""Chapter 5: every term of the Gaussian VAE's objective, its gradient, its loop and its weight.

Identities hold to rounding in float64, on random networks of pairwise-distinct sizes. Sampled
statements are in standard errors.
"""

import ast
import copy
import math
from pathlib import Path

import mpmath
import nbformat
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn import functional as F
from toys import discrete, gaussian_vae, normal

import companion
from companion import data
from companion.conditionals import BernoulliConditional, mlp
from companion.diagnostics import energy_distance
from companion.distributions import gaussian_kl
from companion.exact import LinearGaussian
from companion.objectives import beta_elbo, elbo, elbo_analytic, pathwise, score_function
from companion.train import fit

CHAPTER = Path(__file__).parents[2] / "book" / "05_gaussian_vae.ipynb"
POINTS, PIXELS, UNITS = 5, 4, 3
X = normal(POINTS, PIXELS, seed=11)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def constant(pixels, scale):
    return -pixels / 2 * math.log(2 * math.pi * scale**2)


def gradients(value, module):
    return torch.autograd.grad(value, list(module.parameters()), allow_unused=True)


# --- encoder, decoder, KL -------------------------------------------------------------------------


# Would catch an encoder that averages over its units, or one whose scale is a variance.
@pytest.mark.claim("gauss.encoder")
def test_the_encoder_is_a_product_over_units():
    encoder = gaussian_vae().encoder
    q = encoder(X)
    mu, logvar = encoder.net(X).chunk(2, dim=-1)
    z = normal(7, POINTS, UNITS, seed=3)
    joint = MultivariateNormal(mu, torch.diag_embed(logvar.exp())).log_prob(z)
    product = torch.ones(7, POINTS, dtype=torch.float64)
    for j in range(UNITS):
        product = product * Normal(mu[:, j], (logvar[:, j] / 2).exp()).log_prob(z[..., j]).exp()
    close(q.log_prob(z), joint)
    close(product.log(), joint)


# Would catch a mean over pixels, a variance in the scale's place, a missing 2π.
@pytest.mark.claim("gauss.mse")
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
def test_reconstruction_is_squared_error_and_a_constant(scale):
    vae = gaussian_vae(scale=scale)
    trace = vae.trace(X, 7)
    squares = (X - vae.decoder.net(trace.z[0])).square().sum(-1)
    close(trace.reconstruction, -squares / (2 * scale**2) + constant(PIXELS, scale))


@pytest.mark.claim("gauss.mse")
def test_the_expected_squared_error_of_a_linear_decoder():
    # The exact ELBO plus the KL is the reconstruction term; E‖x − Wz‖² is known on its own.
    model = LinearGaussian(normal(PIXELS, UNITS, seed=1), torch.zeros(PIXELS).double(), scale=0.6)
    mu, sigma = normal(POINTS, UNITS, seed=2), normal(POINTS, UNITS, seed=3).exp()
    kl = gaussian_kl(mu, 2 * sigma.log()).sum(-1)
    bias = (X - mu @ model.weight.mT).square().sum(-1)
    expected = bias + (sigma.square() * model.weight.square().sum(0)).sum(-1)
    reconstruction = model.elbo(X, Independent(Normal(mu, sigma), 1)) + kl
    close(reconstruction, -expected / (2 * 0.6**2) + constant(PIXELS, 0.6))


# Would catch the mistakes of the exercise: an average, a sign, a missing half, σ for σ².
@pytest.mark.claim("gauss.kl-closed-form")
@pytest.mark.parametrize(
    ("mu", "logvar"), [(0.0, 0.0), (2.0, 0.0), (-0.7, -1.5), (1e-4, 1e-4), (3.0, -9.0), (0.5, 4.0)]
)
def test_the_closed_form_is_the_integral(mu, logvar):
    with mpmath.workdps(40):
        m, s = mpmath.mpf(mu), mpmath.exp(mpmath.mpf(logvar) / 2)

        def integrand(e):
            # z = m + s e, so that log q(z) − log p(z) is −log s − e²/2 + z²/2.
            weight = mpmath.exp(-(e**2) / 2) / mpmath.sqrt(2 * mpmath.pi)
            return weight * ((m + s * e) ** 2 / 2 - e**2 / 2 - mpmath.log(s))

        exact = float(mpmath.quad(integrand, [-16, -4, 0, 4, 16]))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-3)):
        found = gaussian_kl(torch.tensor([mu], dtype=dtype), torch.tensor([logvar], dtype=dtype))
        assert abs(found.item() - exact) <= tolerance * exact + 1e-15


@pytest.mark.claim("gauss.kl-closed-form")
def test_the_closed_form_is_finite_for_huge_arguments_and_exact_for_tiny_ones():
    huge = torch.tensor([80.0, -1e30]), torch.tensor([1e18, 0.0])
    assert gaussian_kl(huge[1], huge[0]).isfinite().all()
    tiny = torch.tensor([2e-3])
    exact = float((mpmath.expm1(tiny.item()) - tiny.item()) / 2)
    textbook = -0.5 * (1 + tiny - tiny.exp()).item()
    assert abs(gaussian_kl(0 * tiny, tiny).item() / exact - 1) < 1e-3
    assert abs(textbook / exact - 1) > 1e-3  # the case is a hard one


# --- objective ------------------------------------------------------------------------------------


# Would catch another weight between the two terms, and a constant that is not stated.
@pytest.mark.claim("gauss.objective")
@pytest.mark.parametrize("scale", [0.2, 1.5])
def test_the_regularised_loss_is_the_negative_elbo_up_to_its_constant(scale):
    vae = gaussian_vae(scale=scale)
    torch.manual_seed(1)
    bound = elbo_analytic(vae, X)
    torch.manual_seed(1)
    mu, logvar = vae.encoder.net(X).chunk(2, dim=-1)
    z = mu + (logvar / 2).exp() * torch.randn(POINTS, UNITS, dtype=torch.float64)
    error = (X - vae.decoder.net(z)).square().sum(-1) / (2 * scale**2)
    loss = error - 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(-1)
    close(constant(PIXELS, scale) - loss, bound)
    for a, b in zip(gradients(-loss.sum(), vae), gradients(bound.sum(), vae), strict=True):
        close(a, b)


# --- reparameterisation ---------------------------------------------------------------------------


# Would catch noise multiplied by the variance.
@pytest.mark.claim("gauss.reparameterise")
def test_shifted_and_scaled_noise_has_the_encoders_law():
    q = gaussian_vae().encoder(X[:1])
    torch.manual_seed(0)
    z = q.mean + q.stddev * torch.randn(40_000, UNITS, dtype=torch.float64)
    uniform = Normal(q.mean, q.stddev).cdf(z)
    for unit in uniform.T.detach():
        assert stats.kstest(unit.numpy(), "uniform").pvalue > 1e-3
        assert stats.kstest((unit**1.05).numpy(), "uniform").pvalue < 1e-3  # the test can fail
    point = normal(POINTS, UNITS, seed=8)
    changed = Normal(0.0, 1.0).log_prob((point - q.mean) / q.stddev) - q.stddev.log()
    close(changed.sum(-1), q.log_prob(point))


def of_the_chapter(function):
    """Run the chapter's cell that defines a function, and return the function."""
    cells = nbformat.read(CHAPTER, nbformat.NO_CONVERT).cells
    (source,) = [
        c.source for c in cells if c.cell_type == "code" and f"def {function}(" in c.source
    ]
    namespace = {"torch": torch}
    exec(source, namespace)
    return namespace[function]


COUNT = 100_000


def one_draw_gradients(estimator, f, mu, sigma):
    """Gradients in μ and σ of one draw each: (COUNT, 2, d)."""
    copies = torch.stack([mu, sigma]).expand(COUNT, 2, -1).clone().requires_grad_()
    q = Independent(Normal(copies[:, 0], copies[:, 1]), 1)
    return torch.autograd.grad(estimator(q, f, 1).sum(), copies)[0]


# Would catch a sign or a lost σ in "where f bends down under q, a wider q loses".
@pytest.mark.claim("gauss.gradient")
@pytest.mark.parametrize("sigma", [0.3, 1.7])
def test_the_gradient_in_sigma_is_sigma_times_the_mean_curvature(sigma):
    mu, eps = 0.4, torch.linspace(-12, 12, 4001, dtype=torch.float64)
    weight = Normal(0.0, 1.0).log_prob(eps).exp() * (eps[1] - eps[0])
    z = (mu + sigma * eps).requires_grad_()
    f = torch.sin(z) + 0.1 * z**3
    (slope,) = torch.autograd.grad(f.sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    close((weight * slope * eps).sum(), sigma * (weight * curvature).sum(), 1e-10)


# Would catch a path that is cut, or a score without its factor f.
@pytest.mark.claim("gauss.gradient")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_estimators_are_unbiased_and_pathwise_is_quieter_on_a_decoder(seed):
    model = LinearGaussian(
        normal(PIXELS, UNITS, seed=seed), torch.zeros(PIXELS).double(), scale=0.5
    )
    x = X[:1]
    mu = normal(UNITS, seed=seed + 5).requires_grad_()
    sigma = torch.tensor([0.4, 0.9, 0.6], dtype=torch.float64, requires_grad=True)
    kl = gaussian_kl(mu, 2 * sigma.log()).sum()
    reconstruction = model.elbo(x, Independent(Normal(mu, sigma), 1)).sum() + kl
    exact = torch.stack(torch.autograd.grad(reconstruction, [mu, sigma]))
    variance = {}
    for estimator in (pathwise, score_function):
        torch.manual_seed(seed)
        g = one_draw_gradients(
            estimator,
            lambda z: model.likelihood(z).log_prob(x),
            mu.detach(),
            sigma.detach(),
        )
        assert ((g.mean(0) - exact).abs() < 4.5 * g.std(0) / math.sqrt(COUNT)).all()
        variance[estimator] = g.var(0).sum()
    assert variance[score_function] > 5 * variance[pathwise]


# Would catch a baseline that is added, or one that depends on the draw it is used for.
@pytest.mark.claim("gauss.gradient")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_constant_moves_the_variance_unless_there_is_a_baseline(seed):
    by_path, by_score = of_the_chapter("by_path"), of_the_chapter("by_score")
    torch.manual_seed(0)
    weight = torch.randn(5, 2, dtype=torch.float64)
    model = LinearGaussian(weight, torch.zeros(5).double(), scale=0.5)
    x = torch.randn(1, 5, dtype=torch.float64)
    mu, sigma = torch.tensor([[0.3, -0.2], [0.5, 0.7]], dtype=torch.float64)
    torch.manual_seed(seed)
    leaves = [mu.clone().requires_grad_(), sigma.clone().requires_grad_()]
    kl = gaussian_kl(leaves[0], 2 * leaves[1].log()).sum()
    reconstruction = model.elbo(x, Independent(Normal(*leaves), 1)).sum() + kl
    exact = torch.stack(torch.autograd.grad(reconstruction, leaves))

    def f(z):
        return model.likelihood(z).log_prob(x)

    def off(g):
        return ((g.mean(0) - exact) / (g.std(0) / math.sqrt(COUNT))).abs().max()

    path = by_path(f, mu, sigma, COUNT)
    assert off(path) < 4.5
    others = f(mu + sigma * normal(1000, 2, seed=seed)).mean()  # draws of their own
    ratio = {}
    for constant in (-20.0, 0.0, 20.0):
        for baseline in (0.0, others + constant):
            g = by_score(lambda z, c=constant: f(z) + c, mu, sigma, COUNT, baseline)
            assert off(g) < 4.5
            ratio[constant, float(baseline) != 0] = g.var(0) / path.var(0)
    # Each of the four derivatives, as the ledger has it; with room for the noise of variances.
    for (constant, based), low, high in [
        ((0.0, False), 11.5, 25),
        ((-20.0, False), 28, 64),
        ((20.0, False), 3.5, 10),
        ((-20.0, True), 3.7, 10.5),
        ((0.0, True), 3.7, 10.5),
        ((20.0, True), 3.7, 10.5),
    ]:
        assert (ratio[constant, based] > low).all(), (constant, based)
        assert (ratio[constant, based] < high).all(), (constant, based)


# Would catch a function of the chapter that is not the package's estimator.
@pytest.mark.claim("gauss.gradient")
@pytest.mark.parametrize(("ours", "theirs"), [("by_path", pathwise), ("by_score", score_function)])
def test_the_chapters_estimators_are_those_of_the_package(ours, theirs):
    mu, sigma = normal(UNITS, seed=1), normal(UNITS, seed=2).exp()
    copies = torch.stack([mu, sigma]).expand(POINTS, 2, -1).clone().requires_grad_()
    law = Independent(Normal(copies[:, 0], copies[:, 1]), 1)

    def f(z):
        return z.square().sum(-1) - z.prod(-1)

    torch.manual_seed(3)
    expected = torch.autograd.grad(theirs(law, f, 1).sum(), copies)[0]
    torch.manual_seed(3)
    close(of_the_chapter(ours)(f, mu, sigma, POINTS), expected, 1e-10)


@pytest.mark.claim("gauss.gradient")
def test_on_a_wiggly_function_the_score_function_is_the_quieter_one():
    torch.manual_seed(0)
    mu, sigma = torch.zeros(1).double(), torch.ones(1).double()
    for estimator, exact in ((pathwise, 50.0), (score_function, 0.5)):
        g = one_draw_gradients(estimator, lambda z: torch.cos(10 * z[..., 0]), mu, sigma)[:, 0, 0]
        assert abs(g.mean()) < 4 * g.std() / math.sqrt(COUNT)
        assert abs(g.var() / exact - 1) < 0.03


# Would catch a trace that draws with sample(), which trains no encoder.
@pytest.mark.claim("gauss.no-gradient-through-sampling")
def test_sample_gives_the_encoder_no_gradient_but_for_the_closed_kl():
    vae = gaussian_vae()
    q = vae.encoder(X)
    z = q.sample()
    reconstruction = vae.decoder(z).log_prob(X).sum()
    assert all(g is None for g in gradients(reconstruction, vae.encoder))
    through = gradients(vae.trace(X).reconstruction.sum(), vae.encoder)
    assert all(g.abs().max() > 1e-3 for g in through)
    closed = gradients(
        kl_divergence(q, Independent(Normal(0 * z, 1 + 0 * z), 1)).sum(), vae.encoder
    )
    assert all(g.abs().max() > 1e-3 for g in closed)


@pytest.mark.claim("gauss.no-gradient-through-sampling")
def test_a_sampled_kl_through_sample_leaves_noise_of_mean_zero():
    torch.manual_seed(0)
    mu = torch.full((COUNT,), 0.8, dtype=torch.float64, requires_grad=True)
    q = Normal(mu, 0.5)
    z = q.sample()
    score = torch.autograd.grad((q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(), mu)[0]
    error = score.std() / math.sqrt(COUNT)
    assert abs(score.mean()) < 4 * error
    assert error < 0.8 / 20  # the true gradient, μ = 0.8, would show


@pytest.mark.claim("gauss.no-gradient-through-sampling")
def test_without_a_path_score_function_and_enumeration_agree():
    _, table = discrete(3)
    logits = table[0].log().requires_grad_()
    values = torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64)
    q = Categorical(logits=logits)
    with pytest.raises(NotImplementedError):
        pathwise(q, lambda z: values[z], 5)
    enumerated = torch.autograd.grad((q.probs * values).sum(), logits)[0]
    torch.manual_seed(0)
    copies = logits.detach().expand(COUNT, -1).clone().requires_grad_()
    drawn = score_function(Categorical(logits=copies), lambda z: values[z], 1)
    g = torch.autograd.grad(drawn.sum(), copies)[0]
    assert ((g.mean(0) - enumerated).abs() < 4 * g.std(0) / math.sqrt(COUNT)).all()


# --- the loop -------------------------------------------------------------------------------------


# Would catch a loop in the book that averages over pixels or units, or a fit that does.
@pytest.mark.claim("gauss.pseudocode")
def test_the_chapters_loop_takes_the_steps_of_fit():
    train_epoch, vae_loss = of_the_chapter("train_epoch"), of_the_chapter("vae_loss")
    theirs = gaussian_vae(scale=0.5)
    ours = copy.deepcopy(theirs)
    start = copy.deepcopy(theirs)
    x = normal(23, PIXELS, seed=4)
    torch.manual_seed(2)
    history = fit(theirs, x, elbo_analytic, epochs=1, batch_size=5, lr=1e-2)
    torch.manual_seed(2)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-2)
    loss = train_epoch(
        lambda x, eps: vae_loss(ours.encoder.net, ours.decoder.net, x, eps, 0.5),
        optimizer,
        x,
        UNITS,
        batch_size=5,
    )
    assert abs(constant(PIXELS, 0.5) - loss - history.objective[0]) < 1e-11
    for a, b, before in zip(
        ours.parameters(), theirs.parameters(), start.parameters(), strict=True
    ):
        close(a, b, 1e-9)
        assert (a - before).abs().max() > 1e-3  # five steps were taken


@pytest.mark.claim("gauss.pseudocode")
def test_with_plain_gradient_descent_the_sum_over_the_batch_is_a_larger_step():
    vae_loss = of_the_chapter("vae_loss")
    vae = gaussian_vae(scale=0.5)
    eps = normal(POINTS, UNITS, seed=6)
    before = [p.detach().clone() for p in vae.parameters()]
    vae_loss(vae.encoder.net, vae.decoder.net, X, eps, 0.5).backward()
    torch.optim.SGD(vae.parameters(), lr=1e-3).step()
    fresh = gaussian_vae(scale=0.5)
    mu, logvar = fresh.encoder.net(X).chunk(2, dim=-1)
    z = mu + (logvar / 2).exp() * eps
    summed = (X - fresh.decoder.net(z)).square().sum() / (2 * 0.5**2)
    summed = summed - 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()
    for p, start, g in zip(vae.parameters(), before, gradients(summed, fresh), strict=True):
        close((start - p) * POINTS, 1e-3 * g, 1e-10)


def chapters_functions(**names):
    """Functions of the chapter, without the cells around them, by name."""
    cells = nbformat.read(CHAPTER, nbformat.NO_CONVERT).cells
    trees = [ast.parse(c.source) for c in cells if c.cell_type == "code" and "%pip" not in c.source]
    found = {node.name: node for t in trees for node in t.body if isinstance(node, ast.FunctionDef)}
    scope = {"math": math, "nn": nn, "torch": torch, "F": F, "Normal": Normal, **names}
    scope |= {name: getattr(companion, name) for name in companion.__all__}
    for name in ("vae_loss", *found):  # the one that is a default comes first
        exec(compile(ast.Module([found[name]], []), str(CHAPTER), "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def chapter():
    pixels, label = data.digits()
    (train, _), (test, _) = data.split(pixels, label)
    return chapters_functions(train=train, test=test, energy_distance=energy_distance)


def trained(chapter, seed, loss, epochs=60):
    """The networks and the losses of the chapter's VAE, and the KL of held-out digits."""
    torch.manual_seed(seed)
    loss_of = chapter[loss] if isinstance(loss, str) else loss
    encoder, decoder, losses = chapter["train_vae"](8, 0.2, epochs, loss_of)
    return encoder, decoder, losses, chapter["held_out_kl"](encoder).item()


def loss_of_sampled_kl(encoder, decoder, x, eps, sigma):
    """The loss with `sample()` whose KL, too, is estimated from the draw."""
    mu, logvar = encoder(x).chunk(2, dim=-1)
    q = Normal(mu, torch.exp(0.5 * logvar))
    z = (q.mean + q.stddev * eps).detach()
    squares = (x - decoder(z)).square().sum() / (2 * sigma**2)
    return (squares + (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum()) / len(x)


# Would catch a z that still leads back to the encoder, and a text that calls both failures silent.
@pytest.mark.claim("gauss.no-gradient-through-sampling")
@pytest.mark.parametrize("seed", [2, 3])
def test_a_vae_that_trains_with_sample_fails_as_the_chapter_says(chapter, seed):
    *_, losses, kl = trained(chapter, seed, "vae_loss")
    assert losses[-1] < 30
    assert 8 < kl < 11
    # Silent: the loss falls, for the decoder learns the mean digit; no code is left.
    encoder, decoder, losses, kl = trained(chapter, seed, "loss_of_sample")
    assert 57 < losses[-1] < 61
    assert 124 < losses[0] < 136  # "from about 130"
    assert losses[14] < losses[-1] + 2  # nearly all of it before epoch 15
    assert kl < 0.05
    drawn = decoder(torch.randn(50, 8))
    assert (drawn - chapter["train"].mean(0)).abs().max() < 0.2
    assert chapter["scores"](encoder, decoder)[0].mean() < -13
    # Not silent: nothing holds the encoder, and the loss turns.
    *_, losses, kl = trained(chapter, seed, loss_of_sampled_kl)
    assert losses[-1] > 1.3 * min(losses)
    assert kl > 20


# Would catch curves that do not answer the questions of the exercise.
def test_the_averaged_loss_of_the_exercise_ends_at_the_variance_of_a_pixel(chapter):
    *_, losses, kl = trained(chapter, 4, "averaged_loss", epochs=30)
    variance = chapter["train"].var(0).mean()
    assert abs(losses[-1] / variance - 1) < 0.05
    assert variance.item() == pytest.approx(0.07, abs=0.01)
    assert kl < 0.05


def linear_vae(train, test, units):
    """Held-out log p(x) of probabilistic PCA, as a Gaussian in pixels."""
    covariance = torch.cov(train.double().mT, correction=0)
    eigenvalue, vector = torch.linalg.eigh(covariance)
    left = eigenvalue[:-units]
    wide = torch.cat([left.mean().expand_as(left), eigenvalue[-units:]])
    model = MultivariateNormal(train.double().mean(0), vector * wide @ vector.mT)
    return model.log_prob(test.double()).mean().item()


# Would catch a yardstick of another split, or a σ that is not the best one.
def test_the_linear_vaes_that_the_chapters_vae_is_measured_by(chapter):
    train, test = chapter["train"], chapter["test"]
    linear = {units: linear_vae(train, test, units) for units in (8, 16, 20)}
    assert linear == pytest.approx({8: 14.1, 16: 23.0, 20: 26.0}, abs=0.05)
    of_starts = []
    for seed in (2, 3):
        encoder, decoder, *_ = trained(chapter, seed, "vae_loss")
        of_starts.append(chapter["scores"](encoder, decoder)[1])
        assert linear[8] + 2 < of_starts[-1].mean() < linear[16] - 2
    assert (of_starts[0] - of_starts[1]).std() < 0.5 * of_starts[0].std()
    learned, watched = chapter["train_learned"](3)
    found = chapter["judged"](learned, watched[-1, 0])
    assert abs(found[0] - linear[20]) < 1
    assert watched[-1, 0] == pytest.approx(0.13, abs=0.01)


# Would catch a σ that stays where it starts, and samples that owe nothing to the way.
@pytest.mark.parametrize("seed", [3, 4])
def test_samples_are_nearer_where_sigma_came_down_to_its_value(chapter, seed):
    distance = {}
    for first in (0.13, 1.0):
        if first == 1:
            model = chapter["train_lowered"](seed)
        else:
            torch.manual_seed(seed)
            model = chapter["digit_vae"](8, first)
            fit(model, chapter["train"], elbo_analytic, epochs=50, lr=3e-3)
        assert model.decoder.scale == pytest.approx(0.13)
        distance[first] = chapter["judged"](model, 0.13)[1]
    assert distance[1.0] < 0.7 * distance[0.13]


# --- the weight β ---------------------------------------------------------------------------------


# Would catch β on the scale instead of the variance.
@pytest.mark.claim("gauss.beta-is-variance")
@pytest.mark.parametrize("beta", [0.3, 4.0])
def test_weight_beta_has_the_gradient_of_variance_beta_sigma_squared(beta):
    vae, wide = gaussian_vae(scale=0.5), gaussian_vae(scale=0.5 * math.sqrt(beta))
    wide.load_state_dict({**vae.state_dict(), "decoders.0.scale": wide.decoder.scale})
    torch.manual_seed(3)
    weighted = beta_elbo(vae, X, beta).mean() / beta
    torch.manual_seed(3)
    plain = elbo(wide, X).mean()
    for a, b in zip(gradients(weighted, vae), gradients(plain, wide), strict=True):
        close(a, b, 1e-11)
    difference = constant(PIXELS, 0.5) / beta - constant(PIXELS, 0.5 * math.sqrt(beta))
    close(weighted - plain, torch.tensor(difference, dtype=torch.float64), 1e-11)
    assert abs(difference) > 0.1


# The exact linear optimum of variance βσ² is stationary for weight β at σ².
@pytest.mark.claim("gauss.beta-is-variance")
def test_the_minimiser_of_the_wide_model_is_one_of_the_weighted_objective():
    beta, scale, d = 3.0, 0.4, 2
    eigenvalue = torch.tensor([4.0, 2.5, 0.9, 0.3], dtype=torch.float64)
    vector = torch.linalg.qr(normal(PIXELS, PIXELS, seed=9)).Q
    x = math.sqrt(PIXELS) * (vector * eigenvalue.sqrt()).mT  # mean x xᵀ is the covariance
    tau = beta * scale**2
    weight = vector[:, :d] * (eigenvalue[:d] - tau).sqrt()
    gain = weight / eigenvalue[:d]  # posterior mean of the wide model
    logvar = (tau / eigenvalue[:d]).log()
    leaves = [leaf.clone().requires_grad_() for leaf in (weight, gain, logvar)]
    mu = x @ leaves[1]
    spread = (leaves[2].exp() * leaves[0].square().sum(0)).sum()
    error = (x - mu @ leaves[0].mT).square().sum(-1).mean() + spread
    kl = gaussian_kl(mu, leaves[2].expand_as(mu)).sum(-1).mean()

    def size(value):
        gradient = torch.autograd.grad(value, leaves, retain_graph=True)
        return max(g.abs().max().item() for g in gradient)

    assert size(-error / (2 * scale**2) - beta * kl) < 1e-12
    assert size(-error / (2 * scale**2) - kl) > 1e-2  # and not of weight 1 at σ²


def best_weighted(eigenvalue, d, beta, variance):
    """Best β-objective of a linear VAE with fixed variance, for a column of variances."""
    pixels = len(eigenvalue)
    tau = beta * variance
    error = torch.minimum(eigenvalue[:d], tau).sum(1) + eigenvalue[d:].sum()
    kl = (0.5 * (eigenvalue[:d] / tau).log()).clamp(min=0).sum(1)
    v = variance[:, 0]
    return -pixels / 2 * (2 * math.pi * v).log() - error / (2 * v) - beta * kl


@pytest.mark.claim("gauss.beta-is-variance")
def test_a_learned_scale_is_no_change_of_variance():
    eigenvalue = torch.tensor([4.0, 2.5, 0.2, 0.15, 0.12, 0.1, 0.08], dtype=torch.float64)
    variance = torch.logspace(-3, 0, 100_001, dtype=torch.float64)[:, None]
    effective = {}
    for beta in (1.0, 2.0):
        found = variance[best_weighted(eigenvalue, 2, beta, variance).argmax(), 0]
        assert abs(found / (eigenvalue[2:].sum() / (7 - 2 * beta)) - 1) < 1e-3
        # (5.13) holds at any weight: the variance is the squared error of a pixel.
        error = eigenvalue[:2].clamp(max=beta * found).sum() + eigenvalue[2:].sum()
        assert abs(found / (error / 7) - 1) < 1e-3
        effective[beta] = beta * found
    assert effective[2.0] > 2 * effective[1.0]


@pytest.mark.claim("gauss.beta-is-variance")
def test_the_best_weighted_objective_of_a_linear_vae():
    # Of (5.18): the exact ELBO at weight 1 is the exact log-likelihood's mean.
    eigenvalue = torch.tensor([4.0, 2.5, 0.2, 0.15], dtype=torch.float64)
    scale = 0.5
    weight = torch.diag((eigenvalue - scale**2).clamp(min=0).sqrt())[:, :2]
    model = LinearGaussian(weight, torch.zeros(4).double(), scale)
    x = torch.diag((4 * eigenvalue).sqrt())
    found = best_weighted(eigenvalue, 2, 1.0, torch.tensor([[scale**2]]).double())
    close(found[0], model.log_marginal(x).mean())


@pytest.mark.claim("gauss.beta-is-variance")
def test_a_tempered_bernoulli_has_a_normaliser_that_moves():
    values = torch.tensor([0.0, 1.0], dtype=torch.float64)
    masses = [
        (Bernoulli(torch.tensor(lam).double()).log_prob(values) / 4).exp().sum()
        for lam in (0.5, 0.9)
    ]
    assert masses[0] - masses[1] > 0.1
    grid = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    step = grid[1] - grid[0]
    masses = [
        (Normal(mean, 0.7).log_prob(grid) / 4).exp().sum() * step
        for mean in torch.tensor([-1.0, 2.0], dtype=torch.float64)
    ]
    close(masses[0], masses[1])  # a Gaussian's does not


# --- binary pixels -------------------------------------------------------------------------------


@pytest.mark.claim("gauss.binary")
def test_the_binary_reconstruction_is_minus_the_cross_entropy():
    decoder = BernoulliConditional(mlp(UNITS, 6, PIXELS).double())
    z = normal(POINTS, UNITS, seed=1)
    bits = (X > 0).double()
    bce = F.binary_cross_entropy(decoder.net(z).sigmoid(), bits, reduction="none").sum(-1)
    close(decoder(z).log_prob(bits), -bce)
