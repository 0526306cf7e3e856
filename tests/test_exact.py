"""The exact models against sums and integrals done another way."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from toys import (
    PIXELS,
    POINTS,
    UNITS,
    bernoulli_vae,
    bits,
    discrete,
    gaussian_vae,
    gaussians,
    linear_gaussian,
    normal,
)

from companion import (
    VAE,
    BernoulliConditional,
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
    gaussian_joint,
    latent_grid,
    log_marginal_quadrature,
    optimal_decoder,
    optimal_linear_vae,
)

X = normal(POINTS, PIXELS, seed=21)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def test_joint_density_factorises_both_ways():
    # p(z) p(x|z) = p(x) p(z|x) at any z: ties prior, likelihood, marginal and posterior together.
    exact = linear_gaussian(1)
    z = normal(POINTS, UNITS, seed=1)
    forward = exact.prior().log_prob(z) + exact.likelihood(z).log_prob(X)
    backward = exact.log_marginal(X) + exact.posterior(X).log_prob(z)
    torch.testing.assert_close(forward, backward, **CLOSE)


def test_linear_gaussian_parts_by_hand():
    exact = linear_gaussian(1)
    z = normal(POINTS, UNITS, seed=1)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    mean = torch.stack([exact.weight @ row + exact.bias for row in z])
    likelihood = Normal(mean, exact.scale).log_prob(X).sum(-1)
    torch.testing.assert_close(exact.prior().log_prob(z), prior, **CLOSE)
    torch.testing.assert_close(exact.likelihood(z).log_prob(X), likelihood, **CLOSE)
    # The joint is Gaussian: condition it by the textbook formula.
    w, identity = exact.weight, torch.eye(PIXELS, dtype=torch.float64)
    gain = w.T @ torch.linalg.inv(w @ w.T + exact.scale**2 * identity)
    torch.testing.assert_close(exact.posterior(X).mean, (X - exact.bias) @ gain.T, **CLOSE)
    covariance = torch.eye(UNITS).double() - gain @ w
    torch.testing.assert_close(exact.posterior(X).covariance_matrix[0], covariance, **CLOSE)


def test_exact_elbo_of_a_gaussian_q():
    # log p(x) − KL, with torch's KL: another formula than the one in the package.
    exact = linear_gaussian(1)
    q = gaussians(2)
    expected = exact.log_marginal(X) - kl_divergence(q, exact.posterior(X))
    torch.testing.assert_close(exact.elbo(X, q), expected, **CLOSE)
    diagonal = Independent(Normal(q.mean, q.variance.sqrt()), 1)
    same = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    torch.testing.assert_close(exact.elbo(X, diagonal), exact.elbo(X, same), **CLOSE)
    shared = MultivariateNormal(q.mean[0], q.covariance_matrix[0])
    torch.testing.assert_close(exact.elbo(X, shared)[0], exact.elbo(X, q)[0], **CLOSE)


def test_linear_gaussian_as_a_vae_is_the_same_model():
    # Catches: a scale rounded to float32 on the way (8 digits instead of 16).
    exact = linear_gaussian(1)
    vae = exact.vae()
    z = normal(POINTS, UNITS, seed=1)
    torch.testing.assert_close(
        vae.decoder(z).log_prob(X), exact.likelihood(z).log_prob(X), rtol=1e-14, atol=1e-13
    )
    torch.testing.assert_close(vae.encoder(X).log_prob(z), exact.posterior(X).log_prob(z), **CLOSE)
    assert {p.shape for p in vae.parameters()} == {(PIXELS, UNITS), (PIXELS,)}


def test_vae_of_an_exact_model_does_not_share_its_weights():
    exact = linear_gaussian(1)
    before = exact.weight.clone()
    with torch.no_grad():
        exact.vae().decoder.net.weight.zero_()
    assert torch.equal(exact.weight, before)


def test_linear_gaussian_by_quadrature():
    # The integral itself, in one and two dimensions.
    for units in (1, 2):
        exact = linear_gaussian(5, pixels=3, units=units)
        x = normal(POINTS, 3, seed=2)
        found = log_marginal_quadrature(exact.vae(), x, num_points=401, bound=9.0)
        torch.testing.assert_close(found, exact.log_marginal(x), rtol=1e-11, atol=1e-11)


def test_quadrature_carries_no_gradient():
    # Catches: a figure that cannot draw the result of a model with weights.
    assert not log_marginal_quadrature(gaussian_vae(units=1), X).requires_grad


def test_quadrature_ignores_the_encoder():
    vaes = [gaussian_vae(seed=0, units=1), gaussian_vae(seed=1, units=1)]
    vaes[1].decoder.load_state_dict(vaes[0].decoder.state_dict())
    first, second = (log_marginal_quadrature(vae, X) for vae in vaes)
    assert torch.equal(first, second)


def test_quadrature_of_a_bernoulli_model_sums_to_one():
    # Over all 2^D pictures the marginal is a distribution.
    vae = bernoulli_vae(units=2)
    pictures = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * PIXELS)
    total = log_marginal_quadrature(vae, pictures, num_points=201).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_quadrature_in_pieces_is_the_quadrature(monkeypatch):
    # Catches: a piece of the grid lost or counted twice.
    vae = gaussian_vae(units=2)
    whole = log_marginal_quadrature(vae, X, num_points=101)
    monkeypatch.setattr("companion.exact.quadrature.GRID_NUMBERS", 977 * X.numel())
    torch.testing.assert_close(log_marginal_quadrature(vae, X, num_points=101), whole, **CLOSE)


def test_quadrature_converges():
    vae = gaussian_vae(units=1)
    coarse, fine = (log_marginal_quadrature(vae, X, num_points=n) for n in (501, 4001))
    torch.testing.assert_close(coarse, fine, **CLOSE)


def test_grid_integrates_the_prior_to_one():
    for d in (1, 2):
        grid, log_cell = latent_grid(d, 301)
        density = StandardNormal(d).double()().log_prob(grid)
        assert (density.logsumexp(0) + log_cell).item() == pytest.approx(0, abs=1e-12)
    assert latent_grid(1, 5, 2.0)[0].flatten().tolist() == [-2, -1, 0, 1, 2]


def test_discrete_parts_by_hand():
    model, q = discrete(1)
    prior, likelihood = model.prior.tolist(), model.likelihood.tolist()
    for x in range(len(q)):
        joint = [p * row[x] for p, row in zip(prior, likelihood, strict=True)]
        marginal = sum(joint)
        row = q[x].tolist()
        pairs = list(zip(row, joint, prior, strict=True))
        close = {"rel": 1e-12}
        assert model.log_marginal()[x].item() == pytest.approx(math.log(marginal), **close)
        assert model.posterior()[x].tolist() == pytest.approx([j / marginal for j in joint])
        assert model.log_joint()[x].exp().tolist() == pytest.approx(joint, **close)
        reconstruction = sum(p * math.log(j / r) for p, j, r in pairs)
        rate = sum(p * math.log(p / r) for p, _, r in pairs)
        gap = sum(p * math.log(p * marginal / j) for p, j, _ in pairs)
        assert model.reconstruction(q)[x].item() == pytest.approx(reconstruction, **close)
        assert model.rate(q)[x].item() == pytest.approx(rate, **close)
        assert model.elbo(q)[x].item() == pytest.approx(reconstruction - rate, **close)
        assert model.gap(q)[x].item() == pytest.approx(gap, **close)


def test_discrete_marginal_is_a_distribution():
    model, _ = discrete(2)
    assert model.log_marginal().exp().sum().item() == pytest.approx(1, abs=1e-14)
    assert torch.allclose(model.posterior().sum(-1), torch.ones(4).double())


def test_discrete_tables_with_zeros():
    # 0 log 0 = 0; and a q that puts mass where the model has none has ELBO −∞.
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    model = DiscreteModel(half, torch.eye(2, dtype=torch.float64))
    posterior = model.posterior()
    assert torch.equal(posterior, torch.eye(2).double())
    for value in (model.elbo(posterior), model.iwae_bound(posterior, 3), model.log_marginal()):
        torch.testing.assert_close(value, half.log(), **CLOSE)
    assert torch.equal(model.gap(posterior), torch.zeros(2).double())
    assert torch.isneginf(model.elbo(half.expand(2, 2))).all()
    # A q that misses half the posterior: constant weights, below log p(x).
    blunt = DiscreteModel(half, half.expand(2, 2).clone())
    missing = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    torch.testing.assert_close(
        blunt.iwae_bound(missing, 5), torch.full((2,), math.log(0.25)).double()
    )


def test_discrete_elbo_can_be_differentiated():
    model, q = discrete(1)
    logits = q.log().requires_grad_()
    value = model.elbo(logits.softmax(-1)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    step = 1e-6 * normal(*logits.shape, seed=3)
    after = model.elbo((logits + step).softmax(-1)).sum()
    before = model.elbo((logits - step).softmax(-1)).sum()
    slope = (gradient * step).sum().item()
    assert ((after - before) / 2).item() == pytest.approx(slope, rel=1e-6)


def test_float32_models_work_too():
    exact = LinearGaussian(torch.ones(3, 2), torch.zeros(3), 0.5)
    x = torch.ones(4, 3)
    value = exact.vae().trace(x).log_weight[0]
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact.log_marginal(x), rtol=1e-5, atol=1e-5)


def test_quadrature_of_float32_models():
    vae = VAE(GaussianConditional(mlp(4, 2)), BernoulliConditional(mlp(1, 4)), StandardNormal(1))
    value = log_marginal_quadrature(vae, bits(POINTS, 4).float())
    assert value.shape == (POINTS,)
    assert value.isfinite().all()


def test_gap_is_the_kl_to_the_posterior():
    exact, q = linear_gaussian(1), gaussians(2)
    torch.testing.assert_close(
        exact.gap(X, q), kl_divergence(q, exact.posterior(X)), rtol=1e-12, atol=1e-12
    )
    diagonal = Independent(Normal(q.mean, q.variance.sqrt()), 1)
    gap = exact.log_marginal(X) - exact.elbo(X, diagonal)
    torch.testing.assert_close(exact.gap(X, diagonal), gap, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_optimal_linear_vae_cannot_be_improved(beta):
    # The exact mean β-ELBO has no slope there, and falls in every direction that is tried.
    torch.manual_seed(0)
    x = normal(40, PIXELS, seed=1) * torch.tensor([3.0, 1.5, 0.8, 0.1])
    model, encoder = optimal_linear_vae(x, UNITS, scale=0.6, beta=beta)

    def objective(weight, bias, gain, offset, log_scale):
        decoder = LinearGaussian(weight, bias, 0.6)
        covariance = torch.diag_embed((2 * log_scale).exp()).expand(len(x), -1, -1)
        mean = x @ gain.mT + offset
        q = MultivariateNormal(mean, covariance)
        prior = MultivariateNormal(torch.zeros(UNITS).double(), torch.eye(UNITS).double())
        rate = kl_divergence(q, prior)
        return (decoder.elbo(x, q) + (1 - beta) * rate).mean()

    # The optimal posterior is diagonal: the columns of W are orthogonal.
    covariance = encoder.scale_tril @ encoder.scale_tril.mT
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-12
    best = (model.weight, model.bias, encoder.weight, encoder.bias, covariance.diag().log() / 2)
    best = tuple(part.clone().requires_grad_() for part in best)
    value = objective(*best)
    for gradient in torch.autograd.grad(value, best):
        assert gradient.abs().max() < 1e-10
    for seed in range(20):
        for size in (0.01, 0.3):
            moved = [p + size * normal(*p.shape, seed=seed + i) for i, p in enumerate(best)]
            assert objective(*moved) < value


def test_optimal_linear_vae_is_principal_components():
    # At β = 1 the encoder is the posterior, rates are ½ log λ/σ², and small directions collapse.
    x = normal(200, PIXELS, seed=1) * torch.tensor([3.0, 1.5, 0.8, 0.1])
    model, encoder = optimal_linear_vae(x, UNITS, scale=1.0)
    torch.testing.assert_close(encoder(x).mean, model.posterior(x).mean, rtol=1e-10, atol=1e-10)
    values = torch.linalg.eigvalsh(torch.cov(x.mT, correction=0)).flip(0)
    rates = kl_divergence(Normal(encoder(x).mean, encoder(x).stddev), Normal(0.0, 1.0)).mean(0)
    expected = (0.5 * values[:UNITS].log()).clamp(min=0)
    torch.testing.assert_close(rates, expected, rtol=1e-10, atol=1e-10)
    assert expected[0] > 0.5
    assert expected[2] == 0


def test_joint_of_linear_gaussians():
    # The joint density is the product of marginal and conditional, at any point.
    u, weight, bias = gaussians(1, 1, 3), normal(2, 3, seed=2), normal(2, seed=3)
    marginal = MultivariateNormal(u.mean[0], u.covariance_matrix[0])
    conditional = LinearGaussianConditional(weight, bias, gaussians(4, 1, 2).covariance_matrix[0])
    a, b = normal(POINTS, 3, seed=5), normal(POINTS, 2, seed=6)
    joint = gaussian_joint(marginal, conditional)
    product = marginal.log_prob(a) + conditional(a).log_prob(b)
    torch.testing.assert_close(joint.log_prob(torch.cat([a, b], 1)), product, **CLOSE)


def test_elbo_by_quadrature():
    # Against the closed form, with a batch axis in front, and its gradient.
    for units in (1, 2):
        exact = linear_gaussian(5, pixels=3, units=units)
        x = normal(POINTS, 3, seed=2)
        mean = normal(2, POINTS, units, seed=3).requires_grad_()
        scale = normal(2, POINTS, units, seed=4).exp()
        found = elbo_quadrature(exact.vae(), x, Independent(Normal(mean, scale), 1))
        truth = torch.stack(
            [exact.elbo(x, Independent(Normal(mean[i], scale[i]), 1)) for i in range(2)]
        )
        torch.testing.assert_close(found, truth, rtol=1e-11, atol=1e-11)
        slopes = [torch.autograd.grad(value.sum(), mean)[0] for value in (found, truth)]
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-9)


def test_arch_follows_its_formula_and_has_two_peaks():
    z = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    x1 = 1.2 * z.tanh()
    x2 = 1.5 * ((z + 1.2).tanh() - (z - 1.2).tanh()) - 1
    model = arch(scale=0.3)
    torch.testing.assert_close(model.decoder(z).mean, torch.cat([x1, x2], 1), **CLOSE)
    assert model.decoder(z).stddev.unique().item() == 0.3
    # Between the legs: low density in the middle, two maxima beside it.
    between = torch.tensor([[0.0, -0.8]], dtype=torch.float64)
    joint = (model.decoder(z).log_prob(between) + model.prior().log_prob(z)).exp()
    rise = joint.diff().sign()
    assert (rise.diff() < 0).sum() == 2


# Would catch weights that are not normalised, normalised over z, or taken from the wrong rows.
def test_optimal_decoder_is_the_weighted_mean():
    x, q = normal(POINTS, PIXELS, seed=41), gaussian_vae().encoder(normal(POINTS, PIXELS, seed=42))
    z = normal(7, UNITS, seed=43)
    expected = torch.zeros(7, PIXELS, dtype=torch.float64)
    for m in range(7):
        weight = [
            math.exp(sum(Normal(q.mean[n], q.stddev[n]).log_prob(z[m]).tolist()))
            for n in range(POINTS)
        ]
        for n in range(POINTS):
            expected[m] += weight[n] / math.fsum(weight) * x[n]
    found = optimal_decoder(q, x, z)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not found.requires_grad


# Would catch a last chunk that is lost, and weights shared between chunks.
@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_optimal_decoder_in_chunks(chunk_size):
    q, z = gaussian_vae().encoder(X), normal(7, UNITS, seed=44)
    whole = optimal_decoder(q, X, z)
    torch.testing.assert_close(optimal_decoder(q, X, z, chunk_size), whole, **CLOSE)


# Would catch densities that are divided after they have underflowed to zero.
def test_optimal_decoder_far_from_every_code():
    q = Independent(Normal(torch.tensor([[0.0], [1.0], [3.0]]), torch.full((3, 1), 0.01)), 1)
    x = torch.eye(3)[:, :2]
    z = torch.tensor([[-40.0], [40.0]])
    torch.testing.assert_close(optimal_decoder(q, x, z), x[[0, 2]])


# E[x | z] of a linear Gaussian is known: with dense data the sum is an integral.
def test_optimal_decoder_of_gaussian_data():
    x = Normal(0.0, 1.0).icdf((torch.arange(20_000).double() + 0.5) / 20_000)[:, None]
    q = Independent(Normal(0.8 * x, torch.full_like(x, 0.6)), 1)
    z = torch.tensor([[-2.0], [0.3], [1.5]], dtype=torch.float64)
    torch.testing.assert_close(optimal_decoder(q, x, z), 0.8 * z, rtol=0, atol=1e-4)
