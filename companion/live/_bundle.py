"""The figures' modules as classic scripts: a page, a notebook and a file from a disk all run them.

A module becomes a function that is told how to get the others, as `require` does in Node. What
there is of import and export is what the modules use: static, by name, at the start of a line.
"""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

ENGINE = ("figure.js", "mount.js", "gaussian.js")
"""What figures share, with all that it needs."""

IMPORT = re.compile(r'^import (?P<what>\{[^}]*\}|\w+) from "(?P<module>\.[^"]+)";\n', re.M)
NAMESPACE = re.compile(r'^import \* as (?P<what>\w+) from "(?P<module>\.[^"]+)";\n', re.M)
EXPORT = re.compile(r"^export (?P<kind>(?:async )?function\*?|class|const) (?P<name>\w+)", re.M)
COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*(?:(?!\*/)[\s\S])*\*/)[ \t]*\n", re.M)

RUNTIME = """\
(function start() {
  if (globalThis.live?.version === "VERSION") return;
  const factories = new Map(), made = new Map();
  const require = (name) => {
    if (!made.has(name)) made.set(name, factories.get(name)(require));
    return made.get(name);
  };
  const define = (name, factory) => { factories.set(name, factory); made.delete(name); };
  // A worker has no page to load scripts from: it gets the text of what runs here.
  const source = () => [...factories].reduce(
    (text, [name, factory]) => `${text}live.define("${name}", ${factory});\\n`,
    `(${start})();\\n`);
  globalThis.live = { version: "VERSION", define, require, source };
})();
"""


@cache
def source(module: str) -> str:
    """Return the text of a module, by its path in this folder."""
    return files(__package__).joinpath(module).read_text("utf-8")


def imported(module: str) -> list[str]:
    """Return the modules that a module imports."""
    folder = posixpath.dirname(module)
    text = source(module)
    found = [*IMPORT.finditer(text), *NAMESPACE.finditer(text)]
    return [posixpath.normpath(posixpath.join(folder, one["module"])) for one in found]


def closure(modules: Iterable[str]) -> list[str]:
    """Return modules with all that they need, each after what it needs."""
    ordered: list[str] = []
    for module in modules:
        for needed in (*closure(imported(module)), module):
            if needed not in ordered:
                ordered.append(needed)
    return ordered


def defined(module: str) -> str:
    """Return the classic script that defines a module."""
    text, folder = source(module), posixpath.dirname(module)

    def required(found: re.Match[str]) -> str:
        what = found["what"]
        if found.re is IMPORT:
            what = what.replace(" as ", ": ") if what[0] == "{" else f"{{ default: {what} }}"
        name = posixpath.normpath(posixpath.join(folder, found["module"]))
        return f'const {what} = require("{name}");\n'

    names = [found["name"] for found in EXPORT.finditer(text)]
    if re.search(r"^export default ", text, re.M):
        text = re.sub(r"^export default ", "const default_ = ", text, count=1, flags=re.M)
        names.append("default: default_")
    text = COMMENT.sub("", text)
    text = IMPORT.sub(required, NAMESPACE.sub(required, text))
    text = EXPORT.sub(r"\g<kind> \g<name>", text)
    text = re.sub(r"\n\s*\n+", "\n", text)
    body = f'"use strict";\n{text}return {{ {", ".join(names)} }};\n'
    return f'live.define("{module}", (require) => {{\n{body}}});\n'


@cache
def engine() -> str:
    """Return the script that every page with a figure needs, once."""
    text = RUNTIME + "".join(map(defined, closure(ENGINE)))
    return text.replace("VERSION", hashlib.sha256(text.encode()).hexdigest()[:12])


@cache
def script(name: str) -> str:
    """Return the script of a figure: it comes after the engine, and brings the figures to life."""
    shared = closure(ENGINE)
    own = [module for module in closure([f"figures/{name}.js"]) if module not in shared]
    start = (
        f'live.require("mount.js").mountAll("{name}", live.require("figures/{name}.js").default);'
    )
    return "".join(map(defined, own)) + start + "\n"
