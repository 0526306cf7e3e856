"""Exercises that answer in the page: forms, the self-test, folded solutions, and what is solved.

In a chapter each ``check.NAME(answer)`` of a prediction becomes a form. The page carries a table of
answers and verdicts, made from the exercise, and ``answers.js`` only compares: it says what a
kernel says. A function is written in a kernel: the page has its stub and says where to run it. What
a check prints before anything was answered is left out. The questions of the self-test stand in
``self_test.yml``::

    ```{self-test} 3
    ```

lists those of chapter 3, and ``{answered}`` is the map of all that the pages ask.
"""

import ast
import base64
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml
from claims import headings
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from companion import exercises
from companion.exercises.predicting import NEAR, Prediction
from companion.exercises.verdicts import NOT_ATTEMPTED

QUESTIONS = "book/self_test.yml"
# Nothing of a form works without a script; the choices of the self-test are still read.
WITHOUT_SCRIPT = (
    "<noscript><style>form.prediction[data-answers], form.prediction :is(input, button, output), "
    ".progress-map button {display: none !important}</style></noscript>"
)

# --- what the page is told -----------------------------------------------------------------------


def rows(task: Prediction) -> list[tuple[float | str, float, str]]:
    """Return answers, how far one may be from each, and the verdict; the last is for all others.

    The script takes the first that fits, as `Prediction.verdict` does.
    """
    if isinstance(task.answer, str):
        return [(word, 0.0, task.verdict(word)) for word in words(task)]
    right, reach = task.answer, max(task.tolerance, 1e-9)
    known = [right, *map(float, task.mistakes)]
    slips = [slip(right) for slip in task.slips.values()]
    plain = replace(task, mistakes={})  # says the slips alone
    return [
        *((value, reach, task.verdict(value)) for value in known),
        *((value, NEAR * abs(value), plain.verdict(value)) for value in slips if value == value),
        (
            right,
            min(5 * reach, 0.1 * abs(right)),
            "✗ {} is close, but not there: rounded too early, or a small slip?",
        ),
        (0.0, sys.float_info.max, f"✗ Not {{}}. {task.advice}"),
        ("", 0.0, "✗ A number is asked for; this is '{}'."),
    ]


def words(task: Prediction) -> list[str]:
    """Return the words that a prediction may be answered with, the short ones first."""
    return sorted({str(task.answer), *map(str, task.mistakes)}, key=lambda word: (len(word), word))


def encoded(task: Prediction) -> str:
    """Return the rows so that nobody reads them by accident."""
    return base64.b64encode(json.dumps(rows(task)).encode("ascii")).decode("ascii")


# --- what is asked where -------------------------------------------------------------------------


class Question(NamedTuple):
    """Something that a page asks: its name in what the browser remembers, its number, its place."""

    name: str
    number: str
    address: str


def questions(root: Path) -> dict[int, list[dict[str, Any]]]:
    """Return the questions of the self-test, by chapter.

    Raises:
        ValueError: if a question has not one right choice, or a choice without a reason.
    """
    found: dict[int, list[dict[str, Any]]] = yaml.safe_load((root / QUESTIONS).read_text("utf-8"))
    for chapter, asked in found.items():
        for question in asked:
            kinds = sorted(" ".join(sorted(choice)) for choice in question["choices"])
            if kinds != ["because right"] + ["because wrong"] * (len(kinds) - 1) or len(kinds) < 2:
                raise ValueError(
                    f"{QUESTIONS}, chapter {chapter}: {question['ask']!r} must have one choice "
                    "with `right:` and `because:`, and others with `wrong:` and `because:`"
                )
    return found


def checked(source: str) -> list[str]:
    """Return the names of the checks that a cell calls for their verdicts."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a line that only IPython reads
        return []
    return [statement.value.func.attr for statement in statements if _is_check(statement)]  # type: ignore[attr-defined]


def without_checks(source: str) -> str:
    """Return a cell's code less its calls of checks; "" where only names for answers remain."""
    statements = ast.parse(source).body
    lines = source.splitlines()
    kept = [s for s in statements if not _is_check(s)]
    if all(isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) for s in kept):
        return ""
    for statement in reversed(statements):
        if _is_check(statement):
            del lines[statement.lineno - 1 : statement.end_lineno]
    return "\n".join(lines).strip()


def without_title(source: str) -> str:
    """Return a solution's code less its title; what the title's line says more stays a comment."""
    title, _, rest = source.partition("\n")
    said = title.removeprefix("# Solution").lstrip(": ")
    return f"# {said}\n{rest}" if said else rest.lstrip()


def _is_check(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("check")))):
            return True
    return False


def chapters(root: Path) -> dict[int, Path]:
    """Return the notebooks with exercises, by chapter."""
    return {n: root / "book" / f"{n:02}_{name}.ipynb" for n, name in exercises.FILES.items()}


def predictions(root: Path, chapter: int) -> Iterator[Question]:
    """Yield the predictions that a chapter asks for, each once, in its order."""
    path, checks = chapters(root)[chapter], exercises.chapter(chapter)
    cells = nbformat.read(path, nbformat.NO_CONVERT).cells
    texts = [cell.source if cell.cell_type == "markdown" else "" for cell in cells]
    title = anchor = section = ""
    seen = set()
    for cell, here in zip(cells, headings(texts), strict=True):
        for heading in here:
            title, anchor = heading.title, heading.anchor
            if title[:1].isdigit():
                section = f"§{title.split()[0]}"
        for name in checked(cell.source) if cell.cell_type == "code" else ():
            if name not in seen and isinstance(getattr(checks, name), Prediction):
                seen.add(name)
                question, number, place = f"{chapter}.{name}", number_of(title), anchor
                if not number:  # a guess in the text, far below its heading
                    number, place = section, form_id(question)
                yield Question(question, number, f"{path.stem}.html#{place}")


def self_test(root: Path, chapter: int) -> Iterator[Question]:
    """Yield the questions that the self-test has on a chapter."""
    for k in range(1, 1 + len(questions(root).get(chapter, ()))):
        number = f"{chapter}.{k}"
        yield Question(f"self-test {number}", number, f"self_test.html#question-{chapter}-{k}")


def form_id(question: str) -> str:
    """Return where the map finds the form of a prediction."""
    return "guess-" + re.sub(r"[^a-z0-9]+", "-", question)


def number_of(title: str) -> str:
    """Return the number of an exercise by its heading, "" for another heading."""
    match = re.match(r"Exercise (\d+\.\d+)", title)
    return match[1] if match else ""


# --- elements ------------------------------------------------------------------------------------


class Tag(nodes.General, nodes.Element):  # type: ignore[misc]
    """An element of HTML that docutils has no node for; its attributes are in `attributes`."""


def tag(name: str, /, *inside: nodes.Node | str, **attributes: str) -> Tag:
    """Return an element; ``data_question`` stands for ``data-question``, ``classes`` for class."""
    children = [nodes.Text(child) if isinstance(child, str) else child for child in inside]
    classes = attributes.pop("classes", "").split()
    written = {key.strip("_").replace("_", "-"): value for key, value in attributes.items()}
    return Tag("", *children, tag=name, classes=classes, written=written)


def visit_tag(self: HTML5Translator, node: Tag) -> None:
    """Open an element."""
    self.body.append(self.starttag(node, node["tag"], "", **node["written"]))


def depart_tag(self: HTML5Translator, node: Tag) -> None:
    """Close it; an input has no end."""
    if node["tag"] != "input":
        self.body.append(f"</{node['tag']}>")


class RunHere(nodes.General, nodes.Element):  # type: ignore[misc]
    """Where a function can be written and checked; known when the page is written."""


def visit_run_here(self: HTML5Translator, node: RunHere) -> None:
    """Write the line, with a button where the book is published."""
    options = self.config.html_theme_options
    repository = str(options.get("repository_url", "")).removeprefix("https://github.com/")
    colab = options.get("launch_buttons", {}).get("colab_url")
    if repository and colab:
        branch, page = options.get("repository_branch") or "main", self.builder.current_docname
        address = f"{colab}/github/{repository}/blob/{branch}/{page}.ipynb"
        door = f'<a class="button" href="{address}">Open this chapter in Colab</a>'
    else:
        door = "<code>make lab</code> opens JupyterLab."
    line = "Write it in JupyterLab or Colab: the check there names your mistake."
    self.body.append(f'<p class="run-here">{line} {door}</p>')


def depart_run_here(self: HTML5Translator, node: RunHere) -> None:
    """Nothing is left to close."""


def form(question: str, *inside: nodes.Node, **attributes: str) -> Tag:
    """Return a form with its button and the place of the verdict."""
    return tag(
        "form",
        *inside,
        tag("button", "Check", type="submit"),
        tag("output", aria_live="polite"),
        classes="prediction",
        data_question=question,
        **attributes,
    )


def choice(value: str, *inside: nodes.Node) -> Tag:
    """Return a radio button with its label."""
    button = tag("input", type="radio", name="answer", value=value, required="required")
    return tag("label", button, tag("span", *inside))


def prediction_form(question: str, task: Prediction) -> Tag:
    """Return the form of a number, or of a word out of few."""
    if isinstance(task.answer, str):
        choices = (choice(word, nodes.Text(word)) for word in words(task))
        field = tag("fieldset", tag("legend", "Your answer"), *choices)
    else:
        text = tag(
            "input",
            type="text",
            name="answer",
            required="required",
            maxlength="60",
            pattern=r".*\S.*",  # spaces alone are nothing
            title="a number, such as 0.5, 1/2 or log(2)/3",
            autocomplete="off",
            autocapitalize="off",
            spellcheck="false",
            placeholder="a number, or log(2)/3",
        )
        field = tag("label", tag("span", "Your answer"), text)
    asked = form(question, field, data_answers=encoded(task))
    asked["ids"].append(form_id(question))
    return asked


def lettered(numbers: list[str]) -> list[str]:
    """Tell apart the questions of one exercise: 7.1, 7.2a, 7.2b."""
    return [
        number + chr(ord("a") + numbers[:place].count(number)) * (numbers.count(number) > 1)
        for place, number in enumerate(numbers)
    ]


def progress_map(asked: dict[str, tuple[list[Question], list[Question]]]) -> Tag:
    """Return what the pages ask, with links, and marks for what is solved.

    Args:
        asked: By the title of a chapter, its predictions, and its questions in the self-test.
    """

    def links(kind: str, some: list[Question]) -> Iterator[Tag]:
        if some:
            places = (
                tag("a", label, href=q.address, data_question=q.name)
                for q, label in zip(some, lettered([q.number for q in some]), strict=True)
            )
            yield tag("span", tag("span", kind, classes="progress-kind"), *places)

    items = (
        tag(
            "li",
            tag("span", title, classes="progress-title"),
            *links("In the text", [q for q in predictions if q.number.startswith("§")]),
            *links("Exercises", [q for q in predictions if not q.number.startswith("§")]),
            *links("Self-test", tested),
        )
        for title, (predictions, tested) in asked.items()
    )
    inside = [tag("ul", *items), tag("button", "Start afresh", type="button")]
    if len(asked) > 1:
        inside = [
            tag("details", tag("summary", "The map of all questions"), *inside, classes="fold")
        ]
    total = sum(len(some) for pair in asked.values() for some in pair)
    count = tag("p", f"{total} questions are answered in the page", classes="progress-count")
    rest = tag("p", "Exercises that ask for code are checked in a notebook, and not counted here.")
    return tag("div", count, *inside, rest, classes="progress-map")


# --- chapters ------------------------------------------------------------------------------------


class AnswersInChapters(SphinxTransform):
    """Make forms of predictions, folds of solutions, and boxes of exercises."""

    default_priority = 399  # before cells are folded, and named

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        root, name = Path(self.env.srcdir), Path(self.env.docname).name
        found = [n for n, path in chapters(root).items() if path.stem == name]
        if not found:
            return
        self.chapter = exercises.chapter(found[0])
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and cell.parent is not None:
                self.change(cell)
        for section in self.document.findall(nodes.section):
            if number_of(section[0].astext()):
                section["classes"].append("exercise")
        self.env.note_dependency(str(root / QUESTIONS))
        title = "In this chapter"
        asked = list(predictions(root, found[0])), list(self_test(root, found[0]))
        if any(asked):
            self.document[0] += progress_map({title: asked})

    def change(self, cell: nodes.container) -> None:
        """Change a cell that asks, or solves."""
        sources = [b for b in cell.findall(nodes.literal_block) if _part(b) == "cell_code_source"]
        if not sources:
            return
        source = sources[0].astext()
        names = checked(source)
        if "hide-cell" in cell["cell_metadata"].get("tags", []) and source.startswith("# Solution"):
            self.fold(cell, sources[0])
        elif names and isinstance(task := getattr(self.chapter, names[-1]), Prediction):
            before = cell.parent[cell.parent.index(cell) - 1]
            if isinstance(before, nodes.container) and _is_placeholder(before):
                cell.parent.remove(before)
            question = f"{self.chapter.number}.{names[-1]}"
            cell.parent[cell.parent.index(cell)] = prediction_form(question, task)
        elif names and silence(cell):
            self.leave_stub(cell, sources[0])

    def fold(self, cell: nodes.container, block: nodes.literal_block) -> None:
        """Put a solution behind one line, which says what the code's first line says."""
        rewrite(block, without_title(block.astext()))
        cell.attributes.pop("hide_mode", None)
        fold = tag("details", tag("summary", "Solution"), classes="solution")
        cell.parent[cell.parent.index(cell)] = fold
        fold += cell

    def leave_stub(self, cell: nodes.container, block: nodes.literal_block) -> None:
        """Show what is to be filled in, less the call of the check, and say where."""
        place, where = cell.parent.index(cell), RunHere()
        if rest := without_checks(block.astext()):
            rewrite(block, rest)
            cell.parent.insert(place if ".pick(" in rest else place + 1, where)
        else:
            cell.parent[place] = where


def silence(cell: nodes.container) -> bool:
    """Take out of a cell's outputs that nothing was attempted; tell whether they said so."""
    said = [b for b in cell.findall(nodes.literal_block) if NOT_ATTEMPTED in b.astext()]
    for block in said:
        rewrite(block, block.astext().replace(NOT_ATTEMPTED, "").strip())
        if not block.astext():
            block.parent.remove(block)
    for output in list(cell.findall(nodes.container)):
        if output.get("nb_element") == "cell_code_output" and not output.children:
            output.parent.remove(output)
    return bool(said)


def rewrite(block: nodes.literal_block, text: str) -> None:
    """Give a block another text; Sphinx colours it only where its raw source is the same."""
    block.rawsource, block.children = text, [nodes.Text(text)]


def _part(block: nodes.Node) -> str:
    """Return whether a block is in a cell's source or its output."""
    while block.parent is not None and not block.get("nb_element"):
        block = block.parent
    return str(block.get("nb_element"))


def _is_placeholder(cell: nodes.container) -> bool:
    """Tell whether a cell does nothing but give a name to the answer to come."""
    return bool(re.fullmatch(r"\w+ = None\b.*", cell.astext().strip()))


# --- the self-test -------------------------------------------------------------------------------


class SelfTestDirective(SphinxDirective):
    """The questions on one chapter."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the questions with their forms and folded answers."""
        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / QUESTIONS))
        chapter = int(self.arguments[0])
        return [
            self.question(f"{chapter}.{k}", question)
            for k, question in enumerate(questions(root)[chapter], 1)
        ]

    def question(self, number: str, question: dict[str, Any]) -> nodes.Node:
        """Return one question."""
        name = f"question-{number.replace('.', '-')}"
        text = nodes.container(ids=[f"{name}-text"])
        text += self.parsed(f"**{number}** {question['ask']}")
        choices: list[nodes.Node] = []
        reasons: list[nodes.Node] = []  # the right one first
        for letter, option in zip("ABCDEF", question["choices"], strict=False):
            right = "right" in option
            label = self.parsed(f"**{letter}** {option['right' if right else 'wrong']}")
            choices.append(choice(letter, *label[0].children))
            classes = "right" if right else "wrong"
            verdict = f"**{letter} is {classes}.** {option['because']}"
            if not right:
                verdict += f" See {question['see']}."
            reason = tag("div", *self.parsed(verdict), data_choice=letter, classes=classes)
            reasons.insert(0 if right else len(reasons), reason)
        fieldset = tag("fieldset", *choices, aria_labelledby=f"{name}-text")
        fold = tag("details", tag("summary", "Answer"), *reasons, classes="solution")
        answer = form(f"self-test {number}", fieldset)
        return nodes.container("", text, answer, fold, ids=[name], classes=["question"])

    def parsed(self, text: str) -> list[nodes.Node]:
        """Return the paragraphs of a Markdown text."""
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), QUESTIONS), 0, holder)
        return list(holder.children)


class AnsweredDirective(SphinxDirective):
    """The map of all that the pages ask."""

    def run(self) -> list[nodes.Node]:
        """Return the map."""
        root = Path(self.env.srcdir)
        asked = {}
        for number, path in chapters(root).items():
            self.env.note_dependency(str(path))
            pair = list(predictions(root, number)), list(self_test(root, number))
            if any(pair):
                title = headings([nbformat.read(path, nbformat.NO_CONVERT).cells[0].source])
                asked[title[0][0].title] = pair
        return [progress_map(asked)]


def add_script(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load script and style on the pages that ask, alone."""
    if doctree and next(doctree.findall(Tag), None):
        app.add_js_file("answers.js", loading_method="defer")
        app.add_css_file("answers.css", priority=820)
        context["metatags"] = context.get("metatags", "") + WITHOUT_SCRIPT


def setup(app: Sphinx) -> dict[str, bool]:
    """Register nodes, directives, the transform and the handler."""
    app.add_node(Tag, html=(visit_tag, depart_tag))
    app.add_node(RunHere, html=(visit_run_here, depart_run_here))
    app.add_directive("self-test", SelfTestDirective)
    app.add_directive("answered", AnsweredDirective)
    app.add_transform(AnswersInChapters)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
