r"""Diffusion: a hierarchy of T levels whose encoder is fixed, in the one vocabulary of the book.

The encoder is the forward process of a `companion.schedule.Schedule`: it adds noise in T steps and
has nothing to learn. The model goes back. A denoiser guesses x from z_t, and its guess x̂ takes the
place of x in the reverse posterior:

    p(z_{t−1} | z_t) = N(mean of q(z_{t−1} | z_t, x̂), reverse covariance),   p(z_T) = N(0, I)

`Diffusion` returns the same `Trace` as every other model, so that `companion.objectives.elbo`
scores it unchanged; `three_terms` uses what is special here: q(z_{t−1} | z_t, x) is known.
"""

from itertools import chain
from typing import Final, NamedTuple, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from companion.denoisers import GaussianDenoiser, GaussianPrior
from companion.models import LatentVariableModel, Trace, bottom_up, latent_size
from companion.schedule import (
    Level,
    Schedule,
    alpha_sigma,
    forward_kernel,
    forward_marginal,
    isotropic,
    posterior_variance,
    require_levels,
    require_schedule,
    reverse_posterior,
)
from companion.validation import (
    require_count,
    require_data,
    require_module,
    require_positive,
    require_tensor,
)

__all__ = [
    "Diffusion",
    "ThreeTerms",
    "diffusion_elbo",
    "draw_levels",
    "exact_gaussian_diffusion",
    "noise_loss",
    "one_level_elbo",
    "three_terms",
]


@final
class Diffusion(LatentVariableModel):
    r"""Diffusion model: an HVAE of T levels of size D whose encoder is a schedule of noise.

        q(z_t | z_{t−1}) = N(√(1 − β_t) z_{t−1}, β_t I),   z_0 = x
        p(z_{t−1} | z_t) = N(mean of q(z_{t−1} | z_t, x̂), C_t),   x̂ = denoiser(z_t, log SNR_t)

    Args:
        schedule: Of the noise.
        denoiser: Module that maps z (…, D) and log SNR (…) to a guess x̂ of x, (…, D): a
            `NoiseDenoiser` to be trained, an ideal one, or one of your own.
        decoder: Conditional p(x | z_1); or a number, the scale of a Gaussian around
            x̂ = denoiser(z_1, log SNR_1).
        prior: Module without arguments whose forward returns p(z_T), such as
            ``StandardNormal(D)``.
        reverse_covariance: C_t for t = 2 … T: variances (T − 1,), such as ``schedule.beta[1:]``,
            or full matrices (T − 1, D, D). None: `posterior_variance`, which is β̃_t.

    Raises:
        ValueError: Sizes disagree, a scale or variance is not positive, or a matrix is not positive
            definite.
        TypeError: denoiser or prior is no module, or decoder neither module nor number.

    References: J. Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium
    Thermodynamics", ICML 2015, https://arxiv.org/abs/1503.03585; J. Ho, A. Jain and P. Abbeel,
    "Denoising Diffusion Probabilistic Models", NeurIPS 2020, https://arxiv.org/abs/2006.11239.

    >>> from companion.conditionals import StandardNormal, mlp
    >>> from companion.denoisers import TIME_FEATURES, NoiseDenoiser
    >>> from companion.objectives import elbo
    >>> from companion.schedule import log_snr_schedule
    >>> denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 16, 2))
    >>> model = Diffusion(log_snr_schedule(20, 5.0, -8.0), denoiser, 0.1, StandardNormal(2))
    >>> elbo(model, torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    reverse_covariance: Tensor

    def __init__(
        self,
        schedule: Schedule,
        denoiser: nn.Module,
        decoder: nn.Module | float,
        prior: nn.Module,
        reverse_covariance: Float[Tensor, "..."] | None = None,
    ) -> None:
        super().__init__()
        require_schedule(schedule)
        self.schedule: Final = schedule
        self.denoiser: Final = require_module(denoiser, "denoiser", "e.g. NoiseDenoiser(net)")
        self.decoder: Final = decoder if isinstance(decoder, nn.Module) else None
        self.scale: Final = None if self.decoder else require_positive(decoder, "decoder")
        self.prior: Final = require_module(prior, "prior", "e.g. StandardNormal(D)")
        self.features: Final = latent_size(prior)
        self._require_sizes()
        if reverse_covariance is None:
            reverse_covariance = posterior_variance(schedule)
        self.register_buffer(
            "reverse_covariance",
            _require_covariance(reverse_covariance, schedule.num_levels, self.features),
        )

    def decode(self, z: Float[Tensor, "*batch D"]) -> Distribution:
        """Return p(x | z_1)."""
        if self.decoder is not None:
            return self.decoder(z)
        mean = self.denoise(z, 1)
        assert self.scale is not None
        return Independent(Normal(mean, torch.full_like(mean, self.scale)), 1)

    def denoise(self, z: Float[Tensor, "*batch D"], t: Level) -> Float[Tensor, "*batch D"]:
        """Return the denoiser's guess of x from z_t.

        Args:
            z: z_t, (…, D).
            t: Level from 1 to T: a number, or one for each row.

        Raises:
            ValueError: The level is out of range.
        """
        _, t = require_levels(self.schedule, 0, t)
        try:
            log_snr = self.schedule.log_snr[t - 1].to(z).expand(z.shape[:-1])
        except RuntimeError:
            raise ValueError(
                f"t must be one level, or one for each of the rows {tuple(z.shape[:-1])} of z, got "
                f"shape {tuple(torch.as_tensor(t).shape)}"
            ) from None
        try:
            guess: Tensor = self.denoiser(z, log_snr)
        except TypeError as error:
            raise TypeError(
                f"denoiser must take z and log SNR as tensors ({error}); wrap a network, "
                f"NoiseDenoiser(net)"
            ) from None
        return guess

    def reverse(self, z: Float[Tensor, "*batch D"], t: Level) -> Distribution:
        """Return p(z_{t−1} | z_t) for z_t = z, one step of the reverse process.

        Args:
            z: z_t, (…, D).
            t: Level of z from 2 to T: a number, or one for each row.

        Raises:
            ValueError: The level is out of range.
        """
        mean = reverse_posterior(self.schedule, z, self.denoise(z, t), t - 1, t).mean
        covariance = self.reverse_covariance[t - 2]
        if self.reverse_covariance.dim() == 1:
            return isotropic(mean, covariance)
        return MultivariateNormal(mean, covariance.to(mean))

    def trace(self, x: Float[Tensor, "B D"], num_samples: int = 1) -> Trace:
        """Run the forward process `num_samples` times from each row of x, step by step.

        Raises:
            ValueError: x is no finite (B, D) matrix, or num_samples is below 1.
            TypeError: x is no tensor of the dtype of the denoiser's weights, or num_samples is no
                whole number.
        """
        self._require_x(x)
        return bottom_up(x, self.encoders(), self.decoders(), self.prior, num_samples)

    def encoders(self) -> list[nn.Module]:
        """Return q(z_1 | x), q(z_2 | z_1), … as conditionals without parameters, as an HVAE's."""
        return [_Forward(self.schedule, t) for t in range(1, self.schedule.num_levels + 1)]

    def decoders(self) -> list[nn.Module]:
        """Return p(x | z_1), p(z_1 | z_2), … as conditionals that share this model's weights."""
        return [_Reverse(self, t) for t in range(1, self.schedule.num_levels + 1)]

    @torch.no_grad()
    def descend(self, z: Float[Tensor, "B D"], t: int) -> Float[Tensor, "levels B D"]:
        """Run the reverse process from z_t = z down to x, and return every level: [0] is x.

        Args:
            z: z_t, (B, D).
            t: Level of z, from 1 to T.

        Raises:
            ValueError: z is no finite matrix of D columns, or the level is out of range.
        """
        require_data(z, "z", features=self.features)
        require_levels(self.schedule, 0, t)
        path = [z]
        for level in range(t, 1, -1):
            path.append(self.reverse(path[-1], level).sample())
        path.append(self.decode(path[-1]).sample())
        return torch.stack(path[::-1])

    def sample_path(self, num_samples: int) -> Float[Tensor, "levels num_samples D"]:
        """Draw z_T ~ p(z_T), run the reverse process, and return every level: [t] is z_t, [0] is x.

        Raises:
            ValueError: num_samples is below 1.
            TypeError: num_samples is no whole number.
        """
        require_count(num_samples, "num_samples")
        top = self.prior().sample((num_samples,)).to(self._like())
        return self.descend(top, self.schedule.num_levels)

    def sample(self, num_samples: int) -> Float[Tensor, "num_samples D"]:
        """Draw x by ancestral sampling: (num_samples, D), without gradient.

        Raises:
            ValueError: num_samples is below 1.
            TypeError: num_samples is no whole number.
        """
        return self.sample_path(num_samples)[0]

    def _like(self) -> Tensor:
        """Return a tensor of the denoiser's dtype and device."""
        tensors = chain(self.denoiser.parameters(), self.denoiser.buffers())
        return next((t for t in tensors if t.is_floating_point()), torch.empty(()))

    def _require_x(self, x: Tensor) -> None:
        """Raise unless x is data that goes with the denoiser."""
        require_data(x, features=self.features, dtype=self._like().dtype)

    def _require_sizes(self) -> None:
        """Raise unless denoiser and decoder give what the prior's size asks for, by a dry run."""
        like = self._like()
        z = torch.zeros(1, self.features, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            for name, call in (("denoiser", self.denoise), ("decoder", self._decoded_mean)):
                try:
                    x = call(z, 1)
                except (RuntimeError, ValueError) as error:
                    raise ValueError(
                        f"{name} does not accept z of size {self.features}, the prior's: {error}"
                    ) from None
                if not isinstance(x, Tensor):
                    raise TypeError(
                        f"{name} must return a tensor, its guess of x, got {type(x).__name__}"
                    )
                shape = tuple(x.shape)
                if shape != (1, self.features):
                    raise ValueError(
                        f"{name} must return x of size {self.features}, as the prior's z has, got "
                        f"shape {shape} for one row; x and all levels have one size"
                    )

    def _decoded_mean(self, z: Tensor, _: int) -> Tensor:
        """Return the mean of p(x | z_1) after a check that it is a distribution."""
        likelihood = self.decode(z)
        if not isinstance(likelihood, Distribution):
            raise TypeError(
                f"decoder must return a torch.distributions object, got "
                f"{type(likelihood).__name__}; wrap its network, e.g. GaussianConditional(net)"
            )
        return likelihood.mean


class _Forward(nn.Module):
    """q(z_t | z_{t−1}) as a conditional."""

    def __init__(self, schedule: Schedule, t: int) -> None:
        super().__init__()
        self.schedule: Final = schedule
        self.t: Final = t

    def forward(self, z: Float[Tensor, "*batch D"]) -> Distribution:
        return forward_kernel(self.schedule, z, self.t - 1, self.t)


class _Reverse(nn.Module):
    """p(z_{t−1} | z_t) as a conditional, with z_0 = x."""

    def __init__(self, model: Diffusion, t: int) -> None:
        super().__init__()
        self.model: Final = model
        self.t: Final = t

    def forward(self, z: Float[Tensor, "*batch D"]) -> Distribution:
        return self.model.decode(z) if self.t == 1 else self.model.reverse(z, self.t)


def exact_gaussian_diffusion(schedule: Schedule, denoiser: GaussianDenoiser) -> Diffusion:
    r"""Return the diffusion model of Gaussian data whose every conditional is exact.

    p(x | z_1), p(z_{t−1} | z_t) and p(z_T) are those of the forward process started at
    x ~ N(m, S), so that log w = log p(x) for every draw, whatever T.

    Args:
        schedule: Of the noise.
        denoiser: Of the data's mean m and covariance S, in float64 for exactness.

    >>> from companion.objectives import elbo
    >>> from companion.schedule import log_snr_schedule
    >>> denoiser = GaussianDenoiser(torch.zeros(1).double(), torch.full((1, 1), 4.0).double())
    >>> model = exact_gaussian_diffusion(log_snr_schedule(20, 6.0, -6.0), denoiser)
    >>> x = torch.ones(1, 1).double()
    >>> torch.allclose(elbo(model, x), Normal(0.0, 2.0).log_prob(x[0]))
    True
    """
    require_schedule(schedule)
    if not isinstance(denoiser, GaussianDenoiser):
        raise TypeError(
            f"denoiser must be a GaussianDenoiser, got {type(denoiser).__name__}; pass any other "
            f"to Diffusion"
        )
    top = denoiser.marginal(schedule, schedule.num_levels)
    return Diffusion(
        schedule,
        denoiser,
        decoder=denoiser.decoder(schedule),
        prior=GaussianPrior(top.mean, top.covariance_matrix),
        reverse_covariance=denoiser.reverse_covariance(schedule),
    )


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
    model: Diffusion, x: Float[Tensor, "B D"], latents: tuple[Tensor, ...]
) -> ThreeTerms:
    r"""Return the three terms of the ELBO, with every KL in closed form.

        log p(x | z_1) − Σ_t KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)) − KL(q(z_T | x) ‖ p(z_T))

    Its mean over z_t ~ q(z_t | x) is the ELBO. Each term looks at one z_t alone, so that the
    levels may come from one path, ``model.trace(x).z``, or be drawn each by itself, `draw_levels`.

    Args:
        model: With a Gaussian prior.
        x: Data, (B, D).
        latents: z_1 … z_T, each (K, B, D), z_t ~ q(z_t | x).

    Raises:
        ValueError: There are not T latents of x's shape, or p(z_T) is no Gaussian.
        TypeError: model is no Diffusion.

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equation 5, https://arxiv.org/abs/2006.11239.
    """
    _require_diffusion(model)
    model._require_x(x)
    levels = model.schedule.num_levels
    if len(latents) != levels or any(
        not isinstance(z, Tensor) or z.shape != (*latents[0].shape[:1], *x.shape) for z in latents
    ):
        raise ValueError(
            f"latents must be {levels} tensors (K, {x.shape[0]}, {x.shape[1]}), one a level, got "
            f"{[tuple(getattr(z, 'shape', ())) for z in latents]}; take model.trace(x).z or "
            f"draw_levels"
        )
    diffusion = [
        _kl(reverse_posterior(model.schedule, z, x, t - 1, t), model.reverse(z, t))
        for t, z in enumerate(latents[1:], start=2)
    ]
    prior = _kl(forward_marginal(model.schedule, x, levels), model.prior())
    return ThreeTerms(model.decode(latents[0]).log_prob(x), torch.stack(diffusion), prior)


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

    Raises:
        ValueError: num_samples is below 1, or x is no finite matrix.
    """
    require_schedule(schedule)
    require_data(x)
    require_count(num_samples, "num_samples")
    levels = range(1, schedule.num_levels + 1)
    return tuple(forward_marginal(schedule, x, t).rsample((num_samples,)) for t in levels)


def diffusion_elbo(
    model: Diffusion, x: Float[Tensor, "B D"], num_samples: int = 1
) -> Float[Tensor, " B"]:
    r"""Evidence lower bound by three terms, every level drawn by itself and every KL closed.

    Estimates the same number as `companion.objectives.elbo`: see `three_terms`.

    Args:
        model: With a Gaussian prior.
        x: Data, (B, D).
        num_samples: K, draws for each data point and level.

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError, TypeError: Those of `three_terms` and `draw_levels`.
    """
    _require_diffusion(model)
    model._require_x(x)
    return three_terms(model, x, draw_levels(model.schedule, x, num_samples)).bound.mean(0)


def one_level_elbo(model: Diffusion, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    r"""Evidence lower bound with one diffusion term in place of T − 1: (T − 1) times a random one.

    Unbiased for the ELBO at the cost of two calls of the denoiser, and noisier. The levels of the
    batch are stratified: they cover 2 … T evenly, and each row's is uniform.

    Args:
        model: With a Gaussian prior.
        x: Data, (B, D).

    Returns:
        Nats per data point, (B,).

    Raises:
        ValueError, TypeError: Those of `three_terms`.

    Reference: D. P. Kingma et al., "Variational Diffusion Models", NeurIPS 2021, appendix I.1 for
    the stratified levels, https://arxiv.org/abs/2107.00630.
    """
    _require_diffusion(model)
    model._require_x(x)
    schedule = model.schedule
    t = _stratified_levels(len(x), 2, schedule.num_levels)
    z = forward_marginal(schedule, x, t).rsample()
    diffusion = _kl(reverse_posterior(schedule, z, x, t - 1, t), model.reverse(z, t))
    prior = _kl(forward_marginal(schedule, x, schedule.num_levels), model.prior())
    reconstruction = model.decode(forward_marginal(schedule, x, 1).rsample()).log_prob(x)
    return reconstruction - (schedule.num_levels - 1) * diffusion - prior


def noise_loss(model: Diffusion, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    r"""Squared error of the predicted noise at one random level: ‖ε − ε̂‖², to be minimised.

        z_t = √ᾱ_t x + √(1 − ᾱ_t) ε,   ε̂ = (z_t − √ᾱ_t x̂) / √(1 − ᾱ_t)

    It is SNR_t ‖x − x̂‖², summed over pixels. With reverse variance β̃ the diffusion term is
    ½ expm1(log SNR_{t−1} − log SNR_t) ‖ε − ε̂‖², so this loss is the ELBO's with other weights for
    the levels. The levels of the batch are stratified over 1 … T.

    Args:
        model: To train; pass ``lambda model, x: -noise_loss(model, x)`` to `companion.train.fit`.
        x: Data, (B, D).

    Returns:
        One number for each data point, (B,), without units; D for a model that predicts 0.

    Raises:
        ValueError: x is no finite (B, D) matrix.
        TypeError: model is no Diffusion, or x of another dtype.

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equation 14, https://arxiv.org/abs/2006.11239.
    """
    _require_diffusion(model)
    model._require_x(x)
    t = _stratified_levels(len(x), 1, model.schedule.num_levels)
    alpha, sigma = alpha_sigma(model.schedule.log_snr[t - 1].to(x))
    noise = torch.randn_like(x)
    z = alpha * x + sigma * noise
    predicted = (z - alpha * model.denoise(z, t)) / sigma
    return (noise - predicted).square().sum(-1)


def _kl(q: Distribution, p: Distribution) -> Tensor:
    """Return KL(q ‖ p) of Gaussians, q with independent units."""
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal):
        # expm1(r) − r keeps its digits where the variances nearly agree, as they do for large T.
        r = 2 * (q.stddev.log() - p.stddev.log())
        shift = ((q.mean - p.mean) / p.stddev).square()
        return 0.5 * (shift + torch.expm1(r) - r).sum(-1)
    if isinstance(p, MultivariateNormal):
        return kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), p)
    raise ValueError(
        f"model must have a Gaussian prior for a closed-form KL, got {p}; use "
        f"companion.objectives.elbo"
    )


def _stratified_levels(num_rows: int, first: int, last: int) -> Int64[Tensor, " B"]:
    """Draw one level for each row, uniform on first … last, evenly spread over the batch."""
    u = (torch.randperm(num_rows) + torch.rand(num_rows, dtype=torch.float64)) / num_rows
    return first + (u * (last - first + 1)).long().clamp(max=last - first)


def _require_covariance(value: Tensor, num_levels: int, features: int) -> Tensor:
    """Return reverse variances (T − 1,) or matrices (T − 1, D, D) after a check."""
    require_tensor(value, "reverse_covariance")
    steps = num_levels - 1
    if value.shape not in ((steps,), (steps, features, features)):
        raise ValueError(
            f"reverse_covariance must have shape ({steps},) or ({steps}, {features}, {features}), "
            f"one for each t = 2 … T, got {tuple(value.shape)}; schedule.beta has T entries, of "
            f"which the first belongs to p(x | z_1): pass schedule.beta[1:]"
        )
    positive = (
        (value > 0).all()
        if value.dim() == 1
        else torch.allclose(value, value.mT) and not torch.linalg.cholesky_ex(value)[1].any()
    )
    if not positive:
        raise ValueError(
            f"reverse_covariance must be positive (a matrix symmetric and definite), got entries "
            f"from {value.min().item():.4g} to {value.max().item():.4g}; start from "
            f"posterior_variance(schedule)"
        )
    return value.detach()


def _require_diffusion(model: object) -> None:
    """Raise unless the model is a Diffusion."""
    if not isinstance(model, Diffusion):
        raise TypeError(
            f"model must be a Diffusion, got {type(model).__name__}; companion.objectives.elbo "
            f"takes any latent-variable model"
        )
