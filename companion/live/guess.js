/**
 * Predict, then see: a figure asks for a number, a point or a curve, and says how far off it was.
 *
 * A point and a curve are given with a handle of the figure. That of a curve is a pen: wherever it
 * is dragged, or pushed with the arrow keys, it leaves the sketch behind.
 */

import { mean } from "./numbers.js";
import { escaped, shown } from "./plot.js";

/**
 * @typedef {import("./plot.js").Plot} Plot
 * @typedef {{question: string, unit?: string, panel?: number, digits?: number}} Asked
 * @typedef {Asked & {
 *   kind: "number", label: string, min: number, max: number, start: number, step?: number,
 *   truth: (state: any, values: any, data: any) => number,
 * }} NumberGuess
 * @typedef {Asked & {
 *   kind: "point", label: string, start: [number, number],
 *   truth: (state: any, values: any, data: any) => [number, number],
 * }} PointGuess
 * @typedef {Asked & {
 *   kind: "curve", label: string, xs: number[], start: number, at?: (x: number) => string,
 *   truth: (state: any, values: any, data: any) => ArrayLike<number>,
 * }} CurveGuess  the truth at each of xs; at: what one of them is called
 * @typedef {NumberGuess | PointGuess | CurveGuess} Guess
 *
 * @typedef {{value: number[], pen: number, done: boolean, over: boolean, says: string, of: string}} Own
 *   what the reader said; over: whether the figure has moved on since it was compared; of: the truth
 *   that it was compared with
 */

/**
 * @param {Guess} guess
 * @returns {Own}
 */
export function fresh(guess) {
  const value =
    guess.kind === "number"
      ? [guess.start]
      : guess.kind === "point"
        ? [...guess.start]
        : guess.xs.map(() => guess.start);
  return { value, pen: 0, done: false, over: false, says: "", of: "" };
}

/**
 * The question and its answer as text.
 *
 * @param {Guess} guess
 * @param {Own} own
 * @param {string} id  of the figure
 */
export function markup(guess, own, id) {
  const name = `${id}-guess`;
  const slider =
    guess.kind === "number"
      ? `<span class="live-slider"><label for="${name}">${escaped(guess.label)}</label>` +
        `<input type="range" id="${name}" min="${guess.min}" max="${guess.max}" autocomplete="off" ` +
        `step="${guess.step ?? (guess.digits === 0 ? 1 : (guess.max - guess.min) / 200)}" ` +
        `value="${own.value[0]}">` +
        `<output for="${name}">${shown(own.value[0] ?? 0, guess.digits)}</output></span>`
      : "";
  return (
    `<div class="live-guess"><p><strong>Guess first.</strong> ${escaped(guess.question)}</p>` +
    `${slider}<button type="button" data-guess>Compare</button>` +
    `<output class="live-verdict"></output></div>`
  );
}

/**
 * Where the reader's handle is: of a point or a pen.
 *
 * @param {PointGuess | CurveGuess} guess
 * @param {Own} own
 * @returns {[number, number]}
 */
export function place(guess, own) {
  if (guess.kind === "point") return [own.value[0] ?? 0, own.value[1] ?? 0];
  return [guess.xs[own.pen] ?? 0, own.value[own.pen] ?? 0];
}

/**
 * The handle's place in words.
 *
 * @param {PointGuess | CurveGuess} guess
 * @param {Own} own
 */
export function said(guess, own) {
  const [x, y] = place(guess, own);
  const digits = guess.digits ?? 2;
  if (guess.kind === "point") return `your guess is at (${shown(x, digits)}, ${shown(y, digits)})`;
  return `your sketch is ${shown(y, digits)} at ${called(guess, x)}`;
}

/**
 * @param {CurveGuess} guess
 * @param {number} x
 */
function called({ at, digits }, x) {
  return at ? at(x) : shown(x, digits);
}

/**
 * Move the handle; a pen draws on its way.
 *
 * @param {PointGuess | CurveGuess} guess
 * @param {Own} own
 * @param {[number, number]} to
 */
export function move(guess, own, [x, y]) {
  if (guess.kind === "point") {
    own.value = [x, y];
    return;
  }
  const { xs } = guess;
  let next = 0;
  for (let i = 1; i < xs.length; i++) {
    if (Math.abs((xs[i] ?? 0) - x) < Math.abs((xs[next] ?? 0) - x)) next = i;
  }
  const [from, before] = [own.pen, own.value[own.pen] ?? y];
  const way = Math.abs(next - from);
  for (let k = 1; k <= way; k++) {
    own.value[from + Math.sign(next - from) * k] = before + ((y - before) * k) / way;
  }
  own.value[next] = y;
  own.pen = next;
}

/**
 * Draw what the reader said into the panel of the question.
 *
 * @param {Guess} guess
 * @param {Own} own
 * @param {Plot} plot
 */
export function draw(guess, own, plot) {
  if (guess.kind === "curve" && !own.over)
    plot.line(guess.xs, own.value, "other", { width: 2.5, dash: "6 4" });
  if (guess.kind === "point" && !own.over) {
    const [x, y] = place(guess, own);
    const right = plot.across(x) > (plot.left + plot.right) / 2;
    const beside = own.done ? 8 : 13; // of the mark, or of the ring
    if (own.done) plot.points([x], [y], "other", { size: 9 });
    plot.text(x, y, "your guess", {
      role: "other",
      anchor: right ? "end" : "start",
      dx: right ? -beside : beside,
      dy: 4,
    });
  }
}

/**
 * How far off the guess was.
 *
 * @param {Guess} guess
 * @param {Own} own
 * @param {any} truth
 */
export function verdict(guess, own, truth) {
  const unit = guess.unit ? ` ${guess.unit}` : "";
  const digits = guess.digits ?? 2;
  if (guess.kind === "number") {
    const number = own.value[0] ?? 0;
    // Of the numbers as they are shown, so that a reader finds the same difference.
    const off = Number(number.toFixed(digits)) - Number(truth.toFixed(digits));
    const close = Math.max((guess.max - guess.min) / 50, 0.5 * 10 ** -digits);
    const rest =
      Math.abs(off) < close
        ? "Well guessed."
        : `You were ${shown(Math.abs(off), digits)}${unit} too ${off > 0 ? "high" : "low"}.`;
    return `You said ${shown(number, digits)}, it was ${shown(truth, digits)}${unit}. ${rest}`;
  }
  if (guess.kind === "point") {
    const ways = [
      ["too far left", "too far right"],
      ["too low", "too high"],
    ].flatMap(([less, more], k) => {
      const off = (own.value[k] ?? 0) - truth[k];
      const text = shown(Math.abs(off), digits);
      return Number(text) ? [`${text}${unit} ${off < 0 ? less : more}`] : [];
    });
    const where = ways.length ? `your guess was ${ways.join(" and ")}` : "well guessed";
    return `It was at (${shown(truth[0], digits)}, ${shown(truth[1], digits)}): ${where}.`;
  }
  const offs = own.value.map((value, i) => Math.abs(value - truth[i]));
  const worst = offs.indexOf(Math.max(...offs));
  return (
    `At ${called(guess, guess.xs[worst] ?? 0)} your sketch was ` +
    `${shown(offs[worst] ?? 0, digits)}${unit} off; on average ${shown(mean(offs), digits)}.`
  );
}
