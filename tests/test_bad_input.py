"""What a reader sees who passes the wrong thing: the argument, its value and the remedy.

Shape checks by jaxtyping are off here, as they are for a reader. Each case names what the message
must hold. The error must come from the package itself and not from inside torch.
"""

import copy
import math
import traceback
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Laplace, MultivariateNormal, Normal

import companion
from companion import data, diagnostics, exercises
from companion.autoregressive import AutoregressiveConditional
from companion.exact import Blocks, LinearGaussianChain, chain_joint
from companion.conditionals import (
    BernoulliConditional,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.diffusion import TIME_FEATURES, DataDenoiser, GaussianDenoiser, NoiseDenoiser
from companion.diffusion import (
    Diffusion,
    diffusion_elbo,
    draw_levels,
    exact_gaussian_diffusion,
    simple_loss,
    one_level_elbo,
    three_terms,
)
from companion.ensemble import Ensemble
from companion.objectives import pathwise, score_function
from companion.exact import (
    DiscreteModel,
    LinearGaussian,
    elbo_quadrature,
    latent_grid,
    log_marginal_quadrature,
    optimal_decoder,
    optimal_linear_vae,
)
from companion.exercises.checking import Condition, Inspection
from companion.explore import explore
from companion.exact import gaussian_floor, kl_on_grid, posterior_on_grid
from companion.models import HVAE, VAE, Autoencoder
from companion.objectives import (
    beta_elbo,
    elbo,
    elbo_analytic,
    free_bits_elbo,
    gaussian_kl,
    iwae_bound,
    log_marginal,
    log_reconstruction,
)
from companion.diffusion import (
    Schedule,
    cosine_schedule,
    forward_kernel,
    forward_marginal,
    linear_schedule,
    log_snr_schedule,
    reverse_posterior,
)
from companion.train import fit, linear_warm_up, rate_and_distortion, save_weights

HOME = str(Path(companion.__file__).parent)


@pytest.fixture(autouse=True)
def as_a_reader_sees_it():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def encoder(pixels=4, units=3):
    return GaussianConditional(mlp(pixels, 6, 2 * units))


def decoder(pixels=4, units=3):
    return GaussianConditional(mlp(units, 8, pixels), scale=0.5)


PRIOR = StandardNormal(3)
VAE32 = VAE(encoder(), decoder(), PRIOR)
TALL = HVAE(
    [encoder(), GaussianConditional(mlp(3, 4))],
    [decoder(), GaussianConditional(mlp(2, 6))],
    StandardNormal(2),
)
NOISE = log_snr_schedule(6, 4.0, -4.0)
DIFFUSION = Diffusion(NOISE, NoiseDenoiser(mlp(4 + TIME_FEATURES, 4)), 0.1, StandardNormal(4))
BINARY = VAE(encoder(), BernoulliConditional(mlp(3, 4)), PRIOR)
PLAIN = Autoencoder(mlp(4, 3), decoder())
CONSTANT = VAE(
    LinearGaussianConditional(torch.zeros(3, 4), torch.zeros(3), torch.eye(3)),
    LinearGaussianConditional(torch.zeros(4, 3), torch.zeros(4), torch.eye(4)),
    PRIOR,
)
LINEAR = LinearGaussian(torch.ones(4, 3), torch.zeros(4), 0.5)
COIN = DiscreteModel(torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
HALF = torch.full((2, 2), 0.5)
STEP = LinearGaussianConditional(torch.ones(1, 1), torch.zeros(1), torch.eye(1))
CHAIN = LinearGaussianChain([STEP, STEP])
DECODER = decoder()
X = torch.linspace(-1, 1, 20).reshape(5, 4)
GREY = X.sigmoid()
WAVES = (torch.arange(400.0) ** 1.5).sin().reshape(40, 10)
NAN = X.clone().index_fill_(1, torch.tensor(2), math.nan)
INF = X.clone().index_fill_(1, torch.tensor(3), -math.inf)


class Halved(nn.Module):
    """A denoiser that returns half of its pixels."""

    def forward(self, z, log_snr):
        return z[..., ::2]


class Silent(nn.Module):
    """A denoiser that returns nothing."""

    def forward(self, z, log_snr):
        return None


class Prior(nn.Module):
    """A prior that returns what it was given."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self):
        return self.value


class Counts(nn.Module):
    """An encoder with draws that have no gradient."""

    def forward(self, x):
        return torch.distributions.Independent(torch.distributions.Poisson(x[..., :3].exp()), 1)


DATA = {
    "wrong width": (X[:, :3], ValueError, r"x must have 4 columns, got shape \(5, 3\); pass"),
    "one row": (X[0], ValueError, r"x must have shape \(N, D\).*got \(4,\); use x\[None\]"),
    "an image": (X[None], ValueError, r"x must have shape \(N, D\).*got \(1, 5, 4\).*flatten"),
    "no row": (X[:0], ValueError, r"x is empty, shape \(0, 4\); pass"),
    "NaN": (NAN, ValueError, r"x must be finite, but x\[0, 2\] is nan; remove"),
    "infinity": (INF, ValueError, r"x must be finite, but x\[0, 3\] is -inf; remove"),
    "integers": (X.long(), TypeError, r"x must be floating point, got torch.int64; .*x.float"),
    "float64": (X.double(), TypeError, r"x must be torch.float32.*got torch.float64; .*x.to\("),
    "float16": (X.half(), TypeError, r"x must be torch.float32.*got torch.float16; .*x.to\("),
    "complex": (X.to(torch.complex64), TypeError, r"x must be floating point, got torch.complex64"),
    "numpy": (X.numpy(), TypeError, r"x must be a torch.Tensor, got ndarray; .*as_tensor"),
    "a list": (X.tolist(), TypeError, r"x must be a torch.Tensor, got list; .*as_tensor"),
}
TAKE_DATA = {
    "elbo": lambda x: elbo(VAE32, x),
    "elbo_analytic": lambda x: elbo_analytic(VAE32, x),
    "beta_elbo": lambda x: beta_elbo(VAE32, x, 2.0),
    "free_bits_elbo": lambda x: free_bits_elbo(VAE32, x, 2.0),
    "iwae_bound": lambda x: iwae_bound(VAE32, x, 3),
    "log_marginal": lambda x: log_marginal(VAE32, x, 3),
    "trace": VAE32.trace,
    "HVAE.trace": TALL.trace,
    "Diffusion.trace": DIFFUSION.trace,
    "three_terms": lambda x: three_terms(DIFFUSION, x, ()),
    "diffusion_elbo": lambda x: diffusion_elbo(DIFFUSION, x),
    "one_level_elbo": lambda x: one_level_elbo(DIFFUSION, x),
    "simple_loss": lambda x: simple_loss(DIFFUSION, x),
    "fit": lambda x: fit(VAE32, x, epochs=1),
    "LinearGaussian.log_marginal": LINEAR.log_marginal,
    "LinearGaussian.posterior": LINEAR.posterior,
    "LinearGaussian.elbo": lambda x: LINEAR.elbo(x, LINEAR.posterior(X)),
    "unit_rates": lambda x: diagnostics.unit_rates(VAE32, x),
    "mutual_information": lambda x: diagnostics.mutual_information(VAE32, x),
}
COUNTS = {
    "zero": (0, ValueError, "NAME must be at least 1, got 0; pass"),
    "negative": (-3, ValueError, "NAME must be at least 1, got -3; pass"),
    "a float": (2.0, TypeError, r"NAME must be a whole number, got 2\.0; pass an int"),
    "a string": ("3", TypeError, "NAME must be a whole number, got '3'; pass an int"),
    "a truth value": (True, TypeError, "NAME must be a whole number, got True; pass an int"),
    "a tensor": (torch.tensor(3), TypeError, r"NAME must be a whole number, got tensor\(3\)"),
    "NaN": (math.nan, TypeError, "NAME must be a whole number, got nan"),
}
TAKE_COUNTS = {
    ("num_samples", "elbo"): lambda k: elbo(VAE32, X, k),
    ("num_samples", "iwae_bound"): lambda k: iwae_bound(VAE32, X, k),
    ("num_samples", "log_marginal"): lambda k: log_marginal(VAE32, X, k),
    ("num_samples", "beta_elbo"): lambda k: beta_elbo(VAE32, X, 1.0, k),
    ("num_samples", "elbo_analytic"): lambda k: elbo_analytic(VAE32, X, k),
    ("num_samples", "sample"): VAE32.sample,
    ("num_samples", "HVAE.sample"): TALL.sample,
    ("num_samples", "Diffusion.trace"): lambda k: DIFFUSION.trace(X, k),
    ("num_samples", "Diffusion.sample"): DIFFUSION.sample,
    ("num_samples", "draw_levels"): lambda k: draw_levels(NOISE, X, k),
    ("num_samples", "HVAE.trace"): lambda k: TALL.trace(X, k),
    ("level", "HVAE.decode"): lambda k: TALL.decode(torch.zeros(1, 2), k),
    ("num_samples", "pathwise"): lambda k: pathwise(PRIOR(), torch.sum, k),
    ("num_samples", "score_function"): lambda k: score_function(PRIOR(), torch.sum, k),
    ("num_samples", "DiscreteModel.iwae_bound"): lambda k: COIN.iwae_bound(HALF, k),
    ("num_samples", "rate_and_distortion"): lambda k: rate_and_distortion(X, k),
    ("chunk_size", "iwae_bound"): lambda k: iwae_bound(VAE32, X, 5, k),
    ("chunk_size", "mutual_information"): lambda k: diagnostics.mutual_information(VAE32, X, 1, k),
    ("chunk_size", "optimal_decoder"): lambda k: optimal_decoder(VAE32.encoder(X), X, X[:, :3], k),
    ("batch_size", "fit"): lambda k: fit(VAE32, X, epochs=1, batch_size=k),
    ("epochs", "linear_warm_up"): linear_warm_up,
    ("d", "StandardNormal"): StandardNormal,
    ("d", "optimal_linear_vae"): lambda k: optimal_linear_vae(X, k, scale=1.0),
    ("sizes", "mlp"): lambda k: mlp(4, k),
    ("latent", "AutoregressiveConditional"): lambda k: AutoregressiveConditional(k, 4, 8),
    ("features", "AutoregressiveConditional"): lambda k: AutoregressiveConditional(3, k, 8),
    ("num_samples", "free_bits_elbo"): lambda k: free_bits_elbo(VAE32, X, 1.0, k),
    ("num", "sprites"): lambda k: data.sprites(k),
    ("arms", "pinwheel"): lambda k: data.pinwheel(10, arms=k),
    ("number", "chapter"): lambda k: exercises.chapter(k),
}
NUMBERS = {
    "zero": (0.0, ValueError, r"NAME must be finite and above zero, got 0\.0; pass"),
    "negative": (-0.1, ValueError, r"NAME must be finite and above zero, got -0\.1; pass"),
    "NaN": (math.nan, ValueError, "NAME must be finite and above zero, got nan; pass"),
    "infinity": (math.inf, ValueError, "NAME must be finite and above zero, got inf; pass"),
    "a string": ("0.1", TypeError, "NAME must be a number, got '0.1'; pass"),
    "a tensor": (torch.tensor(0.1), TypeError, r"NAME must be a number, got tensor\("),
    "a truth value": (True, TypeError, "NAME must be a number, got True; pass"),
}
TAKE_NUMBERS = {
    ("scale", "GaussianConditional"): lambda s: GaussianConditional(mlp(3, 4), scale=s),
    ("scale", "LinearGaussian"): lambda s: LinearGaussian(torch.ones(4, 3), torch.zeros(4), s),
    ("scale", "optimal_linear_vae"): lambda s: optimal_linear_vae(X, 1, scale=s),
    ("beta", "optimal_linear_vae"): lambda s: optimal_linear_vae(X, 1, scale=1.0, beta=s),
    ("start", "linear_schedule"): lambda s: linear_schedule(10, start=s),
    ("end", "linear_schedule"): lambda s: linear_schedule(10, end=s),
    ("offset", "cosine_schedule"): lambda s: cosine_schedule(10, offset=s),
    ("lr", "fit"): lambda s: fit(VAE32, X, epochs=1, lr=s),
    ("noise", "moons"): lambda s: data.moons(10, noise=s),
    ("noise", "pinwheel"): lambda s: data.pinwheel(10, noise=s),
    ("held_out", "split"): lambda s: data.split(X, held_out=s),
    ("bound", "latent_grid"): lambda s: latent_grid(1, 10, s),
    ("threshold", "active_units"): lambda s: diagnostics.active_units(VAE32, X, s),
}
OTHER = {
    "fewer hidden units than pixels": (
        lambda: AutoregressiveConditional(3, 8, 5),
        ValueError,
        r"hidden must be at least 8, got 5; pass",
    ),
    "a code of another size": (
        lambda: AutoregressiveConditional(3, 4, 5)(torch.zeros(2, 4)),
        ValueError,
        r"given must have 3 columns of torch.float32, got shape \(2, 4\)",
    ),
    "no level": (
        lambda: HVAE([], [], PRIOR),
        ValueError,
        r"encoders and decoders must be as many, one each for every level, got 0 and 0",
    ),
    "a decoder too few": (
        lambda: HVAE([encoder(), encoder(3, 2)], [decoder()], StandardNormal(2)),
        ValueError,
        r"encoders and decoders must be as many.*got 2 and 1; p\(z_L\) is the prior",
    ),
    "levels in the wrong order": (
        lambda: HVAE(
            [encoder(), GaussianConditional(mlp(3, 4))],
            [GaussianConditional(mlp(2, 6)), decoder()],
            StandardNormal(2),
        ),
        ValueError,
        r"decoders\[1\] does not accept the z_2 above it, which has size 2",
    ),
    "an encoder of another size": (
        lambda: HVAE(
            [encoder(), GaussianConditional(mlp(3, 6))],
            [decoder(), GaussianConditional(mlp(2, 6))],
            StandardNormal(2),
        ),
        ValueError,
        r"encoders\[1\] gives z_2 of size 3, the model has 2; make its network return 2 \* 2",
    ),
    "an encoder that is a function": (
        lambda: HVAE([torch.sum], [decoder()], PRIOR),
        TypeError,
        r"encoders\[0\] must be a torch.nn.Module",
    ),
    "a level that does not exist": (
        lambda: TALL.decode(torch.zeros(1, 2), 3),
        ValueError,
        r"level must be at most 2, got 3",
    ),
    "a negative threshold": (
        lambda: free_bits_elbo(VAE32, X, -1.0),
        ValueError,
        r"free_nats must be finite and at least zero, got -1\.0",
    ),
    # Diffusion.
    "one level of noise": (
        lambda: log_snr_schedule(1, 4.0, -4.0),
        ValueError,
        r"num_levels must be at least 2, got 1; pass",
    ),
    "noise that shrinks": (
        lambda: log_snr_schedule(5, -4.0, 4.0),
        ValueError,
        r"last must be below first, got 4\.0 and -4\.0",
    ),
    "a log SNR that rises": (
        lambda: Schedule(torch.tensor([1.0, 2.0])),
        ValueError,
        r"log_snr must hold two levels or more.*got \[1\.0, 2\.0\]",
    ),
    "a level above the last": (
        lambda: forward_marginal(NOISE, X, 7),
        ValueError,
        r"levels must run from 0 to T = 6 .*t = 7; levels count from 1",
    ),
    "levels in reverse": (
        lambda: forward_kernel(NOISE, X, 3, 2),
        ValueError,
        r"with s below t, got s = 3 and t = 2",
    ),
    "back to the data": (
        lambda: reverse_posterior(NOISE, X, X, 0, 1),
        ValueError,
        r"levels must run from 1 to T = 6",
    ),
    "a level that is no whole number": (
        lambda: forward_marginal(NOISE, X, 0.5),
        TypeError,
        r"t must be a whole number, got 0\.5",
    ),
    "levels that are no whole numbers": (
        lambda: forward_marginal(NOISE, X, torch.ones(5)),
        TypeError,
        r"t must hold whole numbers, got torch.float32; use t.long",
    ),
    "data of another dtype than z": (
        lambda: reverse_posterior(NOISE, X, X.double(), 1, 2),
        TypeError,
        r"x must be torch.float32.*got torch.float64",
    ),
    "a number of levels for a schedule": (
        lambda: Diffusion(100, DIFFUSION.denoiser, 0.1, StandardNormal(4)),
        TypeError,
        r"schedule must be a Schedule, got int; make one with linear_schedule",
    ),
    "a denoiser of another size": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, 0.1, PRIOR),
        ValueError,
        r"denoiser does not accept z of size 3, the prior's: .*3 inputs and 8 time features",
    ),
    "a denoiser that returns another size": (
        lambda: Diffusion(NOISE, NoiseDenoiser(mlp(4 + TIME_FEATURES, 1)), 0.1, StandardNormal(4)),
        ValueError,
        r"net must return the noise in z, shape \(1, 4\), got \(1, 1\); give it 4 outputs",
    ),
    "a denoiser that leaves a pixel out": (
        lambda: Diffusion(NOISE, Halved(), 0.1, StandardNormal(4)),
        ValueError,
        r"denoiser must return x of size 4, as the prior's z has, got shape \(1, 2\)",
    ),
    "a network for a reverse decoder": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, mlp(4, 4), StandardNormal(4)),
        TypeError,
        r"decoder must return a torch.distributions object, got Tensor",
    ),
    "a decoder of another size": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, decoder(), StandardNormal(4)),
        ValueError,
        r"decoder does not accept z of size 4, the prior's.*build it for 4 inputs",
    ),
    "a scale of zero": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, 0.0, StandardNormal(4)),
        ValueError,
        r"decoder must be finite and above zero, got 0\.0",
    ),
    "all of beta": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, 0.1, StandardNormal(4), NOISE.beta),
        ValueError,
        r"reverse_covariance must have shape \(5,\) or \(5, 4, 4\).*got \(6,\).*beta\[1:\]",
    ),
    "a reverse variance of zero": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, 0.1, StandardNormal(4), torch.zeros(5)),
        ValueError,
        r"reverse_covariance must be positive",
    ),
    "latents of another model": (
        lambda: three_terms(DIFFUSION, X, TALL.trace(X).z),
        ValueError,
        r"latents must be 6 tensors \(K, 5, 4\), one a level, got",
    ),
    "the three terms of an HVAE": (
        lambda: diffusion_elbo(TALL, X),
        TypeError,
        r"model must be a Diffusion, got HVAE; companion.objectives.elbo",
    ),
    "a start of another size": (
        lambda: DIFFUSION.descend(X[:, :2], 3),
        ValueError,
        r"z must have 4 columns, got shape \(5, 2\)",
    ),
    "a covariance of another size": (
        lambda: GaussianDenoiser(torch.zeros(3), torch.eye(2)),
        ValueError,
        r"mean \(D,\) and covariance \(D, D\) disagree: got \(3,\) and \(2, 2\)",
    ),
    "a singular covariance": (
        lambda: GaussianDenoiser(torch.zeros(2), torch.zeros(2, 2)),
        ValueError,
        r"covariance must be symmetric and positive definite.*add a small",
    ),
    "points that are none": (
        lambda: DataDenoiser(X[0]),
        ValueError,
        r"data must have shape \(N, D\)",
    ),
    # Models of the wrong kind, and what hierarchies and diffusion are built of.
    "a prior that is a network": (
        lambda: HVAE([encoder()], [decoder()], mlp(3, 3)),
        TypeError,
        r"prior must take no argument .*; use e.g. StandardNormal",
    ),
    "a prior of single numbers": (
        lambda: VAE(encoder(), decoder(), Prior(Normal(0.0, 1.0))),
        ValueError,
        r"prior must have event \(d,\), got \(\); wrap it in Independent",
    ),
    "a prior that returns a tensor": (
        lambda: Diffusion(NOISE, DIFFUSION.denoiser, 0.1, Prior(torch.zeros(4))),
        TypeError,
        r"prior must return a torch.distributions object, got Tensor",
    ),
    "one encoder for a list": (
        lambda: HVAE(encoder(), decoder(), PRIOR),
        TypeError,
        r"encoders must be a list, one for each level, got GaussianConditional; put",
    ),
    "a list for z": (
        lambda: TALL.decode([[0.0, 0.0]], 2),
        TypeError,
        r"z must be a torch.Tensor, got list",
    ),
    "a single number for z": (
        lambda: TALL.decode(torch.tensor(0.0), 2),
        ValueError,
        r"z must have shape \(…, d\), got a single number",
    ),
    "one threshold a row": (
        lambda: free_bits_elbo(TALL, X, torch.ones(5)),
        ValueError,
        r"free_nats must be one number, got shape \(5,\)",
    ),
    "one beta a row": (
        lambda: beta_elbo(TALL, X, torch.ones(5)),
        ValueError,
        r"beta must be one number, got shape \(5,\)",
    ),
    "rates of an ensemble": (
        lambda: diagnostics.level_rates(Ensemble([TALL]), X),
        TypeError,
        r"model must be a LatentVariableModel such as a VAE, got Ensemble",
    ),
    "units of an autoencoder": (
        lambda: diagnostics.unit_rates(PLAIN, X),
        TypeError,
        r"model must be a LatentVariableModel such as a VAE, got Autoencoder",
    ),
    "active units of an autoencoder": (
        lambda: diagnostics.active_units(PLAIN, X),
        TypeError,
        r"model must be a LatentVariableModel",
    ),
    "information of an autoencoder": (
        lambda: diagnostics.mutual_information(PLAIN, X),
        TypeError,
        r"model must be a LatentVariableModel",
    ),
    "surgery on an autoencoder": (
        lambda: diagnostics.elbo_surgery(PLAIN, X),
        TypeError,
        r"model must be a LatentVariableModel",
    ),
    "active units of a list": (
        lambda: diagnostics.active_units(TALL, X.tolist()),
        TypeError,
        r"x must be a torch.Tensor, got list",
    ),
    "norms without a gradient": (
        lambda: diagnostics.gradient_norms(TALL, X, lambda m, x: log_marginal(m, x, 2)),
        ValueError,
        r"objective must return values with a gradient",
    ),
    "norms of constants": (
        lambda: diagnostics.gradient_norms(CHAIN.hvae(), X[:, :1]),
        ValueError,
        r"objective must return values with a gradient",
    ),
    "an ensemble of several scales": (
        lambda: Ensemble([DECODER, GaussianConditional(DECODER.net, scale=2.0)]),
        ValueError,
        r"models must share their constants, but scale differs; only parameters",
    ),
    "an ensemble of two dtypes": (
        lambda: Ensemble([decoder(), decoder().double()]),
        ValueError,
        r"models must have one architecture",
    ),
    "bounds of an ensemble of diffusions": (
        lambda: Ensemble([DIFFUSION] * 2).evaluate(beta_elbo, X, [1.0, 1.0]),
        ValueError,
        r"objective must not branch on values .* Diffusion do; train that by simple_loss",
    ),
    "a grid for a hierarchy": (
        lambda: posterior_on_grid(TALL, X),
        TypeError,
        r"model must be a VAE, got HVAE; a grid holds one level",
    ),
    "quadrature of a hierarchy": (
        lambda: log_marginal_quadrature(TALL, X),
        TypeError,
        r"model must be a VAE, got HVAE",
    ),
    "a list for a density": (
        lambda: kl_on_grid([0.0], torch.zeros(1), 0.0),
        TypeError,
        r"log_q must be a torch.Tensor, got list",
    ),
    "a grid too coarse for a floor": (
        lambda: gaussian_floor(latent_grid(1, 43)[0], latent_grid(1, 43)[0]),
        ValueError,
        r"z must have 44 points or more, got 43; use a finer grid",
    ),
    "an encoder for its distributions": (
        lambda: optimal_decoder(VAE32.encoder, X, X[:, :3]),
        TypeError,
        r"q must be a distribution of codes, got GaussianConditional; pass encoder\(x\)",
    ),
    "a code that is a list": (
        lambda: AutoregressiveConditional(3, 4, 5)([[0.0, 0.0, 0.0]]),
        TypeError,
        r"given must be a torch.Tensor, got list; convert",
    ),
    "a negative context": (
        lambda: AutoregressiveConditional(3, 4, 5, context=-1),
        ValueError,
        r"context must be at least 0, got -1",
    ),
    # Chains of Gaussians.
    "a covariance of other blocks": (
        lambda: Blocks(torch.zeros(2), torch.eye(3), [1, 1]),
        ValueError,
        r"covariance must be symmetric, of shape \(2, 2\).*got shape \(3, 3\)",
    ),
    "blocks that are not symmetric": (
        lambda: Blocks(torch.zeros(2), torch.ones(2, 2).triu(), [1, 1]),
        ValueError,
        r"covariance must be symmetric",
    ),
    "a block without size": (
        lambda: Blocks(torch.zeros(2), torch.eye(2), [3, -1]),
        ValueError,
        r"sizes must be at least 1, got -1",
    ),
    "a block shared": (
        lambda: CHAIN.joint().mutual_information([0], [0, 1]),
        ValueError,
        r"one and other must share no block, got \[0\] and \[0, 1\]",
    ),
    "a block twice": (
        lambda: CHAIN.joint().conditional(0, [1, 1]),
        ValueError,
        r"blocks must differ, got \[1, 1\]",
    ),
    "a block for a list": (
        lambda: CHAIN.joint().conditional(0, 1),
        TypeError,
        r"blocks must be a list with one or more, such as \[1\], got 1",
    ),
    "information of no Gaussian": (
        lambda: Blocks(torch.zeros(2), 2 - torch.eye(2), [1, 1]).mutual_information([0], [1]),
        ValueError,
        r"covariance of blocks \[0\] and \[1\] must be positive definite",
    ),
    "a chain from a batch": (
        lambda: chain_joint(MultivariateNormal(torch.zeros(5, 1), torch.eye(1)), [STEP]),
        ValueError,
        r"start must be one Gaussian, got a batch \(5,\)",
    ),
    "a chain from a Normal": (
        lambda: chain_joint(Normal(0.0, 1.0), [STEP]),
        TypeError,
        r"start must be a MultivariateNormal, got Normal",
    ),
    "a chain with a network": (
        lambda: LinearGaussianChain([GaussianConditional(mlp(1, 2))]),
        TypeError,
        r"decoders\[0\] must be a LinearGaussianConditional, got GaussianConditional",
    ),
    "a chain of two dtypes": (
        lambda: CHAIN.rates(X[:, :1], [STEP, copy.deepcopy(STEP).double()]),
        TypeError,
        r"encoders\[1\].weight must be torch.float32.*got torch.float64",
    ),
    "a hierarchy for its encoders": (
        lambda: CHAIN.rates(X[:, :1], CHAIN.hvae()),
        TypeError,
        r"encoders must be a list, got HVAE; see hvae.encoders",
    ),
    # Noise.
    "a number for a schedule": (
        lambda: forward_marginal(100, X, 1),
        TypeError,
        r"schedule must be a Schedule, got int; make one",
    ),
    "a level for other rows": (
        lambda: forward_marginal(NOISE, X, torch.ones(5, 1).long()),
        ValueError,
        r"t must be one level, or one for each of the rows \(5,\) of z, got shape \(5, 1\)",
    ),
    "a denoiser's level for other rows": (
        lambda: DIFFUSION.denoise(X, torch.ones(3).long()),
        ValueError,
        r"t must be one level, or one for each of the rows \(5,\) of z, got shape \(3,\)",
    ),
    "one column for a guess of x": (
        lambda: reverse_posterior(NOISE, X, X[:, :1], 1, 2),
        ValueError,
        r"x must go with z of shape \(5, 4\), got shape \(5, 1\)",
    ),
    "a log SNR for other rows": (
        lambda: DIFFUSION.denoiser(X, torch.zeros(3)),
        ValueError,
        r"log_snr must hold one number for each row of z, shape \(5,\), got \(3,\)",
    ),
    "z of another width for a Gaussian": (
        lambda: GaussianDenoiser(torch.zeros(3), torch.eye(3))(X, torch.zeros(5)),
        ValueError,
        r"z must have 3 columns.*got shape \(5, 4\)",
    ),
    "z of another dtype for a list of points": (
        lambda: DataDenoiser(X)(X.double(), torch.zeros(5)),
        TypeError,
        r"z must be a tensor of torch.float32.*got torch.float64",
    ),
    "a network for a denoiser": (
        lambda: Diffusion(NOISE, mlp(4, 4), 0.1, StandardNormal(4)),
        TypeError,
        r"denoiser must take z and log SNR as tensors.*NoiseDenoiser\(net\)",
    ),
    "a denoiser that returns nothing": (
        lambda: Diffusion(NOISE, Silent(), 0.1, StandardNormal(4)),
        TypeError,
        r"denoiser must return a tensor, its guess of x, got NoneType",
    ),
    "a reverse covariance that is not symmetric": (
        lambda: Diffusion(
            NOISE,
            DIFFUSION.denoiser,
            0.1,
            StandardNormal(4),
            (torch.eye(4) + torch.ones(4, 4).triu(1)).repeat(5, 1, 1),
        ),
        ValueError,
        r"reverse_covariance must be positive \(a matrix symmetric and definite\), got .* 0 to 1",
    ),
    "an exact diffusion of points": (
        lambda: exact_gaussian_diffusion(NOISE, DataDenoiser(X)),
        TypeError,
        r"denoiser must be a GaussianDenoiser, got DataDenoiser",
    ),
    "latents of two numbers of draws": (
        lambda: three_terms(
            DIFFUSION, X, (*DIFFUSION.trace(X, 2).z[:5], DIFFUSION.trace(X, 3).z[5])
        ),
        ValueError,
        r"latents must be 6 tensors \(K, 5, 4\), one a level",
    ),
    # Sizes that disagree.
    "decoder and prior": (
        lambda: VAE(encoder(), decoder(units=2), PRIOR),
        ValueError,
        r"decoder does not accept the prior's z, which has size 3: .*build it for 3 inputs",
    ),
    "encoder and decoder": (
        lambda: VAE(encoder(pixels=5), decoder(), PRIOR),
        ValueError,
        r"encoder does not accept the decoder's x, which has size 4: .*build it for 4 inputs",
    ),
    "encoder and prior": (
        lambda: VAE(encoder(units=2), decoder(), PRIOR),
        ValueError,
        r"encoder and prior disagree: encoder gives z of size 2, prior of size 3; make .* 2 \* 3",
    ),
    "encoder and decoder swapped": (
        lambda: VAE(decoder(), encoder(), PRIOR),
        ValueError,
        r"decoder does not accept the prior's z",
    ),
    "an odd number of outputs": (
        lambda: VAE(GaussianConditional(mlp(4, 7)), decoder(), PRIOR),
        ValueError,
        r"net must return mean and log-variance.*got 7; give it 2 \* d outputs",
    ),
    "a network for an encoder": (
        lambda: VAE(mlp(4, 6), decoder(), PRIOR),
        TypeError,
        r"encoder must return a torch.distributions object, got Tensor; wrap",
    ),
    "a network for a decoder": (
        lambda: VAE(encoder(), mlp(3, 4), PRIOR),
        TypeError,
        r"decoder must return a torch.distributions object, got Tensor; wrap",
    ),
    "a distribution for a prior": (
        lambda: VAE(encoder(), decoder(), PRIOR()),
        TypeError,
        r"prior must be a torch.nn.Module, got Independent; e.g. StandardNormal",
    ),
    "an encoder without rsample": (
        lambda: VAE(Counts(), decoder(), PRIOR),
        ValueError,
        r"encoder must draw z with rsample.*Poisson.*use",
    ),
    "a function for a network": (
        lambda: GaussianConditional(lambda u: u, scale=1.0),
        TypeError,
        r"net must be a torch.nn.Module, got function; build",
    ),
    "halves of two dtypes": (
        lambda: elbo(VAE(encoder().double(), decoder(), PRIOR), X.double()),
        ValueError,
        r"given must fit the network, got shape \(1, 5, 3\) and torch.float64",
    ),
    "a decoder called with another size": (
        lambda: VAE32.decoder(torch.zeros(2, 5)),
        ValueError,
        r"given must fit the network, got shape \(2, 5\).*build it for 5 inputs",
    ),
    "an autoencoder's data": (
        lambda: PLAIN.encode(X[:, :2]),
        ValueError,
        r"x must fit the encoder, got shape \(5, 2\).*build it for 2 inputs",
    ),
    "an autoencoder's dtype": (lambda: PLAIN(X.double()), TypeError, r"x must be torch.float32"),
    "one size": (lambda: mlp(4), ValueError, r"sizes must hold input and output size, got \(4,\)"),
    "a list of sizes": (lambda: mlp([4, 3]), ValueError, r"sizes must hold .*got \(\[4, 3\],\)"),
    # Data that the decoder cannot produce.
    "grey pixels": (
        lambda: elbo(BINARY, GREY),
        ValueError,
        r"x must be data that the Bernoulli decoder can produce, but x\[0\].*0\.2689.*binarise",
    ),
    "grey pixels in one row": (
        lambda: fit(BINARY, torch.cat([torch.ones(3, 4), GREY[:1]]), epochs=1, batch_size=4),
        ValueError,
        r"x must be data that the Bernoulli decoder can produce.*binarise",
    ),
    "pixels up to 255": (
        lambda: data.binarise(255 * GREY),
        ValueError,
        r"x must lie in \[0, 1\], got values from 68\..* to 186.*; rescale",
    ),
    # Models of the wrong kind.
    "the ELBO of an autoencoder": (
        lambda: elbo(PLAIN, X),
        TypeError,
        r"model must be a LatentVariableModel such as a VAE, got Autoencoder; .*log_reconstruction",
    ),
    "the ELBO of an exact model": (
        lambda: iwae_bound(LINEAR, X, 3),
        TypeError,
        r"model must be a LatentVariableModel such as a VAE, got LinearGaussian",
    ),
    "training an autoencoder on the ELBO": (
        lambda: fit(PLAIN, X, epochs=1),
        TypeError,
        r"got Autoencoder; .*log_reconstruction",
    ),
    "an autoencoder's score of a VAE": (
        lambda: log_reconstruction(VAE32, X),
        TypeError,
        r"model must be an Autoencoder, got VAE; .*elbo",
    ),
    # Weights of the rate.
    "a negative beta": (
        lambda: beta_elbo(VAE32, X, -1.0),
        ValueError,
        r"beta must be finite and at least zero, got -1\.0; pass",
    ),
    "a beta of NaN": (lambda: beta_elbo(VAE32, X, math.nan), ValueError, r"beta must be .*got nan"),
    "a beta in words": (
        lambda: beta_elbo(VAE32, X, "1"),
        TypeError,
        r"beta must be a number, got '1'; pass",
    ),
    "mu and logvar": (
        lambda: gaussian_kl(torch.zeros(5, 3), torch.zeros(3, 5)),
        ValueError,
        r"mu and logvar must have one shape, got \(5, 3\) and \(3, 5\)",
    ),
    # Linear Gaussians.
    "shapes of W, b and the covariance": (
        lambda: LinearGaussianConditional(torch.ones(3, 2), torch.zeros(2), torch.eye(3)),
        ValueError,
        r"weight \(d, u\), bias \(d,\) and covariance.*got \(3, 2\), \(2,\), \(3, 3\)",
    ),
    "a covariance that is none": (
        lambda: LinearGaussianConditional(torch.ones(2, 2), torch.zeros(2), -torch.eye(2)),
        ValueError,
        r"covariance must be symmetric and positive definite, got \[\[-1\.0.*add",
    ),
    "a covariance that is not symmetric": (
        lambda: LinearGaussianConditional(
            torch.ones(2, 2), torch.zeros(2), torch.tensor([[2.0, 1.0], [0.0, 2.0]])
        ),
        ValueError,
        r"covariance must be symmetric and positive definite",
    ),
    "a weight of NaN": (
        lambda: LinearGaussianConditional(
            torch.full((2, 2), math.nan), torch.zeros(2), torch.eye(2)
        ),
        ValueError,
        r"weight must be finite, but weight\[0, 0\] is nan",
    ),
    "an integer weight": (
        lambda: LinearGaussian(torch.ones(4, 3).long(), torch.zeros(4), 1.0),
        TypeError,
        r"weight must be floating point, got torch.int64; .*float",
    ),
    "what a linear conditional is given": (
        lambda: CONSTANT.encoder(torch.zeros(5, 2)),
        ValueError,
        r"given must have 4 columns of torch.float32.*got shape \(5, 2\)",
    ),
    "W and b": (
        lambda: LinearGaussian(torch.ones(4, 3), torch.zeros(3), 1.0),
        ValueError,
        r"weight \(D, d\) and bias \(D,\) disagree: got \(4, 3\) and \(3,\)",
    ),
    "W and b of two dtypes": (
        lambda: LinearGaussian(torch.ones(4, 3).double(), torch.zeros(4), 1.0),
        TypeError,
        r"bias must be torch.float64.*got torch.float32; convert",
    ),
    "z of another size": (
        lambda: LINEAR.likelihood(torch.zeros(5, 2)),
        ValueError,
        r"z must have 3 columns, as W has, got shape \(5, 2\)",
    ),
    "a q that is no Gaussian": (
        lambda: LINEAR.elbo(X, Laplace(torch.zeros(3), 1.0)),
        TypeError,
        r"q must be a MultivariateNormal or Independent Normal, got Laplace; .*elbo",
    ),
    "a q without its event axis": (
        lambda: LINEAR.elbo(X, Normal(torch.zeros(5, 3), 1.0)),
        TypeError,
        r"q must be a MultivariateNormal or Independent Normal, got Normal",
    ),
    "a q of another batch": (
        lambda: LINEAR.elbo(X, MultivariateNormal(torch.zeros(2, 3), torch.eye(3))),
        ValueError,
        r"q must have batch \(5,\).*got batch \(2,\)",
    ),
    "a q of another size": (
        lambda: LINEAR.elbo(X, MultivariateNormal(torch.zeros(5, 2), torch.eye(2))),
        ValueError,
        r"q must have batch .* event \(3,\), got .* event \(2,\)",
    ),
    "a scale lost in rounding of the marginal": (
        lambda: LinearGaussian(WAVES, torch.zeros(40), 3e-4).marginal(),
        ValueError,
        r"scale = 0.0003 is too small beside W for torch.float32; .*float64",
    ),
    "a scale lost in rounding": (
        lambda: LinearGaussian(100 * torch.ones(4, 3), torch.zeros(4), 1e-4).marginal(),
        ValueError,
        r"scale = 0.0001 is too small beside W for torch.float32; .*float64",
    ),
    # Tables.
    "a prior that does not sum to one": (
        lambda: DiscreteModel(torch.tensor([0.5, 0.6]), HALF),
        ValueError,
        r"prior must hold probabilities.*sum to 1\.1.*divide",
    ),
    "a negative probability": (
        lambda: DiscreteModel(torch.tensor([0.5, 0.5]), torch.tensor([[1.5, -0.5], [0.5, 0.5]])),
        ValueError,
        r"likelihood must hold probabilities.*least entry is -0\.5",
    ),
    "a probability of NaN": (
        lambda: DiscreteModel(torch.tensor([0.5, math.nan]), HALF),
        ValueError,
        r"prior must be finite, but prior\[1\] is nan",
    ),
    "tables that disagree": (
        lambda: DiscreteModel(torch.tensor([0.5, 0.5]), torch.full((3, 2), 0.5)),
        ValueError,
        r"prior \(Z,\) and likelihood \(Z, X\) disagree: got \(2,\) and \(3, 2\)",
    ),
    "a list for a table": (
        lambda: DiscreteModel([0.5, 0.5], HALF),
        TypeError,
        r"prior must be a torch.Tensor, got list",
    ),
    "an empty table": (
        lambda: DiscreteModel(torch.ones(0), torch.ones(0, 2)),
        ValueError,
        r"prior is empty",
    ),
    "q with its axes swapped": (
        lambda: DiscreteModel(torch.tensor([1.0]), HALF[:1]).elbo(torch.ones(1, 2)),
        ValueError,
        r"q must have shape \(2, 1\).*got \(1, 2\); .*the other way round",
    ),
    "too many tuples": (
        lambda: COIN.iwae_bound(HALF, 40),
        ValueError,
        r"num_samples = 40 needs 2\^40 terms; pass fewer",
    ),
    # Grids.
    "too many latent units for a grid": (
        lambda: log_marginal_quadrature(VAE32, X),
        ValueError,
        r"d must be 1 or 2, got 3",
    ),
    "a grid of one point": (
        lambda: latent_grid(1, 1),
        ValueError,
        r"num_points .* at least 2",
    ),
    "quadrature of a full covariance": (
        lambda: elbo_quadrature(VAE32, X, LINEAR.posterior(X)),
        TypeError,
        r"q must be an Independent Normal, got MultivariateNormal; .*elbo",
    ),
    "NaN among the averaged": (
        lambda: optimal_decoder(VAE32.encoder(X), NAN, X[:, :3]),
        ValueError,
        r"x must be finite, but x\[0, 2\] is nan; remove",
    ),
    "data of another dtype than their codes": (
        lambda: optimal_decoder(VAE32.encoder(X), X.double(), X[:, :3]),
        TypeError,
        r"x must be torch.float32.*got torch.float64; .*x.to\(",
    ),
    "codes of other data": (
        lambda: optimal_decoder(VAE32.encoder(X[:3]), X, X[:, :3]),
        ValueError,
        r"q must have batch \(5,\), as x has rows.*got batch \(3,\) and event \(3,\); pass encoder",
    ),
    "units as batch": (
        lambda: optimal_decoder(Normal(X[:, :3], 1.0), X, X[:, :3]),
        ValueError,
        r"q must have batch \(5,\).*got batch \(5, 3\) and event \(\); pass encoder",
    ),
    "a code of another width": (
        lambda: optimal_decoder(VAE32.encoder(X), X, X),
        ValueError,
        r"z must have 3 columns, got shape \(5, 4\)",
    ),
    "more units than pixels": (
        lambda: optimal_linear_vae(X, 5, scale=1.0),
        ValueError,
        r"d must be at most the 4 columns of x, got 5",
    ),
    # Data sets.
    "a share of one": (
        lambda: data.split(X, held_out=1.0),
        ValueError,
        r"held_out must lie between 0 and 1, got 1\.0",
    ),
    "too few rows to split": (
        lambda: data.split(X[:2], held_out=0.1),
        ValueError,
        r"held_out = 0\.1 of 2 rows leaves a part empty",
    ),
    "labels of another length": (
        lambda: data.split(X, torch.arange(4)),
        ValueError,
        r"others must have as many rows as x, 5, got \[4\]",
    ),
    "a negative seed": (
        lambda: data.moons(10, seed=-1),
        ValueError,
        r"seed must be at least 0, got -1",
    ),
    "a seed in words": (
        lambda: data.binarise(GREY, seed="a"),
        TypeError,
        r"seed must be a whole number, got 'a'",
    ),
    "one moon": (lambda: data.moons(1), ValueError, r"num must be at least 2, got 1"),
    "a shape that is none": (
        lambda: data.draw_sprites(torch.tensor([[3.0, 0, 0, 0.3]])),
        ValueError,
        r"factors\[:, 0\] must be 0, 1 or 2",
    ),
    "a radius of zero": (
        lambda: data.draw_sprites(torch.tensor([[1.0, 0, 0, 0]])),
        ValueError,
        r"factors\[:, 3\], the radius, must be above zero, got 0",
    ),
    "sprites too large": (
        lambda: data.sprites(3, size=65),
        ValueError,
        r"size must lie between 4 and 64, got 65",
    ),
    # Training.
    "negative epochs": (
        lambda: fit(VAE32, X, epochs=-1),
        ValueError,
        r"epochs must be at least 0, got -1",
    ),
    "half an epoch": (lambda: fit(VAE32, X, epochs=0.5), TypeError, r"epochs .*whole number"),
    "a mean over the batch": (
        lambda: fit(VAE32, X, lambda m, b: elbo(m, b).mean(), epochs=1),
        ValueError,
        r"objective must return one number for each of the 5 rows.*got \(\); sum over pixels",
    ),
    "a sample axis left over": (
        lambda: fit(VAE32, X, lambda m, b: m.trace(b, 2).log_weight, epochs=1),
        ValueError,
        r"objective must return .* shape \(5,\), got \(2, 5\)",
    ),
    "an objective that returns nothing": (
        lambda: fit(VAE32, X, lambda m, b: None, epochs=1),
        TypeError,
        r"objective must return a tensor of shape \(5,\), got NoneType",
    ),
    "an objective without gradient": (
        lambda: fit(VAE32, X, lambda m, b: log_marginal(m, b, 2), epochs=1),
        ValueError,
        r"objective must return values with a gradient.*iwae_bound",
    ),
    "no module": (
        lambda: fit(LINEAR, X, epochs=1),
        TypeError,
        r"model must be a torch.nn.Module, got LinearGaussian; e.g. a VAE",
    ),
    "nothing to train": (
        lambda: fit(CONSTANT, X, epochs=1),
        ValueError,
        r"model must have parameters to fit, got none",
    ),
    # Ensembles and estimators.
    "no members": (lambda: Ensemble([]), ValueError, r"models is empty; pass at least one"),
    "members of two kinds": (
        lambda: Ensemble([VAE32, VAE(encoder(units=2), decoder(units=2), StandardNormal(2))]),
        ValueError,
        r"models must have one architecture",
    ),
    "fewer values than members": (
        lambda: Ensemble([VAE32, VAE32]).objective(beta_elbo, [1.0]),
        ValueError,
        r"values must hold 2 numbers, got 1",
    ),
    "a pathwise gradient through a coin": (
        lambda: pathwise(torch.distributions.Bernoulli(0.5), torch.sum, 3),
        ValueError,
        r"q must have rsample, Bernoulli has not; use score_function",
    ),
    # Diagnostics.
    "samples of two widths": (
        lambda: diagnostics.energy_distance(X, X[:, :2]),
        ValueError,
        r"y must have 4 columns, got shape \(5, 2\)",
    ),
    "samples of two dtypes": (
        lambda: diagnostics.nearest_distance(X, X.double()),
        TypeError,
        r"data must be torch.float32.*got torch.float64; convert it with data.to",
    ),
    "the information of one row": (
        lambda: diagnostics.mutual_information(VAE32, X[:1]),
        ValueError,
        r"x must have two rows or more, got 1",
    ),
    "a picture of one pixel": (
        lambda: diagnostics.sharpness(X[:, :1]),
        ValueError,
        r"x must hold square images, got 1 pixels",
    ),
    "a folder that does not exist": (
        lambda: save_weights(VAE32, "/no/such/folder/weights.safetensors"),
        FileNotFoundError,
        r"path '/no/such/folder/weights.safetensors' is in no folder that exists; make",
    ),
    "a member that is no model": (
        lambda: Ensemble([VAE32, 3]),
        TypeError,
        r"each of models must be a torch.nn.Module, got int; e.g. a VAE",
    ),
    "a sample of one": (
        lambda: diagnostics.energy_distance(X[:1], X),
        ValueError,
        r"x and y need two rows or more each, got 1 and 5",
    ),
    "codes and factors of two lengths": (
        lambda: diagnostics.mutual_information_gap(X, X[:3]),
        ValueError,
        r"codes .* and factors .* got \(5, 4\) and \(3, 4\)",
    ),
    "a code of one unit": (
        lambda: diagnostics.mutual_information_gap(X[:, :1], X),
        ValueError,
        r"d of at least 2",
    ),
    "a factor that never varies": (
        lambda: diagnostics.mutual_information_gap(X, torch.ones(5, 1)),
        ValueError,
        r"factors\[:, 0\] never varies",
    ),
    # Explorers and exercises.
    "no control": (lambda: explore(print), ValueError, r"controls is empty; name at least one"),
    "a control without values": (
        lambda: explore(print, beta=[]),
        ValueError,
        r"number of values of beta must be at least 1, got 0",
    ),
    "a control that is no sequence": (
        lambda: explore(print, beta=3),
        TypeError,
        r"beta must be a sequence of values such as .*, got 3",
    ),
    "a label too many": (
        lambda: explore(print, labels={"gamma": "γ"}, beta=[1]),
        ValueError,
        r"labels names no control: \['gamma'\]; controls: \['beta'\]",
    ),
    "a drawing that is no function": (
        lambda: explore(3, beta=[1]),
        TypeError,
        r"draw must be a function that returns a Figure, got 3",
    ),
    "a drawing that returns nothing": (
        lambda: explore(lambda beta: None, beta=[1]).page(),
        TypeError,
        r"draw must return a matplotlib Figure, got NoneType",
    ),
    "an unknown chapter": (lambda: exercises.chapter(99), ValueError, r"number .*got 99"),
    "an unknown exercise": (
        lambda: exercises.chapter(3).no_such,
        ValueError,
        r"name 'no_such' is no exercise of chapter 3; it has",
    ),
}


def sees(call, error, message):
    """Assert what a reader sees: the type, the words, and that the package speaks and not torch."""
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value).__name__ != "TypeCheckError", "shape checks must be off here"
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename.startswith(HOME), f"the error comes from {frame.filename}"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("bad", DATA)
@pytest.mark.parametrize("name", TAKE_DATA)
def test_data(name, bad):
    x, error, message = DATA[bad]
    sees(lambda: TAKE_DATA[name](x), error, message)


@pytest.mark.parametrize("bad", COUNTS)
@pytest.mark.parametrize("name", TAKE_COUNTS, ids="-".join)
def test_counts(name, bad):
    value, error, message = COUNTS[bad]
    sees(lambda: TAKE_COUNTS[name](value), error, message.replace("NAME", name[0]))


@pytest.mark.parametrize("bad", NUMBERS)
@pytest.mark.parametrize("name", TAKE_NUMBERS, ids="-".join)
def test_numbers(name, bad):
    value, error, message = NUMBERS[bad]
    sees(lambda: TAKE_NUMBERS[name](value), error, message.replace("NAME", name[0]))


@pytest.mark.parametrize("case", OTHER)
def test_others(case):
    sees(*OTHER[case])


@pytest.mark.parametrize(
    "call",
    [
        lambda: elbo(VAE32, X, np.int64(3)),
        lambda: beta_elbo(VAE32, X, 0),
        lambda: beta_elbo(VAE32, X, np.float32(2)),
        lambda: beta_elbo(VAE32, X, torch.tensor(2.0)),
        lambda: GaussianConditional(mlp(3, 4), scale=1),
        lambda: iwae_bound(VAE32, X, 3, chunk_size=1000),
        lambda: elbo(VAE32, X.clone().requires_grad_()),
        lambda: elbo(VAE32, X.T.contiguous().T),
        lambda: elbo(BINARY, (X > 0).float()),
        lambda: elbo(VAE32, X[:1].expand(6, 4)),
        lambda: data.split(X, torch.arange(5), ["a", "b", "c", "d", "e"][:0] or torch.ones(5)),
    ],
)
def test_good_input_that_looks_odd_passes(call):
    call()


def test_frozen_levels_have_no_gradient_and_the_others_theirs():
    model = copy.deepcopy(TALL)
    model.encoders[0].requires_grad_(False)
    norms = diagnostics.gradient_norms(model, X)
    assert norms.encoders[0] == 0
    assert norms.encoders[1] > 0
    assert (norms.decoders > 0).all()


def test_an_ensemble_of_autoregressive_decoders_and_one_of_diffusions_can_be_mapped():
    binary = VAE(encoder(), AutoregressiveConditional(3, 4, 8), PRIOR)
    assert Ensemble([binary] * 2).evaluate(beta_elbo, (X > 0).float(), [1.0, 1.0]).shape == (2, 5)
    loss = Ensemble([DIFFUSION] * 2).evaluate(lambda m, x, _: simple_loss(m, x), X, [0.0, 0.0])
    assert loss.shape == (2, 5)


def test_an_inspection_does_not_end_the_readers_session():
    def leave(_):
        raise SystemExit

    look = Inspection("look", (Condition("no", "no", leave),), lambda _: "yes")
    assert "could not be looked at: SystemExit" in look.verdict(1)
