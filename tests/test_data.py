"""Data sets and what is done to them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import datasets
from toys import generator

from companion.data import (
    binarise,
    digits,
    draw_sprites,
    mnist,
    moons,
    pinwheel,
    split,
    sprites,
)


def test_digits_are_scikit_learns():
    x, label = digits()
    raw = datasets.load_digits()
    assert x.dtype == torch.float32
    assert torch.equal(x * 16, torch.tensor(raw.data, dtype=torch.float32))
    assert torch.equal(label, torch.tensor(raw.target))
    assert label.unique().tolist() == list(range(10))


def test_mnist_is_scaled_and_labelled(monkeypatch, tmp_path):
    # The download is the one thing replaced. Catches: grey levels left in 0 … 255, text labels.
    asked = []
    pixels = np.zeros((1, 784))
    pixels[0, :2] = 255, 51

    def fetch(name, **options):
        asked.append((name, options))
        return SimpleNamespace(data=pixels, target=np.array(["7"]))

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    x, label = mnist(tmp_path)
    assert x[0, :3].tolist() == pytest.approx([1, 0.2, 0])
    assert x.dtype == torch.float32
    assert label.tolist() == [7]
    assert label.dtype == torch.int64
    assert asked == [("mnist_784", {"version": 1, "as_frame": False, "data_home": tmp_path})]


@pytest.mark.parametrize("draw", [moons, pinwheel])
def test_toys_are_standardised_and_seeded(draw):
    x = draw(503)
    assert x.shape == (503, 2)
    assert x.dtype == torch.float32
    assert x.mean(0).abs().max() < 1e-6
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), rtol=1e-5, atol=0)
    assert torch.equal(x, draw(503))
    assert not torch.equal(x, draw(503, seed=1))


def test_pinwheel_has_its_arms():
    # Turned by a fifth it is the same shape; by a tenth it is not. (Before standardisation the
    # arms are equal; the standardised shape is nearly round, so the tolerance is wide.)
    x = pinwheel(4000, noise=0.2)

    def turned(angle):
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        return torch.cdist(x @ turn, x).min(1).values.mean()

    assert turned(math.pi / 5) > 2 * turned(2 * math.pi / 5)


def test_moons_noise_widens_them():
    sharp, wide = (moons(1000, noise=noise) for noise in (0.01, 0.3))

    def nearest(x):
        return (torch.cdist(x, x) + 9 * torch.eye(len(x))).min(1).values.mean()

    assert nearest(wide) > 2 * nearest(sharp)


def test_split_keeps_rows_together_and_loses_none():
    # Catches: labels shuffled apart from their pictures, overlap of the two parts.
    x = torch.arange(37.0)[:, None]
    label = torch.arange(37)
    (train, train_label), (test, test_label) = split(x, label, held_out=0.3)
    assert len(test) == 11
    assert torch.equal(train[:, 0].long(), train_label)
    assert torch.equal(test[:, 0].long(), test_label)
    assert sorted([*train_label.tolist(), *test_label.tolist()]) == list(range(37))
    assert train_label.tolist() != sorted(train_label.tolist())


def test_split_is_seeded_and_leaves_the_global_generator_alone():
    x = torch.arange(37.0)[:, None]
    state = torch.get_rng_state()
    first, again, other = split(x), split(x), split(x, seed=1)
    assert torch.equal(first[1][0], again[1][0])
    assert not torch.equal(first[1][0], other[1][0])
    assert torch.equal(state, torch.get_rng_state())


def test_binarise_draws_each_pixel():
    # Catches: thresholding in place of drawing. Standard errors of a Bernoulli mean.
    grey = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    count = 20_000
    x = binarise(grey.expand(count, -1))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    error = (grey * (1 - grey) / count).sqrt()
    assert ((x.mean(0) - grey).abs() <= 4 * error).all()
    assert torch.equal(x, binarise(grey.expand(count, -1)))
    assert not torch.equal(x, binarise(grey.expand(count, -1), seed=1))


def test_binarise_keeps_the_dtype_and_the_global_generator():
    state = torch.get_rng_state()
    assert binarise(torch.rand(3, 2, generator=generator(0)).double()).dtype == torch.float64
    assert torch.equal(state, torch.get_rng_state())


def test_sprites_are_seeded_and_in_range():
    x, factors = sprites(101, size=12)
    again, _ = sprites(101, size=12)
    assert x.shape == (101, 144)
    assert factors.shape == (101, 4)
    assert torch.equal(x, again)
    assert not torch.equal(factors, sprites(101, seed=1)[1])
    assert x.min() == 0
    assert x.max() == 1
    assert set(factors[:, 0].unique().tolist()) == {0.0, 1.0, 2.0}
    assert factors[:, 1:3].abs().max() <= 0.5
    assert factors[:, 3].min() >= 0.2
    assert factors[:, 3].max() <= 0.4
    # A prefix of a longer draw is not promised; the picture of given factors is.
    assert torch.equal(draw_sprites(factors, size=12), x)


def test_sprite_factors_are_what_they_say():
    # Catches: up and down swapped, x and y swapped, a radius that is a diameter.
    size = 64
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    for shape in (0.0, 1.0, 2.0):
        image = draw_sprites(torch.tensor([[shape, 0.3, -0.2, 0.35]]), size=size)
        image = image.reshape(size, size)
        area = image.sum() * (2 / size) ** 2
        assert area.item() == pytest.approx(math.pi * 0.35**2, rel=0.02)
        right = (image.sum(0) * axis).sum() / image.sum()
        up = (image.sum(1) * axis.flip(0)).sum() / image.sum()
        assert right.item() == pytest.approx(0.3, abs=0.02)
        assert up.item() == pytest.approx(-0.2, abs=0.02)
    triangle = draw_sprites(torch.tensor([[2.0, 0.0, 0.0, 0.4]]), size=size).reshape(size, size)
    rows = triangle.sum(1)[triangle.sum(1) > 1]
    assert rows[0] < rows[-1]  # it points up


def test_sprites_are_anti_aliased():
    # A picture that moves by a tenth of a pixel changes, by little.
    still = torch.tensor([[0.0, 0.0, 0.0, 0.3]])
    moved = still + torch.tensor([[0.0, 0.1 * 2 / 16, 0.0, 0.0]])
    change = (draw_sprites(moved) - draw_sprites(still)).abs()
    assert 0 < change.max() <= 0.11
