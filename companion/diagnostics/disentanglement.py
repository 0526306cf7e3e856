"""Diagnostics of disentanglement: does each known factor live in one unit of the code?"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor


def mutual_information_gap(
    codes: Float[Tensor, "N d"], factors: Float[Tensor, "N F"], num_bins: int = 20
) -> Float[Tensor, " F"]:
    r"""Mutual information gap: does each known factor live in one unit of the code alone?

        [I(z_a; f) − I(z_b; f)] / H(f)

    for each factor f, where z_a tells most of f and z_b second most. 1: one unit tells all and no
    other anything. 0: two units tell equally much, or none tells anything.

    It sees the axes of the code, so a rotation of a good code lowers it although nothing is lost.
    The histograms' information is biased upwards, by about (num_bins − 1)² / 2N nats for
    independent quantities. And the factors must be known.

    Args:
        codes: One code for each picture, such as the mean of q(z | x), (N, d), d ≥ 2.
        factors: What the pictures were drawn from, (N, F).
        num_bins: Bins of equal count for a column with more distinct values than that.

    Returns:
        One number between 0 and 1 for each factor, (F,).

    Reference: R. T. Q. Chen et al., "Isolating Sources of Disentanglement in Variational
    Autoencoders", NeurIPS 2018, equation 6, https://arxiv.org/abs/1802.04942.

    >>> z = torch.arange(400.0)
    >>> mutual_information_gap(torch.stack([z // 20, z % 20], 1), (z // 20)[:, None])
    tensor([1.])
    """
    units = [_bins(unit, num_bins) for unit in codes.T]
    gaps = []
    for factor in factors.T:
        label = _bins(factor, num_bins)
        entropy = mutual_info_score(label, label)
        second, first = sorted(mutual_info_score(label, unit) for unit in units)[-2:]
        gaps.append((first - second) / entropy)
    return codes.new_tensor(gaps)


def _bins(values: Float[Tensor, " N"], num_bins: int) -> NDArray[np.int64]:
    """Return the bin of each value: one for each distinct value, or `num_bins` of equal count."""
    distinct, index = torch.unique(values, return_inverse=True)
    if len(distinct) > num_bins:
        edges = values.quantile(torch.linspace(0, 1, num_bins + 1)[1:-1].to(values))
        index = torch.bucketize(values.contiguous(), edges)
    return index.cpu().numpy()
