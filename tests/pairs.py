"""An autoencoder and a VAE of the same size, fitted to the same data, and what they generate."""

import torch
from torch.distributions import MultivariateNormal

from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.models import VAE, Autoencoder
from companion.objectives import elbo, log_reconstruction
from companion.train import fit

SEEDS = (0, 1, 2)
SCALE = 0.2


def autoencoder(size, d, hidden=96, scale=SCALE):
    decoder = GaussianConditional(mlp(d, hidden, hidden, size), scale=scale)
    return Autoencoder(mlp(size, hidden, hidden, d), decoder)


def variational(size, d, hidden=96):
    encoder = GaussianConditional(mlp(size, hidden, hidden, 2 * d))
    decoder = GaussianConditional(mlp(d, hidden, hidden, size), scale=SCALE)
    return VAE(encoder, decoder, StandardNormal(d))


def fitted_pair(x, d, seed, **options):
    torch.manual_seed(seed)
    ae, vae = autoencoder(x.shape[1], d), variational(x.shape[1], d)
    fit(ae, x, log_reconstruction, **options)
    fit(vae, x, elbo, **options)
    return ae.requires_grad_(False), vae.requires_grad_(False)


def generate(ae, vae, x):
    """Decoder means, as many as x has rows."""
    codes, z = ae.encode(x), vae.prior().sample((len(x),))
    fitted = MultivariateNormal(codes.mean(0), codes.T.cov()).sample((len(x),))
    return {
        "plain": ae.decode(z),
        "fitted": ae.decode(fitted),
        "vae": vae.decoder(z).mean,
    }
