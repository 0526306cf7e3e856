"""Exercises of the book: checks that say right, not attempted, or which mistake it looks like.

    check = exercises.chapter(3)
    check.elbo_from_weights(my_function)      # prints one line, never raises on the reader's code

Each chapter's exercises and their catalogue of mistakes stand in one file. Each mistake is a
wrong answer in code: the check recognises it by its results.
"""

from importlib import import_module
from typing import Final, final

from companion._checks import check_count
from companion.exercises.checking import Exercise
from companion.exercises.inspecting import Inspection
from companion.exercises.predicting import Prediction

Task = Exercise | Inspection | Prediction

__all__ = ["Chapter", "chapter"]

FILES: Final = {
    1: "big_picture",
    2: "model_setup",
    3: "elbo",
    4: "information_view",
    5: "gaussian_vae",
    6: "blurry_samples",
    7: "posterior_collapse",
    8: "depth_is_not_enough",
    9: "hierarchical_vae",
    10: "training_hvaes",
    11: "diffusion_preview",
    13: "capstone",
}


class UnknownExerciseError(ValueError, AttributeError):
    """The chapter has no exercise of this name."""


@final
class Chapter:
    """The exercises of one chapter, by name: ``check.<name>(answer)`` checks an answer."""

    def __init__(self, number: int, exercises: dict[str, Task]) -> None:
        self.number: Final = number
        self.exercises: Final = exercises

    def __dir__(self) -> list[str]:
        return [*self.exercises, "exercises", "number"]

    def __getattr__(self, name: str) -> Task:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self.exercises:
            raise UnknownExerciseError(
                f"name {name!r} is no exercise of chapter {self.number}; it has "
                f"{', '.join(self.exercises)}"
            )
        return self.exercises[name]


def chapter(number: int) -> Chapter:
    """Return the exercises of a chapter.

    Args:
        number: Of the chapter, as in the book.
    """
    check_count(number, "number")
    if number not in FILES:
        raise ValueError(f"number must be one of {', '.join(map(str, FILES))}, got {number}")
    module = import_module(f"companion.exercises.{FILES[number]}")
    found = {name: value for name, value in vars(module).items() if isinstance(value, Task)}
    return Chapter(number, found)
