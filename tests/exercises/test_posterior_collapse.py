"""Chapter 7's checks accept right answers written differently, and know what was predicted."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import logsigmoid

from companion import (
    VAE,
    AutoregressiveConditional,
    GaussianConditional,
    StandardNormal,
    elbo_analytic,
    exercises,
    fit,
    mlp,
)
from companion.exact import LinearGaussian, optimal_linear_vae
from companion.exercises import posterior_collapse as own

CORRECT = "✓ Correct."


def information_by_loops(z, mean, scale):
    total = 0.0
    for draws in z:
        for n, draw in enumerate(draws):
            each = Normal(mean, scale).log_prob(draw).sum(1)
            total += float(each[n] - each.logsumexp(0)) + math.log(len(mean))
    return total / (z.shape[0] * z.shape[1])


def elbo_by_loops(x, mean, scale, eps, decode):
    total = torch.zeros(len(x), dtype=x.dtype)
    for noise in eps:
        logits = decode(mean + scale * noise)
        total += torch.where(x > 0, logsigmoid(logits), logsigmoid(-logits)).sum(1) / len(eps)
    return total + 0.5 * (1 + 2 * scale.log() - mean**2 - scale**2).sum(1)


def test_loops_are_right():
    assert own.information_from_samples.verdict(information_by_loops) == CORRECT
    assert own.honest_elbo.verdict(elbo_by_loops) == CORRECT


def test_the_rates_by_hand_are_those_of_the_best_linear_vae():
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)  # variance 4, and a dull pixel
    model, encoder = optimal_linear_vae(x, 1, scale=1.0)
    assert own.best_weight.verdict(model.weight.norm().item()).startswith(CORRECT)
    vae = model.vae(encoder)
    assert own.rate_at_best.verdict(unit_rates_of(vae.encoder(x))).startswith(CORRECT)
    one = LinearGaussian(torch.ones(1, 1).double(), torch.zeros(1).double(), scale=1.0).vae()
    assert own.rate_at_one.verdict(unit_rates_of(one.encoder(x[:, :1]))).startswith(CORRECT)
    assert "w = 1" in own.rate_at_best.verdict(0.6)


def test_slips_of_the_pencil_are_named():
    for number, word in (
        ("0.82", "s = ½"),
        ("0.94", "log s"),
        ("0.80", "noise"),
        ("3", "s² and a"),
    ):
        assert word in own.rate_at_one.verdict(number), number
    assert "two decimals" in own.best_weight.verdict("1.7")
    assert own.best_weight.verdict("1.73").startswith(CORRECT)
    for number, word in (("0.19", "one row's"), ("1.16", "first row"), ("0.64", "across rows")):
        assert word in own.cost_of_silence.verdict(number), number


def test_what_silence_costs_is_a_kl_of_the_row_starts():
    # Six starts, all 64 of them: the truth is a chain, a decoder of single rows an even guess.
    starts = torch.cartesian_prod(*[torch.arange(2)] * 6)
    same = (starts[:, 1:] == starts[:, :-1]).double()
    log_p = math.log(0.5) + (0.8 * same + 0.2 * (1 - same)).log().sum(1)
    cost = (log_p.exp() * (log_p - 6 * math.log(0.5))).sum().item()
    assert own.cost_of_silence.answer == pytest.approx(cost, abs=1e-12)
    # The sum that the praise shows comes to an answer that is accepted.
    assert "5 (0.693 − 0.500) = 0.96." in own.cost_of_silence.because
    for number in ("0.96", 5 * (0.693 - 0.500)):
        assert own.cost_of_silence.verdict(number).startswith(CORRECT)


def unit_rates_of(q):
    prior = MultivariateNormal(torch.zeros(1).double(), torch.eye(1).double())
    return kl_divergence(q, prior).mean().item()


def untrained(context=None, encoder_scale=None, seed=0):
    torch.manual_seed(seed)
    units = 2 if encoder_scale is None else 1
    return VAE(
        GaussianConditional(mlp(36, 8, units * 4), scale=encoder_scale),
        AutoregressiveConditional(4, 36, 144, context),
        StandardNormal(4),
    )


def striped(num):
    turns = torch.bernoulli(torch.tensor([0.5] + [0.2] * 5).expand(num, 6))
    flips = torch.bernoulli(torch.full((num, 6, 6), 0.05))
    flips[:, :, 0] = turns.cumsum(1)
    return (flips.cumsum(2) % 2).flatten(1)


def test_what_was_trained_from_scratch_is_looked_at():
    torch.manual_seed(1)
    x = striped(2000)
    one, other = untrained(), untrained(seed=1)
    assert own.kept.verdict(None, other, x).startswith("○")
    assert "two VAEs" in own.kept.verdict(one, x)
    assert "two VAEs" in own.kept.verdict(x, one, other)
    assert "no stripes" in own.kept.verdict(one, other, x - 0.5)
    assert "cannot do without" in own.kept.verdict(one, untrained(context=1), x)
    assert "the same" in own.kept.verdict(one, untrained(), x)
    assert "below the ceiling" in own.kept.verdict(one, other, x)
    # A decoder that was fitted alone, with an encoder that is silent.
    for lr in (1e-2, 1e-3):
        fit(
            one,
            x.repeat(4, 1),
            lambda model, x: model.decoder(model.prior().sample((len(x),))).log_prob(x),
            epochs=6,
            lr=lr,
        )
    assert "below the ceiling" in own.kept.verdict(one, other, x)
    # And one that kept its code: the width of its encoder is fixed.
    first, second = untrained(encoder_scale=0.6), untrained(encoder_scale=0.6, seed=1)
    many = striped(16_000)
    fit(first, many, elbo_analytic, epochs=8, lr=3e-3)
    fit(second, many, elbo_analytic, epochs=16, lr=3e-3)
    assert "tells less than" in own.kept.verdict(first, one, x)
    assert own.kept.verdict(first, second, striped(1000)).startswith("✓ The code tells")


def test_a_code_that_is_on_its_way_out_does_not_pass(monkeypatch):
    # Plain training passes after a thousand steps, and not after twice as many.
    early, longer, x = untrained(), untrained(seed=1), striped(500)
    for told, verdict in ((1.75, "✗ After twice"), (1.4, "✗ The code tells less"), (1.9, "✓")):
        nats = {id(early): 2.0, id(longer): told}
        monkeypatch.setattr(own, "_told", lambda model, x, nats=nats: nats[id(model)])
        monkeypatch.setattr(own, "_behind", lambda model, x: 0.3)
        assert own.kept.verdict(early, longer, x).startswith(verdict)


def test_the_ceiling_is_the_law_of_the_stripes():
    torch.manual_seed(2)
    x = striped(20_000)
    entropy = math.log(2) + sum(
        n * (-p * math.log(p) - (1 - p) * math.log(1 - p)) for n, p in ((5, 0.2), (30, 0.05))
    )
    log_p = own.stripes_log_prob(x)
    assert -log_p.mean().item() == pytest.approx(
        entropy, abs=4 * (log_p.std() / 20_000**0.5).item()
    )


def test_the_catalogue_holds_the_books_mistakes():
    # Numbers 7, 11 and 19 of the known bugs: view for transpose, mean for sample, minibatches.
    names = {
        exercise: [mistake.name for mistake in exercises.chapter(7).exercises[exercise].mistakes]
        for exercise in ("information_from_samples", "honest_elbo")
    }
    assert any("transpose" in name for name in names["information_from_samples"])
    assert any("minibatches" in name for name in names["information_from_samples"])
    assert any("posterior mean" in name for name in names["honest_elbo"])
