r"""A hierarchy of linear Gaussian levels: every joint, conditional and rate of it is known.

    z_L ~ N(0, I),   z_{l−1} | z_l ~ N(A_l z_l + b_l, Σ_l),   z_0 = x

The generative joint is one Gaussian over all levels, and so is the inference joint of a linear
encoder on Gaussian data. Here they are `Blocks`, cut in the order x, z_1 … z_L. Work in float64
where an identity must hold to rounding.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from companion._checks import check_tensor
from companion.conditionals import LinearGaussianConditional, StandardNormal
from companion.exact.blocks import Blocks, join_chain
from companion.models import HVAE, TopDownHVAE


class LinearGaussianChain:
    r"""Hierarchical model with linear Gaussian conditionals and p(z_L) = N(0, I).

    Args:
        decoders: p(x | z_1), p(z_1 | z_2), …, p(z_{L−1} | z_L), as for `companion.models.HVAE`.

    >>> eye, zero = torch.eye(1), torch.zeros(1)
    >>> chain = LinearGaussianChain([LinearGaussianConditional(eye, zero, eye)] * 2)
    >>> chain.joint().covariance        # of x, z_1, z_2
    tensor([[3., 2., 1.],
            [2., 2., 1.],
            [1., 1., 1.]])
    """

    def __init__(self, decoders: Sequence[LinearGaussianConditional]) -> None:
        self.decoders: Final = tuple(decoders)

    def joint(self) -> Blocks:
        """Return p(x, z_1, …, z_L)."""
        top = self.decoders[-1].weight
        zeros = top.new_zeros(top.shape[1])
        down = join_chain(zeros, torch.ones_like(zeros).diag(), self.decoders[::-1])
        blocks = list(reversed(range(len(down.sizes))))
        turned = down.marginal(*blocks)
        return Blocks(turned.mean, turned.covariance_matrix, [down.sizes[b] for b in blocks])

    def log_marginal(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return log p(x) in nats, (B,)."""
        return self.joint().marginal(0).log_prob(x)

    def posterior(self) -> list[LinearGaussianConditional]:
        r"""Return the exact encoder: p(z_1 | x), p(z_2 | z_1), …, p(z_L | z_{L−1}).

        The posterior of a chain is a chain: given z_{l−1}, what lies below it says nothing more of
        z_l. So a bottom-up Markov encoder of full covariance loses nothing.
        """
        joint = self.joint()
        return [joint.conditional(level, [level - 1]) for level in range(1, len(joint.sizes))]

    def top_down_posterior(self) -> list[LinearGaussianConditional]:
        r"""Return the exact top-down encoder: p(z_1 | x, z_2), …, p(z_{L−1} | x, z_L), p(z_L | x).

        Each is a conditional of x and z_{i+1}, side by side.
        """
        joint = self.joint()
        top = len(self.decoders)
        inner = [joint.conditional(level, [0, level + 1]) for level in range(1, top)]
        return [*inner, joint.conditional(top, [0])]

    def hvae(self, encoders: Sequence[LinearGaussianConditional] | None = None) -> HVAE:
        """Return the chain as an `HVAE`, with its exact encoder unless others are given."""
        return HVAE(encoders or self.posterior(), self.decoders, self._prior())

    def top_down_hvae(self) -> TopDownHVAE:
        """Return the chain as a `TopDownHVAE` with its exact encoder."""
        return TopDownHVAE(self.top_down_posterior(), self.decoders, self._prior())

    def _prior(self) -> StandardNormal:
        top = self.decoders[-1].weight
        return StandardNormal(top.shape[1]).to(top)

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
        """
        means, joint = self._inference(data, encoders)
        levels = enumerate(encoders, start=1)
        rates = [-_entropy(q) - self._cross(i, means, joint.covariance, joint) for i, q in levels]
        return torch.stack(rates)

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
        """
        means, joint = self._inference(data, encoders)
        terms = []
        for level, encoder in enumerate(encoders, start=1):
            covariance = joint.covariance.clone()
            if level < len(self.decoders):
                here, above = joint.place(level), joint.place(level + 1)
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
        bottom = self.decoders[0].weight
        if isinstance(data, MultivariateNormal):
            joint = join_chain(data.mean, data.covariance_matrix, encoders)
            return joint.mean, joint
        check_tensor(data, "data", None, len(bottom), like=bottom)
        means = [data]
        for encoder in encoders:
            means.append(encoder(means[-1]).mean)
        start = bottom.new_zeros(len(bottom))
        return torch.cat(means, -1), join_chain(start, start.diag(), encoders)

    def _cross(self, level: int, means: Tensor, covariance: Tensor, joint: Blocks) -> Tensor:
        """Return E[log p(z_level | z_{level+1})] under a Gaussian with these moments."""
        here = joint.place(level)
        residual, spread = means[..., here], covariance[here, here]
        if level == len(self.decoders):
            return _expected_log_normal(residual, spread, torch.eye(len(spread)).to(spread))
        decoder, above = self.decoders[level], joint.place(level + 1)
        weight = decoder.weight
        residual = residual - means[..., above] @ weight.mT - decoder.bias
        mixed = weight @ covariance[above, here]
        spread = spread - mixed - mixed.mT + weight @ covariance[above, above] @ weight.mT
        return _expected_log_normal(residual, spread, decoder.scale_tril)


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
