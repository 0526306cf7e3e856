"""The package against pyro, scikit-learn and scipy, which were written by others."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.decomposition import PCA, FactorAnalysis
from toys import PIXELS, POINTS, SAMPLES, UNITS, bernoulli_vae, bits, gaussian_vae, normal

from companion import elbo, elbo_analytic, iwae_bound
from companion.exact import LinearGaussian, log_marginal_quadrature

OPTIONS = {"num_particles": SAMPLES, "vectorize_particles": True, "max_plate_nesting": 1}
LOSSES = {
    "elbo": (elbo, Trace_ELBO(**OPTIONS)),
    "elbo_analytic": (elbo_analytic, TraceMeanField_ELBO(**OPTIONS)),
    "iwae_bound": (iwae_bound, RenyiELBO(alpha=0, **OPTIONS)),
}


def gaussian_pair(vae):
    """Model and guide in pyro's own words; only the networks are shared."""

    def model(x):
        pyro.module("decoder", vae.decoder.net)
        with pyro.plate("data", len(x), dim=-1):
            prior = dist.Normal(torch.zeros(UNITS).double(), 1.0).to_event(1)
            z = pyro.sample("z", prior)
            p = dist.Normal(vae.decoder.net(z), vae.decoder.scale).to_event(1)
            pyro.sample("x", p, obs=x)

    return model, guide(vae)


def bernoulli_pair(vae):
    def model(x):
        pyro.module("decoder", vae.decoder.net)
        with pyro.plate("data", len(x), dim=-1):
            prior = dist.Normal(torch.zeros(UNITS).double(), 1.0).to_event(1)
            z = pyro.sample("z", prior)
            p = dist.Bernoulli(logits=vae.decoder.net(z)).to_event(1)
            pyro.sample("x", p, obs=x)

    return model, guide(vae)


def guide(vae):
    def q(x):
        pyro.module("encoder", vae.encoder.net)
        with pyro.plate("data", len(x), dim=-1):
            mu, logvar = vae.encoder.net(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, (0.5 * logvar).exp()).to_event(1))

    return q


@pytest.fixture(autouse=True)
def fresh_parameters():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("family", ["gaussian", "bernoulli"])
def test_bounds_and_gradients_are_pyros(name, family):
    # With the same noise both are the same function of the weights, so values and gradients agree
    # to rounding. Catches: signs, log K, averages over pixels, a detached encoder.
    bound, loss = LOSSES[name]
    if family == "gaussian":
        vae, x = gaussian_vae(), normal(POINTS, PIXELS, seed=31)
        model, q = gaussian_pair(vae)
    else:
        vae, x = bernoulli_vae(), bits(POINTS, PIXELS)
        model, q = bernoulli_pair(vae)
    torch.manual_seed(1)
    theirs = loss.loss_and_grads(model, q, x)
    their_gradients = [p.grad.clone() for p in vae.parameters()]
    vae.zero_grad()
    torch.manual_seed(1)
    ours = -bound(vae, x, SAMPLES).sum()
    ours.backward()
    assert ours.item() == pytest.approx(theirs, rel=1e-12)
    for parameter, gradient in zip(vae.parameters(), their_gradients, strict=True):
        assert gradient.abs().max() > 1e-6
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)


def test_pinned_draws_are_pyros():
    # The same comparison with z given rather than seeded: log p(x, z) and log q(z | x) apart.
    vae, x = gaussian_vae(), normal(POINTS, PIXELS, seed=31)
    model, q = gaussian_pair(vae)
    trace = vae.trace(x, 1)
    pinned = pyro.poutine.condition(model, {"z": trace.z[0][0]})
    joint = pyro.poutine.trace(pinned).get_trace(x).log_prob_sum()
    pinned = pyro.poutine.condition(q, {"z": trace.z[0][0]})
    density = pyro.poutine.trace(pinned).get_trace(x).log_prob_sum()
    assert trace.log_weight.sum().item() == pytest.approx((joint - density).item(), rel=1e-12)


@pytest.fixture
def table():
    """Correlated data: 61 rows of PIXELS columns."""
    return normal(61, UNITS, seed=1) @ normal(UNITS, PIXELS, seed=2) + 0.5 * normal(
        61, PIXELS, seed=3
    )


def test_linear_gaussian_scores_as_pca_does(table):
    pca = PCA(n_components=2).fit(table.numpy())
    spread = (pca.explained_variance_ - pca.noise_variance_) ** 0.5
    exact = LinearGaussian(
        torch.tensor(pca.components_.T * spread),
        torch.tensor(pca.mean_),
        float(pca.noise_variance_) ** 0.5,
    )
    theirs = torch.tensor(pca.score_samples(table.numpy()))
    torch.testing.assert_close(exact.marginal().log_prob(table), theirs, rtol=0, atol=1e-10)
    torch.testing.assert_close(exact.log_marginal(table), theirs, rtol=0, atol=1e-10)


def test_linear_gaussian_is_a_factor_analysis(table):
    # Its noise differs between columns; in units of that noise it is σ = 1.
    fa = FactorAnalysis(n_components=2, tol=1e-8, max_iter=5000).fit(table.numpy())
    noise = torch.tensor(fa.noise_variance_).sqrt()
    weight = torch.tensor(fa.components_).T / noise[:, None]
    exact = LinearGaussian(weight, torch.tensor(fa.mean_) / noise, 1.0)
    ours = exact.log_marginal(table / noise) - noise.log().sum()
    theirs = torch.tensor(fa.score_samples(table.numpy()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    means = torch.tensor(fa.transform(table.numpy()))
    torch.testing.assert_close(exact.posterior(table / noise).mean, means, rtol=0, atol=1e-10)


def test_quadrature_is_scipys():
    # A tanh decoder in one dimension has no closed form; scipy integrates it adaptively.
    vae = gaussian_vae(units=1, pixels=2)
    vae.decoder.net[1] = torch.nn.Tanh()
    x = normal(3, 2, seed=4)

    def joint(z, row):
        mean = vae.decoder.net(torch.tensor([z], dtype=torch.float64)).detach().numpy()
        return norm.pdf(z) * norm.pdf(row.numpy(), mean, float(vae.decoder.scale)).prod()

    for row, ours in zip(x, log_marginal_quadrature(vae, x), strict=True):
        theirs = sum(quad(joint, i, i + 1, args=(row,), epsabs=1e-13)[0] for i in range(-9, 9))
        assert ours.exp().item() == pytest.approx(theirs, rel=1e-10)
