"""Send a page only what it uses, in a form that does not shift once it is there.

The theme draws its icons with a script of 1.5 MB and fonts of 300 kB: here they stand in the page
as SVG. Scripts and styles come only where a page has something for them, and no script stands in
the way of the first paint. Pictures have their size and come when they are needed, in the smaller
of PNG and lossless WebP.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pydata_sphinx_theme  # type: ignore[import-untyped]
import rcssmin  # type: ignore[import-untyped]
import sphinx_book_theme  # type: ignore[import-untyped]
from PIL import Image
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.jinja2glue import BuiltinTemplateLoader
from subsets import inline

from companion import live

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static"
BOOK_THEME = Path(sphinx_book_theme.__file__).parent / "theme/sphinx_book_theme/static"

# A page loads these if it holds what they are for; the others it loads in any case.
FOR = {
    "scripts/fontawesome.js": None,
    "searchtools.js": '<div id="search-results">',
    "language_data.js": '<div id="search-results">',
    "searchindex.js": '<div id="search-results">',
    "clipboard.min.js": 'class="highlight',
    "copybutton.js": 'class="highlight',
    "copybutton.css": 'class="highlight',
    "mystnb": 'class="cell',
    "sphinx-design.min.css": 'class="sd-',
    "design-tabs.js": 'class="sd-tab-set',
    "claims.js": 'id="claims-filter"',
}
LOADED = re.compile(
    r'[ \t]*<(?:script|link)\b[^>]* (?:src|href)="(?P<file>[^"?]+)[^>]*>(?:</script>)?\n?'
)
SETTINGS = re.compile(r'<script src="[^"]*documentation_options\.js[^"]*"></script>')
HURRY = re.compile(r'<link rel="preload" as="script"[^>]*>\s*')
BLOCKING = re.compile(r"<script (?![^>]*\b(?:defer|async)\b)(?=[^>]*\bsrc=)")
# The theme tells light from dark after the first paint, and then all of the page is styled anew.
LATE = 'localStorage.getItem("theme") || "auto";'
AT_ONCE = """document.documentElement.dataset.mode != "auto"
      ? document.documentElement.dataset.mode
      : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";"""
# The arrow by which pages below another are unfolded in the contents, which has no name.
ARROW = '<summary><span class="toctree-toggle"'
NAMED = '<summary aria-label="Pages below this one"><span class="toctree-toggle"'
ICON = re.compile(
    r'<(?P<tag>i|span) class="(?P<classes>[^"]*\bfa-[^"]*)"[^>]*?(?P<data> data-mode="\w+")?[^>]*>'
    r"</(?P=tag)>"
)
PICTURE = re.compile(r'<img\b[^>]*? src="(?P<address>(?!data:|https?:|/)[^"]+)"[^>]*>')

ICON_SETS = {"fas", "fab", "fa-solid", "fa-brands"}
# The icons that the theme's script knows: their width, height, other names and outline.
OUTLINES = re.compile(
    r'[{,]"?(?P<name>[\w-]+)"?:\[(?P<width>\d+),(?P<height>\d+),\[(?P<others>[^\]]*)\],"\w*","(?P<path>[^"]+)"'
)
# In the theme's style sheet, the rules of these icons, and the characters it shows as icons.
ICON_RULES = re.compile(r"/\*!\s*\* Font Awesome.*(?=html\{--pst-header-height)", re.S)
ICON_CHARACTERS = re.compile(r"[\ue000-\uf8ff]|(?<=\\)[ef][0-9a-f]{3}")
# In its script, the call of the function that makes scrolling boxes tab stops.
TAB_STOPS = re.compile(
    r',"complete"===document\.readyState\?(\w)\(\):window\.addEventListener\("load",\1\)(?=\}\)\(\))'
)
STYLE = """
:root {{ --fa-font-solid: normal 900 1em/1 "Font Awesome 6 Free"; }}
@font-face {{
  font-family: "Font Awesome 6 Free";
  font-weight: 900;
  src: url({font});
}}
.drawn-icon {{
  box-sizing: content-box;
  display: inline-block;
  height: 1em;
  overflow: visible;
  vertical-align: -.125em;
}}
.drawn-icon.fa-lg {{ font-size: 1.25em; line-height: .05em; vertical-align: -.2em; }}
"""


class Templates(BuiltinTemplateLoader):
    """The pages as the theme makes them, made light."""

    builder: StandaloneHTMLBuilder

    def init(self, builder: Any, theme: Any | None = None, dirs: list[str] | None = None) -> None:
        """Remember for whom, since pictures have to be found."""
        super().init(builder, theme, dirs)
        self.builder = builder

    def render(self, template: str, context: dict[str, Any]) -> str:  # type: ignore[override]
        """A page, or a part of one, which the theme asks for and may throw away."""
        html = super().render(template, context)
        return self.lighten(html, context["pagename"]) if "<html" in html else html

    def newest_template_mtime(self) -> float:
        """When pages last came to be made in another way; older ones are made again."""
        makers = [Path(__file__), *Path(live.__file__).parent.rglob("*.js")]
        return max(super().newest_template_mtime(), *(path.stat().st_mtime for path in makers))

    def lighten(self, html: str, name: str) -> str:
        """Leave out what this page does not use; put icons and the sizes of pictures in."""
        settings = Path(self.builder.outdir, "_static/documentation_options.js")
        html = HURRY.sub("", html).replace(LATE, AT_ONCE).replace(ARROW, NAMED)
        html = LOADED.sub(lambda found: found[0] if is_used(found["file"], html) else "", html)
        html = SETTINGS.sub(lambda _: f"<script>{settings.read_text('utf-8')}</script>", html)
        html = BLOCKING.sub("<script defer ", html)
        html = html.replace('console.log("[PST]', 'void("[PST]')
        html = ICON.sub(lambda found: self.icon(found["classes"], found["data"] or ""), html)
        folder = Path(self.builder.outdir, name).parent
        above, start, article = html.partition("<article")
        pictures = 0

        def picture(found: re.Match[str]) -> str:
            nonlocal pictures
            pictures += 1
            return self.picture(found, folder, late=pictures > 1)

        below = PICTURE.sub(picture, article)
        return PICTURE.sub(lambda found: self.picture(found, folder), above) + start + below

    @cached_property
    def icons(self) -> dict[str, re.Match[str]]:
        """The theme's icons by all their names; where two have one name, the solid one."""
        script = (THEME / "scripts/fontawesome.js").read_text("utf-8")
        return {
            name: found
            for found in OUTLINES.finditer(script)
            for name in (*re.findall(r'"([^"]+)"', found["others"]), found["name"])
        }

    def icon(self, classes: str, data: str) -> str:
        """An icon as the theme's script would draw it."""
        kept = [name for name in classes.split() if name not in ICON_SETS]
        (name,) = [name for name in kept if name.startswith("fa-") and name != "fa-lg"]
        found = self.icons.get(name.removeprefix("fa-"))
        if not found:
            raise ExtensionError(f"The theme has no icon {name}.")
        return (
            f'<svg class="drawn-icon {" ".join(kept)}"{data} aria-hidden="true"'
            f' viewBox="0 0 {found["width"]} {found["height"]}">'
            f'<path fill="currentColor" d="{found["path"]}"/></svg>'
        )

    def picture(self, found: re.Match[str], folder: Path, late: bool = False) -> str:
        """A picture with its size, in its smaller form, loaded when it comes near if it is late."""
        tag, address = found[0], found["address"]
        path = (folder / unquote(address)).resolve()
        if path.parent.name == self.builder.imagedir:
            # Not there yet: Sphinx copies pictures when all pages are written.
            source = next(s for s, name in self.builder.images.items() if name == path.name)
            original = Path(self.builder.srcdir, source)
            if original.suffix == ".png":
                original = webp(original, path.parent)
                tag = tag.replace(address, address.removesuffix("png") + "webp")
            path = original
        width, height = size(path)
        added = f' width="{width}" height="{height}"' if " width=" not in tag else ""
        added += ' loading="lazy" decoding="async"' if late else ""
        return f"<img{added}{tag.removeprefix('<img')}"


def is_used(file: str, html: str) -> bool:
    """Tell whether a page has something for a script or a style sheet."""
    marks = [mark for name, mark in FOR.items() if f"/{name}" in f"/{file}"]
    return all(mark and mark in html for mark in marks)


def size(picture: Path) -> tuple[int, int]:
    """How large a picture is, in pixels."""
    if picture.suffix != ".svg":
        with Image.open(picture) as image:
            return image.size
    _, _, width, height = map(float, ElementTree.parse(picture).getroot().attrib["viewBox"].split())
    return round(width), round(height)


def webp(picture: Path, folder: Path) -> Path:
    """The lossless WebP of a picture, made in a folder unless it is there: a third of a PNG."""
    made = folder / f"{picture.stem}.webp"
    if not made.is_file():
        folder.mkdir(exist_ok=True)
        with Image.open(picture) as image:
            image.save(made, lossless=True)
    return made


def shrink_theme(app: Sphinx, failure: Exception | None) -> None:
    """Take the icons out of the theme's style, but for those that it shows as characters.

    And let its scripts do their work without a word in the console, and leave to ``boxes.js``
    which boxes are tab stops: they measure all folded code, for a tenth of a second. And send no
    style sheet with comments.
    """
    if failure or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    stops = 0
    for script in (
        THEME / "scripts/pydata-sphinx-theme.js",
        BOOK_THEME / "scripts/sphinx-book-theme.js",
    ):
        code, found = TAB_STOPS.subn("", script.read_text("utf-8"))
        stops += found
        quiet = code.replace("console.log(", "void(")
        (static / "scripts" / script.name).write_text(quiet, "utf-8")
    if stops != 1:
        raise ExtensionError("The theme's script has changed: look for its tab stops.")
    style = "styles/pydata-sphinx-theme.css"
    css, cut = ICON_RULES.subn("", (THEME / style).read_text("utf-8"))
    book = (BOOK_THEME / "styles/sphinx-book-theme.css").read_text("utf-8")
    if cut != 1:
        raise ExtensionError("The theme's style sheet has changed: look for its icons' rules.")
    shown = {ord(c) if len(c) == 1 else int(c, 16) for c in ICON_CHARACTERS.findall(css + book)}
    font = inline(THEME / "vendor/fontawesome/webfonts/fa-solid-900.ttf", shown)
    css += STYLE.format(font=font)
    (static / style).write_text(css, "utf-8")
    for sheet in static.rglob("*.css"):
        sheet.write_text(rcssmin.cssmin(sheet.read_text("utf-8")), "utf-8")


def use_templates(app: Sphinx, config: Config) -> None:
    """Have pages made by the class above."""
    config.template_bridge = f"{__name__}.Templates"


def preload_fonts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Have a page ask at once for the fonts of its first screen: `preload_fonts`, in `_static`.

    A page that was opened as a file gets its fonts without; there a browser refuses to preload.
    """
    links = "".join(
        '<link rel="preload" as="font" type="font/woff2" crossorigin'
        f' href="{context["pathto"](f"_static/{font}", 1)}">'
        for font in app.config.preload_fonts
    )
    if links:
        context["metatags"] = context.get("metatags", "") + (
            '<script>if (location.protocol != "file:")'
            f" document.head.insertAdjacentHTML('beforeend', '{links}')</script>"
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it all."""
    app.add_config_value("preload_fonts", [], "html", list)
    app.connect("config-inited", use_templates)
    app.connect("html-page-context", preload_fonts)
    app.add_js_file("boxes.js", loading_method="defer")
    app.connect("build-finished", shrink_theme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
