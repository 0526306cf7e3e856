"""Everything works off the CPU: on a pretended device here, and on CUDA where there is one.

The pretended device (`far.py`) refuses to mix with tensors of the CPU, as an accelerator does.
Every public function that takes or makes tensors is called there, on models and data of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import matplotlib as mpl
import pytest
import torch
from far import FAR, Far, Pretend
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.utils.data import DataLoader, TensorDataset

import companion
from companion import data, diagnostics, diffusion, exact, plots
from companion.conditionals import GaussianPrior
from companion.train import rate_and_distortion

mpl.use("agg")

POINTS, PIXELS, UNITS, SAMPLES = 5, 4, 3, 7
DEVICES = [FAR] + [torch.device("cuda")] * torch.cuda.is_available()


@pytest.fixture(params=DEVICES, ids=lambda d: "pretended" if d == FAR else d.type)
def device(request) -> Iterator[torch.device]:
    with Pretend() if request.param == FAR else nullcontext():
        yield request.param


def vae(decoder: nn.Module | None = None) -> companion.VAE:
    return companion.VAE(
        companion.GaussianConditional(companion.mlp(PIXELS, 6, 2 * UNITS)),
        decoder or companion.GaussianConditional(companion.mlp(UNITS, 8, PIXELS), scale=0.7),
        companion.StandardNormal(UNITS),
    )


def conditional(*sizes: int, scale: float | None = None) -> companion.GaussianConditional:
    return companion.GaussianConditional(companion.mlp(*sizes), scale)


def hvae() -> companion.HVAE:
    encoders = [conditional(PIXELS, 2 * UNITS), conditional(UNITS, 2 * 2)]
    decoders = [conditional(UNITS, PIXELS, scale=0.7), conditional(2, 2 * UNITS)]
    return companion.HVAE(encoders, decoders, companion.StandardNormal(2))


def top_down() -> companion.TopDownHVAE:
    encoders = [conditional(6 + 2, 2 * UNITS), conditional(6, 2 * 2)]
    decoders = [conditional(UNITS, PIXELS, scale=0.7), conditional(2, 2 * UNITS)]
    prior, features = companion.StandardNormal(2), companion.mlp(PIXELS, 6)
    return companion.TopDownHVAE(encoders, decoders, prior, features)


def line() -> companion.VAE:
    """One latent unit, so that a grid holds it."""
    encoder, decoder = conditional(PIXELS, 2), conditional(1, PIXELS, scale=0.7)
    return companion.VAE(encoder, decoder, companion.StandardNormal(1))


SCHEDULE = diffusion.log_snr_schedule(6, 4.0, -4.0)


def noisy(reverse_variance: torch.Tensor | None = None) -> diffusion.Diffusion:
    net = companion.mlp(PIXELS + diffusion.TIME_FEATURES, 9, PIXELS)
    prior = companion.StandardNormal(PIXELS)
    net = net if reverse_variance is None else net.to(reverse_variance.device)
    denoiser = diffusion.NoiseDenoiser(net)
    return diffusion.Diffusion(
        SCHEDULE, denoiser, prior, scale=0.3, reverse_variance=reverse_variance
    )


def points(device: torch.device, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(*(shape or (POINTS, PIXELS)), generator=generator).to(device)


def ideal(device: torch.device) -> diffusion.GaussianDenoiser:
    return diffusion.GaussianDenoiser(points(device, 2), torch.eye(2).to(device))


def linear(device: torch.device) -> exact.LinearGaussian:
    return exact.LinearGaussian(points(device, PIXELS, UNITS), points(device, PIXELS), 0.6)


def discrete(device: torch.device) -> tuple[exact.DiscreteModel, torch.Tensor]:
    prior, table = points(device, 3).softmax(0), points(device, 3, 4).softmax(-1)
    return exact.DiscreteModel(prior, table), points(device, 4, 3).softmax(-1)


def step(device: torch.device, d: int, u: int) -> companion.LinearGaussianConditional:
    covariance = 0.5 * torch.eye(d).to(device)
    return companion.LinearGaussianConditional(points(device, d, u), points(device, d), covariance)


def chain(device: torch.device) -> exact.LinearGaussianChain:
    return exact.LinearGaussianChain([step(device, PIXELS, UNITS), step(device, UNITS, 2)])


def law(device: torch.device, d: int = 2) -> MultivariateNormal:
    return MultivariateNormal(points(device, d), torch.eye(d).to(device))


def codes(device: torch.device) -> Independent:
    return Independent(Normal(points(device, POINTS, 1), torch.ones(POINTS, 1).to(device)), 1)


def fitted(device: torch.device, x: object, model: nn.Module | None = None) -> list[float]:
    model = (model or vae()).to(device)
    watch = rate_and_distortion(points(device))
    history = companion.fit(model, x, epochs=2, batch_size=2, monitor=watch)
    return [*history.objective, *history.monitored["rate"]]


def exact_models(device: torch.device) -> list[torch.Tensor]:
    model, x = linear(device), points(device)
    q, table = model.posterior(x), discrete(device)
    tree, poor = chain(device), [step(device, UNITS, PIXELS), step(device, 2, UNITS)]
    whole = tree.joint()
    return [
        model.log_marginal(x), model.elbo(x, q), model.gap(x, q), model.prior().mean,
        model.likelihood(points(device, 6, UNITS)).mean, companion.elbo(model.vae(), x),
        table[0].elbo(table[1]), table[0].gap(table[1]), table[0].iwae_bound(table[1], 2),
        tree.log_marginal(x), tree.rates(x, poor), tree.closed_form_rates(law(device, 4), poor),
        tree.reconstruction(x, poor), companion.elbo(tree.hvae(), x),
        companion.elbo_analytic(tree.top_down_hvae(), x),
        whole.mutual_information([0], [1, 2]), whole.conditional(1, [0, 2]).weight,
    ]  # fmt: skip


def denoisers(device: torch.device) -> list[torch.Tensor]:
    z, log_snr = points(device, 5, 2), points(device, 5)
    gaussian, listed = ideal(device), diffusion.DataDenoiser(points(device, 6, 2))
    whole = diffusion.exact_gaussian_diffusion(SCHEDULE, gaussian)
    trace = whole.trace(z, 3)
    terms = diffusion.three_terms(whole, z, trace.z, SCHEDULE)
    t = torch.tensor([1, 3, 6, 2, 2]).to(device)
    wide = SCHEDULE.beta[1:].to(device)
    moved = diffusion.DataDenoiser(points(torch.device("cpu"), 6, 2)).to(device)
    schedule = diffusion.Schedule(SCHEDULE.log_snr.float().to(device))
    assert schedule.log_snr.device.type == "cpu"  # some devices have no float64
    return [
        gaussian(z, log_snr), listed(z, log_snr), diffusion.time_features(log_snr),
        gaussian.marginal(SCHEDULE, 3).mean, gaussian.reverse_covariance(SCHEDULE),
        trace.log_weight, terms.bound, *diffusion.alpha_sigma(log_snr),
        diffusion.forward_kernel(SCHEDULE, z, 0, t).sample(),
        diffusion.forward_marginal(SCHEDULE, z, t).mean,
        diffusion.reverse_posterior(SCHEDULE, z, z, 2, 5).mean,
        noisy().to(device).denoise(points(device), t), moved(z, log_snr),
        diffusion.forward_marginal(schedule, z, t).mean,
        *(p.scale_tril for p in gaussian.decoders(SCHEDULE, SCHEDULE.beta[1:])),
        companion.elbo(noisy(wide).to(device), points(device)),
    ]  # fmt: skip


def quadrature(device: torch.device) -> list[torch.Tensor]:
    model, x = line().to(device), points(device)
    z, log_p, log_cell = exact.posterior_on_grid(model, x, 201)
    return [
        exact.log_marginal_quadrature(model, x, 101),
        exact.elbo_quadrature(model, x, codes(device)),
        *exact.gaussian_floor(z, log_p), exact.kl_on_grid(log_p, log_p, log_cell),
        exact.latent_grid(2, 11, device=device)[0],
        exact.log_marginal_quadrature(exact.arch().to(device), points(device, 5, 2).double(), 51),
    ]  # fmt: skip


def optimal(device: torch.device) -> list[torch.Tensor]:
    x = points(device)
    model, encoder = exact.optimal_linear_vae(x, 2, scale=0.5)
    return [
        exact.optimal_decoder(codes(device), x, points(device, 6, 1)),
        companion.elbo(model.vae(encoder), x),
        exact.gaussian_joint(law(device), step(device, 3, 2)).mean,
        exact.chain_joint(law(device), [step(device, 3, 2)]).covariance,
        exact.Blocks(points(device, 2), torch.eye(2).to(device), [1, 1]).marginal(0).mean,
    ]


def diagnosed(device: torch.device) -> list[object]:
    model, tall, x = vae().to(device), hvae().to(device), points(device)
    q = model.encoder(x)
    norms = diagnostics.gradient_norms(tall, x)
    tall.encoders[0].requires_grad_(False)
    frozen = diagnostics.gradient_norms(tall, x)
    return [
        frozen.encoders, diagnostics.active_units(tall, x),
        diagnostics.active_units(tall, x, level=2), diagnostics.unit_rates(model, x),
        diagnostics.log_aggregate(q, points(device, 6, UNITS)), norms.encoders, norms.decoders,
        diagnostics.energy_distance(x, x + 1), diagnostics.nearest_distance(x, x),
        diagnostics.sharpness(x), diagnostics.effective_sample_size(points(device, 6, 5)),
        diagnostics.mutual_information_gap(points(device, 40, 2), points(device, 40, 3)),
        *(e.mean for e in diagnostics.level_rates(tall, x)),
        diagnostics.mutual_information(top_down().to(device), x).mean,
        diagnostics.elbo_surgery(model, x).marginal_kl.mean,
    ]  # fmt: skip


def conditionals(device: torch.device) -> list[torch.Tensor]:
    z = points(device, 6, 5, UNITS)
    each = [
        conditional(UNITS, PIXELS, scale=0.5),
        companion.BernoulliConditional(companion.mlp(UNITS, PIXELS)),
        companion.AutoregressiveConditional(UNITS, PIXELS, 8, context=2),
        step(torch.device("cpu"), PIXELS, UNITS),
    ]
    drawn = [c.to(device)(z).sample() for c in each]
    prior = GaussianPrior(torch.zeros(2), torch.eye(2)).to(device)
    q = Normal(points(device, 5), torch.ones(5).to(device))
    return [
        *drawn, prior().sample(), vae().to(device).prior().expand((2,)).sample(),
        companion.per_row(nn.Linear(3, 2).to(device), z),
        companion.gaussian_kl(z, z), companion.pathwise(q, torch.sin, 9),
        companion.score_function(q, torch.sin, 9),
    ]  # fmt: skip


def ensemble(device: torch.device) -> list[torch.Tensor]:
    members = companion.Ensemble([vae(), vae()]).to(device)
    objective = members.objective(companion.beta_elbo, [0.5, 2.0])
    companion.fit(members, points(device), objective, epochs=1)
    return [
        members.evaluate(companion.beta_elbo, points(device), [1.0, 1.0]),
        *(companion.elbo(each, points(device)) for each in members.members()),
    ]


def trained_by_hand(device: torch.device) -> float:
    model = vae().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    return companion.train_epoch(model, points(device).split(2), companion.elbo, optimizer)


def stored(device: torch.device, path: object) -> torch.Tensor:
    model, other = noisy().to(device), noisy()
    companion.save_weights(model, path)
    # Torch copies nothing onto the name that the pretended device has: it is read here, then moved.
    companion.load_weights(other if device == FAR else other.to(device), path)
    return companion.elbo(other.to(device), points(device))


def pictures(device: torch.device) -> list[torch.Tensor]:
    x, factors = data.sprites(5, size=8)
    drawn, seen = data.draw_sprites(factors.to(device), size=8), data.scenes(5)[1].to(device)
    plots.images(mpl.figure.Figure().subplots(), drawn, columns=2)
    torch.testing.assert_close(drawn.cpu(), x)  # another processor rounds otherwise
    if device != FAR:  # no generator can be made there
        assert data.binarise(drawn).device.type == device.type
    (train,), (test,) = data.split(drawn)
    tree = data.tree_centres().to(device)
    return [
        drawn, train, test, data.draw_scenes(seen), data.tree_labels(tree),
        data.tree_log_density(tree),
    ]  # fmt: skip


def autoencoder() -> companion.Autoencoder:
    decoder = companion.GaussianConditional(companion.mlp(UNITS, PIXELS), 0.5)
    return companion.Autoencoder(companion.mlp(PIXELS, UNITS), decoder)


MODELS = {"vae": vae, "hvae": hvae, "top-down": top_down, "diffusion": noisy}
OBJECTIVES: dict[str, Callable[..., torch.Tensor]] = {
    "elbo": lambda m, x: companion.elbo(m, x, 2),
    "beta_elbo": lambda m, x: companion.beta_elbo(m, x, 2.0),
    "free_bits_elbo": lambda m, x: companion.free_bits_elbo(m, x, 1.0),
    "iwae_bound": lambda m, x: companion.iwae_bound(m, x, SAMPLES),
    "log_marginal": lambda m, x: companion.log_marginal(m, x, 10, chunk_size=4),
}
CALLS: dict[str, Callable[[torch.device], object]] = {
    "exact models": exact_models,
    "denoisers": denoisers,
    "quadrature": quadrature,
    "optimal": optimal,
    "diagnostics": diagnosed,
    "conditionals": conditionals,
    "ensemble": ensemble,
    "pictures": pictures,
    "fit a tensor": lambda d: fitted(d, points(d)),
    "fit a tensor of the CPU": lambda d: fitted(d, points(torch.device("cpu"))),
    "fit a data set": lambda d: fitted(d, TensorDataset(points(d), torch.zeros(POINTS).to(d))),
    "fit a loader": lambda d: fitted(
        d, DataLoader(TensorDataset(points(torch.device("cpu"))), batch_size=2)
    ),
    "train_epoch": trained_by_hand,
    "elbo_analytic, VAE": lambda d: companion.elbo_analytic(vae().to(d), points(d)),
    "elbo_analytic, top-down": lambda d: companion.elbo_analytic(top_down().to(d), points(d)),
    "Autoencoder": lambda d: autoencoder().to(d)(points(d)),
    "log_reconstruction": lambda d: companion.log_reconstruction(autoencoder().to(d), points(d)),
    "diffusion_elbo": lambda d: diffusion.diffusion_elbo(noisy().to(d), points(d)),
    "one_level_elbo": lambda d: diffusion.one_level_elbo(noisy().to(d), points(d)),
    "simple_loss": lambda d: diffusion.simple_loss(noisy().to(d), points(d)),
    "draw_levels": lambda d: list(diffusion.draw_levels(SCHEDULE, points(d), 3)),
}


def check(found: object, device: torch.device) -> None:
    """What was computed from tensors of the device stands there, and is finite."""
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, torch.Tensor):
            assert each.device.type == device.type
            assert isinstance(each, Far) or device != FAR
            assert torch.isfinite(each).all()


def test_the_pretended_device_refuses_to_mix():
    # Otherwise the rest of this file proves nothing.
    with Pretend():
        there, here = torch.ones(3, device=FAR), torch.ones(3)
        assert isinstance(there + 1, Far)
        assert isinstance(there + torch.tensor(2.0), Far)
        assert isinstance(there[torch.tensor([0, 2])], Far)
        assert (there.sum() + there.to("cpu").sum()).item() == 6
        one = torch.zeros(())
        for mix in (
            lambda: there + here,
            lambda: torch.cat([here, there]),
            lambda: torch.stack([there[0], one]),
            lambda: here @ there,
            lambda: there.long().index_put_((torch.tensor([0]),), torch.tensor([3])),
            lambda: torch.bernoulli(0 * there, generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="mixes devices"):
                mix()
        with pytest.raises(RuntimeError, match="mixes devices"):
            there[torch.tensor([0, 2]).to(FAR)] + here[:2]
        with pytest.raises(TypeError, match="x must be"):
            companion.elbo(vae().to(FAR), torch.zeros(POINTS, PIXELS))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", MODELS)
def test_objectives_and_their_gradients(device, model, objective):
    made = MODELS[model]().to(device)
    values = OBJECTIVES[objective](made, points(device))
    assert values.shape == (POINTS,)
    check(values, device)
    if objective != "log_marginal":
        values.mean().backward()
        check([p.grad for p in made.parameters() if p.grad is not None], device)


@pytest.mark.parametrize("model", MODELS)
def test_sampling(device, model):
    made = MODELS[model]().to(device)
    check([made.sample(3), *made.descend(made.prior().sample((2,)))], device)


@pytest.mark.parametrize("call", CALLS)
def test_public_functions(device, call):
    check(CALLS[call](device), device)


def test_weights_go_to_a_file_and_back(device, tmp_path):
    check(stored(device, tmp_path / "weights.safetensors"), device)


def test_numbers_do_not_depend_on_the_device(device):
    # With the same noise. On CUDA draws come from another generator, so only deterministic parts.
    torch.manual_seed(0)
    here = vae()
    torch.manual_seed(0)
    there = vae().to(device)
    x = points(torch.device("cpu"))
    q = there.encoder(x.to(device))
    torch.testing.assert_close(q.mean.cpu(), here.encoder(x).mean)
    torch.testing.assert_close(
        there.decoder(q.mean).log_prob(x.to(device)).cpu(),
        here.decoder(here.encoder(x).mean).log_prob(x),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


# What takes and makes no tensor of data: sizes, settings, numbers.
WITHOUT_TENSORS = {
    *("BOOK", "Trace", "LatentVariableModel", "linear_warm_up", "Estimate", "GradientNorms"),
    *("Surgery", "ThreeTerms", "Schedule", "cosine_schedule", "linear_schedule", "digits", "mnist"),
    *("posterior_variance", "forward_coefficients", "reverse_coefficients", "forward_steps"),
    *("moons", "pinwheel", "tree"),
}


def test_no_public_function_is_left_out():
    with open(__file__, encoding="utf-8") as file:
        source = file.read()
    names = [*companion.__all__, *exact.__all__, *diffusion.__all__, *diagnostics.__all__]
    names += data.__all__
    used = {n for n in names if f".{n}(" in source or f".{n}," in source or f".{n} " in source}
    assert set(names) - used - WITHOUT_TENSORS - {"TIME_FEATURES"} == set()
