"""Diffusion as a hierarchical VAE: schedules of noise, denoisers, the model, its bounds."""

from companion.diffusion.bounds import (
    ThreeTerms,
    diffusion_elbo,
    draw_levels,
    one_level_elbo,
    simple_loss,
    three_terms,
)
from companion.diffusion.denoisers import (
    TIME_FEATURES,
    DataDenoiser,
    GaussianDenoiser,
    NoiseDenoiser,
    time_features,
)
from companion.diffusion.model import Diffusion, exact_gaussian_diffusion, forward_steps
from companion.diffusion.schedule import (
    Schedule,
    alpha_sigma,
    cosine_schedule,
    forward_coefficients,
    forward_kernel,
    forward_marginal,
    linear_schedule,
    log_snr_schedule,
    posterior_variance,
    reverse_coefficients,
    reverse_posterior,
)

__all__ = [
    "TIME_FEATURES",
    "DataDenoiser",
    "Diffusion",
    "GaussianDenoiser",
    "NoiseDenoiser",
    "Schedule",
    "ThreeTerms",
    "alpha_sigma",
    "cosine_schedule",
    "diffusion_elbo",
    "draw_levels",
    "exact_gaussian_diffusion",
    "forward_coefficients",
    "forward_kernel",
    "forward_marginal",
    "forward_steps",
    "linear_schedule",
    "log_snr_schedule",
    "one_level_elbo",
    "posterior_variance",
    "reverse_coefficients",
    "reverse_posterior",
    "simple_loss",
    "three_terms",
    "time_features",
]
