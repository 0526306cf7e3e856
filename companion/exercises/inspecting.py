"""Checks of what a reader has built: an HVAE, say, for data of their own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from companion.exercises.isolating import quiet
from companion.exercises.verdicts import NOT_ATTEMPTED, say, short


@dataclass(frozen=True)
class Condition:
    """Something that must hold of what the reader has built.

    Attributes:
        name: What is wrong where it does not hold, without a full stop.
        hint: What to look at, one sentence.
        holds: Called with what the inspection was given.
    """

    name: str
    hint: str
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Inspection:
    """An exercise without one right answer: what the reader built is looked at, point by point.

    Attributes:
        conditions: Looked at in this order; the first that does not hold is the verdict.
        finding: What the verdict adds when all hold, from the same things.
    """

    conditions: tuple[Condition, ...]
    finding: Callable[..., str]

    def __call__(self, *things: object) -> None:
        """Print one line on what the reader has built; never raise."""
        say(self.verdict(*things))

    def verdict(self, *things: object) -> str:
        """Return the line that `__call__` prints."""
        if not things or any(thing is None or thing is ... for thing in things):
            return NOT_ATTEMPTED
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        with quiet(), device:
            torch.set_default_dtype(dtype)  # constants that a model makes then meet its weights
            try:
                for condition in self.conditions:
                    if not condition.holds(*things):
                        return f"✗ {condition.name}. {condition.hint}"
                return f"✓ {self.finding(*things)}"
            except (Exception, SystemExit) as error:
                return f"✗ This could not be looked at: {type(error).__name__}: {short(error)}"
