"""What every test stands on: shapes checked as the package runs, one thread, fixed seeds.

And for the tests of the built book: the site, a server for it, and a browser without a network.
"""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from jaxtyping import install_import_hook
from torch.distributions import Distribution

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before the package is imported for the first time, by a test or by pytest's doctests.
install_import_hook("companion", "typecheck.check")

from pairs import SEEDS, fitted_pair, generate  # noqa: E402

from companion import data  # noqa: E402

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
# What the browser must reach in the end, it may reach late on a busy machine.
PATIENCE = 120_000  # milliseconds


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    # torch.compile switches the checks of distributions off, for the whole process.
    Distribution.set_default_validate_args(True)


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site, built anew where something has changed.

    `make site` has just built it, and says so: its tests run in several processes.
    """
    if os.environ.get("BOOK_IS_BUILT") == "1":
        return ROOT / "_build" / "html"
    made = subprocess.run(["make", "book"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return ROOT / "_build" / "html"


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    # A connection stays open for the next file, and sends each at once.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    # Several pages ask for dozens of files at once; of a longer queue than this, the machine drops
    # some, which come late.
    request_queue_size = 128


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served on this machine, such as ``http://127.0.0.1:40001``."""
    handler = functools.partial(_QuietHandler, directory=str(site))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium, the machine's own or Playwright's, for which there is no host but this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without the sandbox, because it refuses to start for root, as in a container.
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            timeout=PATIENCE,
        )
        yield chromium
        chromium.close()


# Pairs of models on digits, for the claims of chapter 1 and of appendix A1.


@pytest.fixture(scope="module")
def digits():
    (train,), (held_out,) = data.split(data.digits()[0], held_out=0.3)
    return train, held_out


@pytest.fixture(scope="module")
def digit_pairs(digits):
    return [fitted_pair(digits[0], 8, seed, epochs=40, lr=4e-3) for seed in SEEDS]


@pytest.fixture(scope="module")
def digit_samples(digits, digit_pairs):
    torch.manual_seed(1)
    return [generate(*pair, digits[0]) for pair in digit_pairs]
