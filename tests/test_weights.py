"""A model's numbers go to a file and come back, all of them or none."""

import math
import os

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from toys import PIXELS, UNITS, bernoulli_vae, bits, gaussian_vae, normal

from companion import (
    HVAE,
    VAE,
    AutoregressiveConditional,
    GaussianConditional,
    StandardNormal,
    TopDownHVAE,
    elbo,
    load_weights,
    mlp,
    save_weights,
    weights,
)
from companion.diffusion import (
    TIME_FEATURES,
    Diffusion,
    NoiseDenoiser,
    cosine_schedule,
    linear_schedule,
)

X = normal(5, PIXELS, seed=81)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def score(model, x):
    torch.manual_seed(3)
    return elbo(model, x).detach()


def bottom_up(seed, scale=0.7):
    torch.manual_seed(seed)
    return HVAE(
        [GaussianConditional(mlp(PIXELS, 6)), GaussianConditional(mlp(3, 4))],
        [GaussianConditional(mlp(3, PIXELS), scale), GaussianConditional(mlp(2, 6))],
        StandardNormal(2),
    ).double()


def top_down(seed, scale=0.7):
    torch.manual_seed(seed)
    return TopDownHVAE(
        [GaussianConditional(mlp(5 + 2, 6)), GaussianConditional(mlp(5, 4))],
        [GaussianConditional(mlp(3, PIXELS), scale), GaussianConditional(mlp(2, 6))],
        StandardNormal(2),
        features=mlp(PIXELS, 5),
    ).double()


def diffusion(seed, scale=0.7, schedule=linear_schedule, steps=6):
    torch.manual_seed(seed)
    denoiser = NoiseDenoiser(mlp(PIXELS + TIME_FEATURES, 6, PIXELS))
    return Diffusion(schedule(steps), denoiser, StandardNormal(PIXELS), scale=scale).double()


def autoregressive(seed, context=2):
    torch.manual_seed(seed)
    return VAE(
        GaussianConditional(mlp(PIXELS, 2 * UNITS)),
        AutoregressiveConditional(UNITS, PIXELS, 9, context),
        StandardNormal(UNITS),
    ).double()


MODELS = {
    "VAE": gaussian_vae,
    "HVAE": bottom_up,
    "TopDownHVAE": top_down,
    "Diffusion": diffusion,
    "autoregressive": autoregressive,
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_back_from_a_file(name, tmp_path):
    first, second = MODELS[name](0), MODELS[name](1)
    x = bits(5, PIXELS) if name == "autoregressive" else X
    path = tmp_path / "weights.safetensors"
    assert not torch.equal(score(first, x), score(second, x))
    save_weights(first, path)
    load_weights(second, str(path))
    assert same(state(first), state(second))
    assert torch.equal(score(first, x), score(second, x))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert all(p.requires_grad for p in second.parameters())


def test_every_number_that_fixes_a_model_is_in_its_file(tmp_path):
    # Catches: a constant that the reader must remember: a scale, a mask, a schedule.
    path = tmp_path / "weights.safetensors"
    for make in (bottom_up, top_down, diffusion, gaussian_vae):
        other = make(0, scale=0.2)
        save_weights(make(0, scale=0.7), path)
        load_weights(other, path)
        assert torch.equal(score(other, X), score(make(0, scale=0.7), X))
    assert diffusion(0, 0.2).scale == pytest.approx(0.2)
    save_weights(diffusion(0, 0.7), path)
    other = diffusion(1, 0.2)
    load_weights(other, path)
    assert other.scale == pytest.approx(0.7)
    save_weights(autoregressive(0, context=1), path)
    other = autoregressive(1, context=3)
    load_weights(other, path)
    assert torch.equal(score(other, bits(5, PIXELS)), score(autoregressive(0, 1), bits(5, PIXELS)))


# Of torch's compiler about torch itself.
torchs_own = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@torchs_own
@pytest.mark.parametrize("there", ["plain", "compiled", "parallel", "both"])
@pytest.mark.parametrize("here", ["plain", "compiled", "parallel", "both"])
def test_a_wrapper_leaves_no_trace_in_the_file(there, here, tmp_path):
    # The wrappers are never run: their names are what this is about.
    def parallel(model):
        return nn.DataParallel(model).cpu()  # it moves the model to a GPU that it finds

    wrap = {
        "plain": lambda model: model,
        "compiled": torch.compile,
        "parallel": parallel,
        "both": lambda model: torch.compile(parallel(model)),
    }
    first, second = gaussian_vae(0), gaussian_vae(1)
    path = tmp_path / "weights.safetensors"
    save_weights(wrap[there](first), path)
    load_weights(wrap[here](second), path)
    assert same(state(first), state(second))
    torch.testing.assert_close(score(first, X), score(second, X), rtol=0, atol=0)


@torchs_own
def test_parts_that_are_compiled_inside_a_model(tmp_path):
    first, second = gaussian_vae(0), gaussian_vae(1)
    first.encoder.net[0] = torch.compile(first.encoder.net[0])
    assert any("_orig_mod" in name for name in first.state_dict())
    path = tmp_path / "weights.safetensors"
    save_weights(first, path)
    load_weights(second, path)
    assert torch.equal(first.encoder.net[0].weight, second.encoder.net[0].weight)
    load_weights(first, path)


class Tied(nn.Module):
    """A network whose second half is the transpose of its first, and shares its storage."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.other = nn.Linear(3, 3)
        self.other.weight = self.one.weight


def test_tied_weights_and_views_are_saved(tmp_path):
    # safetensors itself refuses tensors that share memory, and those that are not contiguous.
    path = tmp_path / "weights.safetensors"
    first, second = Tied(), Tied()
    first.register_buffer("view", torch.arange(6.0).reshape(2, 3).mT)
    second.register_buffer("view", torch.zeros(3, 2))
    save_weights(first, path)
    load_weights(second, path)
    assert same(state(first), state(second))
    assert second.one.weight is second.other.weight


def test_a_schedule_of_as_many_steps_that_differs_is_refused(tmp_path):
    # Catches: a denoiser loaded into a model for whose levels it was not trained.
    path = tmp_path / "weights.safetensors"
    save_weights(diffusion(0), path)
    model = diffusion(1, schedule=cosine_schedule)
    before, values = state(model), score(model, X)
    with pytest.raises(ValueError, match="the schedule differs"):
        load_weights(model, path)
    assert same(state(model), before)
    assert torch.equal(score(model, X), values)
    with pytest.raises(ValueError, match="fits another architecture"):
        load_weights(diffusion(1, steps=7), path)
    single = diffusion(1).float()
    load_weights(single, path)  # a file in float64 goes into a model in float32
    assert torch.equal(single.reverse_scale, diffusion(0).reverse_scale.float())


@pytest.mark.parametrize("kept", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("own", [torch.float16, torch.float32, torch.float64], ids=str)
def test_a_schedule_is_the_same_in_every_dtype(kept, own):
    # Catches: digits that a file of a shorter dtype lacks, taken for another schedule.
    model = diffusion(1).to(own)
    model.load_state_dict(diffusion(0).to(kept).state_dict())
    assert torch.equal(model.log_snr, model.schedule.log_snr.to(own))
    with pytest.raises(ValueError, match="the schedule differs"):
        model.load_state_dict(diffusion(0, schedule=cosine_schedule).to(kept).state_dict())


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    # Catches: a file opened for writing before the new weights are complete.
    path = tmp_path / "weights.safetensors"
    save_weights(gaussian_vae(seed=0), path)
    old = path.read_bytes()

    def fails(tensors, part):
        part.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(weights, "save_file", fails)
    for error in (OSError("disk full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            save_weights(gaussian_vae(seed=1), path)
        assert path.read_bytes() == old
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_second_process_does_not_write_into_this_ones_part(tmp_path, monkeypatch):
    path, parts = tmp_path / "weights.safetensors", set()
    real = weights.save_file
    monkeypatch.setattr(weights, "save_file", lambda t, part: (parts.add(part), real(t, part)))
    for process in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        save_weights(gaussian_vae(), path)
    assert len(parts) == 2


def test_bad_weight_files_leave_the_model_untouched(tmp_path):
    vae = gaussian_vae()
    before = state(vae)
    path = tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError):
        load_weights(vae, path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(vae, path)
    torch.save(vae.state_dict(), path)
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(vae, path)
    save_weights(gaussian_vae(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_weights(vae, path)
    for other, said in (
        (gaussian_vae(units=UNITS + 1), r"another architecture: .* is \(.*\) there"),
        (bernoulli_vae(), r"another architecture: decoders.0.scale is None there"),
        (bottom_up(0), "another architecture"),
        (mlp(2, 3), "another architecture"),
    ):
        save_weights(other, path)
        with pytest.raises(ValueError, match=said):
            load_weights(vae, path)
        assert same(state(vae), before)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "weights.safetensors"
    with pytest.raises(SafetensorError, match="nowhere"):
        save_weights(gaussian_vae(), path)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_nan_are_saved_as_they_are(tmp_path):
    vae, path = gaussian_vae(), tmp_path / "weights.safetensors"
    nn.init.constant_(vae.decoder.net[-1].bias, math.nan)
    save_weights(vae, path)
    other = gaussian_vae(1)
    load_weights(other, path)
    assert other.decoder.net[-1].bias.isnan().all()
