"""Checks of a number or a word that is to be said before the code is run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from companion.exercises.comparing import Unreadable, tensor
from companion.exercises.verdicts import CORRECT, NOT_ATTEMPTED, say, short

NEAR: Final = 0.01
"""Relative distance at which a wrong number is taken for a changed right one."""

SLIPS: Final[dict[str, Callable[[float], float]]] = {
    "the sign is turned": lambda a: -a,
    "a factor of 2 too many, or is a ½ missing?": lambda a: 2 * a,
    "a factor of ½ too many, or is a 2 missing?": lambda a: a / 2,
    "that is the square: is a root missing?": lambda a: a * a,
    "that is the square root: is a square missing?": lambda a: math.sqrt(abs(a)),
    "that is 1 divided by it": lambda a: 1 / a if a else math.nan,
}
"""What may happen to any number, and what it makes of the right one."""

SLIPS_WITH: Final[dict[str, dict[str, Callable[[float], float]]]] = {
    "nats": {
        "that is in bits; the book counts in nats": lambda a: a / math.log(2),
        "a factor of log 2 too many: the book counts in nats": lambda a: a * math.log(2),
    },
    "share": {"that is in per cent": lambda a: 100 * a},
}
"""What may happen to a number of a unit besides."""


@dataclass(frozen=True)
class Prediction:
    """An exercise that asks for a number or a word.

    Attributes:
        answer: The right answer. Words are compared without regard to case.
        because: Why it is right, one sentence.
        mistakes: Wrong answers and what each one overlooks.
        tolerance: How far a number may be from the answer, in its units.
        unit: "nats" or "share", where its usual confusion is to be named.
        advice: What to do about a wrong answer that nobody knows, one sentence.
    """

    answer: float | str
    because: str
    mistakes: Mapping[float | str, str]
    tolerance: float = 0.0
    unit: str = ""
    advice: str = "Work it out once more, or let a few lines of code do it."

    def __call__(self, answer: object) -> None:
        """Print one line on the reader's answer; never raise."""
        say(self.verdict(answer))

    @property
    def slips(self) -> dict[str, Callable[[float], float]]:
        """The slips that are named; none in a whole number, where each is one of many numbers."""
        return SLIPS | SLIPS_WITH.get(self.unit, {}) if self.tolerance else {}

    def verdict(self, answer: object) -> str:
        """Return the line that `__call__` prints."""
        if answer is None or answer is ... or (isinstance(answer, str) and not answer.strip()):
            return NOT_ATTEMPTED
        if isinstance(self.answer, str):
            return self._of_word(answer, self.answer)
        return self._of_number(answer, self.answer)

    def _of_word(self, answer: object, right: str) -> str:
        word = str(answer).strip().strip("\"'.!").lower() if isinstance(answer, str) else ""
        if word == right.lower():
            return f"{CORRECT} {self.because}"
        for wrong, hint in self.mistakes.items():
            if word == str(wrong).lower():
                return f"✗ Not quite: {hint}"
        words = sorted({right, *map(str, self.mistakes)})
        return f"✗ Answer with one of: {', '.join(words)}."

    def _of_number(self, answer: object, right: float) -> str:
        number = _number(answer)
        if number is None:
            return f"✗ A number is asked for; this is {short(answer)}."
        reach = max(self.tolerance, 1e-9)
        if abs(number - right) <= reach:
            return f"{CORRECT} {self.because}"
        for wrong, hint in self.mistakes.items():
            if abs(number - float(wrong)) <= reach:
                return f"✗ Not quite: {hint}"
        for says, slip in self.slips.items():
            if abs(number - slip(right)) <= NEAR * abs(slip(right)):
                return f"✗ Not quite: {says}{'' if says.endswith('?') else '.'}"
        if abs(number - right) <= min(5 * reach, 0.1 * abs(right)):
            return f"✗ {short(answer)} is close, but not there: rounded too early, or a small slip?"
        return f"✗ Not {short(answer)}. {self.advice}"


def _number(answer: object) -> float | None:
    """Return the number that an answer stands for: itself, "0.5", "1/2", an array of one."""
    try:
        if isinstance(answer, str):
            plain = answer.replace(" ", "").replace("−", "-").replace("%", "e-2")
            above, _, below = plain.partition("/")
            return float(above) / (float(below) if below else 1.0)
        if isinstance(answer, int | float):
            return None if isinstance(answer, bool) else float(answer)
        found = tensor(answer)
        return float(found) if found.numel() == 1 else None
    except (Unreadable, ValueError, OverflowError, ZeroDivisionError):
        return None
