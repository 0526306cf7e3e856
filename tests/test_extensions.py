"""The extensions of the build that read the package: signatures, and when chapters run again."""

import sys
from pathlib import Path
from typing import Any

import pytest

from companion import VAE, Ensemble, Trace, elbo, explore
from companion.diffusion import ThreeTerms
from companion.models import LatentVariableModel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from execution_cache import package_hash  # noqa: E402
from signatures import literal_blocks, source_signature  # noqa: E402

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
