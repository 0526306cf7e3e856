"""The page of the mistakes that the checks of the exercises know by name.

    ```{mistakes}
    ```

Nothing is listed by hand: the exercises are those that `companion.exercises` finds.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from companion import exercises
from companion.exercises.checking import Exercise
from companion.exercises.predicting import Prediction


class MistakesDirective(SphinxDirective):
    """One section a chapter, one list an exercise."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        sections: list[nodes.Node] = []
        for number in exercises.FILES:
            section = nodes.section(ids=[f"mistakes-{number}"])
            section += nodes.title("", f"Chapter {number}")
            for name, task in exercises.chapter(number).exercises.items():
                section += nodes.paragraph("", "", nodes.literal("", f"check.{name}"))
                said = (
                    nodes.paragraph("", "", nodes.strong("", f"{mistake}:"), nodes.Text(f" {hint}"))
                    for mistake, hint in mistakes_of(task)
                )
                section += nodes.bullet_list("", *(nodes.list_item("", text) for text in said))
            sections.append(section)
        return sections


def mistakes_of(task: exercises.Task) -> list[tuple[str, str]]:
    """Return what a check knows: the mistake, and its hint."""
    if isinstance(task, Exercise):
        return [(mistake.name, mistake.hint) for mistake in task.mistakes]
    if isinstance(task, Prediction):
        return [
            (wrong if isinstance(wrong, str) else f"{wrong:.4g}".replace("-", "−"), hint)
            for wrong, hint in task.mistakes.items()
        ]
    return [(condition.name, condition.hint) for condition in task.conditions]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("mistakes", MistakesDirective)
    return {"parallel_read_safe": True}
