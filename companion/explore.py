"""Figures with sliders, in a live kernel and in a published page.

`explore` takes a function that draws one figure from the values of its controls. In a live kernel
it shows ipywidgets and calls the function as they move. In the published page there is no
kernel: the build draws every frame once and writes them, with plain range inputs and a few lines
of script, into one block of HTML that asks nothing of any other host. The environment variable
``COMPANION_EXPLORE=page``, set by the build, says which.
"""

import base64
import hashlib
import html
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from companion._checks import check_count

__all__ = ["Explorer", "explore"]

FRAME_BYTES: Final = 12_000
EXPLORER_BYTES: Final = 1_500_000


def explore(
    draw: Callable[..., Any],
    *,
    labels: Mapping[str, str] | None = None,
    alt: str | None = None,
    **controls: Sequence[Any],
) -> "Explorer":
    """Make an explorer: one slider for each control, one figure for each combination.

    Args:
        draw: Pure function that takes each control by name and returns a matplotlib ``Figure``.
        labels: What a control is called beside its slider, in Unicode; its name by default.
        alt: What the figure shows, for readers who cannot see it.
        controls: For each control the sequence of its values; the first is where it starts.

    Returns:
        An object that shows itself as the last expression of a cell.

    >>> explore(lambda beta: None, labels={"beta": "β"}, beta=[0.1, 1, 4]).num_frames
    3
    """
    return Explorer(draw, controls, dict(labels or {}), alt or "")


@final
class Explorer:
    """A drawing function with its controls. Make one with `explore`."""

    def __init__(
        self,
        draw: Callable[..., Any],
        controls: Mapping[str, Sequence[Any]],
        labels: Mapping[str, str],
        alt: str,
    ) -> None:
        if not callable(draw):
            raise TypeError(f"draw must be a function that returns a Figure, got {draw!r}")
        if not controls:
            raise ValueError(
                "controls is empty; name at least one, e.g. explore(draw, beta=[1, 4])"
            )
        for name, values in controls.items():
            if not hasattr(values, "__len__"):
                raise TypeError(
                    f"{name} must be a sequence of values such as [0.1, 1], got {values!r}"
                )
            check_count(len(values), f"number of values of {name}")
        unknown = set(labels) - set(controls)
        if unknown:
            raise ValueError(
                f"labels names no control: {sorted(unknown)}; controls: {list(controls)}"
            )
        self.draw: Final = draw
        self.controls: Final = {name: list(values) for name, values in controls.items()}
        self.labels: Final = {name: labels.get(name, name) for name in controls}
        self.alt: Final = alt

    @property
    def num_frames(self) -> int:
        """Number of combinations of the controls' values."""
        return math.prod(len(values) for values in self.controls.values())

    def _ipython_display_(self) -> None:
        """Show widgets in a live kernel, or the block of HTML when the book is built."""
        from IPython.display import HTML, display

        if os.environ.get("COMPANION_EXPLORE") == "page":
            display(HTML(self.page()))
        else:
            display(self.widget())

    def widget(self) -> Any:
        """Return ipywidgets that redraw the figure as their sliders move."""
        import ipywidgets

        sliders = {
            name: ipywidgets.SelectionSlider(
                options=[(_show(value), value) for value in values],
                description=self.labels[name],
                style={"description_width": "initial"},
                layout={"width": "420px", "max_width": "100%"},
            )
            for name, values in self.controls.items()
        }
        picture = ipywidgets.Image(format="png", layout={"max_width": "100%"})

        def redraw(_: object = None) -> None:
            values = {name: slider.value for name, slider in sliders.items()}
            picture.value = _render(self.draw(**values), 100)

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        redraw()
        return ipywidgets.VBox([*sliders.values(), picture])

    def page(self) -> str:
        """Return the block of HTML: every frame, the sliders, and the script that joins them."""
        frames = [
            _small(self.draw(**dict(zip(self.controls, values, strict=True))))
            for values in itertools.product(*self.controls.values())
        ]
        block = _block(self, [base64.b64encode(frame).decode() for frame in frames])
        if len(block) > EXPLORER_BYTES:
            raise ValueError(
                f"the explorer takes {len(block):,} bytes in the page, more than "
                f"{EXPLORER_BYTES:,}; give its controls fewer values ({len(frames)} frames now)"
            )
        return block


def _render(figure: Any, size: int) -> bytes:
    """Return the figure as a PNG `size` dots to the inch, and close it."""
    from matplotlib import pyplot as plt

    if not hasattr(figure, "savefig"):
        raise TypeError(f"draw must return a matplotlib Figure, got {type(figure).__name__}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=size)
    plt.close(figure)
    return buffer.getvalue()


def _small(figure: Any) -> bytes:
    """Return the figure as WebP of at most `FRAME_BYTES`, as good as that allows."""
    from PIL import Image

    picture = Image.open(io.BytesIO(_render(figure, 130))).convert("RGB")
    # Lines and text keep their edges in a small palette, with room for rare colours beside many
    # greys; pictures do better with loss.
    coverage = Image.Quantize.MAXCOVERAGE
    candidates: list[tuple[int | None, dict[str, Any]]] = [
        (32, {"lossless": True}),
        (None, {"quality": 80}),
        (None, {"quality": 55}),
        (None, {"quality": 30}),
    ]
    for colors, options in candidates:
        frame = (
            picture.quantize(colors, coverage, kmeans=1, dither=Image.Dither.NONE).convert("RGB")
            if colors
            else picture
        )
        buffer = io.BytesIO()
        frame.save(buffer, "webp", **options)
        if buffer.tell() <= FRAME_BYTES:
            return buffer.getvalue()
    raise ValueError(
        f"a frame takes {buffer.tell():,} bytes, more than {FRAME_BYTES:,}; draw less detail or a "
        f"smaller figure"
    )


def _show(value: Any) -> str:
    """Return a control's value as its reader sees it."""
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)


def _block(explorer: Explorer, frames: list[str]) -> str:
    """Return the explorer's HTML: frames are in the order of itertools.product."""
    # A name from the content: unique in the page, and the same in every build.
    content = "".join([*explorer.labels, *frames]).encode()
    uid = f"explorer-{hashlib.sha256(content).hexdigest()[:12]}"
    alt = html.escape(explorer.alt, quote=True)
    pictures = "".join(
        f'<img alt="{alt}" src="data:image/webp;base64,{frame}"{" hidden" if i else ""}>'
        for i, frame in enumerate(frames)
    )
    rows = "".join(
        f'<label for="{uid}-{name}">{html.escape(explorer.labels[name])}</label>'
        f'<input type="range" id="{uid}-{name}" min="0" max="{len(values) - 1}" step="1" value="0" '
        f'aria-valuetext="{html.escape(_show(values[0]), quote=True)}" autocomplete="off">'
        f'<output for="{uid}-{name}">{html.escape(_show(values[0]))}</output>'
        for name, values in explorer.controls.items()
    )
    shown = json.dumps([[_show(v) for v in values] for values in explorer.controls.values()])
    script = _SCRIPT.replace("UID", uid).replace("SHOWN", shown.replace("<", "\\u003c"))
    return (
        f'<figure class="explorer" id="{uid}"><div class="explorer-frames">{pictures}</div>'
        f'<div class="explorer-controls">{rows}</div></figure><script>{script}</script>'
    )


# The sliders' positions are the digits of the frame's number, as itertools.product counts.
_SCRIPT: Final = """
(() => {
  const root = document.getElementById("UID"), shown = SHOWN;
  const frames = root.querySelectorAll("img"), inputs = root.querySelectorAll("input");
  const outputs = root.querySelectorAll("output");
  let current = 0;
  const update = () => {
    let next = 0;
    inputs.forEach((input, i) => {
      const text = shown[i][input.valueAsNumber];
      next = next * shown[i].length + input.valueAsNumber;
      outputs[i].value = text;
      input.setAttribute("aria-valuetext", text);
    });
    if (next !== current) {
      frames[current].hidden = true;
      frames[next].hidden = false;
      current = next;
    }
  };
  root.addEventListener("input", update);
})();
"""
