"""A matplotlib figure as part of a page: inline SVG in the page's ink, its panels side by side.

The picture is written for a page, not for a file: black is ``currentColor`` and greys are thin ink,
the book's colours are CSS variables (``--fig-elbo``), so that one picture serves light and dark;
text is text, in the page's own font; points and ticks of one look are one path. There is no clip
path and no identifier: what leaves its axes is cut when it is written.
"""

import base64
import html
import inspect
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Bbox, Transform

COLORS: Final = {
    "prior": "#999999",
    "posterior": "#0072B2",
    "q": "#E69F00",
    "elbo": "#009E73",
    "gap": "#D55E00",
    "data": "#000000",
    "model": "#CC79A7",
    "other": "#56B4E9",
}
"""One colour for each role, the same in all figures of the book."""

TOLERANCE: Final = 0.2  # points: about what a drawn line may be off
TEXT: Final = 1.12  # the page's font looks this much smaller than matplotlib's
NARROW: Final = 5.4  # inches of a figure that has one panel: its text is legible on a phone
SHADES: Final = 32  # of ink, in a picture
SHAPES: Final = itertools.count(1)  # names of shapes that are drawn many times, unique in a page


def narrowed(figure: Figure) -> Figure:
    """Make a wide figure that has one column of axes narrower, so that its text reads larger."""
    width, height = figure.get_size_inches()
    if width > NARROW and len(_columns([ax.get_position() for ax in _axes(figure)])) == 1:
        pictures = not any(ax.axison for ax in figure.axes)
        figure.set_size_inches(NARROW, height * (min(1, 1.3 * NARROW / width) if pictures else 1))
    return figure


def inline_svg(figure: Figure, alt: str) -> str:
    """Return the figure as one element of a page, which is a picture with this text in its place.

    Columns of axes become one ``<svg>`` each, so that a narrow page puts them below one another.
    """
    figure = narrowed(figure)
    faces = [figure.patch, *(ax.patch for ax in figure.axes)]
    white = [face for face in faces if np.allclose(face.get_facecolor()[:3], 1)]
    with _changed(figure, white):
        width, height = figure.get_size_inches() * 72
        renderer = _Ink(width, height)
        figure.draw(renderer)
        boxes = [box for ax in _axes(figure) if (box := ax.get_tightbbox()) is not None]
    cuts = [0.0, *_cuts(_columns(boxes), renderer.marks), width]
    panels = "".join(
        f'<svg viewBox="{_number(left)} 0 {_number(right - left)} {_number(height)}" '
        f'style="--w:{right - left:.0f};--of:{width:.0f}" fill="currentColor" aria-hidden="true">'
        + _joined([mark for mark in renderer.marks if left <= (mark.left + mark.right) / 2 < right])
        + "</svg>"
        for left, right in itertools.pairwise(cuts)
    )
    return f'<div class="fig" role="img" aria-label="{html.escape(alt)}">{panels}</div>'


@contextmanager
def _changed(figure: Figure, hidden: Sequence[Any]) -> Iterator[None]:
    """Draw in points, without these parts; then as before."""
    dpi, seen = figure.dpi, [part.get_visible() for part in hidden]
    figure.dpi = 72
    for part in hidden:
        part.set_visible(False)
    try:
        yield
    finally:
        figure.dpi = dpi
        for part, visible in zip(hidden, seen, strict=True):
            part.set_visible(visible)


def _axes(figure: Figure) -> list[Any]:
    """Return the axes that are panels: a bar of colours belongs to its neighbour."""
    return [ax for ax in figure.axes if not hasattr(ax, "_colorbar") and ax.get_visible()]


def _columns(boxes: Sequence[Bbox]) -> list[tuple[float, float]]:
    """Return the columns that boxes stand in, as left and right ends."""
    columns: list[tuple[float, float]] = []
    for left, right in sorted((box.x0, box.x1) for box in boxes):
        if columns and left < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(right, columns[-1][1]))
        else:
            columns.append((left, right))
    return columns


def _cuts(columns: Sequence[tuple[float, float]], marks: Sequence["_Mark"]) -> list[float]:
    """Return where to cut before columns: all between the first and the last, if no mark is hit."""
    cuts = [left - 1.5 for left, _ in columns[1:]]
    hit = any(mark.left < cut < mark.right for cut in cuts for mark in marks)
    return [] if hit else cuts


@dataclass
class _Mark:
    """Something drawn: where it lies, what it looks like, and a path, or else the whole element."""

    left: float
    right: float
    look: str
    path: str = ""
    solid: bool = False


def _joined(marks: Sequence[_Mark]) -> str:
    """Return the elements; paths of one look, with nothing but text between them, are one path."""
    elements: list[str] = []
    look, at = "", 0
    for mark in marks:
        if mark.path and mark.solid and mark.look == look:
            elements[at] = elements[at][:-3] + mark.path + '"/>'
        elif mark.path:
            look, at = mark.look, len(elements)
            elements.append(f'<path {mark.look} d="{mark.path}"/>')
        else:
            look = look if mark.look.startswith("<text") else ""
            elements.append(mark.look)
    return "".join(elements)


def _number(value: float) -> str:
    """Return a number of points with one decimal, as short as SVG allows."""
    text = f"{value:.1f}".removesuffix(".0").replace("-0.", "-.").replace("-.0", "0")
    return (text[1:] if text.startswith("0.") else text).replace("-0", "0") or "0"


def _numbers(values: Any) -> str:
    """Return numbers one after another; a minus sign separates as well as a space."""
    return " ".join(map(_number, values)).replace(" -", "-")


def _paint(name: str, color: Sequence[float], alpha: float) -> str:
    """Return the attributes that fill or stroke in a colour, in the page's own ink or hues."""
    red, green, blue = (round(255 * channel) for channel in color[:3])
    code = f"#{red:02x}{green:02x}{blue:02x}"
    roles = {value.lower(): role for role, value in COLORS.items() if role != "data"}
    if code in roles:
        paint = f"var(--fig-{roles[code]},{code})"
    elif code == "#ffffff":
        paint = "var(--fig-ground,#fff)"
    elif max(red, green, blue) - min(red, green, blue) < 6:
        paint, alpha = "currentColor", alpha * (1 - (red + green + blue) / 765)
    else:  # of a colour map: lighter on a dark page
        paint = f"color-mix(in oklab,{code} var(--fig-pure,100%),currentColor)"
    attributes = "" if (name, paint) == ("fill", "currentColor") else f' {name}="{paint}"'
    return attributes + (f' {name}-opacity="{alpha:.2g}"' if alpha < 0.995 else "")


class _Ink(RendererBase):
    """Writes what matplotlib draws as marks of a page, in points from the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.marks: list[_Mark] = []
        self.down: Final = Affine2D().scale(1, -1).translate(0, height)

    def get_canvas_width_height(self) -> tuple[float, float]:
        """Return the size in points."""
        return self.width, self.height

    def points_to_pixels(self, points: Any) -> Any:
        """Return points: they are the unit here."""
        return points

    def option_scale_image(self) -> bool:
        """Say that a picture comes with its own pixels."""
        return True

    def draw_path(
        self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: Any = None
    ) -> None:
        """Write a line or an area."""
        self._write(gc, (transform + self.down).transform_path(path), rgbFace)

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: Any = None,
    ) -> None:
        """Write equal points or ticks."""
        shape = (marker_trans + Affine2D().scale(1, -1)).transform_path(marker_path)
        at = [p[-2:] for p, _ in path.iter_segments(trans + self.down, simplify=False)]
        self._points(gc, shape, at, rgbFace)

    def draw_path_collection(
        self,
        gc: GraphicsContextBase,
        master_transform: Any,
        paths: Any,
        all_transforms: Any,
        offsets: Any,
        offset_trans: Any,
        *looks: Any,
        **options: Any,
    ) -> None:
        """Write many paths; equal points of one look together."""
        own: Any = self  # matplotlib's own renderers use these two methods as well
        if "hatchcolors" in inspect.signature(own._iter_collection).parameters:
            options.setdefault("hatchcolors", [])  # a mesh comes without
        shapes = list(own._iter_collection_raw_paths(master_transform, paths, all_transforms))
        each = own._iter_collection(gc, shapes, offsets, offset_trans, *looks, **options)
        groups: dict[Any, tuple[Any, Any, Any, list[Any]]] = {}
        turned: Any
        for x, y, (path, transform), gc0, face in each:
            shape = Affine2D(transform) if not isinstance(transform, Transform) else transform
            turned = (shape + Affine2D().scale(1, -1)).transform_path(path)
            gc1 = self.new_gc()
            gc1.copy_properties(gc0)
            key = (
                turned.vertices.tobytes(),
                tuple(gc1.get_rgb()),
                gc1.get_linewidth(),
                gc1.get_alpha(),
                None if face is None else tuple(face),
            )
            _, _, _, at = groups.setdefault(key, (gc1, turned, face, []))
            at.append((x, self.height - y))
        for gc1, turned, face, at in groups.values():
            self._points(gc1, turned, at, None if face is None else tuple(face))

    def _points(self, gc: Any, shape: Any, at: Sequence[Any], face: Any) -> None:
        """Write a shape at each of the places that lie in the axes."""
        places = np.asarray(at, float).reshape(-1, 2)
        box = self._clip(gc)
        inside = np.isfinite(places).all(1)
        extent = shape.get_extents()
        if not np.isfinite(extent.get_points()).all():
            return  # an empty shape
        if max(extent.width, extent.height) < 20:  # a point; what is larger is cut, not left out
            middle = places + (extent.min + extent.max) / 2
            inside &= (middle > box[0] - 1).all(1) & (middle < box[1] + 1).all(1)
        places = places[inside]
        round_ = shape.codes is not None and Path.CURVE4 in shape.codes and len(shape) == 26
        alpha = gc.get_alpha() if gc.get_forced_alpha() or face is None else face[-1]
        if not round_ or face is None or (len(face) == 4 and face[3] == 0):
            self._copies(gc, shape, places, face)
            return
        # A point is a line without length whose ends are round. Points that shine through are
        # shared among some paths, so that they add up where they lie on one another.
        size = shape.get_extents().width
        rim = gc.get_linewidth() if gc.get_rgb()[3] else 0
        groups = [places[i::4] for i in range(4)] if alpha < 1 else [places]
        for group in filter(len, groups):
            d = "".join(f"M{_numbers(place)}h0" for place in group)
            left, right = group[:, 0].min() - size / 2, group[:, 0].max() + size / 2
            looks = [(face, size + rim)]
            if rim and tuple(gc.get_rgb()[:3]) != tuple(face[:3]):
                looks = [(gc.get_rgb(), size + rim), (face, size - rim)]
            for color, width in looks:
                look = _paint("stroke", color, alpha) + f' stroke-width="{_number(width)}"'
                self._add(left, right, f'{look[1:]} stroke-linecap="round"', d, bool(alpha == 1))

    def _copies(self, gc: Any, shape: Any, places: Any, face: Any) -> None:
        """Write a shape at each place; where that is shorter, write it once and name it."""
        named = len(shape) > 8 and len(places) > 8
        for place in places[:1] if named else places:
            moved = Path(shape.vertices + place, shape.codes)
            self._write(gc, moved, face, clip=len(places) == 1)
        if named:
            name = f"shape-{next(SHAPES)}"
            first, half = self.marks[-1], shape.get_extents().width / 2
            path = f'<path id="{name}" {first.look} d="{first.path}"/>'
            first.look, first.path = path, ""
            for place in places[1:]:
                x, y = map(_number, place - places[0])
                use = f'<use href="#{name}" x="{x}" y="{y}"/>'
                self._add(place[0] - half, place[0] + half, use)

    def _write(self, gc: Any, path: Any, face: Any, clip: bool = True) -> None:
        """Write one path with its fill and stroke."""
        stroke, forced = gc.get_rgb(), gc.get_alpha() if gc.get_forced_alpha() else None
        look = ""
        opaque = [1.0]
        # Ticks and crosses are given a face, and have no area.
        filled = face is not None and bool(len(face) == 3 or face[3] > 0)
        filled = filled and len(path.to_polygons()) > 0
        if filled:
            alpha = forced if forced is not None else (face[3] if len(face) == 4 else 1.0)
            look += _paint("fill", face, alpha)
            opaque.append(alpha)
        else:
            look += ' fill="none"'
        if gc.get_linewidth() > 0 and stroke[3] > 0:
            alpha = forced if forced is not None else stroke[3]
            opaque.append(alpha)
            look += _paint("stroke", stroke, alpha)
            look += f' stroke-width="{_number(gc.get_linewidth())}"'
            _, dashes = gc.get_dashes()
            if dashes is not None:
                look += f' stroke-dasharray="{_numbers(dashes)}"'
            if gc.get_capstyle() != "butt":
                look += ' stroke-linecap="round"'
        elif not filled:
            return
        box = self._clip(gc) if clip else None
        if pieces := _pieces(path, box, filled):
            whole = np.concatenate(pieces)
            pad = gc.get_linewidth() / 2
            left, right = whole[:, 0].min() - pad, whole[:, 0].max() + pad
            closed = filled or (path.codes is not None and Path.CLOSEPOLY in path.codes)
            d = "".join(_d(piece, closed) for piece in pieces)
            self._add(left, right, look[1:], d, bool(min(opaque) == 1 and not filled))

    def _clip(self, gc: Any) -> Any:
        """Return the corners of what is seen: the least and the greatest x and y."""
        box = gc.get_clip_rectangle()
        if box is None:
            return np.array([[-1e6, -1e6], [1e6, 1e6]])
        corners = self.down.transform(box.get_points())
        return np.array([corners.min(0), corners.max(0)])

    def _add(
        self, left: float, right: float, look: str, path: str = "", solid: bool = False
    ) -> None:
        """Take a mark into the picture."""
        self.marks.append(_Mark(left, right, look, path, solid))

    def draw_image(
        self, gc: GraphicsContextBase, x: float, y: float, im: Any, transform: Any = None
    ) -> None:
        """Write a picture with its own pixels; shades of grey as ink that shines through."""
        height, width = im.shape[:2]
        place = (
            Affine2D() if transform is None else Affine2D().scale(1 / width, 1 / height) + transform
        )
        place = place + Affine2D().translate(x, y) + self.down
        (x0, y0), (x1, y1) = place.transform([(0, 0), (width, height)])
        pixels = np.asarray(im)[:: 1 if y1 > y0 else -1, :: 1 if x1 > x0 else -1]
        kind = ""
        if (np.ptp(pixels[..., :3].astype(int), axis=-1) < 6).all():
            shade = (1 - pixels[..., 0] / 255) * (pixels[..., 3] / 255)
            shade = np.round(shade * (SHADES - 1)) / (SHADES - 1)
            pixels = np.zeros_like(pixels)
            pixels[..., 3] = np.round(255 * shade)
            kind = ' class="fig-ink"'
        left, right, top = min(x0, x1), max(x0, x1), min(y0, y1)
        self._add(
            left,
            right,
            f'<image{kind} x="{_number(left)}" y="{_number(top)}" width="{_number(right - left)}" '
            f'height="{_number(abs(y1 - y0))}" preserveAspectRatio="none" '
            f'style="image-rendering:pixelated" href="data:image/webp;base64,{_webp(pixels)}"/>',
        )

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Write text as text, held where the figure holds it: the page's font is narrower."""
        words = _words(s) if ismath else html.escape(s)
        if words is None:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        width, _, _ = self.get_text_width_height_descent(s, prop, ismath)
        held = "start"
        if mtext is not None and (angle == 0 or mtext.get_rotation_mode() == "anchor"):
            own = mtext.get_transform().transform(mtext.get_unitless_position())
            across = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
            own = np.array([own[0], self.height - own[1]])
            x, y = own + across @ (np.array([x, y]) - own) * across
            held = {"center": "middle", "right": "end"}.get(mtext.get_ha(), "start")
        look = _paint("fill", gc.get_rgb(), gc.get_alpha())
        look += "" if held == "start" else f' text-anchor="{held}"'
        look += f' font-size="{_number(prop.get_size_in_points() * TEXT)}"'
        look += ' font-weight="bold"' if prop.get_weight() in ("bold", 700) else ""
        look += ' font-style="italic"' if prop.get_style() == "italic" else ""
        place = f'x="{_number(x)}" y="{_number(y)}"'
        if angle:
            place = f'transform="translate({_number(x)} {_number(y)})rotate({-angle:.4g})"'
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[held] * width
        left, right = (x - before, x - before + width) if not angle else (x - 6, x + 2)
        self._add(left, right, f"<text {place}{look}>{words}</text>")


def _words(mathtext: str) -> str | None:
    """Return the tick label of a logarithmic axis as text with a raised exponent, or nothing."""
    found = re.fullmatch(r"\$\\mathdefault\{(.*?)(?:\^\{(.*)\})?\}\$", mathtext)
    if found is None:
        return None
    base, power = (html.escape(part or "").replace("-", "−") for part in found.groups())
    base = base.replace("\\times", "×")
    return base + (f'<tspan dy="-.4em" font-size="75%">{power}</tspan>' if power else "")


def _pieces(path: Any, box: Any, filled: bool) -> list[Any]:
    """Return a path as lines of points, cut at the box, with no more points than are seen."""
    if filled:
        areas = path.to_polygons()
        if box is not None:
            seen = [((p >= box[0] - 0.6) & (p <= box[1] + 0.6)).all() for p in areas]
            whole = zip(areas, seen, strict=True)
            areas = [p if inside else _cut(p, box) for p, inside in whole]
        return [_thinned(area) for area in areas if len(area)]
    limits = None if box is None else (*box[0], *box[1])
    path = path.cleaned(remove_nans=True, clip=limits, curves=False)
    keep = (path.codes == Path.MOVETO) | (path.codes == Path.LINETO)
    points, starts = path.vertices[keep], np.flatnonzero(path.codes[keep] == Path.MOVETO)
    lines = np.split(points, starts[starts > 0])
    return [_thinned(line) for line in lines if len(line)]


def _cut(area: Any, box: Any) -> Any:
    """Return what of an area lies in the box; nothing has no points."""
    inside = Path(area).clip_to_bbox(Bbox(box)).to_polygons()
    return np.concatenate(inside) if inside else np.empty((0, 2))


def _thinned(points: Any) -> Any:
    """Return the points that a line needs to stay within the tolerance, as matplotlib thins it."""
    line: Any = Path(points)
    line.simplify_threshold = TOLERANCE
    return line.cleaned(simplify=True).vertices[:-1]  # the last one says "stop"


def _d(points: Any, closed: bool) -> str:
    """Return the commands of one line: its start, then the steps between rounded points."""
    rounded = np.round(points, 1)
    steps = np.diff(rounded, axis=0)
    steps = steps[np.abs(steps).max(1, initial=0) > 0.01]
    line = f"M{_numbers(rounded[0])}" + (f"l{_numbers(steps.ravel())}" if len(steps) else "h0")
    return line + ("z" if closed else "")


def _webp(pixels: Any) -> str:
    """Return a picture in base64: exact where that is small, else as good as a photograph."""
    from PIL import Image

    picture, found = Image.fromarray(np.ascontiguousarray(pixels)), []
    for options in ({"lossless": True, "exact": False}, {"quality": 80, "alpha_quality": 80}):
        buffer = io.BytesIO()
        picture.save(buffer, "webp", method=6, **options)
        found.append(buffer.getvalue())
    small = found[0] if len(found[0]) < 12_000 else min(found, key=len)
    return base64.b64encode(small).decode()
