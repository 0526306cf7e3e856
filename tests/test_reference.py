"""The reference pages: what they link to is there, and the numbers in their answers are right."""

import ast
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
import yaml
from docutils.nodes import make_id  # type: ignore[import-untyped]
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

import companion
from companion import (
    HVAE,
    VAE,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    beta_elbo,
    elbo,
    gaussian_kl,
    pathwise,
    score_function,
)
from companion import mlp as network
from companion.data import digits
from companion.diagnostics import gradient_norms
from companion.diffusion import (
    DataDenoiser,
    Diffusion,
    GaussianDenoiser,
    Schedule,
    exact_gaussian_diffusion,
    forward_marginal,
    forward_steps,
    log_snr_schedule,
    three_terms,
)
from companion.exact import (
    DiscreteModel,
    LinearGaussianChain,
    gaussian_floor,
    latent_grid,
    optimal_decoder,
    optimal_linear_vae,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from bibliography import bibtex, book_itself  # noqa: E402

BOOK = ROOT / "book"
PAGES = [*sorted(BOOK.glob("*.md")), BOOK / "self_test.yml"]
CHAPTERS = sorted(BOOK.glob("[0-9a][0-9]*_*.ipynb"))
CLAIMS = (BOOK / "claims.yml").read_text("utf-8")
SELF_TEST = yaml.safe_load((BOOK / "self_test.yml").read_text("utf-8"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def markdown(path: Path) -> str:
    """The text of a page, or of a chapter's text cells."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


# --- papers --------------------------------------------------------------------------------------


def papers(text: str) -> set[str]:
    """The papers a text links to, each under one name however its address is written."""
    found = set()
    for address in re.findall(r"https?://[^\s<>\"'`\]]+?(?=[).,;:]*(?:[\s<>\"'`\]]|$))", text):
        if match := re.search(r"arxiv\.org/(?:abs|pdf)/([\d.]+\d)", address):
            found.add(f"arXiv {match[1]}")
        elif match := re.search(r"doi\.org/(\S+)", address):
            found.add(f"doi {match[1].lower()}")
        elif match := re.search(r"openreview\.net/.*[?&]id=([\w-]+)", address):
            found.add(f"openreview {match[1]}")
        elif address.endswith(".pdf"):
            found.add(address.rsplit("/", 1)[1])
    return found


def test_papers_are_known_by_one_name() -> None:
    text = "(https://arxiv.org/abs/1312.6114), https://arxiv.org/pdf/1312.6114v2."
    assert papers(text) == {"arXiv 1312.6114"}
    text = "[B](https://doi.org/10.1007/BF00992696) and https://doi.org/10.1007/bf00992696:"
    assert papers(text) == {"doi 10.1007/bf00992696"}
    assert papers("http://a.org/x/P.pdf https://b.org/P.pdf") == {"P.pdf"}
    assert papers("https://openreview.net/forum?id=Sy2fzU9gl") == {"openreview Sy2fzU9gl"}


def cited() -> Iterator[tuple[str, set[str]]]:
    for path in [*BOOK.glob("*.ipynb"), *PAGES]:
        yield path.name, papers(markdown(path))
    for path in (ROOT / "companion").rglob("*.py"):
        yield path.name, papers(path.read_text("utf-8"))


def test_every_paper_is_on_the_page_of_papers() -> None:
    page = (BOOK / "references.md").read_text("utf-8")
    listed = papers(page)
    for name, found in cited():
        assert found <= listed, f"{name} cites {found - listed}; add it to book/references.md"
    # One sentence on why to read it, and no paper twice.
    entries = re.findall(r"^\[([^\]]+)\]\((\S+)\)\n: (.+)", page, re.M)
    assert len(entries) == page.count("](http")
    assert len(listed) == len(entries)


def test_the_bibliography_has_every_paper_and_this_book() -> None:
    page = (BOOK / "references.md").read_text("utf-8")
    made = bibtex(page)
    assert papers(made.replace("}", " ")) == papers(page)
    assert made.count("@misc{") == page.count("](http") > 75
    assert made.count("{") == made.count("}")
    kept = re.findall(r"@misc\{(\w+),\n  author = \{(.+)\},\n  title = \{\{(.+)\}\},", made)
    assert len(kept) == made.count("@misc{")
    assert ("kingma2014auto", "Kingma and Welling", "Auto-Encoding Variational Bayes") in kept
    assert [authors for key, authors, _ in kept if key == "alemi2018fixing"] == ["Alemi and others"]
    assert "eprint = {1312.6114},\n  archiveprefix = {arXiv}" in made
    assert "doi = {10.1111/1467-9868.00196}" in made
    one = "[van den Oord & Å (2020), *A %s*](https://doi.org/10.1_0)\n: Why.\n"
    assert "{van den Oord \\& Å}" in bibtex(one % "Thing")
    assert "@misc{a2020thing" in bibtex(one % "Thing")
    assert "doi = {10.1_0}" in bibtex(one % "Thing")
    with pytest.raises(ValueError, match="the key a2020thing"):
        bibtex(f"{one % 'Thing'}\n{one % 'Thing again'}")
    assert bibtex("See [Luo (2022), *Models*](https://arxiv.org/abs/1) here.") == ""


def test_the_citation_is_of_this_version_and_of_no_person() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    known = yaml.safe_load(citation)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(known)  # what the format asks for
    assert known["version"] == project["version"]
    assert " AND ".join(known["license"]) == project["license"].upper()
    assert known["authors"] == [{"name": config["author"]}]
    assert known["title"].startswith(config["title"])
    own = book_itself(citation, config["copyright"])
    assert f"author = {{{{{config['author']}}}}}" in own
    assert "url" not in own
    assert "url = {https://a.org/b}" in book_itself(
        citation + "repository-code: https://a.org/b\n", "2026"
    )


# --- links ---------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """What a link into a page may name: formulas, headings, rows of the page of claims."""
    text = markdown(path)
    names = set(re.findall(r'<a id="([^"]*)"></a>', text))
    names |= {make_id(re.sub(r"[`$*]", "", title)) for title in re.findall(r"^#+ (.*)", text, re.M)}
    if path.name == "claims.md":
        names |= {
            f"claim-{name.replace('.', '-')}" for name in re.findall(r"^- id: (.*)$", CLAIMS, re.M)
        }
    return names


def section_of(anchor: str, path: Path) -> str:
    """The number of the section that a heading stands in."""
    number = ""
    for marks, title in re.findall(r"^(##+) (.*)", markdown(path), re.M):
        if marks == "##":
            number = title.split()[0]
        if make_id(re.sub(r"[`$*]", "", title)) == anchor:
            break
    return number


@each_page
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for label, name, anchor in re.findall(
        r"\[([^\]]*)\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", markdown(page)
    ):
        target = BOOK / name if name else page
        # Chapters that are still to be written are linked by page alone.
        assert target.is_file() or not anchor, f"{label}: no page {name}"
        if not anchor:
            continue
        assert anchor in anchors(target), f"{label}: no {anchor} in {target.name}"
        if anchor.startswith("eq-"):
            assert f"({anchor[3:].replace('-', '.')})" in label.lower(), (
                f"{label} links to {anchor}"
            )
        if anchor.startswith("claim-"):
            assert label.replace(".", "-") == anchor[6:], f"{label} links to {anchor}"
        if number := re.match(r"section (\d+\.\d+)$", " ".join(label.split()), re.I):
            assert section_of(anchor, target) == number[1], f"{label} links to {anchor}"


@each_page
def test_names_of_the_package_exist(page: Path) -> None:
    for name in re.findall(
        r"\{(?:func|class|meth|attr)\}`(?:[^`<]*<)?~?([\w.]+)>?`", markdown(page)
    ):
        resolve_name(f"companion.{name.removeprefix('companion.')}")


def test_tasks_lead_to_all_that_a_reader_may_call() -> None:
    page = (BOOK / "api.md").read_text("utf-8")
    named = set(re.findall(r"\{(?:func|class|meth)\}`(?:[^`<]*<)?~?companion\.([\w.]+)>?`", page))
    last = {name.rsplit(".", 1)[1] for name in named}
    parts = (companion, companion.data, companion.diagnostics, companion.exact)
    wanted = {name for part in parts for name in part.__all__} - {"BOOK"}
    wanted -= {"Estimate", "GradientNorms", "Surgery"}  # what a diagnostic returns
    assert wanted <= last, f"no task of api.md leads to {wanted - last}"


def test_tasks_name_chapters_that_call_it() -> None:
    page = (BOOK / "api.md").read_text("utf-8")
    rows = re.findall(r"^\| .* \| (.*) \| (.*) \|$", page, re.M)
    assert len(rows) > 50
    for names, chapters in rows:
        called = [name.split(".")[-1] for name in re.findall(r"companion\.([\w.]+)", names)]
        for chapter in re.findall(r"\]\((\w+\.ipynb)\)", chapters):
            cells = json.loads((BOOK / chapter).read_text("utf-8"))["cells"]
            code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
            assert any(re.search(rf"\b{name}\b", code) for name in called), (chapter, called)


def test_checklist_names_every_claim_of_care() -> None:
    page = (BOOK / "12_checklist.md").read_text("utf-8")
    for name, kind in re.findall(r"^- id: (.*)\n  kind: (.*)$", CLAIMS, re.M):
        if kind == "C":
            assert f"[{name}](claims.md#claim-{name.replace('.', '-')})" in page


def test_notation_names_what_the_code_has() -> None:
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "companion").rglob("*.py"))
    known = set(re.findall(r"[A-Za-z_]\w*", source)) | {"hvae"}
    for row in re.findall(r"^\|(.*)\|$", (BOOK / "notation.md").read_text("utf-8"), re.M):
        columns = row.split(" | ")
        if len(columns) == 4:
            for code in re.findall(r"`([^`]*)`", columns[2]):
                for node in ast.walk(ast.parse(code)):
                    if isinstance(node, ast.Name):
                        assert node.id in known, f"{code}: the package has no {node.id}"
                    elif isinstance(node, ast.Attribute):
                        assert node.attr in known, f"{code}: the package has no {node.attr}"


def test_glossary_defines_each_term_once_and_links_it() -> None:
    text = (BOOK / "glossary.md").read_text("utf-8")
    body = text.split(":sorted:\n")[1].rsplit("```", 1)[0].strip()
    entries = [entry.split("\n  ", 1) for entry in body.split("\n\n")]
    terms = [term for term, _ in entries]
    assert len(terms) >= 60
    assert len(set(terms)) == len(terms)
    for term, definition in entries:
        if match := re.match(r"See \*([^*]+)\*\.$", definition):
            assert match[1] in terms, f"{term} refers to {match[1]}"
        else:
            assert "](" in definition, f"{term} has no link to its place in the book"


# --- the self-test -------------------------------------------------------------------------------

QUESTIONS = {
    f"{chapter}.{k}": question
    for chapter, questions in SELF_TEST.items()
    for k, question in enumerate(questions, 1)
}


def said_of(question: dict[str, Any]) -> str:
    """What a question's choices are told, in one line."""
    return " ".join(" ".join(choice["because"] for choice in question["choices"]).split())


def test_every_chapter_has_questions_in_order() -> None:
    assert list(SELF_TEST) == list(range(1, 12))
    assert all(3 <= len(questions) <= 5 for questions in SELF_TEST.values())
    page = (BOOK / "self_test.md").read_text("utf-8")
    assert re.findall(r"^```\{self-test\} (\d+)", page, re.M) == [str(n) for n in SELF_TEST]


def test_the_right_choice_is_not_known_by_its_letter() -> None:
    right = [["right" in c for c in q["choices"]].index(True) for q in QUESTIONS.values()]
    assert max(map(right.count, range(3))) <= 0.4 * len(right)


def test_the_right_choice_is_not_known_by_its_length() -> None:
    longest = shortest = 0
    for question in QUESTIONS.values():
        lengths = {"right" in c: [] for c in question["choices"]}
        for choice in question["choices"]:
            lengths["right" in choice].append(len(choice.get("right") or choice["wrong"]))
        (right,) = lengths[True]
        longest += right > max(lengths[False])
        shortest += right < min(lengths[False])
    assert max(longest, shortest) <= 0.4 * len(QUESTIONS)


def test_every_question_says_where_to_read_again() -> None:
    for number, question in QUESTIONS.items():
        assert re.fullmatch(r"(the )?\[.+\]\(\w\d_\w+\.ipynb#[\w-]+\).*", question["see"]), number


def table(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def total_correlation() -> list[str]:
    p, r = table([0.5, 0, 0, 0.5]), table([0.25] * 4)
    loss = (torch.xlogy(p, p) - torch.xlogy(p, r)).sum().item()
    return [f"{loss:.3f}"]


def markov() -> list[str]:
    return [f"{math.exp(-2):.3f}"]


def weighted() -> list[str]:
    return [f"${-90 - 0.5 * 20:.0f}$", "$-95$"]


def more_samples() -> list[str]:
    rows = [[0.1, 0.6, 0.2, 0.1], [0.5, 0.1, 0.1, 0.3], [0.9, 0.05, 0.03, 0.02]]
    tables = DiscreteModel(table([0.5, 0.3, 0.2]), table(rows))
    q = table([[0.6, 0.3, 0.1]]).expand(4, 3)
    gap = [(tables.log_marginal() - tables.iwae_bound(q, k))[0].item() for k in (5, 10)]
    return [f"{gap[0]:.4f}", f"{gap[1]:.4f}"]


def dice() -> DiscreteModel:
    return DiscreteModel(table([0.5, 0.5]), table([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]]))


def blind_encoder() -> list[str]:
    model = dice()
    p_x, posterior = model.log_marginal().exp(), model.posterior()
    error = (p_x * model.gap(model.prior.expand(4, 2))).sum()
    information = (p_x[:, None] * posterior * (posterior / model.prior).log()).sum()
    return [f"{error:.4f}", f"{information:.4f}"]


def change_of_units() -> list[str]:
    return [f"{64 * math.log(255):.1f}", f"${70 - 64 * math.log(255):.1f}$"]


def m_step() -> list[str]:
    def errors(first: float) -> tuple[Tensor, Tensor, Tensor]:
        model = DiscreteModel(table([first, 1 - first]), dice().likelihood)
        modelling = (p_data * (p_data.log() - model.log_marginal())).sum()
        return modelling, (p_data * model.gap(q)).sum(), (p_data * model.elbo(q)).sum()

    p_data = table([0.4, 0.25, 0.2, 0.15])  # chapter 4's
    q = DiscreteModel(table([0.1, 0.9]), dice().likelihood).posterior()
    before, no_gap, elbo_before = errors(0.1)
    after, gap, elbo_after = errors((p_data @ q)[0].item())
    assert abs(no_gap) < 1e-12
    return [f"{elbo_after - elbo_before:.3f}", f"{before - after:.4f}", f"{gap:.4f}"]


def three_units() -> list[str]:
    spread = 2 * table([1.0, 0.1, 0.5]).log()
    return [f"{kl:.2f}" for kl in gaussian_kl(table([2.0, 0.0, 1.0]), spread).tolist()]


def with_the_constant() -> list[str]:
    constant = [-32 * math.log(2 * math.pi * scale**2) for scale in (0.1, 0.2)]
    return [f"{constant[0]:.2f}", f"{constant[0] - 40:.2f}", f"{constant[1] - 20:.2f}"]


def added_constant() -> list[str]:
    # Exact, by quadrature: variances of the estimates at mu = 0.
    z = torch.linspace(-12, 12, 48001, dtype=torch.float64)
    density = Normal(0.0, 1.0).log_prob(z).exp() * (z[1] - z[0])
    spreads = []
    for constant in (0.0, 100.0):
        estimate = (z + constant) * z
        mean = (density * estimate).sum()
        spreads.append((density * (estimate - mean) ** 2).sum().item())
    # And the estimators do what the answer says they do.
    for estimator, variance in [(pathwise, 0.0), (score_function, spreads[1])]:
        torch.manual_seed(0)
        mean = torch.zeros(100_000, dtype=torch.float64, requires_grad=True)
        value = estimator(Normal(mean, 1.0), lambda z: z + 100, 1)
        (gradient,) = torch.autograd.grad(value.sum(), mean)
        assert abs(gradient.var().item() - variance) <= 0.02 * variance
        assert abs(gradient.mean().item() - 1) <= 4 * math.sqrt(variance / 100_000)
    return [f"from {spreads[0]:.0f} to {spreads[1]:,.0f}"]


def grey_picture() -> list[str]:
    grey = torch.full((64,), 0.5)
    return [f"{torch.nn.functional.binary_cross_entropy(grey, grey, reduction='sum'):.1f}"]


def two_pictures() -> list[str]:
    shown = []
    for scale, digits_shown in [(1.0, 3), (0.5, 4)]:
        q = Independent(Normal(table([[-1.0], [1.0]]), scale * torch.ones(2, 1).double()), 1)
        first = optimal_decoder(q, table([[1.0], [0.0]]), table([[1.0]])).item()
        shown.append(f"{first:.{digits_shown}f}")
    return shown


def linear_rates() -> list[str]:
    x = torch.diag(table([12.0, 3.0, 0.75]).sqrt())
    x = torch.cat([x, -x])  # variances 4, 1 and 1/4
    shown = []
    for beta in (1.0, 2.0, 8.0):
        _, encoder = optimal_linear_vae(x, 3, scale=math.sqrt(0.5), beta=beta)
        q = encoder(x)
        rates = gaussian_kl(q.mean, q.variance.log()).mean(0).tolist()
        assert sum(rate > 1e-9 for rate in rates) == {1.0: 2, 2.0: 1, 8.0: 0}[beta]
        shown += [f"{rate:.2f}" for rate in rates if rate > 1e-9]
    return shown


def shifted_code() -> list[str]:
    rate = gaussian_kl(table([[1.0]]), table([[0.0]])).item()
    assert rate == 0.5
    return [r"$\frac12$"]


def minibatch() -> list[str]:
    return [f"{math.log(32):.2f}"]


def floor(distance: float, heavy: float = 0.5) -> float:
    """Least KL from a Gaussian to two Gaussians of unit width at ± distance."""
    z, _ = latent_grid(1, 2001, 20.0)
    peaks = Normal(table([distance, -distance]), 1.0).log_prob(z)
    weighted = peaks + table([heavy, 1 - heavy]).log()
    return gaussian_floor(z, weighted.logsumexp(1, keepdim=True))[0].item()


def unequal_peaks() -> list[str]:
    assert abs(floor(6.0, heavy=0.9) + math.log(0.9)) < 1e-3
    assert abs(floor(6.0) - math.log(2)) < 1e-3
    return [f"{floor(6.0, heavy=0.9):.3f}", f"{math.log(2):.3f}", f"{-math.log(0.1):.2f}"]


def near_peaks() -> list[str]:
    return [f"{floor(1.0):.3f}", f"{floor(2.0):.2f}"]


ONE, ZERO = table([[1.0]]), table([0.0])


def negative_rate() -> list[str]:
    chain = LinearGaussianChain(
        [LinearGaussianConditional(ONE, ZERO, v * ONE) for v in (1.0, 0.01)]
    )
    rates = chain.rates(chain.joint().marginal(0), chain.posterior())
    joint = chain.joint()
    assert joint.mutual_information([1], [2]) > joint.mutual_information([0], [1])
    return [f"{rates.sum():.2f}"]


def redrawn() -> list[str]:
    chain, x = LinearGaussianChain([LinearGaussianConditional(ONE, ZERO, ONE)] * 2), table([[0.0]])
    exact = chain.posterior()
    reconstruction = chain.reconstruction(x, exact)
    bound = (reconstruction - chain.rates(x, exact).sum(0)).item()
    other = (reconstruction - chain.closed_form_rates(x, exact).sum(0)).item()
    assert abs(bound - chain.log_marginal(x).item()) < 1e-12
    return [f"{bound:.3f}", f"{other:.3f}"]


def small_hierarchy() -> HVAE:
    encoders = [GaussianConditional(network(*sizes)) for sizes in [(6, 7, 8), (4, 7, 6), (3, 7, 4)]]
    decoders = [
        GaussianConditional(network(4, 7, 6), 0.5),
        GaussianConditional(network(3, 7, 8)),
        GaussianConditional(network(2, 7, 6)),
    ]
    return HVAE(encoders, decoders, StandardNormal(2))


def another_decoder() -> list[str]:
    torch.manual_seed(0)
    model, x = small_hierarchy(), torch.randn(50, 6)
    other = HVAE(
        list(model.encoders),
        [GaussianConditional(network(4, 9, 6), 0.5), *model.decoders[1:]],
        StandardNormal(2),
    )
    changed = {}
    for name, kept in [
        *((f"q{i}", e) for i, e in enumerate(model.encoders, 1)),
        *((f"p{i}", d) for i, d in enumerate(list(model.decoders)[1:], 1)),
    ]:
        gradients = []
        for version in (model, other):
            torch.manual_seed(1)
            mean = elbo(version, x).mean()
            gradients.append(torch.autograd.grad(mean, list(kept.parameters())))
        pairs = zip(*gradients, strict=True)
        changed[name] = max((one - two).abs().max().item() for one, two in pairs)
    assert changed.pop("q1") > 1e-2
    assert len(changed) == 4
    assert max(changed.values()) < 1e-6
    return ["those of $q(z_1\\mid x)$ occur in it"]


def no_charge() -> list[str]:
    torch.manual_seed(0)
    model, x = small_hierarchy(), torch.randn(50, 6)
    for norms in gradient_norms(model, x, lambda m, y: beta_elbo(m, y, 0.0)):
        assert norms[0] > 0
        assert norms[1:].abs().max() == 0
    for norms in gradient_norms(model, x, lambda m, y: beta_elbo(m, y, 0.5)):
        assert norms.min() > 0
    return ["exactly 0"]


def half_signal() -> list[str]:
    schedule = Schedule(table([1.0, 0.0]))  # level 2 has log SNR 0
    assert schedule.alpha_bar[1] == 0.5
    z = GaussianDenoiser(ZERO, ONE).marginal(schedule, 2)
    noise = forward_marginal(schedule, ONE, 2)
    return [f"{(z.entropy() - noise.entropy()).item():.2f}"]


def copies() -> list[str]:
    torch.manual_seed(0)
    data = table([[0.0, 3.0], [2.0, -1.0], [-3.0, -2.0]])
    schedule, prior = log_snr_schedule(200, 9.0, -9.0), StandardNormal(2).double()
    model = Diffusion(schedule, DataDenoiser(data), prior, scale=0.01)
    distance = torch.cdist(model.sample(300), data).min(1).values
    assert distance.max() < 0.2
    return ["copies"]


def one_level() -> list[str]:
    schedule, x = log_snr_schedule(2, 6.0, -1.0), table([[0.7], [-1.9]])
    for variance, exact in [(1.0, True), (4.0, False)]:
        denoiser = GaussianDenoiser(ZERO, variance * ONE)
        steps = denoiser.decoders(schedule, reverse_variance=schedule.beta[1:])
        models = [HVAE(forward_steps(schedule), steps, StandardNormal(1).double())]
        # And with a single level, which a schedule does not have.
        share = schedule.alpha_bar[0]
        back = share.sqrt() * variance / (share * variance + 1 - share)
        models += [
            VAE(
                LinearGaussianConditional(share.sqrt() * ONE, ZERO, (1 - share) * ONE),
                LinearGaussianConditional(
                    back * ONE, ZERO, (variance - back * share.sqrt() * variance) * ONE
                ),
                StandardNormal(1).double(),
            )
        ]
        for model in models:
            gap = MultivariateNormal(ZERO, variance * ONE).log_prob(x) - elbo(model, x)
            assert (gap.abs().max() < 1e-12) == exact
    return ["zero at any $T$, one included"]


class Zero(torch.nn.Module):
    """A denoiser that always answers 0."""

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(z)


def two_extremes() -> list[str]:
    torch.manual_seed(0)
    schedule, x = log_snr_schedule(6, 4.0, -4.0), torch.tensor([[1.0, -2.0]])
    blind = Diffusion(schedule, Zero(), StandardNormal(2), scale=0.3)
    denoiser = GaussianDenoiser(table([0.0, 0.0]), torch.diag(table([4.0, 0.25])))
    exact = exact_gaussian_diffusion(schedule, denoiser)
    for model, data, closed_is_quiet in [(blind, x, True), (exact, x.double(), False)]:
        trace = model.trace(data, 500)
        closed = three_terms(model, data, trace.z, schedule).bound.std()
        ratios = trace.log_weight.std()
        quiet, noisy = (closed, ratios) if closed_is_quiet else (ratios, closed)
        assert quiet < 1e-4
        assert noisy > 1
    return ["with a denoiser that always answers"]


NUMBERS: dict[str, Callable[[], list[str]]] = {
    "2.1": total_correlation,
    "3.1": markov,
    "3.2": weighted,
    "3.3": more_samples,
    "4.1": blind_encoder,
    "4.2": change_of_units,
    "4.3": m_step,
    "5.1": three_units,
    "5.2": with_the_constant,
    "5.4": added_constant,
    "5.5": grey_picture,
    "6.1": two_pictures,
    "7.1": linear_rates,
    "7.2": shifted_code,
    "7.3": minibatch,
    "8.1": unequal_peaks,
    "8.2": near_peaks,
    "9.1": negative_rate,
    "9.2": redrawn,
    "9.5": another_decoder,
    "10.1": no_charge,
    "11.1": half_signal,
    "11.2": copies,
    "11.3": one_level,
    "11.4": two_extremes,
}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_an_answer(number: str) -> None:
    question = QUESTIONS[number]
    choices = [choice.get("right") or choice["wrong"] for choice in question["choices"]]
    text = " ".join(" ".join([question["ask"], *choices, said_of(question)]).split())
    for value in NUMBERS[number]():
        assert value in text, f"the package gives {value}"


def test_answers_with_decimals_are_computed() -> None:
    said = {n: re.sub(r"\]\([^)]*\)|\[\([\d.]+\)", "", said_of(q)) for n, q in QUESTIONS.items()}
    without = {n for n, text in said.items() if re.search(r"\d\.\d\d", text)} - set(NUMBERS)
    # These two have given numbers, and at most a difference of them.
    assert without == {"2.4", "7.4"}


# --- what the checklist says of its own ----------------------------------------------------------


def test_denoiser_is_the_best_decoder_and_a_score() -> None:
    torch.manual_seed(0)
    data, z = torch.randn(7, 3).double(), torch.randn(5, 3).double()
    schedule = log_snr_schedule(3, 2.0, -2.0)
    for t in (1, 2, 3):
        guess = DataDenoiser(data)(z, schedule.log_snr[t - 1].expand(5))
        encoder = forward_marginal(schedule, data, t)
        assert (guess - optimal_decoder(encoder, data, z)).abs().max() < 1e-12
        at = z.clone().requires_grad_()
        log_density = encoder.log_prob(at[:, None]).logsumexp(1) - math.log(7)
        (score,) = torch.autograd.grad(log_density.sum(), at)
        share = schedule.alpha_bar[t - 1]
        assert (score - (share.sqrt() * guess - z) / (1 - share)).abs().max() < 1e-12


def test_rates_of_the_digits_are_those_on_the_checklist() -> None:
    x = digits()[0].double()
    rates = []
    for beta in (0.1, 1.0, 10.0):
        _, encoder = optimal_linear_vae(x, 16, scale=0.15, beta=beta)
        q = encoder(x)
        rates.append(gaussian_kl(q.mean, q.variance.log()).sum(1).mean().item())
    text = " ".join((BOOK / "12_checklist.md").read_text("utf-8").split())
    shown = [f"{rate:.1f}" for rate in rates]
    assert f"{shown[0]} nats at β = 0.1, {shown[1]} at β = 1 and {shown[2]} at β = 10" in text
