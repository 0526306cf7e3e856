"""Make each mistake of this folder in the package and see a test fail: ``make mutants``.

Each mistake is made in a fork of this process that has the package loaded; the tests that it names
run there until one fails. A mistake that no test notices, one whose subject is gone, and one that
merely crashes, fail the run. The table of what was caught by what goes into ``tests/README.md``.

    python tests/mutation/run_mutants.py            # all, and the table
    python tests/mutation/run_mutants.py chain β    # those with such a word in name or place
"""

import contextlib
import gc
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

TESTS = Path(__file__).resolve().parents[1]
README = TESTS / "README.md"
BEGIN, END = "<!-- begin: make mutants -->", "<!-- end: make mutants -->"
# What the tests import, loaded once for all forks.
HEAVY = ("mpmath", "pyro", "scipy.integrate", "sklearn.decomposition", "torch._dynamo")
SECONDS = 60
"""How much CPU time the tests of one mistake may take."""

if __name__ == "__main__":
    # As under pytest: this folder is a package in that of the tests, shapes are checked.
    sys.path[0] = str(TESTS)
    install_import_hook("companion", "typecheck.check")
    torch.set_num_threads(1)

from mutation import MUTANTS, Mutant, find, patched  # noqa: E402


class FirstFailure:
    """A pytest plugin that keeps the name of the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""
        self.broken = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken = self.broken or report.longreprtext

    def pytest_exception_interact(self, call: pytest.CallInfo[None]) -> None:
        # Code of this folder that crashes is no mistake of the kind that a test must find.
        for error in causes(call.excinfo.value if call.excinfo else None):
            place = list(_frames(error))
            if place and Path(place[-1]).parent == TESTS / "mutation":
                self.broken = self.broken or f"the mistake itself crashes: {error!r}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid.partition("tests/")[2]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _frames(error: BaseException) -> Iterator[str]:
    frame = error.__traceback__
    while frame is not None:
        yield frame.tb_frame.f_code.co_filename
        frame = frame.tb_next


def run_tests(tests: list[str], mistake: Mutant | None) -> FirstFailure:
    """Run tests with a mistake in the package until one fails, in a process of its own."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(read)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            with patched(mistake) if mistake else contextlib.nullcontext():
                found = in_this_process(tests)
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


def in_this_process(tests: list[str]) -> FirstFailure:
    """Run tests until one fails."""
    os.chdir(TESTS.parent)
    found = FirstFailure()
    said = io.StringIO()
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not site and not browser"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[found])
    if code not in (0, 1):
        found.broken = found.broken or said.getvalue()
    return found


def main(words: list[str]) -> int:
    """Run all mutants, or those that a word names."""
    # The tests need no plugin, and some take seconds to load.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in HEAVY:
        import_module(name)
    # A fork whose collector walks through all of this would copy it.
    gc.freeze()
    chosen = [m for m in MUTANTS if not words or any(w in f"{m.target} {m.name}" for w in words)]
    for mutant in chosen:
        find(mutant.target)
    caught: dict[str, str] = {}
    problems = []
    for mutant in chosen:
        start = cpu_seconds()
        result = run_tests([f"test_{file}.py" for file in mutant.tests.split()], mutant)
        said = "BROKEN" if result.broken else result.failed or "SURVIVED"
        taken = cpu_seconds() - start
        print(f"{taken:5.1f} s  {mutant.target}: {mutant.name} -> {said}", flush=True)
        if result.broken or not result.failed:
            problems.append(f"{mutant.target}: {mutant.name}: {result.broken or 'no test fails'}")
        else:
            caught[mutant.name] = result.failed
    # What caught a mistake must pass without it.
    if caught:
        result = run_tests(sorted(set(caught.values())), None)
        if result.failed or result.broken:
            problems.append(f"without any mistake fails {result.failed}{result.broken}")
    print("\n".join(problems) or f"All {len(chosen)} mistakes are caught.")
    print(f"{cpu_seconds():.0f} s of CPU time")
    if not problems and not words:
        write_table(caught)
    return bool(problems)


def cpu_seconds() -> float:
    """Return the CPU time of this process and its forks so far."""
    return sum(os.times()[:4])


def write_table(caught: dict[str, str]) -> None:
    """Write the table into the README, between its marks."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    rows = [f"| {m.name} | `{m.target}` | `{caught[m.name]}` |" for m in MUTANTS]
    table = "\n".join(["| mistake | in | caught by |", "|---|---|---|", *rows])
    README.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    start = time.perf_counter()
    code = main(sys.argv[1:])
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(code)
