"""Chapters in JupyterLab, the way a reader works with them: run, move, try out, answer.

The server and its kernels run this interpreter and this checkout, in folders of their own; the
chapters are copies.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import psutil
import pytest
from conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.browser

CHAPTERS = ["03_elbo", "05_gaussian_vae"]
# Each runs for half a minute on a machine that does nothing else.
CHAPTERS_TIME = 600_000  # milliseconds

HOST = "127.0.0.1"
OPTIONS = [
    "--no-browser",
    "--allow-root",
    f"--ServerApp.ip={HOST}",
    "--ServerApp.port=0",
    # It asks the index of packages for nothing.
    "--LabApp.extension_manager=readonly",
    # So that a test can ask whether all cells have run.
    "--expose-app-in-browser",
]
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}

READY = """() => {
  const panel = globalThis.jupyterapp?.shell.currentWidget;
  return panel?.content?.widgets?.length && panel.sessionContext.session?.kernel?.status == "idle";
}"""
CELLS = """
  const panel = jupyterapp.shell.currentWidget;
  const cells = panel.content.widgets.map(cell => cell.model);
  const code = cells.filter(cell => cell.type == "code" && cell.sharedModel.source.trim());
  const outputs = cell => cell.outputs.toJSON();
"""
RUN_ALL = "() => { jupyterapp.commands.execute('notebook:run-all-cells'); }"
# A failing cell ends the run: those after it get no number.
HAS_RUN = f"""() => {{{CELLS}
  return panel.sessionContext.session.kernel.status == "idle" && (
    code.every(cell => cell.executionCount)
    || code.some(cell => outputs(cell).some(output => output.output_type == "error")));
}}"""
WRONG = f"""() => {{{CELLS}
  return code.flatMap(cell => outputs(cell)
    .filter(output => output.output_type == "error" || output.name == "stderr")
    .map(output => [cell.sharedModel.source, output.text ?? output.traceback.join("\\n")]));
}}"""
NUMBERS = f"() => {{{CELLS} return code.map(cell => cell.executionCount); }}"
FIND = f"text => {{{CELLS} return cells.findIndex(e => e.sharedModel.source.includes(text)); }}"
ACTIVE = "() => jupyterapp.shell.currentWidget.content.activeCellIndex"
HOLDS = "text => jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.source == text"

# What a reader sees of an explorer: the values beside its sliders, and the figure itself.
LOOK = """explorer => ({
  values: [...explorer.querySelectorAll(".widget-readout")].map(e => e.textContent),
  figures: [...explorer.querySelectorAll("img")]
    .filter(e => e.checkVisibility() && e.naturalWidth).map(e => e.src),
})"""
MOVED = f"""([explorer, before]) => {{
  const now = ({LOOK})(explorer);
  return `${{now.values}}` != `${{before.values}}`
    && now.figures.length == 1 && now.figures[0] != before.figures[0];
}}"""
# A formula is in the block after its anchor, which JupyterLab takes to about the panel's top.
AT_TOP = """name => {
  const formula = document.querySelector(`p:has(> [data-jupyter-id=${name}]) + * mjx-container`);
  const panel = formula.closest(".jp-WindowedPanel-outer");
  return Math.abs(formula.getBoundingClientRect().top - panel.getBoundingClientRect().top) < 200;
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on copies of the chapters: its address, with a ``{0}`` for the chapter."""
    home, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    book = home / "book"
    book.mkdir()
    for name in CHAPTERS:
        # Without what has been stored, so that a number beside a cell says that it has run.
        chapter = nbformat.read(ROOT / "book" / f"{name}.ipynb", nbformat.NO_CONVERT)
        for cell in chapter.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(chapter, book / f"{name}.ipynb")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), "utf-8")
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
        "PYTHONPATH": ROOT,
    }
    # A reader has progress bars, and widgets in place of the page's frames.
    ours = ("JUPYTER", "COMPANION_", "TQDM_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment |= {key: str(folder) for key, folder in folders.items()}
    environment["JUPYTER_TOKEN"] = token
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={book}"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        address = address_of(server, home)
        yield f"{address}lab/workspaces/{{0}}/tree/{{0}}.ipynb?reset&token={token}"
    finally:
        stop(server)


def address_of(server: "subprocess.Popen[bytes]", home: Path) -> str:
    """Wait until the server listens, at a port that it has chosen itself."""
    late = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < late and server.poll() is None:
        for file in home.glob("runtime/jpserver-*.json"):
            # Perhaps it is still being written, or the server does not listen yet.
            with contextlib.suppress(OSError, ValueError):
                info = json.loads(file.read_text("utf-8"))
                socket.create_connection((HOST, info["port"]), timeout=PATIENCE / 1000).close()
                return f"http://{HOST}:{info['port']}/"
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab does not start:\n{(home / 'log').read_text('utf-8')}")


def stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server, which ends its kernels; then whatever of them is left."""
    kernels = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    try:
        server.wait(PATIENCE / 1000)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for kernel in psutil.wait_procs(kernels, timeout=10)[1]:
        kernel.kill()


class Chapter:
    """A chapter in a tab of JupyterLab of its own."""

    def __init__(self, context: "BrowserContext", lab: str, name: str) -> None:
        self.tab = tab = context.new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("websocket", lambda socket: self.asked.append(socket.url))
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.goto(lab.format(name), wait_until="commit")

    def run(self) -> None:
        """Start to run all cells."""
        self.tab.wait_for_function(READY)
        self.tab.evaluate(RUN_ALL)

    def wait(self) -> None:
        """Wait until all cells have run, or one has failed."""
        self.tab.wait_for_function(HAS_RUN, timeout=CHAPTERS_TIME, polling=500)

    def cell(self, text: str) -> "Locator":
        """The cell with this text in its source, brought into sight."""
        at = self.tab.evaluate(FIND, text)
        assert at >= 0, f"no cell has {text!r}"
        cell = self.tab.locator(".jp-Notebook .jp-Cell").nth(at)
        # The browser leaves out what is not in sight.
        cell.scroll_into_view_if_needed()
        return cell

    def type(self, cell: "Locator", source: str) -> None:
        """Put a source in place of the cell's, and run it."""
        cell.locator(".cm-content").click()
        self.tab.keyboard.press("ControlOrMeta+A")
        self.tab.keyboard.insert_text(source)
        self.tab.wait_for_function(HOLDS, arg=source)
        self.tab.keyboard.press("Control+Enter")

    def insert_below(self, cell: "Locator") -> "Locator":
        """Return a new cell, by the button that each cell has."""
        cell.click()
        before = self.tab.evaluate(ACTIVE)
        cell.get_by_role("button", name="Insert a cell below").click()
        self.tab.wait_for_function(f"before => ({ACTIVE})() == before + 1", arg=before)
        return self.tab.locator(".jp-Notebook .jp-Cell").nth(before + 1)


@pytest.fixture(scope="module")
def chapters(browser: "Browser", lab: str) -> Iterator[dict[str, Chapter]]:
    """The chapters, all of whose cells have run, side by side."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tabs = {name: Chapter(context, lab, name) for name in CHAPTERS}
    for chapter in tabs.values():
        chapter.run()
    for chapter in tabs.values():
        chapter.wait()
    yield tabs
    context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_cell_runs(chapters: dict[str, Chapter], name: str) -> None:
    tab = chapters[name].tab
    for source, output in tab.evaluate(WRONG):
        pytest.fail(f"{source}\n---\n{output}")
    numbers = tab.evaluate(NUMBERS)
    assert len(numbers) > 20
    assert numbers == list(range(1, len(numbers) + 1))


def look(explorer: "Locator") -> dict[str, list[str]]:
    state: dict[str, list[str]] = explorer.evaluate(LOOK)
    return state


@pytest.mark.parametrize("name", CHAPTERS)
def test_sliders_move_the_figure(chapters: dict[str, Chapter], name: str) -> None:
    tab = chapters[name].tab
    explorers = tab.locator(".jp-OutputArea-output", has=tab.locator(".noUi-handle")).all()
    assert len(explorers) >= 2
    for explorer in explorers:
        for label in explorer.locator(".widget-slider label").all():
            assert label.text_content() == label.get_attribute("title")
        for handle in explorer.locator(".noUi-handle").all():
            before = look(explorer)
            at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
            handle.press("ArrowLeft" if at_end else "ArrowRight")
            tab.wait_for_function(MOVED, arg=[explorer.element_handle(), before])


LIVE = {
    "03_elbo": ['"gap"', '"tangent"'],
    "05_gaussian_vae": ['"latent_map"', '"reparam"'],
}


@pytest.mark.parametrize("name", CHAPTERS)
def test_live_figures_answer_to_keys(chapters: dict[str, Chapter], name: str) -> None:
    for figure in LIVE[name]:
        cell = chapters[name].cell(figure)
        handle = cell.locator("figure.live[data-alive] .live-handle:not([hidden])").first
        handle.scroll_into_view_if_needed()
        before = handle.get_attribute("aria-valuetext")
        # Catches: JupyterLab takes the arrow keys for itself, and selects another cell.
        for key in ("ArrowDown", "Shift+ArrowLeft"):
            handle.press(key)
            assert handle.evaluate("mark => mark === document.activeElement")
        chapters[name].tab.wait_for_function(
            "([mark, before]) => mark.getAttribute('aria-valuetext') !== before",
            arg=[handle.element_handle(), before],
        )


FAILS_AT_TWO = """from matplotlib import pyplot
def draw(a):
    if a == 2: raise ValueError("no figure here")
    return pyplot.figure(figsize=(a, 1))
explore(draw, a=[1, 2, 3])"""


def test_an_error_takes_the_place_of_the_figure(chapters: dict[str, Chapter]) -> None:
    chapter = chapters["05_gaussian_vae"]
    cell = chapter.insert_below(chapter.cell("check.mean_elbo(mean_elbo)"))
    chapter.type(cell, FAILS_AT_TWO)
    figure, handle = cell.locator("img"), cell.locator(".noUi-handle")
    figure.wait_for()
    explorer = cell.locator(".jp-OutputArea-output")
    first = look(explorer)

    handle.press("ArrowRight")
    for said in ("ValueError", "no figure here", "a = 2"):
        explorer.get_by_text(said).first.wait_for()
    assert look(explorer) == {"values": ["2"], "figures": []}

    handle.press("ArrowRight")
    figure.wait_for()
    chapter.tab.wait_for_function(MOVED, arg=[explorer.element_handle(), first])
    assert look(explorer)["values"] == ["3"]
    assert "no figure here" not in (explorer.text_content() or "")


ANSWER = """def my_bound(log_w):
    return {}
check.k_sample_bound(my_bound)"""


def test_an_answer_is_judged(chapters: dict[str, Chapter]) -> None:
    chapter = chapters["03_elbo"]
    cell = chapter.cell("check.k_sample_bound(my_bound)")
    output = cell.locator(".jp-OutputArea")
    output.get_by_text("Not attempted yet").wait_for()
    chapter.type(cell, ANSWER.format("log_w.mean(0)"))
    output.get_by_text("This looks like: the ELBO: a mean of logarithms").wait_for()
    chapter.type(cell, ANSWER.format("torch.logsumexp(log_w, 0) - math.log(len(log_w))"))
    output.get_by_text("Correct").wait_for()
    assert "This looks like" not in (output.text_content() or "")


def test_a_link_to_a_formula_lands_on_it(chapters: dict[str, Chapter]) -> None:
    tab = chapters["03_elbo"].tab
    assert not tab.evaluate(AT_TOP, "eq-3-14")
    tab.get_by_role("link", name="(3.14)").last.click()
    tab.wait_for_function(AT_TOP, arg="eq-3-14")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_reader_needs_no_network(chapters: dict[str, Chapter], name: str) -> None:
    here = (f"http://{HOST}:", f"ws://{HOST}:", f"blob:http://{HOST}:", "data:")
    assert [url for url in chapters[name].asked if not url.startswith(here)] == []
    assert chapters[name].wrong == []
