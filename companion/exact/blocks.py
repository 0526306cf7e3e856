"""A Gaussian vector in blocks: marginals, conditionals and information in closed form."""

from collections.abc import Sequence
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from companion._checks import check_count
from companion.conditionals import LinearGaussianConditional


@final
class Blocks:
    r"""A Gaussian vector cut into blocks, such as the levels of a hierarchy.

    Args:
        mean: (n,).
        covariance: (n, n).
        sizes: Sizes of the blocks in their order; their sum is n.

    >>> pair = Blocks(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 1.0]]), [1, 1])
    >>> pair.conditional(0, [1]).weight
    tensor([[1.]])
    >>> pair.mutual_information([0], [1])       # ½ log 2
    tensor(0.3466)
    """

    def __init__(
        self, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"], sizes: Sequence[int]
    ) -> None:
        if sum(sizes) != len(mean) or not torch.allclose(covariance, covariance.mT):
            raise ValueError(f"sizes {sizes} must add up to {len(mean)}, covariance be symmetric")
        self.mean: Final = mean
        self.covariance: Final = covariance
        self.sizes: Final = tuple(sizes)

    def between(self, row: int, column: int) -> Float[Tensor, "r c"]:
        """Return the covariance of two blocks."""
        return self.covariance[self.place(row), self.place(column)]

    def marginal(self, *blocks: int) -> MultivariateNormal:
        """Return the joint law of some blocks, in the order given; of all if none is named."""
        index = self._index(blocks or range(len(self.sizes)))
        return MultivariateNormal(self.mean[index], self.covariance[index][:, index])

    def conditional(self, of: int, given: Sequence[int]) -> LinearGaussianConditional:
        r"""Return the law of one block given others, as a conditional of their concatenation.

        N(m_a + C_ab C_bb⁻¹ (b − m_b), C_aa − C_ab C_bb⁻¹ C_ba)
        """
        a, b = self._index([of]), self._index(given)
        cross = self.covariance[a][:, b]
        weight = torch.linalg.solve(self.covariance[b][:, b], cross.mT).mT
        rest = self.covariance[a][:, a] - weight @ cross.mT
        bias = self.mean[a] - weight @ self.mean[b]
        return LinearGaussianConditional(weight, bias, (rest + rest.mT) / 2)

    def mutual_information(self, one: Sequence[int], other: Sequence[int]) -> Float[Tensor, ""]:
        r"""Return I of two groups of blocks in nats: ½ log (det C_aa det C_bb / det C_{ab,ab})."""
        a, b = self._index(one), self._index(other)
        parts = [torch.logdet(self.covariance[i][:, i]) for i in (a, b, torch.cat([a, b]))]
        return 0.5 * (parts[0] + parts[1] - parts[2])

    def place(self, block: int) -> slice:
        """Return where a block stands in the whole vector."""
        check_count(block, "block", 0, len(self.sizes) - 1)
        return slice(sum(self.sizes[:block]), sum(self.sizes[: block + 1]))

    def _index(self, blocks: Sequence[int]) -> Tensor:
        """Return the positions of some blocks in the whole vector."""
        whole = torch.arange(len(self.mean), device=self.mean.device)
        return torch.cat([whole[self.place(block)] for block in blocks])


def chain_joint(
    start: MultivariateNormal, conditionals: Sequence[LinearGaussianConditional]
) -> Blocks:
    r"""Return the joint of u_0 ~ start and u_i | u_{i−1} ~ conditionals[i−1], in that order.

    Args:
        start: Law of u_0, event (k,), without a batch.
        conditionals: One for each later variable.

    >>> start = MultivariateNormal(torch.zeros(1), torch.eye(1))
    >>> step = LinearGaussianConditional(torch.ones(1, 1), torch.zeros(1), torch.eye(1))
    >>> chain_joint(start, [step, step]).covariance
    tensor([[1., 1., 1.],
            [1., 2., 2.],
            [1., 2., 3.]])
    """
    return join_chain(start.mean, start.covariance_matrix, conditionals)


def gaussian_joint(
    marginal: MultivariateNormal, conditional: LinearGaussianConditional
) -> MultivariateNormal:
    r"""Return the joint of (u, v) where u ~ N(m, C) and v | u ~ N(W u + b, Σ).

        mean (m, W m + b),   covariance ( C     C Wᵀ       )
                                        ( W C   W C Wᵀ + Σ )

    Args:
        marginal: Of u, event (k,).
        conditional: Of v given u.

    >>> u = MultivariateNormal(torch.zeros(1), torch.eye(1))
    >>> v = LinearGaussianConditional(torch.tensor([[2.0]]), torch.ones(1), 0.5 * torch.eye(1))
    >>> gaussian_joint(u, v).covariance_matrix
    tensor([[1.0000, 2.0000],
            [2.0000, 4.5000]])
    """
    return chain_joint(marginal, [conditional]).marginal()


def join_chain(
    mean: Tensor, covariance: Tensor, conditionals: Sequence[LinearGaussianConditional]
) -> Blocks:
    """Return the joint of a chain that starts from these moments; the first may be degenerate."""
    sizes = [len(mean)]
    for step in conditionals:
        last = slice(len(mean) - sizes[-1], len(mean))
        cross = step.weight @ covariance[last]
        noise = step.scale_tril @ step.scale_tril.mT
        corner = cross[:, last] @ step.weight.mT + noise
        covariance = torch.cat(
            [torch.cat([covariance, cross.mT], 1), torch.cat([cross, corner], 1)]
        )
        mean = torch.cat([mean, step.weight @ mean[last] + step.bias])
        sizes.append(len(step.weight))
    return Blocks(mean, (covariance + covariance.mT) / 2, sizes)
