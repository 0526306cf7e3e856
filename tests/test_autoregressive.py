"""The autoregressive decoder is a distribution, in the order of its pixels, and samples itself."""

from itertools import product

import pytest
import torch
from toys import bits, normal

from companion import (
    VAE,
    AutoregressiveConditional,
    GaussianConditional,
    StandardNormal,
    elbo,
    mlp,
)

LATENT, PIXELS, HIDDEN, CODES = 3, 5, 11, 4


@pytest.fixture
def conditional():
    torch.manual_seed(0)
    conditional = AutoregressiveConditional(LATENT, PIXELS, HIDDEN).double()
    for parameter in conditional.parameters():
        torch.nn.init.normal_(parameter)
    return conditional


def all_pictures():
    return torch.tensor(list(product([0.0, 1.0], repeat=PIXELS)), dtype=torch.float64)


def test_it_sums_to_one(conditional):
    # Catches: a mask that lets a pixel see itself, which makes the factors no conditionals.
    p = conditional(normal(CODES, LATENT, seed=1))
    total = p.log_prob(all_pictures()[:, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(CODES).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pixel", range(PIXELS))
def test_each_pixel_sees_exactly_those_before_it(conditional, pixel):
    # Catches: masks the wrong way round, and a pixel that sees too few of its predecessors.
    z = normal(1, LATENT, seed=2)
    x = normal(1, PIXELS, seed=3).requires_grad_()
    (gradient,) = torch.autograd.grad(conditional.logits(x, z)[0, pixel], x)
    assert ((gradient[0] != 0) == (torch.arange(PIXELS) < pixel)).all()


@pytest.mark.parametrize("context", [0, 1, 2, PIXELS])
def test_a_context_ends_what_a_pixel_sees(context):
    # Catches: a window that is one too wide or narrow, or that widens through the hidden units.
    conditional = AutoregressiveConditional(LATENT, PIXELS, HIDDEN, context).double()
    z = normal(1, LATENT, seed=2)
    x = normal(1, PIXELS, seed=3).requires_grad_()
    for pixel in range(PIXELS):
        (gradient,) = torch.autograd.grad(conditional.logits(x, z)[0, pixel], x)
        distance = pixel - torch.arange(PIXELS)
        assert ((gradient[0] != 0) == ((distance > 0) & (distance <= context))).all()


def test_every_pixel_sees_the_code(conditional):
    z = normal(1, LATENT, seed=2).requires_grad_()
    logits = conditional.logits(bits(1, PIXELS), z)[0]
    for logit in logits:
        (gradient,) = torch.autograd.grad(logit, z, retain_graph=True)
        assert (gradient != 0).all()


def test_draws_have_the_probabilities_that_log_prob_says(conditional):
    # Catches: pixels drawn from the wrong pass. 20,000 draws, every picture within 5 errors.
    torch.manual_seed(0)
    p = conditional(normal(1, LATENT, seed=4))
    draws = p.sample((20_000,))[:, 0]
    numbers = (draws * 2 ** torch.arange(PIXELS).flip(0)).sum(1).long()
    counts = torch.bincount(numbers, minlength=2**PIXELS) / len(draws)
    truth = p.log_prob(all_pictures()).exp()
    error = (truth * (1 - truth) / len(draws)).sqrt()
    assert ((counts - truth).abs() < 5 * error + 1e-4).all()


def test_one_data_point_meets_many_codes(conditional):
    z, x = normal(7, CODES, LATENT, seed=5), bits(CODES, PIXELS)
    together = conditional(z).log_prob(x)
    assert together.shape == (7, CODES)
    apart = torch.stack([conditional(code).log_prob(x) for code in z])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_it_is_the_decoder_of_a_vae(conditional):
    encoder = GaussianConditional(mlp(PIXELS, 6, 2 * LATENT))
    vae = VAE(encoder, conditional, StandardNormal(LATENT)).double()
    elbo(vae, bits(6, PIXELS), 2).sum().backward()
    assert all(p.grad is not None for p in vae.parameters())
    assert vae.sample(8).shape == (8, PIXELS)


def test_grey_pixels_are_refused(conditional):
    encoder = GaussianConditional(mlp(PIXELS, 6, 2 * LATENT))
    vae = VAE(encoder, conditional, StandardNormal(LATENT)).double()
    grey = bits(2, PIXELS)
    grey[1, 3] = 0.3
    with pytest.raises(ValueError, match=r"0 to 1.*AutoregressiveBernoulli.*binarise"):
        elbo(vae, grey)


def test_several_things_given_stand_side_by_side():
    conditional = AutoregressiveConditional(LATENT + 2, PIXELS, HIDDEN).double()
    one, other = normal(CODES, LATENT, seed=1), normal(7, CODES, 2, seed=2)
    together = torch.cat([one.expand(7, -1, -1), other], dim=-1)
    x = bits(CODES, PIXELS)
    assert torch.equal(conditional(one, other).log_prob(x), conditional(together).log_prob(x))
