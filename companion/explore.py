"""Figures with sliders, in a live kernel and in a published page.

`explore` takes a function that draws one figure from the values of its controls. In a live kernel
it shows ipywidgets and calls the function as they move. In the published page there is no
kernel: the build draws every frame once and writes them as inline SVG, with plain range inputs and
a few lines of script, into one block of HTML that asks nothing of any other host. The environment
variable ``COMPANION_EXPLORE=page``, set by the build, says which.

What is drawn depends on the values alone: the book's style holds in it, whatever the reader's, and
random generators and matplotlib's settings are afterwards as they were. Where the function stops,
a kernel shows its message in place of the picture, and a build fails.
"""

import base64
import gzip
import hashlib
import html
import io
import itertools
import json
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

from companion._context import preserved
from companion._explore import Control, make_control
from companion._page import anchor, captioned, in_page

__all__ = ["Explorer", "explore"]

EXPLORER_BYTES: Final = 200_000  # as it travels, compressed
# How many explorers of this process have had these frames, by their hash.
COPIES: Final[Counter[str]] = Counter()


def explore(
    draw: Callable[..., Any],
    *,
    labels: Mapping[str, str] | None = None,
    alt: str | Callable[..., str] = "",
    start: Mapping[str, Any] | None = None,
    number: str = "",
    caption: str = "",
    **controls: Iterable[Any],
) -> "Explorer":
    """Make an explorer: one slider for each control, one figure for each combination.

    Args:
        draw: Pure function that takes each control by name and returns a matplotlib ``Figure``
            or its ``Axes``.
        labels: What a control is called beside its slider, in Unicode; its name by default.
        alt: What the figure shows, for readers who cannot see it; the values of its controls are
            put before it. Or a function of the controls that returns the whole text of a frame.
        start: For each control the value that is shown first; by default the first one given.
        number: Of chapter and figure, such as "3.2".
        caption: What to do and to see, in a sentence or two.
        controls: For each control its values: a list, range, 1-D array or tensor, or a generator.
            Sliders have numbers in increasing order and anything else in the order given.

    Returns:
        An object that shows itself as the last expression of a cell.

    >>> explore(lambda beta: None, labels={"beta": "β"}, beta=[1, 0.1, 4]).num_frames
    3
    """
    return Explorer(draw, controls, dict(labels or {}), alt, dict(start or {}), number, caption)


@final
class Explorer:
    """A drawing function with its controls. Make one with `explore`."""

    def __init__(
        self,
        draw: Callable[..., Any],
        controls: Mapping[str, Iterable[Any]],
        labels: Mapping[str, str],
        alt: str | Callable[..., str],
        start: Mapping[str, Any],
        number: str = "",
        caption: str = "",
    ) -> None:
        if not callable(draw):
            raise TypeError(f"draw must be a function that returns a Figure, got {draw!r}")
        if not controls:
            raise ValueError(
                "controls is empty; name at least one, e.g. explore(draw, beta=[1, 4])"
            )
        if not (callable(alt) or isinstance(alt, str)):
            raise TypeError(f"alt must be a text or a function that returns one, got {alt!r}")
        for argument, named in (("labels", labels), ("start", start)):
            if unknown := set(named) - set(controls):
                raise ValueError(
                    f"{argument} names no control: {sorted(unknown)}; controls: {list(controls)}"
                )
        self.draw: Final = draw
        self.alt: Final = alt
        self.number: Final = number
        self.caption: Final = caption
        self.controls: Final[dict[str, Control]] = {
            name: make_control(name, values, labels, start) for name, values in controls.items()
        }

    @property
    def num_frames(self) -> int:
        """Number of combinations of the controls' values."""
        return math.prod(len(control.values) for control in self.controls.values())

    def _ipython_display_(self) -> None:
        """Show widgets in a live kernel, or the block of HTML when the book is built."""
        from IPython.display import HTML, Markdown, display

        if in_page():
            display(HTML(self.page()))
            return
        display(self.widget())
        if self.number:
            display(Markdown(f"**Figure {self.number}.** {self.caption}"))

    def widget(self) -> Any:
        """Return ipywidgets that redraw the figure as their sliders move."""
        import ipywidgets

        # A slider's value is a position: any object may stand there, even one that is not equal
        # to itself. `Image` has no alternative text, so the picture is HTML.
        sliders = [
            ipywidgets.SelectionSlider(
                options=[(text, position) for position, text in enumerate(control.shown)],
                description=control.label,
                style={"description_width": "initial"},
                layout={"width": "420px", "max_width": "100%"},
            )
            for control in self.controls.values()
        ]
        picture = ipywidgets.HTML()

        def redraw(_: object = None) -> None:
            positions = [slider.value for slider in sliders]
            try:
                png, alt = self._frame(positions, _png)
            except (Exception, SystemExit) as error:
                picture.value = _message(error, self._at(positions))
            else:
                picture.value = (
                    f'<img alt="{html.escape(alt)}" style="max-width: 100%" '
                    f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
                )

        for slider, control in zip(sliders, self.controls.values(), strict=True):
            slider.index = control.start
            slider.tooltip = control.label  # without one, ipywidgets 8 shows "null"
            slider.observe(redraw, names="value")
        redraw()
        return ipywidgets.VBox([*sliders, picture])

    def page(self) -> str:
        """Return the block of HTML: the sliders, every frame, and the script that joins them."""
        from companion._plots import inline_svg

        frames = []
        for positions in itertools.product(*(range(len(c.values)) for c in self.controls.values())):
            try:
                svg, alt = self._frame(positions, lambda figure: inline_svg(figure, ""))
            except Exception as error:
                error.add_note(f"The explorer stopped at {self._at(positions)}.")
                raise
            frames.append(svg.replace('aria-label=""', f'aria-label="{html.escape(alt)}"', 1))
        block = _block(self, frames)
        if (size := len(gzip.compress(block.encode()))) > EXPLORER_BYTES:
            raise ValueError(
                f"the explorer takes {size:,} bytes in the page, more than {EXPLORER_BYTES:,}; "
                f"draw less detail or give its controls fewer values ({len(frames)} frames now)"
            )
        return block

    def _at(self, positions: Sequence[int]) -> str:
        """Say where the sliders stand: "β = 0.5, σ = 2"."""
        each = zip(self.controls.values(), positions, strict=True)
        return ", ".join(f"{control.label} = {control.shown[i]}" for control, i in each)

    def _frame(self, positions: Sequence[int], take: Callable[[Any], Any]) -> tuple[Any, str]:
        """Draw at these positions of the sliders; return what is taken of it, and its text."""
        each = zip(self.controls.items(), positions, strict=True)
        values = {name: control.values[i] for (name, control), i in each}
        with _isolated():
            picture = take(_figure(self.draw(**values)))
            alt = self.alt(**values) if callable(self.alt) else self.alt
        if not isinstance(alt, str):
            raise TypeError(f"alt must return a text, got {type(alt).__name__}")
        if callable(self.alt):
            return picture, alt
        return picture, ": ".join(filter(None, [self._at(positions), alt]))


@contextmanager
def _isolated() -> Iterator[None]:
    """Draw in the book's style, whatever the reader's; close what was opened and restore the rest.

    A figure that stays open is shown once more, under a cell that has nothing to do with it.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from companion.plots import STYLE

    before = plt.get_fignums()
    with preserved(), mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**STYLE, "interactive": False})
        try:
            yield
        finally:
            for number in set(plt.get_fignums()).difference(before):
                plt.close(number)


def _figure(drawn: Any) -> Any:
    """Return the figure that `draw` returned, or the one whose axes it returned."""
    from matplotlib.axes import Axes

    figure = drawn.figure.figure if isinstance(drawn, Axes) else drawn  # the root of a subfigure
    if not hasattr(figure, "savefig"):
        got = "None" if drawn is None else type(drawn).__name__
        raise TypeError(f"draw must return a matplotlib Figure, got {got}; end it in return figure")
    return figure


def _png(figure: Any) -> bytes:
    """Return a figure as a PNG."""
    from companion._plots import narrowed

    buffer = io.BytesIO()
    narrowed(figure).savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _message(error: BaseException, at: str) -> str:
    """Return the HTML that stands in place of a picture that could not be drawn."""
    whole = traceback.TracebackException.from_exception(error)
    # A SyntaxError begins with the place, which is indented; some messages with an empty line.
    lines = "".join(whole.format_exception_only()).replace(": \n", ": ", 1).splitlines()
    first = next(line for line in lines if not line.startswith(" "))
    return (
        f'<div role="alert" style="border-left: 4px solid #D55E00; padding: 0.3em 1em">'
        f"<b>{html.escape(first)}</b><br>at {html.escape(at)}<details><summary>Where</summary><pre>"
        f"{html.escape(''.join(whole.format()))}</pre></details></div>"
    )


def _block(explorer: Explorer, frames: list[str]) -> str:
    """Return the explorer's HTML: frames are in the order of itertools.product."""
    # Its number, or else a name from the frames and the number of their copies: unique in the page,
    # and the same in every build, which runs each page's cells in a process of their own.
    controls = explorer.controls
    digest = hashlib.sha256(json.dumps(frames).encode()).hexdigest()[:12]
    COPIES[digest] += 1
    uid = f"explorer-{digest}" + (f"-{COPIES[digest]}" if COPIES[digest] > 1 else "")
    uid = anchor(explorer.number) if explorer.number else uid
    first = 0
    for control in controls.values():
        first = first * len(control.shown) + control.start
    rows = "".join(
        f'<label for="{uid}-{name}">{html.escape(control.label)}</label>'
        f'<input type="range" id="{uid}-{name}" min="0" max="{len(control.shown) - 1}" step="1" '
        f'value="{control.start}" aria-valuetext="{html.escape(control.shown[control.start])}" '
        f'autocomplete="off">'
        f'<output for="{uid}-{name}">{html.escape(control.shown[control.start])}</output>'
        for name, control in controls.items()
    )
    shown = [control.shown for control in controls.values()]
    others = [None if i == first else frame for i, frame in enumerate(frames)]
    # Inert until the script reads it: the first frame alone is in the page.
    data = json.dumps([first, shown, others], ensure_ascii=False, separators=(",", ":"))
    data = data.replace("</", "<\\/").replace("<!", "\\u003c!").replace("<script", "\\u003cscript")
    return (
        f'<figure class="explorer" id="{uid}"><div class="explorer-frame">{frames[first]}</div>'
        f'<div class="explorer-controls">{rows}</div>'
        f"{captioned(explorer.number, explorer.caption)}"
        f'<script type="application/json">{data}</script></figure>'
        f"<script>{_SCRIPT.replace('UID', uid)}</script>"
    )


# The sliders' positions are the digits of the frame's number, as itertools.product counts.
_SCRIPT: Final = """
(() => {
  const root = document.getElementById("UID"), frame = root.querySelector(".explorer-frame");
  const inputs = root.querySelectorAll("input"), outputs = root.querySelectorAll("output");
  let [current, shown, frames] = JSON.parse(root.querySelector("script").textContent);
  frames[current] = frame.innerHTML;
  const update = () => {
    let next = 0;
    inputs.forEach((input, i) => {
      const text = shown[i][input.valueAsNumber];
      next = next * shown[i].length + input.valueAsNumber;
      outputs[i].value = text;
      input.setAttribute("aria-valuetext", text);
    });
    if (next !== current) frame.innerHTML = frames[current = next];
  };
  root.addEventListener("input", update);
})();
"""
