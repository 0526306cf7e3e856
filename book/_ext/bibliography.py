"""Make ``references.bib`` from the page of references, to be downloaded from it.

A reference there is one line, ``[Authors (year), *Title*](address)``, and below it why to read it.
Family names are all the page has of authors; the number at arXiv or the DOI has the rest. The first
entry is this book, from ``CITATION.cff``.
"""

import re
import unicodedata
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

PAGE = "book/references"
REFERENCE = re.compile(
    r"^\[(?P<authors>[^\]]+?) \((?P<year>\d{4})\), \*(?P<title>[^\]]+)\*\]\((?P<url>\S+)\)$",
    re.MULTILINE,
)
SMALL_WORDS = {"a", "an", "the", "on", "of", "from"}
IDENTIFIERS = {
    "eprint": re.compile(r"arxiv\.org/abs/([\d.]+)"),
    "doi": re.compile(r"doi\.org/(.+)"),
}


def bibtex(page: str) -> str:
    """The references of a page's Markdown, one entry each, in its order."""
    entries: dict[str, str] = {}
    for found in REFERENCE.finditer(page):
        key = key_of(**found.groupdict())
        if key in entries:
            raise ValueError(f"references.md: two references would have the key {key}")
        fields = {
            "author": " and ".join(re.split(r", | and ", found["authors"])),
            "title": f"{{{found['title']}}}",  # as it is written, capitals too
            "year": found["year"],
        }
        for name, pattern in IDENTIFIERS.items():
            if match := pattern.search(found["url"]):
                fields[name] = match[1]
        if "eprint" in fields:
            fields["archiveprefix"] = "arXiv"
        entries[key] = entry(key, fields | {"url": found["url"]})
    return "\n".join(entries.values())


def key_of(authors: str, year: str, title: str, url: str) -> str:
    """The first author's family name, the year and the title's first word of weight."""
    first = re.split(r", | and ", authors)[0].split()[-1]
    words = re.findall(r"[^\W\d_]+", title.lower())
    word = next(w for w in words if w not in SMALL_WORDS and len(w) > 1)
    plain = unicodedata.normalize("NFKD", f"{first.lower()}{year}{word}")
    return re.sub(r"[^a-z0-9]", "", plain.replace("ø", "o").replace("ß", "ss"))


def entry(key: str, fields: dict[str, str]) -> str:
    """One entry; only what is not an address has its special characters escaped."""
    lines = []
    for name, text in fields.items():
        said = text if name in ("url", "doi") else re.sub(r"([&%#])", r"\\\1", text)
        lines.append(f"  {name} = {{{said}}},")
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def book_itself(citation: str, year: str) -> str:
    """The entry of this book."""
    known = yaml.safe_load(citation)
    (author,) = (author["name"] for author in known["authors"])
    fields = {
        "author": f"{{{author}}}",
        "title": f"{{{known['title']}}}",
        "year": year,
        "note": f"Version {known['version']}",
    }
    if url := known.get("repository-code"):
        fields["url"] = url
    return entry("thelowerbound", fields)


def write(app: Sphinx, failure: Exception | None) -> None:
    """Put the file beside the page."""
    if failure or app.builder.format != "html" or PAGE not in app.env.found_docs:
        return
    root = Path(app.srcdir)
    text = bibtex((root / f"{PAGE}.md").read_text("utf-8"))
    own = book_itself((root / "CITATION.cff").read_text("utf-8"), app.config.copyright)
    Path(app.outdir, f"{PAGE}.bib").write_text(f"{own}\n{text}", "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handler."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
