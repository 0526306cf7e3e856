"""Every claim of a chapter in the book has a cell that shows it and a test that holds it."""

import json
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import claims as register  # noqa: E402

# Every identifier stays: this list is not made from claims.yml, and so notices what is lost there.
IDENTIFIERS = {
    "01_big_picture": """
        big: autoencoder ae-latent-unstructured both-terms vae-symmetries vae-generates second-model
    """,
    "02_model_setup": """
        setup: marginal intractable information-cost ancestral bayes-posterior amortised
        simple-decoder pixel-by-pixel
    """,
    "03_elbo": """
        elbo: lower-bound jensen two-terms gap-identity tangent tight reconstruction-memorises
        kl-smooths trade-off beta-bound prior-holes gap-may-grow importance-weighted
    """,
    "04_information_view": """
        info: mle-is-kl density joints chain-rule marginals-hide decomposition kl-direction
        code-length elbo-is-joint-kl
    """,
    "05_gaussian_vae": """
        gauss: encoder mse kl-closed-form objective reparameterise gradient
        no-gradient-through-sampling pseudocode beta-is-variance binary
    """,
    "06_blurry_samples": """
        blur: least-squares conditional-mean ratio-form overlap supports trained-decoder
        normaliser
    """,
    "07_posterior_collapse": """
        collapse: averaged-elbo mutual-information aggregated optimum simple-decoder
        powerful-decoder mechanism rate-distortion no-dependence no-control two-sides
        depth-no-cure warm-up-helps beta-direction monitor
    """,
    "08_depth_is_not_enough": """
        depth: family full-covariance encoder-sweep floors-add decoder-adapts amortisation
        richer-family collapse-persists
    """,
    "09_hierarchical_vae": """
        hvae: factorisation marginal generation encoder elbo decomposition average kl-form
        one-level is-a-vae distributes aligned coarse-to-fine observation localised first-level
        top-down levels-visible beats-deep-flat
    """,
    "10_training_hvaes": """
        train: upper-levels-idle information-falls weak-gradients capacity joint-instability
        warm-up top-down layerwise
    """,
    "11_diffusion_preview": """
        diff: fixed-encoder forward-marginal reverse-posterior ideal-denoiser three-terms
        exact-gaussian no-collapse stability quality progressive
    """,
    "a1_measuring_samples": """
        measure: disagree copies
    """,
    "a2_beta_and_grey_pixels": """
        gauss: beta-disentangles grey-bce
    """,
    "how_figures_work": """
        live: forward gradient bound
    """,
}
CLAIMS = register.read_claims(ROOT)
KNOWN = {claim.id for claim in CLAIMS}
LANDED = {page.removeprefix("book/") for page in register.toc_pages(ROOT)}
TESTS = register.claims_of_tests(ROOT)
CHAPTERS = sorted(ROOT.glob("book/[0-9a][0-9]*_*.ipynb"))


@cache
def checks_of(chapter: str) -> list[register.Check]:
    path = ROOT / "book" / f"{chapter}.ipynb"
    return register.checks_of_chapter(path) if path.is_file() else []


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.chapter in LANDED], ids=lambda c: c.id)
def test_claim_is_shown_and_tested(claim: register.Claim) -> None:
    # What the page itself computes is shown by tests in a browser, and by no cell.
    if claim.chapter != "how_figures_work":
        shown = {name for check in checks_of(claim.chapter) for name in check.claims}
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


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.chapter in LANDED], ids=lambda c: c.id)
def test_claim_has_numbers_and_a_section(claim: register.Claim) -> None:
    for check in checks_of(claim.chapter):
        if claim.id in check.claims:
            assert any(letter.isdigit() for letter in check.output), "the cell's output is stored"
            assert check.section.level >= 2


def test_no_identifier_is_lost() -> None:
    listed = set()
    for chapter, text in IDENTIFIERS.items():
        prefix, names = text.split(":")
        listed |= {(f"{prefix.strip()}.{name}", chapter) for name in names.split()}
    assert {(claim.id, claim.chapter) for claim in CLAIMS} == listed


def test_register_is_whole() -> None:
    chapters = [claim.chapter for claim in CLAIMS]
    assert chapters == sorted(chapters), "the rows stand in the order of the chapters"
    assert len(set(chapters)) == len(IDENTIFIERS)
    for claim in CLAIMS:
        assert claim.statement.rstrip().endswith((".", "!", "$")), claim.id
        assert claim.statement.count("$") % 2 == 0, claim.id


def test_every_chapter_with_claims_is_in_the_book() -> None:
    assert set(IDENTIFIERS) <= LANDED


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


# --- what the page shows of a cell ----------------------------------------------------------------

CELLS = [
    ("markdown", "# 3 The bound\n\n## 3.1 Where $q$ is `exact`\n\n### Check it", [], ""),
    ("code", "%pip install nothing\n", ["setup"], ""),
    (
        "code",
        "from companion import VAE, elbo, exact\n"
        "from companion.exact import LinearGaussian, latent_grid as grid\n"
        "from companion.data import digits\n"
        "toy = LinearGaussian(weight, bias, scale=1.0)\n"
        "def shifted(elbo):\n    return LinearGaussian(elbo, bias, 1.0)\n",
        [],
        "",
    ),
    ("code", "print(toy.gap(x, q))", ["claim:a.method", "claim:a.shared"], "gap 1\n"),
    ("markdown", "### Check it\n\n```\n## no heading\n```", [], ""),
    ("code", "results = {}\nfor k in grid(1):\n    results[k] = elbo(VAE(digits()), k)", [], ""),
    ("code", "print(max(results))", ["claim:a.earlier"], "1\n2"),
    ("markdown", "## 3.2 Another\n\n### Explore: `q`\n", [], ""),
    ("code", "print(1)", ["claim:a.explored"], "0"),
    ("markdown", "### Check it", [], ""),
    ("code", "m = shifted(1.0)\nprint(m.elbo(x, m.posterior(x)))", ["claim:a.made"], "3"),
    ("code", "elbo = 1.0\nprint(elbo)", ["claim:a.shadowed"], "4"),
    ("code", "t = exact.DiscreteModel(p, q)\nprint(t.log_joint())", ["claim:a.inside"], "5"),
    ("code", "model = VAE(q, p, prior)\nprint(model.sample(1))", ["claim:a.inherited"], "6"),
]


def test_checks_of_a_chapter(tmp_path: Path) -> None:
    cells = [
        {
            "cell_type": kind,
            "source": [source],
            "metadata": {"tags": tags},
            "outputs": [{"text": [output]}],
        }
        for kind, source, tags, output in CELLS
    ]
    path = tmp_path / "03_it.ipynb"
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    found = {
        check.claims: (check.section.title, check.section.anchor, check.output, check.code)
        for check in register.checks_of_chapter(path)
    }
    first = ("3.1 Where q is exact", "where-q-is-exact")
    second = ("3.2 Another", "another")
    assert found == {
        ("a.method", "a.shared"): (*first, "gap 1", ("exact.linear.LinearGaussian.gap",)),
        # The data is no code that a claim is about, and what builds a model comes last.
        ("a.earlier",): (
            *first,
            "1\n2",
            ("exact.quadrature.latent_grid", "objectives.elbo", "models.VAE"),
        ),
        ("a.explored",): ("Explore: q", "explore-q", "0", ()),
        ("a.made",): (
            *second,
            "3",
            ("exact.linear.LinearGaussian.elbo", "exact.linear.LinearGaussian.posterior"),
        ),
        ("a.shadowed",): (*second, "4", ()),
        ("a.inside",): (*second, "5", ("exact.discrete.DiscreteModel.log_joint",)),
        ("a.inherited",): (*second, "6", ("models.VAE", "models.LatentVariableModel.sample")),
    }
    in_order = ["method", "shared", "earlier", "explored", "made", "shadowed", "inside"]
    in_order = [f"a.{name}" for name in [*in_order, "inherited"]]
    assert register.claims_of_chapter(path) == in_order


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("objectives.elbo", "elbo"),
        ("exact.blocks.chain_joint", "chain_joint"),
        ("models.VAE", "VAE"),
        ("models.HVAE.decoders", "HVAE.decoders"),
        ("exact.linear.LinearGaussian.gap", "LinearGaussian.gap"),
    ],
)
def test_code_is_named_without_its_modules(address: str, shown: str) -> None:
    assert register.short(address) == shown


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_links_to_code_lead_to_a_page_of_the_package(chapter: Path) -> None:
    listed = register.module_pages(ROOT)
    for check in register.checks_of_chapter(chapter):
        for address in check.code:
            module = address.removesuffix(f".{register.short(address)}")
            assert module in listed, f"no page lists companion.{module}, where {address} is"


def test_pages_below_another_are_pages_of_the_book(tmp_path: Path) -> None:
    (tmp_path / "_toc.yml").write_text(
        "root: i\nparts:\n- chapters:\n  - file: a\n    sections:\n    - file: a_b\n  - file: c\n"
    )
    assert register.toc_pages(tmp_path) == ["i", "a", "a_b", "c"]


def test_long_output_is_folded_and_escaped() -> None:
    def check(output: str) -> register.Check:
        return register.Check(("a.b",), register.Heading(2, "T", "t"), output, ())

    assert "details" not in register.numbers_block([check("1 < 2\n2\n3\n4")])
    assert "1 &lt; 2" in register.numbers_block([check("1 < 2\n2\n3\n4")])
    several = register.numbers_block([check("1\n2"), check("1\n2"), check("3\n4\n5")])
    assert "<details><summary>The numbers: 5 lines</summary>" in several
    assert "1\n2\n\n3\n4\n5</pre>" in several


def test_address_of_the_repository(tmp_path: Path) -> None:
    config = tmp_path / "_config.yml"
    config.write_text("title: T\n", "utf-8")
    assert register.repository_address(tmp_path) == ""
    config.write_text("repository:\n  url: https://github.com/o/n\n  branch: main\n", "utf-8")
    assert register.repository_address(tmp_path) == "https://github.com/o/n/blob/main"
