"""Diagnostics of samples: how far from the data, how near to single points, how sharp."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def energy_distance(x: Float[Tensor, "N ..."], y: Float[Tensor, "M ..."]) -> Float[Tensor, ""]:
    r"""Energy distance between the distributions that two samples come from.

        2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖

    It is zero exactly when the two distributions agree. The estimate is unbiased (a point is never
    paired with itself), so for two samples of one distribution it is near zero and may be negative.

    Args:
        x: One sample, (N, …), N ≥ 2, of vectors or pictures.
        y: The other, (M, …), M ≥ 2.

    Returns:
        A scalar, in the units of x.

    Reference: G. J. Székely and M. L. Rizzo, "Energy Statistics: A Class of Statistics Based on
    Distances", Journal of Statistical Planning and Inference 143(8), 2013,
    https://doi.org/10.1016/j.jspi.2013.03.018.

    >>> energy_distance(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]]))
    tensor(2.)
    """
    within = sum(_distances(s, s).sum() / (len(s) * (len(s) - 1)) for s in (x, y))
    return 2 * _distances(x, y).mean() - within


def nearest_distance(
    x: Float[Tensor, "N ..."], data: Float[Tensor, "M ..."]
) -> Float[Tensor, " N"]:
    """Return the Euclidean distance from each row of x to the nearest row of `data`.

    Args:
        x: Points, (N, …), vectors or pictures.
        data: Where neighbours are looked for, (M, …).

    >>> nearest_distance(torch.tensor([[0.0]]), torch.tensor([[3.0], [-2.0]]))
    tensor([2.])
    """
    return _distances(x, data).min(dim=1).values


def sharpness(x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Return the mean squared difference between neighbouring pixels of square images.

    Averaging pictures lowers it; noise raises it, so compare means of decoders, not noisy samples.

    Args:
        x: Pixels, (N, D), D a square number.

    >>> sharpness(torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    tensor([0.5000])
    """
    side = math.isqrt(x.shape[1])
    image = x.reshape(len(x), side, side)
    down, across = image.diff(dim=1), image.diff(dim=2)
    return torch.cat([down.flatten(1), across.flatten(1)], dim=1).square().mean(1)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the distances of all pairs, (N, M), zero for equal points."""
    # The faster way by a matrix product leaves equal points 1e-3 apart in float32.
    return torch.cdist(x.flatten(1), y.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
