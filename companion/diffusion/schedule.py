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
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from companion._checks import check_count, check_tensor
from companion.distributions import Gaussian

Level = int | Int64[Tensor, "..."]


@final
@dataclass(frozen=True, eq=False)
class Schedule:
    r"""How much of x is left at each level: log SNR_t for t = 1 … T, falling.

    Everything else follows from it: ᾱ_t = sigmoid(log SNR_t), 1 − ᾱ_t = sigmoid(−log SNR_t).

    Attributes:
        log_snr: log SNR_1 … log SNR_T, (T,), T ≥ 2, strictly falling; kept on the CPU in float64.

    >>> schedule = Schedule(torch.tensor([2.0, 0.0, -2.0]))
    >>> schedule.num_steps, schedule.alpha_bar[1].item()
    (3, 0.5)
    """

    log_snr: Float[Tensor, " T"]

    def __post_init__(self) -> None:
        check_tensor(self.log_snr, "log_snr", None)
        if len(self.log_snr) < 2 or not (self.log_snr.diff() < 0).all():
            raise ValueError(f"log_snr must fall, two levels or more, got {self.log_snr.tolist()}")
        object.__setattr__(self, "log_snr", self.log_snr.detach().cpu().double())

    @property
    def num_steps(self) -> int:
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


def log_snr_schedule(num_steps: int, first: float, last: float) -> Schedule:
    r"""Schedule with given ends: log SNR_t on a straight line from `first` (t = 1) to `last` (T).

    With the ends fixed, T says only how finely the way between them is cut.

    Args:
        num_steps: T ≥ 2.
        first: log SNR_1, the least noise.
        last: log SNR_T, the most noise, below `first`.

    >>> log_snr_schedule(5, 8.0, -8.0).log_snr.tolist()
    [8.0, 4.0, 0.0, -4.0, -8.0]
    """
    return Schedule(torch.linspace(first, last, num_steps, dtype=torch.float64))


def linear_schedule(num_steps: int, start: float = 0.1, end: float = 20.0) -> Schedule:
    r"""Schedule whose rate of noise rises on a straight line: ᾱ_t = exp(−∫ rate) up to t / T.

        log ᾱ_t = −(start u + ½ (end − start) u²),   u = t / T

    With T = 1000 its β_t run from about 10⁻⁴ to 0.02, those of Ho et al.; for another T, ᾱ at the
    same u stays the same.

    Args:
        num_steps: T ≥ 2.
        start: Rate of noise at u = 0, per unit of u.
        end: Rate of noise at u = 1.

    References: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, https://arxiv.org/abs/2006.11239; Y. Song et al., "Score-Based Generative Modeling through
    Stochastic Differential Equations", ICLR 2021, appendix C, https://arxiv.org/abs/2011.13456.

    >>> " ".join(f"{beta:.4f}" for beta in linear_schedule(1000).beta[[0, -1]])
    '0.0001 0.0198'
    """
    u = _fractions(num_steps)
    log_alpha_bar = -(start * u + 0.5 * (end - start) * u.square())
    # SNR = ᾱ / (1 − ᾱ), with 1 − ᾱ as expm1 has it: near t = 0 all digits would be lost.
    return Schedule(log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)))


def cosine_schedule(num_steps: int, offset: float = 0.008) -> Schedule:
    r"""Schedule whose √ᾱ_t falls like a quarter of a cosine.

        ᾱ_t = f(t / T) / f(0),   f(u) = cos²(π/2 · (u + offset) / (1 + offset)),   β_t ≤ 0.999

    Without the limit on β_t nothing at all of x would be left at level T.

    Args:
        num_steps: T ≥ 2.
        offset: Keeps the first steps from being too small.

    Reference: A. Nichol and P. Dhariwal, "Improved Denoising Diffusion Probabilistic Models",
    ICML 2021, section 3.2, https://arxiv.org/abs/2102.09672.

    >>> f"{cosine_schedule(100).alpha_bar[49]:.2f}"
    '0.49'
    """
    u = torch.cat([torch.zeros(1, dtype=torch.float64), _fractions(num_steps)])
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

    >>> schedule = log_snr_schedule(3, 2.0, -2.0)
    >>> forward_kernel(schedule, torch.ones(5, 2), 0, 2).variance[0]
    tensor([0.5000, 0.5000])
    """
    check_levels(schedule, s, t)
    of_z, variance = forward_coefficients(schedule, s, t)
    return Gaussian(_column(of_z, z) * z, _column(variance.log(), z))


def forward_marginal(schedule: Schedule, x: Float[Tensor, "*batch D"], t: Level) -> Distribution:
    r"""Return q(z_t | x) = N(√ᾱ_t x, (1 − ᾱ_t) I): all t steps at once.

    Args:
        schedule: Of the noise.
        x: Data, (…, D).
        t: Level from 1 to T: a number, or one for each row.
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

    Reference: J. Ho, A. Jain and P. Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS
    2020, equations 6 and 7, https://arxiv.org/abs/2006.11239.
    """
    check_levels(schedule, s, t, minimum=1)
    of_z, of_x, variance = reverse_coefficients(schedule, s, t)
    mean = _column(of_z, z) * z + _column(of_x, z) * x
    return Gaussian(mean, _column(variance.log(), z))


def posterior_variance(schedule: Schedule) -> Float[Tensor, " steps"]:
    r"""Return β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) β_t, the variance of q(z_{t−1} | z_t, x), t = 2 … T.

    It is the right reverse variance where x is a single point. β_t, which is ``schedule.beta[1:]``,
    is right where x ~ N(0, I).
    """
    t = torch.arange(2, schedule.num_steps + 1)
    return reverse_coefficients(schedule, t - 1, t)[2]


def alpha_sigma(
    log_snr: Float[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    r"""Return √ᾱ and √(1 − ᾱ) of log SNR, with an axis to go along the pixels: (…, 1) each.

    ᾱ = sigmoid(log SNR),   z_t = √ᾱ x + √(1 − ᾱ) ε
    """
    signal, noise = logsigmoid(log_snr), logsigmoid(-log_snr)
    return torch.exp(0.5 * signal)[..., None], torch.exp(0.5 * noise)[..., None]


def forward_coefficients(schedule: Schedule, s: Level, t: Level) -> tuple[Tensor, Tensor]:
    """Return the factor of z_s in the mean of q(z_t | z_s), and its variance.

    See `forward_kernel`. Each has the shape of the levels, in float64.
    """
    ratio = _at(schedule.log_alpha_bar, t) - _at(schedule.log_alpha_bar, s)
    return torch.exp(0.5 * ratio), -torch.expm1(ratio)


def reverse_coefficients(schedule: Schedule, s: Level, t: Level) -> tuple[Tensor, Tensor, Tensor]:
    """Return the factors of z_t and of x in the mean of q(z_s | z_t, x), and its variance.

    See `reverse_posterior`. Each has the shape of the levels, in float64. For s = 0, where z_s is x
    itself, they are 0, 1 and 0.
    """
    log_alpha_bar = schedule.log_alpha_bar
    log_snr = torch.cat([schedule.log_snr.new_tensor([torch.inf]), schedule.log_snr])
    drop = _at(log_snr, t) - _at(log_snr, s)
    of_z = torch.exp(drop - 0.5 * (_at(log_alpha_bar, t) - _at(log_alpha_bar, s)))
    share = -torch.expm1(drop)
    of_x = torch.exp(0.5 * _at(log_alpha_bar, s)) * share
    return of_z, of_x, share * torch.sigmoid(-_at(log_snr, s))


def check_levels(schedule: Schedule, s: Level, t: Level, minimum: int = 0) -> None:
    """Raise unless minimum ≤ s < t ≤ T."""
    within = (s >= minimum) & (s < t) & (t <= schedule.num_steps)
    if not (within.all() if isinstance(within, Tensor) else within):
        raise ValueError(f"levels must be {minimum} ≤ s < t ≤ {schedule.num_steps}, got {s}, {t}")


def _at(table: Tensor, t: Level) -> Tensor:
    """Return a table's entries at some levels, wherever those stand."""
    return table[t.to(table.device) if isinstance(t, Tensor) else t]


def _fractions(num_steps: int) -> Float[Tensor, " T"]:
    """Return t / T for t = 1 … T."""
    check_count(num_steps, "num_steps", minimum=2)
    return torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps


def _column(values: Tensor, z: Tensor) -> Tensor:
    """Return coefficients, one or one a row, in z's dtype with an axis to go along the pixels."""
    # First the dtype: some devices have no float64.
    return values.to(z.dtype).to(z.device)[..., None]
