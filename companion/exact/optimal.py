"""The best there is: the decoder of a given encoder, and the linear VAE of given data."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from companion._checks import check_count, check_tensor
from companion.conditionals import LinearGaussianConditional
from companion.exact.linear import LinearGaussian


@torch.no_grad()
def optimal_decoder(
    q: Distribution, x: Float[Tensor, "N D"], z: Float[Tensor, "M d"], chunk_size: int = 1024
) -> Float[Tensor, "M D"]:
    r"""Return the decoder mean that is best for a given encoder: the mean of x given z.

        μ*(z) = E[x | z] = Σ_n q(z | x_n) x_n / Σ_n q(z | x_n)

    For x uniform on the rows given it minimises E‖x − μ(z)‖², and so maximises the mean ELBO of a
    Gaussian decoder of fixed scale, whatever that scale is. The weights are computed as a softmax
    of log-densities, so they stay right where every density underflows.

    Args:
        q: The encoder's distributions of the N data points: batch (N,), event (d,).
        x: The same data points, (N, D).
        z: Codes to decode, (M, d).
        chunk_size: Rows of z at once; memory is N · chunk_size · d numbers.

    Returns:
        μ*(z), (M, D), without gradient.

    Reference: E. A. Nadaraya, "On Estimating Regression", Theory of Probability and Its
    Applications 9(1), 1964, https://doi.org/10.1137/1109020: the same weighted mean.

    >>> from torch.distributions import Independent, Normal
    >>> q = Independent(Normal(torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1)), 1)
    >>> x = torch.tensor([[0.0, 8.0], [4.0, 0.0]])
    >>> optimal_decoder(q, x, torch.tensor([[0.0], [500.0]]))
    tensor([[2., 4.],
            [4., 0.]])
    """
    check_tensor(z, "z", None, *q.event_shape, like=x)
    chunks = z.split(chunk_size)
    return torch.cat([q.log_prob(chunk[:, None]).softmax(dim=1) @ x for chunk in chunks])


def optimal_linear_vae(
    x: Float[Tensor, "N D"], d: int, *, scale: float, beta: float = 1.0
) -> tuple[LinearGaussian, LinearGaussianConditional]:
    r"""Return the linear decoder and the encoder that together maximise the mean β-ELBO of x.

    For a decoder of fixed scale σ, weighting the KL by β moves decoder and encoder as a noise
    variance of βσ² would. With λ_j, u_j the eigenvalues and eigenvectors of the covariance of x
    (divisor N), largest first:

        b = mean of x,   W = [u_1 … u_d] diag √max(0, λ_j − βσ²)
        q(z | x) = posterior of z ~ N(0, I), x | z ~ N(W z + b, βσ² I)

    No other encoder, linear or not, does better. The mean rate of unit j over the data is
    max(0, ½ log λ_j / βσ²).

    Args:
        x: Data, (N, D).
        d: Number of latent units, at most D.
        scale: Standard deviation σ > 0 of the decoder's noise.
        beta: Weight β > 0 of the KL term; 1 is the ELBO, and then q is the exact posterior.

    Returns:
        The model p(z) p(x | z), and its encoder.

    Reference: J. Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on Posterior
    Collapse", NeurIPS 2019, https://arxiv.org/abs/1911.02469.

    >>> x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> exact, encoder = optimal_linear_vae(x, 1, scale=1.0)
    >>> exact.weight.abs()              # λ = 2 and ½
    tensor([[1.],
            [0.]])
    """
    check_count(d, "d", maximum=x.shape[1])
    noise = math.sqrt(beta) * scale
    values, vectors = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    top = (values.flip(0)[:d] - noise**2).clamp(min=0).sqrt()
    weight, bias = vectors.flip(1)[:, :d] * top, x.mean(0)
    encoder = LinearGaussian(weight, bias, noise).vae().encoder
    assert isinstance(encoder, LinearGaussianConditional)
    return LinearGaussian(weight, bias, scale), encoder
