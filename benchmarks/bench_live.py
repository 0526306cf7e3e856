"""The figures that compute in the page, in Chromium: frames of a drag, and steps of the playground.

Each live figure of the built book is dragged by its first handle or slider, at the width of a
laptop and of a phone: how many distinct frames were drawn, and how long one took, from the
first number to the last stroke. Then the playground trains its default model for some seconds:
steps a second, and the longest that the page stood still; beside it, in turn, the same model and
batches in PyTorch.

    make book; .venv/bin/python benchmarks/bench_live.py [seconds]
"""

import functools
import http.server
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Locator, Page, sync_playwright

from companion import VAE, GaussianConditional, StandardNormal, data, elbo, mlp

SITE = Path(__file__).resolve().parents[1] / "_build" / "html"
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
WIDTHS = {"laptop": 1280, "phone": 390}
MOVES = 60

WATCH = """() => {
  window.frames_ = [];
  document.addEventListener("live-frame", ({ target, detail }) => window.frames_.push(
    [detail.ms, target.querySelector(".live-says").textContent
      + [...target.querySelectorAll(".live-drawn")].map(e => e.innerHTML).join()]));
}"""
STILL = """() => {
  window.longest = 0;
  let before = performance.now();
  const look = (now) => {
    window.longest = Math.max(window.longest, now - before);
    before = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
STEP = """() => {
  const [, step] = document.querySelector(".live-says").textContent.match(/step ([0-9,]+)/);
  return Number(step.replaceAll(",", ""));
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    """Serve the built book; give its address."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def dragged(tab: Page, figure: Locator) -> tuple[int, float]:
    """Drag a figure from side to side; return its distinct frames and the median of their ms."""
    rings = figure.locator(".live-handle:not([hidden]) .live-grip")
    sliders = figure.locator(".live-controls input[type=range]")
    handle = (rings if rings.count() else sliders).first
    handle.scroll_into_view_if_needed()
    tab.evaluate("window.frames_.length = 0")
    box = handle.bounding_box()
    assert box
    slider = handle.evaluate("e => e.tagName") == "INPUT"
    middle = box["y"] + box["height"] / 2
    left = box["x"] + (8 if slider else box["width"] / 2)
    panel = figure.locator(".live-panel").first.bounding_box()
    assert panel
    inwards = 60 if left < panel["x"] + panel["width"] / 2 else -60  # a ring stops at the edge
    reach = box["width"] - 16 if slider else inwards
    tab.mouse.move(left, middle)
    tab.mouse.down()
    for move in range(1, MOVES + 1):
        tab.mouse.move(left + reach * move / MOVES, middle + (0 if slider else move / 4))
        tab.evaluate("() => new Promise(requestAnimationFrame)")
    tab.mouse.up()
    frames = tab.evaluate("window.frames_")
    times = [ms for ms, _ in frames]
    return len({said for _, said in frames}), statistics.median(times) if times else float("nan")


def torch_steps(seconds: float) -> float:
    """Return the steps a second of the playground's default model in PyTorch, one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = data.moons(2000)
    encoder = GaussianConditional(mlp(2, 32, 32, 4))
    decoder = GaussianConditional(mlp(2, 32, 32, 2), scale=0.3)
    vae = VAE(encoder, decoder, StandardNormal(2))
    optimiser = torch.optim.Adam(vae.parameters(), lr=3e-3)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        batch = x[torch.randint(len(x), (64,))]
        optimiser.zero_grad()
        (-elbo(vae, batch).mean()).backward()
        optimiser.step()
        steps += 1
    return steps / (time.perf_counter() - begin)


def main() -> None:
    """Measure, and print a table."""
    pages = sorted(SITE.glob("book/*.html"))
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        print(f"{'figure':32}{'screen':9}{'frames of a drag':>18}{'median ms':>12}")
        for screen, width in WIDTHS.items():
            for page in pages:
                if 'data-live="' not in page.read_text("utf-8"):
                    continue
                tab = browser.new_page(viewport={"width": width, "height": 900})
                tab.goto(f"{address}/book/{page.name}")
                tab.evaluate(WATCH)
                for figure in tab.locator("figure.live:not([data-live=playground])").all():
                    name = f"{page.stem[:2]} {figure.get_attribute('data-live')}"
                    frames, ms = dragged(tab, figure)
                    print(f"{name:32}{screen:9}{frames:18}{ms:12.1f}", flush=True)
                tab.close()
        print("\nThe playground's default model, 64 points a step")
        for screen, width in WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.goto(f"{address}/book/playground.html")
            tab.get_by_label("speed", exact=True).select_option("fast")
            tab.locator("[data-play]").click()
            tab.wait_for_timeout(1000)
            tab.evaluate(STILL)
            before: Any = tab.evaluate(STEP)
            begin = time.perf_counter()
            tab.wait_for_timeout(1000 * SECONDS)
            speed = (tab.evaluate(STEP) - before) / (time.perf_counter() - begin)
            still = tab.evaluate("window.longest")
            tab.close()
            peer = torch_steps(SECONDS / 2)
            print(
                f"{screen:9}{speed:8.0f} steps a second in the page, {peer:.0f} in PyTorch;"
                f" longest frame {still:.0f} ms"
            )
        browser.close()


if __name__ == "__main__":
    main()
