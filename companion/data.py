"""Data sets that need no download (but MNIST), and what is done to data before a fit.

Each set is a float32 matrix, one row a data point. Everything random takes a seed.
"""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn import datasets
from torch import Tensor

from companion.validation import require_count, require_data, require_positive

__all__ = ["binarise", "digits", "draw_sprites", "mnist", "moons", "pinwheel", "split", "sprites"]

SHAPES = ("disc", "square", "triangle")


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

    Downloads once, through scikit-learn, into `cache`; needs the extra ``scale``.

    Args:
        cache: Folder; None is scikit-learn's own.

    Raises:
        OSError: There is no network and no cached copy.

    Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST Database", 1998.
    """
    found = datasets.fetch_openml("mnist_784", version=1, as_frame=False, data_home=cache)
    pixels = torch.tensor(found.data / 255, dtype=torch.float32)
    return pixels, torch.tensor(found.target.astype(np.int64))


def moons(num: int, *, noise: float = 0.08, seed: int = 0) -> Float[Tensor, "num 2"]:
    """Return points on two interleaved half circles, each coordinate with mean 0 and variance 1.

    Args:
        num: Number of points.
        noise: Standard deviation of the noise, before standardisation.
        seed: Of the draw.

    Raises:
        ValueError: num is below 2 or noise not positive.
    """
    require_count(num, "num", minimum=2)
    points, _ = datasets.make_moons(
        num, noise=require_positive(noise, "noise"), random_state=_seed(seed)
    )
    return _standardise(points)


def pinwheel(
    num: int, *, arms: int = 5, noise: float = 0.3, seed: int = 0
) -> Float[Tensor, "num 2"]:
    """Return points on the bent arms of a pinwheel, each coordinate with mean 0 and variance 1.

    Args:
        num: Number of points.
        arms: Number of arms.
        noise: Standard deviation along an arm; across it is a sixth of that.
        seed: Of the draw.

    Raises:
        ValueError: num is below 2, arms below 1, or noise not positive.

    Source: M. J. Johnson et al., "Composing Graphical Models with Neural Networks for Structured
    Representations and Fast Inference", NeurIPS 2016, https://arxiv.org/abs/1603.06277.
    """
    require_count(num, "num", minimum=2)
    require_count(arms, "arms")
    require_positive(noise, "noise")
    rng = np.random.default_rng(_seed(seed))
    radius = 1 + noise * rng.standard_normal(num)
    across = noise / 6 * rng.standard_normal(num)
    angle = 2 * np.pi * rng.integers(arms, size=num) / arms + 0.25 * np.exp(radius)
    along, turn = (
        np.stack([np.cos(angle), np.sin(angle)]),
        np.stack([-np.sin(angle), np.cos(angle)]),
    )
    return _standardise((radius * along + across * turn).T)


def sprites(
    num: int, *, size: int = 16, seed: int = 0
) -> tuple[Float[Tensor, "num pixels"], Float[Tensor, "num 4"]]:
    """Draw pictures of one shape each, with independent known factors.

    Args:
        num: Number of pictures.
        size: Pixels along a side, from 4 to 64.
        seed: Of the factors.

    Returns:
        Pixels in [0, 1], (num, size²), and the factors as `draw_sprites` takes them, (num, 4):
        shape uniform on 0, 1, 2; horizontal and vertical position uniform on [−0.5, 0.5]; radius
        uniform on [0.2, 0.4].

    Raises:
        ValueError: num is below 1 or size out of range.

    >>> x, factors = sprites(5, size=8)
    >>> x.shape, factors.shape
    (torch.Size([5, 64]), torch.Size([5, 4]))
    """
    generator = torch.Generator().manual_seed(_seed(seed))
    shape = torch.randint(len(SHAPES), (require_count(num, "num"), 1), generator=generator)
    uniform = torch.rand(num, 3, generator=generator)
    factors = torch.cat([shape, uniform[:, :2] - 0.5, 0.2 + 0.2 * uniform[:, 2:]], dim=1)
    return draw_sprites(factors, size=size), factors


def draw_sprites(factors: Float[Tensor, "N 4"], *, size: int = 16) -> Float[Tensor, "N pixels"]:
    """Draw the picture of each row of factors, with soft edges one pixel wide.

    Args:
        factors: Shape (0 disc, 1 square, 2 triangle), horizontal position (to the right), vertical
            position (up), radius, in units where the picture spans [−1, 1]. Shapes of one radius
            have one area.
        size: Pixels along a side, from 4 to 64.

    Returns:
        Pixels in [0, 1], (N, size²), row by row from the top.

    Raises:
        ValueError: size is out of range, or a factor is.
    """
    require_data(factors, "factors", features=4)
    if not 4 <= require_count(size, "size") <= 64:
        raise ValueError(f"size must lie between 4 and 64, got {size}")
    shape, radius = factors[:, 0], factors[:, 3]
    if not torch.isin(shape, torch.arange(len(SHAPES), dtype=shape.dtype)).all():
        raise ValueError(f"factors[:, 0] must be 0, 1 or 2 ({', '.join(SHAPES)}), got {shape}")
    if not (radius > 0).all():
        raise ValueError(f"factors[:, 3], the radius, must be above zero, got {radius.min()}")
    axis = (torch.arange(size, dtype=factors.dtype) + 0.5) * 2 / size - 1
    right = axis.repeat(size) - factors[:, 1:2]
    up = -axis.repeat_interleave(size) - factors[:, 2:3]
    # Signed distance to a convex outline: the largest of its distances to the edges' lines.
    disc = torch.hypot(right, up) - radius[:, None]
    square = torch.maximum(right.abs(), up.abs()) - radius[:, None] * math.sqrt(math.pi) / 2
    slopes = torch.maximum(-up, (up + math.sqrt(3) * right.abs()) / 2)
    triangle = slopes - radius[:, None] * math.sqrt(math.pi / 27**0.5)
    distance = torch.stack([disc, square, triangle])[shape.long(), torch.arange(len(factors))]
    return (0.5 - distance * size / 2).clamp(0, 1)


def split(
    x: Tensor, *others: Tensor, held_out: float = 0.2, seed: int = 0
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Split rows at random into two parts, aligned tensors in the same way.

    Args:
        x: First tensor, N rows.
        others: More tensors of N rows, such as labels.
        held_out: Share of the rows in the second part, between 0 and 1.
        seed: Of the permutation.

    Returns:
        Two tuples of all tensors in the order given: the rows to train on, the rows held out.

    Raises:
        ValueError: The tensors differ in length, held_out is not between 0 and 1, or a part
            would be empty.

    >>> (train,), (test,) = split(torch.arange(10.0)[:, None])
    >>> train.shape, test.shape
    (torch.Size([8, 1]), torch.Size([2, 1]))
    """
    if require_positive(held_out, "held_out") >= 1:
        raise ValueError(f"held_out must lie between 0 and 1, got {held_out}; 0.2 keeps a fifth")
    if any(len(other) != len(x) for other in others):
        raise ValueError(
            f"others must have as many rows as x, {len(x)}, got {[len(o) for o in others]}"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(_seed(seed)))
    size = round(len(x) * held_out)
    if not 0 < size < len(x):
        raise ValueError(f"held_out = {held_out} of {len(x)} rows leaves a part empty")
    test, train = order[:size], order[size:]
    return tuple(t[train] for t in (x, *others)), tuple(t[test] for t in (x, *others))


def binarise(x: Float[Tensor, "N D"], seed: int = 0) -> Float[Tensor, "N D"]:
    """Draw each pixel: 1 with probability x, else 0.

    Args:
        x: Grey levels in [0, 1], (N, D).
        seed: Of the draw.

    Returns:
        Binary pixels as floats, (N, D).

    Raises:
        ValueError: x has entries outside [0, 1], or is no finite matrix.

    >>> binarise(torch.tensor([[0.0, 1.0]]))
    tensor([[0., 1.]])
    """
    require_data(x)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"x must lie in [0, 1], got values from {x.min().item():.4g} to "
            f"{x.max().item():.4g}; rescale first, e.g. x / x.max()"
        )
    return torch.bernoulli(x, generator=torch.Generator(x.device).manual_seed(_seed(seed)))


def _seed(seed: int) -> int:
    """Return a seed that numpy and torch both take."""
    return require_count(seed, "seed", minimum=0)


def _standardise(points: np.ndarray) -> Tensor:
    """Return the points with mean 0 and variance 1 in each coordinate, as float32."""
    return torch.tensor((points - points.mean(0)) / points.std(0), dtype=torch.float32)
