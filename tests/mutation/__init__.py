"""Mistakes to make in the package on purpose, by name, and the runner that makes them.

Most are bugs that well-known code has or had; the rest are what is easily got wrong in this one.
Each is a function that stands in the place of a right one: see `registry.Mutant`.
"""

# Each module enters its mistakes into the list as it is imported.
from mutation import (  # noqa: I001 (in the order of the table)
    objectives,
    models,
    conditionals,
    exact,
    diffusion,
    diagnostics,
    train,
    data,
)
from mutation.registry import MUTANTS, Mutant, find, function, patched

__all__ = [
    "MUTANTS",
    "Mutant",
    "conditionals",
    "data",
    "diagnostics",
    "diffusion",
    "exact",
    "find",
    "function",
    "models",
    "objectives",
    "patched",
    "train",
]
