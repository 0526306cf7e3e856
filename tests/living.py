"""What tests of figures share: one of `companion.live` in Chromium, and what it computes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from companion.live import Figure

COMPUTED = """([name, states]) => {
  const { spec, compute } = live.require(`figures/${name}.js`).default;
  const { decoded } = live.require("mount.js");
  const raw = decoded(JSON.parse(
    document.querySelector('figure.live script[type="application/json"]').textContent));
  const data = spec.prepare ? spec.prepare(raw) : raw;
  const plain = (value) =>
    ArrayBuffer.isView(value) ? Array.from(value)
    : Array.isArray(value) ? value.map(plain)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]))
    : value;
  return states.map((state) => plain(compute({ ...spec.start, ...state }, data)));
}"""


def shown(browser: "Browser", figure: "Figure", **options: Any) -> "Page":
    """A page that holds the figure as the output of a cell does: an island with all it needs."""
    tab = browser.new_page(**options)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.set_content(f"<!doctype html><meta charset=utf-8>{figure._repr_html_()}")
    assert not errors, errors
    return tab


def computed(browser: "Browser", figure: "Figure", states: list[dict[str, Any]]) -> list[Any]:
    """What the figure computes in each of these states, as Python's numbers, lists and dicts.

    A state names what differs from the one that the figure starts with.
    """
    tab = shown(browser, figure)
    try:
        return tab.evaluate(COMPUTED, [figure.name, states])
    finally:
        tab.close()
