// @ts-check
// What the search counts: chapters come first, then the appendices, then names of the package.
Object.assign(globalThis, {
  Scorer: {
    /** @param {[string, string, string, string, number, string]} result */
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
