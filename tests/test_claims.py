"""Every claim of a chapter in the book has a cell that shows it and a test that holds it."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import claims as register  # noqa: E402

CLAIMS = register.read_claims(ROOT)
KNOWN = {claim.id for claim in CLAIMS}
LANDED = {page.removeprefix("book/") for page in register.toc_pages(ROOT)}
TESTS = register.claims_of_tests(ROOT)
CHAPTERS = sorted(ROOT.glob("book/[01][0-9]_*.ipynb"))


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.chapter in LANDED], ids=lambda c: c.id)
def test_claim_is_shown_and_tested(claim: register.Claim) -> None:
    shown = register.claims_of_chapter(ROOT / "book" / f"{claim.chapter}.ipynb")
    assert claim.id in shown, (
        f"tag the cell of book/{claim.chapter}.ipynb that shows it with 'claim:{claim.id}'"
    )
    assert claim.id in TESTS, f"mark a test with @pytest.mark.claim({claim.id!r})"


def test_tests_name_known_claims() -> None:
    for name, tests in TESTS.items():
        assert name in KNOWN, f"{tests[0]} names {name!r}; the names stand in book/claims.yml"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_cells_name_claims_of_their_chapter(chapter: Path) -> None:
    own = {claim.id for claim in CLAIMS if claim.chapter == chapter.stem}
    for name in register.claims_of_chapter(chapter):
        assert name in own, (
            f"a cell is tagged 'claim:{name}'; this chapter's claims are {', '.join(sorted(own))}"
        )


def test_register_is_whole() -> None:
    chapters = [claim.chapter for claim in CLAIMS]
    assert chapters == sorted(chapters), "the rows stand in the order of the chapters"
    assert len(set(chapters)) == 11
    for claim in CLAIMS:
        assert claim.statement.rstrip().endswith((".", "!", "$")), claim.id
        assert claim.statement.count("$") % 2 == 0, claim.id


def test_page_lists_every_chapter() -> None:
    page = (ROOT / "book" / "claims.md").read_text("utf-8")
    for chapter in {claim.chapter for claim in CLAIMS}:
        assert f"```{{claims}} {chapter}\n" in page


ROW = "- {{id: {id}, kind: {kind}, chapter: 03_elbo, statement: S.}}\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROW.format(id="a.b", kind="X"), "kind 'X'"),
        (ROW.format(id="a.b", kind="E") * 2, "more than once"),
        ("- {id: a.b, kind: E}\n", "exactly the keys"),
    ],
)
def test_a_bad_register_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").write_text(rows, "utf-8")
    with pytest.raises(ValueError, match=message):
        register.read_claims(tmp_path)


def test_marks_are_found_on_functions_and_classes(tmp_path: Path) -> None:
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "deep" / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.claim('a.b')\n@pytest.mark.claim('a.c')\ndef test_f(): ...\n"
        "@pytest.mark.claim('a.b')\nclass TestG: ...\n"
        "def test_h(): ...\n",
        "utf-8",
    )
    found = register.claims_of_tests(tmp_path)
    assert found == {
        "a.b": ["tests/deep/test_it.py::test_f", "tests/deep/test_it.py::TestG"],
        "a.c": ["tests/deep/test_it.py::test_f"],
    }
