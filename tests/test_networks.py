"""Any network and a reader's own conditionals go wherever the book's own go."""

import copy

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Normal,
)
from toys import normal

from companion import (
    HVAE,
    VAE,
    BernoulliConditional,
    Ensemble,
    GaussianConditional,
    StandardNormal,
    TopDownHVAE,
    beta_elbo,
    elbo,
    elbo_analytic,
    fit,
    free_bits_elbo,
    iwae_bound,
    load_weights,
    log_marginal,
    mlp,
    per_row,
    save_weights,
)
from companion.diagnostics import (
    active_units,
    elbo_surgery,
    gradient_norms,
    level_rates,
    mutual_information,
    unit_rates,
)

PIXELS, UNITS, TOP, SAMPLES = 16, 3, 2, 7
X = normal(11, PIXELS, seed=61).float()


# Networks. Each maps (rows, size) to (rows, out).


def batch_norm(size, out):
    return nn.Sequential(nn.Linear(size, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, out))


def convolution(size, out):
    """Pictures of 4 × 4 where there are so many numbers, else a row of them."""
    if size == PIXELS:
        shape, conv = (1, 4, 4), nn.Conv2d(1, 2, 3, padding=1)
    else:
        shape, conv = (1, size, 1), nn.Conv2d(1, 2, (1, 1))
    layers = [nn.Unflatten(1, shape), conv, nn.SiLU(), nn.Flatten(), nn.Linear(2 * size, out)]
    return nn.Sequential(*layers)


def transposed(size, out):
    """From a code up to a picture, as decoders of images go."""
    if out != PIXELS:
        return mlp(size, 6, out)
    up = nn.ConvTranspose2d(2, 1, 2, stride=2)
    return nn.Sequential(nn.Linear(size, 8), nn.Unflatten(1, (2, 2, 2)), up, nn.Flatten())


def dropout(size, out):
    return nn.Sequential(nn.Linear(size, 6), nn.Dropout(0.4), nn.SiLU(), nn.Linear(6, out))


def layer_norm(size, out):
    return nn.Sequential(nn.Linear(size, 6), nn.LayerNorm(6), nn.SiLU(), nn.Linear(6, out))


class Residual(nn.Module):
    """A network in which the input skips the middle, and a buffer counts the calls."""

    def __init__(self, size, out):
        super().__init__()
        self.one, self.other = nn.Linear(size, 6), nn.Linear(6 + size, out)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, u):
        assert u.dim() == 2, "a network sees rows"
        return self.other(torch.cat([self.one(u).tanh(), u], dim=1))


NETWORKS = {
    "batch norm": batch_norm,
    "convolution": convolution,
    "transposed": transposed,
    "dropout": dropout,
    "layer norm": layer_norm,
    "residual": Residual,
}


# A reader's own conditionals.


class Softplus(nn.Module):
    """torch's own Normal, its scale by softplus, its arguments checked."""

    def __init__(self, size, out):
        super().__init__()
        self.net = mlp(size, 6, 2 * out)

    def forward(self, *given):
        mean, raw = per_row(self.net, *given).chunk(2, dim=-1)
        return Independent(Normal(mean, nn.functional.softplus(raw) + 1e-4), 1)


class Mixture(nn.Module):
    """Each row one of four Gaussians."""

    def __init__(self, size, out):
        super().__init__()
        self.weights = nn.Linear(size, 4)
        self.means = nn.Sequential(nn.Linear(size, 4 * out), nn.Unflatten(-1, (4, out)))

    def forward(self, *given):
        means = per_row(self.means, *given)
        parts = Independent(Normal(means, torch.ones_like(means)), 1)
        return MixtureSameFamily(Categorical(logits=per_row(self.weights, *given)), parts)


class LowRank(nn.Module):
    """A covariance of a diagonal and one direction."""

    def __init__(self, size, out):
        super().__init__()
        self.net = mlp(size, 6, 3 * out)

    def forward(self, *given):
        mean, factor, raw = per_row(self.net, *given).chunk(3, dim=-1)
        diagonal = nn.functional.softplus(raw) + 1e-2
        return LowRankMultivariateNormal(mean, factor[..., None], diagonal)


def network_parts(name):
    net = NETWORKS[name]
    return (
        lambda size, out: GaussianConditional(net(size, 2 * out)),
        lambda size, out: GaussianConditional(net(size, out), scale=0.7),
    )


PARTS = {
    **{name: network_parts(name) for name in NETWORKS},
    "softplus": (Softplus, Softplus),
    "mixture decoder": (Softplus, Mixture),
    "low-rank decoder": (network_parts("layer norm")[0], LowRank),
    "low-rank encoder": (LowRank, network_parts("layer norm")[1]),
}


def build(name, shape, seed=0):
    torch.manual_seed(seed)
    encoder, decoder = PARTS[name]
    inner = encoder if name not in ("low-rank encoder",) else Softplus
    if shape == "VAE":
        return VAE(encoder(PIXELS, UNITS), decoder(UNITS, PIXELS), StandardNormal(UNITS))
    decoders = [decoder(UNITS, PIXELS), inner(TOP, UNITS)]
    if shape == "HVAE":
        encoders = [encoder(PIXELS, UNITS), encoder(UNITS, TOP)]
        return HVAE(encoders, decoders, StandardNormal(TOP))
    encoders = [encoder(PIXELS + TOP, UNITS), encoder(PIXELS, TOP)]
    return TopDownHVAE(encoders, decoders, StandardNormal(TOP))


every_model = pytest.mark.parametrize("shape", ["VAE", "HVAE", "TopDownHVAE"])
every_part = pytest.mark.parametrize("name", PARTS)


@every_part
@every_model
def test_they_go_through_every_objective(name, shape):
    model = build(name, shape)
    closed = shape != "HVAE" and name != "low-rank encoder"
    objectives = [
        (elbo, (SAMPLES,)),
        (beta_elbo, (0.5, SAMPLES)),
        (free_bits_elbo, (0.1, SAMPLES)),
        (iwae_bound, (SAMPLES,)),
        *([(elbo_analytic, (SAMPLES,))] if closed else []),
    ]
    for objective, extra in objectives:
        values = objective(model, X, *extra)
        assert values.shape == (len(X),)
        gradients = torch.autograd.grad(values.sum(), [*model.parameters()], allow_unused=True)
        assert all(g is not None and g.isfinite().all() for g in gradients)
    if shape != "HVAE" and not closed:
        with pytest.raises(NotImplementedError):
            elbo_analytic(model, X)
    trace = model.trace(X, SAMPLES)
    assert [z.shape[:2] for z in trace.z] == [(SAMPLES, len(X))] * len(trace.z)
    assert log_marginal(model, X, 9, chunk_size=4).shape == (len(X),)
    assert model.sample(5).shape == (5, PIXELS)
    assert not model.sample(5).requires_grad


@every_part
@every_model
def test_they_learn(name, shape):
    torch.manual_seed(1)
    x = torch.randn(40, 2) @ torch.randn(2, PIXELS)
    model = build(name, shape)
    history = fit(model, x, epochs=15, batch_size=20, lr=2e-2)
    assert sum(history.objective[-3:]) > sum(history.objective[:3])
    assert all(module.training for module in model.modules())


@every_part
@every_model
def test_they_go_through_the_diagnostics(name, shape):
    model = build(name, shape)
    levels = 1 if shape == "VAE" else 2
    assert len(level_rates(model, X, 3)) == levels
    for level, size in zip(range(1, levels + 1), (UNITS, TOP), strict=False):
        assert active_units(model, X, level=level).shape == (size,)
    assert mutual_information(model, X, 3).standard_error > 0
    norms = gradient_norms(model, X)
    assert norms.encoders.shape == norms.decoders.shape == (levels,)
    assert (norms.encoders > 0).all()
    if shape == "VAE":
        parts = elbo_surgery(model, X, 3)
        assert all(part.standard_error > 0 for part in parts)
    if shape == "VAE" and name != "low-rank encoder":
        assert unit_rates(model, X).shape == (UNITS,)


OWN = ("softplus", "mixture decoder", "low-rank decoder", "low-rank encoder")


@every_part
@every_model
def test_an_ensemble_takes_them(name, shape, monkeypatch):
    if name in OWN:  # torch's own checks of arguments are branches on numbers: vmap refuses them
        monkeypatch.setattr(Distribution, "_validate_args", False)
    models, betas = [build(name, shape, seed) for seed in range(2)], [0.5, 2.0]
    torch.manual_seed(0)
    together = Ensemble(models).evaluate(beta_elbo, X, betas)
    for model, beta, values in zip(models, betas, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, beta_elbo(model, X, beta), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["batch norm", "dropout", "convolution"])
def test_members_of_an_ensemble_learn_as_they_do_alone(name):
    # Catches: running statistics that members share, or that stay where they were.
    models, betas = [build(name, "HVAE", seed).double() for seed in range(2)], [0.5, 2.0]
    ensemble = Ensemble(models)
    torch.manual_seed(5)
    fit(ensemble, X.double(), ensemble.objective(beta_elbo, betas), epochs=3, batch_size=4)
    for model, beta, trained in zip(models, betas, ensemble.members(), strict=True):
        torch.manual_seed(5)
        fit(model, X.double(), lambda m, x, b=beta: beta_elbo(m, x, b), epochs=3, batch_size=4)
        alone = model.state_dict()
        assert trained.state_dict().keys() == alone.keys()
        for key, value in trained.state_dict().items():
            torch.testing.assert_close(value, alone[key], rtol=1e-7, atol=1e-9)


@every_part
def test_their_weights_come_back_from_a_file(name, tmp_path):
    path = tmp_path / "weights.safetensors"
    first, second = build(name, "TopDownHVAE", 0), build(name, "TopDownHVAE", 1)
    fit(first, X, epochs=1)
    save_weights(first, path)
    load_weights(second, path)
    values = []
    for model in (first, second):
        torch.manual_seed(0)
        values.append(log_marginal(model, X, 3))
    assert torch.equal(*values)


# What an evaluation leaves alone.


def snapshot(model):
    return copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]


def unchanged(model, before):
    state, modes = before
    same = all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    return same and modes == [module.training for module in model.modules()]


def mixed_modes(model):
    """A part frozen in eval mode by the reader, the rest in training mode."""
    model.train()
    frozen = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.Dropout))
    frozen.eval()
    return model


@every_model
def test_a_dry_run_leaves_statistics_modes_and_random_numbers_alone(shape):
    # Catches: running statistics moved by zeros, a network put into another mode, a generator used.
    made = build("batch norm", shape)
    parts = [*made.encoders, *made.decoders]
    fresh = nn.ModuleList(copy.deepcopy(parts))
    next(m for m in fresh.modules() if isinstance(m, nn.BatchNorm1d)).eval()
    before = snapshot(fresh)
    generators = torch.get_rng_state()
    cut = len(made.encoders)
    made.__class__(
        *((fresh[0], fresh[1]) if shape == "VAE" else ([*fresh[:cut]], [*fresh[cut:]])), made.prior
    )
    assert torch.equal(generators, torch.get_rng_state())
    assert unchanged(fresh, before)
    for module in fresh.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.num_batches_tracked == 0
            assert torch.equal(module.running_mean, torch.zeros(6))


class Noisy(nn.Module):
    """A network that draws whenever it is called."""

    def __init__(self, size, out):
        super().__init__()
        self.net = nn.Linear(size, out)

    def forward(self, u):
        return self.net(u) + 0.01 * torch.randn(1)


def test_a_dry_run_of_a_network_that_draws_does_not_move_the_generator():
    torch.manual_seed(0)
    encoder = GaussianConditional(Noisy(PIXELS, 2 * UNITS))
    decoder = GaussianConditional(Noisy(UNITS, PIXELS), scale=1.0)
    state = torch.get_rng_state()
    VAE(encoder, decoder, StandardNormal(UNITS))
    assert torch.equal(state, torch.get_rng_state())


EVALUATIONS = {
    "log_marginal": lambda m: log_marginal(m, X, 9, chunk_size=4),
    "level_rates": lambda m: level_rates(m, X, 3),
    "active_units": lambda m: active_units(m, X),
    "mutual_information": lambda m: mutual_information(m, X, 3),
}


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("name", ["batch norm", "dropout"])
@every_model
def test_an_evaluation_is_in_eval_mode_and_leaves_the_model_alone(evaluation, name, shape):
    # Catches: model.train() at the end, which undoes the reader's own eval(); running statistics
    # moved by the data of the evaluation; dropout in the number that is reported.
    model = mixed_modes(build(name, shape))
    before, modes = snapshot(model), []
    handles = [
        m.register_forward_hook(lambda m, *_: modes.append((m.training, torch.is_grad_enabled())))
        for m in model.modules()
        if isinstance(m, nn.BatchNorm1d | nn.Dropout)
    ]
    torch.manual_seed(0)
    found = EVALUATIONS[evaluation](model)
    for handle in handles:
        handle.remove()
    assert unchanged(model, before)
    assert set(modes) == {(False, False)}
    torch.manual_seed(0)
    again = EVALUATIONS[evaluation](model.eval())
    assert str(found) == str(again)


def test_an_evaluation_that_fails_puts_the_modes_back_too():
    model = mixed_modes(build("batch norm", "VAE"))
    before = snapshot(model)
    with pytest.raises(ValueError, match="x must be finite"):
        log_marginal(model, X * torch.inf, 3)
    assert unchanged(model, before)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["batch norm", "dropout"])
def test_a_monitor_watches_in_eval_mode_and_changes_nothing(name):
    plain, watched = build(name, "HVAE"), build(name, "HVAE")
    modes = []

    def monitor(model):
        modes.extend(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        torch.rand(3)
        model.trace(X, 2)
        return {"elbo": elbo(model, X).mean()}

    histories = []
    for model, watch in ((plain, None), (watched, monitor)):
        torch.manual_seed(0)
        histories.append(fit(model, X, epochs=3, batch_size=4, monitor=watch).objective)
    assert not any(modes)
    assert histories[0] == histories[1]
    assert unchanged(watched, snapshot(plain))


def test_a_divergence_puts_the_running_statistics_back_too():
    model, calls, starts = build("batch norm", "VAE"), [], []

    def score(m, batch):
        if len(calls) % 2 == 0:
            starts.append(copy.deepcopy(m.state_dict()))
        calls.append(None)
        return elbo(m, batch) * (float("nan") if len(calls) == 4 else 1)

    with pytest.raises(FloatingPointError, match="epoch 1, step 1"):
        fit(model, X, score, epochs=3, batch_size=6)
    assert len(starts) == 2
    for key, value in model.state_dict().items():
        assert torch.equal(value, starts[1][key]), key
    assert not torch.equal(
        starts[0]["encoders.0.net.1.running_mean"], starts[1]["encoders.0.net.1.running_mean"]
    )


# What a network sees.


@pytest.mark.parametrize("batch", [(), (3, 0), (7, 5), (1,), (2, 3, 4)])
def test_per_row_shows_a_network_rows_whatever_the_batch(batch):
    seen = []

    class Watched(nn.Linear):
        def forward(self, u):
            seen.append(tuple(u.shape))
            return super().forward(u)

    net = Watched(4, 6)
    u = torch.randn(*batch, 4)
    out = per_row(net, u)
    rows = u.numel() // 4
    assert seen == [(rows, 4)]
    assert out.shape == (*batch, 6)
    torch.testing.assert_close(out, nn.functional.linear(u, net.weight, net.bias))
    with_more = per_row(Watched(5, 6), u, torch.randn(1))
    assert with_more.shape == (*batch, 6)


def test_per_row_keeps_the_axes_that_a_network_makes():
    out = per_row(nn.Unflatten(1, (2, 2)), torch.arange(24.0).reshape(2, 3, 4))
    assert out.shape == (2, 3, 2, 2)
    assert torch.equal(out.flatten(2), torch.arange(24.0).reshape(2, 3, 4))


def test_batch_norm_sees_one_batch_axis_of_all_samples():
    # Catches: samples taken for channels, or each sample normalised by itself.
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(UNITS, affine=False)
    conditional = GaussianConditional(nn.Sequential(norm, nn.Linear(UNITS, PIXELS)), scale=1.0)
    z = 3 * torch.randn(SAMPLES, 5, UNITS) + torch.arange(float(SAMPLES))[:, None, None]
    seen = []
    norm.register_forward_hook(lambda _, args, out: seen.append((args[0].shape, out)))
    conditional(z)
    ((shape, out),) = seen
    assert shape == (SAMPLES * 5, UNITS)
    torch.testing.assert_close(out.mean(0), torch.zeros(UNITS), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(UNITS), rtol=1e-4, atol=0)
    mean = 0.1 * z.flatten(0, 1).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-6)


def test_running_statistics_move_in_training():
    model = build("batch norm", "VAE")
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d))
    fit(model, X, epochs=2, batch_size=4)
    assert norm.num_batches_tracked == 6
    assert norm.running_mean.abs().max() > 0


def test_binary_pixels_of_a_convolution():
    torch.manual_seed(0)
    model = VAE(
        GaussianConditional(convolution(PIXELS, 2 * UNITS)),
        BernoulliConditional(transposed(UNITS, PIXELS)),
        StandardNormal(UNITS),
    )
    pictures = (X > 0).float().reshape(-1, 1, 4, 4)
    history = fit(model, pictures, elbo_analytic, epochs=30, lr=1e-2, flatten=True)
    assert history.objective[-1] > history.objective[0]
    assert set(model.sample(4).unique().tolist()) <= {0.0, 1.0}
