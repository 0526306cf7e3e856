r"""Diffusion: a hierarchy of T levels whose encoder is fixed, in the one vocabulary of the book.

The encoder is the forward process of a `Schedule`: it adds noise in T steps and has nothing to
learn. The model goes back. A denoiser guesses x from z_t, and its guess x̂ takes the place of x in
the reverse posterior:

    p(z_{t−1} | z_t) = N(mean of q(z_{t−1} | z_t, x̂), variance)

`Diffusion` returns the same `Trace` as every other model, so that `companion.elbo` scores it
unchanged.
"""

from collections.abc import Callable
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from companion._checks import (
    check_conditional,
    check_number,
    check_tensor,
    like,
)
from companion._context import evaluating, fork_rng
from companion.conditionals import GaussianPrior
from companion.diffusion.denoisers import GaussianDenoiser
from companion.diffusion.schedule import (
    Level,
    Schedule,
    check_levels,
    forward_coefficients,
    posterior_variance,
    reverse_coefficients,
)
from companion.distributions import Gaussian
from companion.models import HVAE, LatentVariableModel


@final
class Diffusion(LatentVariableModel):
    r"""Diffusion model: an HVAE of T levels of size D whose encoder is a schedule of noise.

        q(z_t | z_{t−1}) = N(√(1 − β_t) z_{t−1}, β_t I),   z_0 = x
        p(z_{t−1} | z_t) = N(mean of q(z_{t−1} | z_t, x̂), v_t I),   x̂ = denoiser(z_t, log SNR_t)

    At the last step the mean of q(x | z_1, x̂) is x̂ itself: p(x | z_1) = N(x̂, scale² I).

    Args:
        schedule: Of the noise.
        denoiser: Module that maps z (…, D) and log SNR (…) to a guess x̂ of x, (…, D): a
            `NoiseDenoiser` to be trained, an ideal one, or one of your own.
        prior: Module without arguments whose forward returns p(z_T), such as
            ``StandardNormal(D)``.
        scale: Standard deviation of p(x | z_1), in the units of x.
        reverse_variance: v_t for t = 2 … T, (T − 1,), such as ``schedule.beta[1:]``. None:
            `posterior_variance`, which is β̃_t.

    References: J. Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium
    Thermodynamics", ICML 2015, https://arxiv.org/abs/1503.03585; J. Ho, A. Jain and P. Abbeel,
    "Denoising Diffusion Probabilistic Models", NeurIPS 2020, https://arxiv.org/abs/2006.11239.

    >>> from companion import StandardNormal, elbo, mlp
    >>> from companion.diffusion import TIME_FEATURES, NoiseDenoiser, log_snr_schedule
    >>> denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 16, 2))
    >>> model = Diffusion(log_snr_schedule(20, 5.0, -8.0), denoiser, StandardNormal(2), scale=0.1)
    >>> elbo(model, torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    log_snr: Tensor
    reverse_scale: Tensor
    of_z: Tensor
    of_x: Tensor

    def __init__(
        self,
        schedule: Schedule,
        denoiser: nn.Module,
        prior: nn.Module,
        *,
        scale: float,
        reverse_variance: Float[Tensor, " steps"] | None = None,
    ) -> None:
        super().__init__()
        check_number(scale, "scale")
        if reverse_variance is None:
            reverse_variance = posterior_variance(schedule)
        check_tensor(reverse_variance, "reverse_variance", schedule.num_steps - 1)
        check_number(reverse_variance.min().item(), "reverse_variance")
        self.schedule: Final = schedule
        self.denoiser: Final = denoiser
        self.prior = prior
        variances = torch.cat([reverse_variance.new_tensor([scale**2]), reverse_variance.detach()])
        # Tables of t = 1 … T. Those that fix the model's numbers are saved with its weights.
        self.register_buffer("reverse_scale", variances.sqrt())
        self.register_buffer("log_snr", None)
        self.register_buffer("of_z", None, persistent=False)
        self.register_buffer("of_x", None, persistent=False)
        self.to(like(denoiser))
        self.register_load_state_dict_pre_hook(_same_schedule)
        # Views: they share this model's weights, and are no parts of it.
        self.encoders = forward_steps(schedule)
        self.decoders = [_Reverse(self, t) for t in range(1, schedule.num_steps + 1)]
        with evaluating(self), fork_rng(self.log_snr.device):
            self.data_size = check_conditional(prior, "prior")
            rows, z = (2, 2, self.data_size), self.log_snr.new_zeros(2, 2, self.data_size)
            check_conditional(self.decoders[-1], "denoiser", rows, size=self.data_size)
            guess = self.denoise(z, 1)
        if guess.shape != z.shape:
            raise ValueError(f"denoiser must return {tuple(z.shape)}, got {tuple(guess.shape)}")

    @property
    def scale(self) -> float:
        """Standard deviation of p(x | z_1), in the units of x."""
        return self.reverse_scale[0].item()

    def denoise(self, z: Float[Tensor, "*batch D"], t: Level) -> Float[Tensor, "*batch D"]:
        """Return the denoiser's guess of x from z_t.

        Args:
            z: z_t, (…, D).
            t: Level from 1 to T: a number, or one for each row.
        """
        check_levels(self.schedule, 0, t)
        return self.denoiser(z, self.log_snr[t - 1].expand(z.shape[:-1]))

    def reverse(self, z: Float[Tensor, "*batch D"], t: Level) -> Distribution:
        """Return p(z_{t−1} | z_t) for z_t = z, one step of the reverse process; z_0 is x.

        Args:
            z: z_t, (…, D).
            t: Level of z from 1 to T: a number, or one for each row.
        """
        of_z, of_x = self.of_z[t - 1, None], self.of_x[t - 1, None]
        mean = of_z * z + of_x * self.denoise(z, t)
        return Gaussian(mean, 2 * self.reverse_scale[t - 1, None].log())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Diffusion":
        """Move or cast the model; the schedule's tables are computed anew: no cast wears them."""
        super()._apply(fn, recurse)
        t = torch.arange(1, self.schedule.num_steps + 1)
        of_z, of_x, _ = reverse_coefficients(self.schedule, t - 1, t)
        own = self.reverse_scale
        self.log_snr, self.of_z, self.of_x = (
            table.to(own.dtype).to(own.device) for table in (self.schedule.log_snr, of_z, of_x)
        )
        return self


class ForwardStep(nn.Module):
    """q(z_t | z_{t−1}) as a conditional without parameters."""

    def __init__(self, schedule: Schedule, t: int) -> None:
        super().__init__()
        of_z, variance = forward_coefficients(schedule, t - 1, t)
        self.of_z: Final = of_z.item()
        self.logvar: Final = variance.log().item()

    def forward(self, z: Float[Tensor, "*batch D"]) -> Distribution:
        """Return the distribution of z_t for each row of z_{t−1}."""
        return Gaussian(self.of_z * z, z.new_tensor(self.logvar))


class _Reverse(nn.Module):
    """p(z_{t−1} | z_t) as a conditional, with z_0 = x."""

    def __init__(self, model: Diffusion, t: int) -> None:
        super().__init__()
        self.model: Final = model
        self.t: Final = t

    def forward(self, z: Float[Tensor, "*batch D"]) -> Distribution:
        return self.model.reverse(z, self.t)


def forward_steps(schedule: Schedule) -> list[nn.Module]:
    """Return q(z_1 | x), q(z_2 | z_1), …, q(z_T | z_{T−1}): the encoders of a diffusion model."""
    return [ForwardStep(schedule, t) for t in range(1, schedule.num_steps + 1)]


def exact_gaussian_diffusion(schedule: Schedule, denoiser: GaussianDenoiser) -> HVAE:
    r"""Return the diffusion model of Gaussian data whose every conditional is exact: an HVAE.

    p(x | z_1), p(z_{t−1} | z_t) and p(z_T) are those of the forward process started at
    x ~ N(m, S), so that log w = log p(x) for every draw, whatever T.

    Args:
        schedule: Of the noise.
        denoiser: Of the data's mean m and covariance S, in float64 for exactness.

    >>> from companion import elbo
    >>> from companion.diffusion import log_snr_schedule
    >>> denoiser = GaussianDenoiser(torch.zeros(1).double(), torch.full((1, 1), 4.0).double())
    >>> model = exact_gaussian_diffusion(log_snr_schedule(20, 6.0, -6.0), denoiser)
    >>> x = torch.ones(1, 1).double()
    >>> torch.allclose(elbo(model, x), torch.distributions.Normal(0.0, 2.0).log_prob(x[0]))
    True
    """
    top = denoiser.marginal(schedule, schedule.num_steps)
    prior = GaussianPrior(top.mean, top.covariance_matrix)
    return HVAE(forward_steps(schedule), denoiser.decoders(schedule), prior)


def _same_schedule(model: Diffusion, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
    """Refuse weights that were trained on another schedule: they would give other numbers."""
    found = state.get(f"{prefix}log_snr")
    if found is None:
        return
    if not torch.equal(found.cpu(), model.schedule.log_snr.to(found.dtype)):
        raise ValueError("the schedule differs: build the model with the one it was saved with")
    # The file may have fewer digits.
    state[f"{prefix}log_snr"] = model.log_snr
