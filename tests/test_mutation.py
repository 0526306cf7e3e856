"""The list of mistakes for ``make mutants`` fits the package and the table in the README."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "mutation"))

from mutants import MUTANTS, Mutant  # noqa: E402
from run_mutants import BEGIN, END, mutated  # noqa: E402


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_text_stands_in_the_package_and_the_mistake_is_code(mutant: Mutant) -> None:
    right = (ROOT / "companion" / f"{mutant.file}.py").read_text("utf-8")
    wrong = mutated(mutant)
    assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right))
    for file in mutant.tests.split():
        assert (ROOT / "tests" / f"test_{file}.py").is_file()


def test_a_text_that_is_gone_is_loud() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        mutated(Mutant("gone", "models", "no such text", "x", "models"))
    with pytest.raises(ValueError, match="up to date"):
        mutated(Mutant("twice", "models", "def trace", "x", "models"))


def test_the_table_names_a_test_for_every_mistake() -> None:
    text = (ROOT / "tests" / "README.md").read_text("utf-8")
    rows = text.split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip(" `") for cell in row.strip("|").split(" | ")] for row in rows]
    assert [name for name, _, _ in cells] == [m.name for m in MUTANTS], "run `make mutants`"
    for _, _, test in cells:
        file, _, function = test.partition("::")
        source = (ROOT / "tests" / file).read_text("utf-8")
        assert f"def {function.partition('[')[0]}(" in source, f"{test} is gone: run `make mutants`"
