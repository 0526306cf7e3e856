"""Mistakes in the data sets and in how data are prepared."""

import math

import torch

from mutation.registry import mutant


@mutant("data.binarise", "binarise: a threshold in place of a draw", "data")
def _(right, x, seed):
    right(x, seed)
    return (x > 0.5).to(x.dtype)


@mutant("data.binarise", "binarise: the same draw whatever the seed", "data")
def _(right, x, seed):
    return right(x, 0)


@mutant("data.split", "split: rows of the second part stay in the first", "data")
def _(right, x, *others, held_out, seed):
    train, test = right(x, *others, held_out=held_out, seed=seed)
    return tuple(map(torch.cat, zip(train, test, strict=True))), test


@mutant("data.split", "split: labels keep their old order", "data")
def _(right, x, *others, held_out, seed):
    train, test = right(x, *others, held_out=held_out, seed=seed)
    kept = (other[: len(train[0])] for other in others)
    return (train[0], *kept), test


@mutant("data.split", "split: the share is that of the first part", "data")
def _(right, x, *others, held_out, seed):
    return right(x, *others, held_out=1 - held_out, seed=seed)


@mutant("data._generator", "data: random numbers from torch's own generator", "data")
def _(right, seed, device):
    return torch.default_generator.manual_seed(seed)


@mutant("data._standardise", "moons, pinwheel: centred and not scaled", "data")
def _(right, points):
    right(points)
    return torch.tensor(points - points.mean(0), dtype=torch.float32)


@mutant("data.tree", "tree: labels of other rows", "data")
def _(right, num, *, depth, branching, noise, seed):
    points, labels = right(num, depth=depth, branching=branching, noise=noise, seed=seed)
    return points, labels.roll(1, 0)


@mutant("data.tree", "tree: labels shifted by one cluster", "data")
def _(right, num, *, depth, branching, noise, seed):
    points, labels = right(num, depth=depth, branching=branching, noise=noise, seed=seed)
    return points, (labels + 1) % (branching ** torch.arange(1, depth + 1))


@mutant("data._lineage", "tree: labels from fine to coarse", "data")
def _(right, leaf, depth, branching):
    return right(leaf, depth, branching).flip(1)


@mutant("data.tree", "tree: the noise taken for a variance", "data")
def _(right, num, *, depth, branching, noise, seed):
    return right(num, depth=depth, branching=branching, noise=math.sqrt(noise), seed=seed)


@mutant("data.tree_centres", "tree: a depth is not turned against the one above", "data")
def _(right, depth, branching):
    leaves = right(depth, branching)
    if depth == 1:
        return leaves
    # Leaves as far from the inner nodes as they should be, in the directions of the first depth.
    inner = right(depth - 1, branching).repeat_interleave(branching, 0)
    spokes = right(1, branching) / 2
    radius = (leaves - inner).norm(dim=1, keepdim=True)
    return inner + radius * spokes.repeat(len(inner) // branching, 1)


@mutant("data.tree_log_density", "tree: the number of leaves forgotten in the density", "data")
def _(right, points, *, depth, branching, noise):
    density = right(points, depth=depth, branching=branching, noise=noise)
    return density + depth * math.log(branching)


def drawn(target, name, column, change):
    """A mistake in what one column of the factors means in a picture."""

    def wrong(right, factors, *, size):
        factors = factors.clone()
        factors[:, column] = change(factors[:, column])
        return right(factors, size=size)

    mutant(f"data.{target}", name, "data")(wrong)


drawn("draw_sprites", "sprites: upside down", 2, lambda up: -up)
drawn("draw_sprites", "sprites: a diameter in place of a radius", 3, lambda radius: radius / 2)
drawn("draw_sprites", "sprites: shapes exchanged", 0, lambda code: 2 - code)
drawn(
    "draw_scenes",
    "scenes: places left and right exchanged",
    0,
    lambda code: code + 1 - 2 * (code % 2),
)
drawn(
    "draw_scenes",
    "scenes: rows and columns exchanged",
    2,
    lambda code: (3 - code) % 3 + 3 * (code == 3),
)
drawn("draw_scenes", "scenes: shift to the right ignored", 3, lambda shift: 0 * shift)


@mutant("data._coverage", "pictures: hard edges", "data")
def _(right, distance, size):
    return (distance < 0).to(distance)
