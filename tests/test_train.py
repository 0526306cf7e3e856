"""The loop against one written out, what it refuses, and what survives when it stops."""

import inspect
import math
import sys

import jaxtyping
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.utils.data import DataLoader, TensorDataset
from toys import PIXELS, UNITS, bernoulli_vae, bits, gaussian_vae, linear_gaussian, normal

from companion import (
    HVAE,
    VAE,
    Autoencoder,
    GaussianConditional,
    StandardNormal,
    beta_elbo,
    elbo,
    elbo_analytic,
    fit,
    iwae_bound,
    linear_warm_up,
    log_reconstruction,
    mlp,
    train_epoch,
)
from companion.exact import optimal_linear_vae
from companion.train import Epoch, History, rate_and_distortion

X = normal(23, PIXELS, seed=51)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fit_is_the_loop_written_out():
    # Same order of rows, same noise, same steps; the short last batch of 3 rows included.
    # Catches: another sign, a sum over the batch for a mean, a batch left out, a second shuffle.
    by_fit, by_hand = gaussian_vae(), gaussian_vae()
    torch.manual_seed(7)
    history = fit(by_fit, X, elbo, epochs=3, batch_size=10, lr=1e-2)

    torch.manual_seed(7)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2, fused=True)
    means = []
    for _ in range(3):
        order, values = torch.randperm(len(X)), []
        for start in (0, 10, 20):
            objective = elbo(by_hand, X[order[start : start + 10]])
            optimizer.zero_grad()
            (-objective).mean().backward()
            optimizer.step()
            values += objective.tolist()
        means.append(sum(values) / len(X))
    assert torch.equal(weights(by_fit), weights(by_hand))
    assert history.objective == pytest.approx(means, rel=1e-12)
    assert len(history.seconds) == 3
    assert history.seconds == sorted(history.seconds)


def epochs_by_hand(model, x, optimizer, epochs):
    """A reader's own loop over `train_epoch`, in batches of ten in a new order."""
    for _ in range(epochs):
        order = torch.randperm(len(x))
        train_epoch(model, (x[rows] for rows in order.split(10)), elbo, optimizer)


@pytest.mark.parametrize("fused", [True, False])
def test_epochs_written_out_by_hand_are_a_fit(fused):
    # And the fused Adam, which does a step in one kernel, is Adam.
    by_fit, by_hand = gaussian_vae(), gaussian_vae()
    torch.manual_seed(7)
    fit(by_fit, X, epochs=20, batch_size=10, lr=1e-2)
    torch.manual_seed(7)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2, fused=fused)
    epochs_by_hand(by_hand, X, optimizer, 20)
    if fused:
        assert torch.equal(weights(by_fit), weights(by_hand))
    torch.testing.assert_close(weights(by_fit), weights(by_hand), rtol=1e-9, atol=1e-11)


def test_an_epoch_takes_any_optimizer_and_returns_the_mean_over_rows():
    # Catches: a mean of batch means, a gradient of an earlier batch left in, a step downhill.
    by_loop, by_hand = gaussian_vae(), gaussian_vae()
    batches = [X[:10], X[10:20], X[20:]]
    torch.manual_seed(7)
    optimizer = torch.optim.SGD(by_loop.parameters(), lr=1e-2)
    mean = train_epoch(by_loop, batches, elbo, optimizer)
    torch.manual_seed(7)
    total = 0.0
    for batch in batches:
        values = elbo(by_hand, batch)
        total += values.sum().item()
        gradients = torch.autograd.grad(values.mean(), list(by_hand.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters(), gradients, strict=True):
                parameter += 1e-2 * gradient
    assert mean == pytest.approx(total / 23, rel=1e-12)
    torch.testing.assert_close(weights(by_loop), weights(by_hand), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["TensorDataset", "labelled", "DataLoader", "bare", "dict order"])
def test_data_come_as_a_tensor_a_data_set_or_a_loader(kind):
    # Catches: labels taken for data, a loader's order or batches overruled.
    seen = []

    def score(model, batch):
        seen.append(batch)
        return elbo(model, batch)

    labels = torch.arange(len(X))
    data = {
        "TensorDataset": TensorDataset(X),
        "labelled": TensorDataset(X, labels),
        "DataLoader": DataLoader(TensorDataset(X, labels), batch_size=10, shuffle=True),
        "bare": DataLoader(X, batch_size=10, shuffle=True),
        "dict order": DataLoader(list(zip(X, labels, strict=True)), batch_size=10),
    }[kind]
    history = fit(gaussian_vae(), data, score, epochs=2, batch_size=10 if "D" not in kind else 7)
    sizes = [7, 7, 7, 2] if kind == "TensorDataset" else [10, 10, 3]
    sizes = [10, 10, 3] if kind == "DataLoader" else sizes
    assert [len(batch) for batch in seen] == sizes * 2
    assert len(history.objective) == 2
    first = torch.cat(seen[: len(sizes)])
    assert torch.equal(first.sort(0).values, X.sort(0).values)
    assert torch.equal(first, X) == (kind == "dict order")


def test_a_tensor_and_its_data_set_train_alike():
    runs = []
    for data in (X, TensorDataset(X, torch.arange(23)), TensorDataset(X)):
        vae = gaussian_vae()
        torch.manual_seed(3)
        fit(vae, data, epochs=2, batch_size=10)
        runs.append(weights(vae))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


def images(kind):
    """The same rows as pictures of one channel, two by two, bare or in a loader."""
    pictures = X.reshape(-1, 1, 2, 2)
    return pictures if kind == "tensor" else DataLoader(TensorDataset(pictures), batch_size=10)


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_images_are_flattened_on_request(kind):
    seen = []

    def score(model, batch):
        seen.append(batch)
        return elbo(model, batch)

    fit(gaussian_vae(), images(kind), score, epochs=1, batch_size=10, flatten=True)
    assert [tuple(batch.shape) for batch in seen] == [(10, PIXELS), (10, PIXELS), (3, PIXELS)]
    assert torch.equal(torch.cat(seen).sort(0).values, X.sort(0).values)


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_images_that_are_not_flattened_are_named_as_such(kind):
    vae = gaussian_vae()
    before = weights(vae)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(
            ValueError, match=r"x must have shape.*\(\d+, 1, 2, 2\).*x\.flatten\(1\)"
        ):
            fit(vae, images(kind), epochs=1)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert torch.equal(before, weights(vae))


def test_the_mean_is_over_rows_and_not_over_batches():
    # Catches: the mean of batch means, in which a short last batch counts too much.
    x = torch.arange(5.0).double()[:, None].expand(-1, PIXELS).contiguous()
    vae = gaussian_vae()

    def score(model, batch):
        return batch[:, 0] + 0 * model.trace(batch).log_weight[0]

    assert fit(vae, x, score, epochs=1, batch_size=4).objective == pytest.approx([2.0])


def test_every_row_is_seen_once_an_epoch():
    seen = []

    def score(model, batch):
        seen.append(batch)
        return elbo(model, batch)

    torch.manual_seed(0)
    fit(gaussian_vae(), X, score, epochs=2, batch_size=7)
    assert [len(batch) for batch in seen] == [7, 7, 7, 2] * 2
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert torch.equal(first.sort(0).values, X.sort(0).values)
    assert not torch.equal(first, second)
    assert not torch.equal(first, X)


@pytest.mark.parametrize(
    "objective",
    [elbo, elbo_analytic, lambda m, x: iwae_bound(m, x, 5), lambda m, x: beta_elbo(m, x, 0.5)],
)
def test_training_raises_the_objective(objective):
    torch.manual_seed(0)
    history = fit(gaussian_vae(), X, objective, epochs=80, batch_size=8, lr=1e-2)
    early, late = sum(history.objective[:5]) / 5, sum(history.objective[-5:]) / 5
    assert late > early + 0.3


def test_a_linear_vae_reaches_the_exact_optimum():
    # On data of a LinearGaussian, with W free, training finds the exact maximum likelihood.
    torch.manual_seed(0)
    truth = linear_gaussian(1, pixels=3, units=1)
    x = truth.marginal().sample((400,))
    start = linear_gaussian(2, pixels=3, units=1)
    net = nn.Linear(1, 3).double()
    with torch.no_grad():
        net.weight.copy_(start.weight)
        net.bias.copy_(start.bias)
    vae = VAE(
        GaussianConditional(mlp(3, 2).double()),
        GaussianConditional(net, scale=truth.scale),
        StandardNormal(1).double(),
    )
    fit(vae, x, elbo_analytic, epochs=150, batch_size=100, lr=2e-2)
    fit(vae, x, elbo_analytic, epochs=100, batch_size=400, lr=2e-3)
    best, _ = optimal_linear_vae(x, 1, scale=truth.scale)
    reached = elbo_analytic(vae, x, 2000).mean().item()
    # Above the data's own parameters, below the optimum but for noise.
    assert best.log_marginal(x).mean().item() - 0.02 < reached
    assert reached < best.log_marginal(x).mean().item() + 0.02


def test_autoencoders_train_with_their_score():
    torch.manual_seed(0)
    ae = Autoencoder(mlp(PIXELS, 2), GaussianConditional(mlp(2, PIXELS), scale=1.0)).double()
    history = fit(ae, X, log_reconstruction, epochs=30, lr=1e-2)
    assert history.objective[-1] > history.objective[0] + 0.1


def test_no_epochs_leave_the_model_as_it_is():
    vae = gaussian_vae()
    before = weights(vae)
    assert fit(vae, X, epochs=0) == History()
    assert torch.equal(before, weights(vae))


def test_the_seed_decides():
    runs = []
    for seed in (3, 3, 4):
        vae = gaussian_vae()
        torch.manual_seed(seed)
        fit(vae, X, epochs=2)
        runs.append(weights(vae))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_batches_larger_than_the_data():
    vae = gaussian_vae()
    assert len(fit(vae, X[:1], epochs=2, batch_size=1000).objective) == 2


def test_a_schedule_is_the_objectives_third_argument():
    betas = []

    def score(model, batch, beta):
        betas.append(beta)
        return beta_elbo(model, batch, beta)

    fit(gaussian_vae(), X, score, epochs=4, batch_size=12, schedule=linear_warm_up(2))
    assert betas == [0, 0, 0.5, 0.5, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("epochs", "start", "end", "values"),
    [(4, 0.0, 1.0, [0, 0.25, 0.5, 0.75, 1, 1]), (2, 3.0, 1.0, [3, 2, 1, 1, 1, 1])],
)
def test_linear_warm_up(epochs, start, end, values):
    schedule = linear_warm_up(epochs, start=start, end=end)
    assert [schedule(epoch) for epoch in range(6)] == pytest.approx(values)


def test_watching_changes_nothing():
    # Catches: a monitor whose draws move the training's random numbers, or leave a gradient.
    plain, watched = gaussian_vae(), gaussian_vae()
    torch.manual_seed(0)
    fit(plain, X, epochs=3)
    torch.manual_seed(0)
    history = fit(watched, X, epochs=3, monitor=rate_and_distortion(X, 9))
    assert torch.equal(weights(plain), weights(watched))
    assert set(history.monitored) == {"rate", "distortion"}
    assert [len(values) for values in history.monitored.values()] == [3, 3]


@pytest.mark.parametrize("levels", [1, 2])
def test_rate_and_distortion_add_up_to_the_elbo(levels):
    # Catches: a sign, and rates averaged over the levels.
    model = bernoulli_vae()
    if levels == 2:
        above = GaussianConditional(mlp(UNITS, 4)), GaussianConditional(mlp(2, 2 * UNITS))
        encoders, decoders = zip((model.encoder, model.decoder), above, strict=True)
        model = HVAE(encoders, decoders, StandardNormal(2)).double()
    x = bits(11, PIXELS)
    torch.manual_seed(0)
    found = rate_and_distortion(x, 5)(model)
    torch.manual_seed(0)
    expected = elbo(model, x, 5).mean().item()
    assert -(found["rate"] + found["distortion"]) == pytest.approx(expected, rel=1e-12)
    assert found["distortion"] > 0


def interrupted_after(calls):
    count = 0

    def score(model, batch):
        nonlocal count
        count += 1
        if count > calls:
            raise KeyboardInterrupt
        return elbo(model, batch)

    return score


def assert_whole(history, epochs):
    """One entry an epoch in every list."""
    assert len(history.epochs) == epochs
    assert len(history.objective) == len(history.seconds) == epochs
    assert all(isinstance(epoch, Epoch) for epoch in history.epochs)
    if epochs:
        assert {name: len(values) for name, values in history.monitored.items()} == {"one": epochs}


def test_an_interrupt_returns_the_history_so_far():
    vae = gaussian_vae()
    before = weights(vae)
    history = fit(vae, X, interrupted_after(5), epochs=9, batch_size=12)
    assert len(history.objective) == 2
    assert not torch.equal(before, weights(vae))
    assert elbo(vae, X).isfinite().all()
    fit(vae, X, epochs=1)


@pytest.mark.parametrize("place", ["objective", "backward", "batches", "monitor", "schedule"])
def test_an_interrupt_at_any_place_leaves_a_whole_history(place):
    # Catches: an epoch that counts in one list and not in another; a model left in eval mode.
    left = {"monitor": 3, "schedule": 3}.get(place, 6)  # in the third epoch, of two batches each

    def passes(here, value):
        nonlocal left
        left -= here == place
        if left == 0:
            raise KeyboardInterrupt
        return value

    def score(model, batch, beta):
        values = passes("objective", beta_elbo(model, batch, beta))
        values.register_hook(lambda gradient: passes("backward", gradient))
        return values

    vae = gaussian_vae()
    history = fit(
        vae,
        DataLoader(X, batch_size=12, collate_fn=lambda rows: passes("batches", torch.stack(rows))),
        score,
        epochs=9,
        schedule=lambda _: passes("schedule", 1.0),
        monitor=lambda _: {"one": passes("monitor", 1.0)},
    )
    assert_whole(history, 2)
    assert all(module.training for module in vae.modules())
    assert weights(vae).isfinite().all()
    assert torch.is_grad_enabled()


def test_an_interrupt_on_any_line_of_the_loop_leaves_a_whole_history():
    # Ctrl-C arrives between two lines: here before each line of the loop, one after the other.
    function = inspect.unwrap(fit)
    source, first = inspect.getsourcelines(function)
    start, end = (
        first + next(i for i, line in enumerate(source) if text in line)
        for text in ("for epoch in range(epochs)", "return history")
    )
    seen, whole = set(), 0
    for at in range(1, 200):
        passed = 0

        def watch(frame, event, _, at=at):
            nonlocal passed
            if frame.f_code is not function.__code__:
                return None
            if event == "line" and start <= frame.f_lineno < end:
                passed += 1
                if passed == at:
                    seen.add(frame.f_lineno)
                    raise KeyboardInterrupt
            return watch

        before = sys.gettrace()
        sys.settrace(watch)
        try:
            history = fit(gaussian_vae(), X, epochs=2, monitor=lambda _: {"one": 1.0})
        finally:
            sys.settrace(before)
        assert_whole(history, len(history.epochs))
        whole += len(history.epochs) == 2
        if passed < at:
            break
    assert passed < at
    assert len(seen) >= 8
    assert whole >= 2  # with an interrupt after the last epoch, and with none


# Every way in which numbers leave their range, and what is said of it. Two batches an epoch.

BACK = r"(?s)^training diverged in epoch 2, step 1\b.*\bback\b.*"


def at_call(number, wrong):
    """The ELBO, and in the call of this number something else that `wrong` makes of it."""
    calls = []

    def score(model, batch):
        calls.append(None)
        values = elbo(model, batch)
        return wrong(values) if len(calls) == number else values

    return score


def one_row(number):
    return lambda values: torch.where(torch.arange(len(values)) == 3, number, values)


def poison(parameter, call):
    """Make a gradient NaN in the backward pass of this number: as an overflow in it would."""
    calls = []

    def hook(gradient):
        calls.append(None)
        return gradient * math.nan if len(calls) == call else gradient

    parameter.register_hook(hook)


def diverge(model, x=X, score=elbo, match=BACK, **options):
    """Fit, require the one error, and all numbers of the model as they were before that epoch."""
    starts, calls = [], []

    def watched(model, batch):
        if len(calls) % 2 == 0:
            starts.append({name: value.clone() for name, value in model.state_dict().items()})
        calls.append(None)
        return score(model, batch)

    with pytest.raises(FloatingPointError, match=match) as caught:
        fit(model, x, watched, epochs=9, batch_size=12, **options)
    assert str(caught.value).count("diverged") == 1
    assert caught.value.__cause__ is not None
    for name, value in model.state_dict().items():
        assert torch.equal(value, starts[-1][name]), name
        assert value.isfinite().all(), name
    if len(starts) > 1:
        assert not all(torch.equal(starts[0][name], starts[-1][name]) for name in starts[0])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_an_objective_out_of_range_ends_the_fit(number):
    score = at_call(6, one_row(number))
    diverge(gaussian_vae(), score=score, match=BACK + r"Try an lr below 0\.01$", lr=0.01)


def test_weights_that_overflow_are_noticed():
    # The objective of the batch was finite; the step after it was not. Catches: a last epoch that
    # returns a broken model with a finite history.
    vae = gaussian_vae()
    poison(vae.decoder.net[-1].bias, call=6)
    diverge(vae, match=BACK + r"the weights became NaN or infinite")
    vae = gaussian_vae()
    poison(vae.decoder.net[-1].bias, call=1)
    with pytest.raises(FloatingPointError, match=r"epoch 0, step 0\b.*the weights became NaN"):
        fit(vae, X, epochs=1, batch_size=100)


class Softplus(nn.Module):
    """A reader's encoder: torch's own distribution, which checks its parameters."""

    def __init__(self):
        super().__init__()
        self.net = mlp(PIXELS, 6, 2 * UNITS)

    def forward(self, x):
        mean, raw = self.net(x).chunk(2, dim=-1)
        return Independent(Normal(mean, nn.functional.softplus(raw)), 1)


class FullCovariance(nn.Module):
    """A reader's encoder with a covariance matrix of which it takes the root."""

    def __init__(self):
        super().__init__()
        self.net = mlp(PIXELS, 6, UNITS * (1 + UNITS))

    def forward(self, x):
        mean, root = self.net(x).tensor_split([UNITS], dim=-1)
        root = root.unflatten(-1, (UNITS, UNITS))
        root = torch.linalg.cholesky(root @ root.mT + torch.eye(UNITS, dtype=x.dtype))
        return MultivariateNormal(mean, scale_tril=root, validate_args=False)


def readers(encoder):
    torch.manual_seed(0)
    decoder = GaussianConditional(mlp(UNITS, 8, PIXELS), scale=0.7)
    return VAE(encoder, decoder, StandardNormal(UNITS)).double()


def test_a_readers_distribution_that_finds_nan_is_a_divergence():
    vae = readers(Softplus())
    poison(vae.encoder.net[0].weight, call=5)
    diverge(vae, match=BACK + r"constraint.*Try an lr below")


class Stumbling(nn.Module):
    """A reader's encoder whose own code stumbles over NaN, each in its own words."""

    def __init__(self, error):
        super().__init__()
        self.net, self.error = mlp(PIXELS, 6, 2 * UNITS), error

    def forward(self, x):
        mean, raw = self.net(x).chunk(2, dim=-1)
        if mean.isnan().any():
            raise self.error
        return Independent(Normal(mean, raw.exp()), 1)


@pytest.mark.parametrize(
    "error",
    [ValueError("bad mean"), RuntimeError("probability tensor contains nan"), AssertionError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_over_weights_that_are_nan_is_a_divergence(error):
    # Catches: an error judged by its words alone, and a model that is left broken.
    vae = readers(Stumbling(error))
    poison(vae.encoder.net[0].weight, call=5)
    diverge(vae, match=BACK + r"Try an lr below")


def test_a_factorisation_that_fails_is_a_divergence():
    vae = readers(FullCovariance())
    poison(vae.encoder.net[0].weight, call=5)
    diverge(vae, match=BACK + r"Try an lr below")
    calls = []

    def score(model, batch):
        calls.append(None)
        if len(calls) == 6:
            torch.linalg.cholesky(-torch.eye(2))
        return elbo(model, batch)

    diverge(gaussian_vae(), score=score, match=BACK + r"not positive-definite")


def test_many_weights_are_finite_although_their_sum_is_not():
    # Catches: float16 weights whose sum overflows, taken for a divergence.
    wide = nn.Linear(70_000, 1, bias=False).half()
    nn.init.constant_(wide.weight, 1)

    def objective(model, x):
        return model(x)[:, 0]

    fit(wide, torch.zeros(4, 70_000).half(), objective, epochs=1)


def test_float16_that_overflows_is_named():
    vae = gaussian_vae(scale=0.05).half()
    before = weights(vae)
    # 15 / 0.05 squared is more than float16 holds.
    said = r"epoch 0, step 0\b.*float16 sums over pixels overflow: use float32"
    with pytest.raises(FloatingPointError, match=said):
        fit(vae, torch.full_like(X, 15).half(), epochs=1)
    assert torch.equal(before, weights(vae))


@pytest.mark.parametrize(
    ("scale", "data", "remedy"),
    [
        (0.7, 255.0, r"The data reach 255: scale them first, e\.g\. x / 255$"),
        (0.001, 1.0, r"A scale of 0\.001 makes the density very steep: try a larger one$"),
        (0.7, 1.0, r"Try an lr below 0\.003$"),
        (0.001, 255.0, r"The data reach 255: "),
    ],
)
def test_the_likeliest_cause_is_named(scale, data, remedy):
    x = (data * X / X.abs().amax()).clamp(min=-data)
    x[:, 0] = data
    score = at_call(6, one_row(math.nan))
    diverge(gaussian_vae(scale=scale), x=x, score=score, match=BACK + remedy, lr=0.003)


def test_grey_levels_up_to_255_diverge_by_themselves_and_are_named():
    torch.manual_seed(0)
    vae = VAE(
        GaussianConditional(mlp(PIXELS, 6, 2 * UNITS)),
        GaussianConditional(mlp(UNITS, 8, PIXELS), scale=0.1),
        StandardNormal(UNITS),
    )
    x = (255 * torch.rand(23, PIXELS)).round()
    x[:, 0] = 255
    with pytest.raises(FloatingPointError, match=r"scale them first, e\.g\. x / 255"):
        fit(vae, x, epochs=200, batch_size=12, lr=1.0)
    assert weights(vae).isfinite().all()


def test_a_huge_step_size_ends_with_usable_weights():
    vae = gaussian_vae()
    with pytest.raises(
        FloatingPointError, match=r"(?s)training diverged in epoch \d+, step 0\b.*\bback\b"
    ):
        fit(vae, X, epochs=50, lr=1e6)
    assert weights(vae).isfinite().all()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the reader's own mistake"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        TypeError("unexpected keyword"),
        ZeroDivisionError("float division by zero"),
        KeyError("beta"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_mistake_in_a_call_passes_through_as_it_is(error):
    # Catches: every exception called a divergence, and one that is wrapped or reworded.
    def wrong(values):
        raise error

    vae = gaussian_vae()
    with pytest.raises(type(error)) as caught:
        fit(vae, X, at_call(1, wrong), epochs=2)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert torch.equal(weights(vae), weights(gaussian_vae()))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda values: values.mean(), r"objective must return .*12.*gradient.*got.*\(\[?\]?\)"),
        (lambda values: values[:, None], r"objective must return .*12.*got.*12, 1"),
        (lambda values: values.detach(), r"objective must return .*gradient"),
    ],
    ids=["mean", "column", "detached"],
)
def test_an_objective_of_the_wrong_shape_is_no_divergence(wrong, said):
    vae = gaussian_vae()
    with pytest.raises(ValueError, match=said):
        fit(vae, X, at_call(1, wrong), epochs=2, batch_size=12)
    assert torch.equal(weights(vae), weights(gaussian_vae()))


def test_the_progress_bar_keeps_off_the_output(capsys):
    # Catches: text on stdout, which the stored outputs of the chapters would then hold.
    fit(gaussian_vae(), X, epochs=2)
    fit(gaussian_vae(), X, interrupted_after(0), epochs=2)
    assert capsys.readouterr().out == ""
