// @ts-check
// A formula that is wider than the page scrolls in its box: while it does, the keyboard reaches it.
"use strict";

{
  const reachable = { tabindex: "0", role: "group", "aria-label": "Formula, wider than the page" };
  const observer = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      const scrolls = target.scrollWidth > target.clientWidth;
      for (const [name, value] of Object.entries(reachable)) {
        if (scrolls) target.setAttribute(name, value);
        else target.removeAttribute(name);
      }
    }
  });
  document.querySelectorAll("div.math").forEach((box) => observer.observe(box));
}
