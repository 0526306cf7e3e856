"""Diagnostics: what a model's samples and codes look like, in numbers."""

import torch
from jaxtyping import Float
from torch import Tensor

from companion.validation import require_data

__all__ = ["nearest_distance", "two_sample_distance"]


def two_sample_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    r"""Energy distance between the distributions that two samples come from.

        2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖

    It is zero exactly when the two distributions agree. The estimate is unbiased (a point is never
    paired with itself), so for two samples of one distribution it is near zero and may be negative.

    Args:
        x: One sample, (N, D), N ≥ 2.
        y: The other, (M, D), M ≥ 2.

    Returns:
        A scalar, in the units of x.

    Raises:
        ValueError: The samples differ in D or have fewer than two rows.

    Reference: G. J. Székely and M. L. Rizzo, "Energy Statistics: A Class of Statistics Based on
    Distances", Journal of Statistical Planning and Inference 143(8), 2013,
    https://doi.org/10.1016/j.jspi.2013.03.018.

    >>> two_sample_distance(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]]))
    tensor(2.)
    """
    require_data(x, "x")
    require_data(y, "y", features=x.shape[1])
    if min(len(x), len(y)) < 2:
        raise ValueError(f"x and y need two rows or more each, got {len(x)} and {len(y)}")
    within = sum(torch.cdist(s, s).sum() / (len(s) * (len(s) - 1)) for s in (x, y))
    return 2 * torch.cdist(x, y).mean() - within


def nearest_distance(x: Float[Tensor, "N D"], data: Float[Tensor, "M D"]) -> Float[Tensor, " N"]:
    """Return the Euclidean distance from each row of x to the nearest row of `data`.

    Args:
        x: Points, (N, D).
        data: Where neighbours are looked for, (M, D).

    Raises:
        ValueError: They differ in D.

    >>> nearest_distance(torch.tensor([[0.0]]), torch.tensor([[3.0], [-2.0]]))
    tensor([2.])
    """
    require_data(x, "x")
    return torch.cdist(x, require_data(data, "data", features=x.shape[1])).min(dim=1).values
