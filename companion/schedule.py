r"""Noise in T levels: how much of x is left at each, and the Gaussians between the levels.

With a `Schedule` ᾱ_1 > … > ᾱ_T, the forward process of a diffusion model is

    q(z_t | z_{t−1}) = N(√(ᾱ_t / ᾱ_{t−1}) z_{t−1}, β_t I),   β_t = 1 − ᾱ_t / ᾱ_{t−1},   z_0 = x
    q(z_t | x)       = N(√ᾱ_t x, (1 − ᾱ_t) I),               SNR_t = ᾱ_t / (1 − ᾱ_t)

Levels count from 1 to T; level 0 is x itself. Coefficients are computed from log SNR in float64 and
take the dtype of what they multiply.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import logsigmoid

from companion.validation import require_count, require_positive, require_tensor

__all__ = [
    "Schedule",
    "alpha_sigma",
    "cosine_schedule",
    "forward_kernel",
    "forward_marginal",
    "isotropic",
    "linear_schedule",
    "log_snr_schedule",
    "posterior_variance",
    "require_levels",
    "reverse_coefficients",
    "reverse_posterior",
]

Level = int | Int64[Tensor, "..."]


@final
@dataclass(frozen=True, eq=False)
class Schedule:
    r"""How much of x is left at each level: log SNR_t for t = 1 … T, falling.

    Everything else follows from it: ᾱ_t = sigmoid(log SNR_t), 1 − ᾱ_t = sigmoid(−log SNR_t).

    Attributes:
        log_snr: log SNR_1 … log SNR_T, (T,), T ≥ 2, strictly falling; kept in float64.

    Raises:
        ValueError: There are fewer than two levels, or log SNR does not fall.
        TypeError: log_snr is no floating-point tensor.

    >>> schedule = Schedule(torch.tensor([2.0, 0.0, -2.0]))
    >>> schedule.num_levels, schedule.alpha_bar[1].item()
    (3, 0.5)
    """

    log_snr: Float[Tensor, " T"]

    def __post_init__(self) -> None:
        require_tensor(self.log_snr, "log_snr", axes=1)
        if len(self.log_snr) < 2 or not (self.log_snr.diff() < 0).all():
            raise ValueError(
                f"log_snr must hold two levels or more, each below the one before, got "
                f"{self.log_snr.tolist()}; noise is added at every level"
            )
        object.__setattr__(self, "log_snr", self.log_snr.detach().double())

    @property
    def num_levels(self) -> int:
        """T."""
        return len(self.log_snr)

    @property
    def snr(self) -> Float[Tensor, " T"]:
        """Signal-to-noise ratio SNR_t = ᾱ_t / (1 − ᾱ_t), for t = 1 … T."""
        return self.log_snr.exp()

    @property
    def alpha_bar(self) -> Float[Tensor, " T"]:
        """ᾱ_t, the share of z_t's variance that comes from x of unit variance, t = 1 … T."""
        return self.log_snr.sigmoid()

    @property
    def beta(self) -> Float[Tensor, " T"]:
        """β_t = 1 − ᾱ_t / ᾱ_{t−1}, the variance added by step t, for t = 1 … T."""
        return -torch.expm1(self.log_alpha_bar.diff())

    @property
    def log_alpha_bar(self) -> Float[Tensor, " levels"]:
        """log ᾱ_t for t = 0 … T; level 0 is x, with ᾱ_0 = 1."""
        return torch.cat([self.log_snr.new_zeros(1), logsigmoid(self.log_snr)])


def log_snr_schedule(num_levels: int, first: float, last: float) -> Schedule:
    r"""Schedule with given ends: log SNR_t on a straight line from `first` (t = 1) to `last` (T).

    With the ends fixed, T says only how finely the way between them is cut.

    Args:
        num_levels: T ≥ 2.
        first: log SNR_1, the least noise.
        last: log SNR_T, the most noise, below `first`.

    Raises:
        ValueError: T is below 2, or `last` is not below `first`.
        TypeError: T is no whole number.

    >>> log_snr_schedule(5, 8.0, -8.0).log_snr.tolist()
    [8.0, 4.0, 0.0, -4.0, -8.0]
    """
    require_count(num_levels, "num_levels", minimum=2)
    if not last < first:
        raise ValueError(f"last must be below first, got {last} and {first}; noise must grow")
    return Schedule(torch.linspace(first, last, num_levels, dtype=torch.float64))


def linear_schedule(num_levels: int, start: float = 0.1, end: float = 20.0) -> Schedule:
    r"""Schedule whose rate of noise rises on a straight line: ᾱ_t = exp(−∫ rate) up to t / T.

        log ᾱ_t = −(start u + ½ (end − start) u²),   u = t / T

    With T = 1000 its β_t run from about 10⁻⁴ to 0.02, those of Ho et al.; for another T, ᾱ at the
    same u stays the same.

    Args:
        num_levels: T ≥ 2.
        start: Rate of noise at u = 0, per unit of u.
        end: Rate of noise at u = 1.

    Raises:
        ValueError: T is below 2, or a rate is not positive.
        TypeError: T is no whole number.

    References: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, https://arxiv.org/abs/2006.11239; Y. Song et al., "Score-Based Generative Modeling through
    Stochastic Differential Equations", ICLR 2021, appendix C, https://arxiv.org/abs/2011.13456.

    >>> " ".join(f"{beta:.4f}" for beta in linear_schedule(1000).beta[[0, -1]])
    '0.0001 0.0198'
    """
    require_positive(start, "start")
    require_positive(end, "end")
    u = _fractions(num_levels)
    log_alpha_bar = -(start * u + 0.5 * (end - start) * u.square())
    # SNR = ᾱ / (1 − ᾱ), with 1 − ᾱ as expm1 has it: near t = 0 all digits would be lost.
    return Schedule(log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)))


def cosine_schedule(num_levels: int, offset: float = 0.008) -> Schedule:
    r"""Schedule whose √ᾱ_t falls like a quarter of a cosine.

        ᾱ_t = f(t / T) / f(0),   f(u) = cos²(π/2 · (u + offset) / (1 + offset)),   β_t ≤ 0.999

    Without the limit on β_t nothing at all of x would be left at level T.

    Args:
        num_levels: T ≥ 2.
        offset: Keeps the first steps from being too small.

    Raises:
        ValueError: T is below 2, or offset is not positive.
        TypeError: T is no whole number.

    Reference: A. Nichol and P. Dhariwal, "Improved Denoising Diffusion Probabilistic Models",
    ICML 2021, section 3.2, https://arxiv.org/abs/2102.09672.

    >>> f"{cosine_schedule(100).alpha_bar[49]:.2f}"
    '0.49'
    """
    require_positive(offset, "offset")
    u = torch.cat([torch.zeros(1, dtype=torch.float64), _fractions(num_levels)])
    log_f = 2 * torch.cos(torch.pi / 2 * (u + offset) / (1 + offset)).abs().log()
    beta = -torch.expm1(log_f.diff())
    log_alpha_bar = torch.log1p(-beta.clamp(max=0.999)).cumsum(0)
    return Schedule(log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)))


def forward_kernel(
    schedule: Schedule, z: Float[Tensor, "*batch D"], s: Level, t: Level
) -> Distribution:
    r"""Return q(z_t | z_s) for s < t: one step of the forward process where s = t − 1.

        N(√(ᾱ_t / ᾱ_s) z_s, (1 − ᾱ_t / ᾱ_s) I)

    Args:
        schedule: Of the noise.
        z: z_s, (…, D); x itself for s = 0.
        s: Level of z, from 0: a number, or one for each row.
        t: Level to go to, s < t ≤ T.

    Returns:
        Batch (…), event (D,).

    Raises:
        ValueError: The levels are out of order or range.
        TypeError: A level is no whole number, or z no floating-point tensor.

    >>> schedule = log_snr_schedule(3, 2.0, -2.0)
    >>> forward_kernel(schedule, torch.ones(5, 2), 0, 2).variance[0]
    tensor([0.5000, 0.5000])
    """
    require_tensor(z, "z")
    s, t = require_levels(schedule, s, t)
    ratio = schedule.log_alpha_bar[t] - schedule.log_alpha_bar[s]
    return isotropic(_column(torch.exp(0.5 * ratio), z) * z, -torch.expm1(ratio))


def forward_marginal(schedule: Schedule, x: Float[Tensor, "*batch D"], t: Level) -> Distribution:
    r"""Return q(z_t | x) = N(√ᾱ_t x, (1 − ᾱ_t) I): all t steps at once.

    Args:
        schedule: Of the noise.
        x: Data, (…, D).
        t: Level from 1 to T: a number, or one for each row.

    Raises:
        ValueError, TypeError: Those of `forward_kernel`.
    """
    return forward_kernel(schedule, x, 0, t)


def reverse_posterior(
    schedule: Schedule, z: Float[Tensor, "*batch D"], x: Float[Tensor, "..."], s: Level, t: Level
) -> Distribution:
    r"""Return q(z_s | z_t, x) for 1 ≤ s < t: where z_t came from, once x is known.

    With c = 1 − SNR_t / SNR_s it is N(mean, c (1 − ᾱ_s) I), and

        mean = √(ᾱ_t / ᾱ_s) (1 − ᾱ_s) / (1 − ᾱ_t) z_t + √ᾱ_s c x

    For s = t − 1 the factor of x is √ᾱ_{t−1} β_t / (1 − ᾱ_t) and the variance is called β̃_t.

    Args:
        schedule: Of the noise.
        z: z_t, (…, D).
        x: Data, or a guess of it, of a shape that goes with z.
        s: Level to go back to, from 1.
        t: Level of z, s < t ≤ T.

    Raises:
        ValueError: The levels are out of order or range.
        TypeError: A level is no whole number, or z or x no floating-point tensor.

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equations 6 and 7, https://arxiv.org/abs/2006.11239.
    """
    require_tensor(z, "z")
    require_tensor(x, "x", dtype=z.dtype)
    if x.shape[-1:] != z.shape[-1:] or any(
        a != b and 1 not in (a, b) for a, b in zip(x.shape[::-1], z.shape[::-1], strict=False)
    ):
        raise ValueError(
            f"x must go with z of shape {tuple(z.shape)}, got shape {tuple(x.shape)}; pass one row "
            f"for each of z"
        )
    s, t = require_levels(schedule, s, t, minimum=1)
    of_z, of_x, variance = reverse_coefficients(schedule, s, t)
    return isotropic(_column(of_z, z) * z + _column(of_x, z) * x, variance)


def posterior_variance(schedule: Schedule) -> Float[Tensor, " steps"]:
    r"""Return β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) β_t, the variance of q(z_{t−1} | z_t, x), t = 2 … T.

    It is the right reverse variance where x is a single point. β_t, which is ``schedule.beta[1:]``,
    is right where x ~ N(0, I).
    """
    require_schedule(schedule)
    t = torch.arange(2, schedule.num_levels + 1)
    return reverse_coefficients(schedule, t - 1, t)[2]


def alpha_sigma(
    log_snr: Float[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    r"""Return √ᾱ and √(1 − ᾱ) of log SNR, with an axis to go along the pixels: (…, 1) each.

    ᾱ = sigmoid(log SNR),   z_t = √ᾱ x + √(1 − ᾱ) ε
    """
    signal, noise = logsigmoid(log_snr), logsigmoid(-log_snr)
    return torch.exp(0.5 * signal)[..., None], torch.exp(0.5 * noise)[..., None]


def reverse_coefficients(schedule: Schedule, s: Level, t: Level) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factors of z_t and of x in the mean of q(z_s | z_t, x), and its variance.

    See `reverse_posterior`. Each has the shape of the levels, in float64.
    """
    log_alpha_bar = schedule.log_alpha_bar
    drop = schedule.log_snr[t - 1] - schedule.log_snr[s - 1]
    of_z = torch.exp(drop - 0.5 * (log_alpha_bar[t] - log_alpha_bar[s]))
    share = -torch.expm1(drop)
    of_x = torch.exp(0.5 * log_alpha_bar[s]) * share
    return of_z, of_x, share * torch.sigmoid(-schedule.log_snr[s - 1])


def isotropic(mean: Float[Tensor, "*batch D"], variance: Tensor) -> Distribution:
    """Return N(mean, variance I), the variance one number or one for each row."""
    scale = _column(variance.sqrt(), mean)
    return Independent(Normal(mean, scale.expand_as(mean)), 1)


def require_schedule(schedule: object) -> None:
    """Raise unless this is a schedule."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule must be a Schedule, got {type(schedule).__name__}; make one with "
            f"linear_schedule(100)"
        )


def require_levels(schedule: Schedule, s: Level, t: Level, minimum: int = 0) -> tuple[Level, Level]:
    """Return two levels if minimum ≤ s < t ≤ T.

    Raises:
        ValueError: They are out of order or range.
        TypeError: One of them is no whole number, or no tensor of them.
    """
    require_schedule(schedule)
    for value, name in ((s, "s"), (t, "t")):
        if not isinstance(value, Tensor):
            require_count(value, name, minimum=0)
        elif value.is_floating_point() or value.dtype == torch.bool:
            raise TypeError(f"{name} must hold whole numbers, got {value.dtype}; use {name}.long()")
    low, high = torch.as_tensor(s), torch.as_tensor(t)
    if not ((low >= minimum) & (low < high) & (high <= schedule.num_levels)).all():
        raise ValueError(
            f"levels must run from {minimum} to T = {schedule.num_levels} with s below t, got "
            f"s = {s} and t = {t}; levels count from 1, and level 0 is x itself"
        )
    return s, t


def _fractions(num_levels: int) -> Float[Tensor, " T"]:
    """Return t / T for t = 1 … T."""
    require_count(num_levels, "num_levels", minimum=2)
    return torch.arange(1, num_levels + 1, dtype=torch.float64) / num_levels


def _column(values: Tensor, z: Tensor) -> Tensor:
    """Return coefficients, one or one a row, in z's dtype with an axis to go along the pixels."""
    try:
        fits = torch.broadcast_shapes(values.shape, z.shape[:-1]) == z.shape[:-1]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"t must be one level, or one for each of the rows {tuple(z.shape[:-1])} of z, got "
            f"shape {tuple(values.shape)}"
        )
    return values.to(z)[..., None]
