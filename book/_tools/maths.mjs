// @ts-check
/**
 * Set formulas as MathJax sets them in a page, at build time.
 *
 * Standard input holds a JSON list of [TeX, whether it is displayed]; standard output gets, for
 * each, its HTML or what is wrong with it, and the rules of style that they need together.
 * `book/_ext/maths.py` asks.
 */

import { readFileSync } from "node:fs";

import { AssistiveMmlHandler } from "mathjax-full/js/a11y/assistive-mml.js";
import { liteAdaptor } from "mathjax-full/js/adaptors/liteAdaptor.js";
import { RegisterHTMLHandler } from "mathjax-full/js/handlers/html.js";
import { TeX } from "mathjax-full/js/input/tex.js";
import "mathjax-full/js/input/tex/ams/AmsConfiguration.js";
import "mathjax-full/js/input/tex/boldsymbol/BoldsymbolConfiguration.js";
import { mathjax } from "mathjax-full/js/mathjax.js";
import { CHTML } from "mathjax-full/js/output/chtml.js";

// = < > ≤ ≥ ≈ ∼ ∝ → + −
const BREAKS = /space="\d".*mjx-c(3D|3C|3E|2264|2265|2248|223C|221D|2192|2B|2212)"/;

const adaptor = liteAdaptor();
AssistiveMmlHandler(RegisterHTMLHandler(adaptor));

// Without the packages "noerrors" and "noundefined" a mistake is an error, not a red formula.
const input = new TeX({
  packages: ["base", "ams", "boldsymbol"],
  formatError: (/** @type {unknown} */ _, /** @type {Error} */ error) => {
    throw error;
  },
});
const output = new CHTML({ fontURL: "FONTS", matchFontHeight: false, scale: 1.1 });
const page = mathjax.document("", { InputJax: input, OutputJax: output });

/**
 * Let a formula in running text break after its relations, and after plus and minus, where it is
 * wider than the page.
 *
 * @param {import("mathjax-full/js/adaptors/lite/Element.js").LiteElement} html
 */
function breakable(html) {
  const line = /** @type {typeof html} */ (adaptor.firstChild(html));
  for (const atom of /** @type {(typeof html)[]} */ (adaptor.childNodes(line))) {
    const next = adaptor.next(atom);
    if (next && adaptor.kind(atom) === "mjx-mo" && BREAKS.test(adaptor.outerHTML(atom))) {
      adaptor.insert(adaptor.node("wbr"), next);
    }
  }
  return html;
}

/** @type {[string, boolean][]} */
const formulas = JSON.parse(readFileSync(0, "utf8"));
const answers = formulas.map(([tex, display]) => {
  try {
    const html = page.convert(tex, { display });
    return { html: adaptor.outerHTML(display ? html : breakable(html)) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
});
output.styleSheet(page);
process.stdout.write(
  JSON.stringify({ formulas: answers, rules: output.cssStyles.getStyleRules() }),
);
