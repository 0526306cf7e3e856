"""Make each mistake of `mutants.py` in a copy of the package and see a test fail: ``make mutants``.

Each mistake is made in a temporary copy of ``companion/``; the tests that it names run against that
copy until one fails. A mistake that no test notices, and one whose text no longer stands in the
package, fail the run. The table of what was caught by what is written into ``tests/README.md``.

    python tests/mutation/run_mutants.py            # all, and the table
    python tests/mutation/run_mutants.py chain β    # those with such a word in name or file
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import pytest
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "tests" / "README.md"
# Loaded once; every run is a fork of this process. The package itself must not be among them.
HEAVY = ("beartype", "pyro", "scipy.integrate", "sklearn.decomposition", "torch")
BEGIN, END = "<!-- begin: make mutants -->", "<!-- end: make mutants -->"


class FirstFailure:
    """A pytest plugin that keeps the name of the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""
        self.broken = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = self.broken or report.longreprtext

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def mutated(mutant: Mutant) -> str:
    """The source of the mutant's file with the mistake in it.

    Raises:
        ValueError: The text to replace does not stand there exactly once.
    """
    path = ROOT / "companion" / f"{mutant.file}.py"
    source = path.read_text("utf-8")
    if (times := source.count(mutant.old)) != 1:
        raise ValueError(
            f"{mutant.name}: its text stands {times} times in companion/{mutant.file}.py; bring "
            f"tests/mutation/mutants.py up to date:\n{mutant.old}"
        )
    return source.replace(mutant.old, mutant.new)


def copy_project(folder: Path) -> None:
    """Copy what the tests run on: the package, the tests and pytest's settings."""
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("companion", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", folder)


def run_tests(folder: Path, tests: list[str]) -> FirstFailure:
    """Run tests of a copy until one fails, in a process of its own."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(read)
            found = in_this_process(folder, tests)
            with os.fdopen(write, "w") as pipe:
                json.dump([found.failed, found.broken], pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    found = FirstFailure()
    found.failed, found.broken = json.loads(said) if said else ("", "the process died")
    return found


def in_this_process(folder: Path, tests: list[str]) -> FirstFailure:
    """Run tests of a copy until one fails."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    found = FirstFailure()
    said = io.StringIO()
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not site"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, *tests], plugins=[found])
    package = Path(getattr(sys.modules.get("companion"), "__file__", "none")).parent
    if code not in (0, 1):
        found.broken = found.broken or said.getvalue()
    elif package != folder / "companion":
        found.broken = f"the tests ran on {package}"
    return found


def main(words: list[str]) -> int:
    """Run all mutants, or those that a word names."""
    # The tests need no plugin, and some take seconds to load.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in HEAVY:
        import_module(name)
    chosen = [m for m in MUTANTS if not words or any(w in f"{m.file} {m.name}" for w in words)]
    sources = {mutant.name: mutated(mutant) for mutant in chosen}
    caught: dict[str, str] = {}
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_project(folder)
        for mutant in chosen:
            start = time.process_time() + sum(os.times()[2:4])
            path = folder / "companion" / f"{mutant.file}.py"
            right = path.read_text("utf-8")
            path.write_text(sources[mutant.name], "utf-8")
            result = run_tests(folder, [f"tests/test_{file}.py" for file in mutant.tests.split()])
            path.write_text(right, "utf-8")
            seconds = time.process_time() + sum(os.times()[2:4]) - start
            said = result.failed or ("BROKEN" if result.broken else "SURVIVED")
            print(f"{seconds:5.1f} s  {mutant.file}: {mutant.name} -> {said}", flush=True)
            if result.failed:
                caught[mutant.name] = result.failed
            else:
                problems.append(f"{mutant.file}: {mutant.name}: {result.broken or 'no test fails'}")
        # What caught a mistake must pass without it.
        if caught:
            result = run_tests(folder, sorted(set(caught.values())))
            if result.failed or result.broken:
                problems.append(f"without any mistake fails {result.failed}{result.broken}")
    print("\n".join(problems) or f"All {len(chosen)} mistakes are caught.")
    if not problems and not words:
        write_table(caught)
    return bool(problems)


def write_table(caught: dict[str, str]) -> None:
    """Write the table into the README, between its marks."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    rows = [
        f"| {m.name} | `{m.file}` | `{caught[m.name].partition('tests/')[2]}` |" for m in MUTANTS
    ]
    table = "\n".join(["| mistake | in | caught by |", "|---|---|---|", *rows])
    README.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
