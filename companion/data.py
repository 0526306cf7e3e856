"""Data sets that need no download (but MNIST), and what is done to data before a fit.

Each set is a float32 matrix, one row a data point. Everything random takes a seed and leaves
torch's own generator alone. Pictures span [−1, 1] both ways; their rows follow from the top.
"""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn import datasets
from torch import Tensor

from companion._checks import check_count, check_tensor

__all__ = [
    "binarise",
    "digits",
    "draw_scenes",
    "draw_sprites",
    "mnist",
    "moons",
    "pinwheel",
    "scenes",
    "split",
    "sprites",
    "tree",
    "tree_centres",
    "tree_labels",
    "tree_log_density",
]

PLACES = ("top left", "top right", "bottom left", "bottom right")
SHAPES = ("disc", "square", "triangle")
TEXTURES = ("plain", "rows", "columns", "checks")
"""What the codes 0, 1, 2 … of a picture's factors mean."""
FOOT = math.sqrt(math.pi / 27**0.5)
"""How far a triangle's edges lie from its centre, where a disc of its area has radius 1."""


def digits() -> tuple[Float[Tensor, "1797 64"], Int64[Tensor, " 1797"]]:
    """Return 1,797 handwritten digits of 8 × 8 pixels in [0, 1], and their labels.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49; bundled with scikit-learn.

    >>> x, label = digits()
    >>> x.shape, float(x.min()), float(x.max())
    (torch.Size([1797, 64]), 0.0, 1.0)
    """
    pixels, labels = datasets.load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)


def mnist(cache: Path | None = None) -> tuple[Float[Tensor, "N 784"], Int64[Tensor, " N"]]:
    """Return the 70,000 MNIST digits of 28 × 28 pixels in [0, 1], and their labels.

    Downloads once, through scikit-learn, into the folder `cache` (None: scikit-learn's own);
    needs the extra ``scale``.

    Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST Database", 1998.
    """
    found = datasets.fetch_openml("mnist_784", version=1, as_frame=False, data_home=cache)
    pixels = torch.tensor(found.data / 255, dtype=torch.float32)
    return pixels, torch.tensor(found.target.astype(np.int64))


def moons(num: int, *, noise: float = 0.08, seed: int = 0) -> Float[Tensor, "num 2"]:
    """Return points on two interleaved half circles, each coordinate with mean 0 and variance 1.

    `noise` is the standard deviation around the circles of radius 1, before standardisation.
    """
    points, _ = datasets.make_moons(num, noise=noise, random_state=seed)
    return _standardise(points)


def pinwheel(
    num: int, *, arms: int = 5, noise: float = 0.3, seed: int = 0
) -> Float[Tensor, "num 2"]:
    """Return points on the bent arms of a pinwheel, each coordinate with mean 0 and variance 1.

    `noise` is the standard deviation along an arm, across it a sixth of that, in units where an
    arm's middle lies at radius 1, before standardisation.

    Source: M. J. Johnson et al., "Composing Graphical Models with Neural Networks for Structured
    Representations and Fast Inference", NeurIPS 2016, https://arxiv.org/abs/1603.06277.
    """
    rng = np.random.default_rng(seed)
    radius = 1 + noise * rng.standard_normal(num)
    across = noise / 6 * rng.standard_normal(num)
    angle = 2 * np.pi * rng.integers(arms, size=num) / arms + 0.25 * np.exp(radius)
    along = np.stack([np.cos(angle), np.sin(angle)])
    turn = np.stack([-np.sin(angle), np.cos(angle)])
    return _standardise((radius * along + across * turn).T)


def tree(
    num: int, *, depth: int = 3, branching: int = 3, noise: float = 0.05, seed: int = 0
) -> tuple[Float[Tensor, "num 2"], Int64[Tensor, "num depth"]]:
    r"""Return points in clusters within clusters (within clusters …), and their labels.

        p(x) = B^(−L) Σ_i N(x; c_i, σ² I)

    The c_i are the B^L leaves of `tree_centres`; L is the depth, B the branching, σ the noise.
    Labels name a point's cluster at each depth: column k holds 0 … B^(k+1) − 1, so column 0 is
    the cluster, 1 the branch, 2 the leaf, and ``label[:, k] // branching == label[:, k - 1]``.

    Sibling leaves stand 11 σ apart by default, and closer in larger trees: 0.04 suits depth 4.
    """
    centres, generator = tree_centres(depth, branching), _generator(seed)
    leaf = torch.randint(len(centres), (num,), generator=generator)
    points = centres[leaf] + noise * torch.randn(num, 2, generator=generator)
    return points, _lineage(leaf, depth, branching)


def tree_centres(depth: int = 3, branching: int = 3) -> Float[Tensor, "leaves 2"]:
    r"""Return the B^L centres of a tree's clusters at depth L, in the order of their labels.

    The children of a node lie evenly on a circle around it. At depth l the radius is 2 q^(l−1):
    2, 0.8, 0.32 for B = 3. Each depth is turned by half a step, so that a tree of twos fills the
    plane and not a line. ``tree_centres(2)`` are the inner nodes of ``tree_centres(3)``.

    Siblings stand 2 r sin(π/B) apart, and their offspring reach at most r q / (1 − q) away. The q
    with q / (1 − q) = 4/√27 sin(π/B) leaves 23 % of the distance between two siblings empty,
    whatever the depth.

    >>> tree_centres().shape
    torch.Size([27, 2])
    """
    reach = 4 / math.sqrt(27) * math.sin(math.pi / branching)
    ratio = reach / (1 + reach)
    step = 2 * math.pi / branching
    centres = torch.zeros(1, dtype=torch.complex128)
    for level in range(depth):
        angle = math.pi / 2 + step * (torch.arange(branching, dtype=torch.float64) + level / 2)
        spokes = torch.polar(torch.full_like(angle, 2 * ratio**level), angle)
        centres = (centres[:, None] + spokes).flatten()
    return torch.view_as_real(centres).float()


def tree_labels(
    points: Float[Tensor, "N 2"], *, depth: int = 3, branching: int = 3
) -> Int64[Tensor, "N depth"]:
    """Return the labels, as `tree` gives them, of the leaf that is nearest to each point."""
    leaf = _squares(points, depth, branching).argmin(1)
    return _lineage(leaf, depth, branching)


def tree_log_density(
    points: Float[Tensor, "N 2"], *, depth: int = 3, branching: int = 3, noise: float = 0.05
) -> Float[Tensor, " N"]:
    """Return log p(x) of the density that `tree` draws from, in nats.

    Where leaves do not overlap, E log p(x) = −L log B − log(2πe σ²): −0.142 for the default.
    """
    squares = _squares(points, depth, branching)
    area = branching**depth * 2 * math.pi * noise**2
    return (squares / (-2 * noise**2)).logsumexp(1) - math.log(area)


def sprites(
    num: int, *, size: int = 16, seed: int = 0
) -> tuple[Float[Tensor, "num pixels"], Float[Tensor, "num 4"]]:
    """Return pictures of one shape each, (num, size²), and the independent factors they show.

    Shape is uniform on 0, 1, 2; horizontal and vertical position on [−0.5, 0.5]; radius on
    [0.2, 0.4]. `draw_sprites` says what they mean.
    """
    generator = _generator(seed)
    shape = torch.randint(len(SHAPES), (num, 1), generator=generator)
    uniform = torch.rand(num, 3, generator=generator)
    factors = torch.cat([shape, uniform[:, :2] - 0.5, 0.2 + 0.2 * uniform[:, 2:]], dim=1)
    return draw_sprites(factors, size=size), factors


def draw_sprites(factors: Float[Tensor, "N 4"], *, size: int = 16) -> Float[Tensor, "N pixels"]:
    """Draw the picture of each row of factors in [0, 1], with soft edges one pixel wide.

    Factors: shape (0 disc, 1 square, 2 triangle); horizontal position (to the right) and vertical
    position (up) of the centre of mass; radius, that of the disc: all three have its area. The
    picture has `size` pixels along a side, from 4 to 64.
    """
    _check_drawing(factors, 4, [SHAPES], size, smallest=4)
    shape, x, y, radius = factors[:, :, None].unbind(1)
    right, up = _pixel_centres(size, factors)
    right, up = right - x, up - y
    # Signed distance to a convex outline: the largest of its distances to the edges' lines.
    disc = torch.hypot(right, up) - radius
    square = torch.maximum(right.abs(), up.abs()) - radius * math.sqrt(math.pi) / 2
    slopes = torch.maximum(-up, (up + math.sqrt(3) * right.abs()) / 2)
    triangle = slopes - radius * FOOT
    distance = torch.stack([disc, square, triangle], dim=1)
    return _coverage(distance.take_along_dim(shape[:, None].long(), dim=1)[:, 0], size)


def scenes(
    num: int, *, size: int = 16, seed: int = 0
) -> tuple[Float[Tensor, "num pixels"], Float[Tensor, "num 5"]]:
    """Return pictures of one textured object each, (num, size²), and the factors they show.

    Place, shape and texture are independent and uniform on their codes; the shifts to the right
    and up on [−0.05, 0.05], 0.4 pixels at size 16. `draw_scenes` says what they mean.
    """
    generator = _generator(seed)
    kinds = (len(PLACES), len(SHAPES), len(TEXTURES))
    codes = [torch.randint(kind, (num, 1), generator=generator) for kind in kinds]
    factors = torch.cat([*codes, 0.1 * torch.rand(num, 2, generator=generator) - 0.05], dim=1)
    return draw_scenes(factors, size=size), factors


def draw_scenes(factors: Float[Tensor, "N 5"], *, size: int = 16) -> Float[Tensor, "N pixels"]:
    """Draw the picture of each row of factors in [0, 1], with soft edges one pixel wide.

        x = m ⊙ t

    The mask m knows place and shape, the pattern t texture alone: it stays where it is when the
    object shifts. So its edges lie between pixels (at size 16, 24, 32 …), and a shift by part of
    a pixel does not blur it. Its dark parts are dim, not black: the whole outline shows.

    Factors: place (0 top left, 1 top right, 2 bottom left, 3 bottom right); shape (0 disc,
    1 square, 2 triangle); texture (0 plain, 1 rows, 2 columns, 3 checks, two pixels wide at size
    16); shifts from the place to the right and up. The picture has `size` pixels along a side,
    from 12 to 64.
    """
    _check_drawing(factors, 5, [PLACES, SHAPES, TEXTURES], size, smallest=12)
    place, shape, texture, shift_right, shift_up = factors.unbind(1)
    radius = torch.full_like(shape, 0.42)
    x = 0.375 * (2 * (place % 2) - 1) + shift_right
    y = 0.375 * (1 - 2 * (place // 2)) + shift_up
    # A triangle's tip is twice as far from its centre of mass as its foot: lowered by half of the
    # difference, it fills the height around its place as the others do.
    y = y - (shape == 2) * radius * FOOT / 2
    mask = draw_sprites(torch.stack([shape, x, y, radius], dim=1), size=size)
    # Stripes a quarter wide, mirrored at the middle so that each place has the same, and an object
    # three of them: bright, dim, bright.
    columns, rows = (
        _coverage(((axis.abs() + 0.125) % 0.5 - 0.25).abs() - 0.125, size)
        for axis in _pixel_centres(size, factors)
    )
    checks = rows * columns + (1 - rows) * (1 - columns)
    pattern = torch.stack([torch.ones_like(rows), rows, columns, checks])
    return mask * (0.3 + 0.7 * pattern)[texture.long()]


def split(
    x: Tensor, *others: Tensor, held_out: float = 0.2, seed: int = 0
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Split rows at random, and return all tensors' rows to train on, and those held out.

    The `others`, such as labels, have N rows as x has, and are split in the same way; `held_out`
    is the share of the rows in the second part, between 0 and 1.

    >>> (train,), (test,) = split(torch.arange(10.0)[:, None])
    >>> train.shape, test.shape
    (torch.Size([8, 1]), torch.Size([2, 1]))
    """
    if {len(other) for other in others} - {len(x)}:
        raise ValueError(f"others must have {len(x)} rows, as x has, got {[*map(len, others)]}")
    size = round(len(x) * held_out)
    if not 0 < size < len(x):
        raise ValueError(f"held_out must leave rows on both sides, got {held_out} of {len(x)}")
    order = torch.randperm(len(x), generator=_generator(seed))
    test, train = order[:size], order[size:]
    return tuple(t[train] for t in (x, *others)), tuple(t[test] for t in (x, *others))


def binarise(x: Float[Tensor, "N D"], seed: int = 0) -> Float[Tensor, "N D"]:
    """Draw each pixel: 1 with probability x, the grey level in [0, 1], else 0.

    >>> binarise(torch.tensor([[0.0, 1.0]]))
    tensor([[0., 1.]])
    """
    check_tensor(x, "x", None, None)
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise ValueError(f"x must lie in [0, 1], got {low:.4g} to {high:.4g}; try x / x.max()")
    return torch.bernoulli(x, generator=_generator(seed, x.device))


def _generator(seed: int, device: torch.device | None = None) -> torch.Generator:
    """Return a generator of its own, so that torch's global one is left alone."""
    return torch.Generator(device or "cpu").manual_seed(int(seed))


def _standardise(points: np.ndarray) -> Tensor:
    """Return the points with mean 0 and variance 1 in each coordinate, as float32."""
    check_count(len(points), "num", minimum=2)
    return torch.tensor((points - points.mean(0)) / points.std(0), dtype=torch.float32)


def _lineage(leaf: Int64[Tensor, " N"], depth: int, branching: int) -> Int64[Tensor, "N depth"]:
    """Return the numbers of the clusters around a leaf, coarse to fine: its leading digits."""
    return leaf[:, None] // branching ** torch.arange(depth - 1, -1, -1, device=leaf.device)


def _squares(points: Float[Tensor, "N 2"], depth: int, branching: int) -> Float[Tensor, "N L"]:
    """Return |x − c_i|² of each point and leaf."""
    centres = tree_centres(depth, branching).to(points)
    # The faster way by a matrix product loses digits beside a centre.
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()


def _check_drawing(
    factors: Tensor, columns: int, names: list[tuple[str, ...]], size: int, smallest: int
) -> None:
    """Raise unless the size is drawable, and the leading columns hold codes of their names."""
    check_tensor(factors, "factors", None, columns)
    check_count(size, "size", smallest, maximum=64)
    for column, known in enumerate(names):
        codes = torch.arange(len(known), dtype=factors.dtype, device=factors.device)
        if not torch.isin(factors[:, column], codes).all():
            raise ValueError(f"factors[:, {column}] must hold codes from 0: {', '.join(known)}")


def _pixel_centres(size: int, like: Tensor) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Return how far to the right, and how far up, each pixel lies."""
    axis = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) * 2 / size - 1
    return axis.repeat(size), -axis.repeat_interleave(size)


def _coverage(distance: Float[Tensor, "*s"], size: int) -> Float[Tensor, "*s"]:
    """Return how much of a pixel lies inside an edge at this signed distance (inside: below 0)."""
    return (0.5 - distance * size / 2).clamp(0, 1)
