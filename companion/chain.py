r"""A hierarchy of linear Gaussian levels: every joint, conditional and rate of it is known.

    z_L ~ N(0, I),   z_{l−1} | z_l ~ N(A_l z_l + b_l, Σ_l),   z_0 = x

The generative joint is one Gaussian over all levels, and so is the inference joint of a linear
encoder on Gaussian data. Here they are `Blocks`, cut in the order x, z_1 … z_L. Work in float64
where an identity must hold to rounding.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from companion.conditionals import LinearGaussianConditional, StandardNormal
from companion.models import HVAE
from companion.validation import require_count, require_data, require_tensor

__all__ = ["Blocks", "LinearGaussianChain", "chain_joint"]


@final
class Blocks:
    r"""A Gaussian vector cut into blocks, such as the levels of a hierarchy.

    Args:
        mean: (n,).
        covariance: (n, n).
        sizes: Sizes of the blocks in their order; their sum is n.

    Raises:
        ValueError: The sizes do not add up to n, or the covariance is not symmetric.
        TypeError: A tensor is no floating-point tensor, or their dtypes differ.

    >>> pair = Blocks(torch.zeros(2), torch.tensor([[2.0, 1.0], [1.0, 1.0]]), [1, 1])
    >>> pair.conditional(0, [1]).weight
    tensor([[1.]])
    >>> pair.mutual_information([0], [1])       # ½ log 2
    tensor(0.3466)
    """

    def __init__(
        self, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"], sizes: Sequence[int]
    ) -> None:
        require_tensor(mean, "mean", axes=1)
        require_tensor(covariance, "covariance", axes=2, dtype=mean.dtype)
        for size in sizes:
            require_count(size, "sizes")
        if covariance.shape != (len(mean), len(mean)) or not torch.allclose(
            covariance, covariance.mT
        ):
            raise ValueError(
                f"covariance must be symmetric, of shape {(len(mean), len(mean))} as mean has "
                f"{len(mean)} entries, got shape {tuple(covariance.shape)}"
            )
        if sum(sizes) != len(mean):
            raise ValueError(f"sizes must add up to {len(mean)}, got {list(sizes)}")
        self.mean: Final = mean
        self.covariance: Final = covariance
        self.sizes: Final = tuple(sizes)
        self._slices = [
            slice(sum(sizes[:block]), sum(sizes[: block + 1])) for block in range(len(sizes))
        ]

    def between(self, row: int, column: int) -> Float[Tensor, "r c"]:
        """Return the covariance of two blocks."""
        return self.covariance[self._slice(row), self._slice(column)]

    def marginal(self, *blocks: int) -> MultivariateNormal:
        """Return the joint law of some blocks, in the order given; of all if none is named.

        Raises:
            IndexError: There is no such block.
        """
        index = self._index(blocks or range(len(self.sizes)))
        return MultivariateNormal(self.mean[index], self.covariance[index][:, index])

    def conditional(self, of: int, given: Sequence[int]) -> LinearGaussianConditional:
        r"""Return the law of one block given others, as a conditional of their concatenation.

            N(m_a + C_ab C_bb⁻¹ (b − m_b), C_aa − C_ab C_bb⁻¹ C_ba)

        Raises:
            IndexError: There is no such block.
        """
        a, b = self._index([of]), self._index(given)
        cross = self.covariance[a][:, b]
        weight = torch.linalg.solve(self.covariance[b][:, b], cross.mT).mT
        rest = self.covariance[a][:, a] - weight @ cross.mT
        bias = self.mean[a] - weight @ self.mean[b]
        return LinearGaussianConditional(weight, bias, (rest + rest.mT) / 2)

    def mutual_information(self, one: Sequence[int], other: Sequence[int]) -> Float[Tensor, ""]:
        r"""Return I of two groups of blocks in nats: ½ log (det C_aa det C_bb / det C_{ab,ab}).

        Raises:
            IndexError: There is no such block.
        """
        a, b = self._index(one), self._index(other)
        if set(one) & set(other):
            raise ValueError(f"one and other must share no block, got {one} and {other}")
        both = torch.cat([a, b])
        parts = [torch.logdet(self.covariance[i][:, i]) for i in (a, b, both)]
        if torch.stack(parts).isnan().any():
            raise ValueError(
                f"covariance of blocks {one} and {other} must be positive definite, but a "
                f"determinant is negative; check its construction, or work in float64"
            )
        return 0.5 * (parts[0] + parts[1] - parts[2])

    def _slice(self, block: int) -> slice:
        if not 0 <= block < len(self.sizes):
            raise IndexError(f"block must be between 0 and {len(self.sizes) - 1}, got {block}")
        return self._slices[block]

    def _index(self, blocks: Sequence[int]) -> Tensor:
        """Return the positions of some blocks in the whole vector."""
        if not isinstance(blocks, Sequence) or not blocks:
            raise TypeError(f"blocks must be a list with one or more, such as [1], got {blocks!r}")
        for block in blocks:
            require_count(block, "block", minimum=0)
        if len(set(blocks)) < len(blocks):
            raise ValueError(f"blocks must differ, got {list(blocks)}; name each once")
        whole = torch.arange(len(self.mean))
        return torch.cat([whole[self._slice(block)] for block in blocks])


def chain_joint(
    start: MultivariateNormal, conditionals: Sequence[LinearGaussianConditional]
) -> Blocks:
    r"""Return the joint of u_0 ~ start and u_i | u_{i−1} ~ conditionals[i−1], in that order.

    Args:
        start: Law of u_0, event (k,), without a batch.
        conditionals: One for each later variable.

    Raises:
        ValueError: A conditional does not take what the one before it gives.
        TypeError: start is no MultivariateNormal, a conditional is not linear, or dtypes differ.

    >>> start = MultivariateNormal(torch.zeros(1), torch.eye(1))
    >>> step = LinearGaussianConditional(torch.ones(1, 1), torch.zeros(1), torch.eye(1))
    >>> chain_joint(start, [step, step]).covariance
    tensor([[1., 1., 1.],
            [1., 2., 2.],
            [1., 2., 3.]])
    """
    _require_law(start, "start")
    _require_linear(conditionals, "conditionals", start.mean.dtype)
    return _chain(start.mean, start.covariance_matrix, conditionals)


class LinearGaussianChain:
    r"""Hierarchical model with linear Gaussian conditionals and p(z_L) = N(0, I).

    Args:
        decoders: p(x | z_1), p(z_1 | z_2), …, p(z_{L−1} | z_L), as for `companion.models.HVAE`.

    Raises:
        ValueError: There is none, or a decoder does not take what the one above it gives.
        TypeError: A decoder is no LinearGaussianConditional, or their dtypes differ.

    >>> eye, zero = torch.eye(1), torch.zeros(1)
    >>> chain = LinearGaussianChain([LinearGaussianConditional(eye, zero, eye)] * 2)
    >>> chain.joint().covariance        # of x, z_1, z_2
    tensor([[3., 2., 1.],
            [2., 2., 1.],
            [1., 1., 1.]])
    """

    def __init__(self, decoders: Sequence[LinearGaussianConditional]) -> None:
        if not decoders:
            raise ValueError("decoders is empty; pass p(x | z_1) at least")
        _require_linear(decoders, "decoders")
        for level, (below, above) in enumerate(pairwise(decoders), start=1):
            if below.weight.shape[1] != above.weight.shape[0]:
                raise ValueError(
                    f"decoders[{level - 1}] takes z_{level} of size {below.weight.shape[1]}, but "
                    f"decoders[{level}] gives size {above.weight.shape[0]}"
                )
        self.decoders: Final = tuple(decoders)

    def joint(self) -> Blocks:
        """Return p(x, z_1, …, z_L)."""
        top = self.decoders[-1].weight
        zeros, eye = top.new_zeros(top.shape[1]), torch.eye(top.shape[1], dtype=top.dtype)
        down = _chain(zeros, eye, self.decoders[::-1])
        blocks = list(reversed(range(len(down.sizes))))
        turned = down.marginal(*blocks)
        return Blocks(turned.mean, turned.covariance_matrix, [down.sizes[b] for b in blocks])

    def log_marginal(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return log p(x) in nats, (B,).

        Raises:
            ValueError: x is bad data.
        """
        weight = self.decoders[0].weight
        require_data(x, features=len(weight), dtype=weight.dtype)
        return self.joint().marginal(0).log_prob(x)

    def posterior(self) -> list[LinearGaussianConditional]:
        r"""Return the exact encoder: p(z_1 | x), p(z_2 | z_1), …, p(z_L | z_{L−1}).

        The posterior of a chain is a chain: given z_{l−1}, what lies below it says nothing more of
        z_l. So a bottom-up Markov encoder of full covariance loses nothing.
        """
        joint = self.joint()
        return [joint.conditional(level, [level - 1]) for level in range(1, len(joint.sizes))]

    def hvae(self, encoders: Sequence[LinearGaussianConditional] | None = None) -> HVAE:
        """Return the chain as an `HVAE`, with its exact encoder unless others are given.

        Raises:
            ValueError: The encoders do not fit.
        """
        encoders = self.posterior() if encoders is None else encoders
        prior = StandardNormal(self.decoders[-1].weight.shape[1])
        return HVAE(encoders, self.decoders, prior.to(self.decoders[-1].weight.dtype))

    def reconstruction(
        self,
        data: Float[Tensor, "B D"] | MultivariateNormal,
        encoders: Sequence[LinearGaussianConditional],
    ) -> Float[Tensor, " *B"]:
        """Return E_q[log p(x | z_1)], exactly.

        Args:
            data: Points, (B, D), or the law of x, over which the result is then averaged too.
            encoders: Bottom-up and linear, as many as levels.

        Returns:
            Nats, (B,) for points, a scalar for a law.

        Raises:
            ValueError: data or encoders do not fit the chain.
        """
        means, joint = self._inference(data, encoders)
        return self._cross(0, means, joint.covariance, joint)

    def rates(
        self,
        data: Float[Tensor, "B D"] | MultivariateNormal,
        encoders: Sequence[LinearGaussianConditional],
    ) -> Float[Tensor, "L ..."]:
        r"""Return E_q[log q(z_l | z_{l−1}) − log p(z_l | z_{l+1})] of each level, exactly.

        An inner level's rate may be negative. Reconstruction less the sum of the rates is the ELBO.

        Args:
            data: As in `reconstruction`.
            encoders: As in `reconstruction`.

        Returns:
            Nats, (L, B) for points, (L,) for a law.

        Raises:
            ValueError: data or encoders do not fit the chain.
        """
        means, joint = self._inference(data, encoders)
        return torch.stack(
            [
                -_entropy(encoder) - self._cross(level, means, joint.covariance, joint)
                for level, encoder in enumerate(encoders, start=1)
            ]
        )

    def closed_form_rates(
        self,
        data: Float[Tensor, "B D"] | MultivariateNormal,
        encoders: Sequence[LinearGaussianConditional],
    ) -> Float[Tensor, "L ..."]:
        r"""Return E_q[KL(q(z_l | z_{l−1}) ‖ p(z_l | z_{l+1}))] of each level, exactly.

        In it z_l is drawn afresh from q(z_l | z_{l−1}), although the z_{l+1} beside it came from
        another z_l. At an inner level it therefore is not the rate: with p(z_l | z_{l+1}) =
        N(A z_{l+1} + b, Σ) it is larger by

            tr(Σ⁻¹ A Cov_q(z_{l+1}, z_l | z_{l−1}))

        which may have either sign. At the top the two agree.

        Args:
            data: As in `reconstruction`.
            encoders: As in `reconstruction`.

        Returns:
            Nats, (L, B) for points, (L,) for a law.

        Raises:
            ValueError: data or encoders do not fit the chain.
        """
        means, joint = self._inference(data, encoders)
        terms = []
        for level, encoder in enumerate(encoders, start=1):
            covariance = joint.covariance.clone()
            if level < len(self.decoders):
                here, above = joint._slice(level), joint._slice(level + 1)
                redrawn = encoder.weight @ joint.between(level - 1, level + 1)
                covariance[here, above], covariance[above, here] = redrawn, redrawn.mT
            terms.append(-_entropy(encoder) - self._cross(level, means, covariance, joint))
        return torch.stack(terms)

    def _inference(
        self,
        data: Tensor | MultivariateNormal,
        encoders: Sequence[LinearGaussianConditional],
    ) -> tuple[Tensor, Blocks]:
        """Return the means of x, z_1 … z_L, (…, n), and their joint under q."""
        _require_linear(encoders, "encoders", self.decoders[0].weight.dtype)
        sizes = [len(d.weight) for d in self.decoders] + [self.decoders[-1].weight.shape[1]]
        found = [(len(e.weight), e.weight.shape[1]) for e in encoders]
        wanted = [(above, below) for below, above in pairwise(sizes)]
        if found != wanted:
            raise ValueError(f"encoders must have weights of shapes {wanted}, got {found}")
        if isinstance(data, MultivariateNormal):
            _require_law(data, "data", self.decoders[0].weight.dtype)
            joint = _chain(data.mean, data.covariance_matrix, encoders)
            return joint.mean, joint
        require_data(data, "data", features=sizes[0], dtype=self.decoders[0].weight.dtype)
        means = [data]
        for encoder in encoders:
            means.append(means[-1] @ encoder.weight.mT + encoder.bias)
        start = data.new_zeros(sizes[0])
        return torch.cat(means, -1), _chain(start, torch.diag_embed(start), encoders)

    def _cross(self, level: int, means: Tensor, covariance: Tensor, joint: Blocks) -> Tensor:
        """Return E[log p(z_level | z_{level+1})] under a Gaussian with these moments."""
        here = joint._slice(level)
        residual, spread = means[..., here], covariance[here, here]
        if level == len(self.decoders):
            return _expected_log_normal(residual, spread, torch.eye(spread.shape[0]).to(spread))
        decoder, above = self.decoders[level], joint._slice(level + 1)
        weight = decoder.weight
        residual = residual - means[..., above] @ weight.mT - decoder.bias
        mixed = weight @ covariance[above, here]
        spread = spread - mixed - mixed.mT + weight @ covariance[above, above] @ weight.mT
        return _expected_log_normal(residual, spread, decoder.scale_tril)


def _chain(
    mean: Tensor, covariance: Tensor, conditionals: Sequence[LinearGaussianConditional]
) -> Blocks:
    """Return the joint of a chain that starts from these moments; the first may be degenerate."""
    sizes = [len(mean)]
    for step in conditionals:
        if step.weight.shape[1] != sizes[-1]:
            raise ValueError(
                f"conditionals must fit one another: one takes {step.weight.shape[1]} numbers, "
                f"what comes before it gives {sizes[-1]}"
            )
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


def _require_law(law: object, name: str, dtype: torch.dtype | None = None) -> None:
    """Raise unless this is one Gaussian of full covariance, in that dtype where it is given."""
    if not isinstance(law, MultivariateNormal):
        raise TypeError(
            f"{name} must be a MultivariateNormal, got {type(law).__name__}; wrap mean (k,) and "
            f"covariance (k, k) in one"
        )
    if law.batch_shape:
        raise ValueError(f"{name} must be one Gaussian, got a batch {tuple(law.batch_shape)}")
    require_tensor(law.mean, name, dtype=dtype)


def _require_linear(conditionals: object, name: str, dtype: torch.dtype | None = None) -> None:
    """Raise unless these are linear Gaussian conditionals of one dtype."""
    if not isinstance(conditionals, Sequence | nn.ModuleList):
        raise TypeError(
            f"{name} must be a list, got {type(conditionals).__name__}; see hvae.encoders"
        )
    for index, conditional in enumerate(conditionals):
        if not isinstance(conditional, LinearGaussianConditional):
            raise TypeError(
                f"{name}[{index}] must be a LinearGaussianConditional, got "
                f"{type(conditional).__name__}; nothing else is known exactly"
            )
        dtype = dtype or conditional.weight.dtype
        require_tensor(conditional.weight, f"{name}[{index}].weight", dtype=dtype)


def _entropy(conditional: LinearGaussianConditional) -> Tensor:
    """Return the entropy of a conditional in nats; it is the same wherever it stands."""
    tril = conditional.scale_tril
    return 0.5 * len(tril) * math.log(2 * math.pi * math.e) + tril.diagonal().log().sum()


def _expected_log_normal(residual: Tensor, spread: Tensor, scale_tril: Tensor) -> Tensor:
    """Return E[log N(r; 0, S Sᵀ)] for r of this mean, (…, k), and covariance, (k, k)."""
    white = torch.linalg.solve_triangular(scale_tril, residual[..., None], upper=False)[..., 0]
    trace = torch.cholesky_solve(spread, scale_tril).diagonal().sum()
    log_det = 2 * scale_tril.diagonal().log().sum() + len(scale_tril) * math.log(2 * math.pi)
    return -0.5 * (white.square().sum(-1) + trace + log_det)
