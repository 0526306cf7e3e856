"""Diagnostics: what a model's codes and samples look like, in numbers."""

from companion.diagnostics.disentanglement import mutual_information_gap
from companion.diagnostics.information import (
    Estimate,
    GradientNorms,
    Surgery,
    active_units,
    effective_sample_size,
    elbo_surgery,
    gradient_norms,
    level_rates,
    log_aggregate,
    mutual_information,
    unit_rates,
)
from companion.diagnostics.samples import energy_distance, nearest_distance, sharpness

__all__ = [
    "Estimate",
    "GradientNorms",
    "Surgery",
    "active_units",
    "effective_sample_size",
    "elbo_surgery",
    "energy_distance",
    "gradient_norms",
    "level_rates",
    "log_aggregate",
    "mutual_information",
    "mutual_information_gap",
    "nearest_distance",
    "sharpness",
    "unit_rates",
]
