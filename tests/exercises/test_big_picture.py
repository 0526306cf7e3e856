"""Chapter 1's checks know what was predicted, and judge random codes by what they decode to."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from companion import VAE, GaussianConditional, StandardNormal, data, elbo, fit, mlp
from companion.diagnostics import nearest_distance
from companion.exact import optimal_linear_vae
from companion.exercises import big_picture as own
from companion.live import digit_models

PREDICTIONS = [
    own.moved,
    own.small_sigma,
    own.better_copies,
    own.all_sixteen,
    own.twins,
    own.stretch_cost,
    own.best_stretch,
    own.second_moment,
    own.drawn_copies,
]


def test_a_stranger_mistake_is_not_called_correct():
    assert own.free_nats.verdict(lambda mean, scale: mean.exp().sum()).startswith("✗")


# --- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        (own.twins, 48),
        (own.stretch_cost, 47.2),
        (own.best_stretch, 2),
        (own.best_stretch, "2.0"),
        (own.second_moment, 1),
        (own.drawn_copies, "Few"),
    ],
)
def test_a_right_prediction_passes(prediction, answer):
    assert prediction.verdict(answer).startswith("✓ Correct.")


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_wrong_prediction_gets_its_own_reason(prediction):
    reasons = [prediction.verdict(wrong) for wrong in prediction.mistakes]
    assert all(reason.startswith("✗ Not quite") for reason in reasons)
    assert len(set(reasons)) == len(reasons)


# Would catch a guess in the text that is wrong in itself: by any networks, and by linear ones.
def test_what_a_move_changes_and_what_a_small_sigma_does():
    encode, decode = torch.nn.Linear(64, 2).double(), torch.nn.Linear(2, 64).double()
    x = data.digits()[0].double()
    moved = decode((10 * encode(x) + 3 - 3) / 10)
    torch.testing.assert_close(moved, decode(encode(x)), rtol=0, atol=1e-12)
    z = torch.randn(100, 2, dtype=torch.float64)
    assert (decode((z - 3) / 10) - decode(z)).norm(dim=1).mean() > 0.1
    assert own.moved.verdict("pictures").startswith("✓")

    small, large = (optimal_linear_vae(x, 2, scale=s)[1](x).stddev.mean() for s in (0.05, 0.2))
    assert small < 0.5 * large
    assert own.small_sigma.verdict("Shrink").startswith("✓")


# Would catch a guess that is wrong in itself: the best linear VAE copies less well than the
# projection that an autoencoder with codes of eight numbers can make; and the VAE itself is fitted.
def test_who_copies_better_and_whether_all_sixteen_numbers_are_used():
    x = data.digits()[0].double()
    model, encoder = optimal_linear_vae(x, 8, scale=0.2)
    copied = encoder(x).mean @ model.weight.T + model.bias
    away = x - x.mean(0)
    kept = torch.linalg.svd(away, full_matrices=False).Vh[:8]
    assert (x - copied).square().sum() > (away - away @ kept.T @ kept).square().sum()
    assert own.better_copies.verdict("Autoencoder").startswith("✓")

    (train,), _ = data.split(data.digits()[0], held_out=0.3)
    torch.manual_seed(0)
    vae = VAE(
        GaussianConditional(mlp(64, 128, 128, 2 * 16)),
        GaussianConditional(mlp(16, 128, 128, 64), scale=0.2),
        StandardNormal(16),
    )
    fit(vae, train, elbo, epochs=60, lr=4e-3)
    width = vae.encoder(train).stddev.square().mean(0)
    assert 3 <= (width > 0.8).sum() < 16  # 10 or 11 with three seeds
    assert own.all_sixteen.verdict("no").startswith("✓")


# Would catch answers that are wrong in themselves: all four, in another way.
def test_the_answers_are_those_of_a_count_and_of_a_grid():
    signs = itertools.product([1, -1], repeat=3)
    orders = itertools.permutations(range(3))
    assert len(list(itertools.product(signs, orders))) == own.twins.answer

    def kl(m, s):
        prior = MultivariateNormal(torch.zeros(1).double(), torch.eye(1).double())
        q = MultivariateNormal(torch.tensor([m]).double(), torch.tensor([[s * s]]).double())
        return torch.distributions.kl_divergence(q, prior).item()

    assert own.stretch_cost.answer == pytest.approx(kl(8.0, 6.0) - kl(0.8, 0.6), rel=1e-6)
    clouds = [(0.3, 0.4), (-0.3, 0.4)]  # m² + s² = ¼
    grid = [0.5 + 0.01 * k for k in range(400)]
    best = min(grid, key=lambda c: sum(kl(c * m, c * s) for m, s in clouds))
    assert own.best_stretch.answer == pytest.approx(best, abs=0.006)
    after = sum((best * m) ** 2 + (best * s) ** 2 for m, s in clouds) / len(clouds)
    assert own.second_moment.answer == pytest.approx(after, abs=0.01)


@pytest.fixture(scope="module")
def given():
    (train,), (held_out,) = data.split(data.digits()[0], held_out=0.3)
    return digit_models(), train, held_out


# --- smooth copies ------------------------------------------------------------------------------


def smooth_verdict(test, given):
    (_, vae), train, held_out = given
    with torch.no_grad():
        known, fresh = (vae.decoder(vae.encoder(x).mean).mean for x in (train, held_out))
        both = (test(pictures, known, fresh, train, held_out) for pictures in (known, fresh))
        return own.smooth_copies.verdict(*both)


def below(pictures, known, fresh, quantile):
    return nearest_distance(pictures, known) < nearest_distance(fresh, known).quantile(quantile)


# Also what the exercise says: the plain test is blind to smooth copies.
@pytest.mark.parametrize(
    ("test", "says"),
    [
        (lambda p, k, f, t, h: below(p, k, f, 0.01), "✓ Flagged: 100%"),
        (lambda p, k, f, t, h: below(p, t, h, 0.01), "✗ At most half"),
        (lambda p, k, f, t, h: below(p, k, f, 0.5), "✗ More than 5 %"),
        (lambda p, k, f, t, h: torch.ones(len(p)) > 0, "✗ More than 5 %"),
        (lambda p, k, f, t, h: nearest_distance(p, k), "✗ An answer is no Boolean"),
        (lambda p, k, f, t, h: None, "○"),
    ],
)
def test_smooth_copies_are_told_from_smooth_new_digits(given, test, says):
    assert smooth_verdict(test, given).startswith(says)


def test_the_check_of_smooth_copies_says_how_it_is_called():
    assert own.smooth_copies.verdict(torch.ones(3) > 0).startswith("✗ The check takes two")


# --- random codes of one's own ------------------------------------------------------------------


def noisy(codes, count, amount):
    picked = codes[torch.randint(len(codes), (count,))]
    return picked + amount * torch.randn(count, 2) @ torch.linalg.cholesky(codes.T.cov()).T


def verdict_on(make, given):
    models, train, held_out = given
    torch.manual_seed(0)
    return own.generator.verdict(make(models[0].encode(train)), models, train, held_out)


@pytest.mark.parametrize("amount", [0.1, 0.15])
def test_a_good_generator_is_told_how_it_did_against_the_vae(given, amount):
    said = verdict_on(lambda codes: noisy(codes, len(codes), amount), given)
    assert said.startswith("✓ Sample → train ")
    assert "your codes beat the VAE by" in said
    assert math.isfinite(float(said.split("train ")[1].split()[0]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda codes: codes.tolist(), "no tensor"),
        (lambda codes: torch.ones(len(codes), 2, dtype=torch.long), "no tensor"),
        (lambda codes: torch.randn(len(codes), 3), "another shape"),
        (lambda codes: torch.randn(len(codes)), "another shape"),
        (lambda codes: noisy(codes, 100, 0.15), "too few codes"),
        (lambda codes: noisy(codes, len(codes), math.inf), "not finite"),
        (lambda codes: codes[torch.randint(len(codes), (len(codes),))], "codes are equal"),
        (lambda codes: codes.mean(0).expand(len(codes), 2), "codes are equal"),
        (lambda codes: codes[torch.randperm(len(codes))], "closer to a training code"),
        (lambda codes: noisy(codes, len(codes), 1e-3), "closer to a training code"),
        (lambda codes: torch.randn(len(codes), 2), "fitted Gaussian is as good"),
        (lambda codes: noisy(codes, len(codes), 3.0), "fitted Gaussian is as good"),
    ],
)
def test_a_generator_that_is_none_is_told_why(given, make, says):
    said = verdict_on(make, given)
    assert said.startswith("✗ ")
    assert says in said


def test_what_is_missing_is_not_attempted(given):
    assert own.generator.verdict(None, *given).startswith("○")
    assert "four" not in own.generator.verdict(given[1])
    assert own.generator.verdict(given[1]).startswith("✗ The check takes codes")
