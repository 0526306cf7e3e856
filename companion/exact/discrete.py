"""A model of two finite variables: every integral is a sum."""

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from companion._checks import check_count, check_probabilities


class DiscreteModel:
    r"""A model of two finite variables, given by its tables: every integral is a sum.

    z takes values 0 … Z − 1 and x takes values 0 … X − 1. An encoder is a table too: row x of q
    holds q(z | x).

    Args:
        prior: p(z), (Z,).
        likelihood: p(x | z), (Z, X); each row sums to one.

    >>> model = DiscreteModel(torch.tensor([0.5, 0.5]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    >>> model.log_marginal().exp()
    tensor([0.5500, 0.4500])
    """

    def __init__(self, prior: Float[Tensor, " Z"], likelihood: Float[Tensor, "Z X"]) -> None:
        check_probabilities(prior, "prior", None)
        check_probabilities(likelihood, "likelihood", len(prior), None)
        self.prior: Final = prior
        self.likelihood: Final = likelihood

    def log_joint(self) -> Float[Tensor, "X Z"]:
        """Return log p(x, z), one row for each x."""
        return (self.prior.log()[:, None] + self.likelihood.log()).mT

    def log_marginal(self) -> Float[Tensor, " X"]:
        """Return log p(x) = log Σ_z p(x, z), for each x."""
        return self.log_joint().logsumexp(-1)

    def posterior(self) -> Float[Tensor, "X Z"]:
        """Return p(z | x) = p(x, z) / p(x), one row for each x."""
        return self.log_joint().softmax(-1)

    def reconstruction(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return E_q[log p(x | z)] for each x, in nats."""
        return torch.xlogy(q, self.likelihood.mT).sum(-1)

    def rate(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return KL(q(z | x) ‖ p(z)) for each x, in nats."""
        return _kl(q, self.prior)

    def elbo(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return Σ_z q(z | x) log[p(x, z) / q(z | x)] for each x, in nats."""
        return self.reconstruction(q) - self.rate(q)

    def gap(self, q: Float[Tensor, "X Z"]) -> Float[Tensor, " X"]:
        """Return KL(q(z | x) ‖ p(z | x)) for each x, in nats."""
        return _kl(q, self.posterior())

    def iwae_bound(self, q: Float[Tensor, "X Z"], num_samples: int) -> Float[Tensor, " X"]:
        r"""Return E[log 1/K Σ_k p(x, z_k) / q(z_k | x)] exactly, by going through all Z^K draws.

        Args:
            q: Encoder table, (X, Z).
            num_samples: K; Z^K draws must be few enough to be listed, 10⁷ at most.
        """
        check_count(num_samples, "num_samples", 1, math.log(1e7, max(2, len(self.prior))) // 1)
        draws = torch.ones([len(self.prior)] * num_samples, device=q.device).nonzero()  # (Z^K, K)
        probability = q[:, draws].prod(-1)
        # A draw of probability zero has an infinite weight; it must count as nothing.
        log_weight = torch.where(q > 0, self.log_joint() - q.log(), -math.inf)[:, draws]
        bound = log_weight.logsumexp(-1) - math.log(num_samples)
        return torch.where(probability > 0, probability * bound, 0.0).sum(-1)


def _kl(q: Tensor, p: Tensor) -> Tensor:
    """Return Σ q log(q / p) along the last axis, with 0 log 0 = 0."""
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(-1)
