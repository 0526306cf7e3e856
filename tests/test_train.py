"""The loop against one written out, what it refuses, and what survives when it stops."""

import math

import pytest
import torch
from torch import nn
from toys import PIXELS, UNITS, bernoulli_vae, bits, gaussian_vae, linear_gaussian, normal

from companion import train
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.models import HVAE, VAE, Autoencoder
from companion.objectives import beta_elbo, elbo, elbo_analytic, iwae_bound, log_reconstruction
from companion.train import (
    History,
    fit,
    linear_warm_up,
    load_weights,
    rate_and_distortion,
    save_weights,
)

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
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
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
    from companion.exact import optimal_linear_vae

    best, _ = optimal_linear_vae(x, 1, scale=truth.scale)
    reached = elbo_analytic(vae, x, 200).mean().item()
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


def test_an_interrupt_returns_the_history_so_far():
    vae = gaussian_vae()
    before = weights(vae)
    history = fit(vae, X, interrupted_after(5), epochs=9, batch_size=12)
    assert len(history.objective) == 2
    assert not torch.equal(before, weights(vae))
    assert elbo(vae, X).isfinite().all()
    fit(vae, X, epochs=1)


def test_divergence_stops_with_epoch_step_and_remedy_and_the_last_good_weights():
    calls = []
    kept = []

    def score(model, batch):
        if len(calls) == 4:  # the start of the third epoch
            kept.append(weights(model))
        calls.append(None)
        values = elbo(model, batch)
        return values * (math.nan if len(calls) == 6 else 1.0)

    vae = gaussian_vae()
    with pytest.raises(FloatingPointError, match=r"nan in epoch 2, step 1; .*lr below 0.01"):
        fit(vae, X, score, epochs=9, batch_size=12, lr=0.01)
    assert torch.equal(kept[0], weights(vae))


def test_weights_that_overflow_are_noticed():
    # The objective of the batch was finite; the step after it was not. Catches: a last epoch that
    # returns a broken model with a finite history.
    vae = gaussian_vae()
    vae.decoder.net[-1].bias.register_hook(lambda gradient: gradient * math.nan)
    before = weights(vae)
    with pytest.raises(FloatingPointError, match="weights became NaN or infinite in epoch 0"):
        fit(vae, X, epochs=1, batch_size=100)
    assert torch.equal(before, weights(vae))


def test_a_huge_step_size_ends_with_usable_weights():
    vae = gaussian_vae()
    with pytest.raises(FloatingPointError, match="the model is back at its weights"):
        fit(vae, X, epochs=50, lr=1e6)
    assert weights(vae).isfinite().all()


def test_weights_come_back_from_a_file(tmp_path):
    first, second = gaussian_vae(seed=0), gaussian_vae(seed=1)
    path = tmp_path / "weights.safetensors"
    save_weights(first, path)
    load_weights(second, path)
    assert torch.equal(weights(first), weights(second))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    # Catches: a file opened for writing before the new weights are complete.
    path = tmp_path / "weights.safetensors"
    save_weights(gaussian_vae(seed=0), path)
    old = path.read_bytes()

    def fails(tensors, part):
        part.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(train, "save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_weights(gaussian_vae(seed=1), path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_bad_weight_files_leave_the_model_untouched(tmp_path):
    vae = gaussian_vae()
    before = weights(vae)
    path = tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError):
        load_weights(vae, path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(vae, path)
    save_weights(gaussian_vae(units=UNITS + 1), path)
    with pytest.raises(ValueError, match=r"another architecture: .* has shape"):
        load_weights(vae, path)
    assert torch.equal(before, weights(vae))


def test_the_progress_bar_keeps_off_the_output(capsys):
    # Catches: text on stdout, which the stored outputs of the chapters would then hold.
    fit(gaussian_vae(), X, epochs=2)
    fit(gaussian_vae(), X, interrupted_after(0), epochs=2)
    assert capsys.readouterr().out == ""
