// @ts-check
// Boxes of code, formulas and tables, in the open and in folds.
"use strict";

// What is larger than its box scrolls there: while it does, the keyboard reaches the box.

{
  const kinds = {
    "div.math": "Formula",
    pre: "Code",
    ".cell_output > .output": "Output",
    ".pst-scrollable-table-container": "Table",
  };
  // More than a pixel: a formula that is set to fit is rounded, and what a box does when it scrolls
  // would make it fit, and scroll, and fit, with each picture of the screen.
  /** @param {Element} box */
  const overflows = (box) =>
    box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;

  // A box in a closed fold has no size: its turn comes when the fold is opened.
  const observer = new ResizeObserver((changes) => {
    const boxes = changes.map(({ target }) => target);
    const scrolls = boxes.map(overflows); // all are asked before one is changed: one layout
    boxes.forEach((box, i) => {
      if (scrolls[i] === box.hasAttribute("tabindex")) return;
      const kind = Object.entries(kinds).find(([selector]) => box.matches(selector))?.[1];
      const reachable = {
        tabindex: "0",
        role: "group",
        "aria-label": `${kind}, larger than its box`,
      };
      for (const [name, value] of Object.entries(reachable)) {
        if (scrolls[i]) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
    });
  });
  document.querySelectorAll(Object.keys(kinds).join()).forEach((box) => observer.observe(box));
}

// A browser asks for a font when its letters are seen. Those of a closed fold come with the page, so
// that it needs no network later.
addEventListener("load", () => {
  const folded = Array.from(document.querySelectorAll("details pre"), (code) => code.textContent);
  if (folded.length) document.fonts.load('1em "Source Code Pro"', folded.join(""));
});
