// @ts-check
// The filter above the list of claims: by chapter, by kind, and by words. Without it all are shown.
"use strict";

{
  const form = /** @type {HTMLFormElement} */ (document.getElementById("claims-filter"));
  const [words, chapter, kind] =
    /** @type {[HTMLInputElement, HTMLSelectElement, HTMLSelectElement]} */ (
      ["words", "chapter", "kind"].map((name) => form.elements.namedItem(name))
    );
  const said = /** @type {HTMLOutputElement} */ (form.querySelector("output"));

  const chapters = Array.from(document.querySelectorAll("table.claims"), (table) => {
    const section = /** @type {HTMLElement} */ (table.closest("section"));
    const title = section.querySelector("h2")?.firstChild?.textContent ?? "";
    const rows = Array.from(table.querySelectorAll("tbody > tr"), (row) => {
      const kept = /** @type {Element} */ (row.cloneNode(true));
      kept.querySelectorAll(".claim-numbers, mjx-container").forEach((part) => part.remove());
      return {
        row: /** @type {HTMLElement} */ (row),
        text: (kept.textContent ?? "").toLowerCase().replace(/\s+/g, " "),
        kind: row.querySelector(".claim-kind")?.textContent ?? "",
      };
    });
    chapter.add(new Option(title, section.id));
    return { section, rows };
  });
  const all = chapters.reduce((sum, { rows }) => sum + rows.length, 0);

  const filter = () => {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { section, rows } of chapters) {
      const open = !chapter.value || chapter.value === section.id;
      let here = 0;
      for (const { row, text, kind: its } of rows) {
        row.hidden = !(
          open &&
          (!kind.value || its.split(" ").includes(kind.value)) &&
          asked.every((word) => text.includes(word))
        );
        here += Number(!row.hidden);
      }
      section.hidden = here === 0;
      shown += here;
    }
    said.value = shown === all ? `All ${all} claims` : `${shown} of ${all} claims`;
  };

  const showAll = () => {
    form.reset();
    filter();
  };

  // Who follows a link to a claim sees it, whatever the filter says.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    showAll();
    target.scrollIntoView();
  };

  form.addEventListener("input", filter);
  form.querySelector("button")?.addEventListener("click", showAll);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  // A browser that comes back to the page may have kept what was in the fields.
  addEventListener("pageshow", () => {
    filter();
    reveal();
  });
  filter();
}
