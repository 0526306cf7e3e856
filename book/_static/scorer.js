// @ts-check
// What the search counts: chapters come first, then the appendices, then names of the package. And
// what it knows from the glossary, which is in the page (book/_ext/terms.py): a term that the reader
// calls by another name comes before all, with the places that explain it.
/** @typedef {[string, string, string, string | null, number, string]} Result Page, title, anchor, description, score, file. */

Object.assign(globalThis, {
  Scorer: {
    /** @param {Result} result */
    score: ([page, , , , score]) => score + (/^book\/\d/.test(page) ? 20 : 0),
    objNameMatch: 3,
    objPartialMatch: 2,
    objPrio: {},
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
  },
});

{
  /** @typedef {{names: string[], anchor: string, says: string, places: [string, string, string, string | null][]}} Term */

  // Sphinx's own, and this script comes after it.
  const search = /** @type {any} */ (
    // @ts-ignore
    Search // eslint-disable-line no-undef
  );
  const terms = /** @type {Term[]} */ (
    JSON.parse(document.getElementById("glossary-terms")?.textContent ?? "[]")
  );

  /**
   * Words without hyphens, plurals, and what differs between British and American spelling.
   * @param {string} text
   */
  const plain = (text) =>
    ` ${text.toLowerCase()} `
      .replace(/[^\p{L}\p{N}]+/gu, " ")
      .replace(/iz/g, "is")
      .replace(/ll/g, "l")
      .replace(/(\p{L}{2})s(?= )/gu, "$1");

  /**
   * The terms that a query names, the longest names first; or else those that it begins.
   * @param {string} query
   */
  const named = (query) => {
    const asked = plain(query);
    const found = terms.flatMap((term) => {
      const names = term.names.map(plain).filter((name) => asked.includes(name));
      const longest = names.sort((a, b) => b.length - a.length)[0];
      return longest ? [{ term, name: longest, whole: longest === asked }] : [];
    });
    const best = found.filter(
      ({ name }) => !found.some((other) => other.name !== name && other.name.includes(name)),
    );
    const begun = terms.filter(
      (term) => asked.length > 5 && term.names.some((n) => plain(n).startsWith(asked.trimEnd())),
    );
    return best.length
      ? best
      : begun.slice(0, 2).map((term) => ({ term, name: asked, whole: false }));
  };

  const FRAME = ".cell, details, pre, script, style, svg, form, .headerlink";

  const perform = search._performSearch;
  /** @param {[string, ...unknown[]]} asked */
  search._performSearch = (...asked) => {
    const found = named(asked[0]);
    /** @type {Result[]} */
    const best = found.flatMap(({ term }) => [
      ["book/glossary", term.names[0] ?? "", `#${term.anchor}`, term.says, 0, ""],
      ...term.places.map(
        ([page, anchor, title, what]) =>
          /** @type {Result} */ ([page, title, anchor && `#${anchor}`, what, 0, ""]),
      ),
    ]);
    // Under another name than the book's, the book's finds more.
    const own = found.find(
      ({ term, whole }) => whole && plain(term.names[0] ?? "") !== plain(asked[0]),
    )?.term.names[0];
    if (own) best.push(...perform(...search._parseQuery(own)).reverse());
    best.push(...perform(...asked).reverse());
    /** @type {Map<string, Result>} */
    const once = new Map();
    for (const result of best) {
      const place = result[0] + result[2];
      if (!once.has(place)) once.set(place, result);
    }
    return [...once.values()].reverse(); // the page takes them from the end
  };

  /**
   * The text that a result is shown with: what a reader reads, without code and the page's frame.
   * @param {string} html
   * @param {string} anchor
   */
  search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const whole = page.querySelector("article") ?? page.body;
    const part = (anchor && whole.querySelector(`[id="${anchor.slice(1)}"]`)) || whole;
    part.querySelectorAll(FRAME).forEach((e) => e.remove());
    part.querySelector("h1, h2, h3")?.remove();
    return part.textContent?.trim().replace(/\s+/g, " ") || " ";
  };
}
