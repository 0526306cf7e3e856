"""Data sets and what is done to them."""

import math
import re
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import datasets
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn.functional import avg_pool2d

from companion.data import (
    PLACES,
    SHAPES,
    TEXTURES,
    binarise,
    digits,
    draw_scenes,
    draw_sprites,
    mnist,
    moons,
    pinwheel,
    scenes,
    split,
    sprites,
    tree,
    tree_centres,
    tree_labels,
    tree_log_density,
)

PLAIN, ROWS, COLUMNS, CHECKS = range(4)
DISC, SQUARE, TRIANGLE = range(3)


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
    for dtype in (torch.float64, torch.bfloat16):
        assert binarise(torch.tensor([[0.2, 0.7, 0.4]], dtype=dtype)).dtype == dtype
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


# --- the tree ------------------------------------------------------------------------------------

TREES = [(1, 3), (3, 3), (4, 3), (6, 2), (2, 5), (3, 4), (2, 7)]
"""Depth and branching."""


def test_tree_centres_by_hand():
    # Radii 2, 0.8, 0.32; the first child at 90° + 60° per depth below the first.
    root = math.sqrt(3)
    torch.testing.assert_close(
        tree_centres(1), torch.tensor([[0, 2], [-root, -1], [root, -1]]), rtol=0, atol=1e-6
    )
    top = torch.tensor([[-0.4 * root, 2.4], [0, 1.2], [0.4 * root, 2.4]])
    torch.testing.assert_close(tree_centres(2)[:3], top, rtol=0, atol=1e-6)
    leaf = torch.tensor([-0.4 * root - 0.16 * root, 2.4 - 0.16])
    torch.testing.assert_close(tree_centres()[0], leaf, rtol=0, atol=1e-6)
    assert tree_centres().shape == (27, 2)
    assert tree_centres().dtype == torch.float32


@pytest.mark.parametrize(("depth", "branching"), TREES[1:])
def test_children_lie_evenly_on_a_circle_around_their_node(depth, branching):
    nodes = tree_centres(depth - 1, branching)
    spokes = tree_centres(depth, branching).reshape(-1, branching, 2) - nodes[:, None]
    radius = spokes.norm(dim=2)
    torch.testing.assert_close(radius, radius[:1, :1].expand_as(radius), rtol=1e-4, atol=0)
    # Going round, each child is one step from the one before it.
    step = 2 * math.pi / branching
    turn = torch.tensor([[math.cos(step), math.sin(step)], [-math.sin(step), math.cos(step)]])
    torch.testing.assert_close(spokes @ turn, spokes.roll(-1, dims=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("depth", "branching"), TREES[1:])
def test_siblings_stay_clear_of_each_other(depth, branching):
    # Within the share of the way to the middle between siblings that the docstring names. Catches:
    # a ratio of radii that does for threes only.
    for level in range(1, depth):
        nodes = tree_centres(level, branching)
        offspring = tree_centres(depth, branching).reshape(len(nodes), -1, 2)
        reach = (offspring - nodes[:, None]).norm(dim=2).max()
        apart = torch.pdist(nodes[:branching]).min()
        assert 0.4 < reach / (apart / 2) < 4 / math.sqrt(27)


def test_a_tree_of_twos_fills_the_plane():
    assert torch.linalg.matrix_rank(tree_centres(2, branching=2)) == 2


@pytest.mark.parametrize(("depth", "branching"), TREES)
def test_tree_labels_are_the_digits_of_the_leaf(depth, branching):
    leaves = branching**depth
    label = tree_labels(tree_centres(depth, branching), depth=depth, branching=branching)
    assert label.dtype == torch.int64
    assert label[:, -1].tolist() == list(range(leaves))
    for k in range(depth):
        assert label[:, k].unique().tolist() == list(range(branching ** (k + 1)))
    for k in range(1, depth):
        assert torch.equal(label[:, k] // branching, label[:, k - 1])
    # A cluster's number is that of its own centre, depth by depth.
    for level in range(1, depth + 1):
        nodes = tree_centres(level, branching)[label[:, level - 1]]
        means = tree_centres(depth, branching).reshape(branching**level, -1, 2).mean(1)
        torch.testing.assert_close(nodes, means[label[:, level - 1]], rtol=0, atol=1e-5)


def test_tree_draws_around_its_leaves():
    # Catches: noise as a variance, points of other leaves than their labels say, unequal leaves.
    num, noise = 20_003, 0.04
    points, label = tree(num, noise=noise)
    assert points.dtype == torch.float32
    assert label.shape == (num, 3)
    rest = (points - tree_centres()[label[:, 2]]) / noise
    assert rest.mean(0).abs().max() < 4 / math.sqrt(num)
    assert (rest.T.cov() - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / num)
    counts = label[:, 2].bincount(minlength=27)
    assert (counts - num / 27).abs().max() < 4 * math.sqrt(num / 27)
    assert torch.equal(tree_labels(points), label)


def test_tree_of_other_depth_and_branching_finds_its_labels():
    points, label = tree(503, depth=2, branching=5, noise=0.06, seed=3)
    assert label.shape == (503, 2)
    assert label[:, 1].unique().tolist() == list(range(25))
    assert torch.equal(tree_labels(points, depth=2, branching=5), label)


def test_tree_is_seeded_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    (x, _), (again, _), (other, _) = tree(37), tree(37), tree(37, seed=1)
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("depth", "branching", "noise"), [(3, 3, 0.05), (2, 5, 0.4)])
def test_tree_density_is_that_of_the_mixture(depth, branching, noise):
    # The oracle is torch's own mixture. The second tree's leaves overlap.
    centres = tree_centres(depth, branching).double()
    parts = Independent(Normal(centres, torch.full_like(centres, noise)), 1)
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(len(centres)).double()), parts)
    points = tree(211, depth=depth, branching=branching, noise=3 * noise)[0].double()
    found = tree_log_density(points, depth=depth, branching=branching, noise=noise)
    torch.testing.assert_close(found, mixture.log_prob(points))
    single = tree_log_density(points.float(), depth=depth, branching=branching, noise=noise)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-3)


def test_tree_density_integrates_to_one():
    step = 0.04
    axis = torch.arange(-5, 5, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = tree_log_density(grid, depth=2, branching=4, noise=0.1).exp()
    assert (density.sum() * step**2).item() == pytest.approx(1, abs=1e-6)


def test_tree_entropy():
    # Leaves 11 σ apart do not overlap: log 27 for the leaf and log(2πe σ²) for the place in it.
    exact = -math.log(27) - math.log(2 * math.pi * math.e * 0.05**2)
    assert exact == pytest.approx(-0.142, abs=5e-4)
    log_density = tree_log_density(tree(20_003)[0])
    # −½ χ² of two degrees of freedom: standard deviation 1.
    assert log_density.std().item() == pytest.approx(1, abs=0.05)
    assert log_density.mean().item() == pytest.approx(exact, abs=4 / math.sqrt(20_003))


# --- the scenes ----------------------------------------------------------------------------------

COMBINATIONS = [*product(range(4), range(3), range(4))]


def scene(place, shape, texture, right=0.0, up=0.0, size=16, dtype=torch.float32):
    """One picture as a square."""
    factors = torch.tensor([[place, shape, texture, right, up]], dtype=dtype)
    return draw_scenes(factors, size=size).reshape(size, size)


def test_scenes_are_seeded_and_in_range():
    state = torch.get_rng_state()
    x, factors = scenes(101, size=13)
    assert x.shape == (101, 169)
    assert factors.shape == (101, 5)
    assert x.dtype == factors.dtype == torch.float32
    assert x.min() == 0
    assert x.max() == 1
    assert torch.equal(x, scenes(101, size=13)[0])
    assert not torch.equal(factors, scenes(101, seed=1)[1])
    assert torch.equal(draw_scenes(factors, size=13), x)
    assert torch.equal(state, torch.get_rng_state())


def test_scene_factors_are_independent_and_uniform():
    num = 9600
    _, factors = scenes(num, size=12)
    codes = (factors[:, 0] * 12 + factors[:, 1] * 4 + factors[:, 2]).long()
    counts = codes.bincount(minlength=48)
    assert len(counts) == 48 == len(PLACES) * len(SHAPES) * len(TEXTURES)
    assert (counts - num / 48).abs().max() < 4 * math.sqrt(num / 48)
    shift = factors[:, 3:] / 0.05
    assert 0.99 < shift.abs().max() <= 1
    # A uniform on [−1, 1] has variance 1/3; its square has variance 4/45.
    assert shift.mean(0).abs().max() < 4 * math.sqrt(1 / 3 / num)
    assert ((shift**2).mean(0) - 1 / 3).abs().max() < 4 * math.sqrt(4 / 45 / num)
    others = factors.T.corrcoef() - torch.eye(5)
    assert others.abs().max() < 4 / math.sqrt(num)


def test_a_scene_by_hand():
    # A square of side 0.42 √π around (3/8, 3/8): six pixels less a 45th of one on each side.
    edge = 0.5 - 8 * (5 / 16 - 0.21 * math.sqrt(math.pi))
    square = torch.full((6, 6), edge)
    square[1:5, 1:5] = 1
    bands = torch.tensor([1, 1, 0, 0, 1, 1])
    patterns = {
        PLAIN: torch.ones(6, 6),
        ROWS: bands[:, None].expand(6, 6),
        COLUMNS: bands.expand(6, 6),
        CHECKS: (bands[:, None] == bands).float(),
    }
    for texture, pattern in patterns.items():
        expected = torch.zeros(16, 16)
        expected[2:8, 8:14] = square * (0.3 + 0.7 * pattern)
        torch.testing.assert_close(scene(1, SQUARE, texture), expected, rtol=0, atol=1e-5)


def test_a_shape_lies_at_its_place_and_shift():
    # Catches: up and down swapped, x and y swapped, places in another order.
    size = 64
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    for (place, (side, height)), shape in product(
        enumerate([(-1, 1), (1, 1), (-1, -1), (1, -1)]), range(3)
    ):
        image = scene(place, shape, PLAIN, 0.05, -0.03, size)
        right = ((image.sum(0) * axis).sum() / image.sum()).item()
        assert right == pytest.approx(0.375 * side + 0.05, abs=0.005)
        # A triangle lies in the middle of its height, not with its centre of mass.
        inside = axis.flip(0)[image.sum(1) > 0.5]
        middle = ((inside[0] + inside[-1]) / 2).item()
        assert middle == pytest.approx(0.375 * height - 0.03, abs=1.1 / size)


def test_the_shapes_of_scenes_are_those_of_sprites():
    # Equal areas; and nothing is cut off, whatever the shift.
    corners = torch.tensor([*product((-0.05, 0.05), repeat=2)])
    for (place, shape), shift in product(product(range(4), range(3)), corners):
        image = scene(place, shape, PLAIN, *shift.tolist(), size=64)
        area = image.sum().item() * (2 / 64) ** 2
        assert area == pytest.approx(math.pi * 0.42**2, rel=0.01)
        assert image[0].max() == image[-1].max() == 0
    disc = draw_sprites(torch.tensor([[0, -0.375, -0.375, 0.42]]), size=19)
    torch.testing.assert_close(scene(2, DISC, PLAIN, size=19).flatten(), disc[0])


@pytest.mark.parametrize("size", [13, 16, 24])
def test_a_scene_is_mask_times_pattern(size):
    # Catches: a pattern that moves with the object, that knows its shape, or that hides it.
    x, factors = scenes(509, size=size)
    mask = draw_scenes(factors * torch.tensor([1, 1, PLAIN, 1, 1]), size=size)
    for texture in range(4):
        pattern = torch.where(mask > 0.05, x / mask, torch.nan)[factors[:, 2] == texture]
        pattern = pattern[:, ~pattern.isnan().all(0)]
        assert pattern.shape[1] > 0.7 * size**2
        average = pattern.nanmean(0)
        assert (pattern - average).nan_to_num().abs().max() < 1e-5
        assert average.min() > 0.3 - 1e-5
        if texture == PLAIN:
            assert average.min() > 1 - 1e-5
        elif size % 8 == 0:  # edges between pixels: bright or dim, neither rare
            dim, bright = ((average - level).abs() < 1e-5 for level in (0.3, 1))
            assert (dim | bright).all()
            assert min(dim.float().mean(), bright.float().mean()) > 1 / 3


def test_places_mirror_each_other():
    # Catches: textures whose phase tells the place.
    for shape, texture in product(range(3), range(4)):
        left, right = (scene(p, shape, texture, s, 0.02) for p, s in ((0, 0.03), (1, -0.03)))
        torch.testing.assert_close(left.flip(1), right, rtol=0, atol=1e-5)
        if shape != TRIANGLE:
            low = scene(2, shape, texture, 0.03, -0.02)
            torch.testing.assert_close(left.flip(0), low, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [12, 16, 24])
def test_scenes_are_distinct_at_a_glance(size):
    # The nearest of the 48 pictures, each at nine shifts, tells all three factors of any other.
    x, factors = scenes(2003, size=size)
    shifts = product((-0.033, 0, 0.033), repeat=2)
    known = torch.tensor([(*codes, *shift) for shift, codes in product(shifts, COMBINATIONS)])
    nearest = torch.cdist(x, draw_scenes(known, size=size)).argmin(1)
    assert torch.equal(known[nearest, :3], factors[:, :3])


@pytest.mark.parametrize("texture", range(4))
@pytest.mark.parametrize("shape", range(3))
def test_scenes_are_anti_aliased(shape, texture):
    # Moved by a tenth of a pixel, pixels change, by a tenth at most, and the mean hardly.
    tenth = 0.1 * 2 / 16
    path = torch.tensor([[3, shape, texture, k * tenth, k * tenth / 2] for k in range(-10, 11)])
    x = draw_scenes(path.float())
    change = (x[1:] - x[:-1]).abs()
    assert (change.amax(1) > 0.02).all()
    # A triangle's slope meets both moves: cos 30° + sin 30° / 2 of the tenth.
    assert change.max() <= 0.1 * (math.cos(math.pi / 6) + 0.25) + 1e-4
    mean = x.mean(1)
    assert (mean[1:] / mean[:-1] - 1).abs().max() < 0.025
    if texture == PLAIN:
        assert mean.max() / mean.min() < 1.03


def test_a_scene_is_the_same_at_every_size():
    # Three by three pixels of the fine picture make one of the coarse.
    _, factors = scenes(97)
    fine = draw_scenes(factors, size=48).reshape(-1, 1, 48, 48)
    coarse = draw_scenes(factors, size=16)
    difference = (avg_pool2d(fine, 3).flatten(1) - coarse).abs()
    assert difference.max() < 0.25
    assert difference.mean() < 0.005


@pytest.mark.parametrize(
    ("draw", "sample"), [(draw_sprites, sprites), (draw_scenes, scenes)], ids=["sprites", "scenes"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_pictures_keep_the_dtype_of_their_factors(draw, sample, dtype):
    x, factors = sample(23, size=18)
    other = draw(factors.to(dtype), size=18)
    assert other.dtype == dtype
    # Factors rounded by eps move an edge by about that, in pixels of 2/18.
    torch.testing.assert_close(
        other.float(), x, rtol=0, atol=32 * max(torch.finfo(dtype).eps, 1e-6)
    )


def test_pictures_are_made_where_their_factors_are():
    # A default device without storage: what is made on it cannot meet the factors. Catches:
    # torch.arange without a device.
    _, spots = sprites(5)
    x, factors = scenes(5)
    with torch.device("meta"):
        assert draw_sprites(spots).device.type == "cpu"
        assert torch.equal(draw_scenes(factors), x)
        assert binarise(x).device.type == "cpu"


# --- bad input -----------------------------------------------------------------------------------

SPOT = torch.tensor([[1, 0.1, -0.2, 0.3]])
SCENE = torch.tensor([[3, 2, 1, 0.01, -0.02]])
POINTS = torch.tensor([[0.3, 1.9], [-1.2, 0.1], [0.0, 0.0]])


def changed(factors, column, value):
    factors = factors.clone()
    factors[0, column] = value
    return factors


BAD = {
    "no moons": (ValueError, "num", lambda: moons(1), lambda: moons(2)),
    "no pinwheel": (ValueError, "num", lambda: pinwheel(1), lambda: pinwheel(2)),
    "half a point": (TypeError, "num", lambda: tree(2.5), lambda: tree(2)),
    "labels of one point": (
        (ValueError, TypeError),
        "points",
        lambda: tree_labels(POINTS[0]),
        lambda: tree_labels(POINTS[0][None]),
    ),
    "density of integers": (
        TypeError,
        "points",
        lambda: tree_log_density(POINTS.long()),
        lambda: tree_log_density(POINTS.long().float()),
    ),
    "small sprites": (ValueError, "size", lambda: sprites(2, size=3), lambda: sprites(2, size=4)),
    "large sprites": (ValueError, "size", lambda: sprites(2, size=65), lambda: sprites(2, size=64)),
    "fourth shape": (
        ValueError,
        "factors[:, 0]",
        lambda: draw_sprites(changed(SPOT, 0, 3)),
        lambda: draw_sprites(changed(SPOT, 0, 2)),
    ),
    "small scenes": (ValueError, "size", lambda: scenes(2, size=11), lambda: scenes(2, size=12)),
    "large scenes": (ValueError, "size", lambda: scenes(2, size=65), lambda: scenes(2, size=64)),
    "fifth place": (
        ValueError,
        "factors[:, 0]",
        lambda: draw_scenes(changed(SCENE, 0, 4)),
        lambda: draw_scenes(changed(SCENE, 0, 0)),
    ),
    "half a shape": (
        ValueError,
        "factors[:, 1]",
        lambda: draw_scenes(changed(SCENE, 1, 1.5)),
        lambda: draw_scenes(changed(SCENE, 1, 1)),
    ),
    "negative texture": (
        ValueError,
        "factors[:, 2]",
        lambda: draw_scenes(changed(SCENE, 2, -1)),
        lambda: draw_scenes(changed(SCENE, 2, 0)),
    ),
    "infinite shift": (
        ValueError,
        "factors",
        lambda: draw_scenes(changed(SCENE, 4, math.inf)),
        lambda: draw_scenes(changed(SCENE, 4, 0.5)),
    ),
    "scene of a sprite": (
        (ValueError, TypeError),
        "factors",
        lambda: draw_scenes(SPOT),
        lambda: draw_scenes(SCENE),
    ),
    "all held out": (
        ValueError,
        "held_out",
        lambda: split(POINTS, held_out=1.0),
        lambda: split(POINTS, held_out=0.5),
    ),
    "none held out": (
        ValueError,
        "held_out",
        lambda: split(POINTS, held_out=0.1),
        lambda: split(POINTS, held_out=0.5),
    ),
    "negative share": (
        ValueError,
        "held_out",
        lambda: split(POINTS, held_out=-0.5),
        lambda: split(POINTS, held_out=0.5),
    ),
    "labels of others": (
        ValueError,
        "others",
        lambda: split(POINTS, torch.arange(3), torch.arange(4), held_out=0.5),
        lambda: split(POINTS, torch.arange(3), torch.arange(4)[:3], held_out=0.5),
    ),
    "pixels to 255": (
        ValueError,
        "x",
        lambda: binarise(torch.tensor([[0.0, 255.0]])),
        lambda: binarise(torch.tensor([[0.0, 255.0]]) / 255),
    ),
    "negative pixels": (
        ValueError,
        "x",
        lambda: binarise(torch.tensor([[-0.1, 0.5]])),
        lambda: binarise(torch.tensor([[-0.1, 0.5]]).clamp(0, 1)),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_argument_and_its_remedy_works(case):
    error, name, wrong, right = BAD[case]
    with pytest.raises(error, match=re.escape(name)):
        wrong()
    right()
