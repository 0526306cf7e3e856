"""Tell the search what the glossary knows: the names of a term, and the places that explain it.

An entry of ``glossary.md`` may end in "*Also called* one name, another name." The page of the
search carries all names with the first links of their entry into chapters, and ``scorer.js`` uses
them.
An entry that only says "See *another*." lends its name to that one.
"""

import json
import posixpath
import re
from html import escape
from typing import Any, NamedTuple

from docutils import nodes
from meta import SIGNS, plain
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
MOST_PLACES = 3
ALSO = re.compile(r"\s*Also called (.+)\.$")
SEE = re.compile(r"See (.+)\.$")
CHAPTER = re.compile(r"book/a?\d")


class Term(NamedTuple):
    """An entry: its names, the book's first; its anchor, what it says, and where to read more."""

    names: list[str]
    anchor: str
    says: str
    places: list[tuple[str, str, str, str | None]]  # page, anchor, title, what it is


def terms_of(glossary: nodes.document, titles: dict[str, dict[str, str]]) -> list[Term]:
    """The entries of a resolved glossary.

    Args:
        glossary: its document, with links relative to its page.
        titles: for each page the titles of its sections by their anchors, the page's own under "".
    """
    found: dict[str, Term] = {}
    for item in glossary.findall(nodes.definition_list_item):
        if not isinstance(item.parent.parent, addnodes.glossary):
            continue
        name = next(item.findall(nodes.term))
        text = text_of(item.children[-1])
        also = ALSO.search(text)
        others = also[1].split(", ") if also else []
        found[name.astext()] = Term(
            [name.astext(), *others],
            name["ids"][0],
            escape(first_sentence(ALSO.sub("", text)), quote=False),
            places(item, titles),
        )
    for name, term in list(found.items()):
        if other := SEE.match(term.says):
            found[other[1]].names.append(name)
            del found[name]
    return list(found.values())


def text_of(definition: nodes.Node) -> str:
    """What a definition says, with dots for a formula that plain letters cannot write."""
    copy = definition.deepcopy()
    for formula in copy.findall(nodes.math):
        tex = formula.astext()
        unknown = set(re.findall(r"\\[a-zA-Z]+(?:\{N\})?", tex)) - set(SIGNS)
        formula.children = [nodes.Text("…" if unknown else plain(tex))]
    return " ".join(copy.astext().split())


def first_sentence(text: str) -> str:
    """The first sentence of a definition, without the links at its end."""
    sentence = re.split(r"(?<=\.) ", text)[0]
    return re.sub(r"[,:]? \(A?\d+\.\d+\)\.$", ".", sentence)


def places(
    item: nodes.Node, titles: dict[str, dict[str, str]]
) -> list[tuple[str, str, str, str | None]]:
    """Where an entry's links lead in chapters: sections before formulas, no place twice."""
    sections: dict[tuple[str, str], str] = {}
    formulas: dict[tuple[str, str], str] = {}
    for link in item.findall(nodes.reference):
        address, _, anchor = link.get("refuri", "").partition("#")
        page = posixpath.join(posixpath.dirname(GLOSSARY), address).removesuffix(".html")
        if CHAPTER.match(page) and page in titles:
            known = titles[page].get(anchor)
            kind = sections if known else formulas
            kind[page, anchor] = escape(known or link.astext(), quote=False)
    found: list[tuple[str, str, str, str | None]] = []
    for (page, anchor), title in [*sections.items(), *formulas.items()][:MOST_PLACES]:
        of_page = escape(titles[page][""], quote=False)
        what = None if (page, anchor) in sections else "formula"
        found.append((page, anchor, f"{of_page} > {title}" if anchor else of_page, what))
    return found


def section_titles(app: Sphinx) -> dict[str, dict[str, str]]:
    """The titles of all pages and their sections, by anchors."""
    return {
        page: {
            entry["anchorname"].removeprefix("#"): entry.astext()
            for entry in contents.findall(nodes.reference)
        }
        for page, contents in app.env.tocs.items()
    }


def tell_the_search(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Put the terms into the page of the search."""
    if page != "search" or GLOSSARY not in app.env.found_docs:
        return
    glossary = app.env.get_and_resolve_doctree(GLOSSARY, app.builder)
    terms = [term._asdict() for term in terms_of(glossary, section_titles(app))]
    told = json.dumps(terms, ensure_ascii=False).replace("<", "\\u003c")
    context["metatags"] = (
        context.get("metatags", "")
        + f'<script type="application/json" id="glossary-terms">{told}</script>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler."""
    app.connect("html-page-context", tell_the_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
