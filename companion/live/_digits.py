"""The models of digits that figures show before their chapter has trained any."""

from importlib.resources import as_file, files
from typing import Any

import torch
from torch import nn

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.diagnostics import nearest_distance
from companion.models import VAE, Autoencoder
from companion.objectives import elbo_analytic
from companion.weights import load_weights

FILE = files(__package__).joinpath("weights/digits.safetensors")


def digit_models() -> tuple[Autoencoder, VAE]:
    """Return an autoencoder and a VAE of the 8 × 8 digits, trained, with codes of two numbers.

    Their networks have two hidden layers of 64; the decoders' standard deviation is 0.2. They were
    fitted to the 70 % of the digits that ``data.split(x, held_out=0.3)`` gives, by
    ``benchmarks/experiments/digits.py``.

    >>> autoencoder, vae = digit_models()
    >>> vae.prior().sample((3,)).shape
    torch.Size([3, 2])
    """
    with torch.random.fork_rng(devices=[]):
        models = untrained()
    with as_file(FILE) as path:
        load_weights(models, path)
    autoencoder, vae = models.requires_grad_(False)
    assert isinstance(autoencoder, Autoencoder)
    assert isinstance(vae, VAE)
    return autoencoder, vae


def untrained() -> nn.ModuleList:
    """Return both with random weights."""

    def decoder() -> GaussianConditional:
        return GaussianConditional(mlp(2, 64, 64, 64), scale=0.2)

    autoencoder = Autoencoder(mlp(64, 64, 64, 2), decoder())
    encoder = GaussianConditional(mlp(64, 64, 64, 2 * 2))
    return nn.ModuleList([autoencoder, VAE(encoder, decoder(), StandardNormal(2))])


def code_planes() -> dict[str, Any]:
    """Return what the figure ``codes`` computes with: both decoders, and digits at their codes.

    The figure shows three planes: the autoencoder's codes as trained ("ae"), moved and stretched
    to mean 0 and covariance I ("fitted"), and the VAE's ("vae").
    """
    autoencoder, vae = digit_models()
    (train, label), (held_out, _) = data.split(*data.digits(), held_out=0.3)
    codes = autoencoder.encode(train)
    mean, stretch = codes.mean(0), torch.linalg.cholesky(codes.T.cov())
    decoders = {
        "ae": autoencoder.decode,
        "fitted": lambda z: autoencoder.decode(mean + z @ stretch.T),
        "vae": lambda z: vae.decoder(z).mean,
    }
    random = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    far = nearest_distance(held_out, train).quantile(0.99).item()
    return {
        "autoencoder": autoencoder.decoder.net,
        "vae": vae.decoder.net,
        "pictures": (16 * train).byte(),
        "labels": label.byte(),
        "codes": {"ae": codes.half(), "vae": vae.encoder(train).mean.half()},
        "mean": mean,
        "stretch": stretch,
        "far": far,
        "random": random,
        "kinds": {
            name: label[torch.cdist(decode(random), train).argmin(1)].byte()
            for name, decode in decoders.items()
        },
        "nothing": {
            name: (nearest_distance(decode(random), train) > far).byte()
            for name, decode in decoders.items()
        },
    }


def latent_map() -> dict[str, Any]:
    """Return what the figure ``latent_map`` computes with: a VAE, digits, and their ELBOs."""
    _, vae = digit_models()
    (train, _), (test, label) = data.split(*data.digits(), held_out=0.3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bound = elbo_analytic(vae, train, num_samples=50)
        random = torch.randn(100, 2)
    decoder = vae.decoder
    assert isinstance(decoder, GaussianConditional)
    assert decoder.scale is not None
    return {
        "encoder": vae.encoder.net,
        "decoder": decoder.net,
        "scale": decoder.scale.item(),
        "pictures": (16 * train[:200]).byte(),
        "codes": vae.encoder(train[:200]).mean.half(),
        "test": (16 * test[:40]).byte(),
        "labels": label[:40].byte(),
        "random": random,
        "bounds": bound.quantile(torch.linspace(0, 1, 101)),
    }
