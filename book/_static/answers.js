// @ts-check
"use strict";

/**
 * Answers in the page: predictions and the self-test say, as a kernel does, which mistake an answer
 * looks like. What is compared with is in the page (book/_ext/answers.py puts it there); what the
 * reader has solved stays in this browser.
 */

/** @typedef {[number | string, number, string]} Row An answer, how far one may be from it, the verdict. */

const CONSTANTS = /** @type {Record<string, number>} */ ({ pi: Math.PI, π: Math.PI, e: Math.E });
const FUNCTIONS = /** @type {Record<string, (x: number) => number>} */ ({
  log: Math.log,
  ln: Math.log,
  "log2(": Math.log2,
  "log10(": Math.log10,
  "log₂": Math.log2,
  exp: Math.exp,
  sqrt: Math.sqrt,
  "√": Math.sqrt,
});
// "log2(8)" is a logarithm to base two, "log2" the logarithm of two.
const TOKEN =
  /\s*(?:((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)|(log2\(|log10\(|log₂|log|ln|exp|sqrt|√|pi|π|e)|([-+*/^()%]))/y;

// Some mean the logarithm of a quarter by "log 1/4", some a quarter of a logarithm.
const UNCLEAR = /(log|ln|exp)\s*([\d.]+)\s*\/\s*([\d.]+)/i;
const FRACTIONS = /** @type {Record<string, string>} */ ({
  "½": "1/2",
  "⅓": "1/3",
  "⅔": "2/3",
  "¼": "1/4",
  "¾": "3/4",
});
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/**
 * Read a number as people write it: "0,5", "5½", "-3 log 100", "4.8²", "50 %". NaN where it is none.
 * @param {string} text
 * @returns {number}
 */
function read(text) {
  const plain = text
    .trim()
    .toLowerCase()
    .replace(/^[=≈~]|\s*nats?$/g, "")
    .replace(/\b(math|np|torch)\./g, "")
    .replace(/[−–]/g, "-")
    .replace(/(\d*)([½⅓⅔¼¾])/g, (_, whole, part) => `(${whole || 0}+${FRACTIONS[part]})`)
    .replace(
      /[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+/g,
      (raised) => `^(${Array.from(raised, (c) => (c === "⁻" ? "-" : RAISED.indexOf(c))).join("")})`,
    )
    .replace(/\*\*/g, "^")
    .replace(/[×·⋅]/g, "*")
    .replace(/÷/g, "/")
    .replace(/(log2|log10)\s+\(/g, "$1(")
    .replace(/(\d)[\s,](?=000\b|\d{3}\.\d)/g, "$1") // 10,000 and 1,234.5
    .replace(/(\d|^|[^\w)]),(?=\d)/g, "$1."); // 0,5
  /** @type {string[]} */
  const tokens = [];
  TOKEN.lastIndex = 0;
  for (let found; (found = TOKEN.exec(plain));) tokens.push(found[0].trim());
  if (tokens.join("") !== plain.replace(/\s/g, "")) return NaN;

  let at = 0;
  /** @param {string} signs */
  const take = (signs) => {
    const next = tokens[at] ?? "";
    return next !== "" && signs.includes(next) ? tokens[at++] : undefined;
  };
  /** @returns {number} */
  const sum = () => {
    let total = product();
    for (let sign; (sign = take("+-"));) total += sign === "+" ? product() : -product();
    return total;
  };
  const product = () => {
    let total = signed();
    for (;;) {
      if (take("*")) total *= signed();
      else if (take("/")) total /= signed();
      else if (/^[a-zπ√(]/.test(tokens[at] ?? ""))
        total *= power(); // 2 pi, 3 log 100
      else return total;
    }
  };
  /** @returns {number} */
  const signed = () => (take("-") ? -signed() : take("+") ? signed() : power());
  /** @returns {number} */
  const power = () => {
    let base = atom();
    while (take("%")) base /= 100;
    return take("^") ? base ** signed() : base;
  };
  /** @returns {number} */
  const inBrackets = () => {
    const inside = sum();
    return take(")") ? inside : NaN;
  };
  const atom = () => {
    const token = tokens[at++] ?? "";
    if (token === "(") return inBrackets();
    const apply = FUNCTIONS[token];
    if (apply) return apply(token.endsWith("(") || take("(") ? inBrackets() : power());
    return CONSTANTS[token] ?? (/^[\d.]/.test(token) ? Number(token) : NaN);
  };
  const found = sum();
  return at === tokens.length && Number.isFinite(found) ? found : NaN;
}

/**
 * The verdict on an answer: of the first row that it fits, else of the last.
 * @param {Row[]} rows
 * @param {string} text
 * @returns {string}
 */
function verdict(rows, text) {
  const number = read(text);
  const unclear = UNCLEAR.exec(text);
  if (unclear) {
    const [, name, above, below] = unclear;
    return `✗ Set brackets: is it ${name}(${above}/${below}) or ${name}(${above})/${below}?`;
  }
  const fits = (/** @type {Row} */ [answer, reach]) =>
    typeof answer === "string" ? answer === text : Math.abs(number - answer) <= reach;
  const [, , says] = rows.find(fits) ?? /** @type {Row} */ (rows.at(-1));
  const minus = (/** @type {unknown} */ value) => String(value).replace("-", "−");
  const plain = Number.isNaN(number) || !Number.isNaN(Number(text.replace("−", "-")));
  const worth = plain ? text : `${text} = ${minus(Number(number.toPrecision(6)))}`;
  if (says.includes("{}") || plain || says.startsWith("✓")) return says.replace("{}", () => worth);
  return `${says} (${worth})`;
}

const KEY = "the-lower-bound";
const SOLVED = 2;
const TRIED = 1;

/** What was answered, for a page that may store nothing. @type {Record<string, number>} */
let answered = {};

/** What was answered, by the identifier of the question. */
function remembered() {
  try {
    answered = { ...JSON.parse(localStorage.getItem(KEY) ?? "null") };
  } catch {
    // Stores are forbidden, or hold what is not ours.
  }
  return answered;
}

/** @param {Record<string, number>} state */
function remember(state) {
  answered = state;
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // It is remembered until the page is left.
  }
  show();
}

/** Mark what is solved, on forms and on maps, and count. */
function show() {
  const state = remembered();
  for (const place of document.querySelectorAll("[data-question]")) {
    if (!(place instanceof HTMLElement)) continue;
    const found = state[place.dataset.question ?? ""];
    place.classList.toggle("solved", found === SOLVED);
    place.classList.toggle("tried", found === TRIED);
    if (place instanceof HTMLAnchorElement) {
      const word = found === SOLVED ? ", solved" : found === TRIED ? ", tried" : "";
      place.setAttribute("aria-label", `${place.textContent}${word}`);
    }
  }
  for (const map of document.querySelectorAll(".progress-map")) {
    const all = map.querySelectorAll("a[data-question]").length;
    const solved = map.querySelectorAll("a.solved").length;
    for (const count of map.querySelectorAll(".progress-count")) {
      count.textContent = `${solved} of ${all} solved`;
    }
  }
}

/**
 * Say the verdict below a form and remember it; the focus stays where it is.
 * @param {HTMLFormElement} form
 */
function check(form) {
  const text = String(new FormData(form).get("answer") ?? "").trim();
  const output = form.querySelector("output");
  if (!output || !text) return;
  let solved;
  if (form.dataset.answers) {
    const says = verdict(JSON.parse(atob(form.dataset.answers)), text);
    solved = says.startsWith("✓");
    output.textContent = says;
  } else {
    // The self-test has formulas in what it says: it is shown from the folded answer.
    const why = form.parentElement?.querySelector(`[data-choice="${text}"]`);
    solved = why?.classList.contains("right") ?? false;
    output.replaceChildren(solved ? "✓ " : "✗ ", ...(why?.cloneNode(true).childNodes ?? []));
  }
  output.className = solved ? "right" : "wrong";
  const id = form.dataset.question ?? "";
  const before = remembered();
  remember({ ...before, [id]: solved ? SOLVED : (before[id] ?? TRIED) });
}

if (typeof document !== "undefined") {
  document.addEventListener("submit", (event) => {
    if (event.target instanceof HTMLFormElement && event.target.matches(".prediction")) {
      event.preventDefault();
      check(event.target);
    }
  });
  document.addEventListener("input", (event) => {
    const form = event.target instanceof Element && event.target.closest("form.prediction");
    if (form) form.querySelector("output")?.replaceChildren();
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element && event.target.closest(".progress-map button");
    if (!target || !confirm("Forget all that you answered in these pages?")) return;
    remember({});
    document.querySelectorAll("form.prediction").forEach((form) => {
      if (form instanceof HTMLFormElement) form.reset();
      form.querySelector("output")?.replaceChildren();
    });
  });
  // What is answered in another window shows in this one.
  window.addEventListener("storage", show);
  show();
}
