r"""What is special about diffusion: q(z_{t−1} | z_t, x) is known, so that every KL is closed.

    E log p(x | z_1) − Σ_t E KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)) − KL(q(z_T | x) ‖ p(z_T))

is the ELBO. Each term looks at one z_t alone, so that a level can be scored without the others.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import kl_divergence

from companion._checks import check_tensor, like, valid
from companion.diffusion.model import Diffusion
from companion.diffusion.schedule import (
    Schedule,
    alpha_sigma,
    forward_marginal,
    reverse_posterior,
)
from companion.models import HVAE


class ThreeTerms(NamedTuple):
    """The parts of a diffusion model's ELBO in nats: bound = reconstruction − Σ diffusion − prior.

    `reconstruction` is log p(x | z_1), (K, B); `diffusion` is
    KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)) for t = 2 … T, (T − 1, K, B); `prior` is
    KL(q(z_T | x) ‖ p(z_T)), (B,).
    """

    reconstruction: Float[Tensor, "K B"]
    diffusion: Float[Tensor, "levels K B"]
    prior: Float[Tensor, " B"]

    @property
    def bound(self) -> Float[Tensor, "K B"]:
        """Reconstruction less diffusion terms less prior term, (K, B)."""
        return self.reconstruction - self.diffusion.sum(0) - self.prior


def three_terms(
    model: Diffusion | HVAE,
    x: Float[Tensor, "B D"],
    latents: tuple[Tensor, ...],
    schedule: Schedule | None = None,
) -> ThreeTerms:
    r"""Return the three terms of the ELBO, with every KL in closed form.

        log p(x | z_1) − Σ_t KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)) − KL(q(z_T | x) ‖ p(z_T))

    Its mean over z_t ~ q(z_t | x) is the ELBO. Each term looks at one z_t alone, so that the
    levels may come from one path, ``model.trace(x).z``, or be drawn each by itself, `draw_levels`.

    Args:
        model: A Diffusion, or an HVAE whose encoders are the steps of a schedule.
        x: Data, (B, D).
        latents: z_1 … z_T, each (K, B, D), z_t ~ q(z_t | x).
        schedule: Of the noise; None is the Diffusion's own.

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equation 5, https://arxiv.org/abs/2006.11239.
    """
    if schedule is None:
        assert isinstance(model, Diffusion), "pass the schedule of an HVAE"
        schedule = model.schedule
    check_tensor(x, "x", None, model.data_size, like=like(model))
    above_first = zip(latents[1:], model.decoders[1:], strict=True)
    diffusion = [
        kl_divergence(reverse_posterior(schedule, z, x, t - 1, t), decoder(z))
        for t, (z, decoder) in enumerate(above_first, start=2)
    ]
    prior = kl_divergence(forward_marginal(schedule, x, schedule.num_steps), model.prior())
    reconstruction = model.decoders[0](latents[0]).log_prob(x)
    return ThreeTerms(reconstruction, torch.stack(diffusion), prior)


def draw_levels(
    schedule: Schedule, x: Float[Tensor, "B D"], num_samples: int = 1
) -> tuple[Float[Tensor, "K B D"], ...]:
    """Draw every z_t ~ q(z_t | x) by itself, in one jump from x: not a path.

    Args:
        schedule: Of the noise.
        x: Data, (B, D).
        num_samples: K, draws for each data point and level.

    Returns:
        z_1 … z_T, each (K, B, D).
    """
    levels = range(1, schedule.num_steps + 1)
    return tuple(forward_marginal(schedule, x, t).rsample((num_samples,)) for t in levels)


def diffusion_elbo(
    model: Diffusion, x: Float[Tensor, "B D"], num_samples: int = 1
) -> Float[Tensor, " B"]:
    r"""Evidence lower bound by three terms, every level drawn by itself and every KL closed.

    Estimates the same number as `companion.elbo`: see `three_terms`.

    Args:
        model: With a Gaussian prior.
        x: Data, (B, D).
        num_samples: K, draws for each data point and level.

    Returns:
        Nats per data point, (B,).
    """
    terms = three_terms(model, x, draw_levels(model.schedule, x, num_samples))
    return valid(terms.bound.mean(0))


def one_level_elbo(model: Diffusion, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    r"""Evidence lower bound with one diffusion term in place of T − 1: (T − 1) times a random one.

    Unbiased for the ELBO at the cost of two calls of the denoiser, and noisier. The levels of the
    batch are stratified: they cover 2 … T evenly, and each row's is uniform.

    Args:
        model: With a Gaussian prior.
        x: Data, (B, D).

    Returns:
        Nats per data point, (B,).

    Reference: D. P. Kingma et al., "Variational Diffusion Models", NeurIPS 2021, appendix I.1 for
    the stratified levels, https://arxiv.org/abs/2107.00630.
    """
    check_tensor(x, "x", None, model.data_size, like=model.log_snr)
    schedule = model.schedule
    t = _stratified_levels(x, 2, schedule.num_steps)
    z = forward_marginal(schedule, x, t).rsample()
    diffusion = kl_divergence(reverse_posterior(schedule, z, x, t - 1, t), model.reverse(z, t))
    prior = kl_divergence(forward_marginal(schedule, x, schedule.num_steps), model.prior())
    reconstruction = model.reverse(forward_marginal(schedule, x, 1).rsample(), 1).log_prob(x)
    return valid(reconstruction - (schedule.num_steps - 1) * diffusion - prior)


def simple_loss(model: Diffusion, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    r"""Squared error of the predicted noise at one random level: ‖ε − ε̂‖², to be minimised.

        z_t = √ᾱ_t x + √(1 − ᾱ_t) ε,   ε̂ = (z_t − √ᾱ_t x̂) / √(1 − ᾱ_t)

    It is SNR_t ‖x − x̂‖², summed over pixels. With reverse variance β̃ the diffusion term is
    ½ expm1(log SNR_{t−1} − log SNR_t) ‖ε − ε̂‖², so this loss is the ELBO's with other weights for
    the levels. The levels of the batch are stratified over 1 … T.

    Args:
        model: To train; pass ``lambda model, x: -simple_loss(model, x)`` to `companion.fit`.
        x: Data, (B, D).

    Returns:
        One number for each data point, (B,), without units; on average D where ε̂ is 0.

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equation 14, https://arxiv.org/abs/2006.11239.
    """
    check_tensor(x, "x", None, model.data_size, like=model.log_snr)
    t = _stratified_levels(x, 1, model.schedule.num_steps)
    alpha, sigma = alpha_sigma(model.log_snr[t - 1])
    noise = torch.randn_like(x)
    z = alpha * x + sigma * noise
    predicted = (z - alpha * model.denoise(z, t)) / sigma
    return valid((noise - predicted).square().sum(-1))


def _stratified_levels(x: Float[Tensor, "B D"], first: int, last: int) -> Int64[Tensor, " B"]:
    """Draw one level for each row, uniform on first … last, evenly spread over the batch."""
    count = last - first + 1
    u = torch.randperm(len(x), device=x.device) + torch.rand(len(x), device=x.device)
    return first + (u / len(x) * count).long().clamp(max=count - 1)
