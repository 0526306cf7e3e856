"""Estimators of the gradient of an expectation E_q[f(z)] in the parameters of q.

Each function returns f at K draws, (K, …): their mean estimates the expectation, and
differentiating that mean estimates the gradient, without bias in both cases. Parameters of f get
their gradient too.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from companion.validation import require_count

__all__ = ["pathwise", "score_function"]


def pathwise(
    q: Distribution, f: Callable[[Tensor], Tensor], num_samples: int
) -> Float[Tensor, " K *batch"]:
    """Pathwise (reparameterised) estimator: f(z) with z = g(ε, parameters of q).

    For a Gaussian, z = μ + σ ε with ε ~ N(0, 1), and the gradient flows through μ and σ.

    Args:
        q: Distribution with ``rsample``.
        f: Maps draws (K, …, d) to values (K, …); differentiable in z.
        num_samples: K.

    Raises:
        ValueError: q cannot be reparameterised, or num_samples is below 1.

    Reference: D. J. Rezende, S. Mohamed and D. Wierstra, "Stochastic Backpropagation and
    Approximate Inference in Deep Generative Models", ICML 2014, https://arxiv.org/abs/1401.4082.
    """
    require_count(num_samples, "num_samples")
    if not q.has_rsample:
        raise ValueError(f"q must have rsample, {type(q).__name__} has not; use score_function")
    return f(q.rsample((num_samples,)))


def score_function(
    q: Distribution, f: Callable[[Tensor], Tensor], num_samples: int
) -> Float[Tensor, " K *batch"]:
    """Score-function estimator (REINFORCE): the gradient is f(z) ∇ log q(z).

    The values are those of f; the gradient comes from log q alone, so z may be discrete and f need
    not be differentiable in z.

    Args:
        q: Any distribution.
        f: Maps draws (K, …, d) to values (K, …).
        num_samples: K.

    Raises:
        ValueError: num_samples is below 1.

    Reference: R. J. Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning", Machine Learning 8, 1992, https://doi.org/10.1007/BF00992696.
    """
    z = q.sample((require_count(num_samples, "num_samples"),))
    values = f(z)
    score = q.log_prob(z)
    # The difference is zero: it adds a gradient and changes no value.
    return values + values.detach() * (score - score.detach())
