"""What a reader sees who passes the wrong thing, and that the remedy in the message works.

The package checks at the door: constructors, traces, `fit`, data, explorers, exercises. There an
error has the right type and names the argument; a remedy that is code is run here, and ends in a
call that works. Behind the door a wrong argument gives an error of any kind, but never a number.

Shape checks by jaxtyping are off here, as they are for a reader.
"""

import copy
import math
import re

import jaxtyping
import numpy
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, Normal, Poisson
from torch.utils.data import DataLoader, TensorDataset

from companion import (
    HVAE,
    VAE,
    Autoencoder,
    AutoregressiveConditional,
    BernoulliConditional,
    Ensemble,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    TopDownHVAE,
    beta_elbo,
    data,
    diagnostics,
    diffusion,
    elbo,
    elbo_analytic,
    exact,
    exercises,
    fit,
    free_bits_elbo,
    gaussian_kl,
    iwae_bound,
    linear_warm_up,
    log_marginal,
    log_reconstruction,
    mlp,
    pathwise,
)
from companion.conditionals import GaussianPrior
from companion.diagnostics import mutual_information_gap
from companion.diffusion import (
    DataDenoiser,
    Diffusion,
    GaussianDenoiser,
    NoiseDenoiser,
    Schedule,
    diffusion_elbo,
    forward_kernel,
    forward_marginal,
    log_snr_schedule,
    reverse_posterior,
    three_terms,
)
from companion.exact import (
    Blocks,
    DiscreteModel,
    LinearGaussian,
    LinearGaussianChain,
    optimal_decoder,
)
from companion.exercises.inspecting import Condition, Inspection
from companion.explore import explore


@pytest.fixture(autouse=True)
def as_a_reader_sees_it():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def encoder(pixels=4, units=3):
    return GaussianConditional(mlp(pixels, 6, 2 * units))


def decoder(pixels=4, units=3):
    return GaussianConditional(mlp(units, 8, pixels), scale=0.5)


def denoiser(pixels=4):
    return NoiseDenoiser(mlp(pixels + diffusion.TIME_FEATURES, 4, pixels))


torch.manual_seed(0)
PRIOR = StandardNormal(3)
FLAT = VAE(encoder(), decoder(), PRIOR)
DOUBLE = VAE(encoder(), decoder(), StandardNormal(3)).double()
UPPER = [decoder(), GaussianConditional(mlp(2, 6))]
TALL = HVAE([encoder(), GaussianConditional(mlp(3, 4))], UPPER, StandardNormal(2))
TOP_DOWN = TopDownHVAE([encoder(4 + 2), encoder(4, 2)], UPPER, StandardNormal(2))
NOISE = log_snr_schedule(6, 4.0, -4.0)
DIFFUSION = Diffusion(NOISE, denoiser(), StandardNormal(4), scale=0.1)
BINARY = VAE(encoder(), BernoulliConditional(mlp(3, 4)), PRIOR)
BY_PIXEL = VAE(encoder(), AutoregressiveConditional(3, 4, 8), PRIOR)
PLAIN, LOPSIDED = Autoencoder(mlp(4, 3), decoder()), Autoencoder(mlp(1, 3), decoder())
LINEAR = LinearGaussian(torch.linspace(-1, 2, 12).reshape(4, 3), torch.zeros(4), 0.5)
NARROW = VAE(encoder(units=1), decoder(units=1), StandardNormal(1))
IDEAL = GaussianDenoiser(torch.zeros(4), torch.eye(4))
CLOSED = diffusion.exact_gaussian_diffusion(NOISE, IDEAL)
HALF = torch.tensor([0.5, 0.5])
COIN = DiscreteModel(HALF, torch.eye(2))
STEP = LinearGaussianConditional(torch.ones(1, 1), torch.zeros(1), torch.eye(1))
CHAIN = LinearGaussianChain([STEP, STEP])
X = torch.linspace(-1, 1, 20).reshape(5, 4)
GREY = X.sigmoid()


def message(call, error, name):
    """What the error says: of this type, in one line that names the argument."""
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    said = str(caught.value)
    assert re.search(rf"\b{name}(?!\w)", said), said
    assert "\n" not in said
    assert len(said) < 500
    return said


def follow(remedy, said, name, value):
    """Run a remedy that stands in a message, as a reader would who copies it."""
    assert remedy in said, said
    return eval(remedy, {name: value, "torch": torch, "numpy": numpy, "data": data})


# --- data -----------------------------------------------------------------------------------------


class Frame:
    """A table as pandas has them: an array inside, and none of a tensor's methods."""

    def __array__(self, dtype=None, copy=None):
        return X.double().numpy().astype(dtype or float)

    def __len__(self):
        return len(X)


def spoiled(value):
    x = X.clone()
    x[1, 2] = value
    return x


FROM_ARRAY = "torch.tensor(numpy.asarray(x, dtype='float32'))"
DATA = {
    "one column": (X[:, :1], ValueError, None),
    "too narrow": (X[:, :3], ValueError, None),
    "pixels first": (X.T, ValueError, None),
    "one row": (X[0], ValueError, "x[None]"),
    "images": (X.reshape(5, 2, 2), ValueError, "x.flatten(1)"),
    "images with a channel": (X.reshape(5, 1, 2, 2), ValueError, "x.flatten(1)"),
    "NaN": (spoiled(math.nan), ValueError, "x[x.reshape(len(x), -1).isfinite().all(1)]"),
    "infinity": (spoiled(-math.inf), ValueError, "x[x.reshape(len(x), -1).isfinite().all(1)]"),
    "integers": (X.long(), TypeError, "x.float()"),
    "bytes": ((4 * GREY).byte(), TypeError, "x.float()"),
    "truth values": (X > 0, TypeError, "x.float()"),
    "complex": (X.to(torch.complex64), TypeError, None),
    "float64": (X.double(), TypeError, "x.to('cpu', torch.float32)"),
    "float16": (X.half(), TypeError, "x.to('cpu', torch.float32)"),
    "numpy": (X.double().numpy(), TypeError, FROM_ARRAY),
    "a list": (X.tolist(), TypeError, FROM_ARRAY),
    "a list of rows": ([*X], TypeError, FROM_ARRAY),
    "a table": (Frame(), TypeError, FROM_ARRAY),
}
DOORS = {
    "VAE.trace": FLAT.trace,
    "HVAE.trace": TALL.trace,
    "TopDownHVAE.trace": TOP_DOWN.trace,
    "Diffusion.trace": lambda x: DIFFUSION.trace(x, 2),
    "elbo": lambda x: elbo(FLAT, x),
    "elbo_analytic": lambda x: elbo_analytic(TOP_DOWN, x),
    "beta_elbo": lambda x: beta_elbo(FLAT, x, 2.0),
    "free_bits_elbo": lambda x: free_bits_elbo(TALL, x, 2.0),
    "iwae_bound": lambda x: iwae_bound(FLAT, x, 3),
    "log_marginal": lambda x: log_marginal(FLAT, x, 3),
    "one_level_elbo": lambda x: diffusion.one_level_elbo(DIFFUSION, x),
    "simple_loss": lambda x: diffusion.simple_loss(DIFFUSION, x),
    "fit": lambda x: fit(copy.deepcopy(FLAT), x, epochs=1),
    "LinearGaussian.posterior": LINEAR.posterior,
    "LinearGaussian.elbo": lambda x: LINEAR.elbo(x, LINEAR.prior()),
    "level_rates": lambda x: diagnostics.level_rates(TALL, x),
    "unit_rates": lambda x: diagnostics.unit_rates(FLAT, x),
    "mutual_information": lambda x: diagnostics.mutual_information(FLAT, x),
}
"""Calls that check their data, all for four pixels in float32."""


@pytest.mark.filterwarnings("ignore:std.*degrees of freedom")
@pytest.mark.parametrize("bad", DATA)
@pytest.mark.parametrize("door", DOORS)
def test_data(door, bad):
    x, error, remedy = DATA[bad]
    said = message(lambda: DOORS[door](x), error, "x")
    if remedy is not None:
        DOORS[door](follow(remedy, said, "x", x))


def test_data_on_another_device():
    for door in DOORS:
        if door != "fit":  # which moves its batches itself
            assert "x.to('cpu'" in message(lambda d=door: DOORS[d](X.to("meta")), TypeError, "x")


def test_one_remedy_after_another_ends_in_a_call_that_works():
    # Integers in numpy's order for a model in float64: each message mends one thing.
    x, model = (10 * X).int().numpy().reshape(5, 2, 2), DOUBLE
    steps = [
        (TypeError, FROM_ARRAY),
        (TypeError, "x.to('cpu', torch.float64)"),
        (ValueError, "x.flatten(1)"),
    ]
    for error, remedy in steps:
        x = follow(remedy, message(lambda x=x: elbo(model, x), error, "x"), "x", x)
    assert elbo(model, x).shape == (5,)


@pytest.mark.parametrize("model", [BINARY, BY_PIXEL], ids=["independent", "pixel by pixel"])
@pytest.mark.parametrize("bad", [GREY, 255 * GREY.round(), X, torch.cat([GREY.round(), GREY[:1]])])
def test_pixels_that_no_bernoulli_draws(model, bad):
    # One grey row among black and white ones is enough, in a trace and in a fit.
    for call in (elbo, log_marginal, lambda m, x: fit(copy.deepcopy(m), x, epochs=1)):
        said = message(lambda call=call: call(model, bad), ValueError, "x")
        if bad.min() >= 0 and bad.max() <= 1:
            call(model, follow("data.binarise(x)", said, "x", bad))
    said = message(lambda: data.binarise(255 * GREY), ValueError, "x")
    data.binarise(follow("x / x.max()", said, "x", 255 * GREY))


def test_images_and_labels_are_fitted_where_they_are_asked_for():
    images, labels = X.reshape(5, 1, 2, 2), torch.arange(5)
    for x in (images, TensorDataset(images, labels), DataLoader(TensorDataset(images, labels), 2)):
        message(lambda x=x: fit(copy.deepcopy(FLAT), x, epochs=1), ValueError, "x")
        fit(copy.deepcopy(FLAT), x, epochs=1, flatten=True)


# --- numbers --------------------------------------------------------------------------------------

NO_COUNTS = [0, -3, 2.0, "3", True, torch.tensor(3), math.nan]
NO_NUMBERS = [0.0, -0.1, math.nan, math.inf, "0.1", True, torch.tensor(0.1)]
TAKE_COUNTS = {
    ("num_samples", "trace"): lambda k: TALL.trace(X, k),
    ("num_samples", "Diffusion.trace"): lambda k: DIFFUSION.trace(X, k),
    ("num_samples", "elbo"): lambda k: elbo(FLAT, X, k),
    ("num_samples", "beta_elbo"): lambda k: beta_elbo(FLAT, X, 1.0, k),
    ("num_samples", "iwae_bound"): lambda k: iwae_bound(FLAT, X, k),
    ("num_samples", "mutual_information"): lambda k: diagnostics.mutual_information(FLAT, X, k),
    ("level", "descend"): lambda k: TALL.descend(torch.zeros(1, 2), k),
    ("level", "Diffusion.descend"): lambda k: DIFFUSION.descend(X, k),
    ("level", "active_units"): lambda k: diagnostics.active_units(TALL, X, level=k),
    ("epochs", "linear_warm_up"): linear_warm_up,
    ("num_samples", "log_marginal"): lambda k: log_marginal(FLAT, X, k),
    ("chunk_size", "log_marginal"): lambda k: log_marginal(FLAT, X, 9, chunk_size=k),
    ("batch_size", "fit"): lambda k: fit(FLAT, X, epochs=1, batch_size=k),
    ("hidden", "AutoregressiveConditional"): lambda k: AutoregressiveConditional(3, 4, k),
    ("d", "optimal_linear_vae"): lambda k: exact.optimal_linear_vae(X, k, scale=1.0),
    ("number", "chapter"): exercises.chapter,
}
TAKE_NUMBERS = {
    ("scale", "GaussianConditional"): lambda s: GaussianConditional(mlp(3, 4), scale=s),
    ("scale", "LinearGaussian"): lambda s: LinearGaussian(torch.ones(4, 3), torch.zeros(4), s),
    ("scale", "Diffusion"): lambda s: Diffusion(NOISE, denoiser(), StandardNormal(4), scale=s),
    ("lr", "fit"): lambda s: fit(FLAT, X, epochs=1, lr=s),
}


@pytest.mark.parametrize("door", [*TAKE_COUNTS, *TAKE_NUMBERS], ids="-".join)
def test_numbers(door):
    takes_counts = door in TAKE_COUNTS
    call = {**TAKE_COUNTS, **TAKE_NUMBERS}[door]
    for value in NO_COUNTS if takes_counts else NO_NUMBERS:
        # Out of range, or no number of this kind at all.
        error = ValueError if type(value) is (int if takes_counts else float) else TypeError
        message(lambda v=value: call(v), error, door[0])


# --- constructors, fit and the other doors --------------------------------------------------------


class Returns(nn.Module):
    """A conditional, a prior or a denoiser that returns what a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


def noisy(net, **options):
    return lambda: Diffusion(NOISE, net, StandardNormal(4), scale=0.1, **options)


def flat(encoder, decoder, prior=PRIOR):
    return lambda: VAE(encoder, decoder, prior)


def tall(encoders, decoders=UPPER):
    return lambda: HVAE(encoders, decoders, StandardNormal(2))


def top_down(encoders, features=None):
    return lambda: TopDownHVAE(encoders, UPPER, StandardNormal(2), features)


def counts(x):
    return Independent(Poisson(x[..., :3].exp()), 1)


def covariance(matrix):
    return lambda: LinearGaussianConditional(torch.ones(2, 2), torch.zeros(2), matrix)


def fitted(objective):
    return lambda: fit(copy.deepcopy(FLAT), X, objective, epochs=1)


SLOPED = torch.tensor([[2.0, 1.0], [0.0, 2.0]])
OTHERS = {
    # Conditionals that do not go with one another.
    "prior of another size": (flat(encoder(), decoder(units=2)), "decoder"),
    "encoder of other data": (flat(encoder(pixels=5), decoder()), "encoder"),
    "encoder of another size": (flat(encoder(units=2), decoder()), "encoder"),
    "encoder and decoder swapped": (flat(decoder(), encoder()), "decoder"),
    "an odd number of outputs": (flat(GaussianConditional(mlp(4, 7)), decoder()), "encoder"),
    "an encoder without rsample": (flat(Returns(counts), decoder()), "encoder"),
    "a distribution for a prior": (flat(encoder(), decoder(), PRIOR()), "prior"),
    "a prior that is a network": (flat(encoder(), decoder(), mlp(3, 3)), "prior"),
    "no level": (tall([], []), "encoders"),
    "a decoder too few": (tall([encoder(), encoder(3, 2)], [decoder()]), "encoders"),
    "decoders in reverse": (tall([encoder(), encoder(3, 2)], UPPER[::-1]), "decoders"),
    "a second level of another size": (tall([encoder(), encoder(3, 3)]), "encoders"),
    "top-down encoders in an HVAE": (tall([encoder(4 + 2), encoder(4, 2)]), "encoders"),
    "bottom-up ones in a TopDownHVAE": (top_down([encoder(), encoder(3, 2)]), "encoders"),
    "features that no encoder takes": (top_down(TOP_DOWN.encoders, mlp(4, 9)), "encoders"),
    # Diffusion.
    "a denoiser of another size": (noisy(denoiser(3)), "denoiser"),
    "a denoiser that leaves pixels out": (noisy(Returns(lambda z, _: z[..., ::2])), "denoiser"),
    "a denoiser that returns nothing": (noisy(Returns(lambda z, _: None)), "denoiser"),
    "a network for a denoiser": (noisy(mlp(4, 4)), "denoiser"),
    "all of beta": (noisy(denoiser(), reverse_variance=NOISE.beta), "reverse_variance"),
    "a log SNR that rises": (lambda: Schedule(torch.tensor([1.0, 2.0])), "log_snr"),
    "noise that shrinks": (lambda: log_snr_schedule(5, -4.0, 4.0), "log_snr"),
    "one level of noise": (lambda: log_snr_schedule(1, 4.0, -4.0), "log_snr"),
    # Gaussians.
    "W and b": (lambda: LinearGaussian(torch.ones(4, 3), torch.zeros(3), 1.0), "bias"),
    "a negative covariance": (covariance(-torch.eye(2)), "covariance"),
    "a covariance that is not symmetric": (covariance(SLOPED), "covariance"),
    "a covariance of another size": (covariance(torch.eye(3)), "covariance"),
    "a singular prior": (lambda: GaussianPrior(torch.zeros(2), torch.ones(2, 2)), "covariance"),
    "another mean": (lambda: GaussianDenoiser(torch.zeros(3), torch.eye(2)), "covariance"),
    "lopsided blocks": (lambda: Blocks(torch.zeros(2), SLOPED, [1, 1]), "covariance"),
    "blocks that leave a row out": (lambda: Blocks(torch.zeros(2), torch.eye(2), [1]), "sizes"),
    "tables of two sizes": (lambda: DiscreteModel(HALF, torch.eye(3)), "likelihood"),
    "more units than pixels": (lambda: exact.optimal_linear_vae(X, 5, scale=1.0), "d"),
    "fewer hidden units than pixels": (lambda: AutoregressiveConditional(3, 8, 5), "hidden"),
    # Levels.
    "a level above the top": (lambda: TALL.descend(torch.zeros(1, 2), 3), "level"),
    "a level above T": (lambda: DIFFUSION.descend(X, 7), "level"),
    "level 0 of the data": (lambda: forward_marginal(NOISE, X, 0), "levels"),
    "level T + 1": (lambda: forward_marginal(NOISE, X, 7), "levels"),
    "a level below zero": (lambda: forward_kernel(NOISE, X, -1, 2), "levels"),
    "level 0 on the way back": (lambda: reverse_posterior(NOISE, X, X, 0, 1), "levels"),
    "levels in reverse": (lambda: forward_kernel(NOISE, X, 3, 2), "levels"),
    "level 0 of a row": (lambda: DIFFUSION.denoise(X, torch.tensor([1, 2, 0, 3, 6])), "levels"),
    "level 0 of the model": (lambda: DIFFUSION.reverse(X, 0), "levels"),
    "level T + 1 of a row": (lambda: DIFFUSION.denoise(X, torch.tensor([1, 2, 7, 3, 6])), "levels"),
    # Objectives of a fit.
    "a mean over the batch": (fitted(lambda m, x: elbo(m, x).mean()), "objective"),
    "a sample axis left over": (fitted(lambda m, x: m.trace(x, 2).log_weight), "objective"),
    "an objective without gradient": (fitted(lambda m, x: log_marginal(m, x, 2)), "objective"),
    "a negative variance": (
        noisy(denoiser(), reverse_variance=-NOISE.beta[1:]),
        "reverse_variance",
    ),
    "no variance": (
        noisy(denoiser(), reverse_variance=0 * NOISE.beta[1:]),
        "reverse_variance",
    ),
    "one step of noise": (lambda: diffusion.cosine_schedule(1), "num_steps"),
    "negative epochs": (lambda: fit(FLAT, X, epochs=-1), "epochs"),
    # Objectives and diagnostics of another model.
    "closed rates from the bottom up": (lambda: elbo_analytic(TALL, X), "model"),
    "an autoencoder of two widths": (lambda: log_reconstruction(LOPSIDED, X[:, :1]), "x"),
    # Data sets.
    "all rows held out": (lambda: data.split(X, held_out=1.0), "held_out"),
    "too few rows to split": (lambda: data.split(X[:2], held_out=0.1), "held_out"),
    "labels of another length": (lambda: data.split(X, torch.arange(4)), "others"),
    "one moon": (lambda: data.moons(1), "num"),
    "a shape that is none": (lambda: data.draw_sprites(torch.tensor([[3.0, 0, 0, 1]])), "factors"),
    "sprites too large": (lambda: data.sprites(3, size=65), "size"),
    # Explorers and exercises.
    "no control": (lambda: explore(print), "controls"),
    "a control without values": (lambda: explore(print, beta=[]), "beta"),
    "a label too many": (lambda: explore(print, labels={"gamma": "γ"}, beta=[1]), "labels"),
    "an unknown chapter": (lambda: exercises.chapter(99), "number"),
}
OF_ANOTHER_TYPE = {
    "a network for an encoder": (flat(mlp(4, 6), decoder()), "encoder"),
    "a network for a decoder": (flat(encoder(), mlp(3, 4)), "decoder"),
    "a tensor for a prior": (flat(encoder(), decoder(), Returns(lambda: X[0, 1:])), "prior"),
    "a function for a network": (lambda: GaussianConditional(lambda u: u, scale=1.0), "net"),
    "a function for logits": (lambda: BernoulliConditional(lambda u: u), "net"),
    "W and b of two dtypes": (lambda: LinearGaussian(X.T, torch.zeros(4).half(), 1.0), "bias"),
    "a list for a table": (lambda: DiscreteModel([0.5, 0.5], torch.eye(2)), "prior"),
    "integers for a log SNR": (lambda: Schedule(torch.tensor([2, 1, 0])), "log_snr"),
    "half a step of noise": (lambda: diffusion.linear_schedule(2.5), "num_steps"),
    "half an epoch": (lambda: fit(FLAT, X, epochs=0.5), "epochs"),
    "a control that is no sequence": (lambda: explore(print, beta=3), "beta"),
    "a drawing that is no function": (lambda: explore(3, beta=[1]), "draw"),
    "a drawing that returns nothing": (lambda: explore(lambda b: None, b=[1]).page(), "draw"),
}


NO_GAUSSIANS = {
    "of another family": Laplace(torch.zeros(3), 1.0),
    "of another family, with its event": Independent(Laplace(torch.zeros(5, 3), 1.0), 1),
    "without its event": Normal(torch.zeros(5, 3), 1.0),
    "with its batch as an event": Independent(Normal(torch.zeros(5, 3), 1.0), 2),
}


@pytest.mark.parametrize("q", NO_GAUSSIANS.values(), ids=NO_GAUSSIANS)
def test_a_closed_form_asks_for_a_gaussian(q):
    message(lambda: LINEAR.elbo(X, q), NotImplementedError, "q")
    # Where pyro is loaded too, the error is its own and says nothing.
    with pytest.raises(NotImplementedError):
        LINEAR.gap(X, q)


def test_a_grid_along_the_axes_asks_for_independent_units():
    full = LINEAR.posterior(X)
    message(lambda: exact.elbo_quadrature(NARROW, X, full), NotImplementedError, "q")


@pytest.mark.parametrize("case", [*OTHERS, *OF_ANOTHER_TYPE])
def test_others(case):
    call, name = {**OTHERS, **OF_ANOTHER_TYPE}[case]
    message(call, ValueError if case in OTHERS else TypeError, name)


@pytest.mark.parametrize("part", ["encoder", "decoder", "prior"])
def test_a_conditional_that_forgets_independent(part):
    # Left alone it scores each unit by itself: the sum over units would be missing.
    parts = {"encoder": encoder(), "decoder": decoder(), "prior": PRIOR}
    forgetful = copy.deepcopy(parts)

    def alone(*given):
        p = parts[part](*given)
        return Normal(p.mean, p.stddev)

    forgetful[part] = Returns(alone)
    message(lambda: VAE(**forgetful), ValueError, part)
    forgetful[part] = Returns(lambda *given: Independent(alone(*given), 1))
    torch.manual_seed(1)
    found = elbo(VAE(**forgetful), X)
    torch.manual_seed(1)
    torch.testing.assert_close(found, elbo(VAE(**parts), X))


@pytest.mark.parametrize("name", ["prior", "likelihood"])
def test_tables_that_do_not_sum_to_one(name):
    tables = {"prior": torch.tensor([0.5, 0.5]), "likelihood": torch.full((2, 3), 1 / 3)}
    tables[name] = 7 * tables[name]
    said = message(lambda: DiscreteModel(**tables), ValueError, name)
    remedy = f"{name} / {name}.sum(-1, keepdim=True)"
    tables[name] = follow(remedy, said, name, tables[name])
    assert DiscreteModel(**tables).log_marginal().exp().sum().item() == pytest.approx(1)


def test_an_unknown_exercise_names_the_known_ones():
    chapter = exercises.chapter(3)
    with pytest.raises(ValueError, match="no_such") as caught:
        _ = chapter.no_such
    assert all(name in str(caught.value) for name in chapter.exercises)
    assert not hasattr(chapter, "no_such")


# --- behind the door ------------------------------------------------------------------------------

ROWS = FLAT.encoder(X)
CODES = X[:, :3]
LABELS = torch.arange(5.0)[:, None]
PATH = DIFFUSION.trace(X).z
ONES = torch.ones(5)
PAIR = Ensemble([FLAT, FLAT])
VOID = [0 * ONES, -ONES]
SCRATCH = copy.deepcopy(FLAT)
BEHIND = {
    "no whole number of samples": (FLAT.sample, [2.5, -1, "3"], 2),
    "diffusion_elbo": (lambda x: diffusion_elbo(DIFFUSION, x), [X[0], X[:, :1], X.long()], X),
    "log_reconstruction": (lambda x: log_reconstruction(PLAIN, x), [X[0], X[:, :1], X.tolist()], X),
    "another kind of model": (lambda m: elbo(m, X), [PLAIN, LINEAR], FLAT),
    "no autoencoder": (lambda m: log_reconstruction(m, X), [FLAT, LINEAR], PLAIN),
    "nothing to fit": (lambda m: fit(m, X, epochs=1), [PLAIN, LINEAR, CLOSED], SCRATCH),
    "no rows to fit": (lambda x: fit(SCRATCH, x, epochs=1), [X[:0]], X),
    "no objective": (lambda f: fit(SCRATCH, X, f, epochs=1), [lambda m, x: None], elbo),
    "two dtypes": (lambda p: elbo(VAE(encoder(), p, PRIOR), X), [DOUBLE.decoder], decoder()),
    "no list": (lambda q: HVAE(q, [decoder()], PRIOR), [encoder()], [encoder()]),
    "no schedule": (lambda s: Diffusion(s, denoiser(), StandardNormal(4), scale=1), [100], NOISE),
    "no schedule at all": (lambda s: three_terms(CLOSED, X, PATH, s), [None], NOISE),
    "no number of steps": (diffusion.linear_schedule, [0, 1, -3, "3", None], 10),
    "no variance": (
        lambda v: fit(noisy(denoiser(), reverse_variance=v)(), X, epochs=1),
        VOID,
        ONES,
    ),
    "no beta": (lambda b: beta_elbo(FLAT, X, b), [math.nan, "1", None], 1.0),
    "mu and logvar": (lambda v: gaussian_kl(CODES, v), [CODES.T], CODES),
    "a z of another size": (TALL.descend, [torch.zeros(1, 3), [[0.0, 0.0]]], torch.zeros(1, 2)),
    "a z_3 of another size": (lambda z: DIFFUSION.descend(z, 3), [X[:, :1], X[0, 0]], X),
    "no whole level": (lambda t: forward_marginal(NOISE, X, t), [0.5, torch.ones(5)], 1),
    "levels of other rows": (lambda t: DIFFUSION.denoise(X, t), [LABELS[:3, 0].long() + 1], 1),
    "a marginal beyond T": (lambda t: IDEAL.marginal(NOISE, t), [7], 6),
    "latents": (lambda z: three_terms(DIFFUSION, X, z), [TALL.trace(X).z, PATH[1:]], PATH),
    "points of one row": (lambda x: DataDenoiser(x)(X, torch.zeros(5)), [X[0]], X),
    "no ideal denoiser": (lambda d: d.decoders(NOISE), [DataDenoiser(X), denoiser()], IDEAL),
    "an exact marginal": (LINEAR.log_marginal, [X[:, :1], X.tolist()], X),
    "a chain's data": (CHAIN.log_marginal, [X], X[:, :1]),
    "a chain's points": (lambda x: CHAIN.rates(x, CHAIN.posterior()), [X, X[0]], X[:, :1]),
    "a code": (LINEAR.likelihood, [X, X[:, :1]], CODES),
    "a q of other rows": (lambda q: LINEAR.elbo(X, q), [FLAT.encoder(X[:3])], ROWS),
    "quadrature": (lambda m: exact.log_marginal_quadrature(m, X), [TALL, LINEAR], NARROW),
    "a posterior on a grid": (lambda m: exact.posterior_on_grid(m, X), [TALL, PLAIN], NARROW),
    "a grid": (lambda n: exact.latent_grid(1, n), [0, 1, 2.5], 3),
    "encodings": (lambda q: optimal_decoder(q, X, CODES), [FLAT.encoder, Normal(CODES, 1)], ROWS),
    "encodings of other rows": (lambda x: optimal_decoder(ROWS, x, CODES), [X[:3], X[:1]], X),
    "codes": (lambda z: optimal_decoder(ROWS, X, z), [X, X[:, :1], X[0, :3]], CODES),
    "an aggregate": (lambda z: diagnostics.log_aggregate(ROWS, z), [X, X[:, :1]], CODES),
    "units": (lambda m: diagnostics.unit_rates(m, X), [PLAIN, TALL, LINEAR.vae()], FLAT),
    "surgery": (lambda m: diagnostics.elbo_surgery(m, X), [PLAIN, TALL], FLAT),
    "norms": (lambda f: diagnostics.gradient_norms(FLAT, X, f), [log_marginal], elbo),
    "samples": (lambda y: diagnostics.energy_distance(X, y), [X[:, :1], X.double(), X[0]], X + 1),
    "pictures": (diagnostics.sharpness, [X[:, :3], X[0], X.tolist()], X),
    "factors": (lambda f: mutual_information_gap(X, f), [LABELS[:3], 0 * LABELS], LABELS),
    "units of a code": (lambda z: mutual_information_gap(z, LABELS), [X[:, :1], X[:3]], X),
    "members": (Ensemble, [[], [FLAT, NARROW], [FLAT, 3]], [FLAT, FLAT]),
    "values of members": (lambda v: PAIR.evaluate(beta_elbo, X, v), [[1], [1] * 3, 1], [1, 2]),
    "a path to a count": (lambda q: pathwise(q, torch.exp, 3), [Poisson(1.0)], Normal(0.0, 1.0)),
    "no whole number of rows": (data.scenes, [2.5, -1, "3"], 2),
    "no share": (lambda f: data.split(X, held_out=f), [math.nan, "0.2", -0.2, 0, 1], 0.2),
    "no linear chain": (lambda d: LinearGaussianChain(d).joint(), [[decoder()], []], [STEP]),
    "too many draws to list": (lambda k: COIN.iwae_bound(torch.eye(2), k), [0, 2.5, 40], 3),
    "a warm-up": (lambda n: linear_warm_up(n)(1), [0, "3"], 3),
}
"""A call, wrong arguments to it, and a right one: the call itself is in order."""


def test_a_list_of_all_draws_has_an_end():
    """2⁴⁰ draws would fill any memory before an error came."""
    with pytest.raises(ValueError, match="num_samples must be a number from 1 to 23, got 40"):
        COIN.iwae_bound(torch.eye(2), 40)
    certain = DiscreteModel(torch.ones(1), torch.ones(1, 1))
    assert certain.iwae_bound(torch.ones(1, 1), 20).item() == 0


@pytest.mark.parametrize("case", BEHIND)
def test_behind_the_door_there_is_an_error_and_no_number(case):
    call, wrong, right = BEHIND[case]
    call(right)
    for value in wrong:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call(value)
        assert not isinstance(caught.value, Warning)


@pytest.mark.parametrize(
    "call",
    [
        lambda: elbo(FLAT, X, numpy.int64(3)),
        lambda: beta_elbo(FLAT, X, 0),
        lambda: beta_elbo(FLAT, X, numpy.float32(2)),
        lambda: beta_elbo(FLAT, X, torch.tensor(2.0)),
        lambda: GaussianConditional(mlp(3, 4), scale=1),
        lambda: log_marginal(FLAT, X, 3, chunk_size=1000),
        lambda: elbo(FLAT, X.clone().requires_grad_()),
        lambda: elbo(FLAT, X.T.contiguous().T),
        lambda: elbo(FLAT, X[:1].expand(6, 4)),
        lambda: elbo(FLAT, X[:1]),
        lambda: elbo(BINARY, (X > 0).float()),
        lambda: fit(copy.deepcopy(FLAT), X, epochs=0),
        lambda: data.split(X, torch.arange(5), torch.ones(5)),
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


def test_an_inspection_does_not_end_the_readers_session():
    def leave(_):
        raise SystemExit

    look = Inspection((Condition("no", "no", leave),), lambda _: "yes")
    assert "SystemExit" in look.verdict(1)
