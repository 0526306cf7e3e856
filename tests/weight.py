"""What a page weighs on its way, and when it is there: `python tests/weight.py [PAGE ...]`.

The site is served as a host would serve it, text compressed, over a line as slow as Lighthouse's
(1.6 Mbit/s, 150 ms). Bytes are the same on each machine, and `test_light.py` holds them down;
times are not, so that they are only printed. The time in which the page does not answer counts the
processor's work, not how long it had to wait for other programs.
"""

import gzip
import http.server
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
TEXT = {".html", ".css", ".js", ".svg", ".json", ".txt"}
SLOW = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 750e3 / 8,
}
SCREENS = {"laptop": (1280, 900), "phone": (390, 844)}

WATCH = """
window.seen = {shift: 0, paint: NaN, largest: NaN};
const watch = (type, note) =>
  new PerformanceObserver(list => list.getEntries().forEach(note)).observe({type, buffered: true});
watch("layout-shift", e => { if (!e.hadRecentInput) seen.shift += e.value; });
watch("paint", e => { if (e.name == "first-contentful-paint") seen.paint = e.startTime; });
watch("largest-contentful-paint", e => seen.largest = e.startTime);
"""
# All pictures come when the reader has been everywhere.
SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let y = 0; y < document.body.scrollHeight; y += innerHeight) {
    scrollTo(0, y);
    await frame();
  }
  await Promise.all([...document.images].map(e => { e.loading = "eager"; return e.decode(); })
    .map(p => p.catch(() => 0)));
}"""


@cache
def packed(path: Path, changed: float) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)


class Host(http.server.SimpleHTTPRequestHandler):
    """Serves text compressed, and says nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in TEXT or not path.is_file():
            return super().do_GET()
        body = packed(path, path.stat().st_mtime)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def blocked(trace: bytes, address: str) -> float:
    """For how long a page's thread was kept busy beyond 50 ms at a time, after the first paint."""
    events = json.loads(trace)["traceEvents"]
    (process,) = {e["pid"] for e in events if e["name"] == "ParseHTML" and address in str(e)}
    (thread,) = {
        e["tid"]
        for e in events
        if e["pid"] == process and e["args"].get("name") == "CrRendererMain"
    }
    paint = min(e["ts"] for e in events if e["name"] == "firstContentfulPaint")
    tasks = [
        e["tdur"] / 1e3
        for e in events
        if (e["pid"], e["tid"], e["name"]) == (process, thread, "ThreadControllerImpl::RunTask")
        and e["ts"] > paint
        and "tdur" in e  # not of a task that the trace's end cut off
    ]
    return sum(max(0.0, task - 50) for task in tasks)


@dataclass
class Visit:
    """What one visit to a page cost: bytes by file (0 if it never came), the console, and ms."""

    files: dict[str, int]
    said: list[str]
    busy: float
    paint: float
    largest: float
    shift: float

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def visit(
    browser: "Browser", address: str, page: str, screen: str = "laptop", slow: bool = False
) -> Visit:
    """Go to a page as a newcomer, and to its end."""
    width, height = SCREENS[screen]
    context = browser.new_context(viewport={"width": width, "height": height})
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.add_init_script(WATCH)
    line = context.new_cdp_session(tab)
    line.send("Network.enable")
    if slow:
        line.send("Network.emulateNetworkConditions", SLOW)
    names: dict[str, str] = {}
    files: dict[str, int] = {}

    def asked(event: dict[str, Any]) -> None:
        if (name := event["request"]["url"]).startswith("http"):
            names[event["requestId"]] = name.removeprefix(address)
            files.setdefault(names[event["requestId"]], 0)

    def came(event: dict[str, Any]) -> None:
        if event["requestId"] in names:
            files[names[event["requestId"]]] = int(event["encodedDataLength"])

    line.on("Network.requestWillBeSent", asked)
    line.on("Network.loadingFinished", came)
    if slow:
        browser.start_tracing(page=tab, categories=["toplevel", "devtools.timeline"])
    tab.goto(f"{address}/{page}", wait_until="load", timeout=120_000)
    busy = 0.0
    if slow:
        tab.wait_for_timeout(1_000)
        busy = blocked(browser.stop_tracing(), address)
    seen = tab.evaluate("() => seen")
    tab.evaluate(SCROLL)
    context.close()
    return Visit(files, said, busy, **seen)


def main(pages: list[str]) -> None:
    """Print a table."""
    from playwright.sync_api import sync_playwright

    site = ROOT / "_build" / "html"
    pages = pages or sorted(str(p.relative_to(site)) for p in site.glob("book/*.html"))
    print(
        f"{'page':34} {'kB':>6} {'html':>6} {'requests':>8} |"
        " first paint, largest (s), shift, busy (ms)"
    )
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for page in pages:
            for screen in SCREENS:
                seen = visit(browser, address, page, screen, slow=True)
                html = seen.files[f"/{page}"]
                print(
                    f"{page:25} {screen:8} {seen.bytes / 1e3:6.0f} {html / 1e3:6.0f}"
                    f" {len(seen.files):8} | {seen.paint / 1e3:4.1f} {seen.largest / 1e3:4.1f}"
                    f" {seen.shift:6.3f} {seen.busy:5.0f} {' '.join(seen.said)}"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
