"""The diffusion models that chapter 11 opens with: trained before its reader has trained any."""

from importlib.resources import as_file, files
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.conditionals import StandardNormal, mlp, per_row
from companion.diffusion import (
    TIME_FEATURES,
    Diffusion,
    NoiseDenoiser,
    log_snr_schedule,
    reverse_coefficients,
    time_features,
)
from companion.weights import load_weights

FILE = files(__package__).joinpath("weights/diffusion.safetensors")
SCHEDULE: Final = log_snr_schedule(50, 6.0, -6.0)


@final
class GuessDenoiser(nn.Module):
    """Denoiser whose network gives the guess of x itself: a small one draws better digits so."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Final = net

    def forward(
        self, z: Float[Tensor, "*batch D"], log_snr: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """Return x̂ for each row of z, given its log SNR."""
        return per_row(self.net, z, time_features(log_snr))


def wheel_diffusion() -> Diffusion:
    """Return a diffusion model of `data.pinwheel`, trained: fifty levels, a network for the noise.

    Like `digit_diffusion` it was made by ``benchmarks/experiments/diffusion.py``, run of seed 0;
    weights are stored in half precision, the one that figures use.

    >>> wheel_diffusion().descend(torch.zeros(5, 2))[0].shape
    torch.Size([5, 2])
    """
    return _trained()[0]


def digit_diffusion() -> Diffusion:
    """Return a diffusion model of the 8 × 8 digits in [−1, 1], trained; its network guesses x.

    >>> digit_diffusion().descend(torch.zeros(5, 64))[0].shape
    torch.Size([5, 64])
    """
    return _trained()[1]


def diffusion() -> dict[str, Any]:
    """Return what the figure ``diffusion`` computes with: both networks and the schedule."""
    wheel, digits = _trained()
    of_z, of_x, variance = reverse_coefficients(SCHEDULE, *_levels())
    return {
        "wheel": wheel.denoiser.net,
        "digits": digits.denoiser.net,
        "log_snr": SCHEDULE.log_snr,
        "of_z": of_z,
        "of_x": of_x,
        "noise": variance.sqrt(),
    }


def untrained() -> tuple[Diffusion, Diffusion]:
    """Return both with random weights: of the pinwheel, and of the digits."""
    wheel = NoiseDenoiser(mlp(2 + TIME_FEATURES, 48, 48, 2))
    digits = GuessDenoiser(mlp(64 + TIME_FEATURES, 128, 128, 64))
    return (
        Diffusion(SCHEDULE, wheel, StandardNormal(2), scale=0.05),
        Diffusion(SCHEDULE, digits, StandardNormal(64), scale=0.3),
    )


def networks(models: tuple[Diffusion, Diffusion]) -> nn.ModuleList:
    """Return what the file holds of both models."""
    return nn.ModuleList([model.denoiser for model in models])


def _trained() -> tuple[Diffusion, Diffusion]:
    with torch.random.fork_rng(devices=[]):
        models = untrained()
    with as_file(FILE) as path:
        load_weights(networks(models), path)
    wheel, digits = models
    return wheel.requires_grad_(False), digits.requires_grad_(False)


def _levels() -> tuple[Tensor, Tensor]:
    """Return t − 1 and t for t = 1 … T."""
    t = torch.arange(1, SCHEDULE.num_steps + 1)
    return t - 1, t
